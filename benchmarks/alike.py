"""Look-alikes beside numpy and pyroaring by hand: a hundred values, to one user in a hundred.

Both count how many of the seeds and of the others have each value, weigh it, score everyone, and find the best. Each
look-alike is asked for once. What both find has to be the same.
"""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from benchmarks.engine import Different
from benchmarks.figures import Figure, Run, median, undisturbed
from benchmarks.questions import Value, values_of
from benchmarks.stores import opened, store_of
from benchmarks.world import World
from bitmap_store import Store
from bitmap_store.expression import And, AtLeast, Expression, Lookalike, Match, Part, Users

VALUES, SEEDS, ROUNDS, ALL_ROUNDS = 100, 10_000, 5, 3
PART = 0.05
"""The seeds are of this part of everyone: some of those with many of the values."""
BLOCK = 1 << 14
"""Words of a block of the reference: 128 KiB."""
Words = NDArray[np.uint64]


async def measure(run: Run, world: World) -> None:
    """All figures of look-alikes."""
    path = await store_of(world, run.told)
    values = chosen(world)
    run.say("drawing the reference")
    members = world.members([value.code for value in values], lambda done: run.told("drawing the reference", done))
    bitmaps = {value.leaf: members[value.code] for value in values}
    async with opened(path) as store:
        await of_a_hundred(run, world, store, bitmaps)
        await of_all(run, world, store)


def chosen(world: World) -> list[Value]:
    """All values of some tags that have them, a hundred at most, each with one user in a thousand or more."""
    tags: dict[str, list[Value]] = {}
    for value in values_of(world):
        if value.shape.kind in ("FLAG", "CHOICE", "CHOICES"):
            tags.setdefault(value.leaf.key, []).append(value)
    keys = [key for key, found in tags.items() if all(0.001 <= value.share < 0.9 for value in found)]
    random.Random(3).shuffle(keys)
    found: list[Value] = []
    for key in keys:
        if len(found) + len(tags[key]) <= VALUES:
            found += tags[key]
    return found


def seeds_of(leaves: Sequence[Match], seed: int) -> Expression:
    """Some who have more of the values than others do; who they are is another matter with each seed."""
    start = seed * PART
    return And((Part("seeds", start, start + PART), AtLeast(max(1, len(leaves) // 9), tuple(leaves))))


async def members_of(store: Store, expression: Expression) -> BitMap:
    """Who is in."""
    found = BitMap()
    async for block in store.stream(store.bind(store.view(), expression, "user")):
        found |= BitMap(block)
    return found


async def of_a_hundred(run: Run, world: World, store: Store, bitmaps: Mapping[Match, BitMap]) -> None:
    """By the hundred values; all other tags are excluded."""
    keys = {leaf.key for leaf in bitmaps}
    excluded = tuple(sorted(shape.key for shape in world.shapes if shape.key not in keys))
    size = world.users // 100
    ours: list[float] = []
    theirs: dict[Callable[..., Scores], list[float]] = {scattered: [], sliced: []}
    view = store.view()
    with undisturbed():
        for turn in range(ROUNDS):
            given = (await members_of(store, seeds_of(list(bitmaps), turn)))[:SEEDS]
            seeds = Users(tuple(map(str, given)))
            asked = Lookalike(seeds, size=size, exclude_tags=excluded)
            (count,) = await store.count([store.bind(view, asked, "user")])  # which is not measured: it maps the sets
            asked = Lookalike(seeds, size=size + 1, exclude_tags=excluded)
            plan = store.bind(view, asked, "user")
            started = time.perf_counter()
            (count,) = await store.count([plan])
            ours.append(time.perf_counter() - started)
            found = await members_of(store, asked)
            for way, seconds in theirs.items():
                started = time.perf_counter()
                expected = by_hand(list(bitmaps.values()), given, world.users, size + 1, way)
                seconds.append(time.perf_counter() - started)
                if found != expected or count != len(found):
                    raise Different(f"look-alike {turn}: {len(found & expected):,} of {size:,} by hand are in")
    best = min(theirs, key=lambda way: median(theirs[way]))
    reference = f"numpy and pyroaring by hand, {best.__name__}"
    name = f"look-alike over {len(bitmaps)} values to {size:,} users"
    run.figure(Figure(name, "ms", median(ours) * 1e3, median(theirs[best]) * 1e3, reference, "ratio", "≤", 1.3))
    run.figure(Figure(name, "ms", median(ours) * 1e3, None, "", "ours", "≤", 2_000.0))


async def of_all(run: Run, world: World, store: Store) -> None:
    """By the values of all tags, of which the hundred that tell most count."""
    leaves = [value.leaf for value in chosen(world)]
    view, ours = store.view(), []
    for turn in range(-1, ALL_ROUNDS):  # the first one maps the sets
        asked = Lookalike(seeds_of(leaves, turn + 8), size=world.users // 100)
        plan = store.bind(view, asked, "user")
        started = time.perf_counter()
        await store.count([plan])
        ours.append(time.perf_counter() - started)
    run.figure(Figure(f"the same of all {world.codes:,} values", "ms", median(ours[1:]) * 1e3))


# ---------------------------------------------------------------- by hand

Scores = NDArray[np.int32]


def by_hand(
    sets: Sequence[BitMap],
    seeds: BitMap,
    users: int,
    size: int,
    way: Callable[[Sequence[BitMap], Sequence[int], int], Scores],
) -> BitMap:
    """The look-alike of seeds, as one would write it for these sets."""
    others = users - len(seeds)
    if not seeds:
        return BitMap()
    inside = np.array([seeds.intersection_cardinality(each) for each in sets], float)
    outside = np.array([len(each) for each in sets]) - inside
    differing = np.flatnonzero((outside > 0) & (outside < others) & (inside + outside >= 5))
    inside, outside = inside[differing], outside[differing]
    p, q = (inside + 1) / (len(seeds) + 2), (outside + 1) / (others + 2)
    weights = np.rint(100 * np.log(p * (1 - q) / (q * (1 - p)))).astype(int)
    sure = significant(inside, len(seeds), outside, others)
    weighed = [
        (sets[i], int(weight)) for i, weight, counts in zip(differing.tolist(), weights, sure, strict=True) if counts
    ]
    if not weighed:
        return BitMap()
    scores = way([each for each, _ in weighed], [weight for _, weight in weighed], users)
    scores[np.frombuffer(seeds.to_array(), np.uint32)] = np.iinfo(np.int32).min
    least = np.partition(scores, users - size)[users - size]
    above, ties = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
    return BitMap(np.concatenate([above, ties[: size - len(above)]]).astype(np.uint32))


def significant(inside: NDArray[np.float64], seeds: int, outside: NDArray[np.float64], others: int) -> list[bool]:
    """Which differ by more than chance (Benjamini, Hochberg 1995)."""
    pooled = (inside + outside) / (seeds + others)
    z = (inside / seeds - outside / others) / np.sqrt(pooled * (1 - pooled) * (1 / seeds + 1 / others))
    p = [math.erfc(abs(each) / math.sqrt(2)) for each in z]
    ranked = sorted(p)
    line = max((each for rank, each in enumerate(ranked, 1) if each <= 0.05 * rank / len(p)), default=-1.0)
    return [each <= line for each in p]


def scattered(sets: Sequence[BitMap], weights: Sequence[int], users: int) -> Scores:
    """Each weight is added to the scores of those who have the value."""
    found = np.zeros(users, np.int32)
    for each, weight in zip(sets, weights, strict=True):
        found[np.frombuffer(each.to_array(), np.uint32)] += weight
    return found


def sliced(sets: Sequence[BitMap], weights: Sequence[int], users: int) -> Scores:
    """Each weight is added to counters whose binary digits are words, block by block; then they are made numbers."""
    words = [_words(each, users) for each in sets]
    digits = sum(map(abs, weights)).bit_length()
    floor = sum(min(weight, 0) for weight in weights)
    found = np.full(users, floor, np.int32)
    for start in range(0, len(words[0]), BLOCK):
        block = slice(start, start + BLOCK)
        counters = np.zeros((digits, len(words[0][block])), np.uint64)
        for each, weight in zip(words, weights, strict=True):
            having = ~each[block] if weight < 0 else each[block]
            carry: Words | None = None
            for place in range(digits):
                counter, added = counters[place], abs(weight) >> place & 1
                if added and carry is not None:
                    either = counter ^ having
                    both = counter & having
                    counters[place] = either ^ carry
                    carry = both | (either & carry)
                elif added or carry is not None:
                    term = having if added else carry
                    assert term is not None
                    carry, counters[place] = counter & term, counter ^ term
        rows = found[start * 64 : (start + BLOCK) * 64]
        for place in range(digits):
            bits = np.unpackbits(counters[place].view(np.uint8), bitorder="little")[: len(rows)]
            rows += bits.astype(np.int32) << place
    return found


def _words(users: BitMap, count: int) -> Words:
    bits = np.zeros(-(-count // 64) * 64, bool)
    bits[np.frombuffer(users.to_array(), np.uint32)] = True
    return np.packbits(bits, bitorder="little").view(np.uint64)
