"""Files as blocks of rows, whatever their format."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

from bitmap_store.files.blocks import Block, Shape
from bitmap_store.files.csv_reader import read_csv
from bitmap_store.files.ndjson_reader import read_ndjson
from bitmap_store.files.parquet_reader import read_parquet

Format = Literal["csv", "ndjson", "parquet"]

T = TypeVar("T")
BLOCK_BYTES = 16 << 20

_READERS = {"csv": read_csv, "ndjson": read_ndjson, "parquet": read_parquet}


def read_blocks(path: Path, format: Format, shape: Shape, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """The rows of a file in order, good and rejected; memory is a few times `block_bytes`.

    Raises before the first block when the file as a whole is wrong (INVALID: empty, damaged, a header that
    does not fit; NOT_FOUND: a column that names no tag), and at a damaged part of a Parquet file.
    """
    return _READERS[format](path, shape, block_bytes)


def ahead(blocks: Iterator[T]) -> Iterator[T]:
    """The same blocks, each made in another thread while the one before it is in use."""
    with ThreadPoolExecutor(1, "tagroar-ahead") as maker:
        following = maker.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = maker.submit(next, blocks, None)
            yield block
