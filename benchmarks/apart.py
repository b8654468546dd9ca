"""What sets audiences apart, over HTTP, beside pyroaring and numpy by hand: differentiators, and comparisons.

Every question is asked once of each side, in turn, and what both tell has to be the same.
"""

import random
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from benchmarks.engine import Different, Pair
from benchmarks.figures import Figure, Run, median, undisturbed
from benchmarks.handwritten import members
from benchmarks.questions import Questions, values_of
from benchmarks.servers import Server
from benchmarks.stores import new_token, store_of
from benchmarks.world import World
from bitmap_store.expression import Expression, Match, Or
from bitmap_store.language import render

ROUNDS, COMPARISONS, TOP = 7, 15, 10
DIFFERENTIATORS = """query ($where: AudienceWhere!, $baseline: AudienceWhere, $top: Int!) { audience(where: $where) {
    differentiators(baseline: $baseline, top: $top) { tag { key } value size zScore significant tgi } } }"""
COMPARISON = """query ($audiences: [AudienceWhere!]!) { compare(audiences: $audiences) {
    sizes jaccard regions { inAudiences size } } }"""
Bitmaps = Mapping[Match, BitMap]


async def measure(run: Run, world: World) -> None:
    """All figures."""
    path = await store_of(world, run.told)
    questions = Questions(world, seed=6)
    numbers = {value.code: value for value in values_of(world)}
    run.say("drawing the reference")
    drawn = world.members(numbers, lambda done: run.told("drawing the reference", done))
    bitmaps = {value.leaf: drawn[code] for code, value in numbers.items()}
    everyone = BitMap(range(world.users))
    with Server.tagroar(path, await new_token(path)) as server:
        asking = _Asking(server, bitmaps, everyone)
        usual = [value.leaf for value in numbers.values() if 0.002 <= value.share <= 0.6]
        few, many = (_audiences(usual, bitmaps, world.users * share) for share in (0.01, 0.5))
        asking.differentiators(many[-1], None)  # loads every value
        for name, audiences, baselines in (
            ("an audience of 1 % and everyone", few[:ROUNDS], [None] * ROUNDS),
            ("an audience of 50 % and everyone", many[:ROUNDS], [None] * ROUNDS),
            ("two audiences of 50 %", many[:ROUNDS], many[1 : ROUNDS + 1]),
        ):
            pair = Pair()
            with undisturbed():
                for audience, baseline in zip(audiences, baselines, strict=True):
                    ours, theirs = asking.differentiators(audience, baseline)
                    pair.ours.append(ours)
                    pair.theirs.append(theirs)
            note = f"{len(bitmaps):,} values"
            run.figure(_figure(f"differentiators of {name}", pair, 600.0, note))
        for count, bound in ((5, 50.0), (8, None)):
            pair = Pair()
            listed = questions.five(count * (COMPARISONS + 1))
            with undisturbed():
                for turn in range(COMPARISONS + 1):
                    ours, theirs = asking.comparison(listed[turn * count :][:count])
                    pair.ours.append(ours)
                    pair.theirs.append(theirs)
            del pair.ours[0], pair.theirs[0]  # which loads leaves
            run.figure(_figure(f"comparison of {count} audiences of five leaves", pair, bound))


def _figure(name: str, pair: Pair, bound: float | None, note: str = "") -> Figure:
    ours, theirs = median(pair.ours) * 1e3, median(pair.theirs) * 1e3
    return Figure(name, "ms", ours, theirs, "pyroaring and numpy by hand", "ours", "≤" if bound else "", bound, note)


def _audiences(usual: Sequence[Match], bitmaps: Bitmaps, size: float) -> list[Or]:
    """Different unions of three values, those of about so many users first."""
    draw = random.Random(8)
    drawn = {tuple(draw.sample(usual, 3)) for _ in range(100)}
    return [Or(leaves) for leaves in sorted(drawn, key=lambda leaves: abs(len(members(Or(leaves), bitmaps)) - size))][
        : ROUNDS + 1
    ]


class _Asking:
    """Asks both sides, compares what they tell, and gives the seconds of each."""

    def __init__(self, server: Server, bitmaps: Bitmaps, everyone: BitMap) -> None:
        self._server, self._bitmaps, self._everyone = server, bitmaps, everyone
        self._places = {(leaf.key, leaf.values[0] if leaf.values else None): i for i, leaf in enumerate(bitmaps)}

    def differentiators(self, audience: Expression, baseline: Expression | None) -> tuple[float, float]:
        """One audience beside everyone, or beside another."""
        started = time.perf_counter()
        told = self._server.ask(
            DIFFERENTIATORS,
            where={"text": render(audience)},
            baseline=None if baseline is None else {"text": render(baseline)},
            top=TOP,
        )["audience"]["differentiators"]
        ours = time.perf_counter() - started
        started = time.perf_counter()
        inside = members(audience, self._bitmaps)
        other = None if baseline is None else members(baseline, self._bitmaps)
        sizes, scores, first = _by_hand(inside, other, list(self._bitmaps.values()), len(self._everyone))
        theirs = time.perf_counter() - started
        places = [self._places.get((each["tag"]["key"], each["value"])) for each in told]
        for each, place in zip(told, places, strict=True):
            if place is not None and (
                each["size"] != sizes[place] or abs(each["zScore"] - scores[place]) > 1e-9 * max(abs(scores[place]), 1)
            ):
                raise Different(f"{each} of {audience}, by hand {sizes[place]}, {scores[place]}")
        if abs(scores[first[0]]) > 1.001 * max(abs(each["zScore"]) for each in told):
            raise Different(f"{audience}: the first by hand is not among what is told")
        return ours, theirs

    def comparison(self, audiences: Sequence[Expression]) -> tuple[float, float]:
        """Several audiences."""
        started = time.perf_counter()
        told = self._server.ask(COMPARISON, audiences=[{"text": render(audience)} for audience in audiences])["compare"]
        ours = time.perf_counter() - started
        started = time.perf_counter()
        regions = _regions([members(audience, self._bitmaps) for audience in audiences])
        theirs = time.perf_counter() - started
        found = {sum(1 << i for i in region["inAudiences"]): region["size"] for region in told["regions"]}
        if found != regions:
            raise Different(f"regions of {audiences}")
        return ours, theirs


def _by_hand(
    inside: BitMap, baseline: BitMap | None, sets: Sequence[BitMap], everyone: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Sizes, scores, and the places of the first ten that are significant."""
    sizes = np.array([inside.intersection_cardinality(users) for users in sets])
    if baseline is None:
        outside, rest = np.array([len(users) for users in sets]) - sizes, everyone - len(inside)
    else:
        others = baseline - inside
        outside, rest = np.array([others.intersection_cardinality(users) for users in sets]), len(others)
    pooled = (sizes + outside) / (len(inside) + rest)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(pooled * (1 - pooled) * (1 / len(inside) + 1 / rest))
        scores = np.nan_to_num((sizes / len(inside) - outside / rest) / error)
    p = np.array([erfc(abs(score) / sqrt(2)) for score in scores.tolist()])
    order = np.argsort(p)
    adjusted = np.minimum.accumulate((p[order] * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    significant = np.zeros(len(p), bool)
    significant[order] = adjusted <= 0.05
    first = np.lexsort((-np.abs(scores), ~(significant & (sizes >= TOP))))
    return sizes, scores, first[:TOP]


def _regions(sets: Sequence[BitMap]) -> dict[int, int]:
    """How many are in exactly which of the sets: all intersections, each of one made before, and Möbius inversion."""
    count, made = len(sets), {1 << i: users for i, users in enumerate(sets)}
    shared = np.zeros(1 << count, np.int64)
    for size in range(1, count + 1):
        for places in combinations(range(count), size):
            mask = sum(1 << i for i in places)
            last = 1 << places[-1]
            if size == 1:
                shared[mask] = len(made[mask])
            elif places[-1] < count - 1:  # something is made of it again
                made[mask] = made[mask ^ last] & made[last]
                shared[mask] = len(made[mask])
            else:
                shared[mask] = made[mask ^ last].intersection_cardinality(made[last])
    for i in range(count):
        for mask in range(1 << count):
            if not mask >> i & 1:
                shared[mask] -= shared[mask | 1 << i]
    return {mask: int(shared[mask]) for mask in range(1, 1 << count)}
