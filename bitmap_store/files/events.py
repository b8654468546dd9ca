"""Rows of events, one user, tag and moment a row, as cells by local day."""

from datetime import tzinfo

import numpy as np
import pyarrow as pa

from bitmap_store.errors import Invalid, TagroarError
from bitmap_store.files.blocks import Block, Faults
from bitmap_store.files.cells import (
    Coded,
    Draft,
    Hints,
    Interpreted,
    Nearest,
    Target,
    TargetOf,
    finished,
    name_errors,
    users_of,
    value_errors,
)
from bitmap_store.files.columns import counts, moments, said
from bitmap_store.files.local_days import DAY_MAX, DAY_MICROS, DAY_MIN, local_days
from bitmap_store.values import TagKind


def events(block: Block, target_of: TargetOf, nearest: Nearest, timezone: tzinfo) -> Interpreted:
    """The cells of a block of events: units are days of `timezone`, `last` is the moment. Rows that repeat add up.

    `target_of` and `nearest` are asked once a distinct tag, as in `memberships`.
    """
    faults, hints = Faults(block.lines), Hints()
    every = np.arange(len(block.lines))
    users = users_of(block, faults)
    tags = Coded.of(block.columns["tag"]).in_nfc()
    faults.add(np.flatnonzero(tags.codes < 0), Invalid("the tag is empty"))
    values = Coded.of(block.columns.get("value", pa.nulls(len(every)))).in_nfc()
    faults.merge(every, values.faults(name_errors(values.names, "a value")))

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
    for key, rows in tags.groups():
        target = target_of(key)
        if target is None:
            faults.add(rows, hints.unknown("tag", key, nearest))
        elif (refusal := _refusal(target)) is not None:
            faults.add(rows, refusal)
        else:
            part = values.take(rows)
            faults.merge(rows, part.faults(value_errors(part, target, hints)), f"tag {key!r}: ")
            drafts.append(Draft(target, rows, part, days[rows], count.numbers[rows], last[rows]))
    return finished(block, users, drafts, faults)


def _refusal(target: Target) -> TagroarError | None:
    if target.is_rule:
        return Invalid(f"tag {target.key!r} follows from its rule and cannot be imported")
    if target.kind is not TagKind.EVENT:
        return Invalid(f"tag {target.key!r} is a {target.kind}, not an EVENT: use /import/memberships")
    return None
