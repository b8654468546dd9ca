"""Statistics over the numbers of an audience, exact where integers can be."""

from collections.abc import Sequence

import numpy as np

from bitmap_store.rows import Column
from bitmap_store.stopping import Stop
from bitmap_store.store import Summary, Sums

BLOCK = 1 << 14
"""Numbers that are squared together, so that what is in between stays in the cache of the core."""
HALF = 24
"""Bits of a number from which on it is squared in two parts: squares of `BLOCK` numbers below it fit 64 bits."""


def summary_of(units: Column, quantiles: Sequence[float], bins: int) -> Summary:
    """Count, sum, extremes, median, quantiles and histogram of integers; see `Summary`. O(n log n)."""
    if not len(units):
        return Summary(0, 0, None, None, None, tuple(None for _ in quantiles), ())
    ordered = np.sort(units)
    count = len(ordered)
    low, high = int(ordered[0]), int(ordered[-1])
    middle = (int(ordered[(count - 1) // 2]) + int(ordered[count // 2])) / 2
    at = np.quantile(ordered, list(quantiles), method="inverted_cdf") if quantiles else np.zeros(0)
    return Summary(
        count=count,
        sum=_exact_sum(ordered),
        min=low,
        max=high,
        median=middle,
        quantiles=tuple(int(value) for value in at),
        bins=_bins(ordered, low, high, bins),
    )


def sums_of(units: Column, stop: Stop) -> Sums:
    """Count, sum and sum of squares of integers, exactly; O(n).

    Squares are taken of distances from the middle, which are smaller, and brought back: with d = x - m,
    the sum of x^2 is that of d^2 + 2 m d + m^2.
    """
    count = len(units)
    if not count:
        return Sums(0, 0, 0)
    low, high = int(units.min()), int(units.max())
    middle = (low + high) // 2
    total = squares = 0
    for start in range(0, count, BLOCK):
        stop.check()
        part = units[start : start + BLOCK].astype(np.int64) - middle
        total += int(part.sum()) if high - middle < 1 << 2 * HALF else sum(part.tolist())
        squares += _squares(part, high - middle)
    return Sums(count, total + middle * count, squares + middle * (2 * total + middle * count))


def _squares(part: Column, reach: int) -> int:
    """The sum of the squares of up to `BLOCK` numbers, none of which is farther from 0 than `reach`."""
    if reach < 1 << HALF:
        return int(np.dot(part, part))
    if reach < 1 << 2 * HALF - 1:
        high, low = part >> HALF, part & ((1 << HALF) - 1)
        return (int(np.dot(high, high)) << 2 * HALF) + (int(np.dot(high, low)) << HALF + 1) + int(np.dot(low, low))
    return sum(each * each for each in part.tolist())


def _exact_sum(ordered: Column) -> int:
    """The sum in Python integers where 64 bits could overflow."""
    largest = max(abs(int(ordered[0])), abs(int(ordered[-1])))
    if largest * len(ordered) < 2**63:
        return int(ordered.sum(dtype=np.int64))
    return sum(ordered.tolist())


def _bins(ordered: Column, low: int, high: int, bins: int) -> tuple[int, ...]:
    """Counts in `bins` intervals of equal width over [low, high]; the last includes its upper end."""
    if not bins:
        return ()
    if low == high:
        return (len(ordered), *(0,) * (bins - 1))
    edges = [low + (high - low) * i / bins for i in range(1, bins)]
    cuts = np.searchsorted(ordered, edges, "left")
    return tuple(int(n) for n in np.diff([0, *cuts.tolist(), len(ordered)]))
