"""A made-up world: who has which tag, for 100 thousand to 100 million users, the same for the same seed.

Nothing is kept: a block of users is drawn whenever it is asked for, tag by tag, so that any part of a world
costs only itself. Users are their places 0, 1, 2, …; files name them, see `files.py`.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence
from numpy.typing import NDArray
from pyroaring import BitMap

BLOCK = 1 << 16
"""Users drawn at a time: one container of a bitmap, and places that fit 16 bits, which sort in linear time."""

TAGS, VALUES = 600, 3_000
MEMBERSHIPS = 74 / 600
"""Memberships a user, on average, of each tag."""

SPECIAL = {"NUMBER": (0.95, 0.8, 0.6, 0.4, 0.25), "DATE": (0.9, 0.5, 0.1), "EVENT": (0.5, 0.2)}
"""How many users have each tag of these kinds."""

LEVELS = 1 << 16
"""How many different numbers or days a NUMBER or DATE tag has."""

SHARE_MAX, SHARE_MIN = 0.6, 1e-5
DECAY = 0.13
CLUSTERED = 0.3
CELLS = (64, 1_024, 16_384)
"""Lengths of the runs of users that a clustered value comes in."""

LAST_DAY = 20_758
"""The newest day of a DATE or an event, counted from 1970: 2026-11-01."""

Ints = NDArray[np.int64]
Places = NDArray[np.uint16]
Codes = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Draw:
    """Some values of a tag, of which a user has at most one.

    codes: the values by their number in the world, `weights` (to a sum of 1) their shares among the `coverage` of
    all users who have one. cell: 1 where users are drawn one by one, else the length of runs of ids, of which those
    inside have it with `density`.
    """

    number: int
    codes: tuple[int, ...]
    weights: tuple[float, ...]
    coverage: float
    cell: int = 1
    density: float = 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """A tag. first: the number of its first value in the world; NUMBER, DATE and FLAG have one. scale: decimals."""

    key: str
    kind: str
    first: int
    values: tuple[str, ...]
    draws: tuple[Draw, ...]
    scale: int = 0

    @property
    def codes(self) -> range:
        """The numbers of its values in the world."""
        return range(self.first, self.first + max(len(self.values), 1))


@dataclass(frozen=True)
class Rows:
    """Memberships: places of users within a block, and the values. Sorted by place, then by tag."""

    places: Places
    codes: Codes


class World:
    """The tags and who has them. seed: with another one other users have the same tags."""

    def __init__(self, users: int, tags: int = TAGS, values: int = VALUES, seed: int = 1) -> None:
        self.users, self.tag_count, self.value_count, self.seed = users, tags, values, seed
        self.shapes: tuple[Shape, ...] = tuple(_shapes(tags, values))

    @property
    def name(self) -> str:
        """Which world it is, for names of files."""
        return f"u{self.users}-t{self.tag_count}-v{self.value_count}-s{self.seed}"

    @property
    def blocks(self) -> int:
        """How many blocks there are; the last may be shorter."""
        return -(-self.users // BLOCK)

    def length(self, block: int) -> int:
        """Users of a block."""
        return min(BLOCK, self.users - block * BLOCK)

    @cached_property
    def by_key(self) -> dict[str, Shape]:
        """The tags by their keys."""
        return {shape.key: shape for shape in self.shapes}

    @cached_property
    def stored(self) -> tuple[Shape, ...]:
        """The tags that memberships and tables bring; events come in files of their own."""
        return tuple(shape for shape in self.shapes if shape.kind != "EVENT")

    @cached_property
    def codes(self) -> int:
        """How many values there are, each NUMBER, DATE and FLAG being one."""
        return self.shapes[-1].codes.stop

    @cached_property
    def measured(self) -> tuple[Shape, ...]:
        """The tags whose memberships carry a number or a day."""
        return tuple(shape for shape in self.shapes if shape.kind in ("NUMBER", "DATE"))

    # ------------------------------------------------------------ drawing

    def drawn(self, draw: Draw, block: int) -> Rows:
        """The users of a block who have a value of a draw, ascending, and which."""
        count = self.length(block)
        random = Generator(SFC64(SeedSequence((self.seed, draw.number, block))))
        if draw.cell > 1:
            return _in_cells(draw, random, count)
        places = _places(draw.coverage, random, count)
        return Rows(places, _picked(draw, random, len(places)))

    def of_tag(self, shape: Shape, block: int) -> Rows:
        """The memberships of one tag in a block, by place."""
        parts = [self.drawn(draw, block) for draw in shape.draws]
        return parts[0] if len(parts) == 1 else _sorted(parts)

    def rows(self, block: int) -> Rows:
        """All memberships of a block, by place, then in the order of the tags."""
        return _sorted([self.drawn(draw, block) for shape in self.stored for draw in shape.draws])

    def levels(self, shape: Shape, users: NDArray[np.integer]) -> NDArray[np.uint16]:
        """Which number or day each user has of a tag, as a place in `units`; uniform."""
        mixed = users.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(shape.first * 7_919 + self.seed)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        return (mixed >> np.uint64(48)).astype(np.uint16)

    def units(self, shape: Shape) -> Ints:
        """The LEVELS numbers (in units of the scale) or days (since 1970) of a tag, ascending."""
        share = (np.arange(LEVELS) + 0.5) / LEVELS
        if shape.kind == "DATE":
            return (LAST_DAY - 3_650 * (1 - share) ** 2).astype(np.int64)
        tail = np.log(share / (1 - share))  # logistic: a bell without a table
        match int(shape.key.rpartition("_")[2]) % 3:
            case 0:  # money: a long tail to the right
                return np.exp(8.5 + 0.8 * tail).astype(np.int64)
            case 1:  # ages and the like: evenly, few different
                return (18 + share * 72).astype(np.int64)
            case _:  # balances: both signs
                return (tail * 25_000).astype(np.int64)

    def events(self, shape: Shape, block: int) -> tuple[Rows, Ints]:
        """What happened to the users of a block, and on which day; the same may happen again on another."""
        rows = self.of_tag(shape, block)
        random = Generator(SFC64(SeedSequence((self.seed, 1 << 20, shape.first, block))))
        return rows, LAST_DAY - random.integers(0, 90, len(rows.places))

    # ------------------------------------------------------------ as sets

    def members(self, codes: Iterable[int], progress: Callable[[float], None] = lambda _: None) -> dict[int, BitMap]:
        """The places of the users who have each of these values, as bitmaps, compressed as well as they can be."""
        wanted = set(codes)
        found = {code: BitMap() for code in wanted}
        draws = [draw for shape in self.shapes for draw in shape.draws if wanted & set(draw.codes)]
        for block in range(self.blocks):
            first = np.uint32(block * BLOCK)
            for draw in draws:
                rows = self.drawn(draw, block)
                for code, places in _by_code(rows):
                    if code in wanted:
                        found[code] |= bitmap_of(places.astype(np.uint32) + first)
            progress((block + 1) / self.blocks)
        for members in found.values():
            members.run_optimize()
        return found

    def sizes(self, progress: Callable[[float], None] = lambda _: None) -> Ints:
        """How many users have each value."""
        total = np.zeros(self.codes, np.int64)
        for block in range(self.blocks):
            for shape in self.stored:
                for draw in shape.draws:
                    total += np.bincount(self.drawn(draw, block).codes, minlength=self.codes)
            progress((block + 1) / self.blocks)
        return total

    def measures(self, shape: Shape, progress: Callable[[float], None] = lambda _: None) -> tuple[BitMap, Ints]:
        """Who has a NUMBER or DATE tag, and the units of each, ascending by user."""
        parts, units, users = [], self.units(shape), BitMap()
        for block in range(self.blocks):
            found = self.of_tag(shape, block).places.astype(np.uint32) + np.uint32(block * BLOCK)
            users |= bitmap_of(found)
            parts.append(units[self.levels(shape, found)])
            progress((block + 1) / self.blocks)
        users.run_optimize()
        return users, np.concatenate(parts)


# ---------------------------------------------------------------- the tags


def _shapes(tags: int, values: int) -> Iterator[Shape]:
    """The tags of a world of any number of users."""
    random = Generator(SFC64(SeedSequence(1 << 21)))
    special = [(kind, number) for kind, each in SPECIAL.items() for number in range(len(each))]
    special = sorted(special, key=lambda which: which[1])[: tags // 10]  # some of each kind in a small world, too
    plain = tags - len(special)
    flags, singles = round(plain * 0.4), round(plain * 0.4)
    kinds = ["FLAG"] * flags + ["CHOICE"] * singles + ["CHOICES"] * (plain - flags - singles)
    random.shuffle(kinds)
    sizes = _sizes(kinds, max(values - flags, 0), random)
    apart = sum(SPECIAL[kind][number] for kind, number in special if kind != "EVENT")
    means = _means(kinds, sizes, MEMBERSHIPS * tags - apart)
    numbers = {kind: iter(range(tags)) for kind in ("FLAG", "CHOICE", "CHOICES")}
    code = draws = 0
    for kind, size, mean in zip(kinds, sizes, means, strict=True):
        names = () if kind == "FLAG" else tuple(f"value-{n}" for n in range(size))
        codes = tuple(range(code, code + size))
        slots = min(1 if kind != "CHOICES" else int(random.integers(2, 4)), size)
        made = tuple(_draw(draws + slot, codes[slot::slots], mean / slots, random) for slot in range(slots))
        yield Shape(f"{kind.lower()}_{next(numbers[kind])}", kind, code, names, made)
        code, draws = code + size, draws + slots
    for kind, number in special:
        names = tuple(f"value-{n}" for n in range(8)) if kind == "EVENT" else ()
        codes = tuple(range(code, code + max(len(names), 1)))
        scale = 2 if kind == "NUMBER" and number % 3 != 1 else 0
        draw = Draw(draws, codes, (1 / len(codes),) * len(codes), SPECIAL[kind][number])
        yield Shape(f"{kind.lower()}_{number}", kind, code, names, (draw,), scale)
        code, draws = code + len(codes), draws + 1


def _means(kinds: list[str], sizes: list[int], total: float) -> list[float]:
    """How many memberships a user has of each tag on average: falling off by rank, about `total` in sum."""
    rank = np.exp(-np.arange(len(kinds)) / (DECAY * max(len(kinds), 1)))
    most = np.array([SHARE_MAX if kind == "FLAG" else 0.97 if kind == "CHOICE" else 1.6 for kind in kinds])
    low, high = 0.0, 100.0
    for _ in range(60):  # bisection: the sum grows with the scale
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(rank * middle, most).sum() < total else (low, middle)
    return [float(mean) for mean in np.maximum(np.minimum(rank * low, most), np.array(sizes) * SHARE_MIN * 3)]


def _sizes(kinds: list[str], values: int, random: Generator) -> list[int]:
    """How many values each tag has: one of a FLAG, else two or more, a few tags having many."""
    valued = [place for place, kind in enumerate(kinds) if kind != "FLAG"]
    weight = 1 / np.arange(1, len(valued) + 1) ** 0.7
    extra = max(values - 2 * len(valued), 0) * weight / weight.sum()
    steps = np.diff(np.floor(np.cumsum(extra) + 0.5), prepend=0).astype(int) + 2
    found = [1] * len(kinds)
    for place, size in zip(random.permutation(valued), steps, strict=True):
        found[place] = int(size)
    return found


def _draw(number: int, codes: tuple[int, ...], coverage: float, random: Generator) -> Draw:
    """A draw whose values fall off by Zipf's law; some are clustered."""
    weights = 1 / np.arange(1, len(codes) + 1) ** float(random.uniform(0.9, 1.4))
    weights = np.maximum(weights / weights.sum(), SHARE_MIN / coverage)
    weights /= weights.sum()
    density = float(random.choice((1.0, 0.9, 0.7)))
    # Longer runs than that would leave the rarest value of a million users to chance.
    cells = [cell for cell in CELLS if cell <= coverage * weights[-1] * (1 << 20) and coverage < density]
    clustered = random.random() < CLUSTERED and cells
    cell = int(random.choice(cells)) if clustered else 1
    return Draw(number, codes, tuple(map(float, weights)), coverage, cell, density if cell > 1 else 1.0)


# ---------------------------------------------------------------- drawing


def _places(coverage: float, random: Generator, count: int) -> Places:
    """Each of `count` users with a probability, ascending."""
    if coverage < 1 / 256:  # below that 16 bits would be too coarse, and most of the work in vain
        chosen = random.integers(0, count, random.binomial(count, coverage))
        return np.unique(chosen).astype(np.uint16)
    hits = random.integers(0, 1 << 16, count, np.uint16)
    return np.flatnonzero(hits < round(coverage * (1 << 16))).astype(np.uint16)


def _picked(draw: Draw, random: Generator, count: int) -> Codes:
    """One value each, by weight."""
    if len(draw.codes) == 1:
        return np.full(count, draw.codes[0], np.uint16)
    bounds = (np.cumsum(draw.weights) * (1 << 32)).astype(np.uint64)
    found = np.searchsorted(bounds[:-1], random.integers(0, 1 << 32, count, np.uint32), side="right")
    return np.array(draw.codes, np.uint16)[found]


def _in_cells(draw: Draw, random: Generator, count: int) -> Rows:
    """Runs of users that have one value, or nearly all of them."""
    cells = -(-count // draw.cell)
    on = np.flatnonzero(random.random(cells) < draw.coverage / draw.density)
    codes = _picked(draw, random, len(on))
    places = (on[:, None] * draw.cell + np.arange(draw.cell)).ravel()
    codes = np.repeat(codes, draw.cell)
    kept = places < count
    if draw.density < 1:
        kept &= random.integers(0, 1 << 16, len(places), np.uint16) < round(draw.density * (1 << 16))
    return Rows(places[kept].astype(np.uint16), codes[kept])


def _sorted(parts: list[Rows]) -> Rows:
    """Rows by place; those of one place in the order of the parts."""
    places = np.concatenate([part.places for part in parts])
    order = np.argsort(places, kind="stable")  # a radix sort, as these are 16 bits
    return Rows(places[order], np.concatenate([part.codes for part in parts])[order])


def _by_code(rows: Rows) -> Iterator[tuple[int, Places]]:
    """The places of each value, ascending."""
    order = np.argsort(rows.codes, kind="stable")
    codes, places = rows.codes[order], rows.places[order]
    starts = np.flatnonzero(np.diff(codes.astype(np.int32), prepend=-1))
    for start, end in zip(starts, np.append(starts[1:], len(codes)), strict=False):
        yield int(codes[start]), places[start:end]


def bitmap_of(users: NDArray[np.uint32]) -> BitMap:
    """A bitmap of ids; by way of `array`, which is many times faster than from numpy."""
    return BitMap(array("I", users.tobytes()))
