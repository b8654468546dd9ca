"""What was written to a tag since its base, in layers: whom some versions in a row touched, and their rows after.

Layers never change. New ones are put on top and merged so that their sizes halve towards the top: many
writes make few layers, and a row is merged as often as the logarithm of their number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyroaring import BitMap

from bitmap_store.bitmaps import intersection
from bitmap_store.plan import Happened, Leaf, Range
from bitmap_store.rows import FEW, Row, Rows, in_order, joined
from bitmap_store.sqlite.base import members_of_rows
from bitmap_store.values import NEVER

LAYER_ROWS_MAX = 1 << 17
"""Layers of more rows are not merged any more, so that nobody waits for one that long."""

FEW_USERS = 8
"""So many users are looked for one by one."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What one version did to one tag: the users touched, their rows before and after (None: the base has them)."""

    touched: BitMap
    before: Rows
    after: Rows | None


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """The users whom versions up to `until` touched, and all their rows of the tag after the last of these."""

    until: int
    touched: BitMap
    rows: Rows

    @property
    def nbytes(self) -> int:
        """About what it takes in memory."""
        return bytes_of(self.touched) + self.rows.nbytes

    @property
    def size(self) -> int:
        """Users and rows; what merging costs goes by it."""
        return len(self.touched) + len(self.rows)


def bytes_of(users: BitMap) -> int:
    """About what a set takes in memory; more than that where its members stand in runs."""
    if not users:
        return 64
    containers = (users.max() >> 16) + 1
    return 64 + min(16 * containers + 2 * len(users), 8208 * containers)


def merged(layers: Sequence[Layer]) -> Layer:
    """One layer that says what all say, where of two that touch a user the later one counts; at least one."""
    if len(layers) == 1:
        return layers[0]
    if all(layer.size <= FEW for layer in layers):
        return _merged_few(layers)
    middle = len(layers) // 2
    older, newer = merged(layers[:middle]), merged(layers[middle:])
    rows = in_order(joined([older.rows.without(newer.touched), newer.rows]))
    if rows.few() is None:
        rows = rows.narrowed()
    return Layer(newer.until, older.touched | newer.touched, rows)


def _merged_few(layers: Sequence[Layer]) -> Layer:
    """The same where each says little: a look at each user and each row, instead of sets and columns for each two."""
    said: dict[int, list[Row]] = {}
    for layer in layers:
        for user in layer.touched:
            said[user] = []
        for row in layer.rows.tolist():
            said[row[0]].append(row)
    rows = Rows.from_tuples([row for user in sorted(said) for row in said[user]])
    return Layer(layers[-1].until, BitMap(said), rows if rows.few() is not None else rows.narrowed())


def taken_back(changes: Sequence[Change], version: int) -> Layer:
    """What takes these changes back to a version before them: of two that touch a user the earlier one counts."""
    if not changes:
        return Layer(version, BitMap(), Rows.from_tuples([]))
    return merged([Layer(version, change.touched, change.before) for change in reversed(changes)])


def grown(layers: Sequence[Layer], fresh: Layer) -> tuple[Layer, ...]:
    """The layers, oldest first, with another on top."""
    found = [*layers, fresh]
    while len(found) > 1 and found[-2].size <= min(2 * found[-1].size, LAYER_ROWS_MAX):
        found[-2:] = [merged(found[-2:])]
    return tuple(found)


def covered(layers: Iterable[Layer]) -> BitMap:
    """Whom any layer touches."""
    return BitMap.union(BitMap(), *(layer.touched for layer in layers))


def rows_in(newest_first: Iterable[Layer], users: BitMap) -> tuple[list[Rows], BitMap]:
    """The rows of users as the newest layer that touches each has them, and the users whom none touches."""
    parts: list[Rows] = []
    left = users
    for layer in newest_first:
        if not left:
            break
        found = intersection(left, layer.touched)
        if found:
            parts.append(layer.rows.of_few(found) if len(found) <= FEW_USERS else layer.rows.of(found))
            left = left - found
    return parts, left


def members_in(newest_first: Iterable[Layer], leaf: Leaf, moment: int) -> tuple[BitMap, BitMap, int]:
    """Whom the layers touch, who of them is in a leaf, and when next a membership in them ends."""
    touched, members, until = BitMap(), BitMap(), NEVER
    for layer in newest_first:
        found = members_among(leaf, moment, layer.rows)
        if found:
            members |= found - touched
        touched |= layer.touched
        until = min(until, next_end(layer.rows, moment))
    return touched, members, until


def next_end(rows: Rows, moment: int) -> int:
    """The first expiry after `moment`."""
    few = rows.few()
    if few is not None:
        return min((row[4] for row in few if row[4] > moment), default=NEVER)
    later = rows["expires"][rows["expires"] > moment]
    return int(later.min()) if len(later) else NEVER


def members_among(leaf: Leaf, moment: int, rows: Rows) -> BitMap:
    """The users of a leaf among rows; the same as `members_of_rows`, and faster where they are few."""
    few = rows.few()
    if few is None:
        return members_of_rows(leaf, moment, rows)
    if not isinstance(leaf, Happened):
        return BitMap([row[0] for row in few if _fulfils(leaf, moment, row)])
    counts: dict[int, int] = {}
    for row in few:
        if row[4] > moment and (leaf.values is None or row[1] in leaf.values) and _within(leaf, row[2]):
            counts[row[0]] = counts.get(row[0], 0) + row[7]
    return BitMap([user for user, count in counts.items() if count >= leaf.times])


def _within(leaf: Happened, day: int) -> bool:
    return (leaf.first_day is None or day >= leaf.first_day) and (leaf.last_day is None or day <= leaf.last_day)


def _fulfils(leaf: Leaf, moment: int, row: Row) -> bool:
    assert not isinstance(leaf, Happened)
    _, value, units, since, expires, _, score, _, _ = row
    if expires <= moment:
        return False
    if isinstance(leaf, Range):
        if (leaf.low is not None and units < leaf.low) or (leaf.high is not None and units > leaf.high):
            return False
    elif leaf.values is not None and value not in leaf.values:
        return False
    span = leaf.span
    if span.since_from is not None and since < span.since_from:
        return False
    if span.since_until is not None and since >= span.since_until:
        return False
    return span.score_min is None or score >= span.score_min  # NaN is never at least anything
