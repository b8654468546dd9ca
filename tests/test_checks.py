"""`check` finds nothing where nothing is wrong, and names what is: each kind of row, the file itself, the cache."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitmap_store import croaring
from bitmap_store.definitions import TagDefinition
from bitmap_store.sqlite import cache
from bitmap_store.sqlite.checks import Problem, check
from bitmap_store.sqlite.database import FILE
from bitmap_store.values import Assign, Event, Identifier, ProfileChange, TagKind
from tests.importing import csv_file, csv_request
from tests.worlds import StillClock, StoreWorld, copied


@pytest.fixture(scope="module")
def whole(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store with rows in every table, and its cache."""
    path = tmp_path_factory.mktemp("checks")
    world = StoreWorld(copied(empty_store, path / "store"), StillClock())
    world.define_tag(TagDefinition("vip"))
    world.define_tag(TagDefinition("city", kind=TagKind.CHOICE))
    world.define_tag(TagDefinition("buy", kind=TagKind.EVENT))
    world.save_audience("both", 'vip and city = "x"')
    for i in range(30):
        world.apply(Assign(f"u{i}", "vip"), Assign(f"u{i}", "city", value="xy"[i % 2]), Event(f"u{i}", "buy", "milk"))
    identifiers = (Identifier("email", "a@example.org"),)
    world.apply(ProfileChange("u1", identifiers, (("plan", "gold"),)))
    rows = csv_file(path / "rows.csv", "user,tag,value", [f"n{i},city,y" for i in range(100)])
    job = world.run(world.store.start_import(csv_request("memberships", rows)))
    world.run(world.store.wait_job(job.id))
    world.reopen()  # when the process of the import has ended, and let go of its lock
    assert world.run(world.store.fold(0))
    world.run(world.store.build_cache())
    world.apply(Assign("u3", "city", value="y"), Assign("late", "vip"))
    world.close()
    return world.directory


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to damage, with the cache."""
    found = copied(whole, tmp_path / "store")
    copied(whole / "cache", found / "cache")
    return found


def test_nothing_is_wrong_with_what_was_written(store: Path) -> None:
    titles: dict[str, float] = {}
    assert check(store, titles.__setitem__) == []
    assert len(titles) == 9 and set(titles.values()) == {1.0}


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE fragment SET users = zeroblob(length(users)) WHERE tag_id = 1", "members of tag 'vip'"),
        ("UPDATE fragment SET columns = zeroblob(length(columns)) WHERE tag_id = 2", "members of tag 'city'"),
        ("UPDATE fragment SET cardinality = cardinality + 1 WHERE tag_id = -1", "members of who exists"),
        ("UPDATE fragment SET ends_first = 5 WHERE tag_id = 1", "members of tag 'vip'"),
        ("UPDATE fragment SET shard = 1 WHERE tag_id = 1", "members of tag 'vip'"),
        ("UPDATE change SET touched = zeroblob(length(touched)) WHERE id = 2", "log entry of version"),
        ("UPDATE change SET version = 99 WHERE id = (SELECT max(id) FROM change)", "log entry of version 99"),
        ("UPDATE staged_change SET before = x'00'", "log entry of the import"),
        ("DELETE FROM staged_change", "log entry of version"),
        ("UPDATE version SET moment = 0 WHERE version = 9", "version 9"),
        ("DELETE FROM version WHERE version = 9", "version 10"),
        ("UPDATE store SET version = version - 1", "store"),
        ("DELETE FROM store", "store"),
        ("UPDATE base SET version = 9999 WHERE tag_id = 1", "tag 'vip'"),
        ("DELETE FROM base WHERE tag_id = 1", "tag 'vip'"),
        ("UPDATE name_block SET body = zeroblob(length(body)) WHERE first_dense = 0", "names of entity kind 1"),
        ("DELETE FROM name_block WHERE first_dense > 0", "names of entity kind 1"),
        ("UPDATE entity SET next_dense = next_dense + 1", "names of entity kind 1"),
        ("UPDATE attribute SET body = '{'", "attribute 1"),
        ("UPDATE attribute SET dense = 4000", "attribute 1"),
        ("UPDATE identifier SET entity_id = 9", "identifier 1"),
        ("UPDATE tag SET kind = 'FLOG' WHERE id = 1", "definitions"),
        ("UPDATE tag SET entity = 'usr' WHERE id = 1", "tag 'vip'"),
        ("UPDATE audience SET text = 'vip and'", "audience 'both'"),
        ("DELETE FROM tag WHERE id = 2", "value"),
    ],
)
def test_damage_is_named(store: Path, statement: str, place: str) -> None:
    connection = sqlite3.connect(store / FILE)
    assert connection.execute(statement).rowcount > 0
    connection.commit()
    connection.close()
    found = check(store)
    assert any(problem.code == "DAMAGED" and problem.place.startswith(place) for problem in found), found
    assert all(problem.remedy == "restore a backup" for problem in found)


def test_a_file_of_which_nothing_can_be_read_is_damaged(store: Path) -> None:
    data = bytearray((store / FILE).read_bytes())
    data[100:4096] = bytes(3996)
    (store / FILE).write_bytes(data)
    (problem, *_) = check(store)
    assert (problem.code, problem.place) == ("DAMAGED", FILE)
    (store / FILE).write_bytes(b"something else" * 1000)
    assert [problem.said for problem in check(store)] == ["file is not a database"]


def flipped(path: Path) -> Iterator[None]:
    """A file with one bit flipped, in some places."""
    data = path.read_bytes()
    for at in range(0, len(data) * 8, max(1, len(data) * 8 // 15)):
        wrong = bytearray(data)
        wrong[at // 8] ^= 1 << at % 8
        path.write_bytes(wrong)
        yield
    path.write_bytes(data)


@pytest.mark.skipif(not croaring.AVAILABLE, reason="this build of pyroaring does not export CRoaring")
def test_damage_of_the_cache_is_told_apart(store: Path) -> None:
    files = [path for path in cache.directory_of(store).iterdir() if path.is_file()]
    assert len(files) == 5
    for path in files:
        for _ in flipped(path):
            assert [(problem.code, problem.place) for problem in check(store)] == [("CACHE", f"cache/{path.name}")]
    assert check(store) == []
    assert "made again" in Problem("CACHE", "", "").remedy
