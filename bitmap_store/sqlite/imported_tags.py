"""What an import makes of one tag: the file's cells as rows, put together with what held before, as fragments.

How cells come about is in `files/`, what merging means in `merge.py`, how fragments come to hold in `staging.py`.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import ids_of
from bitmap_store.catalog import Catalog
from bitmap_store.files.cells import Cells
from bitmap_store.files.piles import Piles, piles_of
from bitmap_store.files.repeats import reject_repeats, settle
from bitmap_store.rows import Rows, in_order, is_constant, is_member, joined, rows_of
from bitmap_store.sqlite import bases, cache, jobs
from bitmap_store.sqlite.base import SHARD_BITS, Fragment, TagBase, fragments_and_sets, fragments_of, shards_of
from bitmap_store.sqlite.database import read_connection
from bitmap_store.sqlite.fresh import fresh
from bitmap_store.sqlite.layers import Change
from bitmap_store.sqlite.merge import change_of, merged, summed
from bitmap_store.sqlite.spool import Spool
from bitmap_store.sqlite.writer import Transaction, Writer
from bitmap_store.values import NEVER, SINGLE_KINDS, Rejection, Tag, TagKind

MICROSECOND = timedelta(microseconds=1)
THREADS = 2
"""Tags that are worked out at the same time; nearly all of it is done without the interpreter's lock."""
AHEAD = 2
"""Tags that are worked out before the one whose turn it is has been taken."""

Shards = NDArray[np.uint32]
Said = Cells | Piles
"""What a block says of a tag."""


class FileRows:
    """What the file says of a tag, to be asked for a few users in the flip.

    Where nothing held before, the staged fragments say just that, and there is no need to keep it twice.
    """

    def __init__(self, tag: int, generation: int, rows: Rows | None = None) -> None:
        self._tag = tag
        self._generation = generation
        self._rows = rows
        self._known = BitMap()
        self._found = rows_of(0)

    def of(self, raw: sqlite3.Connection, users: BitMap) -> Rows:
        """The rows of these users, in canonical order. To be asked beforehand makes asking again a look-up."""
        if self._rows is not None:
            return self._rows.of(users)
        unknown = users - self._known
        if unknown:
            shards = shards_of(ids_of(unknown))
            found = TagBase.of_fragments(
                0, bases.staged_fragments(raw, self._tag, self._generation, shards.tolist()), 0
            )
            self._found = in_order(joined([self._found, found.rows(unknown)]))
            self._known |= unknown
        return self._found.of(users)


@dataclass(slots=True)
class Staged:
    """A tag whose fragments are staged: what the file says, whom that changes, and the shards that were rewritten.

    version: up to which the fragments hold the log; who was written later is worked out again in the flip. stamp:
    that of the file of the cache which holds the tag as it was staged.
    """

    tag: int
    kind: TagKind
    said: FileRows
    touched: BitMap
    version: int
    shards: Shards
    stamp: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import makes of a tag, still to be staged. rejected: rows of the file that repeat others."""

    staged: Staged
    fragments: Sequence[Fragment]
    change: Change | None
    rejected: Sequence[Rejection] = ()


class ImportedTags:
    """The tags of one import; any thread may work one out.

    source: its id. generation: of the fragments. repeated: rows of a table that are rejected already. moment: when the
    import began, in microseconds.
    """

    def __init__(
        self,
        writer: Writer,
        request: jobs.ImportRequest,
        catalog: Catalog,
        moment: int,
        source: int,
        generation: int,
        repeated: Sequence[Rejection],
        spool: Spool,
    ) -> None:
        self._writer = writer
        self._request = request
        self._catalog = catalog
        self._moment = moment
        self._source = source
        self._generation = generation
        self._repeated = repeated
        self._spool = spool

    def outcomes(self, cells: dict[str, list[Said]]) -> Iterator[Outcome]:
        """What becomes of all tags, one after the other; the cells are taken out as they are used."""
        waiting: list[Future[Outcome]] = []
        with ThreadPoolExecutor(THREADS, "tagroar-tags") as pool:
            try:
                while cells or waiting:
                    while cells and len(waiting) < THREADS + AHEAD:
                        waiting.append(pool.submit(self._outcome, *cells.popitem()))
                    yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()

    def everyone(self, entity: int, users: BitMap) -> Outcome:
        """That the users exist."""
        rows = rows_of(len(users))
        rows["user"] = ids_of(users)
        rows["since"] = self._moment
        return self._merged(-entity, TagKind.FLAG, rows, replace=False)

    def _outcome(self, key: str, said: Sequence[Said]) -> Outcome:
        tag = self._catalog.tag(key)
        piles = [part for part in said if isinstance(part, Piles)]
        if piles and len(piles) == len(said) and (outcome := self._fresh(tag, piles)) is not None:
            return outcome
        parts = [part.cells(key) if isinstance(part, Piles) else part for part in said]
        rows, rejected = rows_of(0), list[Rejection]()
        if parts and self._request.kind == "table":
            rows = self._rows(tag, settle(parts, self._repeated))
        elif parts:
            cells, rejected = reject_repeats(parts)
            rows = self._rows(tag, cells)
        new = summed(rows) if tag.kind is TagKind.EVENT else in_order(rows)
        found = self._merged(tag.id, tag.kind, new, self._request.mode == "replace")
        return Outcome(found.staged, found.fragments, found.change, rejected)

    def _rows(self, tag: Tag, cells: Cells) -> Rows:
        """Cells as rows, with the ids of their values; new values of open tags get one."""
        rows = rows_of(len(cells))
        rows["user"] = cells.users
        if cells.values is not None:
            names = cells.values.names.to_pylist()
            known = self._known(tag, names)
            # An event without a value has the id 0, as in a batch.
            rows["value"] = np.array([*(known[name] for name in names), 0], np.int32)[cells.values.codes]
        columns: Iterable[tuple[str, NDArray[Any] | None]] = (
            ("units", cells.units),
            ("count", cells.counts),
            ("last", cells.last),
            ("expires", cells.expires),
            ("score", cells.score),
        )
        for name, column in columns:
            if column is not None:
                rows[name] = column
        self._stamp(tag, rows)
        return rows

    def _known(self, tag: Tag, names: list[str]) -> Mapping[str, int]:
        """The ids of values; new ones of open tags get one."""
        known: Mapping[str, int] = self._catalog.values(tag).names
        if known.keys() >= set(names):
            return known
        return self._writer.submit(lambda transaction: _all_known(transaction, tag, names)).result()

    def _stamp(self, tag: Tag, rows: Rows) -> None:
        """What rows say that the file does not: where they come from, since when, and maybe until when."""
        rows["source"] = self._source
        rows["since"] = self._moment
        if tag.valid_for is not None:
            _end(rows, tag.valid_for // MICROSECOND, None if tag.kind is TagKind.EVENT else self._moment)

    def _fresh(self, tag: Tag, piles: Sequence[Piles]) -> Outcome | None:
        """What becomes of a tag that has no members yet; None for others, and where a user stands twice."""
        memberships = self._writer.memberships
        version = memberships.tail()
        if not memberships.is_empty(tag.id, version):
            return None
        users = piles_of(piles, tag.key)
        known = self._known(tag, [name for name in users if name is not None])
        row = rows_of(1)
        self._stamp(tag, row)
        of_values = {
            0 if name is None else known[name]: ids.astype(np.uint32, copy=False) for name, ids in users.items()
        }
        found = fresh(of_values, row, tag.kind in SINGLE_KINDS)
        if found is None:
            return None
        files = self._writer.memberships.bases.directory
        stamp = None if files is None else cache.prepare_base(files.parent, tag.id, partial(found.base, version))
        said = FileRows(tag.id, self._generation)
        staged = Staged(tag.id, tag.kind, said, found.touched, version, found.shards, stamp)
        return Outcome(staged, found.fragments, Change(found.touched, rows_of(0), None))

    def _merged(self, tag: int, kind: TagKind, new: Rows, replace: bool) -> Outcome:
        """The fragments as they will be, from rows in canonical order, and what that changes."""
        memberships = self._writer.memberships
        version = memberships.tail()
        every = memberships.rows(tag, version)
        behind = memberships.overlaid(tag, version)
        if not len(every) and not behind:
            found = list(fragments_and_sets(new))
            touched = BitMap.union(BitMap(), *(users for _, users in found))
            fragments = [fragment for fragment, _ in found]
            shards = shards_of(new["user"])
            stamp = self._prepared(tag, version, fragments, shards)
            staged = Staged(tag, kind, FileRows(tag, self._generation), touched, version, shards, stamp)
            return Outcome(staged, fragments, Change(touched, every, None) if touched else None)
        inside = np.ones(len(every), np.bool_) if replace else is_member(every["user"], new["user"])
        before = every if inside.all() else every.take(inside)
        after = merged(kind, before, new, self._moment, replace)
        change = change_of(before, after)
        shards = np.unique(np.concatenate([shards_of(part) for part in (new["user"], before["user"], ids_of(behind))]))
        rest = every.take(~inside & is_member(every["user"] >> SHARD_BITS, shards))
        fragments = list(fragments_of(in_order(joined([rest, after]))))
        said = FileRows(tag, self._generation, self._spool.kept_rows(new))
        touched = BitMap() if change is None else change.touched
        stamp = self._prepared(tag, version, fragments, shards)
        return Outcome(Staged(tag, kind, said, touched, version, shards, stamp), fragments, change)

    def _prepared(self, tag: int, version: int, fragments: Sequence[Fragment], shards: Shards) -> int | None:
        """The stamp of a file of the cache with the tag as it will be; None where there are no such files."""
        files = self._writer.memberships.bases.directory
        if files is None:
            return None
        with closing(read_connection(files.parent)) as connection:
            to_be = [*fragments, *bases.fragments(connection, tag, without=shards.tolist())]
        to_be.sort(key=attrgetter("value", "shard"))
        return cache.prepare_of(files.parent, tag, version, to_be)


def _all_known(transaction: Transaction, tag: Tag, names: list[str]) -> Mapping[str, int]:
    """The ids of values, of which those that are missing are given one."""
    known = transaction.catalog.values(tag).names
    missing = [name for name in names if name not in known]
    return transaction.add_values(tag, missing) if missing else known


def _end(rows: Rows, span: int, start: int | None) -> None:
    """Lets rows without an end have one, `span` microseconds after a moment; None: after their own."""
    if start is not None and is_constant(rows["expires"]) and (rows["expires"][:1] == NEVER).all():
        rows["expires"] = start + span
        return
    open_ended = rows["expires"] == NEVER
    rows.put("expires", open_ended, span + (rows["last"][open_ended] if start is None else start))
