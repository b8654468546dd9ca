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
    checked_values,
    finished,
    units_of,
    users_of,
    value_errors,
)
from bitmap_store.files.coded import Coded, said
from bitmap_store.files.columns import Floats, moments, scores
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
    faults, hints = Faults(block.lines), Hints()
    users = users_of(block, faults)
    values, expires, score = _facts(block, faults)
    rows, found = by_target(block, faults, hints, target_of, nearest, refusal_of)
    reading = _Reading(block, faults, hints, rows, values, expires, score)
    drafts = [reading.draft(target, part) for target, part in found]
    return finished(block, users, drafts, faults, reading.rows)


def refusal_of(target: Target) -> str | None:
    """Why memberships of a tag cannot be imported, or None."""
    if target.is_rule:
        return f"tag {target.key!r} follows from its rule and cannot be imported"
    if target.kind is TagKind.EVENT:
        return f"tag {target.key!r} is an EVENT: use /import/events"
    return None


def _facts(block: Block, faults: Faults) -> tuple[Coded | None, Ints | None, Floats | None]:
    """What is read in the same way whatever the tag: values, expiries and scores."""
    every = np.arange(len(block.lines))
    values: Coded | None = None
    expires: Ints | None = None
    score: Floats | None = None
    if "value" in block.columns:
        values = checked_values(Coded.of(block.columns["value"]), faults, every).narrow()
    if "expires_at" in block.columns:
        ends = moments(block.columns["expires_at"], empty=NEVER)
        faults.merge(every, ends.faults, "column 'expires_at': ")
        expires = None if (ends.numbers == NEVER).all() else ends.numbers
    if "score" in block.columns:
        parsed = scores(block.columns["score"])
        faults.merge(every, parsed.faults)
        score = None if np.isnan(parsed.numbers).all() else parsed.numbers
    return values, expires, score


class _Reading:
    """The columns of a block in the order of its tags, so that those of one tag stand together."""

    def __init__(
        self,
        block: Block,
        faults: Faults,
        hints: Hints,
        rows: Ints,
        values: Coded | None,
        expires: Ints | None,
        score: Floats | None,
    ) -> None:
        self._hints = hints
        self._columns = block.columns
        self._faults = faults
        self.rows = rows.astype(np.uint32)
        self._values = None if values is None else values.take(rows)
        self._listed = None if values is None else values.names.to_pylist()
        self._expires = None if expires is None else expires[rows]
        self._score = None if score is None else score[rows]
        self._said = {
            name: said(block.columns[name])[rows]
            if self._values is None or name != "value"
            else self._values.codes >= 0
            for name in _COLUMNS
            if name in block.columns
        }

    def draft(self, target: Target, part: slice) -> Draft:
        """What the rows of one tag say of it."""
        rows = self.rows[part]
        wanted = _COLUMN_OF.get(target.kind)
        self._check_columns(target, wanted, part)
        values = units = None
        if wanted == "value" and self._values is not None:
            values = self._values.take(part)
            self._faults.merge(
                rows, values.faults(value_errors(values, target, self._hints, self._listed)), _prefix(target)
            )
        elif wanted in self._said:
            parsed = units_of(self._columns[wanted].take(pa.array(rows)), target)
            self._faults.merge(rows, parsed.faults, _prefix(target))
            units = parsed.numbers
        return Draft(
            target,
            rows,
            values,
            units,
            expires=None if self._expires is None else self._expires[part],
            score=None if self._score is None else self._score[part],
            part=part,
        )

    def _check_columns(self, target: Target, wanted: str | None, part: slice) -> None:
        rows = self.rows[part]
        for name, every in self._said.items():
            here = every[part]
            if name != wanted and here.any():
                takes = f"takes a {wanted}, not a {name}" if wanted else f"takes no {name}"
                self._faults.add(rows[here], Invalid(f"{_prefix(target)}a {target.kind} {takes}"))
        if wanted is not None:
            silent = ~self._said[wanted][part] if wanted in self._said else np.ones(len(rows), np.bool_)
            self._faults.add(rows[silent], Invalid(f"{_prefix(target)}a {target.kind} needs a {wanted}"))


def _prefix(target: Target) -> str:
    return f"tag {target.key!r}: "
