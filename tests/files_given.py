"""What the tests of files share: a file with given bytes, and blocks joined to what they say in plain Python."""

from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bitmap_store.files import Block, Cells, Format, Shape, read_blocks
from bitmap_store.values import Rejection

BLOCK = 16 << 20
NO_DATE = "is not a date: YYYY-MM-DD, or RFC 3339 with an offset as in 2024-05-01T12:00:00Z"


def read(path: Path, data: bytes | pa.Table, format: Format, shape: Shape, block_bytes: int = BLOCK) -> list[Block]:
    """The blocks of a file that holds this."""
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        pq.write_table(data, path)
    blocks = list(read_blocks(path, format, shape, block_bytes=block_bytes))
    for block in blocks:
        assert block.rows == len(block.lines) + len(block.rejected)
        assert all(len(column) == len(block.lines) for column in block.columns.values())
    if blocks:
        assert blocks[-1].bytes_done == path.stat().st_size
    return blocks


def rows(blocks: Iterable[Block]) -> list[tuple[int, dict[str, Any]]]:
    """The good rows with their lines; what a row does not say is left out."""
    found = []
    for block in blocks:
        columns = {name: column.to_pylist() for name, column in block.columns.items()}
        for place, line in enumerate(block.lines.tolist()):
            row = {name: cells[place] for name, cells in columns.items() if cells[place] is not None}
            found.append((line, row))
    return found


def rejected(blocks: Iterable[Block]) -> list[tuple[int, str]]:
    """The lines that could not be read, with the reasons; all of them INVALID."""
    rejections = [rejection for block in blocks for rejection in block.rejected]
    assert {rejection.code for rejection in rejections} <= {"INVALID", "NOT_FOUND"}
    return [(rejection.line, rejection.message) for rejection in rejections]


def reasons(rejections: Iterable[Rejection]) -> dict[int, str]:
    """Code and reason by line; a line is rejected once."""
    found = list(rejections)
    by_line = {rejection.line: f"{rejection.code} {rejection.message}" for rejection in found}
    assert len(by_line) == len(found)
    return by_line


def listed(cells: Cells, names: pa.StringArray | list[str]) -> list[tuple[Any, ...]]:
    """Cells as tuples of line, user, and whatever else they hold, by line."""
    users = [pa.array(names, pa.string())[int(user)].as_py() for user in cells.users]
    columns: list[Any] = [cells.lines.tolist(), users]
    if cells.values is not None:
        columns.append(cells.values.to_pylist())
    numbers = (cells.units, cells.counts, cells.last, cells.expires, cells.score)
    columns += [
        [None if np.isnan(cell) else cell.item() for cell in column] for column in numbers if column is not None
    ]
    return sorted(zip(*columns, strict=True), key=itemgetter(0))
