"""An import from file to flip, in a process of its own.

Rows are read and resolved block by block, fragments are staged tag by tag in short transactions, and one
last transaction makes all of it visible as one version. Users written meanwhile are worked out again
there. Until then nothing is visible, so a crash leaves nothing but staging, which the next import drops.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of, intersection
from bitmap_store.catalog import Catalog
from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import Invalid
from bitmap_store.files.blocks import PROFILES
from bitmap_store.files.cells import Interpreted, Users
from bitmap_store.files.piles import Piled
from bitmap_store.files.profiles import ProfileRows, profiles
from bitmap_store.files.reader import ahead, read_blocks
from bitmap_store.files.repeats import repeated_rows
from bitmap_store.files.table import WideRows
from bitmap_store.sqlite import cache, jobs
from bitmap_store.sqlite.database import read_connection
from bitmap_store.sqlite.definitions import define_tag
from bitmap_store.sqlite.file_names import FileNames, Met
from bitmap_store.sqlite.imported_tags import ImportedTags, Said, Staged
from bitmap_store.sqlite.layers import Change
from bitmap_store.sqlite.merge import change_of, merged
from bitmap_store.sqlite.name_upkeep import renew_file
from bitmap_store.sqlite.routes import route_of, tags_suggested
from bitmap_store.sqlite.spool import Spool
from bitmap_store.sqlite.staging import Staging, swap, sweep
from bitmap_store.sqlite.writer import Transaction, Writer
from bitmap_store.values import (
    EntityKind,
    Identifier,
    JobState,
    Rejection,
    WriteResult,
)

PROGRESS_SECONDS = 0.5
T = TypeVar("T")
M = TypeVar("M", bound=Interpreted)


class Cancelled(Exception):
    """The job was asked to stop."""


class Abandoned(Exception):
    """The process that started the job is gone."""


@dataclass(slots=True)
class Totals:
    """Rows so far."""

    read: int = 0
    rejected: int = 0
    waiting: list[Rejection] = field(default_factory=list)


class Import:
    """One import. The caller holds the lock of all bulk work, so that bases move only here meanwhile."""

    def __init__(self, writer: Writer, job: str, request: jobs.ImportRequest, parent: int) -> None:
        self._writer = writer
        self._parent = parent
        self._job = job
        self._request = request
        self._totals = Totals()
        self._told = 0.0
        self._moment = writer.clock.micros()
        self._said: dict[str, list[Said]] = {}
        self._users = Met()
        self._wide: list[WideRows] = []
        self._spool = Spool(writer.names.directory)

    def _write(self, run: Callable[[Transaction], T]) -> T:
        return self._writer.submit(run).result()

    def run(self) -> WriteResult:
        """Imports the file. Whatever is raised, nothing has been applied."""
        request = self._request
        started = self._write(self._start)
        if started is not None:
            return started
        catalog = self._write(lambda transaction: transaction.catalog)
        entity = catalog.entity(request.entity, argument="entity")
        names = FileNames(self._writer, entity, request.id_kind)
        if request.kind == "profiles":
            found = list(self._read_profiles(names))
            return self._write(lambda transaction: self._apply_profiles(transaction, entity, names, found))
        if request.define:
            catalog = self._define(entity)
        try:
            return self._import(entity, names, catalog)
        finally:
            self._spool.close()

    def _import(self, entity: EntityKind, names: FileNames, catalog: Catalog) -> WriteResult:
        request = self._request
        self._read(entity, names, catalog)
        renew_file(self._writer, entity.id)  # before the flip, so that whoever sees new users finds their names fast
        if self._totals.read == self._totals.rejected and request.mode == "replace":
            raise Invalid("no row of the file can be applied; with mode=replace that would empty every tag it names")
        staging = Staging(self._writer)
        staged = list(self._stage_all(entity, staging))
        staging.finish()
        self._prepare_rows(staged)
        self._look_up_late(staged)
        result = self._write(lambda transaction: self._flip(transaction, entity, names, staging.generation, staged))
        sweep(self._writer)
        return result

    def _prepare_rows(self, staged: Sequence[Staged]) -> None:
        """Makes the rows per user as they will be from the flip on; the bases were made with the fragments."""
        files = self._writer.memberships.bases.directory
        if files is not None:
            with closing(read_connection(files.parent)) as connection:
                cache.prepare_rows(files.parent, connection, {part.tag: part.stamp for part in staged if part.stamp})

    def _start(self, transaction: Transaction) -> WriteResult | None:
        jobs.advance(transaction, self._job, state=JobState.RUNNING, started_at=transaction.moment)
        key = self._request.key
        return transaction.applied(key, self._fingerprint(transaction)) if key else None

    def _fingerprint(self, transaction: Transaction) -> str:
        (found,) = transaction.raw.execute("SELECT fingerprint FROM job WHERE id = ?", (self._job,)).fetchone()
        return str(found)

    def _tell(self, progress: float, force: bool = False) -> None:
        """Writes how far the import is, now and then; raises Cancelled when it is to stop."""
        now = time.monotonic()
        if not force and now - self._told < PROGRESS_SECONDS:
            return
        self._told = now
        totals, rejected = self._totals, self._totals.waiting
        totals.waiting = []

        def tell(transaction: Transaction) -> bool:
            jobs.reject(transaction, self._job, rejected)
            return jobs.advance(
                transaction, self._job, progress=progress, rows_read=totals.read, rows_rejected=totals.rejected
            )

        if not self._write(tell):
            raise Cancelled
        if os.getppid() != self._parent:
            raise Abandoned

    def _reject(self, rejections: Sequence[Rejection]) -> None:
        self._totals.rejected += len(rejections)
        self._totals.waiting.extend(rejections)

    # ------------------------------------------------------------ reading

    def _define(self, entity: EntityKind) -> Catalog:
        """Defines the tags that the file names and the catalog does not."""
        inferred = tags_suggested(self._request.kind, self._request.path, self._request.format)

        def define(transaction: Transaction) -> Catalog:
            for guess in inferred:
                if guess.key not in transaction.catalog.tags:
                    define_tag(
                        transaction,
                        TagDefinition(
                            key=guess.key,
                            kind=guess.kind,
                            entity=entity.key,
                            scale=guess.scale,
                            precision=guess.precision,
                        ),
                    )
            return transaction.catalog

        return self._write(define)

    def _read(self, entity: EntityKind, names: FileNames, catalog: Catalog) -> None:
        """Reads the whole file into pieces by tag."""
        request = self._request
        size = max(request.path.stat().st_size, 1)
        route = route_of(request.kind, catalog, entity.key, self._writer.timezone)
        blocks = ahead(read_blocks(request.path, request.format, route.shape))
        for block, meant in ahead((block, route.interpret(block)) for block in blocks):
            self._totals.read += block.rows
            self._reject([*block.rejected, *meant.rejected])
            ids = names.resolve(meant.names)
            if int(ids.min(initial=0)) < 0:
                whole = meant.as_cells() if isinstance(meant, Piled) else meant
                meant = self._without_refused(whole, ids < 0, names)
            numbered = meant.numbered(ids.astype(np.uint32, copy=False)).kept(self._spool.kept)
            self._users.add(ids)
            if request.kind == "table" and request.mode == "replace":  # a column that says nothing empties its tag
                for key in block.columns.keys() - {"user"}:
                    self._said.setdefault(key, [])
            if isinstance(numbered, WideRows):
                self._wide.append(numbered)
            if isinstance(numbered, Piled):
                piles = numbered.piles
                for tag in piles.tags():
                    self._said.setdefault(tag, []).append(piles)
            for cells in numbered.cells:
                self._said.setdefault(cells.tag, []).append(cells)
            self._tell(0.6 * min(1.0, block.bytes_done / size))

    def _without_refused(self, meant: M, refused: NDArray[np.bool_], names: FileNames) -> M:
        """What a block means, less the rows of users who cannot be named so; those are rejected."""
        said = [(part.users, part.lines) for part in meant.cells]
        if isinstance(meant, WideRows):
            said.append((meant.users, meant.lines))
        wrong = {
            int(line): int(user)
            for users, lines in said
            for user, line in zip(users[refused[users]], lines[refused[users]], strict=True)
        }
        self._reject(
            [Rejection(line, "CONFLICT", names.refusal(str(meant.names[user]))) for line, user in wrong.items()]
        )
        cells = [part.take(~refused[part.users]) for part in meant.cells]
        if not isinstance(meant, WideRows):
            return replace(meant, cells=cells)
        kept = ~refused[meant.users]
        return replace(meant, cells=cells, good=np.arange(len(meant.rows.users))[meant.good][kept])

    # ------------------------------------------------------------ profiles

    def _read_profiles(self, names: FileNames) -> Iterable[tuple[ProfileRows, Users]]:
        size = max(self._request.path.stat().st_size, 1)
        for block in read_blocks(self._request.path, self._request.format, PROFILES):
            rows = profiles(block)
            self._totals.read += block.rows
            self._reject([*block.rejected, *rows.rejected])
            yield rows, names.resolve(rows.users)
            self._tell(0.8 * min(1.0, block.bytes_done / size))

    def _apply_profiles(
        self,
        transaction: Transaction,
        entity: EntityKind,
        names: FileNames,
        found: Sequence[tuple[ProfileRows, Users]],
    ) -> WriteResult:
        """Applies all rows in order; a row with an identifier of somebody else's is rejected as a whole."""
        changed = 0
        users = BitMap()
        for rows, dense in found:
            identifiers = {kind: column.to_pylist() for kind, column in rows.identifiers.items()}
            lines, attributes = rows.lines.tolist(), rows.attributes.to_pylist()
            for i, user in enumerate(dense.tolist()):
                if user < 0:
                    self._reject([Rejection(lines[i], "CONFLICT", names.refusal(rows.users[i].as_py()))])
                    continue
                linked = [Identifier(kind, column[i]) for kind, column in identifiers.items() if column[i] is not None]
                taken = next((each for each in linked if transaction.owner(entity, each) not in (None, user)), None)
                if taken is not None:
                    sentence = f"the {taken.kind} {taken.value!r} belongs to another user"
                    self._reject([Rejection(lines[i], "CONFLICT", sentence)])
                    continue
                said = json.loads(attributes[i])
                try:
                    changed += bool(said) and transaction.merge_attributes(entity, user, said)
                except Invalid as error:
                    self._reject([Rejection(lines[i], error.code, error.message)])
                    continue
                users.add(user)
                changed += sum(transaction.link(entity, user, each) for each in linked)
        created = transaction.create(entity, users)
        names.link(transaction, users)
        return self._finish(transaction, changed, created)

    # ------------------------------------------------------------ staging

    def _stage_all(self, entity: EntityKind, staging: Staging) -> Iterable[Staged]:
        source = self._write(lambda transaction: transaction.source_id(self._source()))
        catalog = self._write(lambda transaction: transaction.catalog)
        repeated = repeated_rows(self._wide) if self._wide else []
        self._wide.clear()
        self._reject(repeated)
        tags = ImportedTags(
            self._writer, self._request, catalog, self._moment, source, staging.generation, repeated, self._spool
        )
        total = len(self._said) + 1
        for done, outcome in enumerate(tags.outcomes(self._said), 1):
            self._reject(outcome.rejected)
            staging.add(outcome.staged.tag, outcome.fragments, outcome.change)
            yield outcome.staged
            self._tell(0.6 + 0.35 * done / total)
        outcome = tags.everyone(entity.id, self._users.all())
        staging.add(outcome.staged.tag, outcome.fragments, outcome.change)
        yield outcome.staged

    def _source(self) -> str:
        return self._request.source or self._request.title or f"import {self._job}"

    # ------------------------------------------------------------ the flip

    def _look_up_late(self, staged: Sequence[Staged]) -> None:
        """Looks up what the file says of users written meanwhile, so that the flip need not, but of the last few."""
        memberships = self._writer.memberships
        memberships.tail()
        for part in staged:
            late = memberships.touched_since(part.tag, part.version)
            if late:
                self._write(partial(_look_up, part, late))

    def _flip(
        self,
        transaction: Transaction,
        entity: EntityKind,
        names: FileNames,
        generation: int,
        staged: Sequence[Staged],
    ) -> WriteResult:
        changed = created = 0
        for part in staged:
            touched = self._flip_tag(transaction, generation, part)
            if part.tag == -entity.id:
                created = touched
            else:
                changed += touched
        names.link(transaction, self._users.all())
        return self._finish(transaction, changed, created)

    def _flip_tag(self, transaction: Transaction, generation: int, part: Staged) -> int:
        """Swaps the fragments of a tag; how many users changed. Users written meanwhile are worked out again."""
        memberships = transaction.memberships
        replace = self._request.mode == "replace" and part.tag > 0
        late = memberships.touched_since(part.tag, part.version)
        said = part.said.of(transaction.raw, late)
        if not replace:
            late = intersection(late, bitmap_of(said["user"]))
        change: Change | None = None
        if late:
            before = memberships.rows(part.tag, transaction.current, late)
            change = change_of(before, merged(part.kind, before, said, transaction.moment, replace))
        early = part.touched - late
        if early or not part.touched:
            swap(transaction, part.tag, generation, part.shards, part.version, part.stamp)
        if early:
            transaction.record_flip(part.tag, generation, intersection(late, part.touched))
        # Else all that the fragments would change was written meanwhile, so the log has it. With no change of its own
        # the flip would leave no trace of what they say of those users, and readings of before could not take it back.
        if change is not None:
            transaction.record(part.tag, change)
        return len(early) + (0 if change is None else len(change.touched))

    def _finish(self, transaction: Transaction, changed: int, created: int) -> WriteResult:
        totals = self._totals
        result = WriteResult(transaction.current, changed, created)
        transaction.remember(self._request.key, self._fingerprint(transaction), result, self._job)
        jobs.reject(transaction, self._job, totals.waiting)
        proceed = jobs.advance(
            transaction,
            self._job,
            progress=1.0,
            rows_read=totals.read,
            rows_applied=totals.read - totals.rejected,
            rows_rejected=totals.rejected,
        )
        if not proceed:
            raise Cancelled
        totals.waiting = []
        jobs.end(transaction, self._job, JobState.DONE)
        return result


def _look_up(part: Staged, users: BitMap, transaction: Transaction) -> None:
    part.said.of(transaction.raw, users)
