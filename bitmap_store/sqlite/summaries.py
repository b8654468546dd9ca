"""Statistics over the numbers of an audience, exact where integers can be."""

from collections.abc import Sequence

import numpy as np

from bitmap_store.rows import Column
from bitmap_store.store import Summary


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
