"""What tells users from others, in plain Python: the oracle's own account of `bitmap_store/likeness.py`."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from math import erfc, log, sqrt


def told_apart(
    seeds: AbstractSet[str], others: AbstractSet[str], sets: Sequence[AbstractSet[str]]
) -> tuple[int, dict[int, int]]:
    """The score of having nothing, and what each set that counts adds to it, in hundredths."""
    if not seeds or not others:
        return 0, {}
    counts = {i: (len(each & seeds), len(each & others)) for i, each in enumerate(sets)}
    counts = {i: pair for i, pair in counts.items() if sum(pair) >= 5 and 0 < pair[1] < len(others)}
    chances = {i: _chance(*pair, len(seeds), len(others)) for i, pair in counts.items()}
    # Benjamini and Hochberg, as they say it: up to the last that lies below the line, all are taken.
    ranked = sorted(chances, key=lambda i: chances[i])
    below = [rank for rank, i in enumerate(ranked, 1) if chances[i] <= 0.05 * rank / len(ranked)]
    weights, strengths, absents = {}, {}, {}
    for i in ranked[: max(below, default=0)]:
        p, q = (counts[i][0] + 1) / (len(seeds) + 2), (counts[i][1] + 1) / (len(others) + 2)
        weights[i] = round(100 * log(p * (1 - q) / (q * (1 - p))))
        strengths[i] = (p - q) * weights[i]
        absents[i] = log((1 - p) / (1 - q))
    kept = sorted((i for i in weights if weights[i]), key=lambda i: (-strengths[i], i))[:100]
    return round(100 * sum(absents[i] for i in kept)), {i: weights[i] for i in kept}


def _chance(inside: int, outside: int, seeds: int, others: int) -> float:
    """How likely shares that differ so much are by chance."""
    share = (inside + outside) / (seeds + others)
    error = sqrt(share * (1 - share) * (1 / seeds + 1 / others))
    return erfc(abs(inside / seeds - outside / others) / error / sqrt(2)) if error else 1.0
