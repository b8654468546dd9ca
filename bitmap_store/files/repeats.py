"""Cells of a whole file: rows that repeat an earlier one are found, and what later rows replace is left out.

All cells are `numbered`, so that one number is one user throughout the file, and come in its order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bitmap_store.files.blocks import Ints
from bitmap_store.files.cells import Cells, Users
from bitmap_store.files.columns import COUNT_MAX, Mask
from bitmap_store.files.table import WideRows
from bitmap_store.values import NEVER, SINGLE_KINDS, Rejection, TagKind

_OVERFLOW = f"the events of one user on one day would count over {COUNT_MAX}"

Key = NDArray[Any]
Column = TypeVar("Column", NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64])


def reject_repeats(cells: Sequence[Cells]) -> tuple[Cells, list[Rejection]]:
    """One tag's cells of a whole file, settled, without rows that repeat an earlier one: those are CONFLICT.

    A row repeats what was last said of the same user (CHOICES: and value) when it says the same, expiry and score
    included; a row that says again what another row had changed is none. Events may repeat, as they add up; only those
    that would bring a day over 4294967295 are INVALID. The cost is a sort by user, linear where the file is ordered by
    user; memory is a few times the cells.
    """
    whole = _joined(cells)
    if whole.kind is TagKind.EVENT:
        overflow = _overflow(whole)
        kept = np.ones(len(whole), np.bool_)
        kept[overflow] = False
        return taken(whole, kept), [Rejection(line, "INVALID", _OVERFLOW) for line in whole.lines[overflow].tolist()]
    shared = _shared(whole.users)
    said_of = [whole.users[shared]]
    if whole.kind not in SINGLE_KINDS:
        said_of.append(_codes(whole.values)[shared])
    repeats, first = _repeats(said_of, [key[shared] for key in _contents(whole)])
    rejected = _rejections(whole.lines[shared[repeats]], whole.lines[shared[first]])
    return _settled(whole, without=shared[repeats]), rejected


def repeated_rows(rows: Sequence[WideRows]) -> list[Rejection]:
    """The rows of a whole table that repeat an earlier one in all cells: CONFLICT. `settle` leaves them out."""
    if not rows:
        return []
    users = np.concatenate([block.users for block in rows])
    lines = np.concatenate([block.lines for block in rows])
    shared = _shared(users)
    repeats, first = _repeats([users[shared]], [np.concatenate([block.digests for block in rows])[shared]])
    return _rejections(lines[shared[repeats]], lines[shared[first]])


def settle(cells: Sequence[Cells], rejected: Iterable[Rejection] = ()) -> Cells:
    """One tag's cells of a whole table, without rejected rows, and only what holds in the end.

    That is the last cell of a user for a kind that a user has one of, and for CHOICES the last of each value.
    """
    whole = _joined(cells)
    lines = np.array([rejection.line for rejection in rejected], np.int64)
    return _settled(whole, without=np.flatnonzero(np.isin(whole.lines, lines)))


def _settled(cells: Cells, *, without: Ints) -> Cells:
    kept = np.ones(len(cells), np.bool_)
    kept[without] = False
    shared = _shared(cells.users)
    shared = shared[kept[shared]]
    keys: list[Key] = [cells.users[shared]]
    if cells.kind not in SINGLE_KINDS:
        keys.append(_codes(cells.values)[shared])
    order = np.lexsort(keys)
    kept[shared[order[:-1][_equal_neighbors(keys, order)]]] = False
    return cells if kept.all() else taken(cells, kept)


# ---------------------------------------------------------------- equal rows


def _shared(users: Users) -> Ints:
    """The places of users that have several, ascending: only these can repeat or replace each other."""
    if len(users) < 2:
        return np.empty(0, np.int64)
    order = np.arange(len(users)) if (users[1:] >= users[:-1]).all() else np.argsort(users, kind="stable")
    same = users[order[1:]] == users[order[:-1]]
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
    values = None if cells.values is None else _codes(cells.values)
    return [key for key in (values, cells.units, cells.expires, score) if key is not None]


def _codes(values: pa.DictionaryArray) -> Key:
    codes: Key = pc.fill_null(values.indices, -1).to_numpy(zero_copy_only=False)
    return codes


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


def _rejections(lines: Ints, first: Ints) -> list[Rejection]:
    return [
        Rejection(line, "CONFLICT", f"repeats line {earlier}")
        for line, earlier in zip(lines.tolist(), first.tolist(), strict=True)
    ]


# ---------------------------------------------------------------- joining


def _joined(cells: Sequence[Cells]) -> Cells:
    values = None
    if cells[0].values is not None:
        values = pa.chunked_array([part.values for part in cells]).unify_dictionaries().combine_chunks()
    return replace(
        cells[0],
        users=np.concatenate([part.users for part in cells]),
        lines=np.concatenate([part.lines for part in cells]),
        values=values,
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


def taken(cells: Cells, kept: Mask) -> Cells:
    """Some of the cells of one tag."""
    return replace(
        cells,
        users=cells.users[kept],
        lines=cells.lines[kept],
        values=None if cells.values is None else cells.values.filter(pa.array(kept)),
        units=None if cells.units is None else cells.units[kept],
        expires=None if cells.expires is None else cells.expires[kept],
        counts=None if cells.counts is None else cells.counts[kept],
        last=None if cells.last is None else cells.last[kept],
        score=None if cells.score is None else cells.score[kept],
    )
