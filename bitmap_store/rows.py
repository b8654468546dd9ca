"""Membership rows as columns: one numpy record a membership, and their checksummed form on disk.

The canonical order is (user, value, units). A column that says the same of every row costs one value,
one of few distinct values a byte or two a row; as separate database rows 741 M memberships were 10 GB.
"""

import struct
import zlib
from collections.abc import Collection
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
KEY = ("user", "value", "units")
FACTS = ("expires", "source", "score", "count", "last")

Rows = NDArray[np.void]
Column = NDArray[Any]

_HEADER = struct.Struct("<4sIII")  # magic, rows, columns, body length
_CHECKSUM = struct.Struct("<I")  # CRC-32 of header and body, at the end
_COLUMN = struct.Struct("<BBI")  # field, encoding, compressed length
_MAGIC = b"TRw1"
_CONSTANT, _CODES8, _CODES16, _RAW = range(4)


def rows_of(count: int) -> Rows:
    """`count` rows that say nothing: no value, no score, no source, no end."""
    rows = np.zeros(count, ROW)
    rows["expires"] = NEVER
    rows["score"] = np.nan
    return rows


def in_order(rows: Rows) -> Rows:
    """The rows in canonical order; costs a sort only where they are not in it."""
    user, value, units = rows["user"], rows["value"], rows["units"]
    if len(rows) < 2:
        return rows
    later = user[1:] > user[:-1]
    same = user[1:] == user[:-1]
    tie = same & ((value[1:] > value[:-1]) | ((value[1:] == value[:-1]) & (units[1:] >= units[:-1])))
    if bool(np.all(later | tie)):
        return rows
    return rows[np.lexsort((units, value, user))]


def is_member(values: NDArray[np.generic], ordered: NDArray[np.generic]) -> NDArray[np.bool_]:
    """For each of `values`, whether it is in the ascending array `ordered`."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    at = np.searchsorted(ordered, values)
    found: NDArray[np.bool_] = ordered[np.minimum(at, len(ordered) - 1)] == values
    return found


def encode(rows: Rows, without: Collection[str] = ()) -> bytes:
    """The rows as bytes with length and checksum, less the columns kept elsewhere; an inverse is `decode`."""
    names = [name for name in ROW.names or () if name not in without]
    body = b"".join(_encode_column(name, np.ascontiguousarray(rows[name])) for name in names)
    block = _HEADER.pack(_MAGIC, len(rows), len(names), len(body)) + body
    return block + _CHECKSUM.pack(zlib.crc32(block))


def _encode_column(name: str, column: Column) -> bytes:
    field = (ROW.names or ()).index(name)
    bits = column.view(f"<u{column.itemsize}")  # NaN equals itself this way
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
        name = (ROW.names or ())[field]
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
    for name, column in columns.items():
        if count:
            rows[name] = column
    return rows
