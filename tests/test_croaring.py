"""Sets mapped where they lie, and calls of CRoaring: the same answers as ordinary sets, nothing freed twice."""

import ctypes.util
import gc
import mmap
import os
import subprocess
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from bitmap_store import croaring
from bitmap_store.croaring import ALIGNMENT, bitmap_of, frozen_size, ids_of, mapped, ranks_of, write_frozen

pytestmark = pytest.mark.skipif(not croaring.AVAILABLE, reason="this build of pyroaring does not export CRoaring")

ROOT = Path(__file__).parents[1]
edges = st.sampled_from([0, 1 << 16, 1 << 20, (1 << 32) - 70_000])
sets = st.one_of(
    st.sets(st.integers(0, (1 << 32) - 1), max_size=50),
    st.builds(
        lambda edge, start, size, step: set(range(edge + start, edge + start + size, step)),
        edges,
        st.integers(0, 9),
        st.integers(0, 69_000),
        st.integers(1, 20),
    ),
)  # fmt: skip


def in_memory(bitmap: BitMap) -> BitMap:
    """The set, frozen and mapped from a buffer."""
    size = frozen_size(bitmap)
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    write_frozen(bitmap, buffer[start : start + size])
    return mapped(buffer.ctypes.data + start, size, buffer)


@given(a=sets, b=sets)
def test_a_mapped_set_is_the_set(a: set[int], b: set[int]) -> None:
    first, second = BitMap(array("I", sorted(a))), BitMap(array("I", sorted(b)))
    first.run_optimize()
    there, other = in_memory(first), in_memory(second)
    assert there == first
    assert len(there) == len(a)
    assert there & other == first & second
    assert there | second == first | second
    assert there - other == first - second
    assert there.intersection_cardinality(other) == len(a & b)
    assert BitMap.union(there, other, first) == first | second
    ids = np.array(sorted(a), np.uint32)
    np.testing.assert_array_equal(ids_of(there), ids)
    assert bitmap_of(ids) == first
    np.testing.assert_array_equal(ranks_of(there, ids), np.arange(1, len(ids) + 1))
    copy = there.copy()
    copy.add(7)
    assert (7 in there) == (7 in a)


def test_memory_is_kept_while_a_set_of_it_is_used(tmp_path: Path) -> None:
    whole = BitMap(range(0, 1 << 20, 3))
    path = tmp_path / "set"
    path.write_bytes(bytes(frozen_size(whole)))
    with path.open("r+b") as file:
        writable = mmap.mmap(file.fileno(), 0)
        write_frozen(whole, np.frombuffer(writable, np.uint8))
        memory = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    there = mapped(memory.ctypes.data, len(memory), memory)
    result = there | BitMap([1])
    del memory
    path.unlink()
    gc.collect()
    assert there == whole
    del there
    gc.collect()
    assert len(result) == len(whole) + 1


def test_what_is_no_frozen_set_is_refused() -> None:
    buffer = np.zeros(64 + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    with pytest.raises(ValueError, match="no frozen set"):
        mapped(buffer.ctypes.data + start, 64, buffer)
    with pytest.raises(ValueError, match="not as many"):
        write_frozen(BitMap([1]), buffer)


SHORT_RUNS = """
from array import array
import numpy as np
from pyroaring import BitMap
from bitmap_store.bitmaps import intersect_into, intersection
from bitmap_store.containers import widened

for length in (1_025, 1_525, 2_469, 4_095, 4_096, 5_000):
    run = BitMap(range(length))
    few = BitMap(array("I", range(0, length, 2)))
    words = widened(few) if len(few) > 1_024 else few
    for start in (0, 100, length - 3):
        some = BitMap(range(start, length))
        kept = [intersection(words, some), intersection(some, words), words.copy(), some.copy()]
        intersect_into(kept[2], some)
        intersect_into(kept[3], words)
        assert all(set(each) == {i for i in range(start, length) if i % 2 == 0} for each in kept)
    assert intersection(run, words) == few
"""


def test_short_runs_meet_packed_words_of_few() -> None:
    """Where CRoaring would write behind what it allocates: the allocator looks at each piece when it is freed."""
    checker = ctypes.util.find_library("c_malloc_debug")
    if checker is None:
        pytest.skip("this C library cannot check what was allocated")
    checked = os.environ | {"LD_PRELOAD": checker, "MALLOC_CHECK_": "3"}
    done = subprocess.run([sys.executable, "-c", SHORT_RUNS], cwd=ROOT, env=checked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
