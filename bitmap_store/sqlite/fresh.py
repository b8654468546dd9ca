"""A tag that had no members, straight from the users of its values: sets are made once, for fragments and cache alike.

All its rows say the same but for user and value. Whatever else a tag may be is put together in `imported_tags.py`.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of, checksum, ids_of, packed, union
from bitmap_store.rows import NAMES, ROW, Column, Rows, encode, encoded_constants, spread
from bitmap_store.sqlite.base import SHARD_BITS, Fragment, TagBase, ValueBase, first_end

Ids = NDArray[np.uint32]


class FreshValue(ValueBase):
    """The members of one value, of whom each row says the same: `row`, as plain values."""

    __slots__ = ("_row", "_users")

    def __init__(self, value: int, users: BitMap, row: Mapping[str, Any]) -> None:
        super().__init__(value, row["expires"])
        self._users = users
        self._row = row

    @property
    def users(self) -> BitMap:
        """The members; must not be changed."""
        return self._users

    @property
    def length(self) -> int:
        """The number of rows, a member each."""
        return len(self._users)

    def varying(self) -> Collection[str]:
        """The columns that are not one value: none."""
        return ()

    def column(self, name: str) -> Column:
        """One column, a value a row."""
        if name == "user":
            return ids_of(self._users)
        return spread(np.array([self.constants()[name]], ROW[name]), self.length)

    def part(self, name: str, places: NDArray[np.integer[Any]]) -> Column:
        """One column at some rows."""
        found: Column = self.column(name)[places]
        return found

    def constants(self) -> Mapping[str, Any]:
        """The columns that are one value, with it, as plain values."""
        return {**self._row, "value": self.value}

    def endings(self) -> tuple[Column, Ids]:
        """The expiries that are not never, ascending, and the user of each."""
        return self.column("expires"), self.ids


@dataclass(frozen=True, slots=True)
class Fresh:
    """A tag as it will be. touched: all its members. exclusive: none of them has two of its values."""

    touched: BitMap
    fragments: list[Fragment]
    values: Mapping[int, FreshValue]
    exclusive: bool

    def base(self, version: int, stamp: int) -> TagBase:
        """The base that the fragments hold."""
        return TagBase(version, self.values, stamp, exclusive=self.exclusive)

    @property
    def shards(self) -> Ids:
        """The shards that have a fragment, ascending."""
        return np.unique(np.array([fragment.shard for fragment in self.fragments], np.uint32))


def fresh(users: Mapping[int, Ids], row: Rows, single: bool) -> Fresh | None:
    """The tag that has these users by value, ascending, each saying what one row says.

    None where a user stands twice in a value, or where a user has but one value (single) in two of them.
    """
    sets = {value: bitmap_of(users[value]) for value in sorted(users)}
    if any(len(members) != len(users[value]) for value, members in sets.items()):
        return None
    touched = union([*sets.values()]) if sets else BitMap()
    exclusive = len(touched) == sum(map(len, sets.values()))
    if single and not exclusive:
        return None
    rows = row.take(np.zeros(max(map(len, sets.values()), default=0), np.intp))
    known = encoded_constants(rows)
    fragments = [
        Fragment(value, shard, len(members), first_end(row), checksum(data, columns), data, columns)
        for value, whole in sets.items()
        for shard, members in _by_shard(users[value], whole)
        for data, columns in [(packed(members), encode(rows.take(slice(0, len(members))), ("user", "value"), known))]
    ]
    said = {name: row[name][0].item() for name in NAMES if name != "user"}
    values = {value: FreshValue(value, members, said) for value, members in sets.items()}
    return Fresh(touched, fragments, values, exclusive)


def _by_shard(ids: Ids, whole: BitMap) -> Iterator[tuple[int, BitMap]]:
    """The parts of a set, which has these ids, that lie in each shard."""
    first, last = int(ids[0]) >> SHARD_BITS, int(ids[-1]) >> SHARD_BITS
    if first == last:
        yield first, whole
        return
    cuts = np.searchsorted(ids, np.arange(first, last + 2, dtype=np.uint64) << np.uint64(SHARD_BITS)).tolist()
    for shard, low, high in zip(range(first, last + 1), cuts[:-1], cuts[1:], strict=True):
        if low < high:
            yield shard, bitmap_of(ids[low:high])
