"""Cells of a whole file: rows that repeat an earlier one are found, and what later rows replace is left out.

All cells are `numbered`, so that one number is one user throughout the file, and come in its order. Where no user
comes twice there is nothing to find, and a look at the users is all it costs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bitmap_store.files.blocks import Ints
from bitmap_store.files.buffers import Mask
from bitmap_store.files.cells import EVERY, Cells, Users
from bitmap_store.files.coded import Places, joined_codes
from bitmap_store.files.columns import COUNT_MAX
from bitmap_store.files.table import WideRows
from bitmap_store.rows import ascend, places_in_order
from bitmap_store.values import NEVER, SINGLE_KINDS, Rejection, TagKind

_OVERFLOW = f"the events of one user on one day would count over {COUNT_MAX}"

Key = NDArray[Any]
Column = TypeVar("Column", NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64])


def reject_repeats(cells: Sequence[Cells]) -> tuple[Cells, list[Rejection]]:
    """One tag's cells of a whole file, settled, without rows that repeat an earlier one: those are CONFLICT.

    A row repeats what was last said of the same user (CHOICES: and value) when it says the same, expiry and score
    included; a row that says again what another row had changed is none. Events may repeat, as they add up; only those
    that would bring a day over 4294967295 are INVALID. The cost is a sort by user, none where the file is ordered by
    user; memory is a few times the cells. The order of the cells is not that of the file.
    """
    whole = _joined(cells)
    if whole.kind is TagKind.EVENT:
        overflow = _overflow(whole)
        rejected = [Rejection(line, "INVALID", _OVERFLOW) for line in _lines(whole, overflow)]
        return (whole.take(_all_but(len(whole), overflow)) if len(overflow) else whole), rejected
    apart = _apart(whole)
    if apart is not None:
        return apart, []
    shared = _shared(whole.users)
    said_of = [whole.users[shared]]
    if whole.kind not in SINGLE_KINDS:
        said_of.append(_codes(whole)[shared])
    repeats, first = _repeats(said_of, [key[shared] for key in _contents(whole)])
    rejected = _rejections(_lines(whole, shared[repeats]), _lines(whole, shared[first]))
    return _settled(whole, without=shared[repeats]), rejected


def repeated_rows(rows: Sequence[WideRows]) -> list[Rejection]:
    """The rows of a whole table that repeat an earlier one in all cells: CONFLICT. `settle` leaves them out."""
    if not rows:
        return []
    users = np.concatenate([block.users for block in rows])
    shared = _shared(users)
    if not len(shared):
        return []
    chosen = np.zeros(len(users), np.bool_)
    chosen[shared] = True
    parts = np.split(chosen, np.cumsum([len(block.users) for block in rows])[:-1])
    digests = np.concatenate([block.digests(part) for block, part in zip(rows, parts, strict=True)])
    lines = np.concatenate([block.lines[part] for block, part in zip(rows, parts, strict=True)])
    repeats, first = _repeats([users[shared]], [digests[shared]])
    return _rejections(lines[repeats].tolist(), lines[first].tolist())


def settle(parts: Sequence[Cells], rejected: Iterable[Rejection] = ()) -> Cells:
    """One tag's cells of a whole table, without rejected rows, and only what holds in the end.

    That is the last cell of a user for a kind that a user has one of, and for CHOICES the last of each value. The
    order of the cells is not that of the file.
    """
    lines = np.array(sorted(rejection.line for rejection in rejected), np.int64)
    whole = _joined([_without(part, lines) for part in parts] if len(lines) else parts)
    apart = _apart(whole)
    return _settled(whole, without=np.empty(0, np.int64)) if apart is None else apart


def _without(cells: Cells, lines: Ints) -> Cells:
    """Cells but those of some lines, which ascend."""
    first, last = cells.lines[[0, -1]]
    if not len(lines[np.searchsorted(lines, first) : np.searchsorted(lines, last, "right")]):
        return cells
    return cells.take(~np.isin(cells.lines, lines))


def _settled(cells: Cells, *, without: Ints) -> Cells:
    kept = _all_but(len(cells), without)
    shared = _shared(cells.users)
    shared = shared[kept[shared]]
    keys: list[Key] = [cells.users[shared]]
    if cells.kind not in SINGLE_KINDS:
        keys.append(_codes(cells)[shared])
    order = np.lexsort(keys)
    kept[shared[order[:-1][_equal_neighbors(keys, order)]]] = False
    return cells if kept.all() else cells.take(kept)


def _all_but(count: int, places: Ints) -> Mask:
    kept = np.ones(count, np.bool_)
    kept[places] = False
    return kept


# ---------------------------------------------------------------- users who come once


def _apart(cells: Cells) -> Cells | None:
    """The cells by user, when no user (CHOICES: with one value) comes twice; None when one does."""
    users = cells.users
    if cells.kind in SINGLE_KINDS:
        if ascend(users):
            return cells
        order = places_in_order(users)
        return cells.take(order) if ascend(users[order]) else None
    pairs = users.astype(np.uint64) << np.uint64(32)
    pairs |= _codes(cells).astype(np.uint64)
    return cells if ascend(pairs) or ascend(np.sort(pairs)) else None


# ---------------------------------------------------------------- equal rows


def _shared(users: Users) -> Ints:
    """The places of users that have several, ascending: only these can repeat or replace each other."""
    if ascend(users):
        return np.empty(0, np.int64)
    order = places_in_order(users)
    ordered = users[order]
    same = ordered[1:] == ordered[:-1]
    return np.sort(order[np.append(same, False) | np.append(False, same)])


def _repeats(said_of: Sequence[Key], said: Sequence[Key]) -> tuple[Ints, Ints]:
    """The rows that say what the row before of the same subject says, ascending, and for each the first of that run."""
    order = np.lexsort(said_of)  # stable: the rows of one subject stay in the order of the file
    later = _equal_neighbors([*said_of, *said], order)
    begins = np.append(True, ~later)[: len(order)]
    first = order[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
    repeats = order[1:][later]
    ascending = np.argsort(repeats)
    return repeats[ascending], first[1:][later][ascending]


def _equal_neighbors(keys: Sequence[Key], order: Ints) -> Mask:
    """Whether each row of the order but the first equals the one before it."""
    return reduce(np.logical_and, (key[order[1:]] == key[order[:-1]] for key in keys))


def _contents(cells: Cells) -> list[Key]:
    """What cells say, as keys that are equal when they say the same: NaN equals NaN, and 0.0 equals -0.0."""
    score = None if cells.score is None else (cells.score + 0.0).view(np.int64)
    values = None if cells.values is None else _codes(cells)
    return [key for key in (values, cells.units, cells.expires, score) if key is not None]


def _codes(cells: Cells) -> Key:
    assert cells.values is not None
    return cells.values.codes


def _overflow(events: Cells) -> Ints:
    """The events that would bring the count of their user, value and day over the largest there is, ascending."""
    if events.counts is None or int(events.counts.sum(dtype=np.uint64)) <= COUNT_MAX:
        return np.empty(0, np.int64)
    keys = [events.users, *_contents(events)]
    order = np.lexsort(keys)
    begins = np.flatnonzero(np.append(True, ~_equal_neighbors(keys, order)))
    ends = np.append(begins[1:], len(order))
    totals = np.add.reduceat(events.counts[order].astype(np.uint64), begins)
    found = []
    for group in np.flatnonzero(totals > COUNT_MAX).tolist():
        total = 0
        for place in order[begins[group] : ends[group]].tolist():
            if total + int(events.counts[place]) > COUNT_MAX:
                found.append(place)
            else:
                total += int(events.counts[place])
    return np.sort(np.array(found, np.int64))


def _rejections(lines: Sequence[int], first: Sequence[int]) -> list[Rejection]:
    return [Rejection(line, "CONFLICT", f"repeats line {earlier}") for line, earlier in zip(lines, first, strict=True)]


# ---------------------------------------------------------------- joining


@dataclass(frozen=True, slots=True)
class _JoinedRows:
    """What the cells of several blocks are rows of: the cells themselves, one after the other."""

    users: Users
    parts: Sequence[Cells]

    def lines_at(self, rows: Places) -> Ints:
        """The lines of some rows."""
        places = np.arange(len(self.users))[rows]
        lines = np.empty(len(places), np.int64)
        ends = np.cumsum([len(part) for part in self.parts])
        holder = np.searchsorted(ends, places, "right")
        order = np.argsort(holder, kind="stable")
        bounds = np.searchsorted(holder[order], np.arange(len(self.parts) + 1))
        for i in np.unique(holder).tolist():
            here = order[bounds[i] : bounds[i + 1]]
            lines[here] = self.parts[i].lines_at(places[here] - (ends[i] - len(self.parts[i])))
        return lines


def _lines(cells: Cells, places: Ints) -> list[int]:
    lines: list[int] = cells.lines_at(places).tolist()
    return lines


def _joined(cells: Sequence[Cells]) -> Cells:
    values = [part.values for part in cells if part.values is not None]
    return Cells(
        tag=cells[0].tag,
        kind=cells[0].kind,
        source=_JoinedRows(np.concatenate([part.users for part in cells]), cells),
        rows=EVERY,
        values=joined_codes(values) if values else None,
        units=_concatenated([part.units for part in cells], cells, 0),
        counts=_concatenated([part.counts for part in cells], cells, 0),
        last=_concatenated([part.last for part in cells], cells, 0),
        expires=_concatenated([part.expires for part in cells], cells, NEVER),
        score=_concatenated([part.score for part in cells], cells, np.nan),
    )


def _concatenated(columns: Sequence[Column | None], cells: Sequence[Cells], none: float) -> Column | None:
    """One column of all; `none` where a part has no such column, None where no part has."""
    if all(column is None for column in columns):
        return None
    return np.concatenate(
        [np.full(len(part), none) if column is None else column for column, part in zip(columns, cells, strict=True)]
    )
