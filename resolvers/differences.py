"""What sets an audience apart from a baseline: values that more or fewer have, numbers that are higher or lower.

Tested are the audience and the members of the baseline outside of it, which have nobody in common; shares that are
shown beside it are of the whole baseline (decisions 0028, 0030). Formulas: `statistics.py`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from bitmap_store.costs import PLAN
from bitmap_store.errors import Invalid
from bitmap_store.expression import Match
from bitmap_store.plan import AllOf, Plan
from bitmap_store.store import Sums
from bitmap_store.values import Tag, TagKind
from resolvers import statistics
from resolvers.answers import Question
from resolvers.asked import Asked
from resolvers.audiences import ratio
from resolvers.breakdowns import baseline_of
from resolvers.catalog import tags_chosen
from resolvers.combining import narrowed
from resolvers.context import Context, bounded
from resolvers.groups import Features, Group, features_of, group
from resolvers.numbers import numbers_of
from resolvers.statistics import Interval, Moments

MIN_SIZE = 10
"""How many of an audience have what is significant, or would at the rate of the others, unless more are asked for."""
MEAN_SIZE = 30
"""With fewer numbers on either side means are not tested, as they need not be normal."""


class Order(StrEnum):
    """What comes first behind what is significant: the farthest in standard errors, index, difference of shares."""

    SCORE = "SCORE"
    TGI = "TGI"
    DIFFERENCE = "DIFFERENCE"


@dataclass(frozen=True, slots=True)
class Choice:
    """Of which tags differentiators are told, from how many users on one is significant, and which come first."""

    tags: Sequence[str] | None = None
    category: str | None = None
    exclude_tags: Sequence[str] | None = None
    min_size: int = MIN_SIZE
    order: Order = Order.SCORE


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more an audience has than those it is compared with, and the 95 % confidence interval of that."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, interval: Interval) -> "Difference | None":
        """None where nothing can be said."""
        return cls(value, interval.low, interval.high) if isfinite(interval.low + interval.high) else None


@dataclass(frozen=True, slots=True)
class Medians:
    """The median of an audience and of those it is compared with; None of nobody."""

    median: float | None
    outside_median: float | None

    @property
    def difference(self) -> float | None:
        """How much higher that of the audience is."""
        if self.median is None or self.outside_median is None:
            return None
        return self.median - self.outside_median


@dataclass(frozen=True, slots=True)
class NumberDifference:
    """The numbers of an audience beside those of the others; None of nobody, and where nothing can be said.

    difference: of the means. effect_size: that in standard deviations within the groups.
    """

    tag: Tag
    inside: Plan
    outside: Plan
    mean: float | None
    outside_mean: float | None
    difference: Difference | None
    effect_size: float | None


@dataclass(frozen=True, slots=True)
class Differentiator:
    """A value (of a FLAG None), or the numbers of a tag: how an audience differs in it.

    size, share: who of the audience has it; baseline_size, baseline_share: who of the baseline; outside_share: of the
    baseline's members outside of the audience, with which it is compared. What is told of the comparison is None where
    there is nobody to compare with; `difference` is of shares.
    """

    tag: Tag
    value: str | None
    size: int
    share: float
    baseline_size: int
    baseline_share: float
    outside_share: float | None
    difference: Difference | None
    z_score: float | None
    p_value: float | None
    adjusted_p_value: float | None
    significant: bool
    numbers: NumberDifference | None
    audience: Question

    @property
    def tgi(self) -> float | None:
        """The share as a percentage of the baseline's; None where the baseline has nobody."""
        return self.share / self.baseline_share * 100 if self.baseline_share else None


@dataclass(frozen=True, slots=True)
class Sides:
    """An audience, its baseline, and the members of the baseline outside of the audience, with the plan of these."""

    inside: Group
    baseline: Group
    outside: Group
    outside_plan: Plan


async def differentiators(
    context: Context, question: Question, top: int, baseline: Asked | None, choice: Choice
) -> list[Differentiator]:
    """What sets an audience apart the most from everyone, or from another audience: up to `top`, the best first.

    Two passes over all values, three where the audience lies partly in the baseline.
    """
    context.viewer.require("count")
    top = bounded(top, context.limits.rows_max, "top")
    context.add(PLAN)  # where the request is at its end already, nothing is looked up
    against = baseline_of(context, question, baseline)
    features = await features_of(context, question.plan.reading, tags_of(context, question.entity, choice))
    sides = await _sides(context, question.plan, against, features)
    return await told(question, features, sides, choice, top)


async def told(question: Question, features: Features, sides: Sides, choice: Choice, top: int) -> list[Differentiator]:
    """The first differentiators, judged beside the event loop: thousands of values take some tens of milliseconds."""
    judged = await asyncio.to_thread(_Judged, features, sides, choice)
    return [judged.differentiator(question, place) for place in judged.order[:top]]


async def medians(context: Context, of: NumberDifference) -> Medians:
    """The medians beside the means; they take sorting."""
    context.viewer.require("count")
    inside = await numbers_of(context, of.inside, of.tag)
    outside = await numbers_of(context, of.outside, of.tag)
    return Medians(inside.median, outside.median)


def tags_of(context: Context, entity: str, choice: Choice) -> list[Tag]:
    """The tags that are chosen; raises what is wrong with the choice."""
    if choice.min_size < 1:
        raise Invalid("minSize is 1 or more", argument="minSize")
    excluded = {
        context.view.catalog.tag_of(entity, key, argument=f"excludeTags.{i}").key
        for i, key in enumerate(choice.exclude_tags or ())
    }
    return [tag for tag in tags_chosen(context, entity, choice.tags, choice.category).tags if tag.key not in excluded]


async def _sides(context: Context, plan: Plan, against: Plan, features: Features) -> Sides:
    """What both have in common mostly is one of them, or nobody; only else it is counted by itself."""
    both = Plan(plan.reading, AllOf((plan.node, against.node)))
    size, baseline_size, common_size = await context.store.count([plan, against, both])
    inside = await group(context, plan, features, size)
    baseline = inside if against == plan else await group(context, against, features, baseline_size)
    if common_size == size:
        common = inside
    elif common_size == baseline_size:
        common = baseline
    else:
        common = await group(context, both, features, common_size)
    outside_plan = Plan(plan.reading, AllOf((against.node,), (plan.node,)))
    return Sides(inside, baseline, baseline - common, outside_plan)


# ---------------------------------------------------------------- judging


class _Judged:
    """All features judged together: values first, then numbers.

    order: the places of those that anybody has; significant ones first, then as was chosen, equal ones in the order
    of the catalog.
    """

    def __init__(self, features: Features, sides: Sides, choice: Choice) -> None:
        self._features, self._sides = features, sides
        inside, outside = sides.inside, sides.outside
        pairs = zip(features.numbers, inside.sums, outside.sums, strict=True)
        self._means = [_Means(_moments(tag, one), _moments(tag, other)) for tag, one, other in pairs]
        counts = inside.counts, inside.size, outside.counts, outside.size
        comparable = bool(inside.size and outside.size)
        self._scores = np.append(statistics.z_scores(*counts), [mean.score or 0.0 for mean in self._means])
        self._tested = np.array(
            [comparable] * len(features.values) + [mean.score is not None for mean in self._means], bool
        )
        self._p_values = np.append(
            statistics.share_p_values(*counts), statistics.p_values(self._scores[len(features.values) :])
        )
        had, usual = self._had(inside), self._had(sides.baseline)
        asked = self._tested & (had + usual > 0)  # what nobody has is no question
        self._adjusted = np.ones(len(self._scores))
        self._adjusted[asked] = statistics.adjusted(self._p_values[asked])
        expected = inside.size * (self._had(outside) / max(outside.size, 1))
        enough = np.maximum(had, expected) >= choice.min_size
        self._significant = asked & enough & (self._adjusted <= statistics.DISCOVERY_RATE)
        self.order = [place for place in self._ranked(choice.order) if had[place] or usual[place]]

    def _had(self, some: Group) -> NDArray[np.int64]:
        """How many of a group have each value, then each number."""
        return np.append(some.counts, np.array([each.count for each in some.sums], np.int64))

    def _ranked(self, order: Order) -> list[int]:
        """All places. Numbers have no index and no share that is compared: unless scores count they follow."""
        inside, baseline, outside = self._sides.inside, self._sides.baseline, self._sides.outside
        shares, usual = inside.counts / max(inside.size, 1), baseline.counts / max(baseline.size, 1)
        scores = np.abs(self._scores)
        first = np.full(len(scores), -1.0)
        values = first[: len(shares)]
        if order is Order.TGI:
            values[:] = np.divide(shares, usual, out=np.where(shares > 0, np.inf, 0.0), where=usual > 0)
        elif order is Order.SCORE and inside.size and outside.size:
            first = scores
        else:  # where nothing is tested, too
            values[:] = np.abs(shares - (outside.counts / outside.size if outside.size else usual))
        places: list[int] = np.lexsort((-scores, -first, ~self._significant)).tolist()
        return places

    def differentiator(self, question: Question, place: int) -> Differentiator:
        """The one at a place, as it is told."""
        features, sides = self._features, self._sides
        inside, baseline, outside = (group.had(place) for group in (sides.inside, sides.baseline, sides.outside))
        tested = bool(self._tested[place])
        difference = numbers = None
        if place < len(features.values):
            tag, value = features.values[place]
            counts = inside, sides.inside.size, outside, sides.outside.size
            if tested:
                apart = inside / sides.inside.size - outside / sides.outside.size
                difference = Difference.of(apart, statistics.difference_interval(*counts))
            match = Match(tag.key, values=None if value is None else (value,))
        else:
            number = place - len(features.values)
            tag, value = features.numbers[number], None
            numbers = self._means[number].told(tag, question.plan, sides.outside_plan)
            match = Match(tag.key)
        return Differentiator(
            tag=tag,
            value=value,
            size=inside,
            share=ratio(inside, sides.inside.size),
            baseline_size=baseline,
            baseline_share=ratio(baseline, sides.baseline.size),
            outside_share=outside / sides.outside.size if sides.outside.size else None,
            difference=difference,
            z_score=float(self._scores[place]) if tested else None,
            p_value=float(self._p_values[place]) if tested else None,
            adjusted_p_value=float(self._adjusted[place]) if tested else None,
            significant=bool(self._significant[place]),
            numbers=numbers,
            audience=narrowed(question, [match], features.plans[place]),
        )


@dataclass(frozen=True, slots=True)
class _Means:
    """The numbers of an audience and of the others, compared by their means."""

    inside: Moments
    outside: Moments

    @property
    def score(self) -> float | None:
        """How many standard errors the means are apart (Welch 1947); None with too few numbers, or without spread."""
        if min(self.inside.count, self.outside.count) < MEAN_SIZE:
            return None
        error = statistics.standard_error(self.inside, self.outside)
        return (self.inside.mean - self.outside.mean) / error if error else None

    def told(self, tag: Tag, inside: Plan, outside: Plan) -> NumberDifference:
        """The difference as it is told."""
        one, other = self.inside, self.outside
        difference = Difference.of(one.mean - other.mean, statistics.means_interval(one, other))
        effect = statistics.effect_size(one, other)
        return NumberDifference(
            tag=tag,
            inside=inside,
            outside=outside,
            mean=one.mean if one.count else None,
            outside_mean=other.mean if other.count else None,
            difference=difference,
            effect_size=effect if isfinite(effect) else None,
        )


def _moments(tag: Tag, sums: Sums) -> Moments:
    """Mean and variance in the unit of a tag, from exact sums."""
    count, unit = sums.count, 10**tag.scale if tag.kind is TagKind.NUMBER else 1
    if not count:
        return Moments(0, 0.0, 0.0)
    spread = count * sums.squares - sums.sum**2
    variance = spread / (count * (count - 1) * unit**2) if count > 1 else float("nan")
    return Moments(count, sums.sum / (count * unit), variance)
