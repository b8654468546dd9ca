"""Arrow arrays as numpy sees them: masks and numbers taken from their buffers, without a Python object a row.

`to_numpy` of a column of truth values, or of one with nulls, takes twenty times as long.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def validity(column: pa.Array) -> Mask:
    """Where a column is not null."""
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.bool_)
    bits = column.buffers()[0]
    if bits is None or not column.null_count:
        return np.ones(len(column), np.bool_)
    return _bits(bits, column.offset, len(column))


def truth(column: pa.BooleanArray) -> Mask:
    """Where a column of truth values is true; a null is not."""
    found = _bits(column.buffers()[1], column.offset, len(column))
    return found & validity(column) if column.null_count else found


def filled(column: pa.Array, empty: int | float = 0) -> NDArray[Any]:
    """Integers or floats as they are; `empty` where one is null."""
    found = stored(column)
    if not column.null_count:
        return found
    if found.dtype.kind == "i" and empty in (0, -1):  # by bits, which takes a fifth of the time of a choice
        nothing = validity(column).view(np.int8) - np.int8(1)  # all bits where one is null
        codes: NDArray[Any] = found | nothing if empty else found & ~nothing
        return codes
    return np.where(validity(column), found, found.dtype.type(empty))


def stored(column: pa.Array) -> NDArray[Any]:
    """What the buffer of integers or floats holds, also where one is null; no copy."""
    dtype = column.type.to_pandas_dtype()
    if not len(column):
        return np.empty(0, dtype)
    return np.frombuffer(column.buffers()[1], dtype)[column.offset : column.offset + len(column)]


def _bits(buffer: pa.Buffer, offset: int, length: int) -> Mask:
    if not length:
        return np.zeros(0, np.bool_)
    data = np.frombuffer(buffer, np.uint8)[offset >> 3 : (offset + length + 7) >> 3]
    return np.unpackbits(data, bitorder="little")[offset & 7 :][:length].view(np.bool_)
