"""Folding changes no answer, and forgets only what `asOf` cannot reach."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import Stale
from bitmap_store.sqlite import jobs
from bitmap_store.values import Assign, Event, Remove, TagKind
from tests.worlds import StillClock, StoreWorld, copied

QUESTIONS = ("everyone", "vip", 'city = "x"', "not city", "buy times 2")


@pytest.fixture
def written(store_world: StoreWorld) -> StoreWorld:
    """A store with a history of a week: each day another user, one change of a city and two events."""
    world = store_world
    world.define_tag(TagDefinition("vip"))
    world.define_tag(TagDefinition("city", kind=TagKind.CHOICE, values=("x", "y")))
    world.define_tag(TagDefinition("buy", kind=TagKind.EVENT))
    for day in range(7):
        world.apply(
            Assign(f"u{day}", "vip"),
            Assign("u0", "city", value="xy"[day % 2]),
            Event(f"u{day}", "buy", "m"),
            Event(f"u{day // 2}", "buy", "m"),
        )
        world.clock.tick(days=1)
    return world


def answers(world: StoreWorld) -> list[list[set[str]]]:
    """What every question says now and on each day before."""
    days = [None, *(world.clock.now() - timedelta(days=back, hours=1) for back in range(8))]
    return [[world.members(question, as_of=day) for question in QUESTIONS] for day in days]


def rows_in(world: StoreWorld, table: str) -> int:
    with sqlite3.connect(world.directory / "tagroar.sqlite") as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()
    return int(found)


def test_answers_are_the_same_before_and_after(written: StoreWorld) -> None:
    before = answers(written)
    assert rows_in(written, "fragment") == 0
    assert written.run(written.store.fold(0)) == 4  # three tags and who exists
    assert rows_in(written, "fragment") > 0
    assert answers(written) == before
    written.apply(Remove("u3", "vip"), Assign("u0", "city", value="y"))
    after = answers(written)
    assert after[1:] == before[1:]
    written.reopen()
    assert answers(written) == after
    assert written.run(written.store.fold(0)) == 2
    assert answers(written) == after


def test_another_process_reads_on(written: StoreWorld) -> None:
    other = StoreWorld(written.directory, StillClock(written.clock.now()))
    try:
        before = answers(other)
        written.run(written.store.fold(0))
        assert answers(other) == before
        written.apply(Remove("u3", "vip"))
        assert other.members("vip") == before[0][1] - {"u3"}
        assert answers(other)[1:] == before[1:]
    finally:
        other.close()


def test_nobody_folds_while_bulk_work_goes_on(written: StoreWorld) -> None:
    turn = jobs.try_lock(written.directory / "jobs" / "bulk.lock")
    assert turn is not None
    with open(turn):
        assert written.run(written.store.fold(0)) == 0


def test_only_what_lies_beyond_the_retention_is_forgotten(empty_store: Path, tmp_path: Path) -> None:
    world = StoreWorld(copied(empty_store, tmp_path / "store"), StillClock(), retention=timedelta(days=3))
    try:
        world.define_tag(TagDefinition("vip"))
        for day in range(6):
            world.apply(Assign(f"u{day}", "vip"))
            world.clock.tick(days=1)
        reachable = [world.clock.now() - timedelta(days=back) for back in range(4)]
        before = [world.members("vip", as_of=day) for day in reachable]
        assert [len(members) for members in before] == [6, 6, 5, 4]
        kept = rows_in(world, "change")
        world.run(world.store.fold(0))
        assert [world.members("vip", as_of=day) for day in reachable] == before
        assert rows_in(world, "change") < kept
        with pytest.raises(Stale):
            world.members("vip", as_of=world.clock.now() - timedelta(days=3, seconds=1))
        world.reopen()
        assert [world.members("vip", as_of=day) for day in reachable] == before
    finally:
        world.close()
