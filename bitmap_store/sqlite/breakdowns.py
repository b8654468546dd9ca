"""An audience by many values, and the numbers of an audience: by the rows of its users, or by the sets of the values.

Either way counts the base alone. What is not in it any more, or has ended, is taken off, and what the layers
over it say is added; both concern few users.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import ids_of, intersection, intersection_size
from bitmap_store.containers import widened
from bitmap_store.evaluate import Evaluation
from bitmap_store.plan import ANY_SPAN, Plan, Reading, Tagged
from bitmap_store.rows import Column
from bitmap_store.sqlite.base import TagBase, ValueBase, places_of
from bitmap_store.sqlite.layers import Layer, covered, rows_in
from bitmap_store.sqlite.memberships import Memberships
from bitmap_store.sqlite.sections import Unusable
from bitmap_store.sqlite.summaries import sums_of
from bitmap_store.sqlite.user_rows import UserRows
from bitmap_store.stopping import Stop
from bitmap_store.store import Sums

THREADS = 2
FEW = 32
"""So many sets are sooner gone through than shared among threads."""
CODE_NANOSECONDS = 8
"""About what it takes to gather and count one code of a user's row."""
CONTAINER_NANOSECONDS = 700
"""About what it takes to intersect one container of an audience with one of a value."""


class Breakdown:
    """The sizes of an audience with each of many keys, of which most are values of tags."""

    def __init__(self, memberships: Memberships, plan: Plan, evaluation: Evaluation, stop: Stop) -> None:
        self._memberships = memberships
        self._reading = plan.reading
        self._evaluation = evaluation
        self._audience = evaluation.users(plan)
        self._stop = stop

    def sizes(self, keys: Sequence[Plan]) -> list[int]:
        """The size of the audience with each key."""
        found = [0] * len(keys)
        by_tag: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            if isinstance(key.node, Tagged) and key.node.span == ANY_SPAN and key.reading == self._reading:
                by_tag.setdefault(key.node.tag, []).append(place)
            else:
                found[place] = self._evaluation.size(key, self._audience)
        tags = [
            _TagKeys(base, layers, [_values(keys[place]) for place in places])
            for places, (base, layers) in zip(
                by_tag.values(), self._memberships.over_bases(by_tag, self._reading.version), strict=True
            )
        ]
        if self._audience:
            self._count(dict(zip(by_tag, tags, strict=True)))
            for places, tag in zip(by_tag.values(), tags, strict=True):
                for place, size in zip(places, tag.sizes(self._audience, self._reading.moment), strict=True):
                    found[place] = size
        return found

    def _count(self, tags: "dict[int, _TagKeys]") -> None:
        """Finds the sizes of the audience with each value that is needed, as the bases have them."""
        rows = self._memberships.bases.user_rows(self._reading.entity)
        by_rows = {} if rows is None else {id_: tag for id_, tag in tags.items() if _is_of(rows, id_, tag.base)}
        if rows is not None and self._rows_are_faster(rows, sum(len(tag.needed) for tag in by_rows.values())):
            try:
                counts = rows.count(ids_of(self._audience), self._stop)
            except Unusable as problem:
                self._memberships.bases.drop_rows(self._reading.entity, problem)
                by_rows = {}
            for id_, tag in by_rows.items():
                first = rows.tags[id_].first
                of_values = dict(
                    zip(tag.base.values, counts[first : first + rows.tags[id_].count].tolist(), strict=True)
                )
                tag.counts = {value: of_values[value] for value in tag.needed}
        pairs = [(tag, value) for tag in tags.values() if not tag.counts for value in tag.needed]
        sets = [tag.base.values[value].users for tag, value in pairs]
        for (tag, value), size in zip(pairs, intersections(self._audience, sets, self._stop), strict=True):
            tag.counts[value] = size

    def _rows_are_faster(self, rows: UserRows, values: int) -> bool:
        everyone = max(int(self._audience.max()) + 1, 1)
        codes = len(self._audience) * rows.memberships_each
        return codes * CODE_NANOSECONDS < values * ((everyone >> 16) + 1) * CONTAINER_NANOSECONDS


class _TagKeys:
    """The keys of one tag. needed: values whose sizes have to be counted; counts: those sizes in the base."""

    def __init__(self, base: TagBase, layers: list[Layer], keys: Sequence[tuple[int, ...] | None]) -> None:
        self.base = base
        self._layers = layers
        self._keys = keys
        self.counts: dict[int, int] = {}
        self._summed = [base.exclusive or len(self._in_base(key)) < 2 for key in keys]
        summed = (key for key, is_sum in zip(keys, self._summed, strict=True) if is_sum)
        self.needed = {value for key in summed for value in self._in_base(key)}

    def _in_base(self, key: tuple[int, ...] | None) -> list[int]:
        return list(self.base.values) if key is None else [value for value in key if value in self.base.values]

    def sizes(self, audience: BitMap, moment: int) -> list[int]:
        """The size of the audience with each key."""
        touched = intersection(covered(self._layers), audience) if self._layers else BitMap()
        users, values = self._written(touched, moment)
        by_value = Counter(values)
        sizes: list[int] = []
        for key, is_sum in zip(self._keys, self._summed, strict=True):
            if is_sum:
                size = sum(
                    self.counts[value] - self._gone(value, touched, audience, moment) for value in self._in_base(key)
                )
            else:
                members = BitMap.union(*(self.base.values[value].alive(moment) for value in self._in_base(key)))
                size = audience.intersection_cardinality(members) - touched.intersection_cardinality(members)
            if key is not None and len(key) == 1:
                size += by_value[key[0]]
            elif users:
                size += len({user for user, value in zip(users, values, strict=True) if key is None or value in key})
            sizes.append(size)
        return sizes

    def _gone(self, value: int, touched: BitMap, audience: BitMap, moment: int) -> int:
        """How many of the audience the base has in a value, though layers tell of them or their time is over."""
        of_value = self.base.values[value]
        gone = touched
        if moment >= of_value.ends_first:
            gone = gone | (intersection(of_value.ended(moment), audience))
        return int(gone.intersection_cardinality(of_value.users)) if gone else 0

    def _written(self, touched: BitMap, moment: int) -> tuple[list[int], list[int]]:
        """Users and values of what the layers say of users, as far as it has not ended."""
        users: list[int] = []
        values: list[int] = []
        for part in rows_in(self._layers, touched)[0] if touched else ():
            alive = part.take(part["expires"] > moment)
            users += alive["user"].tolist()
            values += alive["value"].tolist()
        return users, values


def _values(key: Plan) -> tuple[int, ...] | None:
    assert isinstance(key.node, Tagged)
    return None if key.node.values is None else tuple(dict.fromkeys(key.node.values))


def _is_of(rows: UserRows, tag: int, base: TagBase) -> bool:
    return tag in rows.tags and rows.tags[tag].stamp == base.stamp


def intersections(audience: BitMap, sets: Sequence[BitMap], stop: Stop) -> list[int]:
    """The size of an audience with each of many sets; on several threads."""

    def counted(start: int, step: int = THREADS) -> list[int]:
        sizes = []
        for users in sets[start::step]:
            stop.check()
            sizes.append(intersection_size(audience, users))
        return sizes

    if len(sets) < FEW:
        return counted(0, 1)
    audience = widened(audience)
    found = [0] * len(sets)
    with ThreadPoolExecutor(THREADS) as pool:
        for start, sizes in enumerate(pool.map(counted, range(THREADS))):
            found[start::THREADS] = sizes
    return found


def numbers_of(memberships: Memberships, tag: int, reading: Reading, users: BitMap) -> Column:
    """The numbers of those of the users who have one, in no order."""
    [(base, layers)] = memberships.over_bases([tag], reading.version)
    parts, left = rows_in(layers, users)
    found: list[NDArray[Any]] = [part["units"][part["expires"] > reading.moment] for part in parts]
    for value in base.values.values():
        members = value.alive(reading.moment)
        inside = intersection(members, left)
        if len(inside) == value.length:
            found.append(value.column("units"))
        elif inside:
            found.append(value.part("units", places_of(value.users, ids_of(inside))))
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def sums_in(memberships: Memberships, tag: int, reading: Reading, users: BitMap, stop: Stop) -> Sums:
    """The sums of the numbers of those of the users who have one. Of most of a base they are those of all of it, which
    are known, less those of the others."""
    [(base, layers)] = memberships.over_bases([tag], reading.version)
    parts, left = rows_in(layers, users)
    found = Sums(0, 0, 0)
    for part in parts:
        found += sums_of(part["units"][part["expires"] > reading.moment], stop)
    for value in base.values.values():
        inside = intersection(value.alive(reading.moment), left)
        if 2 * len(inside) > value.length:
            found += value.sums(stop)
            found -= _gathered(value, value.users - inside, stop)
        else:
            found += _gathered(value, inside, stop)
    return found


def _gathered(value: ValueBase, users: BitMap, stop: Stop) -> Sums:
    """The sums of the numbers of users who all have one."""
    if not users:
        return Sums(0, 0, 0)
    return sums_of(value.part("units", places_of(value.users, ids_of(users))), stop)
