"""Small worlds to ask and to write: one set of verbs over the store and over the oracle.

Users go by outside names, questions by text or expression, and everything is synchronous, so that a test
says what it means once and runs on each. Strategies for random worlds are in `histories.py`.
"""

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from bitmap_store.catalog import Catalog
from bitmap_store.clock import Clock
from bitmap_store.definitions import TagChange, TagDefinition
from bitmap_store.errors import TagroarError
from bitmap_store.expression import Expression, Match
from bitmap_store.language import parse
from bitmap_store.sqlite.database import FILE
from bitmap_store.sqlite.engine import SqliteStore
from bitmap_store.sqlite.name_blocks import checksum_of
from bitmap_store.sqlite.settings import StoreSettings
from bitmap_store.sqlite.views import View
from bitmap_store.store import Summary, Sums
from bitmap_store.values import (
    Batch,
    EntityKind,
    Identifier,
    Membership,
    Operation,
    SavedAudience,
    Tag,
    WriteResult,
    micros,
)
from tests.oracle import Oracle, Sight

MONDAY = datetime(2026, 11, 2, 12, tzinfo=UTC)
RETENTION = timedelta(days=30)
PAGE = 1000
T = TypeVar("T")

Question = str | Expression
Weights = Sequence[tuple[Question, int]]
Profile = tuple[set[Identifier], dict[str, object]]


class StillClock(Clock):
    """A clock that stands until it is set."""

    def __init__(self, start: datetime = MONDAY) -> None:
        super().__init__(start)
        self._now = start

    def micros(self) -> int:
        return micros(self._now)

    def now(self) -> datetime:
        return self._now

    def set(self, moment: datetime) -> None:
        self._now = moment

    def tick(self, **how_long: float) -> datetime:
        """Lets time pass; the moment it is then."""
        self._now += timedelta(**how_long)
        return self._now


def asked(question: Question) -> Expression:
    """A question as an expression."""
    return parse(question) if isinstance(question, str) else question


class Answers(Protocol):
    """What one version and one moment say. `entity` and `as_of` as everywhere."""

    version: int
    moment: datetime
    catalog: Catalog

    def members(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> set[str]: ...
    def size(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> int: ...
    def contains(
        self, question: Question, users: Sequence[str], entity: str = "user", as_of: datetime | None = None
    ) -> list[bool]: ...
    def ranking(self, question: Question, weights: Weights, limit: int) -> list[tuple[str, int]]: ...
    def score_counts(self, question: Question, weights: Weights) -> dict[int, int]: ...
    def tags_of(
        self, user: str, entity: str = "user", as_of: datetime | None = None, *, ended: bool = False
    ) -> list[Membership]: ...
    def profile(self, user: str, entity: str = "user", as_of: datetime | None = None) -> Profile | None: ...
    def breakdown(
        self, question: Question, by: str, entity: str = "user", as_of: datetime | None = None
    ) -> dict[str, int]: ...
    def summary(
        self,
        question: Question,
        tag: str,
        quantiles: Sequence[float] = (),
        bins: int = 0,
        entity: str = "user",
        as_of: datetime | None = None,
    ) -> Summary: ...
    def sums(self, question: Question, tag: str, entity: str = "user", as_of: datetime | None = None) -> Sums: ...


class World(Protocol):
    """Something that is written to and asked."""

    clock: StillClock

    def view(self) -> Answers: ...
    def define_entity(self, key: str, name: str | None = None) -> EntityKind: ...
    def define_tag(self, definition: TagDefinition) -> Tag: ...
    def update_tag(self, key: str, change: TagChange, if_version: int | None = None) -> Tag: ...
    def delete_tag(self, key: str) -> WriteResult: ...
    def save_audience(
        self, key: str, text: str, entity: str = "user", if_version: int | None = None
    ) -> SavedAudience: ...
    def delete_audience(self, key: str) -> WriteResult: ...
    def apply_batch(self, batch: Batch) -> WriteResult: ...
    def apply_together(self, batches: Sequence[Batch]) -> list[WriteResult | TagroarError]: ...
    def apply(self, *operations: Operation, entity: str = "user", key: str | None = None) -> WriteResult: ...
    def members(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> set[str]: ...
    def size(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> int: ...


# ---------------------------------------------------------------- the oracle as a world


class OracleAnswers:
    """Answers of the oracle."""

    def __init__(self, sight: Sight) -> None:
        self.version, self.moment, self.catalog = sight.version, sight.moment, sight.catalog
        self.tags_of, self.profile = sight.tags_of, sight.profile
        self._sight = sight

    def members(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> set[str]:
        return self._sight.members(asked(question), entity, as_of)

    def size(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> int:
        return len(self.members(question, entity, as_of))

    def contains(
        self, question: Question, users: Sequence[str], entity: str = "user", as_of: datetime | None = None
    ) -> list[bool]:
        members = self.members(question, entity, as_of)
        return [user in members for user in users]

    def breakdown(
        self, question: Question, by: str, entity: str = "user", as_of: datetime | None = None
    ) -> dict[str, int]:
        members = self.members(question, entity, as_of)
        values = self.catalog.values(self.catalog.tag(by))
        return {value: len(members & self.members(Match(by, values=(value,)), entity, as_of)) for value in values}

    def ranking(self, question: Question, weights: Weights, limit: int) -> list[tuple[str, int]]:
        return self._sight.ranking(asked(question), [(asked(each), weight) for each, weight in weights])[:limit]

    def score_counts(self, question: Question, weights: Weights) -> dict[int, int]:
        return dict(Counter(score for _, score in self.ranking(question, weights, PAGE)))

    def summary(self, question: Question, *rest: Any, **more: Any) -> Summary:
        return self._sight.summary(asked(question), *rest, **more)

    def sums(self, question: Question, tag: str, entity: str = "user", as_of: datetime | None = None) -> Sums:
        return self._sight.sums(asked(question), tag, entity, as_of)


class OracleWorld:
    """The oracle behind the verbs of a world."""

    def __init__(self, clock: StillClock, timezone: str = "UTC", retention: timedelta = RETENTION) -> None:
        self.clock = clock
        self.oracle = Oracle(clock, ZoneInfo(timezone), retention)
        self.define_entity, self.define_tag = self.oracle.define_entity, self.oracle.define_tag
        self.update_tag, self.delete_tag = self.oracle.update_tag, self.oracle.delete_tag
        self.delete_audience, self.apply_batch = self.oracle.delete_audience, self.oracle.apply

    def view(self) -> Answers:
        return OracleAnswers(self.oracle.view())

    def save_audience(self, key: str, text: str, entity: str = "user", if_version: int | None = None) -> SavedAudience:
        return self.oracle.save_audience(key, None, text, entity, if_version=if_version)

    def apply_together(self, batches: Sequence[Batch]) -> list[WriteResult | TagroarError]:
        return [outcome(lambda batch=batch: self.apply_batch(batch)) for batch in batches]

    def apply(self, *operations: Operation, entity: str = "user", key: str | None = None) -> WriteResult:
        return self.apply_batch(Batch(entity, operations, idempotency_key=key))

    def members(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> set[str]:
        return self.view().members(question, entity, as_of)

    def size(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> int:
        return self.view().size(question, entity, as_of)


def outcome(act: Any) -> Any:
    """What an act gives, or the error it ends with."""
    try:
        return act()
    except TagroarError as error:
        return error


# ---------------------------------------------------------------- the store as a world


class StoreAnswers:
    """Answers of the store at one view."""

    def __init__(self, world: "StoreWorld", view: View) -> None:
        self.version, self.moment, self.catalog = view.version, view.moment, view.catalog
        self.view = view
        self._world = world
        self._store = world.store

    def plan(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> Any:
        """The plan of a question."""
        return self._store.bind(self.view, asked(question), entity, as_of)

    def members(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> set[str]:
        async def stream() -> list[int]:
            return [
                int(user) async for block in self._store.stream(self.plan(question, entity, as_of)) for user in block
            ]

        found = self._world.names(self._world.run(stream()), entity)
        assert len(set(found)) == len(found)
        return set(found)

    def size(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> int:
        return self._world.run(self._store.count([self.plan(question, entity, as_of)]))[0]

    def sizes(self, questions: Sequence[Question], as_of: datetime | None = None) -> list[int]:
        """The sizes of several audiences, asked at once."""
        return self._world.run(self._store.count([self.plan(question, as_of=as_of) for question in questions]))

    def contains(
        self, question: Question, users: Sequence[str], entity: str = "user", as_of: datetime | None = None
    ) -> list[bool]:
        plan = self.plan(question, entity, as_of)
        dense = self._world.run(self._store.resolve(entity, users))
        known = [user for user in dense if user is not None]
        found = dict(zip(known, self._world.run(self._store.contains([plan], known)), strict=True))
        return [user is not None and found[user][0] for user in dense]

    def ranking(self, question: Question, weights: Weights, limit: int) -> list[tuple[str, int]]:
        weighted = [(self.plan(each), weight) for each, weight in weights]
        found = self._world.run(self._store.score(self.plan(question), weighted, limit))
        return list(zip(self._world.names(found.users), found.scores, strict=True))

    def score_counts(self, question: Question, weights: Weights) -> dict[int, int]:
        weighted = [(self.plan(each), weight) for each, weight in weights]
        (found,) = self._world.run(self._store.score_counts([self.plan(question)], weighted))
        return found

    def pages(self, question: Question, limit: int, entity: str = "user") -> list[list[str]]:
        """All pages, in order."""
        plan, after, found = self.plan(question, entity), None, []
        while True:
            page = self._world.run(self._store.page(plan, after, limit))
            found.append(self._world.names(page.users, entity))
            if not page.more:
                return found
            after = page.users[-1]

    def tags_of(
        self, user: str, entity: str = "user", as_of: datetime | None = None, *, ended: bool = False
    ) -> list[Membership]:
        (dense,) = self._world.run(self._store.resolve(entity, [user]))
        tags = [tag for tag in self.catalog.tags.values() if tag.entity == entity and not tag.is_rule]
        if dense is None:
            return []
        return self._world.run(self._store.tags_of(self.view.reading(entity, as_of), [dense], tags, ended=ended))[0]

    def tags_of_all(self, users: Sequence[str], as_of: datetime | None = None) -> dict[str, list[Membership]]:
        """The memberships of several users, asked at once."""
        dense = self._world.run(self._store.resolve("user", users))
        known = {user: each for user, each in zip(users, dense, strict=True) if each is not None}
        tags = [tag for tag in self.catalog.tags.values() if tag.entity == "user" and not tag.is_rule]
        found = self._world.run(self._store.tags_of(self.view.reading("user", as_of), list(known.values()), tags))
        return {user: [] for user in users} | dict(zip(known, found, strict=True))

    def profile(self, user: str, entity: str = "user", as_of: datetime | None = None) -> Profile | None:
        (dense,) = self._world.run(self._store.resolve(entity, [user]))
        if dense is None:
            return None
        (found,) = self._world.run(self._store.profiles(self.view.reading(entity, as_of), [dense]))
        return None if found is None else (set(found.identifiers), dict(found.attributes))

    def breakdown(
        self, question: Question, by: str, entity: str = "user", as_of: datetime | None = None
    ) -> dict[str, int]:
        tag, plan = self.catalog.tag(by), self.plan(question, entity, as_of)
        keys = self._store.plans_of_values(self.view, tag, plan.reading)
        sizes = self._world.run(self._store.breakdown(plan, keys))
        return dict(zip(self.catalog.values(tag), sizes, strict=True))

    def summary(
        self,
        question: Question,
        tag: str,
        quantiles: Sequence[float] = (),
        bins: int = 0,
        entity: str = "user",
        as_of: datetime | None = None,
    ) -> Summary:
        plan = self.plan(question, entity, as_of)
        return self._world.run(self._store.summarise(plan, self.catalog.tag(tag), quantiles, bins))

    def sums(self, question: Question, tag: str, entity: str = "user", as_of: datetime | None = None) -> Sums:
        plan = self.plan(question, entity, as_of)
        return self._world.run(self._store.sums(plan, [self.catalog.tag(tag)]))[0]


class StoreWorld:
    """A store behind the verbs of a world. It has an event loop of its own, so tests need none."""

    def __init__(
        self,
        directory: Path,
        clock: StillClock,
        timezone: str = "UTC",
        retention: timedelta = RETENTION,
        cache_bytes_max: int = 1 << 20,
        tail_max: int = 2,
        mapped: bool = True,
    ) -> None:
        self.clock = clock
        self.directory = directory
        self.settings = StoreSettings(
            directory, ZoneInfo(timezone), retention, cache_bytes_max, tail_max=tail_max, mapped=mapped
        )
        self._runner = asyncio.Runner()
        self.store = SqliteStore(self.settings, clock)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives."""
        return self._runner.run(work)

    def close(self) -> None:
        """Closes the store and the loop."""
        self.run(self.store.close())
        self._runner.close()

    def reopen(self) -> None:
        """Closes the store and opens it again."""
        self.run(self.store.close())
        self.reopen_closed()

    def reopen_closed(self) -> None:
        """Opens the store, which was closed alone."""
        self.store = SqliteStore(self.settings, self.clock)

    def view(self) -> StoreAnswers:
        return StoreAnswers(self, self.store.view())

    def names(self, users: Iterable[int], entity: str = "user") -> list[str]:
        """The outside names of dense ids."""
        return self.run(self.store.names(entity, list(users)))

    def define_entity(self, key: str, name: str | None = None) -> EntityKind:
        return self.run(self.store.define_entity(key, name))

    def define_tag(self, definition: TagDefinition) -> Tag:
        return self.run(self.store.define_tag(definition))

    def update_tag(self, key: str, change: TagChange, if_version: int | None = None) -> Tag:
        return self.run(self.store.update_tag(key, change, if_version))

    def delete_tag(self, key: str) -> WriteResult:
        return self.run(self.store.delete_tag(key))

    def save_audience(self, key: str, text: str, entity: str = "user", if_version: int | None = None) -> SavedAudience:
        return self.run(self.store.save_audience(key, None, text, entity, if_version=if_version))

    def delete_audience(self, key: str) -> WriteResult:
        return self.run(self.store.delete_audience(key))

    def apply_batch(self, batch: Batch) -> WriteResult:
        return self.run(self.store.apply(batch))

    def apply_together(self, batches: Sequence[Batch]) -> list[WriteResult | TagroarError]:
        async def together() -> list[Any]:
            return await asyncio.gather(*map(self.store.apply, batches), return_exceptions=True)

        return self.run(together())

    def apply(self, *operations: Operation, entity: str = "user", key: str | None = None) -> WriteResult:
        return self.apply_batch(Batch(entity, operations, idempotency_key=key))

    def members(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> set[str]:
        return self.view().members(question, entity, as_of)

    def size(self, question: Question, entity: str = "user", as_of: datetime | None = None) -> int:
        return self.view().size(question, entity, as_of)


class FoldingWorld(StoreWorld):
    """A store that folds after every write, so that all answers come from fragments."""

    def apply_batch(self, batch: Batch) -> WriteResult:
        result = super().apply_batch(batch)
        self.run(self.store.fold(entries_max=0))
        return result

    def apply_together(self, batches: Sequence[Batch]) -> list[WriteResult | TagroarError]:
        outcomes = super().apply_together(batches)
        self.run(self.store.fold(entries_max=0))
        return outcomes


class CachedWorld(StoreWorld):
    """A store that folds and builds its cache after every write, so that all answers come from mapped files."""

    def apply_batch(self, batch: Batch) -> WriteResult:
        result = super().apply_batch(batch)
        self.build()
        return result

    def apply_together(self, batches: Sequence[Batch]) -> list[WriteResult | TagroarError]:
        outcomes = super().apply_together(batches)
        self.build()
        return outcomes

    def build(self) -> None:
        """Folds, and builds the cache."""
        self.run(self.store.fold(entries_max=0))
        assert self.run(self.store.build_cache()) is not None


# ---------------------------------------------------------------- directories


def copied(directory: Path, to: Path) -> Path:
    """A directory as a machine that lost power would find it: what was written, without the shared memory."""
    to.mkdir(parents=True)
    for path in directory.iterdir():
        if path.is_file() and not path.name.endswith("-shm"):
            shutil.copy(path, to / path.name)
    return to


def start_ids_at(directory: Path, first: int) -> None:
    """Lets the first dense id of users be `first`."""
    connection = sqlite3.connect(directory / FILE)
    connection.execute("UPDATE entity SET next_dense = ? WHERE key = 'user'", (first,))
    if first:
        connection.execute(
            "INSERT INTO name_block (entity_id, first_dense, count, size, checksum, body) VALUES (1, 0, ?, 0, ?, '')",
            (first, checksum_of(1, 0, first, b"")),
        )
    connection.commit()
    connection.close()
