"""Membership rows as columns, and their checksummed form on disk.

The canonical order is (user, value, units). A column that says the same of every row costs one value, in
memory as on disk, where one of few distinct values costs a byte or two a row; as separate database rows
741 M memberships were 10 GB.
"""

import struct
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of, ids_of, packed, unpacked
from bitmap_store.errors import Damaged
from bitmap_store.values import NEVER

ROW = np.dtype(
    [
        ("user", "<u4"),
        ("value", "<i4"),  # value id; 0 where the kind has none
        ("units", "<i8"),  # NUMBER: scaled; DATE: days or seconds; EVENT: local day
        ("since", "<i8"),  # microseconds, like expires and last
        ("expires", "<i8"),
        ("source", "<i4"),  # id in the source dictionary; 0 is none
        ("score", "<f8"),  # NaN is none
        ("count", "<u4"),
        ("last", "<i8"),
    ]
)
NAMES: tuple[str, ...] = ROW.names or ()
FACTS = ("expires", "source", "score", "count", "last")

Column = NDArray[Any]
Places = slice | NDArray[np.bool_] | NDArray[np.integer[Any]]
_NOTHING: Mapping[str, Column] = {
    name: np.array([{"expires": NEVER, "score": np.nan}.get(name, 0)], ROW[name]) for name in NAMES
}

Row = tuple[Any, ...]
"""One membership as plain values, fields in the order of ROW."""

FEW = 64
"""So many rows are kept and written as tuples: nine arrays cost more than what is in them."""

_DEFAULTS: Row = tuple(column.item() for column in _NOTHING.values())
_NONE_KNOWN: Mapping[str, bytes] = {}
_FORMATS = "IiqqqidIq"  # of struct, a letter a field

MANY = 4096
SPARSE = 16
"""Of more values than MANY, in a range of less than so many ids each, a table of the range is the fastest."""

_HEADER = struct.Struct("<4sIII")  # magic, rows, columns, body length
_FEW_FORM = "<4sBH"  # magic, rows, a bit for each field that is not as in `rows_of`
_FEW_HEADER = struct.Struct(_FEW_FORM)
_CHECKSUM = struct.Struct("<I")  # CRC-32 of header and body, at the end
_COLUMN = struct.Struct("<BBI")  # field, encoding, compressed length
_MAGIC = b"TRw1"
_FEW_MAGIC = b"TRf1"
_CONSTANT, _CODES8, _CODES16, _RAW, _SET, _OFFSETS = range(6)
_SAMPLE = 4096


def is_constant(column: Column) -> bool:
    """Whether a column is a view of one value."""
    return column.strides == (0,)


class Rows:
    """Memberships as columns of one length, those of ROW.

    A column given as one value is kept as one. Columns may be shared, so they are set anew, never written into.
    Few rows may be tuples as well, or until a column is asked for nothing else.
    """

    __slots__ = ("_columns", "_length", "_tuples")

    def __init__(self, length: int, columns: Mapping[str, Column]) -> None:
        self._length = length
        self._columns: dict[str, Column] | None = dict(columns)
        self._tuples: list[Row] | None = None

    @classmethod
    def from_tuples(cls, rows: Sequence[Row]) -> "Rows":
        """Tuples as rows, in the order given."""
        found = cls(len(rows), {})
        found._tuples, found._columns = list(rows), None
        if len(rows) > FEW:
            found._all_columns()
            found._tuples = None
        return found

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> Column:
        return self._all_columns()[name]

    def __setitem__(self, name: str, column: Any) -> None:
        columns = self._all_columns()
        self._tuples = None
        column = np.asarray(column, ROW[name])
        columns[name] = (
            spread(column.reshape(-1), self._length) if column.size == 1 else np.broadcast_to(column, self._length)
        )

    def _all_columns(self) -> dict[str, Column]:
        columns = self._columns
        if columns is None:
            assert self._tuples is not None
            fields = zip(*self._tuples, strict=True) if self._tuples else ((),) * len(NAMES)
            columns = {name: np.array(field, ROW[name]) for name, field in zip(NAMES, fields, strict=True)}
            self._columns = columns
        return columns

    def put(self, name: str, places: Places, values: Any) -> None:
        """Sets a column at some places."""
        column = self[name].copy()
        column[places] = values
        self[name] = column

    def take(self, places: Places) -> "Rows":
        """The rows at these places, or those where a mask is true."""
        if isinstance(places, np.ndarray) and places.dtype == np.bool_:
            places = np.flatnonzero(places)
        length = len(places) if isinstance(places, np.ndarray) else len(range(*places.indices(self._length)))
        return Rows(
            length,
            {
                name: spread(column, length) if length and is_constant(column) else column[places]
                for name, column in self._all_columns().items()
            },
        )

    def of(self, users: BitMap) -> "Rows":
        """The rows of these users; rows in order stay so."""
        if self._tuples is not None:
            return Rows.from_tuples([row for row in self._tuples if row[0] in users])
        return self.take(is_member(self["user"], ids_of(users))) if self._length else self

    def of_few(self, users: BitMap) -> "Rows":
        """The same for few users, of rows in order: a search for each of them."""
        if self._tuples is not None:
            return self.of(users)
        columns = self._all_columns()
        column = columns["user"]
        found: list[Row] = []
        for user in ids_of(users):
            first, last = column.searchsorted(user), column.searchsorted(user, "right")
            found += zip(*(columns[name][first:last].tolist() for name in NAMES), strict=True)
        return Rows.from_tuples(found)

    def without(self, users: BitMap) -> "Rows":
        """The rows of everyone else; rows in order stay so."""
        if not users or not self._length:
            return self
        if self._tuples is not None:
            return Rows.from_tuples([row for row in self._tuples if row[0] not in users])
        return self.take(~is_member(self["user"], ids_of(users)))

    def narrowed(self) -> "Rows":
        """The same rows, where each column that says the same of all takes the memory of one value."""
        if not self._length:
            return self
        columns = self._all_columns()
        return Rows(
            self._length,
            {
                name: spread(column[:1].copy(), self._length) if _says_one(column) else column
                for name, column in columns.items()
            },
        )

    @property
    def nbytes(self) -> int:
        """About what the rows take in memory."""
        if self._columns is None:
            return 400 * self._length  # a tuple of nine objects
        return sum(column.itemsize if is_constant(column) else column.nbytes for column in self._columns.values())

    def tolist(self) -> list[Row]:
        """The rows as tuples of plain values, fields in the order of ROW."""
        if self._tuples is not None:
            return list(self._tuples)
        columns = self._all_columns()
        return list(zip(*(columns[name].tolist() for name in NAMES), strict=True))

    def few(self) -> list[Row] | None:
        """The rows as tuples where they are kept so, which is never of many; must not be changed."""
        return self._tuples


def spread(column: Column, length: int) -> Column:
    """The first value of a column, `length` times, without memory; numpy's own `broadcast_to` costs microseconds."""
    found: Column = np.ndarray((length,), column.dtype, column[:1], 0, (0,))
    found.flags.writeable = False
    return found


def _says_one(column: Column) -> bool:
    bits = np.ascontiguousarray(column[:1]).view(f"<u{column.itemsize}")[0]
    return is_constant(column) or bool((np.ascontiguousarray(column).view(f"<u{column.itemsize}") == bits).all())


def rows_of(count: int) -> Rows:
    """`count` rows that say nothing: no value, no score, no source, no end."""
    return Rows(count, {name: spread(column, count) for name, column in _NOTHING.items()})


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, one after the other."""
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Rows.from_tuples([])
    length = sum(map(len, parts))
    if length <= FEW and all(part.few() is not None for part in parts):
        return Rows.from_tuples([row for part in parts for row in part.tolist()])
    return Rows(length, {name: joined_column([part[name] for part in parts], length) for name in NAMES})


def joined_column(pieces: Sequence[Column], length: int) -> Column:
    """Columns one after the other, none of them empty; one value where all are the same one."""
    first = pieces[0][:1]
    if all(is_constant(piece) and piece[:1].tobytes() == first.tobytes() for piece in pieces):
        return spread(first, length)
    return np.concatenate(pieces)


def in_order(rows: Rows) -> Rows:
    """The rows in canonical order; costs a sort only where they are not in it."""
    if len(rows) < 2:
        return rows
    few = rows.few()
    if few is not None:
        return Rows.from_tuples(sorted(few, key=_place))
    user, value, units = rows["user"], rows["value"], rows["units"]
    if ascend(user):
        return rows
    if is_constant(units):
        # Both in one key: sorting plain integers is several times faster than by two arrays.
        keys = user.astype(np.uint64) << np.uint64(32)
        keys |= value.view(np.uint32)
        return rows if bool((keys[1:] >= keys[:-1]).all()) else rows.take(np.argsort(keys))
    same = user[1:] == user[:-1]
    tie = same & ((value[1:] > value[:-1]) | ((value[1:] == value[:-1]) & (units[1:] >= units[:-1])))
    if bool(np.all((user[1:] > user[:-1]) | tie)):
        return rows
    return rows.take(np.lexsort((units, *(() if is_constant(value) else (value,)), user)))


def ascend(keys: NDArray[Any]) -> bool:
    """Whether each is greater than the one before it."""
    return bool((keys[1:] > keys[:-1]).all())


def places_in_order(users: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The places of users in ascending order, those of one user in the order they stand in; at most 2^32 places.

    Sorts one integer of user and place, which numpy does several times faster than it sorts places.
    """
    keys = users.astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(users), dtype=np.uint64)
    keys.sort()
    keys &= np.uint64(0xFFFFFFFF)
    return keys.view(np.int64)


def _place(row: Row) -> Row:
    return row[:3]


def is_member(values: NDArray[np.generic], ordered: NDArray[np.generic]) -> NDArray[np.bool_]:
    """For each of `values`, whether it is in the ascending array `ordered`."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    if len(values) > MANY and values.dtype == ordered.dtype == np.uint32:
        span = int(ordered[-1].item()) - int(ordered[0].item()) + 1
        if span <= SPARSE * (len(values) + len(ordered)):
            return _is_in_range(values.view(np.uint32), ordered.view(np.uint32), span)
    at = np.searchsorted(ordered, values)
    found: NDArray[np.bool_] = ordered[np.minimum(at, len(ordered) - 1)] == values
    return found


def _is_in_range(values: NDArray[np.uint32], ordered: NDArray[np.uint32], span: int) -> NDArray[np.bool_]:
    """The same by way of a table of all ids between the first and the last, which costs a look a value."""
    table = np.zeros(span + 1, np.bool_)
    table[ordered - ordered[0]] = True
    places = np.minimum(values - ordered[0], np.uint32(span))  # a value below the first wraps round, beyond the last
    found: NDArray[np.bool_] = table[places]
    return found


def encode(rows: Rows, without: Collection[str] = (), known: Mapping[str, bytes] = _NONE_KNOWN) -> bytes:
    """The rows as bytes with length and checksum, less the columns kept elsewhere; an inverse is `decode`.

    known: columns that are encoded already (`encoded_constants`).
    """
    if len(rows) <= FEW and not without:
        return _encode_few(rows.tolist())
    names = [name for name in NAMES if name not in without]
    body = b"".join(known[name] if name in known else _encode_column(name, rows[name]) for name in names)
    block = _HEADER.pack(_MAGIC, len(rows), len(names), len(body)) + body
    return _checked(block)


def encoded_constants(rows: Rows) -> dict[str, bytes]:
    """The columns that are views of one value, encoded; they serve for all parts of the rows."""
    return {name: _encode_column(name, rows[name]) for name in NAMES if is_constant(rows[name])}


def _encode_few(rows: Sequence[Row]) -> bytes:
    """Only the fields that say something, uncompressed; a tenth of the time of arrays, and half the bytes.

    NaN, which is no score, is not itself.
    """
    if not rows:
        return _NO_ROWS
    said, form = 0, _FEW_FORM
    values: list[Any] = []
    for at, field in enumerate(zip(*rows, strict=True)):
        nothing = _DEFAULTS[at]
        if field.count(nothing) < len(field) and (nothing == nothing or any(each == each for each in field)):
            said |= 1 << at
            form += f"{len(field)}{_FORMATS[at]}"
            values += field
    return _checked(struct.pack(form, _FEW_MAGIC, len(rows), said, *values))


def _checked(block: bytes) -> bytes:
    return block + _CHECKSUM.pack(zlib.crc32(block))


def _decode_few(data: bytes) -> Rows:
    """The inverse of `_encode_few`."""
    block = data[: -_CHECKSUM.size]
    (checksum,) = _CHECKSUM.unpack_from(data, len(block))
    if len(block) < _FEW_HEADER.size or zlib.crc32(block) != checksum:
        raise Damaged("a block of rows does not match its checksum; restore a backup")
    _, count, said = _FEW_HEADER.unpack_from(block)
    fields: list[Sequence[Any]] = []
    at = _FEW_HEADER.size
    for place, letter in enumerate(_FORMATS):
        if said >> place & 1:
            form = f"<{count}{letter}"
            fields.append(struct.unpack_from(form, block, at))
            at += struct.calcsize(form)
        else:
            fields.append((_DEFAULTS[place],) * count)
    return Rows.from_tuples(list(zip(*fields, strict=True)))


def _encode_column(name: str, column: Column) -> bytes:
    if is_constant(column):
        column = column[:1]
    bits = np.ascontiguousarray(column).view(f"<u{column.itemsize}")  # NaN equals itself this way
    if len(bits) == 0 or bool((bits == bits[0]).all()):
        encoding, data = _CONSTANT, bits[:1].tobytes()
    elif name == "user":
        is_set = ascend(bits)
        encoding, data = (_SET, packed(bitmap_of(bits))) if is_set else (_RAW, zlib.compress(bits.tobytes(), 1))
    elif len(bits) < 64:
        encoding, data = _RAW, zlib.compress(bits.tobytes(), 1)
    else:
        encoding, data = _codes(bits) or _offsets(bits, bits[int(np.argmin(column))])
    return _COLUMN.pack(NAMES.index(name), encoding, len(data)) + data


def _codes(bits: NDArray[Any]) -> tuple[int, bytes] | None:
    """A byte or two a row, if few rows say something else than others."""
    sample = bits[:: 1 + len(bits) // _SAMPLE]
    if 2 * len(np.unique(sample)) > len(sample):
        return None
    distinct = np.unique(bits)
    if len(distinct) > 1 << 16:
        return None
    encoding, form = (_CODES8, "<u1") if len(distinct) <= 1 << 8 else (_CODES16, "<u2")
    codes = np.searchsorted(distinct, bits).astype(form)
    return encoding, struct.pack("<I", len(distinct)) + distinct.tobytes() + zlib.compress(codes.tobytes(), 1)


def _offsets(bits: NDArray[Any], least: Any) -> tuple[int, bytes]:
    """The distance of each from the least, all lowest bytes first, then all of the next: no more than are needed."""
    distances = bits - least
    width = max(1, (int(distances.max()).bit_length() + 7) // 8)
    planes = distances.view(np.uint8).reshape(len(bits), bits.itemsize)[:, :width].T
    return _OFFSETS, least.tobytes() + planes.tobytes()


def decode_columns(data: bytes) -> tuple[int, dict[str, Column]]:
    """The number of rows, and each column as an array of one element (constant) or of that many.

    Raises Damaged when the bytes are not what `encode` made.
    """
    if len(data) < _HEADER.size + _CHECKSUM.size:
        raise Damaged("a block of rows is cut short; restore a backup")
    magic, count, columns, length = _HEADER.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)
    block = memoryview(data)[: -_CHECKSUM.size]
    body = block[_HEADER.size :]
    if magic != _MAGIC or len(body) != length or zlib.crc32(block) != checksum:
        raise Damaged("a block of rows does not match its checksum; restore a backup")
    found: dict[str, Column] = {}
    at = 0
    for _ in range(columns):
        field, encoding, size = _COLUMN.unpack_from(body, at)
        at += _COLUMN.size
        name = NAMES[field]
        found[name] = _decode_column(ROW[name], count, encoding, body[at : at + size])
        at += size
    return count, found


def _decode_column(dtype: np.dtype[np.generic], count: int, encoding: int, data: memoryview) -> Column:
    if encoding == _CONSTANT:
        return np.frombuffer(data, dtype)
    if encoding == _SET:
        return ids_of(unpacked(bytes(data)))
    if encoding == _OFFSETS:
        return _from_offsets(dtype, count, data)
    if encoding == _RAW:
        return np.frombuffer(zlib.decompress(data), dtype)
    (size,) = struct.unpack_from("<I", data)
    table_end = 4 + size * dtype.itemsize
    table = np.frombuffer(data[4:table_end], dtype)
    codes = np.frombuffer(zlib.decompress(data[table_end:]), "<u1" if encoding == _CODES8 else "<u2")
    column: Column = table[codes]
    return column


def _from_offsets(dtype: np.dtype[np.generic], count: int, data: memoryview) -> Column:
    form = f"<u{dtype.itemsize}"
    planes = np.frombuffer(data[dtype.itemsize :], np.uint8).reshape(-1, count)
    distances = np.zeros((count, dtype.itemsize), np.uint8)
    distances[:, : len(planes)] = planes.T
    found = distances.view(form).reshape(count)
    found += np.frombuffer(data[: dtype.itemsize], form)
    return found.view(dtype)


def decode(data: bytes) -> Rows:
    """The rows that `encode` took; columns left out then are as in `rows_of`."""
    if data[:4] == _FEW_MAGIC and len(data) >= _CHECKSUM.size:
        return _decode_few(data)
    count, columns = decode_columns(data)
    rows = rows_of(count)
    for name, column in columns.items() if count else ():
        rows[name] = column
    return rows


_NO_ROWS = _checked(_FEW_HEADER.pack(_FEW_MAGIC, 0, 0))
