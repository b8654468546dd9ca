"""Wide rows, a user and a column for each tag, as cells. A row with one wrong cell is rejected as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bitmap_store.errors import Invalid
from bitmap_store.files.blocks import Block, Faults, Form, Ints, Shape
from bitmap_store.files.buffers import Mask, filled, truth
from bitmap_store.files.cells import (
    EVERY,
    Cells,
    Draft,
    Hints,
    Interpreted,
    Target,
    Users,
    checked_values,
    finished,
    units_of,
    users_of,
    value_errors,
)
from bitmap_store.files.coded import Places, said, said_of
from bitmap_store.files.columns import truths
from bitmap_store.files.memberships import refusal_of
from bitmap_store.values import VALUED_KINDS, TagKind

Digests = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class WideRows(Interpreted):
    """What a block of wide rows means, with its good rows."""

    good: Places

    @property
    def users(self) -> Users:
        """The user of each good row."""
        return self.rows.users[self.good]

    @property
    def lines(self) -> Ints:
        """The line of each good row."""
        return self.rows.lines_at(self.good)

    def digests(self, chosen: Mask) -> Digests:
        """A digest of the cells of each good row; 0 where it is not chosen.

        Rows of one user with equal digests say the same; that two that differ share one has a chance of 2^-64.
        """
        every = np.zeros(len(self.rows.users), np.uint64)
        wanted = np.zeros(len(every), np.bool_)
        wanted[np.arange(len(every))[self.good][chosen]] = True
        for cells in self.cells:
            places = np.flatnonzero(wanted[cells.rows])
            np.add.at(every, np.arange(len(every))[cells.rows][places], _digests(cells.take(places)))
        return every[self.good]


def shape_of(targets: Mapping[str, Target]) -> Shape:
    """The columns of a table: `user` and any of these tags; one that cannot be imported is refused, with a reason."""
    refused = {key: reason for key, target in targets.items() if (reason := refusal_of(target)) is not None}
    forms = dict.fromkeys(targets.keys() - refused.keys(), Form.LIST)
    return Shape("table", ("user",), {**forms, "user": Form.NAME}, refused=refused, noun="tag")


def table(block: Block, targets: Mapping[str, Target]) -> WideRows:
    """The cells of a block that was read in the shape of these targets. Empty, null and `false` change nothing."""
    faults, hints = Faults(block.lines), Hints()
    users = users_of(block, faults)
    drafts = [
        _draft(targets[column], array, faults, hints) for column, array in block.columns.items() if column != "user"
    ]
    found = finished(block, users, drafts, faults)
    good = np.flatnonzero(~faults.bad) if faults.any else EVERY
    return WideRows(found.names, found.rows, found.cells, found.rejected, good)


def _draft(target: Target, array: pa.Array, faults: Faults, hints: Hints) -> Draft:
    prefix = f"column {target.key!r}: "
    every: Ints | None = None
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        array, every = _members(array, target, faults, prefix)
    if target.kind in VALUED_KINDS:
        here, values = said_of(array)
        rows = here if every is None else every[here]
        values = checked_values(values, faults, rows, prefix)
        faults.merge(rows, values.faults(value_errors(values, target, hints)), prefix)
        return Draft(target, rows, values)
    if target.kind is TagKind.FLAG and pa.types.is_boolean(array.type):
        here = np.flatnonzero(truth(array))
        return Draft(target, here if every is None else every[here])
    parsed = truths(array) if target.kind is TagKind.FLAG else units_of(array, target)
    faults.merge(np.arange(len(array)) if every is None else every, parsed.faults, prefix)
    here = np.flatnonzero(parsed.numbers == 1 if target.kind is TagKind.FLAG else said(array))
    rows = here if every is None else every[here]
    return Draft(target, rows, units=None if target.kind is TagKind.FLAG else parsed.numbers[here])


def _members(array: pa.ListArray, target: Target, faults: Faults, prefix: str) -> tuple[pa.Array, Ints]:
    """The members of all lists, with the row of each; only CHOICES may have several, and none may be empty."""
    lengths = filled(pc.list_value_length(array))
    rows = np.repeat(np.arange(len(array)), lengths)
    members = array.flatten()
    faults.add(rows[~said(members)], Invalid(f"{prefix}a list holds nothing at one of its places"))
    if target.kind is not TagKind.CHOICES:
        faults.add(np.flatnonzero(lengths > 1), Invalid(f"{prefix}a {target.kind} takes one value, not a list"))
    return members, rows


def _digests(cells: Cells) -> Digests:
    """A well mixed number for each cell, of its tag and what it says."""
    content = np.zeros(len(cells), np.uint64)
    if cells.values is not None:
        values = cells.values.compact()
        content = np.array([_digest(name) for name in values.names.to_pylist()], np.uint64)[values.codes]
    elif cells.units is not None:
        content = cells.units.view(np.uint64)
    mixed = content + np.uint64(_digest(cells.tag))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finalizer of SplitMix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
