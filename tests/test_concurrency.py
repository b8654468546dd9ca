"""Reading while others write, fold and open: every answer is of one version, and nothing waits for ever."""

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from threading import Event as Gate

import pytest
from sqlalchemy import Connection, event

from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import Stale, TagroarError, Unavailable
from bitmap_store.language import parse
from bitmap_store.sqlite.commits import Commits
from bitmap_store.sqlite.database import FILE
from bitmap_store.sqlite.engine import SqliteStore
from bitmap_store.sqlite.writer import Transaction
from bitmap_store.values import Assign, Batch, Event, Operation, Remove, TagKind, WriteResult
from tests.worlds import MONDAY, StillClock, StoreWorld, copied

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
USERS = 40
ROUNDS = 60


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Threads take turns often, so that what may happen between two steps does."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("fast_switching")
@pytest.mark.parametrize("cache_bytes", [0, 600, 1 << 20])
def test_every_answer_is_of_one_version(empty_store: Path, tmp_path: Path, cache_bytes: int) -> None:
    """Each batch keeps to a rule, two stores write and a third folds; no reading ever sees the rule broken."""
    directory = copied(empty_store, tmp_path / "store")
    worlds = [StoreWorld(directory, StillClock(), cache_bytes_max=cache_bytes)]
    first = worlds[0]
    for definition in (
        TagDefinition("left"),
        TagDefinition("right"),
        TagDefinition("side", kind=TagKind.CHOICE, values=("left", "right")),
    ):
        first.define_tag(definition)
    first.define_tag(TagDefinition("counted", kind=TagKind.EVENT))
    first.apply(*(operation for user in range(USERS) for operation in on_a_side(user, "left")))
    stores = [first.store, SqliteStore(first.settings, first.clock)]
    first.run(write_and_read(stores))
    first.run(stores[1].close())
    first.close()


def on_a_side(user: int, side: str) -> list[Operation]:
    """A user is on one side, by two tags that say the same, and is counted whenever it changes."""
    name, other = f"u{user}", "right" if side == "left" else "left"
    return [Remove(name, other), Assign(name, side), Assign(name, "side", value=side), Event(name, "counted")]


async def write_and_read(stores: list[SqliteStore]) -> None:
    random = Random(1)
    done = asyncio.Event()

    async def write(store: SqliteStore) -> None:
        for _ in range(ROUNDS):
            users = random.sample(range(USERS), 5)
            operations = [each for user in users for each in on_a_side(user, random.choice(["left", "right"]))]
            bad = [Assign("u0", "nothing")] if random.random() < 0.2 else []
            try:
                await store.apply(Batch("user", (*operations, *bad)))
            except TagroarError as error:
                assert bad and error.code == "NOT_FOUND"

    async def fold() -> None:
        while not done.is_set():
            await stores[1].fold(entries_max=3)
            await stores[1].build_cache()
            stores[0].look_for_files()
            await asyncio.sleep(0)

    async def read(store: SqliteStore) -> None:
        while not done.is_set():
            view = store.view()
            earlier = await store.moment_of_version(random.randint(1, view.version))
            for as_of in (None, earlier):
                texts = (
                    "everyone",
                    "left or right",
                    "left and right",
                    'side = "left"',
                    'left and side = "left"',
                    "counted",
                    'side = "right" and not right',
                )
                plans = [store.bind(view, parse(text), "user", as_of) for text in texts]
                everyone, either, both, left, same, counted, wrong = await store.count(plans)
                assert everyone == either == counted == USERS
                assert both == wrong == 0
                assert left == same
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read(store)) for store in stores * 3]
    folder = asyncio.create_task(fold())
    try:
        await asyncio.gather(*(write(store) for store in stores))
    finally:
        done.set()
        await asyncio.gather(folder, *readers)


def test_a_caller_that_goes_away_harms_nobody(store_world: StoreWorld) -> None:
    """Its write is done or not, and the writes beside it and after it are answered."""
    store_world.define_tag(TagDefinition("vip"))
    store = store_world.store

    async def main() -> list[WriteResult]:
        tasks = [asyncio.create_task(store.apply(Batch("user", (Assign(f"u{i}", "vip"),)))) for i in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        asyncio.wrap_future(store.writer.submit(lambda transaction: transaction.version)).cancel()
        kept = await asyncio.gather(*tasks[1::2])
        return [*kept, await store.apply(Batch("user", (Assign("last", "vip"),)))]

    assert all(result.created == 1 for result in store_world.run(main()))
    assert store_world.members("vip") >= {f"u{i}" for i in range(1, 20, 2)} | {"last"}


def test_a_closed_store_takes_no_writes(empty_store: Path, tmp_path: Path) -> None:
    world = StoreWorld(copied(empty_store, tmp_path / "store"), StillClock())
    store = world.store
    world.close()
    with pytest.raises(Unavailable):
        asyncio.run(asyncio.wait_for(store.apply(Batch("user", (Assign("ann", "vip"),))), 5))


def test_another_process_is_seen_in_the_next_view(store_world: StoreWorld, tmp_path: Path) -> None:
    other = StoreWorld(store_world.directory, store_world.clock)
    try:
        for i in range(5):
            here, there = (store_world, other) if i % 2 else (other, store_world)
            here.define_tag(TagDefinition(f"tag{i}", kind=TagKind.CHOICE))
            here.apply(Assign(f"u{i}", f"tag{i}", value="x"))
            assert there.members(f'tag{i} = "x"') == {f"u{i}"}
            there.define_entity(f"kind{i}")
            assert here.size("everyone", entity=f"kind{i}") == 0
    finally:
        other.close()


def test_a_request_goes_on_when_a_tag_is_deleted(store_world: StoreWorld) -> None:
    store_world.define_tag(TagDefinition("city", kind=TagKind.CHOICE))
    store_world.apply(Assign("ann", "city", value="Oslo"))
    view = store_world.view()
    store_world.delete_tag("city")
    assert [membership.value for membership in view.tags_of("ann")] == ["Oslo"]
    assert view.members('city = "Oslo"') == {"ann"}


def test_what_was_forgotten_is_stale_however_long_the_retention(empty_store: Path, tmp_path: Path) -> None:
    """A store that kept a day of history cannot answer for a week, though it is asked to keep one now."""
    directory, clock = copied(empty_store, tmp_path / "store"), StillClock()
    world = StoreWorld(directory, clock, retention=DAY)
    world.define_tag(TagDefinition("vip"))
    for i in range(4):
        world.apply(Assign(f"u{i}", "vip"))
        clock.tick(days=1)
    world.run(world.store.fold(entries_max=0))
    assert world.size("vip", as_of=clock.now() - DAY) == 4
    world.close()
    world = StoreWorld(directory, clock, retention=7 * DAY)
    try:
        assert world.size("vip", as_of=clock.now() - DAY) == 4
        with pytest.raises(Stale):
            world.size("vip", as_of=MONDAY + DAY)
        assert world.size("vip") == 4
    finally:
        world.close()


def test_a_reading_goes_on_while_history_is_forgotten(empty_store: Path, tmp_path: Path) -> None:
    """Another process folds and forgets entries that a request under way has not looked at yet."""
    directory, clock = copied(empty_store, tmp_path / "store"), StillClock()
    here, there = StoreWorld(directory, clock, retention=DAY), StoreWorld(directory, clock, retention=DAY)
    try:
        here.define_tag(TagDefinition("vip"))
        here.apply(Assign("first", "vip"))
        assert there.size("vip") == 1
        for i in range(4):
            here.apply(Assign(f"u{i}", "vip"))
            clock.tick(days=1)
        view = there.view()
        here.run(here.store.fold(entries_max=0))
        assert view.size("vip", as_of=clock.now() - HOUR) == 5
        assert view.members("vip") == {"first", "u0", "u1", "u2", "u3"}
        assert there.size("vip") == 5
    finally:
        here.close()
        there.close()


def test_a_commit_that_fails_is_as_if_it_had_not_been(store_world: StoreWorld) -> None:
    """All callers of the group are told, and nothing is seen that another process could make another version of."""
    store_world.define_tag(TagDefinition("vip"))
    store_world.apply(Assign("ann", "vip"))
    other = StoreWorld(store_world.directory, store_world.clock)
    writer, full, begun, gate = store_world.store.writer, [False, True], Gate(), Gate()
    probe = sqlite3.connect(store_world.directory / FILE, 0, check_same_thread=False)
    withdraw_as_ever = writer.memberships.withdraw

    def fail(_connection: Connection) -> None:
        if full and full.pop(0):
            raise OSError("no space left on device")

    def withdraw(version: int) -> None:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            probe.execute("BEGIN IMMEDIATE")  # so nobody else can have made this version
        withdraw_as_ever(version)

    def hold(_transaction: Transaction) -> None:
        begun.set()
        gate.wait()

    async def together() -> list[WriteResult | BaseException]:
        held = writer.submit(hold)
        await asyncio.to_thread(begun.wait)  # else the batches could be applied in one group with it
        batches = [Batch("user", (Assign(f"u{i}", "vip"), Assign("all", "vip", score=i))) for i in range(3)]
        writes = [asyncio.create_task(store_world.store.apply(batch)) for batch in batches]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.wrap_future(held)
        return await asyncio.gather(*writes, return_exceptions=True)

    event.listen(writer._engine, "commit", fail)
    writer.memberships.withdraw = withdraw  # type: ignore[method-assign]
    assert [type(outcome) for outcome in store_world.run(together())] == [Unavailable] * 3
    event.remove(writer._engine, "commit", fail)
    writer.memberships.withdraw = withdraw_as_ever  # type: ignore[method-assign]
    assert store_world.members("vip") == {"ann"}
    other.apply(Assign("other", "vip"))
    assert store_world.members("vip") == other.members("vip") == {"ann", "other"}
    store_world.apply(Assign("last", "vip"))
    assert store_world.members("vip") == other.members("vip") == {"ann", "other", "last"}
    other.close()
    probe.close()


def test_work_that_fails_takes_nothing_of_the_others_with_it(store_world: StoreWorld) -> None:
    """In one group: batches, work that fails after it wrote, and a batch that fails; all others are on disk."""
    store_world.define_tag(TagDefinition("vip"))
    store = store_world.store
    writer, begun, gate = store.writer, Gate(), Gate()

    def hold(_transaction: Transaction) -> None:
        begun.set()
        gate.wait()

    def fail(transaction: Transaction) -> None:
        transaction.apply(Batch("user", (Assign("nobody", "vip", source="failed"),)))
        raise Unavailable("on purpose")

    async def together() -> list[WriteResult | BaseException]:
        writer.submit(hold)
        await asyncio.to_thread(begun.wait)
        works: list[Batch | Callable[[Transaction], None]] = [
            Batch("user", (Assign("u0", "vip"),)),
            fail,
            Batch("user", (Assign("u1", "vip", source="form"),)),
            Batch("user", (Assign("no", "vip", source="x"), Assign("no", "vip", value="x"))),
            fail,
            Batch("user", (Assign("u2", "vip", source="failed"),)),
        ]
        waiting = [writer.soon(work) for work in works]
        gate.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    outcomes = store_world.run(together())
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "WriteResult", "Unavailable", "WriteResult", "Invalid", "Unavailable", "WriteResult",
    ]  # fmt: skip
    for _ in range(2):
        assert store_world.members("vip") == store_world.members("everyone") == {"u0", "u1", "u2"}
        assert [membership.source for membership in store_world.view().tags_of("u2")] == ["failed"]
        store_world.reopen()


def test_what_nobody_announced_is_seen_at_the_next_upkeep(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a process that ends between its commit and the stamp, or by a tool that knows nothing of stamps."""
    world = StoreWorld(copied(empty_store, tmp_path / "store"), StillClock())
    other = SqliteStore(world.settings, world.clock)
    world.store.view()  # the stamps of the two that opened it
    with monkeypatch.context() as patched:
        patched.setattr(Commits, "renew", lambda _: None)
        world.run(other.define_tag(TagDefinition("unheard")))
    assert "unheard" in other.view().catalog.tags, "whoever writes sees it at once"
    assert "unheard" not in world.store.view().catalog.tags
    world.run(world.store.keep_up())
    assert "unheard" in world.store.view().catalog.tags
    world.run(other.define_tag(TagDefinition("heard")))
    assert "heard" in world.store.view().catalog.tags
    world.run(other.close())
    world.close()
