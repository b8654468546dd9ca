"""Personas: what a typical member of an audience is like, and members who come nearest to that."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import log

import numpy as np

from bitmap_store.features import features, named_features
from bitmap_store.likeness import FEATURES_MAX, HUNDREDTHS, SMOOTHING, smoothed
from bitmap_store.plan import AllOf, Plan, Universe
from bitmap_store.values import Tag, TagKind
from resolvers.answers import Profile, Question
from resolvers.audiences import ratio
from resolvers.context import Context, bounded
from resolvers.statistics import log_odds

TYPICAL = 0.5
"""The share of members who have a value from which on it is typical, where there may be several of a tag."""


@dataclass(frozen=True, slots=True)
class TypicalValue:
    """A value that a typical member has, with the shares of the members and of all others who have it."""

    tag: Tag
    value: str | None
    share: float
    other_share: float
    plan: Plan


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A member who comes near to the typical one, and those of the typical values that they have."""

    profile: Profile
    values: tuple[TypicalValue, ...]


@dataclass(frozen=True, slots=True)
class Persona:
    """A typical member of an audience. usual: what each of the most frequent values adds to how usual a member is."""

    question: Question
    values: tuple[TypicalValue, ...]
    usual: tuple[tuple[Plan, int], ...]


async def persona(context: Context, question: Question, top: int) -> Persona:
    """A typical member by the `top` values that tell most: those typical of the audience and not of the others."""
    context.viewer.require("count", "members")
    top = bounded(top, context.limits.rows_max, "top")
    catalog, reading = context.view.catalog, question.plan.reading
    named = list(named_features(catalog, question.entity, frozenset()))
    keys = [Plan(reading, leaf) for leaf in features(catalog, question.entity, frozenset())]
    everyone = Plan(reading, AllOf((Universe(),)))
    context.spend([question.plan, *keys])
    context.spend([everyone, *keys])
    inside = await context.store.breakdown(question.plan, keys)
    total = await context.store.breakdown(everyone, keys)
    whole, everybody = await context.loaders.sizes(question.plan, everyone)
    counts = _Counts(named, inside, whole, [a - b for a, b in zip(total, inside, strict=True)], everybody - whole)
    values = [
        TypicalValue(
            *named[place], ratio(inside[place], whole), ratio(counts.outside[place], counts.others), keys[place]
        )
        for place in counts.typical()[:top]
    ]
    return Persona(question, tuple(values), tuple((keys[place], weight) for place, weight in counts.usual()))


def values(context: Context, found: Persona) -> tuple[TypicalValue, ...]:
    """The typical values, the most telling first."""
    context.viewer.require("count")
    return found.values


async def exemplars(context: Context, found: Persona, first: int) -> list[Exemplar]:
    """The members with most of the typical values, and of those with equally many the most usual ones otherwise.

    Usual by the likelihood of what they have, were the shares of the audience independent of each other.
    """
    context.viewer.require("members")
    limit = context.page_size(first)
    question = found.question
    most = 1 + sum(abs(weight) for _, weight in found.usual)
    weights = [*((each.plan, most) for each in found.values), *found.usual]
    context.spend([question.plan, *(plan for plan, _ in weights)])
    ranking = await context.store.score(question.plan, weights, limit)
    names, having = await asyncio.gather(
        context.store.names(question.entity, ranking.users),
        context.store.contains([each.plan for each in found.values], ranking.users),
    )
    return [
        Exemplar(
            Profile(question.entity, name, dense, question.plan.reading, question.as_of),
            tuple(value for value, has in zip(found.values, row, strict=True) if has),
        )
        for dense, name, row in zip(ranking.users, names, having, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Counts:
    """How many members and others have each value."""

    named: Sequence[tuple[Tag, str | None]]
    inside: Sequence[int]
    whole: int
    outside: Sequence[int]
    others: int

    def _tags(self) -> Iterator[tuple[list[int], int | None]]:
        """The places of each tag's values, and how many have none of them; None where there may be several."""
        for tag, group in groupby(range(len(self.named)), key=lambda place: self.named[place][0]):
            places = list(group)
            exclusive = tag.kind in (TagKind.CHOICE, TagKind.FLAG) and not tag.hierarchical
            yield places, self.whole - sum(self.inside[place] for place in places) if exclusive else None

    def typical(self) -> list[int]:
        """The places of the typical values, the most telling first, then the most frequent.

        Of a tag with one value a user the most frequent, unless most are not known; of others what half have. How
        telling it is: the strength of `likeness`.
        """
        if not self.whole:
            return []
        found: list[int] = []
        for places, unknown in self._tags():
            if unknown is None:
                found += [place for place in places if self.inside[place] >= TYPICAL * self.whole]
            else:
                place = max(places, key=lambda place: self.inside[place])
                found += [place] if self.inside[place] and self.inside[place] >= unknown else []
        one, other = np.array(self.inside)[found], np.array(self.outside)[found]
        weights = log_odds(one, self.whole, other, self.others, SMOOTHING)
        strengths = (smoothed(one, self.whole) - smoothed(other, self.others)) * np.maximum(weights, 0)
        if not self.others:
            strengths[:] = 0
        return [found[i] for i in np.lexsort((np.array(found), -one, -strengths))]

    def usual(self) -> list[tuple[int, int]]:
        """The most frequent values, each with the logarithm of how much likelier it is than nothing of its tag."""
        found: list[tuple[int, int]] = []
        for places, unknown in self._tags():
            for place in places:
                having = self.inside[place]
                without = self.whole - having if unknown is None else unknown
                found.append((place, round(HUNDREDTHS * log((having + SMOOTHING) / (without + SMOOTHING)))))
        return sorted(found, key=lambda each: (-self.inside[each[0]], each[0]))[:FEATURES_MAX]
