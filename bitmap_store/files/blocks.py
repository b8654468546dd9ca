"""Blocks of rows as the readers give them, and the shape that a file of each route has.

Readers turn bytes into blocks (`csv_reader.py`, `ndjson_reader.py`, `parquet_reader.py`); what the
cells of a block mean is in `memberships.py`, `table.py`, `events.py` and `profiles.py`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bitmap_store.errors import Invalid, NotFound, TagroarError, nearest
from bitmap_store.expression import nfc
from bitmap_store.values import Rejection

Ints = NDArray[np.int64]


class Form(StrEnum):
    """What the cells of a column may hold."""

    NAME = "NAME"
    """One string; in files with types also a whole number, taken as its text."""
    SCALAR = "SCALAR"
    """One string, number, truth value, date or moment."""
    LIST = "LIST"
    """A scalar, or a list of scalars."""
    JSON = "JSON"
    """Anything that JSON can say."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Which columns a file of one route has.

    forms: the columns with a meaning of their own. rest: the form of all others; None where there may be
    none. refused: columns that are known and may not be written, with the reason. noun: what a column
    that is not in `forms` failed to name.
    """

    route: str
    required: tuple[str, ...]
    forms: Mapping[str, Form]
    rest: Form | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    noun: str = "column"

    def form(self, column: str) -> Form:
        """How a column is read. INVALID when it is refused, or unknown; NOT_FOUND for an unknown tag."""
        if column in self.refused:
            raise Invalid(self.refused[column], argument=column)
        if column in self.forms:
            return self.forms[column]
        if self.rest is Form.JSON and column.startswith("id:"):
            return Form.NAME
        if self.rest is None:
            error = NotFound if self.noun == "tag" else Invalid
            close = nearest(column, self.forms)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise error(f"there is no {self.noun} {column!r}{hint}", argument=column, suggestions=close)
        return self.rest

    def read_names(self, names: Iterable[str]) -> dict[str, Form]:
        """The columns that these names mean, in NFC and in their order; raises when one is wrong or comes twice."""
        columns: dict[str, Form] = {}
        for number, name in enumerate(names, 1):
            column = nfc(name)
            if column in ("", "id:"):
                raise Invalid(f"column {number} has no name")
            if column in columns:
                raise Invalid(f"the column {column!r} is named twice", argument=column)
            columns[column] = self.form(column)
        return columns

    def read_header(self, names: Iterable[str]) -> dict[str, Form]:
        """The columns of a whole file; raises like `read_names`, and when one that is needed is not there."""
        columns = self.read_names(names)
        for column in self.required:
            if column not in columns:
                raise Invalid(f"a file of {self.route} needs a column {column!r}", argument=column)
        return columns


MEMBERSHIPS = Shape(
    "memberships",
    required=("user", "tag"),
    forms={
        "user": Form.NAME,
        "tag": Form.NAME,
        "value": Form.NAME,
        "number": Form.SCALAR,
        "date": Form.SCALAR,
        "score": Form.SCALAR,
        "expires_at": Form.SCALAR,
    },
)
EVENTS = Shape(
    "events",
    required=("user", "tag", "at"),
    forms={
        "user": Form.NAME,
        "tag": Form.NAME,
        "value": Form.NAME,
        "at": Form.SCALAR,
        "count": Form.SCALAR,
    },
)
PROFILES = Shape("profiles", required=("user",), forms={"user": Form.NAME}, rest=Form.JSON)
ANY_TABLE = Shape("table", required=("user",), forms={"user": Form.NAME}, rest=Form.LIST)
"""A table of which the tags are not known yet; `table.shape_of` makes the one for known tags."""


@dataclass(frozen=True, slots=True)
class Block:
    """A run of rows of a file.

    lines: the physical line of each good row (CSV: the header is line 1; Parquet: the row, from 1).
    columns: equally long, by name; strings from CSV, strings or lists of strings from NDJSON (numbers as
    the text that stood there), typed from Parquet. rejected: the rows that could not be read, so that
    rows read are good and rejected ones, always. bytes_done: how far into the file this block reaches.
    rest: for NDJSON whose shape takes any JSON, one JSON object a row with the keys that are not columns.
    """

    lines: Ints
    columns: dict[str, pa.Array]
    rejected: list[Rejection]
    bytes_done: int
    rest: pa.StringArray | None = None

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return len(self.lines) + len(self.rejected)


def shown(text: str) -> str:
    """A piece of input as a sentence quotes it: never longer than a line, never with control characters."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


class Faults:
    """The first thing wrong with each row of a block."""

    def __init__(self, lines: Ints) -> None:
        self.bad: NDArray[np.bool_] = np.zeros(len(lines), np.bool_)
        self._lines = lines
        self._errors: dict[int, TagroarError] = {}

    @property
    def any(self) -> bool:
        """Whether anything is wrong with any row."""
        return bool(self._errors)

    def add(self, rows: NDArray[np.integer], error: TagroarError) -> None:
        """The same fault in several rows."""
        if not len(rows):
            return
        self.merge(rows, dict.fromkeys(range(len(rows)), error))

    def merge(self, rows: NDArray[np.integer], errors: Mapping[int, TagroarError], prefix: str = "") -> None:
        """Faults found in a selection of rows, by place in it; `prefix` says where a row has them."""
        for place, error in errors.items():
            row = int(rows[place])
            if not self.bad[row]:
                self.bad[row] = True
                if prefix:
                    error = type(error)(prefix + error.message, suggestions=error.suggestions)
                self._errors[row] = error

    def rejections(self) -> list[Rejection]:
        """One rejection a faulty row, by line."""
        return [
            Rejection(int(self._lines[row]), self._errors[row].code, self._errors[row].message)
            for row in np.flatnonzero(self.bad).tolist()
        ]
