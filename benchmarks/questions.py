"""The questions that are asked: expressions over values of a world, the same for the same world and seed.

A leaf is one value of one tag. Leaves come from a pool that mixes dense, middling and sparse values, those of one
question from different tags.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.world import Shape, World
from bitmap_store.expression import And, Expression, Match, Not, Or, walk

DENSE, SPARSE = 0.05, 0.005
RAREST = 1e-4
POOL = 200
WEIGHTS = {"dense": 4, "middling": 4, "sparse": 2}
"""How often a leaf of a question is of each class."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a tag: its number in the world, the leaf that asks for it, the share of users expected to have it."""

    code: int
    leaf: Match
    share: float
    shape: Shape


@dataclass
class Questions:
    """Draws questions. The values of `pool` are all that they ask for."""

    world: World
    seed: int = 1
    pool: list[Value] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._classes: dict[str, list[Value]] = {name: [] for name in WEIGHTS}
        for value in values_of(self.world):
            if value.share >= RAREST:
                name = "dense" if value.share >= DENSE else "middling" if value.share >= SPARSE else "sparse"
                self._classes[name].append(value)
        choose = random.Random(0)  # questions of another seed ask for the same values
        for name, weight in WEIGHTS.items():
            there = self._classes[name]
            self._classes[name] = choose.sample(there, min(len(there), POOL * weight // sum(WEIGHTS.values())))
        self.pool = [value for found in self._classes.values() for value in found]
        self.code_of = {value.leaf: value.code for value in self.pool}

    def leaves(self, count: int) -> list[Match]:
        """So many leaves, each of another tag as long as there are tags enough."""
        names = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
        found: list[Match] = []
        tags: set[str] = set()
        for name in names:
            there = self._classes[name] or self.pool
            fresh = [value for value in there if value.leaf.key not in tags] or there
            chosen = self._random.choice(fresh)
            tags.add(chosen.leaf.key)
            found.append(chosen.leaf)
        return found

    def two(self, count: int) -> list[Expression]:
        """Different audiences of two leaves."""
        found: dict[Expression, None] = {}
        while len(found) < count:
            a, b = self.leaves(2)
            found[self._random.choice((And((a, b)), Or((a, b)), And((a, Not(b)))))] = None
        return list(found)

    def five(self, count: int) -> list[Expression]:
        """Different audiences of five leaves, in five forms in turn."""
        return self._different(count, 5, (_all, _any, _both_not, _not_any, _any_both))

    def twenty(self, count: int) -> list[Expression]:
        """Different audiences of twenty leaves, mixed, in three forms in turn."""
        return self._different(count, 20, (_four_of_four, _five_of_three, _wide))

    def _different(self, count: int, leaves: int, forms: tuple) -> list[Expression]:  # type: ignore[type-arg]
        found: dict[Expression, None] = {}
        while len(found) < count:
            found[forms[len(found) % len(forms)](*self.leaves(leaves))] = None
        return list(found)


def values_of(world: World) -> Iterator[Value]:
    """Every value of every FLAG, CHOICE and CHOICES tag of a world."""
    for shape in world.shapes:
        if shape.kind in ("FLAG", "CHOICE", "CHOICES"):
            for draw in shape.draws:
                for code, weight in zip(draw.codes, draw.weights, strict=True):
                    named = (shape.values[code - shape.first],) if shape.values else None
                    yield Value(code, Match(shape.key, values=named), draw.coverage * weight, shape)


def leaves_of(question: Expression) -> list[Match]:
    """The leaves of a question."""
    return [node for _, node in walk(question) if isinstance(node, Match)]


def _all(*leaves: Match) -> Expression:
    return And(leaves)


def _any(*leaves: Match) -> Expression:
    return Or(leaves)


def _both_not(a: Match, b: Match, c: Match, d: Match, e: Match) -> Expression:
    return And((Or((a, b)), Or((c, d)), Not(e)))


def _not_any(a: Match, b: Match, c: Match, d: Match, e: Match) -> Expression:
    return And((a, b, Not(Or((c, d, e)))))


def _any_both(a: Match, b: Match, c: Match, d: Match, e: Match) -> Expression:
    return Or((And((a, b)), And((c, d)), e))


def _four_of_four(*leaves: Match) -> Expression:
    groups = [Or(leaves[start : start + 4]) for start in range(0, 20, 4)]
    return And((*groups[:4], Not(groups[4])))


def _five_of_three(*leaves: Match) -> Expression:
    return Or(tuple(And((leaves[n], leaves[n + 1], Or((leaves[n + 2], leaves[n + 3])))) for n in range(0, 20, 4)))


def _wide(*leaves: Match) -> Expression:
    return And((Or(leaves[:10]), Or(leaves[10:16]), Not(Or(leaves[16:]))))
