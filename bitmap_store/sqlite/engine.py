"""`SqliteStore`: the engine on one directory. Opens its parts, and turns each verb into work on them.

Any number of processes may have the directory open; `view` notices what the others wrote.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from math import inf
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import func, select

from bitmap_store.bind import Binder, known_plan
from bitmap_store.bitmaps import ids_between, ids_of, packed
from bitmap_store.catalog import NO_VALUES, Catalog, ValueTable
from bitmap_store.clock import Clock
from bitmap_store.costs import operations
from bitmap_store.errors import NotFound
from bitmap_store.evaluate import FIRST_IDS, SHORT, Evaluation, quick_size
from bitmap_store.expression import Expression, Match
from bitmap_store.plan import Plan, Reading, Universe, is_scored, tags_of
from bitmap_store.rows import Rows
from bitmap_store.sqlite import cache, definitions, tokens
from bitmap_store.sqlite.breakdowns import Breakdown, numbers_of, sums_in
from bitmap_store.sqlite.commits import Commits
from bitmap_store.sqlite.database import async_engine, read_connection
from bitmap_store.sqlite.defining import Defining
from bitmap_store.sqlite.exports import ExportColumn, Exporter
from bitmap_store.sqlite.fold import ENTRIES_MAX, fold, version_at
from bitmap_store.sqlite.jobs import ImportRequest, find_job, mark_interrupted, page_of_jobs, page_of_rejections
from bitmap_store.sqlite.memberships import Memberships
from bitmap_store.sqlite.names import Names
from bitmap_store.sqlite.profiles import facts_of, profile_of
from bitmap_store.sqlite.settings import StoreSettings
from bitmap_store.sqlite.soundness import opened
from bitmap_store.sqlite.summaries import summary_of
from bitmap_store.sqlite.tokens import TokenInfo
from bitmap_store.sqlite.upkeep import Upkeep
from bitmap_store.sqlite.user_tags import QUICK_USERS, Asked, UserTags
from bitmap_store.sqlite.views import View
from bitmap_store.sqlite.work import Workers
from bitmap_store.sqlite.writer import Transaction, Writer
from bitmap_store.stopping import Lanes, Stop
from bitmap_store.store import Page, ProfileFacts, Ranking, Summary, Sums, Weight
from bitmap_store.tables import JobRow
from bitmap_store.values import (
    NEVER,
    Batch,
    Job,
    Membership,
    Rejection,
    Tag,
    WriteResult,
    micros,
    moment_of,
)

STREAM_BLOCK = 1 << 17
BREAKDOWN_LONG = 64
"""From so many keys on a breakdown is shared among threads."""
ENDS_KEPT = 1_000
"""Sets of tags of which it is remembered until when none of their memberships ends."""
POLL_SECONDS = 0.1
T = TypeVar("T")


class SqliteStore(Defining):
    """Tags, profiles and their history in one SQLite file; see `BitmapStore` for what the verbs promise."""

    def __init__(self, settings: StoreSettings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or Clock()
        self._occupied, self._engine, self._soundness = opened(settings.directory)
        self._async_engine = async_engine(settings.directory)
        self._connection = read_connection(settings.directory)
        self._memberships = Memberships(
            self._connection,
            settings.cache_bytes_max,
            settings.tail_max,
            cache.directory_of(settings.directory) if settings.mapped else None,
        )
        self._user_tags = UserTags(self._memberships)
        self._lanes = Lanes()
        self._ends: dict[frozenset[int], tuple[int, int, int]] = {}
        self._names = Names(settings.directory)
        self._commits = Commits(settings.directory)
        self._stamp = self._data_version = -1
        self._known_sources: tuple[int, dict[int, str]] = (-2, {})
        self._catalog = Catalog(version=-1)
        self._values: dict[int, ValueTable] = {}  # of deleted tags too, for requests that began before
        self._moment = 0
        self._horizon = moment_of(0)
        self.writer = Writer(
            self._engine, self._memberships, self._names, self.clock, settings.timezone, definitions.load_catalog
        )
        self._workers = Workers(
            self.writer,
            settings.directory,
            {"directory": str(settings.directory.absolute()), "timezone": settings.timezone.key},
            self.clock,
        )
        self._upkeep = Upkeep(settings.directory, self._connection, self.writer, self._workers, settings.retention)
        for write in mark_interrupted(settings.directory, self._connection):
            self.writer.submit(write).result()
        self._refresh()

    async def close(self) -> None:
        """Finishes waiting writes and lets go of the file."""
        await self._workers.close()
        self._lanes.close()
        await asyncio.to_thread(self.writer.close)
        await self._async_engine.dispose()
        self._engine.dispose()
        self._names.close()
        self._connection.close()
        self._occupied.close()

    # ------------------------------------------------------------ views and plans

    def view(self) -> View:
        """What is committed now, by any process. Costs microseconds while nothing changes."""
        if self._soundness.problem is not None:
            raise self._soundness.problem
        with self._memberships.lock:  # the writer may learn of another version between two of these
            if self._stamp != self._commits.stamp:
                self._refresh()
            moment = max(self.clock.micros(), self._moment)
            return View(self._memberships.version, moment, self._horizon, self._catalog, self, self._data_version)

    def _refresh(self) -> None:
        with self._memberships.lock:
            stamp, (data_version,) = self._commits.stamp, self._connection.execute("PRAGMA data_version").fetchone()
            if data_version != self._data_version:
                self._read_anew()
            self._data_version, self._stamp = data_version, stamp

    def _read_anew(self) -> None:
        self._connection.execute("BEGIN")
        try:
            version = self._memberships.tail()
            catalog, horizon = self._connection.execute("SELECT catalog, horizon FROM store").fetchone()
            if catalog != self._catalog.version:
                self._catalog = definitions.load_catalog(self._connection)
                self._values |= self._catalog.value_tables
            self._names.given = dict(self._connection.execute("SELECT id, next_dense FROM entity"))
            found = self._connection.execute("SELECT moment FROM version WHERE version = ?", (version,)).fetchone()
        finally:
            self._connection.execute("COMMIT")
        if found:
            self._moment = found[0]
        self._horizon = moment_of(horizon)

    @property
    def retention(self) -> timedelta:
        """How far back `asOf` reaches."""
        return self.settings.retention

    def version_at(self, moment: datetime) -> int:
        """The version that was current at a moment; 0 before the first."""
        with self._memberships.lock:
            return version_at(self._connection, micros(moment))

    async def moment_of_version(self, version: int) -> datetime | None:
        """When a version was made."""
        with self._memberships.lock:
            found = self._connection.execute("SELECT moment FROM version WHERE version = ?", (version,)).fetchone()
        return moment_of(found[0]) if found else None

    def bind(
        self,
        view: View,
        expression: Expression,
        entity: str,
        as_of: datetime | None = None,
        *,
        reading: Reading | None = None,
        argument: str = "where",
    ) -> Plan:
        """The plan of an expression at the view, at `as_of`, or at a reading that is given."""
        kind = view.catalog.entity(entity, argument="entity")
        at = reading or view.reading(entity, as_of)
        known = known_plan(view.catalog, kind.key, expression, at)
        if known is not None:
            return known
        binder = Binder(
            view.catalog,
            kind.key,
            self.settings.timezone,
            partial(self._listed, kind.id),
            lambda moment: view.reading(entity, moment),
        )
        plan = binder.plan(expression, at, argument)
        view.clocked = view.clocked or binder.clocked
        return plan

    def right_until(self, view: View, plans: Iterable[Plan], tags: Iterable[int]) -> int:
        """Until when (µs) what a view was told of these plans, and of tags by their ids, stays right without a write.

        Asked of a view that is not `clocked`. Not later than the first end of any membership of the tags.
        """
        wanted = frozenset(tag for plan in plans for tag in tags_of(plan.node, plan.reading)).union(tags)
        moment = view.micros
        version, since, until = self._ends.get(wanted, (-1, 0, 0))
        if version != view.version or not since <= moment < until:
            ends = (self._memberships.next_end(tag, view.version, moment) for tag in wanted)
            until = min(ends, default=NEVER)
            if len(self._ends) >= ENDS_KEPT:
                self._ends.clear()
            self._ends[wanted] = view.version, moment, until
        return until

    def check_id_kind(self, entity: str, id_kind: str, *, argument: str | None = None) -> None:
        """NOT_FOUND for a kind of identifier that nobody of the entity has."""
        self._names.check_kind(self._catalog.entity(entity).id, id_kind, argument=argument)

    def _listed(self, entity: int, names: Sequence[str], id_kind: str | None) -> list[int | None]:
        if id_kind is not None:
            self._names.check_kind(entity, id_kind, argument="idKind")
        return self._names.dense_of(entity, names, id_kind)

    def plan_everyone(self, reading: Reading) -> Plan:
        """Everyone of the reading's entity."""
        return Plan(reading, Universe())

    def plan_known(self, view: View, tag: Tag, reading: Reading) -> Plan:
        """Whoever has any value of a tag."""
        return self.bind(view, Match(tag.key), tag.entity, reading=reading)

    def plans_of_values(
        self, view: View, tag: Tag, reading: Reading, values: Sequence[str] | None = None
    ) -> list[Plan]:
        """Whoever has each of the values (or each of all values) of a tag, descendants included."""
        wanted = list(view.catalog.values(tag)) if values is None else values
        return [self.bind(view, Match(tag.key, values=(value,)), tag.entity, reading=reading) for value in wanted]

    # ------------------------------------------------------------ verbs on plans

    async def _evaluated(
        self, work: Callable[[Evaluation], T], plans: Sequence[Plan], within: float = inf, *, long: bool = False
    ) -> T:
        """What the work makes of an evaluation: at once where that is short and its leaves are at hand, else in
        a thread, which stops when the caller is cancelled. within: how many users the plans are asked about."""
        evaluation = Evaluation(self._memberships)
        if evaluation.cost(plans, within) < SHORT:
            return work(evaluation)
        long = long or any(is_scored(plan.node) for plan in plans)
        return await self._lanes.run(lambda stop: work(evaluation.until(stop)), long=long)

    def size_at_hand(self, plan: Plan) -> int | None:
        """See `BitmapStore.size_at_hand`."""
        return quick_size(plan, self._memberships)

    def operations(self, plans: Sequence[Plan]) -> int:
        """See `BitmapStore.operations`."""
        return operations(plans, self._names.given.get(plans[0].reading.entity, 0)) if plans else 0

    async def count(self, plans: Sequence[Plan]) -> list[int]:
        """See `BitmapStore.count`."""
        if len(plans) == 1 and (size := self.size_at_hand(plans[0])) is not None:
            return [size]
        return await self._evaluated(lambda evaluation: evaluation.sizes(plans), plans)

    async def _members(self, plan: Plan) -> BitMap:
        return await self._evaluated(lambda evaluation: evaluation.users(plan), [plan])

    async def _made_of(self, plan: Plan, make: Callable[[BitMap], T]) -> T:
        """What is made of all members, beside the event loop: to list a million takes it some tens of milliseconds."""
        return await self._lanes.run(lambda stop: make(Evaluation(self._memberships, stop).users(plan)), long=True)

    async def breakdown(self, plan: Plan, keys: Sequence[Plan]) -> list[int]:
        """See `BitmapStore.breakdown`."""

        def sizes(evaluation: Evaluation, stop: Stop) -> list[int]:
            return Breakdown(self._memberships, plan, evaluation, stop).sizes(keys)

        if len(keys) < BREAKDOWN_LONG:
            return await self._evaluated(lambda evaluation: sizes(evaluation, Stop()), [plan, *keys])
        return await self._lanes.run(lambda stop: sizes(Evaluation(self._memberships, stop), stop), long=True)

    async def score(self, plan: Plan, weights: Sequence[Weight], limit: int) -> Ranking:
        """See `BitmapStore.score`."""
        users, scores = await self._lanes.run(
            lambda stop: Evaluation(self._memberships, stop).ranking(plan, weights, limit), long=True
        )
        return Ranking(tuple(users), tuple(scores))

    async def score_counts(self, plans: Sequence[Plan], weights: Sequence[Weight]) -> list[dict[int, int]]:
        """See `BitmapStore.score_counts`."""
        return await self._lanes.run(
            lambda stop: Evaluation(self._memberships, stop).score_counts(plans, weights), long=True
        )

    async def page(self, plan: Plan, after: int | None, limit: int) -> Page:
        """See `BitmapStore.page`. Looks at ever wider ranges of ids until it has enough, and at nothing else."""
        first = 0 if after is None else after + 1
        found = await self._evaluated(lambda each: each.first_users(plan, first, limit + 1), [plan], FIRST_IDS)
        return Page(tuple(found[:limit].tolist()), len(found) > limit)

    async def contains(self, plans: Sequence[Plan], users: Sequence[int]) -> list[list[bool]]:
        """See `BitmapStore.contains`."""
        asked = BitMap(users)

        def matrix(evaluation: Evaluation) -> list[list[bool]]:
            sets = [evaluation.users(plan, asked) for plan in plans]
            return [[user in members for members in sets] for user in users]

        return await self._evaluated(matrix, plans, len(asked))

    async def stream(self, plan: Plan) -> AsyncIterator[NDArray[np.uint32]]:
        """See `BitmapStore.stream`."""
        users = await self._members(plan)
        for start in range(0, len(users), STREAM_BLOCK):
            yield ids_between(users, start, start + STREAM_BLOCK)

    async def summarise(self, plan: Plan, tag: Tag, quantiles: Sequence[float] = (), bins: int = 0) -> Summary:
        """See `BitmapStore.summarise`."""
        users = await self._members(plan)
        return await asyncio.to_thread(
            lambda: summary_of(numbers_of(self._memberships, tag.id, plan.reading, users), quantiles, bins)
        )

    async def sums(self, plan: Plan, tags: Sequence[Tag]) -> list[Sums]:
        """See `BitmapStore.sums`."""
        if not tags:
            return []

        def added(stop: Stop) -> list[Sums]:
            users = Evaluation(self._memberships, stop).users(plan)
            return [sums_in(self._memberships, tag.id, plan.reading, users, stop) for tag in tags]

        return await self._lanes.run(added, long=True)

    def _alive(self, tag: Tag, reading: Reading, users: BitMap) -> Rows:
        rows = self._memberships.rows(tag.id, reading.version, users)
        return rows.take(rows["expires"] > reading.moment)

    async def tags_of(
        self, reading: Reading, users: Sequence[int], tags: Sequence[Tag], *, ended: bool = False
    ) -> list[list[Membership]]:
        """See `BitmapStore.tags_of`."""
        asked = Asked(reading, tags, ended, lambda tag: self._values.get(tag.id, NO_VALUES), self._sources())
        if self._user_tags.is_quick(asked, users):
            return self._user_tags.tags_of(asked, users)
        return await asyncio.to_thread(self._user_tags.tags_of, asked, users)

    def _sources(self) -> dict[int, str]:
        """The names of sources by id; what an id says never changes, so old answers stay right."""
        version = self._data_version
        known, sources = self._known_sources
        if known != version:
            with self._memberships.lock:
                sources = dict(self._connection.execute("SELECT id, name FROM source").fetchall())
            self._known_sources = version, sources
        return sources

    # ------------------------------------------------------------ users

    async def resolve(self, entity: str, names: Sequence[str], id_kind: str | None = None) -> list[int | None]:
        """See `BitmapStore.resolve`."""
        kind = self._catalog.entity(entity)
        await self._learn_names(kind.id)
        return self._names.dense_of(kind.id, names, id_kind)

    async def _learn_names(self, entity: int) -> None:
        """Reads what others gave, beside the event loop where it is much; a few names are read when they are asked."""
        if self._names.is_far_behind(entity):
            await asyncio.to_thread(self._names.learn, entity)

    async def names(self, entity: str, users: Sequence[int] | NDArray[np.uint32]) -> list[str]:
        """See `BitmapStore.names`."""
        kind = self._catalog.entity(entity)
        await self._learn_names(kind.id)
        return self._names.listed(kind.id, np.asarray(users, np.int64).tolist())

    async def export(self, plan: Plan, columns: Sequence[ExportColumn]) -> tuple[int, Iterator[pa.RecordBatch]]:
        """How many users a plan has, and all of them with their columns, block by block.

        The blocks are made when they are asked for, in any thread, and are of the plan's reading.
        """
        users = await self._made_of(plan, ids_of)
        exporter = Exporter(
            plan.reading,
            self._names,
            lambda tag, some: self._alive(tag, plan.reading, some),
            partial(facts_of, self._memberships.lock, self._connection, plan.reading),
            lambda other: Evaluation(self._memberships).users(other),
            lambda tag: self._values.get(tag.id, NO_VALUES),
        )
        return len(users), exporter.batches(users, columns)

    async def export_roaring(self, plan: Plan) -> bytes:
        """The dense ids of a plan in the portable Roaring format; `/export/ids` tells what they stand for."""
        return await self._made_of(plan, packed)

    def export_ids(self, reading: Reading) -> Iterator[pa.RecordBatch]:
        """Dense id and user id of everyone at a reading, in order of the dense id."""
        users = ids_of(self._memberships.universe(reading))
        for start in range(0, len(users), STREAM_BLOCK):
            block = users[start : start + STREAM_BLOCK]
            names = self._names.names_of(reading.entity, block)
            yield pa.record_batch([pa.array(block), names], names=["id", "user"])

    async def present(self, reading: Reading, users: Sequence[int]) -> list[str | None]:
        """See `BitmapStore.present`."""
        universe = self._memberships.universe(reading)
        there = [user for user in users if user in universe]
        await self._learn_names(reading.entity)
        names = dict(zip(there, self._names.listed(reading.entity, there), strict=True))
        return [*map(names.get, users)]

    async def profiles(self, reading: Reading, users: Sequence[int]) -> list[ProfileFacts | None]:
        """See `BitmapStore.profiles`."""
        names = await self.present(reading, users)
        there = [user for user, name in zip(users, names, strict=True) if name is not None]
        load = partial(facts_of, self._memberships.lock, self._connection, reading, there)
        facts = load() if len(there) <= QUICK_USERS else await asyncio.to_thread(load)
        known = zip(users, names, strict=True)
        return [None if name is None else profile_of(user, name, facts.get(user, ([], {}))) for user, name in known]

    # ------------------------------------------------------------ writes

    async def write(self, run: Callable[[Transaction], T]) -> T:
        """Runs a function in a write transaction and waits until it is durable."""
        result: T = await self.writer.soon(run)
        self._refresh()
        return result

    async def apply(self, batch: Batch) -> WriteResult:
        """See `BitmapStore.apply`."""
        result: WriteResult = await self.writer.soon(batch)
        return result

    async def fold(self, entries_max: int = ENTRIES_MAX) -> int:
        """Brings fragments up to date with the log where that has grown long; how many tags that were."""
        return await asyncio.to_thread(
            fold, self.settings.directory, self._connection, self.writer, self.settings.retention, entries_max
        )

    async def keep_up(self) -> bool:
        """Folds and makes files of the cache, in a process of its own, where that is due; whether it was. For
        whoever serves, now and then."""
        await asyncio.to_thread(self._soundness.look_again)
        due = await self._upkeep.keep_up()
        self._refresh()
        self.look_for_files()
        return due

    async def build_cache(self, stale_max: float = 0.0) -> cache.Built | None:
        """Makes the files of the cache that are missing; None while other bulk work goes on. See `cache.build`."""

        def build() -> cache.Built | None:
            if self._memberships.bases.directory is None:
                return cache.Built(0, 0)
            with closing(read_connection(self.settings.directory)) as connection:
                return cache.build_alone(self.settings.directory, connection, stale_max)

        built = await asyncio.to_thread(build)
        self.look_for_files()
        return built

    def look_for_files(self) -> None:
        """Goes over to files of the cache that have been made by now, by any process."""
        self._memberships.look_for_files()

    # ------------------------------------------------------------ jobs

    async def job(self, id_: str) -> Job | None:
        """A job by its id."""
        with self._memberships.lock:
            return find_job(self._connection, id_)

    async def jobs(self, after: str | None = None, limit: int = 50) -> list[Job]:
        """Jobs, the newest first, from the one after `after` on."""
        with self._memberships.lock:
            return page_of_jobs(self._connection, after, limit)

    async def job_count(self) -> int:
        """How many jobs are kept."""
        async with AsyncSession(self._async_engine) as session:
            return (await session.execute(select(func.count()).select_from(JobRow))).scalar_one()

    async def rejections(self, job: str, after_line: int = 0, limit: int = 50) -> list[Rejection]:
        """Rows that a job rejected, by line, from the one after `after_line` on."""
        with self._memberships.lock:
            return page_of_rejections(self._connection, job, after_line, limit)

    async def cancel_job(self, id_: str) -> Job:
        """Stops a job; nothing of it is applied then."""
        return await self._workers.cancel(id_)

    async def start_import(self, request: ImportRequest) -> Job:
        """Starts an import in a process of its own."""
        return await self._workers.start(request)

    async def wait_job(self, id_: str) -> Job:
        """The job once it has ended."""
        async for job in self.job_changes(id_):
            if job.ended_at is not None:
                return job
        raise NotFound(f"there is no job {id_!r}")

    async def job_changes(self, id_: str) -> AsyncIterator[Job]:
        """The job now and whenever it has moved on, until it has ended."""
        last: Job | None = None
        while (job := await self.job(id_)) is not None:
            if job != last:
                last = job
                yield job
            if job.ended_at is not None:
                return
            await asyncio.sleep(POLL_SECONDS)
        raise NotFound(f"there is no job {id_!r}", argument="id")

    async def changes(self) -> AsyncIterator[int]:
        """The version now and each newer one that is noticed; several writes at once may show as one."""
        last = -1
        while True:
            version = self.view().version
            if version != last:
                last = version
                yield version
            await asyncio.sleep(POLL_SECONDS)

    # ------------------------------------------------------------ tokens

    async def tokens(self) -> list[TokenInfo]:
        """All tokens that were not revoked."""
        return await tokens.in_force(self._async_engine)

    async def token(self, secret: str) -> TokenInfo | None:
        """Who a secret stands for, until it expires; None where it was never given or was revoked."""
        with self._memberships.lock:
            return tokens.find(self._connection, secret)
