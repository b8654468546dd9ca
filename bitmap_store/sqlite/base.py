"""The members of a tag as of a version, from its fragments: bitmaps at hand, columns decoded when asked for.

Immutable once loaded, so any number of readings may use one. Selecting rows by a plan's leaf lives here
too, because the base and the changes since are selected from in the same way.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of, checksum, ids_of, packed, unpacked
from bitmap_store.errors import Damaged
from bitmap_store.plan import ANY_SPAN, Happened, Range, Tagged
from bitmap_store.rows import (
    NAMES,
    ROW,
    Column,
    Rows,
    decode_columns,
    encode,
    is_constant,
    joined,
    joined_column,
    rows_of,
)
from bitmap_store.values import NEVER

SHARD_BITS = 20
SPARSE = 64
"""So many ids a row, and sorting rows is cheaper than counting by id."""

Leaf = Tagged | Range | Happened


class Table(Protocol):
    """Memberships as columns, whatever keeps them."""

    @property
    def ids(self) -> NDArray[np.uint32]:
        """The user of each row; rows of one user stand together, users ascend."""

    @property
    def ends_first(self) -> int:
        """The earliest expiry of any row."""

    def column(self, name: str) -> Column:
        """One column of ROW, a value a row."""


class RowTable:
    """Rows that are already decoded, as a Table."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.ids: NDArray[np.uint32] = rows["user"]
        self.ends_first = first_end(rows)

    def column(self, name: str) -> Column:
        """One column of ROW, a value a row."""
        return self.rows[name]


def first_end(rows: Rows) -> int:
    """The earliest expiry of any row."""
    expires = rows["expires"]
    return int(expires[:1].min() if is_constant(expires) else expires.min()) if len(rows) else NEVER


@dataclass(frozen=True, slots=True)
class Fragment:
    """The members of one value in one shard, as they are stored."""

    value: int
    shard: int
    cardinality: int
    ends_first: int
    checksum: int
    users: bytes
    columns: bytes


def fragments_of(rows: Rows) -> Iterator[Fragment]:
    """Rows in canonical order, cut into fragments by value and shard. Users that repeat (EVENT) keep their column."""
    if not len(rows):
        return
    shards = rows["user"] >> SHARD_BITS
    places = rows["value"].astype(np.int64) << (32 - SHARD_BITS) | shards
    if int(places.max()) < 1 << 16:
        places = places.astype(np.uint16)  # sorted in linear time
    order = np.argsort(places, kind="stable")  # so users stay in order
    rows, shards, places = rows.take(order), shards[order], places[order]
    cuts = np.flatnonzero(places[1:] != places[:-1]) + 1
    starts = [0, *cuts.tolist()]
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        part = rows.take(slice(start, end))
        users = bitmap_of(part["user"])
        repeats = len(users) != len(part)
        packed_users = packed(users)
        columns = encode(part, without=("value",) if repeats else ("user", "value"))
        yield Fragment(
            value=int(part["value"][0]),
            shard=int(shards[start]),
            cardinality=len(users),
            ends_first=first_end(part),
            checksum=checksum(packed_users, columns),
            users=packed_users,
            columns=columns,
        )


class ValueBase:
    """The members of one value over all shards; a Table. Its columns are decoded when one is first asked for."""

    def __init__(self, value: int, fragments: Sequence[Fragment]) -> None:
        self._parts = [_verified(fragment) for fragment in fragments]
        self._encoded = [fragment.columns for fragment in fragments]
        self._columns: dict[str, Column] | None = None
        self._endings: tuple[Column, NDArray[np.uint32]] | None = None
        self.value = value
        self.users = self._parts[0] if len(self._parts) == 1 else BitMap.union(*self._parts)
        self.ends_first = min(fragment.ends_first for fragment in fragments)

    @property
    def ids(self) -> NDArray[np.uint32]:
        """The user of each row, ascending; with repeats for events."""
        return self.column("user")

    def column(self, name: str) -> Column:
        """One column, a value a row; a constant takes no memory."""
        columns = self._decoded()
        if name == "user" and name not in columns:
            ids = ids_of(self.users)
            if not all(map(is_constant, tuple(columns.values()))):
                columns[name] = ids  # it will be wanted beside the others again and again
            return ids
        return columns[name]

    def _decoded(self) -> dict[str, Column]:
        if self._columns is None:
            pieces = [decode_columns(encoded) for encoded in self._encoded]
            if any("user" in columns for _, columns in pieces):  # users repeat in some shards, maybe not in all
                for users, (_, columns) in zip(self._parts, pieces, strict=True):
                    columns.setdefault("user", ids_of(users))
            count = sum(rows for rows, _ in pieces)
            found = {
                name: joined_column([np.broadcast_to(columns[name], rows) for rows, columns in pieces], count)
                for name in pieces[0][1]
            }
            found["value"] = np.broadcast_to(np.array([self.value], ROW["value"]), count)
            self._columns = found  # as a whole: another thread may be asking
        return self._columns

    def alive(self, moment: int) -> BitMap:
        """The members whose membership has not ended at `moment`; must not be changed."""
        if moment < self.ends_first:
            return self.users
        moments, users = self._ending()
        ended = users[: np.searchsorted(moments, moment, "right")]
        return self.users - bitmap_of(ended)

    def next_end(self, moment: int) -> int:
        """The first expiry after `moment`."""
        if moment < self.ends_first:
            return self.ends_first
        moments, _ = self._ending()
        at = int(np.searchsorted(moments, moment, "right"))
        return int(moments[at]) if at < len(moments) else NEVER

    def _ending(self) -> tuple[Column, NDArray[np.uint32]]:
        if self._endings is None:
            expires = self.column("expires")
            finite = np.flatnonzero(expires != NEVER)
            finite = finite[np.argsort(expires[finite], kind="stable")]
            self._endings = expires[finite], self.ids[finite]
        return self._endings

    def rows(self, wanted: BitMap | None = None) -> Rows:
        """The rows of the wanted users, or of all."""
        columns = self._decoded()
        if wanted is None:
            return Rows(len(columns["value"]), {name: self.column(name) for name in NAMES})
        inside = ids_of(self.users & wanted)
        if not len(inside):
            return rows_of(0)
        if all(is_constant(column) for name, column in columns.items() if name != "user"):
            rows = rows_of(len(inside))
            for name, column in columns.items():
                rows[name] = column[:1]
            rows["user"] = inside
            return rows
        left = np.searchsorted(self.ids, inside, "left")
        counts = np.searchsorted(self.ids, inside, "right") - left
        at = np.repeat(left - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
        return Rows(len(columns["value"]), {name: self.column(name) for name in NAMES}).take(at)


def _verified(fragment: Fragment) -> BitMap:
    users = unpacked(fragment.users)
    intact = checksum(fragment.users, fragment.columns) == fragment.checksum
    if not intact or len(users) != fragment.cardinality:
        raise Damaged(
            f"the stored members of value {fragment.value} (shard {fragment.shard}) do not match their checksum; "
            "restore a backup"
        )
    return users


class TagBase:
    """All values of one tag as of `version`."""

    def __init__(self, version: int, fragments: Iterable[Fragment]) -> None:
        by_value: dict[int, list[Fragment]] = {}
        for fragment in fragments:
            by_value.setdefault(fragment.value, []).append(fragment)
        self.version = version
        self.values = {value: ValueBase(value, parts) for value, parts in by_value.items()}

    def rows(self, wanted: BitMap | None = None) -> Rows:
        """The rows of the wanted users, or of all; not in canonical order."""
        parts = [value.rows(wanted) for value in self.values.values()]
        return joined(parts)

    def members(self, leaf: Leaf, moment: int) -> BitMap:
        """The users of a leaf; must not be changed."""
        wanted = getattr(leaf, "values", None)
        values = (
            list(self.values.values())
            if wanted is None
            else [self.values[value] for value in wanted if value in self.values]
        )
        if not values:
            return BitMap()
        if isinstance(leaf, Happened):
            return happened(leaf, moment, values)
        if isinstance(leaf, Tagged) and leaf.span == ANY_SPAN:
            sets = [value.alive(moment) for value in values]
        else:
            sets = [bitmap_of(value.ids[selected(leaf, moment, value)]) for value in values]
        return sets[0] if len(sets) == 1 else BitMap.union(*sets)

    def next_end(self, moment: int) -> int:
        """The first expiry after `moment`."""
        return min((value.next_end(moment) for value in self.values.values()), default=NEVER)


def selected(leaf: Tagged | Range, moment: int, table: Table) -> NDArray[np.bool_]:
    """Which rows fulfil the conditions of a leaf, other than on the value."""
    chosen = np.ones(len(table.ids), bool)
    if table.ends_first <= moment:
        chosen &= table.column("expires") > moment
    if isinstance(leaf, Range):
        units = table.column("units")
        if leaf.low is not None:
            chosen &= units >= leaf.low
        if leaf.high is not None:
            chosen &= units <= leaf.high
    span = leaf.span
    if span.since_from is not None:
        chosen &= table.column("since") >= span.since_from
    if span.since_until is not None:
        chosen &= table.column("since") < span.since_until
    if span.score_min is not None:
        chosen &= table.column("score") >= span.score_min  # NaN is never at least anything
    return chosen


def happened(leaf: Happened, moment: int, tables: Sequence[Table]) -> BitMap:
    """Users with at least `times` events in the leaf's days, over all the tables together."""
    users: list[NDArray[np.uint32]] = []
    counts: list[Column] = []
    for table in tables:
        chosen = np.ones(len(table.ids), bool)
        days = table.column("units")
        if table.ends_first <= moment:
            chosen &= table.column("expires") > moment
        if leaf.first_day is not None:
            chosen &= days >= leaf.first_day
        if leaf.last_day is not None:
            chosen &= days <= leaf.last_day
        users.append(table.ids[chosen])
        if leaf.times > 1:
            counts.append(table.column("count")[chosen])
    every = np.concatenate(users)
    if leaf.times == 1 or not len(every):
        return bitmap_of(every)
    weights = np.concatenate(counts)  # summed as doubles: exact up to 2^53 events of a user
    if int(every.max()) < SPARSE * len(every):
        return bitmap_of(np.flatnonzero(np.bincount(every, weights) >= leaf.times).astype(np.uint32))
    # Few users with high ids: a sort costs less than a counter for every id below the highest.
    distinct, place = np.unique(every, return_inverse=True)
    return bitmap_of(distinct[np.bincount(place, weights) >= leaf.times])


def members_of_rows(leaf: Leaf, moment: int, rows: Rows) -> BitMap:
    """The users of a leaf among decoded rows."""
    wanted = getattr(leaf, "values", None)
    if wanted is not None:
        rows = rows.take(np.isin(rows["value"], wanted))
    table = RowTable(rows)
    if isinstance(leaf, Happened):
        return happened(leaf, moment, [table])
    return bitmap_of(table.ids[selected(leaf, moment, table)])
