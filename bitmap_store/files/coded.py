"""Columns of text as codes into distinct texts: what is said of a text is said once, whatever rows have it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bitmap_store.errors import TagroarError
from bitmap_store.expression import nfc
from bitmap_store.files.blocks import Ints
from bitmap_store.files.buffers import Mask, filled, stored, truth, validity
from bitmap_store.files.texts import plain_text

Codes = NDArray[np.signedinteger[Any]]
Indexes = NDArray[np.integer[Any]]
Places = slice | Mask | Indexes


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of text as codes into distinct texts; -1 where nothing is said."""

    codes: Codes
    names: pa.StringArray

    @classmethod
    def of(cls, column: pa.Array) -> "Coded":
        """Encodes any column that has text: a hash a row, for a column of codes a hash a name."""
        if not pa.types.is_dictionary(column.type):
            column = (column if pa.types.is_integer(column.type) else plain_text(column)).dictionary_encode()
        indices = column.indices
        codes = filled(indices if pa.types.is_signed_integer(indices.type) else indices.cast(pa.int64()), -1)
        names = plain_text(column.dictionary)
        empty = pc.index(names, "").as_py()
        return cls(np.where(codes == empty, codes.dtype.type(-1), codes) if empty >= 0 else codes, names)

    def __len__(self) -> int:
        """How many rows."""
        return len(self.codes)

    def in_nfc(self) -> "Coded":
        """The same with names in NFC, in which tags and values are compared."""
        if pc.all(pc.string_is_ascii(self.names), min_count=0).as_py():
            return self
        once = pa.array(map(nfc, self.names.to_pylist()), pa.string()).dictionary_encode()
        return Coded(_looked_up(filled(once.indices), self.codes), once.dictionary)

    def narrow(self) -> "Coded":
        """The same with codes of as few bytes as the names allow; worth it where they are kept."""
        for width in (np.int8, np.int16):
            if len(self.names) <= np.iinfo(width).max:
                return Coded(self.codes.astype(width, copy=False), self.names)
        return self

    def used(self) -> Ints:
        """The codes that occur, ascending; a sort of the codes, or a look at each name where those are fewer."""
        if len(self.names) > len(self.codes):
            found = np.unique(self.codes)
            return found[found >= 0].astype(np.int64)
        occurs = np.zeros(len(self.names) + 1, np.bool_)  # the last place takes the -1
        occurs[self.codes] = True
        return np.flatnonzero(occurs[:-1])

    def compact(self) -> "Coded":
        """The same without names that no row has."""
        used = self.used()
        if len(used) == len(self.names):
            return self
        places = np.empty(len(self.names), np.int32)
        places[used] = np.arange(len(used), dtype=np.int32)
        return Coded(_looked_up(places, self.codes), self.names.take(pa.array(used)))

    def take(self, rows: Places) -> "Coded":
        """Some of the rows."""
        return Coded(self.codes[rows], self.names)

    def where(self, rows: Mask) -> "Coded":
        """The same, with nothing said outside these rows and no name that is in none of them."""
        return Coded(np.where(rows, self.codes, self.codes.dtype.type(-1)), self.names).compact()

    def groups(self) -> tuple[Ints, list[tuple[str, slice]]]:
        """All rows that say something by name, ascending in each, and where the rows of each name that occurs stand
        among them; in linear time up to 32,767 names."""
        narrow = self.codes.astype(np.int16) if len(self.names) < 2**15 else self.codes
        order = np.argsort(narrow, kind="stable")
        bounds = np.searchsorted(narrow[order], np.arange(len(self.names) + 1, dtype=narrow.dtype)).tolist()
        parts = zip(self.names.to_pylist(), bounds[:-1], bounds[1:], strict=True)
        return order, [(name, slice(start, stop)) for name, start, stop in parts if start < stop]

    def to_pylist(self) -> list[str | None]:
        """The text of each row."""
        texts = [*self.names.to_pylist(), None]
        return [texts[code] for code in self.codes.tolist()]

    def faults(self, errors: Mapping[int, TagroarError]) -> dict[int, TagroarError]:
        """The rows whose name has an error, given by code."""
        wrong = np.flatnonzero(np.isin(self.codes, list(errors))) if errors else ()
        return {int(row): errors[int(self.codes[row])] for row in wrong}


def said_of(column: pa.Array) -> tuple[Ints, Coded]:
    """The rows of a column of text that say something, ascending, and what each says."""
    if pa.types.is_dictionary(column.type) and pa.types.is_string(column.dictionary.type):
        rows = np.flatnonzero(validity(column))
        codes = stored(column.indices)[rows]
        empty = pc.index(column.dictionary, "").as_py()
        if empty >= 0:
            rows, codes = rows[codes != empty], codes[codes != empty]
        return rows, Coded(codes.astype(np.int32, copy=False), column.dictionary)
    whole = Coded.of(column)
    rows = np.flatnonzero(whole.codes >= 0)
    return rows, whole.take(rows)


def said(column: pa.Array) -> Mask:
    """Where a column says anything: not null and not an empty string."""
    if pa.types.is_dictionary(column.type):
        speaks = np.append(said(column.dictionary), False)
        return validity(column) & (True if speaks[:-1].all() else speaks[filled(column.indices)])
    if pa.types.is_string(column.type):
        return truth(pc.not_equal(pc.binary_length(column), 0))
    return validity(column)


def joined_codes(parts: Sequence[Coded]) -> Coded:
    """The rows of all parts, one after the other; the names are those that occur, by first occurrence in the parts."""
    places: dict[str, int] = {}
    names, table = parts[0].names, np.full(len(parts[0].names) + 1, -1, np.int32)  # the last place takes the -1
    found = []
    for part in parts:
        if part.names is not names and not part.names.equals(names):
            names, table = part.names, np.full(len(part.names) + 1, -1, np.int32)
        codes = table[part.codes]
        if len(codes) and codes.min() < 0:
            unseen = np.unique(part.codes[codes < 0])
            unseen = unseen[unseen >= 0]
            for code, name in zip(unseen.tolist(), names.take(pa.array(unseen)).to_pylist(), strict=True):
                table[code] = places.setdefault(name, len(places))
            codes = table[part.codes]
        found.append(codes)
    return Coded(np.concatenate(found), pa.array(list(places), pa.string()))


def _looked_up(places: Codes, codes: Codes) -> Codes:
    """places[codes], where -1 stays."""
    return np.append(places, places.dtype.type(-1))[codes]
