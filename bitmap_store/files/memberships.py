"""Rows of memberships, one user and one tag a row, as cells."""

import numpy as np
import pyarrow as pa

from bitmap_store.errors import Invalid
from bitmap_store.files.blocks import Block, Faults, Ints
from bitmap_store.files.cells import (
    Draft,
    Hints,
    Interpreted,
    Nearest,
    Target,
    TargetOf,
    by_target,
    finished,
    units_of,
    users_of,
    value_errors,
    values_of,
)
from bitmap_store.files.columns import Floats, moments, said, scores
from bitmap_store.values import NEVER, TagKind

_COLUMNS: tuple[str, ...] = ("value", "number", "date")
_COLUMN_OF = {
    TagKind.CHOICE: "value",
    TagKind.CHOICES: "value",
    TagKind.NUMBER: "number",
    TagKind.DATE: "date",
}


def memberships(block: Block, target_of: TargetOf, nearest: Nearest) -> Interpreted:
    """The cells of a block of memberships.

    `target_of` finds a tag by its key in NFC, or None; `nearest` gives existing keys near to a wrong one. Both are
    asked once a distinct tag. A row is rejected for the first thing that is wrong with it.
    """
    faults = Faults(block.lines)
    users = users_of(block, faults)
    reading = _Reading(block, faults)
    found = by_target(block, faults, reading.hints, target_of, nearest, refusal_of)
    return finished(block, users, [reading.draft(target, rows) for target, rows in found], faults)


def refusal_of(target: Target) -> str | None:
    """Why memberships of a tag cannot be imported, or None."""
    if target.is_rule:
        return f"tag {target.key!r} follows from its rule and cannot be imported"
    if target.kind is TagKind.EVENT:
        return f"tag {target.key!r} is an EVENT: use /import/events"
    return None


class _Reading:
    """The columns of a block that are read once for all its tags."""

    def __init__(self, block: Block, faults: Faults) -> None:
        self.hints = Hints()
        self._columns = block.columns
        self._faults = faults
        self._said = {name: said(block.columns[name]) for name in _COLUMNS if name in block.columns}
        every = np.arange(len(block.lines))
        if "value" in block.columns:
            self._values = values_of(block.columns["value"], faults, every)
        self._expires: Ints | None = None
        self._score: Floats | None = None
        if "expires_at" in block.columns:
            expires = moments(block.columns["expires_at"], empty=NEVER)
            faults.merge(every, expires.faults, "column 'expires_at': ")
            self._expires = expires.numbers
        if "score" in block.columns:
            score = scores(block.columns["score"])
            faults.merge(every, score.faults)
            self._score = score.numbers

    def draft(self, target: Target, rows: Ints) -> Draft:
        """What these rows, all of one tag, say of it."""
        wanted = _COLUMN_OF.get(target.kind)
        self._check_columns(target, wanted, rows)
        values = units = None
        if wanted == "value" and wanted in self._said:
            values = self._values.take(rows)
            self._faults.merge(rows, values.faults(value_errors(values, target, self.hints)), _prefix(target))
        elif wanted in self._said:
            parsed = units_of(self._columns[wanted].take(pa.array(rows)), target)
            self._faults.merge(rows, parsed.faults, _prefix(target))
            units = parsed.numbers
        return Draft(
            target,
            rows,
            values,
            units,
            expires=None if self._expires is None else self._expires[rows],
            score=None if self._score is None else self._score[rows],
        )

    def _check_columns(self, target: Target, wanted: str | None, rows: Ints) -> None:
        for name, here in self._said.items():
            if name != wanted:
                takes = f"takes a {wanted}, not a {name}" if wanted else f"takes no {name}"
                self._faults.add(rows[here[rows]], Invalid(f"{_prefix(target)}a {target.kind} {takes}"))
        if wanted:
            silent = rows[~self._said[wanted][rows]] if wanted in self._said else rows
            self._faults.add(silent, Invalid(f"{_prefix(target)}a {target.kind} needs a {wanted}"))


def _prefix(target: Target) -> str:
    return f"tag {target.key!r}: "
