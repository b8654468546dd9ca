"""Files of every age are brought to the shape of today with all they hold, and back."""

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from bitmap_store.sqlite.database import FILE, MIGRATIONS, write_engine
from bitmap_store.sqlite.names import Names

NAMES = [(1, f"u{i}é", i) for i in range(300)] + [(2, "x" * 512, 0), (2, "y", 2)]


def revise(directory: Path, revision: str, up: bool = True) -> None:
    """Applies revisions up to one, or takes them back down to it."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = write_engine(directory)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.upgrade if up else command.downgrade)(config, revision)
    engine.dispose()


def rows_of(directory: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(directory / FILE)
    found = connection.execute(sql).fetchall()
    connection.commit()
    connection.close()
    return found


def test_names_of_a_row_each_become_blocks_and_rows_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revise(tmp_path, "0002")
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("INSERT INTO entity (id, key, name, next_dense) VALUES (2, 'account', 'Account', 5)")
    connection.execute("UPDATE entity SET next_dense = 300 WHERE id = 1")
    connection.executemany("INSERT INTO user_name (entity_id, name, dense) VALUES (?, ?, ?)", NAMES)
    connection.commit()
    connection.close()
    revise(tmp_path, "0003")
    assert rows_of(tmp_path, "SELECT entity_id, first_dense, count FROM name_block") == [(1, 0, 300), (2, 0, 5)]
    names = Names(tmp_path)
    for entity, name, dense in NAMES:
        assert names.dense_of(entity, [name]) == [dense]
    assert names.dense_of(1, ["u300é"]) == [None]
    assert len(names.learn(2)) == 5  # ids that had no name keep their places
    names.close()
    revise(tmp_path, "0002", up=False)
    assert sorted(rows_of(tmp_path, "SELECT entity_id, name, dense FROM user_name")) == sorted(NAMES)
