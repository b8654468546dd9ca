"""Parquet: typed columns in batches of bounded size; a line is a row, counted from 1.

The columns and their types are judged before the first row, and a file that is damaged is INVALID there,
or where the damage is met.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bitmap_store.errors import Invalid
from bitmap_store.files.blocks import Block, Form, Shape

_ROWS_MAX = 1 << 18
_NARROW_ROWS_MAX = 1 << 19
"""Of numbers and codes alone, which take no more memory than they seem to."""
_CODE_BYTES_MAX = 4
"""A string column with fewer bytes a row than this is stored as codes of a dictionary, and is read as such."""


def read_parquet(path: Path, shape: Shape, block_bytes: int) -> Iterator[Block]:
    """The rows of the file in batches of about `block_bytes` as they are stored, at most 262,144 rows each, or
    524,288 of numbers and codes."""
    size = path.stat().st_size
    try:
        yield from _blocks(path, size, shape, block_bytes)
    except (pa.ArrowException, OSError) as error:
        raise Invalid(f"not a Parquet file, or a damaged one: {str(error).splitlines()[0]}") from error


def _blocks(path: Path, size: int, shape: Shape, block_bytes: int) -> Iterator[Block]:
    with pq.ParquetFile(path) as file:
        forms = shape.read_header(file.schema_arrow.names)
        for field, (column, form) in zip(file.schema_arrow, forms.items(), strict=True):
            if not _fits(field.type, form):
                raise Invalid(f"column {column!r} has the type {field.type}, which is not taken here", argument=column)
        coded = _coded_columns(file)
        narrow = all(
            field.name in coded or _is_fixed(field.type) or pa.types.is_dictionary(field.type)
            for field in file.schema_arrow
        )
        rows_max = _NARROW_ROWS_MAX if narrow else _ROWS_MAX
    line = 1
    with pq.ParquetFile(path, read_dictionary=coded, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            stored = file.metadata.row_group(group)
            rows = max(1, min(rows_max, block_bytes * stored.num_rows // max(1, stored.total_byte_size)))
            for batch in file.iter_batches(rows, row_groups=[group], use_threads=False):
                lines = np.arange(line, line + batch.num_rows)
                line += batch.num_rows
                columns = dict(zip(forms, map(_simplified, batch.columns), strict=True))
                yield Block(lines, columns, [], size * (line - 1) // max(1, file.metadata.num_rows))


def _coded_columns(file: pq.ParquetFile) -> list[str]:
    """The string columns of which every row group holds little more than the codes of a dictionary."""
    metadata = file.metadata
    found = []
    for i, name in enumerate(file.schema_arrow.names if metadata.num_columns == len(file.schema_arrow) else ()):
        chunks = [metadata.row_group(group).column(i) for group in range(metadata.num_row_groups)]
        if _is_string(file.schema_arrow.field(i).type) and all(
            chunk.total_uncompressed_size <= _CODE_BYTES_MAX * chunk.num_values for chunk in chunks
        ):
            found.append(name)
    return found


def _fits(type_: pa.DataType, form: Form) -> bool:
    if pa.types.is_dictionary(type_):
        return _fits(type_.value_type, form)
    if _is_string(type_) or pa.types.is_integer(type_) or pa.types.is_null(type_):
        return True
    if form is Form.NAME:
        return False
    if any(test(type_) for test in _SCALARS):
        return True
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return form is not Form.SCALAR and _fits(type_.value_type, Form.SCALAR if form is Form.LIST else form)
    return form is Form.JSON and pa.types.is_struct(type_) and all(_fits(field.type, form) for field in type_)


_SCALARS = (
    pa.types.is_boolean,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_timestamp,
)


def _is_fixed(type_: pa.DataType) -> bool:
    return any(test(type_) for test in (pa.types.is_primitive, pa.types.is_boolean, pa.types.is_decimal))


def _is_string(type_: pa.DataType) -> bool:
    return any(test(type_) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _simplified(column: pa.Array) -> pa.Array:
    """Large and view strings as plain ones, codes of anything but strings decoded: what is read on knows no other."""
    type_ = column.type
    if pa.types.is_dictionary(type_) and not pa.types.is_string(type_.value_type):
        return _simplified(column.cast(type_.value_type))
    return column.cast(pa.string()) if _is_string(type_) else column
