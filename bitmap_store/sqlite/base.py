"""The members of a tag as of a version, from its fragments: bitmaps at hand, columns decoded when asked for.

Immutable once loaded, so any number of readings may use one. Selecting rows by a plan's leaf lives here
too, because the base and the changes since are selected from in the same way.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of, checksum, ids_of, intersection, packed, unpacked
from bitmap_store.croaring import AVAILABLE, ranks_of
from bitmap_store.errors import Damaged
from bitmap_store.plan import ANY_SPAN, Happened, Leaf, Range, Tagged
from bitmap_store.rows import (
    NAMES,
    ROW,
    Column,
    Row,
    Rows,
    decode_columns,
    encode,
    encoded_constants,
    is_constant,
    joined,
    rows_of,
    spread,
)
from bitmap_store.sqlite.summaries import sums_of
from bitmap_store.stopping import Stop
from bitmap_store.store import Sums
from bitmap_store.values import NEVER

SHARD_BITS = 20
SPARSE = 64
"""So many ids a row, and sorting rows is cheaper than counting by id."""

FEW = 4
"""So many places are sooner asked for one by one."""
CONSTANT_BYTES = 256
"""Encoded columns are shorter than this where each is one value."""
ROW_BYTES = 24
"""What a row takes in memory where some columns differ: two of them and the user."""


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


def shards_of(users: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The shards of ascending users."""
    shards: NDArray[np.uint32] = users >> np.uint32(SHARD_BITS)
    return shards[:1] if not len(shards) else shards[np.append(True, shards[1:] != shards[:-1])]


def fragments_of(rows: Rows) -> Iterator[Fragment]:
    """Rows in canonical order, cut into fragments by value and shard; see `fragments_and_sets`."""
    return (fragment for fragment, _ in fragments_and_sets(rows))


def fragments_and_sets(rows: Rows) -> Iterator[tuple[Fragment, BitMap]]:
    """Rows in canonical order, cut into fragments by value and shard, each with its set of users.

    Users that repeat (EVENT) keep their column. Linear in the rows up to 65,536 values and shards.
    """
    if not len(rows):
        return
    known = encoded_constants(rows)
    shards = rows["user"] >> SHARD_BITS
    first, least = int(shards[0]), int(rows["value"].min())
    count = int(shards[-1]) - first + 1
    places = rows["value"].astype(np.int64)
    places -= least
    places *= count
    places += shards
    places -= first
    if not is_constant(rows["value"]):
        if int(places.max()) < 1 << 16:
            places = places.astype(np.uint16)  # sorted in linear time
        order = np.argsort(places, kind="stable")  # so users stay in order
        places = places[order]
        rows = rows.take(slice(None))
        rows["value"] = 0  # the places say it
        rows = rows.take(order)
    starts = [0, *(np.flatnonzero(places[1:] != places[:-1]) + 1).tolist()]
    for start, end, place in zip(starts, [*starts[1:], len(rows)], places[starts].tolist(), strict=True):
        part = rows.take(slice(start, end))
        users = bitmap_of(part["user"])
        repeats = len(users) != len(part)
        packed_users = packed(users)
        columns = encode(part, ("value",) if repeats else ("user", "value"), known)
        fragment = Fragment(
            value=least + place // count,
            shard=first + place % count,
            cardinality=len(users),
            ends_first=first_end(part),
            checksum=checksum(packed_users, columns),
            users=packed_users,
            columns=columns,
        )
        yield fragment, users


class ValueBase(ABC):
    """The members of one value over all shards; a Table, whatever its columns come from."""

    __slots__ = ("_constants", "_said", "_sums", "ends_first", "value")

    def __init__(self, value: int, ends_first: int) -> None:
        self.value = value
        self.ends_first = ends_first
        self._constants: Mapping[str, Any] | None = None
        self._sums: Sums | None = None
        self._said: tuple[Any, ...] | None = None  # what every row says after its user; empty if it is not one thing

    @property
    @abstractmethod
    def users(self) -> BitMap:
        """The members; must not be changed."""

    @property
    @abstractmethod
    def length(self) -> int:
        """The number of rows: that of the members, or more where users repeat (EVENT)."""

    @property
    def members(self) -> int:
        """The number of members."""
        return len(self.users)

    @abstractmethod
    def varying(self) -> Collection[str]:
        """The columns that are not one value; `user` is among them only where users repeat."""

    @abstractmethod
    def column(self, name: str) -> Column:
        """One column, a value a row; a constant takes no memory."""

    @abstractmethod
    def part(self, name: str, places: NDArray[np.integer[Any]]) -> Column:
        """One column at some rows."""

    @abstractmethod
    def endings(self) -> tuple[Column, NDArray[np.uint32]]:
        """The expiries that are not never, ascending, and the user of each."""

    def constants(self) -> Mapping[str, Any]:
        """The columns that are one value, with it, as plain values."""
        if self._constants is None:
            varying = {"user", *self.varying()}
            self._constants = {name: self.column(name)[0].item() for name in NAMES if name not in varying}
        return self._constants

    @property
    def ids(self) -> NDArray[np.uint32]:
        """The user of each row, ascending; with repeats for events."""
        return self.column("user")

    def ended(self, moment: int) -> BitMap:
        """The members of whom a membership has ended at `moment`."""
        if moment < self.ends_first:
            return BitMap()
        moments, users = self.endings()
        return bitmap_of(users[: np.searchsorted(moments, moment, "right")])

    def alive(self, moment: int) -> BitMap:
        """The members whose membership has not ended at `moment`; must not be changed. Not for EVENT."""
        return self.users if moment < self.ends_first else self.users - self.ended(moment)

    def sums(self, stop: Stop) -> Sums:
        """The sums of all numbers there are, ended or not; worked out once."""
        if self._sums is None:
            self._sums = sums_of(self.column("units"), stop)
        return self._sums

    def next_end(self, moment: int) -> int:
        """The first expiry after `moment`."""
        if moment < self.ends_first:
            return self.ends_first
        moments, _ = self.endings()
        at = int(np.searchsorted(moments, moment, "right"))
        return int(moments[at]) if at < len(moments) else NEVER

    def rows(self, wanted: BitMap | None = None) -> Rows:
        """The rows of the wanted users, or of all."""
        if wanted is None:
            return Rows(self.length, {name: self.column(name) for name in NAMES})
        inside = intersection(self.users, wanted)
        return self.rows_of(ids_of(inside)) if inside else rows_of(0)

    def rows_at(self, user: int) -> list[Row]:
        """The same of one member, as tuples; where all members say the same, without a look at any column."""
        if self._said is None:
            constants = self.constants()
            self._said = tuple([constants[name] for name in NAMES[1:]]) if len(constants) == len(NAMES) - 1 else ()
        return [(user, *self._said)] if self._said else self.rows_of(np.array([user], np.uint32)).tolist()

    def rows_of(self, users: NDArray[np.uint32]) -> Rows:
        """The rows of users who are all members, ascending."""
        varying = self.varying()
        if "user" in varying:
            left = np.searchsorted(self.ids, users, "left")
            counts = np.searchsorted(self.ids, users, "right") - left
            places: NDArray[np.integer[Any]] = np.repeat(left - (np.cumsum(counts) - counts), counts)
            places = places + np.arange(len(places))
            users = np.repeat(users, counts)
        else:
            places = places_of(self.users, users) if varying else users  # which nothing is then taken from
        columns = {
            name: self.part(name, places) if name in varying else spread(self.column(name), len(users))
            for name in NAMES
            if name != "user"
        }
        return Rows(len(users), {"user": users, **columns})


def places_of(members: BitMap, users: NDArray[np.uint32]) -> NDArray[np.integer[Any]]:
    """Where each of ascending members stands among all."""
    if len(users) <= FEW:
        return np.array([members.rank(user) - 1 for user in users.tolist()], np.int64)
    if AVAILABLE:
        return ranks_of(members, users).view(np.int64) - 1
    return np.searchsorted(ids_of(members), users)


class FragmentValue(ValueBase):
    """The members of one value from its fragments, in memory; columns are decoded when one is first asked for."""

    __slots__ = ("_columns", "_encoded", "_endings", "_parts", "_users")

    def __init__(self, value: int, fragments: Sequence[Fragment]) -> None:
        super().__init__(value, min(fragment.ends_first for fragment in fragments))
        self._parts = [_verified(fragment) for fragment in fragments]
        self._encoded = [fragment.columns for fragment in fragments]
        self._columns: dict[str, Column] | None = None
        self._endings: tuple[Column, NDArray[np.uint32]] | None = None
        self._users = self._parts[0] if len(self._parts) == 1 else BitMap.union(*self._parts)

    @property
    def users(self) -> BitMap:
        """The members; must not be changed."""
        return self._users

    @property
    def length(self) -> int:
        """The number of rows."""
        return len(self._decoded()["value"])

    def varying(self) -> Collection[str]:
        """The columns that are not one value."""
        names = [name for name, column in self._decoded().items() if name != "user" and not is_constant(column)]
        return ["user", *names] if self.length != len(self._users) else names

    def column(self, name: str) -> Column:
        """One column, a value a row."""
        columns = self._decoded()
        if name == "user" and name not in columns:
            ids = ids_of(self._users)
            if not all(map(is_constant, tuple(columns.values()))):
                columns[name] = ids  # it will be wanted beside the others again and again
            return ids
        return columns[name]

    def part(self, name: str, places: NDArray[np.integer[Any]]) -> Column:
        """One column at some rows."""
        found: Column = self.column(name)[places]
        return found

    def _decoded(self) -> dict[str, Column]:
        if self._columns is None:
            pieces = [decode_columns(encoded) for encoded in self._encoded]
            if any("user" in columns for _, columns in pieces):  # users repeat in some shards, maybe not in all
                for users, (_, columns) in zip(self._parts, pieces, strict=True):
                    columns.setdefault("user", ids_of(users))
            sizes = [rows for rows, _ in pieces]
            count = sum(sizes)
            columns = {name: _all([columns[name] for _, columns in pieces], sizes, count) for name in pieces[0][1]}
            value = np.broadcast_to(np.array([self.value], ROW["value"]), count)
            self._columns = columns | {"value": value}  # as a whole: another thread may be asking
        return self._columns

    def endings(self) -> tuple[Column, NDArray[np.uint32]]:
        """The expiries that are not never, ascending, and the user of each."""
        if self._endings is None:
            expires = self.column("expires")
            finite = np.flatnonzero(expires != NEVER)
            finite = finite[np.argsort(expires[finite], kind="stable")]
            self._endings = expires[finite], self.ids[finite]
        return self._endings


def _all(pieces: Sequence[Column], sizes: Sequence[int], count: int) -> Column:
    """The columns of all shards one after the other; those of one element stand for as many as there are rows."""
    first = pieces[0]
    if all(len(piece) == 1 and piece.tobytes() == first.tobytes() for piece in pieces):
        return spread(first, count)
    whole = [spread(each, rows) if len(each) == 1 else each for each, rows in zip(pieces, sizes, strict=True)]
    return np.concatenate(whole)


def _bytes_decoded(fragment: Fragment) -> int:
    """About what the columns of a fragment take in memory: nothing where each is one value."""
    return len(fragment.columns) + (ROW_BYTES * fragment.cardinality if len(fragment.columns) > CONSTANT_BYTES else 0)


def _verified(fragment: Fragment) -> BitMap:
    users = unpacked(fragment.users)
    intact = checksum(fragment.users, fragment.columns) == fragment.checksum
    if not intact or len(users) != fragment.cardinality:
        raise Damaged(
            f"the stored members of value {fragment.value} (shard {fragment.shard}) do not match their checksum; "
            "restore a backup"
        )
    return users


class Numbers(Protocol):
    """An order of the members of a NUMBER or DATE tag by their numbers."""

    def within(self, low: int | None, high: int | None) -> BitMap:
        """The users whose number lies in [low, high]; None is unbounded. Must not be changed."""


class TagBase:
    """All values of one tag as of `version`. stamp: which fragments it is of.

    exclusive: it is known that no user has two of the values. private_bytes: about the memory that is not shared.
    """

    def __init__(
        self,
        version: int,
        values: Mapping[int, ValueBase],
        stamp: int = 0,
        numbers: Numbers | None = None,
        private_bytes: int = 0,
        exclusive: bool = False,
    ) -> None:
        self.version = version
        self.values = values
        self.stamp = stamp
        self.numbers = numbers
        self.private_bytes = private_bytes
        self.exclusive = exclusive
        self._members: tuple[tuple[ValueBase, BitMap], ...] | None = None

    @classmethod
    def of_fragments(cls, version: int, fragments: Iterable[Fragment], stamp: int = 0) -> "TagBase":
        """The base that fragments hold; Damaged when one of them is not as it was written."""
        by_value: dict[int, list[Fragment]] = {}
        size = 0
        for fragment in fragments:
            by_value.setdefault(fragment.value, []).append(fragment)
            size += len(fragment.users) + _bytes_decoded(fragment)
        return cls(
            version, {value: FragmentValue(value, parts) for value, parts in by_value.items()}, stamp, None, size
        )

    def rows(self, wanted: BitMap | None = None) -> Rows:
        """The rows of the wanted users, or of all; not in canonical order."""
        if wanted is None:
            return joined([value.rows() for value in self.values.values()])
        if self._members is None:
            self._members = tuple([(value, value.users) for value in self.values.values()])
        if len(wanted) <= FEW:
            few = list(wanted)
            found = [(value, user) for value, users in self._members for user in few if user in users]
            return Rows.from_tuples([row for value, user in found for row in value.rows_at(user)])
        return joined([value.rows(wanted) for value, users in self._members if users.intersect(wanted)])

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
        if isinstance(leaf, Range) and self.numbers is not None and leaf.span == ANY_SPAN:
            inside = self.numbers.within(leaf.low, leaf.high)
            return inside if moment < values[0].ends_first else inside - values[0].ended(moment)
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
