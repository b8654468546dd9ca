"""Rows of events, one user, tag and moment a row, as cells by local day."""

from datetime import tzinfo

import numpy as np
import pyarrow as pa

from bitmap_store.errors import Invalid
from bitmap_store.files.blocks import Block, Faults
from bitmap_store.files.cells import (
    Draft,
    Hints,
    Interpreted,
    Nearest,
    Target,
    TargetOf,
    by_target,
    checked_values,
    finished,
    users_of,
    value_errors,
)
from bitmap_store.files.coded import Coded, said
from bitmap_store.files.columns import counts, moments
from bitmap_store.files.local_days import DAY_MAX, DAY_MICROS, DAY_MIN, local_days
from bitmap_store.values import TagKind


def events(block: Block, target_of: TargetOf, nearest: Nearest, timezone: tzinfo) -> Interpreted:
    """The cells of a block of events: units are days of `timezone`, `last` is the moment. Rows that repeat add up.

    `target_of` and `nearest` are asked once a distinct tag, as in `memberships`.
    """
    faults, hints = Faults(block.lines), Hints()
    every = np.arange(len(block.lines))
    users = users_of(block, faults)
    values = checked_values(Coded.of(block.columns.get("value", pa.nulls(len(every)))), faults, every)
    faults.add(np.flatnonzero(~said(block.columns["at"])), Invalid("column 'at': an event needs its moment"))
    at = moments(block.columns["at"], timezone)
    faults.merge(every, at.faults, "column 'at': ")
    outside = (at.numbers // DAY_MICROS < DAY_MIN) | (at.numbers // DAY_MICROS > DAY_MAX)
    faults.add(np.flatnonzero(outside), Invalid("column 'at': an event lies within 0001-01-02 and 9999-12-30"))
    last = np.where(outside, 0, at.numbers)
    days = local_days(last, timezone)
    count = counts(block.columns.get("count", pa.nulls(len(every))))
    faults.merge(every, count.faults, "column 'count': ")

    drafts = []
    order, found = by_target(block, faults, hints, target_of, nearest, _refusal)
    for target, places in found:
        rows = order[places]
        part = values.take(rows)
        faults.merge(rows, part.faults(value_errors(part, target, hints)), f"tag {target.key!r}: ")
        drafts.append(Draft(target, rows, part, days[rows], count.numbers[rows], last[rows], part=places))
    return finished(block, users, drafts, faults, order)


def _refusal(target: Target) -> str | None:
    if target.is_rule:
        return f"tag {target.key!r} follows from its rule and cannot be imported"
    if target.kind is not TagKind.EVENT:
        return f"tag {target.key!r} is a {target.kind}, not an EVENT: use /import/memberships"
    return None
