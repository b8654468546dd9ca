"""The cache changes no answer: built, stale, damaged, deleted, or not to be had at all."""

import asyncio
import signal
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bitmap_store import croaring
from bitmap_store.definitions import TagDefinition
from bitmap_store.sqlite import bases, breakdowns, cache, jobs
from bitmap_store.sqlite.cache import Built
from bitmap_store.values import Assign, Event, Remove, TagKind
from tests.importing import import_apart
from tests.worlds import StillClock, StoreWorld, copied

USERS = [f"u{i}" for i in range(40)]
QUESTIONS = (
    "everyone",
    "vip",
    'city = "x"',
    "not city",
    "spend >= 5",
    "spend > 2 and spend < 30",
    "buy times 2",
    'likes in ("tea", "go")',
)
needs_mapping = pytest.mark.skipif(not croaring.AVAILABLE, reason="this build of pyroaring does not export CRoaring")


@pytest.fixture
def written(store_world: StoreWorld) -> StoreWorld:
    """A store with one tag of each kind and a history; nothing is folded yet."""
    world = store_world
    world.define_tag(TagDefinition("vip", valid_for=timedelta(days=3)))
    world.define_tag(TagDefinition("city", kind=TagKind.CHOICE, values=("x", "y")))
    world.define_tag(TagDefinition("likes", kind=TagKind.CHOICES, values=("tea", "go", "jazz")))
    world.define_tag(TagDefinition("spend", kind=TagKind.NUMBER, scale=2))
    world.define_tag(TagDefinition("buy", kind=TagKind.EVENT))
    for i, user in enumerate(USERS):
        world.apply(
            Assign(user, "city", value="xy"[i % 2]),
            Assign(user, "likes", value=("tea", "go", "jazz")[i % 3], score=i / 40),
            Assign(user, "likes", value="jazz", source="form"),
            Assign(user, "spend", number=Decimal(i * 7 % 40)),
            Event(user, "buy", "milk", count=1 + i % 2),
            *([Assign(user, "vip")] if i % 3 else []),
        )
        world.clock.tick(hours=4)
    return world


def answers(world: StoreWorld) -> list[object]:
    """What is said now and a day ago: members, profiles, breakdowns, summaries."""
    found: list[object] = []
    for day in (None, world.clock.now() - timedelta(days=1)):
        view = world.view()
        found.append([view.members(question, as_of=day) for question in QUESTIONS])
        found.append([view.tags_of(user, as_of=day) for user in USERS[::7]])
        found.append([view.tags_of(user, as_of=day, ended=True) for user in USERS[::7]])
        found.append([view.breakdown("spend >= 3", by, as_of=day) for by in ("city", "likes")])
        found.append(view.summary('city = "x"', "spend", [0.1, 0.9], 4, as_of=day))
    return found


def fold(world: StoreWorld) -> None:
    """Folds as a process would that makes no files."""
    other = other_process(world, mapped=False)
    other.run(other.store.fold(0))
    other.close()


def build(world: StoreWorld) -> Built | None:
    return world.run(world.store.build_cache())


def files(world: StoreWorld) -> set[str]:
    return {path.name for path in cache.directory_of(world.directory).iterdir()}


def other_process(world: StoreWorld, *, mapped: bool = True) -> StoreWorld:
    return StoreWorld(world.directory, StillClock(world.clock.now()), mapped=mapped)


def private(world: StoreWorld) -> dict[int, int]:
    """The bases at hand that are not mapped, with their sizes."""
    states = world.store._memberships._tags
    bases = {tag: state.standing.base for tag, state in states.items() if state.standing}
    return {tag: base.private_bytes for tag, base in bases.items() if base.private_bytes}


@needs_mapping
def test_answers_come_from_mapped_files(written: StoreWorld) -> None:
    before = answers(written)
    assert build(written) == Built(0, 0)
    fold(written)
    assert answers(written) == before
    assert len(private(written)) == 6
    assert build(written) == Built(6, 1)
    assert answers(written) == before
    assert not private(written)
    written.reopen()
    assert answers(written) == before
    assert not private(written)
    assert build(written) == Built(0, 0)


@needs_mapping
def test_files_are_there_when_a_fold_or_an_import_shows(written: StoreWorld) -> None:
    before = answers(written)
    written.run(written.store.fold(0))
    assert answers(written) == before
    assert not private(written)
    assert build(written) == Built(0, 1)
    other = other_process(written)
    try:
        assert answers(other) == before
        names = files(written)
        import_apart(written, "memberships", [Assign(user, "vip") for user in USERS])
        after = answers(written)
        assert after != before
        assert answers(other) == after
        assert not private(written) and not private(other)
        assert {name.split(".")[0] for name in files(written) - names} == {"rows", "tag"}
        assert build(written) == Built(0, 0)
        assert answers(written) == answers(other) == after
    finally:
        other.close()


@needs_mapping
def test_upkeep_is_done_in_a_process_of_its_own(written: StoreWorld) -> None:
    before = answers(written)
    assert not written.run(written.store.keep_up())
    fold(written)
    assert written.run(written.store.keep_up())
    assert len(files(written)) == 7
    assert not written.run(written.store.keep_up())
    assert answers(written) == before
    assert not private(written)


@needs_mapping
def test_upkeep_ends_with_the_store(written: StoreWorld) -> None:
    written.run(written.store.keep_up())
    fold(written)
    other = other_process(written)

    async def begin_and_leave() -> asyncio.subprocess.Process:
        upkeep = asyncio.create_task(other.store.keep_up())
        children = other.store._workers._processes
        while not children:
            await asyncio.sleep(0)
        upkeep.cancel()
        await asyncio.gather(upkeep, return_exceptions=True)
        (child,) = children
        return child

    child = other.run(begin_and_leave())
    other.close()
    assert child.returncode == -signal.SIGTERM


@needs_mapping
@pytest.mark.parametrize("nanoseconds", [0, 10**12], ids=["by rows", "by sets"])
def test_breakdowns_by_rows_and_by_sets(written: StoreWorld, monkeypatch: pytest.MonkeyPatch, nanoseconds: int) -> None:
    before = answers(written)
    monkeypatch.setattr(breakdowns, "CODE_NANOSECONDS", nanoseconds)
    fold(written)
    build(written)
    assert answers(written) == before
    written.apply(Assign("u1", "city", value="x"), Remove("u2", "likes", "jazz"), Remove("u4", "city"))
    written.clock.tick(days=2)
    after = answers(written)
    fold(written)
    build(written)
    assert answers(written) == after


@needs_mapping
def test_only_what_moved_is_built_again(written: StoreWorld) -> None:
    fold(written)
    build(written)
    old = files(written)
    other = other_process(written)
    try:
        before = answers(other)
        written.apply(Remove("u3", "city"), Assign("u4", "city", value="x"))
        assert answers(other) != before
        after = answers(written)
        fold(written)
        assert answers(written) == after
        assert answers(other) == after
        assert build(written) == Built(1, 1)
        assert len(files(written) - old) == len(old - files(written)) == 2
        assert answers(written) == after
        assert answers(other) == after
        other.store.look_for_files()
        assert answers(other) == after
        assert not private(other)
    finally:
        other.close()


@needs_mapping
def test_rows_per_user_wait_until_enough_is_stale(written: StoreWorld) -> None:
    fold(written)
    build(written)
    after = answers(written)
    written.apply(Assign("u3", "vip", source="late"))
    fold(written)
    expected = answers(written)
    assert expected != after
    assert written.run(written.store.build_cache(stale_max=0.5)) == Built(1, 0)
    assert answers(written) == expected
    assert written.run(written.store.build_cache(stale_max=0.0)) == Built(0, 1)
    assert answers(written) == expected


@needs_mapping
@pytest.mark.parametrize("kind", ["tag"])
def test_a_damaged_file_is_made_again(written: StoreWorld, kind: str) -> None:
    fold(written)
    build(written)
    before = answers(written)
    names = files(written)
    for path in sorted(cache.directory_of(written.directory).glob(f"{kind}.*")):
        data = path.read_bytes()
        for at in (0, len(data) // 3, len(data) // 2, len(data) - 2):
            path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
            written.reopen()
            assert answers(written) == before
            assert path.name not in files(written)
            built = build(written)
            assert built is not None
            assert built.tags + built.rows == 1
            assert answers(written) == before
            path = next(each for each in path.parent.iterdir() if each.name not in names or each == path)
            names = files(written)
            data = path.read_bytes()


@needs_mapping
def test_files_may_be_deleted_while_they_are_used(written: StoreWorld) -> None:
    fold(written)
    build(written)
    before = answers(written)
    for path in cache.directory_of(written.directory).iterdir():
        path.unlink()
    assert answers(written) == before
    written.reopen()
    assert answers(written) == before
    assert build(written) == Built(6, 1)
    assert answers(written) == before


@needs_mapping
def test_nobody_builds_while_bulk_work_goes_on(written: StoreWorld) -> None:
    turn = jobs.try_lock(written.directory / "jobs" / "bulk.lock")
    assert turn is not None
    with open(turn):
        assert build(written) is None


@pytest.fixture
def no_mapping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A build of pyroaring that exports nothing."""
    monkeypatch.setattr(bases, "AVAILABLE", False)
    monkeypatch.setattr(cache, "AVAILABLE", False)
    yield


def test_without_mapping_all_is_as_before(no_mapping: None, written: StoreWorld) -> None:
    before = answers(written)
    fold(written)
    assert build(written) == Built(0, 0)
    written.reopen()
    assert answers(written) == before
    assert not cache.directory_of(written.directory).exists() or not files(written)


def test_bases_in_memory_keep_to_a_budget(empty_store: Path, tmp_path: Path) -> None:
    world = StoreWorld(copied(empty_store, tmp_path / "store"), StillClock(), cache_bytes_max=0)
    try:
        for tag in ("a", "b", "c"):
            world.define_tag(TagDefinition(tag))
            world.apply(Assign("u1", tag), Assign(f"u-{tag}", tag))
        fold(world)
        for _ in range(2):
            for tag in ("a", "b", "c"):
                assert world.members(tag) == {"u1", f"u-{tag}"}
                assert len(private(world)) == 1
    finally:
        world.close()
