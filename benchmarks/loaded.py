"""The reference of imports: a file read by Arrow and put into bitmaps by hand, written to disk at the end.

It knows the tags beforehand, checks nothing, keeps no rows per user, no names and no history, and can answer nothing
but what bitmaps can. So it is what reading the file costs at least.
"""

import os
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyroaring import BitMap

from benchmarks.world import World

Block = tuple[NDArray[np.uint32], NDArray[np.uint16]]


def seconds(world: World, path: Path, target: Path) -> tuple[float, int]:
    """How long a long file takes, and how many memberships it has."""
    started = time.perf_counter()
    bitmaps: dict[int, BitMap] = {}
    count = 0
    for users, codes in _from_csv(world, path) if path.suffix == ".csv" else _from_parquet(world, path):
        order = np.argsort(codes, kind="stable")
        codes, users = codes[order], users[order]
        starts = np.flatnonzero(np.diff(codes.astype(np.int32), prepend=-1))
        for start, end in zip(starts, np.append(starts[1:], len(codes)), strict=False):
            found = BitMap(array("I", users[start:end].tobytes()))
            bitmaps.setdefault(int(codes[start]), BitMap()).__ior__(found)
        count += len(users)
    with target.open("wb") as file:
        for bitmap in bitmaps.values():
            bitmap.run_optimize()
            file.write(bitmap.serialize())
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - started, count


def _from_parquet(world: World, path: Path) -> Iterator[Block]:
    """Ids are whole numbers, and taken as they are."""
    coded = _coder(world)
    file = pq.ParquetFile(path, read_dictionary=["tag", "value"])
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=["user", "tag", "value"]).combine_chunks()
        yield table["user"].chunk(0).to_numpy().astype(np.uint32), coded(table["tag"].chunk(0), table["value"].chunk(0))


def _from_csv(world: World, path: Path) -> Iterator[Block]:
    """Names get ids in the order in which they come, by one look at all of them."""
    coded = _coder(world)
    words = pa.dictionary(pa.int32(), pa.string())
    options = pyarrow.csv.ConvertOptions(column_types={"user": words, "tag": words, "value": words})
    table = pyarrow.csv.read_csv(path, convert_options=options).unify_dictionaries().combine_chunks()
    users = table["user"].combine_chunks().indices.to_numpy().astype(np.uint32)
    yield users, coded(table["tag"].combine_chunks(), table["value"].combine_chunks())


def _coder(world: World) -> Callable[[pa.DictionaryArray, pa.DictionaryArray], NDArray[np.uint16]]:
    """From columns of tags and values to the numbers of values."""
    known = {(shape.key, value): code for shape in world.stored
             for value, code in zip(shape.values or (None,), shape.codes, strict=True)}  # fmt: skip

    def coded(tags: pa.DictionaryArray, values: pa.DictionaryArray) -> NDArray[np.uint16]:
        keys, names = tags.dictionary.to_pylist(), [*values.dictionary.to_pylist(), None]
        table = np.array(
            [[known.get((key, name or None), known.get((key, None), 0)) for name in names] for key in keys], np.uint16
        )
        at = pc.fill_null(values.indices, -1).to_numpy(zero_copy_only=False)
        found: NDArray[np.uint16] = table[tags.indices.to_numpy(), at]
        return found

    return coded
