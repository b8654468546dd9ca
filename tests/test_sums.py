"""Sums and sums of squares of integers of every reach, against Python's integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.sqlite.summaries import BLOCK, HALF, sums_of
from bitmap_store.stopping import Stop
from bitmap_store.store import Sums


def by_python(units: list[int]) -> Sums:
    return Sums(len(units), sum(units), sum(each**2 for each in units))


@given(
    st.lists(st.integers(-(10**18), 10**18), max_size=50),
    st.integers(0, 60),
)
def test_few_numbers_of_any_size(units: list[int], bits: int) -> None:
    smaller = [each >> bits for each in units]
    assert sums_of(np.array(smaller, np.int64), Stop()) == by_python(smaller)


@pytest.mark.parametrize("reach", [2**HALF - 1, 2**HALF, 2 ** (2 * HALF - 1) - 1, 2 ** (2 * HALF - 1), 10**18])
def test_whole_blocks_at_the_edge_do_not_overflow(reach: int) -> None:
    units = [reach, -reach] * BLOCK
    assert sums_of(np.array(units, np.int64), Stop()) == by_python(units)
    ascending = [reach] * (2 * BLOCK) + [0]
    assert sums_of(np.array(ascending, np.int64), Stop()) == by_python(ascending)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
def test_narrow_columns(kind: type) -> None:
    units = np.arange(100, dtype=kind)
    assert sums_of(units, Stop()) == by_python(units.tolist())
