"""Who is like an audience: which values tell its members from all others, how much each weighs, and who has most.

The weights are those of a Bernoulli naive Bayes classifier (Manning, Raghavan, Schütze 2008, 13.3), in hundredths, so
that sums are exact and the same everywhere. Which values may count is in `features.py`, the sums in `scoring.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from math import fsum

import numpy as np
from numpy.typing import ArrayLike
from pyroaring import BitMap

from bitmap_store.bitmaps import difference, intersection_size
from bitmap_store.containers import widened
from bitmap_store.plan import Alike, Leaf
from bitmap_store.scoring import Scores
from bitmap_store.significance import Floats, adjusted, log_odds, p_values, z_scores
from bitmap_store.stopping import Stop

FEATURES_MAX = 100
"""Values that count, the most telling ones."""
CELL_MIN = 5
"""Users who have a value at least, for it to be thought of."""
DISCOVERY_RATE = 0.05
"""The expected part of the values that count by chance, at most."""
SMOOTHING = 1.0
HUNDREDTHS = 100
_MOST = 10**15


@dataclass(frozen=True, slots=True)
class Weighed:
    """A feature by its place, and how much it adds to a score, in hundredths; strength: see `likeness`."""

    place: int
    weight: int
    strength: float


@dataclass(frozen=True, slots=True)
class Likeness:
    """What tells a group from others, the most telling first; none where nothing does.

    A score is `base` and the weights of what a user has: the logarithm of how many times likelier these values are in
    the group than among the others, in hundredths. 0 is as likely in both.
    """

    base: int
    weighed: tuple[Weighed, ...]


NO_LIKENESS = Likeness(0, ())


def likeness(inside: ArrayLike, seeds: int, outside: ArrayLike, others: int) -> Likeness:
    """What tells `seeds` users from `others`, who have each feature as often as `inside` and `outside` say.

    What none of the others has, or all, cannot make one of them more alike than another and does not count. Of those
    whose shares differ by more than chance (z-scores, corrected for how many are looked at) the hundred of
    greatest strength: the difference of the smoothed shares times the weight, which is how far apart the feature puts
    the mean scores of both groups (the divergence J of Jeffreys 1946; "information value" in credit scoring).
    """
    inside, outside = np.asarray(inside, float), np.asarray(outside, float)
    if not seeds or not others or not inside.size:
        return NO_LIKENESS
    candidates = np.flatnonzero((inside + outside >= CELL_MIN) & (outside > 0) & (outside < others))
    one, other = inside[candidates], outside[candidates]
    sure = adjusted(p_values(z_scores(one, seeds, other, others))) <= DISCOVERY_RATE
    candidates, one, other = candidates[sure], one[sure], other[sure]
    weights = np.rint(log_odds(one, seeds, other, others, SMOOTHING) * HUNDREDTHS).astype(np.int64)
    strengths = (smoothed(one, seeds) - smoothed(other, others)) * weights / HUNDREDTHS
    order = [int(i) for i in np.lexsort((candidates, -strengths)) if weights[i]][:FEATURES_MAX]
    absent = np.log(1 - smoothed(one, seeds)) - np.log(1 - smoothed(other, others))
    return Likeness(
        round(fsum(absent[order]) * HUNDREDTHS),
        tuple(Weighed(int(candidates[i]), int(weights[i]), float(strengths[i])) for i in order),
    )


def smoothed(inside: ArrayLike, whole: int) -> Floats:
    """Shares as if one more had each thing and one more had not."""
    found: Floats = (np.asarray(inside, float) + SMOOTHING) / (whole + 2 * SMOOTHING)
    return found


def hundredths(threshold: float) -> int:
    """The least score, in hundredths, that reaches a threshold as it is written."""
    least = int((Decimal(repr(threshold)) * HUNDREDTHS).to_integral_value(ROUND_CEILING))
    return max(-_MOST, min(least, _MOST))


def alike(node: Alike, seeds: BitMap, everyone: BitMap, leaf: Callable[[Leaf], BitMap], stop: Stop) -> BitMap:
    """The users of a look-alike. Nobody where there are no seeds, no others, or nothing that tells them apart.

    Costs a look at each feature and the sums of those that count: see `Scores`.
    """
    others = difference(everyone, seeds)
    if not seeds or not others:
        return BitMap()
    sets = [leaf(feature) for feature in node.features]
    found = weighed_among(sets, seeds, len(others), stop)
    if not found.weighed:
        return BitMap()
    scores = Scores([(sets[each.place], each.weight) for each in found.weighed], everyone, stop, found.base)
    if node.threshold is not None:
        return scores.at_least(others, node.threshold, stop)
    return scores.best(others, len(others) if node.size is None else node.size, stop)


def weighed_among(sets: Sequence[BitMap], seeds: BitMap, others: int, stop: Stop) -> Likeness:
    """The likeness of seeds by the users of each feature."""
    seeds = widened(seeds)
    inside = np.empty(len(sets))
    for i, users in enumerate(sets):
        stop.check()
        inside[i] = intersection_size(seeds, users)
    return likeness(inside, len(seeds), np.array([len(users) for users in sets]) - inside, others)
