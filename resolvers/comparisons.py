"""Audiences beside each other: how many are in exactly which of them, how much two have in common, what sets each
apart from all others together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from bitmap_store.costs import PLAN
from bitmap_store.errors import Invalid, TooLarge
from bitmap_store.plan import AllOf, AnyOf, Node, Nothing, Plan
from resolvers.answers import Question
from resolvers.asked import Asked
from resolvers.audiences import question_at
from resolvers.combining import conjunction, negation
from resolvers.context import Context, bounded
from resolvers.differences import Choice, Differentiator, Sides, tags_of, told
from resolvers.groups import features_of, group
from resolvers.later import refuse_purpose

COMPARED_MAX = 8


@dataclass(frozen=True, slots=True)
class Region:
    """Users who are in some of the audiences compared, by their places, and in no other of them."""

    in_audiences: tuple[int, ...]
    size: int
    compared: tuple[Question, ...]

    @property
    def audience(self) -> Question:
        """These users as an audience of their own."""
        inside = [self.compared[i] for i in self.in_audiences]
        outside = [each for i, each in enumerate(self.compared) if i not in self.in_audiences]
        expressions = [each.expression for each in inside] + [negation(each.expression) for each in outside]
        node = AllOf(tuple(each.plan.node for each in inside), tuple(each.plan.node for each in outside))
        first = inside[0]
        return Question(conjunction(expressions), first.entity, Plan(first.plan.reading, node), first.as_of)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Up to `COMPARED_MAX` audiences of one reading.

    overlaps: for each two how many are in both, and of each with itself its size. every_region: all of them, empty
    ones too, by how many audiences they lie in. top: how many differentiators of each.
    """

    audiences: tuple[Question, ...]
    union_size: int
    overlaps: tuple[tuple[int, ...], ...]
    every_region: tuple[Region, ...]
    top: int

    @property
    def sizes(self) -> list[int]:
        """The size of each."""
        return [row[i] for i, row in enumerate(self.overlaps)]

    @property
    def jaccard(self) -> list[list[float | None]]:
        """How many are in both, as a share of those in one or the other (Jaccard 1912); None of two empty ones."""
        sizes = self.sizes
        return [
            [_share(both, sizes[i] + sizes[j] - both) for j, both in enumerate(row)]
            for i, row in enumerate(self.overlaps)
        ]

    @property
    def containment(self) -> list[list[float | None]]:
        """How much of the audience of a row is in that of a column; None of an empty one."""
        return [[_share(both, row[i]) for both in row] for i, row in enumerate(self.overlaps)]


async def compare(
    context: Context, each: Sequence[Asked], entity: str, as_of: datetime | None, top: int, purpose: object | None
) -> Comparison:
    """Audiences beside each other: every intersection is counted, in one call of the store, and the rest follows."""
    context.viewer.require("count")
    refuse_purpose(purpose)
    if not each:
        raise Invalid("a comparison is of one audience or more", argument="audiences")
    if len(each) > COMPARED_MAX:
        raise TooLarge(f"a comparison is of at most {COMPARED_MAX} audiences", argument="audiences")
    top = bounded(top, context.limits.rows_max, "top")
    context.add(PLAN << len(each))  # so much at least, told before anything is bound
    reading = context.reading(entity, as_of)
    questions = tuple(question_at(context, asked, entity, reading, as_of) for asked in each)
    nodes = [question.plan.node for question in questions]
    everyone = context.store.plan_everyone(reading).node
    # The audiences were counted towards the limit when they were bound, and each is made once for all intersections.
    context.spend([Plan(reading, _meeting([everyone] * len(places))) for places in _subsets(len(nodes))])
    meetings = [Plan(reading, _meeting([nodes[i] for i in places])) for places in _subsets(len(nodes))]
    shared = np.array([0, *await context.store.count(meetings)], np.int64)
    exact = exclusive(shared)
    overlaps = tuple(tuple(int(shared[1 << i | 1 << j]) for j in range(len(nodes))) for i in range(len(nodes)))
    places = sorted(_subsets(len(nodes)), key=lambda places: (len(places), places))
    regions = tuple(Region(of, int(exact[_mask(of)]), questions) for of in places)
    return Comparison(questions, -int(exact[0]), overlaps, regions, top)


def regions(comparison: Comparison, empty: bool) -> list[Region]:
    """Every exclusive region, or only those that have members."""
    return [region for region in comparison.every_region if empty or region.size]


def exclusive(shared: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each subset of n sets, as a number whose bits say which, how many are in exactly these.

    shared: for each how many are in all of these, with 0 for none of them; the first is then how many are in none,
    less everyone: the size of the union below zero. Möbius inversion over supersets (Rota 1964), n 2^(n-1) steps.
    """
    found = shared.copy()
    count = found.size.bit_length() - 1
    for i in range(count):
        halves = found.reshape(-1, 2, 1 << i)
        halves[:, 0] -= halves[:, 1]
    return found


async def differentiators(context: Context, comparison: Comparison, choice: Choice) -> list[list[Differentiator]]:
    """What sets each audience apart from all others together.

    With U the union and E those in the audience alone, the others have U - E, those of them outside of the audience
    U less the audience: two passes over all values for each audience, and one.
    """
    context.viewer.require("count")
    questions = comparison.audiences
    reading = questions[0].plan.reading
    features = await features_of(context, reading, tags_of(context, questions[0].entity, choice))
    nodes = [question.plan.node for question in questions]
    alone = {of: region for region in comparison.every_region if len(of := region.in_audiences) == 1}
    all_ = Plan(reading, AnyOf(tuple(nodes)))
    whole = await group(context, all_, features, comparison.union_size) if len(nodes) > 1 else None
    found = []
    for i, question in enumerate(questions):
        inside = await group(context, question.plan, features, comparison.sizes[i])
        region = alone[(i,)]
        if region.size == inside.size:
            exclusive_ = inside
        else:
            exclusive_ = await group(context, region.audience.plan, features, region.size)
        union = inside if whole is None else whole
        others = tuple(node for j, node in enumerate(nodes) if j != i)
        outside = Plan(reading, AllOf((AnyOf(others),), (nodes[i],)) if others else Nothing())
        sides = Sides(inside, union - exclusive_, union - inside, outside)
        found.append(await told(question, features, sides, choice, comparison.top))
    return found


def _subsets(count: int) -> list[tuple[int, ...]]:
    """The places of the bits that are set in each number but 0."""
    return [tuple(i for i in range(count) if mask >> i & 1) for mask in range(1, 1 << count)]


def _mask(places: Sequence[int]) -> int:
    return sum(1 << i for i in places)


def _meeting(nodes: Sequence[Node]) -> Node:
    return nodes[0] if len(nodes) == 1 else AllOf(tuple(nodes))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
