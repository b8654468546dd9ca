"""Rows of profiles: a user, identifiers in columns `id:<kind>`, and attributes in all other columns."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bitmap_store.errors import Invalid
from bitmap_store.files.blocks import Block, Faults, Ints
from bitmap_store.files.buffers import truth, validity
from bitmap_store.files.cells import name_errors, users_of
from bitmap_store.files.texts import json_objects, json_text, plain_text
from bitmap_store.values import Rejection

ATTRIBUTES_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class ProfileRows:
    """The good rows of a block of profiles, in the order of the lines.

    identifiers: by kind, null where a row names none. attributes: one JSON object a row of what it says; a null in it
    removes the attribute, one that is absent stays. CSV cannot say null: there an empty cell says nothing.
    """

    users: pa.StringArray
    lines: Ints
    identifiers: dict[str, pa.StringArray]
    attributes: pa.StringArray
    rejected: list[Rejection]


def profiles(block: Block) -> ProfileRows:
    """What a block of profiles says. A row with one wrong cell is rejected as a whole."""
    faults = Faults(block.lines)
    users_of(block, faults)
    every = np.arange(len(block.lines))
    identifiers = {}
    attributes = {}
    for column, array in block.columns.items():
        if column.startswith("id:"):
            names = plain_text(array)
            names = pc.if_else(pc.equal(names, ""), None, names)
            faults.merge(every, name_errors(names, f"column {column!r}: an identifier"))
            identifiers[column.removeprefix("id:")] = names
        elif column != "user":
            attributes[column] = json_text(array)
            lost = validity(array) & ~validity(attributes[column])
            faults.add(np.flatnonzero(lost), Invalid(f"column {column!r}: a number is not finite"))
    patches = json_objects(attributes, len(every), sparse=True) if block.rest is None else block.rest
    large = truth(pc.greater(pc.binary_length(patches), ATTRIBUTES_BYTES_MAX))
    faults.add(np.flatnonzero(large), Invalid("the attributes take more than 1 MiB"))

    good = pa.array(~faults.bad)
    return ProfileRows(
        plain_text(block.columns["user"]).filter(good),
        block.lines[~faults.bad],
        {kind: names.filter(good) for kind, names in identifiers.items()},
        patches.filter(good),
        faults.rejections(),
    )
