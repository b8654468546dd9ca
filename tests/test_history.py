"""Random histories: whatever is written, interrupted, folded or reopened, the store says what the oracle says.

Two stores have the directory open, as two processes would. After each step random questions are put to
both and to the oracle, of now and of moments gone by. For long runs: --hypothesis-profile=deep.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bitmap_store.errors import TagroarError
from bitmap_store.expression import Everyone, Expression, Match
from bitmap_store.language import render
from bitmap_store.sqlite.cache import directory_of
from bitmap_store.values import Assign, Batch, Event, Operation
from tests.histories import (
    USERS,
    bad_batches,
    batches,
    define,
    events,
    late_writes,
    moved_operations,
    moved_question,
    questions,
    said_of,
)
from tests.importing import import_apart
from tests.worlds import (
    MONDAY,
    Answers,
    OracleWorld,
    StillClock,
    StoreAnswers,
    StoreWorld,
    copied,
    outcome,
    start_ids_at,
)

BY = st.integers(0, 1)
EDGES = [0, 2**16 - 2, 2**16 - 4, 2**20 - 2, 2**20 - 5, 2**32 - 7]
"""First dense ids, so that the few users lie around the edge of a container or of a shard, or end the id space."""

BATCHES, SMALL, BAD = batches(), batches(3), bad_batches()
QUESTIONS, SHORT = st.lists(questions(), min_size=1, max_size=2), questions(3)
IMPORTED = st.sampled_from(["vip", "warm", "city", "likes", "size"]).flatmap(
    lambda key: st.tuples(said_of(key), st.just(()) | late_writes(key))
)
"""What a file says of one tag, each thing once, and what is written to that tag while it is imported."""

HAPPENED = st.lists(
    events().filter(lambda event: event.at is not None),
    min_size=1,
    max_size=5,
    unique_by=lambda event: (event.user, event.tag, event.value, event.at),
)
TIMEZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]
RETENTION = timedelta(days=6, minutes=30)
"""No sum of steps, because forgetting moves the horizon on by the microsecond at which it happens."""

STEPS = [timedelta(microseconds=1), timedelta(hours=1), timedelta(hours=11), timedelta(days=1), timedelta(days=3)]


@cache
def defined() -> Path:
    """A directory of a store in which the tags are defined and nothing was written."""
    root = tempfile.mkdtemp(prefix="tagroar-")
    atexit.register(shutil.rmtree, root)
    world = StoreWorld(Path(root) / "store", StillClock())
    define(world)
    world.close()
    return world.directory


class History(RuleBasedStateMachine):
    """The store, twice open, beside the oracle."""

    @initialize(
        first=st.sampled_from(EDGES),
        timezone=st.sampled_from(TIMEZONES),
        cache_bytes=st.sampled_from([0, 700, 1 << 20]),
        tail_max=st.sampled_from([0, 1, 5]),
        mapped=st.tuples(st.booleans(), st.booleans()),
    )
    def begin(self, first: int, timezone: str, cache_bytes: int, tail_max: int, mapped: tuple[bool, bool]) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="tagroar-"))
        self.clock = StillClock()
        self.cache_bytes = cache_bytes
        self.tail_max = tail_max
        self.mapped = mapped
        self.timezone = timezone
        directory = copied(defined(), self.root / "0")
        start_ids_at(directory, first)
        self.worlds = [self.opened(directory, each) for each in self.mapped]
        self.oracle = OracleWorld(self.clock, timezone, RETENTION)
        define(self.oracle)
        self.oracle.oracle.dense = lambda entity, user: int(self.dense[user])
        self.dense: dict[str, Any] = {}
        self.waited = [MONDAY]
        self.lives = 0

    def opened(self, directory: Path, mapped: bool) -> StoreWorld:
        return StoreWorld(directory, self.clock, self.timezone, RETENTION, self.cache_bytes, self.tail_max, mapped)

    def teardown(self) -> None:
        if hasattr(self, "worlds"):
            for world in self.worlds:
                world.close()
            shutil.rmtree(self.root)

    # ------------------------------------------------------------ what happens

    def batch(self, operations: Sequence[Operation]) -> Batch:
        return Batch("user", moved_operations(operations, self.clock.now()))

    @rule(data=st.data(), operations=BATCHES, by=BY)
    def write(self, data: st.DataObject, operations: tuple[Operation, ...], by: int) -> None:
        """A batch; it may fail, then for both by the same reason."""
        batch = self.batch(operations)
        self.both(lambda world: world.apply_batch(batch), by)
        self.ask(data)

    @rule(data=st.data(), several=st.lists(SMALL | BAD, min_size=2, max_size=6), by=BY)
    def write_together(self, data: st.DataObject, several: list[tuple[Operation, ...]], by: int) -> None:
        """Several batches at once, some of them bad."""
        grouped = [replace(self.batch(operations), source="group") for operations in several]
        self.both(lambda world: list(map(plain, world.apply_together(grouped))), by)
        self.ask(data)

    @rule(data=st.data(), operations=BAD, by=BY)
    def write_badly(self, data: st.DataObject, operations: tuple[Operation, ...], by: int) -> None:
        """A batch with one operation that cannot be: nothing of it is there."""
        batch = self.batch(operations)
        view = self.worlds[1 - by].view()
        self.both(lambda world: world.apply_batch(batch), by)
        assert self.worlds[1 - by].view().version == view.version
        self.ask(data)

    @rule(data=st.data(), step=st.sampled_from(STEPS))
    def wait(self, data: st.DataObject, step: timedelta) -> None:
        """Time passes."""
        self.waited.append(self.clock.now())
        self.clock.set(self.clock.now() + step)
        self.ask(data)

    @precondition(lambda self: any(True for _ in self.endings()))
    @rule(data=st.data(), before=st.sampled_from([timedelta(), timedelta(microseconds=1)]))
    def wait_until_something_ends(self, data: st.DataObject, before: timedelta) -> None:
        """Time passes up to the end of a membership, or to the last microsecond before."""
        self.waited.append(self.clock.now())
        self.clock.set(data.draw(st.sampled_from(sorted(set(self.endings())))) - before)
        self.ask(data)

    def endings(self) -> Sequence[datetime]:
        facts = self.oracle.oracle.versions[-1].of("user")
        rows = [row for users in facts.rows.values() for found in users.values() for row in found.values()]
        soon = self.clock.now() + timedelta(microseconds=1)
        return [row.expires_at for row in rows if row.expires_at is not None and row.expires_at > soon]

    @rule(data=st.data(), question=SHORT, by=BY)
    def save_audience(self, data: st.DataObject, question: str, by: int) -> None:
        text = render(moved_question(question, self.clock.now(), self.moments()))
        self.both(lambda world: world.save_audience("saved", text).text, by)
        self.ask(data)

    @rule(data=st.data(), key=st.sampled_from(["vip", "city", "buys", "spend"]), by=BY)
    def delete_a_tag_and_define_it_again(self, data: st.DataObject, key: str, by: int) -> None:
        """Refused while a rule or the saved audience uses it; else its members are gone."""
        deleted = self.both(lambda world: world.delete_tag(key).data_version, by)
        if not isinstance(deleted, tuple):
            define(self.worlds[1 - by])
            define(self.oracle)
        self.ask(data)

    @rule(data=st.data(), by=BY, entries_max=st.integers(0, 3))
    def fold(self, data: st.DataObject, by: int, entries_max: int) -> None:
        """Fragments catch up with the log; nothing that can be asked changes."""
        world = self.worlds[by]
        world.run(world.store.fold(entries_max))
        self.ask(data)

    @rule(data=st.data(), by=BY, share=st.sampled_from([0.0, 0.3]), damage=st.none() | st.floats(0, 1))
    def build(self, data: st.DataObject, by: int, share: float, damage: float | None) -> None:
        """Files of the cache are made, and maybe one is found damaged when it is next read."""
        world = self.worlds[by]
        world.run(world.store.build_cache(share))
        found = sorted(directory_of(world.directory).glob("*"))
        if damage is not None and found:
            path = data.draw(st.sampled_from(found))
            content = bytearray(path.read_bytes())
            content[int(damage * (len(content) - 1))] ^= 16
            path.unlink()  # who has it mapped keeps what it was
            path.write_bytes(content)
        for other in self.worlds:
            other.store.look_for_files()
        self.ask(data)

    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        for world in self.worlds:
            world.reopen()
        self.ask(data)

    @rule(data=st.data())
    def lose_power(self, data: st.DataObject) -> None:
        """What is on disk at this moment is opened elsewhere."""
        self.lives += 1
        directory = copied(self.worlds[0].directory, self.root / str(self.lives))
        for world in self.worlds:
            world.close()
        self.worlds = [self.opened(directory, each) for each in self.mapped]
        self.ask(data)

    @rule(data=st.data(), imported=IMPORTED, by=BY, only=st.booleans())
    def import_memberships(
        self, data: st.DataObject, imported: tuple[list[Assign], tuple[Operation, ...]], by: int, only: bool
    ) -> None:
        """A file of one tag; some users may be written while the import is at work."""
        said, late = imported
        self.bulk("memberships", said, by, only, self.batch(late))
        self.ask(data)

    @rule(data=st.data(), said=HAPPENED, operations=SMALL, by=BY, late=st.booleans())
    def import_events(
        self, data: st.DataObject, said: list[Event], operations: tuple[Operation, ...], by: int, late: bool
    ) -> None:
        found = moved_operations(said, self.clock.now())
        self.bulk("events", found, by, False, self.batch(operations if late else ()))
        self.ask(data)

    def bulk(self, kind: str, rows: Sequence[Operation], by: int, only: bool, late: Batch) -> None:
        other = self.worlds[1 - by]
        found: list[Any] = []

        def write() -> None:
            if late.operations:
                found.append(plain(outcome(lambda: other.apply_batch(late))))

        import_apart(self.worlds[by], kind, rows, only=only, meanwhile=write)
        self.learn_ids()
        if late.operations:
            assert found == [plain(outcome(lambda: self.oracle.apply_batch(late)))]
        self.oracle.oracle.import_rows(rows, replace=only)

    # ------------------------------------------------------------ what is said

    def moments(self) -> list[datetime]:
        """When something was written, or time began to pass."""
        written = [version.moment for version in self.oracle.oracle.versions[1:]]
        return sorted({*self.waited, *written})

    def both(self, act: Callable[[Any], Any], by: int) -> Any:
        """Does the same to a store and to the oracle; both give the same, or fail alike."""
        expected = plain(outcome(lambda: act(self.oracle)))
        assert plain(outcome(lambda: act(self.worlds[by]))) == expected
        self.learn_ids()
        return expected

    def learn_ids(self) -> None:
        world = self.worlds[0]
        self.dense = dict(zip(USERS, world.run(world.store.resolve("user", USERS)), strict=True))

    def ask(self, data: st.DataObject) -> None:
        """All that is known, now and at moments gone by, and random questions."""
        now = self.clock.now()
        moments = self.moments()
        times = [None, *data.draw(st.lists(st.sampled_from(moments), min_size=1, max_size=2, unique=True))]
        asked = [moved_question(question, now, moments) for question in data.draw(QUESTIONS)]
        expected = self.oracle.view()
        for world in self.worlds:
            view = world.view()
            assert (view.version, view.moment) == (expected.version, expected.moment)
            for as_of in times:
                for question in asked:
                    answers = [answered(sight, question, as_of) for sight in (view, expected)]
                    assert answers[0] == answers[1], f"{render(question)} as of {as_of}"
                if as_of is None or as_of >= expected.moment - RETENTION:
                    self.compare(view, expected, as_of)

    def compare(self, view: StoreAnswers, expected: Answers, as_of: datetime | None) -> None:
        """Everything about everybody, from the rows and from the bitmaps."""
        assert view.tags_of_all(USERS, as_of) == {user: expected.tags_of(user, as_of=as_of) for user in USERS}
        keys = [Everyone(), *map(Match, view.catalog.tags)]
        assert view.sizes(keys, as_of) == [expected.size(key, as_of=as_of) for key in keys]
        user = USERS[expected.version % len(USERS)]
        assert view.profile(user, as_of=as_of) == expected.profile(user, as_of=as_of)
        by = ("city", "likes", "size")[expected.version % 3]
        assert view.breakdown("everyone", by, as_of=as_of) == expected.breakdown("everyone", by, as_of=as_of)
        summary = expected.summary("everyone", "spend", (0.5,), 3, as_of=as_of)
        assert view.summary("everyone", "spend", (0.5,), 3, as_of=as_of) == summary


def answered(view: Answers, question: Expression, as_of: datetime | None) -> Any:
    """The members, which are as many as the size says; or why there is no answer."""
    members = outcome(lambda: view.members(question, as_of=as_of))
    if isinstance(members, TagroarError):
        return members.code
    assert view.size(question, as_of=as_of) == len(members)
    return members


def plain(result: Any) -> Any:
    """An outcome in a form that can be compared: of an error the code and the argument."""
    return (result.code, result.argument) if isinstance(result, TagroarError) else result


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=settings().max_examples // 4)
