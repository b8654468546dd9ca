"""Look-alikes: the audience of those most like another, what makes them so, and how well that tells them apart.

The audience is an expression like any other; what is told of it here is worked out from the same counts by the same
formulas (`bitmap_store/likeness.py`), so weights and members agree.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bitmap_store.errors import Invalid
from bitmap_store.expression import Lookalike as Expression
from bitmap_store.expression import check_bounds
from bitmap_store.features import VALUES_MAX, features, named_features
from bitmap_store.likeness import HUNDREDTHS, likeness
from bitmap_store.plan import AllOf, Listed, Node, Plan, Slice, Universe
from bitmap_store.validity import check_node
from bitmap_store.values import Tag
from resolvers.answers import Profile, Question
from resolvers.audiences import check_users, ratio
from resolvers.context import Context, bounded
from resolvers.statistics import area_under_curve

HELD_OUT = Slice("look-alike", 0, (1 << 32) // 5)
"""The fifth of everyone, by a stable hash, on which weights from the others are tried."""
LEAK_SHARE, LEAK_SEEDS = 0.9, 0.1
"""A value says who the seeds are where so many of those who have it are seeds, and so many of the seeds have it."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A value that tells seeds from others. weight: what it adds to a score; shares: of the seeds, of the others."""

    tag: Tag
    value: str | None
    weight: float
    share: float
    other_share: float
    leaks: bool
    plan: Plan
    hundredths: int


@dataclass(frozen=True, slots=True)
class Weights:
    """All reasons, the most telling first. base: the score of a user who has none of their values."""

    base: float
    reasons: tuple[Reason, ...]
    seeds: int
    others: int


@dataclass(frozen=True, slots=True)
class Score:
    """How like the seeds a user is: the base and the weights of the reasons, which are those that the user has."""

    profile: Profile
    score: float
    reasons: tuple[Reason, ...]


class Lookalike:
    """A look-alike of an audience; what is told of it is worked out when it is asked for, once."""

    def __init__(self, audience: Question, seeds: Question, size: int, excluded: frozenset[int]) -> None:
        self.audience = audience
        self.seeds = seeds
        self.size = size
        self.excluded = excluded
        self._turn = asyncio.Lock()
        self._weights: Weights | None = None

    async def weights(self, context: Context) -> Weights:
        """What makes users alike."""
        async with self._turn:
            if self._weights is None:
                self._weights = await weights_of(context, self.seeds, self.excluded)
            return self._weights


def lookalike(context: Context, seeds: Question, size: int, exclude_tags: Sequence[str] | None) -> Lookalike:
    """The `size` users most like the members of an audience, who are not in it."""
    context.viewer.require("count", "members")
    keys = tuple(exclude_tags or ())
    catalog = context.view.catalog
    tags = [catalog.tag_of(seeds.entity, key, argument=f"excludeTags.{i}") for i, key in enumerate(keys)]
    try:
        expression = check_node(Expression(seeds.expression, size=size, exclude_tags=keys))
        check_bounds(expression)
    except Invalid as error:
        error.argument = (error.argument or "size").removeprefix("lookalike.")
        raise
    plan = context.store.bind(context.view, expression, seeds.entity, reading=seeds.plan.reading)
    context.spend([plan])
    question = Question(expression, seeds.entity, plan, seeds.as_of)
    return Lookalike(question, seeds, size, frozenset(tag.id for tag in tags))


async def weights_of(context: Context, seeds: Question, excluded: frozenset[int]) -> Weights:
    """What tells the members of an audience from all others."""
    reading = seeds.plan.reading
    everyone = Plan(reading, AllOf((Universe(),)))
    named, keys = _features(context, seeds, excluded)
    inside, whole = await _counts(context, seeds.plan, keys)
    total, everybody = await _counts(context, everyone, keys)
    others = everybody - whole
    outside = [all_ - some for all_, some in zip(total, inside, strict=True)]
    found = likeness(inside, whole, outside, others)
    reasons = [
        Reason(
            *named[each.place],
            each.weight / HUNDREDTHS,
            ratio(inside[each.place], whole),
            ratio(outside[each.place], others),
            inside[each.place] >= max(LEAK_SHARE * total[each.place], LEAK_SEEDS * whole),
            keys[each.place],
            each.weight,
        )
        for each in found.weighed
    ]
    return Weights(found.base / HUNDREDTHS, tuple(reasons), whole, others)


def _features(
    context: Context, question: Question, excluded: frozenset[int]
) -> tuple[list[tuple[Tag, str | None]], list[Plan]]:
    catalog, reading = context.view.catalog, question.plan.reading
    keys = [Plan(reading, leaf) for leaf in features(catalog, question.entity, excluded)]
    return list(named_features(catalog, question.entity, excluded)), keys


async def _counts(context: Context, plan: Plan, keys: Sequence[Plan]) -> tuple[list[int], int]:
    """How many of a plan have each key, and how many there are."""
    context.spend([plan, *keys])
    return await context.store.breakdown(plan, keys), await context.loaders.size(plan)


async def reasons(context: Context, found: Lookalike, first: int) -> tuple[Reason, ...]:
    """What makes users alike, the most telling first."""
    context.viewer.require("count")
    first = bounded(first, context.limits.rows_max, "first")
    return (await found.weights(context)).reasons[:first]


async def base(context: Context, found: Lookalike) -> float:
    """The score of a user who has none of the values that count."""
    context.viewer.require("count")
    return (await found.weights(context)).base


async def notes(context: Context, found: Lookalike) -> list[str]:
    """What there is to know before the answer is used."""
    context.viewer.require("count")
    weights = await found.weights(context)
    said: list[str] = []
    if not weights.seeds:
        said.append("There are no seeds, and nobody is like nobody.")
    elif not weights.others:
        said.append("Everyone is a seed, so nobody is left.")
    elif not weights.reasons:
        said.append("No value tells the seeds from the others by more than chance, so nobody is taken.")
    elif weights.others < found.size:
        said.append(f"Beside the seeds there are only {weights.others:,} users, and all of them are taken.")
    for each in weights.reasons:
        if each.leaks:
            what = each.tag.key if each.value is None else f"{each.tag.key} = {each.value}"
            said.append(f"{what} nearly says who is a seed. Exclude {each.tag.key} to go by what else they have.")
    catalog = context.view.catalog
    said += [
        f"{tag.key} has more than {VALUES_MAX:,} values and does not count."
        for tag in catalog.by_entity[found.seeds.entity].tags
        if len(catalog.values(tag)) > VALUES_MAX and tag.id not in found.excluded
    ]
    return said


# ---------------------------------------------------------------- held out


async def area(context: Context, found: Lookalike) -> float | None:
    """The AUC on users held back: how often a seed of them scores above another of them, ties as half.

    Weights are of the other four fifths alone. None where one side has nobody, or where nothing tells them apart.
    """
    context.viewer.require("count")
    reading, node = found.seeds.plan.reading, found.seeds.plan.node
    _, keys = _features(context, found.seeds, found.excluded)

    def plan(of: tuple[Node, ...], without: tuple[Node, ...]) -> Plan:
        return Plan(reading, AllOf(of, without))

    inside, seeds = await _counts(context, plan((node,), (HELD_OUT,)), keys)
    outside, others = await _counts(context, plan((Universe(),), (node, HELD_OUT)), keys)
    weighed = likeness(inside, seeds, outside, others).weighed
    held = [plan((node, HELD_OUT), ()), plan((HELD_OUT,), (node,))]
    context.spend(held)
    if not weighed:
        return None
    weights = [(keys[each.place], each.weight) for each in weighed]
    return area_under_curve(*await context.store.score_counts(held, weights))


# ---------------------------------------------------------------- users by name


async def best(context: Context, found: Lookalike, first: int) -> list[Score]:
    """The `first` of the look-alike who are most like the seeds, the best first."""
    context.viewer.require("members")
    limit = context.page_size(first)
    return [score for _, score in await _scores(context, found, found.audience.plan, limit)]


async def scores(context: Context, found: Lookalike, users: Sequence[str], id_kind: str | None) -> list[Score | None]:
    """How like the seeds each of these users is, whether in the look-alike or not; None for an unknown user."""
    context.viewer.require("members")
    check_users(context, users)
    bounded(len(users) or 1, context.limits.page_max, "users")
    dense = await context.store.resolve(found.seeds.entity, users, id_kind)
    known = sorted({user for user in dense if user is not None})
    plan = Plan(found.seeds.plan.reading, Listed(tuple(known)))
    by_user = dict(await _scores(context, found, plan, len(known)))
    return [None if user is None else by_user.get(user) for user in dense]


async def _scores(context: Context, found: Lookalike, plan: Plan, limit: int) -> list[tuple[int, Score]]:
    weights = await found.weights(context)
    context.spend([each.plan for each in weights.reasons])  # the audience was told when it was bound
    ranking = await context.store.score(plan, [(each.plan, each.hundredths) for each in weights.reasons], limit)
    names = await context.store.names(found.seeds.entity, ranking.users)
    having = await context.store.contains([each.plan for each in weights.reasons], ranking.users)
    reading, as_of = found.seeds.plan.reading, found.seeds.as_of
    base = round(weights.base * HUNDREDTHS)
    return [
        (
            dense,
            Score(
                Profile(found.seeds.entity, name, dense, reading, as_of),
                (base + score) / HUNDREDTHS,
                _by_weight(reason for reason, has in zip(weights.reasons, row, strict=True) if has),
            ),
        )
        for dense, name, score, row in zip(ranking.users, names, ranking.scores, having, strict=True)
    ]


def _by_weight(some: Iterable[Reason]) -> tuple[Reason, ...]:
    return tuple(sorted(some, key=lambda reason: -abs(reason.hundredths)))
