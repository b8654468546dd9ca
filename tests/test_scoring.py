"""Sums of weights as sets of binary digits, against numpy's sums; with CRoaring's calls and without."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from bitmap_store import croaring
from bitmap_store.bitmaps import bitmap_of, ids_of
from bitmap_store.containers import widened
from bitmap_store.scoring import Scores
from bitmap_store.stopping import Stop, Stopped

IDS = 9 << 16
"""More than a block."""
_RANDOM = np.random.default_rng(3)
SETS = [bitmap_of(np.flatnonzero(_RANDOM.random(IDS) < share)) for share in (0.00001, 0.001, 0.02, 0.1, 0.3, 0.5, 0.9)]
SETS += [widened(SETS[3]), BitMap(range(70_000, 300_000)), BitMap(), BitMap(range(IDS)), BitMap([IDS - 1])]
SETS[8].run_optimize()
EVERYONE = BitMap(range(IDS)) - BitMap(range(0, IDS, 7)) | BitMap([IDS - 1])
OTHERS = EVERYONE - SETS[2]


@pytest.fixture(params=[True, False], ids=["croaring", "pyroaring"])
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """CRoaring's own calls, and what there is without them."""
    if request.param and not croaring.AVAILABLE:
        pytest.skip("this build of pyroaring does not export CRoaring")
    monkeypatch.setattr(croaring, "AVAILABLE", request.param)


def summed(weighted: list[tuple[int, int]], base: int) -> np.ndarray:
    sums = np.full(IDS, base, np.int64)
    for number, weight in weighted:
        sums[ids_of(SETS[number])] += weight
    return sums


WEIGHTED = st.lists(st.tuples(st.integers(0, len(SETS) - 1), st.integers(-2_000, 2_000)), max_size=14)


@pytest.mark.usefixtures("calls")
@given(weighted=WEIGHTED, base=st.integers(-900, 900), size=st.sampled_from([0, 1, 7, 5_000, 400_000, 10**9]))
@settings(max_examples=25)
def test_the_best_and_those_above(weighted: list[tuple[int, int]], base: int, size: int) -> None:
    scores = Scores([(SETS[number], weight) for number, weight in weighted], EVERYONE, Stop(), base)
    sums, ids = summed(weighted, base), ids_of(OTHERS)
    ranked = ids[np.lexsort((ids, -sums[ids]))]
    assert scores.best(OTHERS, size, Stop()) == bitmap_of(ranked[:size])
    for least in (int(sums.min()), int(sums.max()) + 1, int(sums[ids[0]]), 0):
        assert scores.at_least(OTHERS, least, Stop()) == bitmap_of(ids[sums[ids] >= least])


@pytest.mark.usefixtures("calls")
@given(weighted=WEIGHTED, base=st.integers(-900, 900))
@settings(max_examples=10)
def test_each_sum(weighted: list[tuple[int, int]], base: int) -> None:
    scores = Scores([(SETS[number], weight) for number, weight in weighted], EVERYONE, Stop(), base)
    sums, ids = summed(weighted, base), ids_of(OTHERS)
    np.testing.assert_array_equal(scores.of(ids), sums[ids])
    values, counts = np.unique(sums[ids], return_counts=True)
    assert scores.counts(OTHERS, Stop()) == dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_nobody_and_nothing() -> None:
    scores = Scores([(SETS[5], 3)], BitMap(), Stop())
    assert scores.best(BitMap(), 5, Stop()) == BitMap()
    scores = Scores([], EVERYONE, Stop(), 7)
    assert scores.best(OTHERS, 2, Stop()) == OTHERS[:2]
    assert scores.at_least(OTHERS, 7, Stop()) == OTHERS
    assert scores.at_least(OTHERS, 8, Stop()) == BitMap()


def test_work_ends_once_that_is_asked_for() -> None:
    stop = Stop()
    scores = Scores([(SETS[5], 3)], EVERYONE, stop)
    stop.ask()
    for work in (
        lambda: Scores([(SETS[5], 3)], EVERYONE, stop),
        lambda: scores.best(OTHERS, 5, stop),
        lambda: scores.at_least(OTHERS, 1, stop),
        lambda: scores.counts(OTHERS, stop),
    ):
        with pytest.raises(Stopped):
            work()
