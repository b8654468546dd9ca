"""What an import does to the memberships of one tag, for any number of users at once.

The same meaning as assigning row by row (`changes.py`), as array operations; tests hold the two together.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitmap_store.bitmaps import bitmap_of
from bitmap_store.errors import Invalid
from bitmap_store.rows import FACTS, Rows, ascend, in_order, is_constant, is_member, joined
from bitmap_store.sqlite.changes import COUNT_MAX
from bitmap_store.sqlite.layers import Change
from bitmap_store.values import TagKind


def merged(kind: TagKind, before: Rows, new: Rows, moment: int, replace: bool) -> Rows:
    """The rows of the considered users after an import, in canonical order.

    before: their rows now, in order, ended ones included. new: the file's rows, in order, no key twice.
    replace: the considered users keep nothing that the file does not say.
    """
    alive = before.take(before["expires"] > moment)
    if not len(alive):
        return new
    pairs_new, pairs_old = _same_keys(new, alive)
    new = new.take(slice(None))
    new.put("since", pairs_new, alive["since"][pairs_old])
    if kind is TagKind.EVENT and not replace:
        new = _added(new, alive, pairs_new, pairs_old)
    if replace:
        return new
    if kind in (TagKind.CHOICES, TagKind.EVENT):
        kept = np.ones(len(alive), bool)
        kept[pairs_old] = False
    else:
        kept = ~is_member(alive["user"], new["user"])
    return in_order(joined([alive.take(kept), new]))


def _added(new: Rows, alive: Rows, pairs_new: NDArray[np.intp], pairs_old: NDArray[np.intp]) -> Rows:
    counts = new["count"][pairs_new].astype(np.uint64) + alive["count"][pairs_old]
    if len(counts) and int(counts.max()) > COUNT_MAX:
        raise Invalid(f"more than {COUNT_MAX} events of one user on one day")
    new.put("count", pairs_new, counts)
    for name in ("last", "expires"):
        new.put(name, pairs_new, np.maximum(new[name][pairs_new], alive[name][pairs_old]))
    return new


def _same_keys(a: Rows, b: Rows) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The places in two ordered arrays of rows that have the same user, value and units."""
    if ascend(a["user"]) and ascend(b["user"]):
        at_a, at_b = _same(a["user"], b["user"])
        same = _equal(a, at_a, b, at_b, ("value", "units"))
        return (at_a, at_b) if same.all() else (at_a[same], at_b[same])
    if is_constant(a["units"]) and is_constant(b["units"]):
        at_a, at_b = _same(_pairs(a), _pairs(b))
        same = _equal(a, at_a, b, at_b, ("units",))
        return at_a[same], at_b[same]
    users = np.concatenate([a["user"], b["user"]])
    values = np.concatenate([a["value"], b["value"]])
    units = np.concatenate([a["units"], b["units"]])
    order = np.lexsort((units, values, users))  # stable: of a pair, a's row comes first
    users, values, units = users[order], values[order], units[order]
    equal = (users[1:] == users[:-1]) & (values[1:] == values[:-1]) & (units[1:] == units[:-1])
    first = np.flatnonzero(equal)
    return order[first], order[first + 1] - len(a)


def _pairs(rows: Rows) -> NDArray[np.uint64]:
    """User and value of each row in one integer."""
    pairs = rows["user"].astype(np.uint64) << np.uint64(32)
    pairs |= rows["value"].view(np.uint32)
    return pairs


def _same(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The places in two ascending arrays that have the same number."""
    return np.flatnonzero(is_member(a, b)), np.flatnonzero(is_member(b, a))


def _equal(a: Rows, at_a: NDArray[np.intp], b: Rows, at_b: NDArray[np.intp], names: Iterable[str]) -> NDArray[np.bool_]:
    """Which of the rows at these places say the same in some columns; one NaN is as good as another."""
    same = np.ones(len(at_a), np.bool_)
    for name in names:
        x, y = a[name], b[name]
        if is_constant(x) and is_constant(y):
            if len(same) and x[0] != y[0] and (x[0] == x[0] or y[0] == y[0]):
                same[:] = False
                break
        else:
            x, y = x[at_a], y[at_b]
            same &= (x == y) | ((x != x) & (y != y))
    return same


def change_of(before: Rows, after: Rows) -> Change | None:
    """The change from all rows of the considered users to others; both in canonical order."""
    if not len(before):
        touched = bitmap_of(after["user"])
        return Change(touched, before, after) if touched else None
    at_before, at_after = _same_keys(before, after)
    same = _equal(before, at_before, after, at_after, ("since", *FACTS))
    if not same.any():
        return Change(bitmap_of(before["user"]) | bitmap_of(after["user"]), before, after)
    gone, fresh = np.ones(len(before), bool), np.ones(len(after), bool)
    gone[at_before[same]] = False
    fresh[at_after[same]] = False
    touched = bitmap_of(before["user"][gone]) | bitmap_of(after["user"][fresh])
    return Change(touched, before.of(touched), after.of(touched)) if touched else None


def summed(rows: Rows) -> Rows:
    """Events in canonical order with one row a user, value and day: counts add up, the latest moment stays."""
    if not len(rows):
        return rows
    rows = in_order(rows)
    changes = (
        (rows["user"][1:] != rows["user"][:-1])
        | (rows["value"][1:] != rows["value"][:-1])
        | (rows["units"][1:] != rows["units"][:-1])
    )
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    result = rows.take(starts)
    counts = np.add.reduceat(rows["count"].astype(np.uint64), starts)
    if int(counts.max()) > COUNT_MAX:
        raise Invalid(f"more than {COUNT_MAX} events of one user on one day")
    result["count"] = counts
    result["last"] = np.maximum.reduceat(rows["last"], starts)
    result["expires"] = np.maximum.reduceat(rows["expires"], starts)
    return result
