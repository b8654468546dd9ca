"""Files of every age are brought to the shape of today with all they hold, and back."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from bitmap_store.definitions import TagDefinition
from bitmap_store.sqlite.checks import check
from bitmap_store.sqlite.database import FILE, MIGRATIONS, newest_revision, write_engine
from bitmap_store.sqlite.names import Names
from bitmap_store.values import Assign, TagKind
from tests.worlds import StillClock, StoreWorld, copied

ROOT = Path(__file__).parents[1]

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


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from bitmap_store.sqlite.database import migrate, write_engine

def migrated(directory, left):
    # Brings a file to the shape of today; killed before the statement of a number, if there are so many.
    engine = write_engine(directory)

    @event.listens_for(engine, "before_cursor_execute")
    def count(*_):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    migrate(directory, engine)

for directory in sorted(Path(sys.argv[1]).iterdir()):
    if os.fork() == 0:
        migrated(directory, int(directory.name.partition("-")[2]))
        os._exit(0)
    print(directory.name, os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004"])
def test_a_migration_that_is_killed_is_as_if_it_never_began(empty_store: Path, tmp_path: Path, revision: str) -> None:
    """Killed before any of its statements, the file has the revision that it had; the next opening migrates it."""
    world = StoreWorld(copied(empty_store, tmp_path / "store"), StillClock())
    world.define_tag(TagDefinition("city", kind=TagKind.CHOICE))
    for user in range(40):
        world.apply(Assign(f"u{user}", "city", value="xyz"[user % 3]))
    world.run(world.store.fold(0))
    world.apply(Assign("u1", "city", value="z"))
    before = [world.members(question) for question in ('city = "x"', 'city = "y"', 'city = "z"')]
    world.close()
    revise(world.directory, revision, up=False)
    for number in [*range(0, 30, 3), *range(30, 120, 15)]:
        copied(world.directory, tmp_path / "copies" / f"{revision}-{number:03}")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "copies")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    ended = dict(line.split() for line in done.stdout.splitlines())
    assert len(ended) == 16 and list(ended.values()).count("-9") >= 4
    for name, status in ended.items():
        copy = tmp_path / "copies" / name
        wanted = newest_revision() if status == "0" else revision
        assert rows_of(copy, "SELECT version_num FROM alembic_version") == [(wanted,)]
        again = StoreWorld(copy, StillClock())
        assert [again.members(question) for question in ('city = "x"', 'city = "y"', 'city = "z"')] == before
        again.close()
        assert check(copy) == []
