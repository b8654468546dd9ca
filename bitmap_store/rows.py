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

_HEADER = struct.Struct("<4sIII")  # magic, rows, columns, body length
_CHECKSUM = struct.Struct("<I")  # CRC-32 of header and body, at the end
_COLUMN = struct.Struct("<BBI")  # field, encoding, compressed length
_MAGIC = b"TRw1"
_CONSTANT, _CODES8, _CODES16, _RAW = range(4)


def is_constant(column: Column) -> bool:
    """Whether a column is a view of one value."""
    return column.strides == (0,)


class Rows:
    """Memberships as columns of one length, those of ROW.

    A column given as one value is kept as one. Columns may be shared, so they are set anew, never written into.
    """

    __slots__ = ("_columns", "_length")

    def __init__(self, length: int, columns: Mapping[str, Column]) -> None:
        self._length = length
        self._columns = dict(columns)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> Column:
        return self._columns[name]

    def __setitem__(self, name: str, column: Any) -> None:
        self._columns[name] = np.broadcast_to(np.asarray(column, ROW[name]), self._length)

    def put(self, name: str, places: Places, values: Any) -> None:
        """Sets a column at some places."""
        column = self._columns[name].copy()
        column[places] = values
        self._columns[name] = column

    def take(self, places: Places) -> "Rows":
        """The rows at these places, or those where a mask is true."""
        if isinstance(places, np.ndarray) and places.dtype == np.bool_:
            places = np.flatnonzero(places)
        length = len(places) if isinstance(places, np.ndarray) else len(range(*places.indices(self._length)))
        return Rows(
            length,
            {
                name: np.broadcast_to(column[:1], length) if length and is_constant(column) else column[places]
                for name, column in self._columns.items()
            },
        )

    def tolist(self) -> list[tuple[Any, ...]]:
        """The rows as tuples of plain values, fields in the order of ROW."""
        return list(zip(*(self._columns[name].tolist() for name in NAMES), strict=True))


def rows_of(count: int) -> Rows:
    """`count` rows that say nothing: no value, no score, no source, no end."""
    return Rows(count, {name: np.broadcast_to(column, count) for name, column in _NOTHING.items()})


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, one after the other."""
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return rows_of(0)
    length = sum(map(len, parts))
    return Rows(length, {name: joined_column([part[name] for part in parts], length) for name in NAMES})


def joined_column(pieces: Sequence[Column], length: int) -> Column:
    """Columns one after the other, none of them empty; one value where all are the same one."""
    first = pieces[0][:1]
    if all(is_constant(piece) and piece[:1].tobytes() == first.tobytes() for piece in pieces):
        return np.broadcast_to(first, length)
    return np.concatenate(pieces)


def in_order(rows: Rows) -> Rows:
    """The rows in canonical order; costs a sort only where they are not in it."""
    if len(rows) < 2:
        return rows
    user, value, units = rows["user"], rows["value"], rows["units"]
    later = user[1:] > user[:-1]
    if bool(later.all()):
        return rows
    same = user[1:] == user[:-1]
    tie = same & ((value[1:] > value[:-1]) | ((value[1:] == value[:-1]) & (units[1:] >= units[:-1])))
    if bool(np.all(later | tie)):
        return rows
    keys = [key for key in (units, value) if not is_constant(key)]
    return rows.take(np.lexsort((*keys, user)))


def is_member(values: NDArray[np.generic], ordered: NDArray[np.generic]) -> NDArray[np.bool_]:
    """For each of `values`, whether it is in the ascending array `ordered`."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    at = np.searchsorted(ordered, values)
    found: NDArray[np.bool_] = ordered[np.minimum(at, len(ordered) - 1)] == values
    return found


def encode(rows: Rows, without: Collection[str] = ()) -> bytes:
    """The rows as bytes with length and checksum, less the columns kept elsewhere; an inverse is `decode`."""
    names = [name for name in NAMES if name not in without]
    body = b"".join(_encode_column(name, rows[name]) for name in names)
    block = _HEADER.pack(_MAGIC, len(rows), len(names), len(body)) + body
    return block + _CHECKSUM.pack(zlib.crc32(block))


def _encode_column(name: str, column: Column) -> bytes:
    field = NAMES.index(name)
    if is_constant(column):
        column = column[:1]
    bits = np.ascontiguousarray(column).view(f"<u{column.itemsize}")  # NaN equals itself this way
    if len(bits) == 0 or bool((bits == bits[0]).all()):
        encoding, data = _CONSTANT, bits[:1].tobytes()
    elif name == "user" or len(bits) < 64:
        encoding, data = _RAW, zlib.compress(bits.tobytes(), 1)
    else:
        distinct, codes = np.unique(bits, return_inverse=True)
        if len(distinct) <= 1 << 8:
            encoding, packed = _CODES8, codes.astype("<u1")
        elif len(distinct) <= 1 << 16:
            encoding, packed = _CODES16, codes.astype("<u2")
        else:
            encoding, packed, distinct = _RAW, bits, bits[:0]
        prefix = struct.pack("<I", len(distinct)) + distinct.tobytes() if encoding != _RAW else b""
        data = prefix + zlib.compress(packed.tobytes(), 1)
    return _COLUMN.pack(field, encoding, len(data)) + data


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
        found[name] = _decode_column(ROW[name], encoding, body[at : at + size])
        at += size
    return count, found


def _decode_column(dtype: np.dtype[np.generic], encoding: int, data: memoryview) -> Column:
    if encoding == _CONSTANT:
        return np.frombuffer(data, dtype)
    if encoding == _RAW:
        return np.frombuffer(zlib.decompress(data), dtype)
    (size,) = struct.unpack_from("<I", data)
    table_end = 4 + size * dtype.itemsize
    table = np.frombuffer(data[4:table_end], dtype)
    codes = np.frombuffer(zlib.decompress(data[table_end:]), "<u1" if encoding == _CODES8 else "<u2")
    column: Column = table[codes]
    return column


def decode(data: bytes) -> Rows:
    """The rows that `encode` took; columns left out then are as in `rows_of`."""
    count, columns = decode_columns(data)
    rows = rows_of(count)
    for name, column in columns.items() if count else ():
        rows[name] = column
    return rows
