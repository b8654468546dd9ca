"""Wide rows, a user and a column for each tag, as cells. A row with one wrong cell is rejected as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bitmap_store.errors import Invalid
from bitmap_store.files.blocks import Block, Faults, Form, Ints, Shape
from bitmap_store.files.cells import (
    Draft,
    Hints,
    Interpreted,
    Target,
    Users,
    finished,
    units_of,
    users_of,
    value_errors,
    values_of,
)
from bitmap_store.files.columns import said, truths
from bitmap_store.files.memberships import refusal_of
from bitmap_store.values import VALUED_KINDS, TagKind

Digests = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class WideRows(Interpreted):
    """What a block of wide rows means, with its good rows: their users, lines, and a digest of their cells each.

    Rows of one user with equal digests say the same; that two that differ share one has a chance of 2^-64.
    """

    users: Users
    lines: Ints
    digests: Digests

    def numbered(self, ids: Users) -> Self:
        """The same with `ids`, a number for each name that is one for the whole file, in place of the users."""
        return replace(Interpreted.numbered(self, ids), users=ids[self.users])


def shape_of(targets: Mapping[str, Target]) -> Shape:
    """The columns of a table: `user` and any of these tags; one that cannot be imported is refused, with a reason."""
    refused = {key: reason for key, target in targets.items() if (reason := refusal_of(target)) is not None}
    forms = dict.fromkeys(targets.keys() - refused.keys(), Form.LIST)
    return Shape("table", ("user",), {**forms, "user": Form.NAME}, refused=refused, noun="tag")


def table(block: Block, targets: Mapping[str, Target]) -> WideRows:
    """The cells of a block that was read in the shape of these targets. Empty, null and `false` change nothing."""
    faults, hints = Faults(block.lines), Hints()
    users = users_of(block, faults)
    digests = np.zeros(len(block.lines), np.uint64)
    drafts = []
    for column, array in block.columns.items():
        if column != "user":
            draft = _draft(targets[column], array, faults, hints)
            np.add.at(digests, draft.rows, _digests(draft))
            drafts.append(draft)
    found = finished(block, users, drafts, faults)
    good = ~faults.bad
    numbers = users.where(good).codes[good]
    return WideRows(found.names, found.cells, found.rejected, numbers, block.lines[good], digests[good])


def _draft(target: Target, array: pa.Array, faults: Faults, hints: Hints) -> Draft:
    prefix = f"column {target.key!r}: "
    rows = np.arange(len(array))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        array, rows = _members(array, target, faults, prefix)
    if target.kind in VALUED_KINDS:
        values = values_of(array, faults, rows, prefix)
        faults.merge(rows, values.faults(value_errors(values, target, hints)), prefix)
        here = values.codes >= 0
        return Draft(target, rows[here], values.take(here))
    if target.kind is TagKind.FLAG:
        parsed = truths(array)
        here = parsed.numbers == 1
    else:
        parsed = units_of(array, target)
        here = said(array)
    faults.merge(rows, parsed.faults, prefix)
    return Draft(target, rows[here], units=None if target.kind is TagKind.FLAG else parsed.numbers[here])


def _members(array: pa.ListArray, target: Target, faults: Faults, prefix: str) -> tuple[pa.Array, Ints]:
    """The members of all lists, with the row of each; only CHOICES may have several, and none may be empty."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(array)), lengths)
    members = array.flatten()
    faults.add(rows[~said(members)], Invalid(f"{prefix}a list holds nothing at one of its places"))
    if target.kind is not TagKind.CHOICES:
        faults.add(np.flatnonzero(lengths > 1), Invalid(f"{prefix}a {target.kind} takes one value, not a list"))
    return members, rows


def _digests(draft: Draft) -> Digests:
    """A well mixed number for each cell, of its tag and what it says."""
    content = np.zeros(len(draft.rows), np.uint64)
    if draft.values is not None:
        content = np.array([_digest(name) for name in draft.values.names.to_pylist()], np.uint64)[draft.values.codes]
    elif draft.units is not None:
        content = draft.units.view(np.uint64)
    mixed = content + np.uint64(_digest(draft.target.key))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finalizer of SplitMix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
