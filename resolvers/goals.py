"""Goal seek: which clause of a question to drop, to relax or to tighten so that it has about as many as are wanted.

Every suggestion is an audience that was counted. A bound moves one way and the size goes one way with it, so the best
bound is found by ever closer ones, those of all clauses in one call a step.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from itertools import pairwise

from bitmap_store.catalog import kept_expression
from bitmap_store.expression import (
    And,
    AtLeast,
    Expression,
    Lookalike,
    Match,
    Operator,
    Or,
    Related,
    Saved,
    children,
    walk,
    with_children,
)
from bitmap_store.plan import Plan
from bitmap_store.store import Summary
from bitmap_store.text import canonical, render
from bitmap_store.values import VALUED_KINDS, Tag, TagKind, date_of_units, moment_of, unscaled
from resolvers.answers import Question
from resolvers.asked import names_users
from resolvers.audiences import bind, without
from resolvers.context import Context, bounded, in_turns
from resolvers.numbers import NUMBER_KINDS, numbers_of

SUGGESTIONS_MAX = 50
EDITS_MAX = 500
"""Edits without a bound that are tried, and pairs of edits."""
VALUES_MAX = 50
"""Values that are tried in one list."""
DAYS_MAX = 3_650
TIMES_MAX = 1 << 16
CLOSER = 8
"""Into so many pieces a range of bounds is cut at each step."""
NEAR = 0.01
"""Within so much of the goal one edit is enough."""
WORK_MAX = 20_000
"""Leaves of all edits without a bound that are tried; a tenth of them of bounds, which are tried again and again."""
PAIRED = 4
"""Edits that are tried together with a bound."""


class EditKind(Enum):
    """What is changed, the simplest first."""

    BOUND = "BOUND"
    WINDOW = "WINDOW"
    TIMES = "TIMES"
    VALUES = "VALUES"
    DROP = "DROP"
    COUNT = "COUNT"


@dataclass(frozen=True, slots=True)
class Edit:
    """A change to a clause. path: where it stands in the question as it was asked. after: None where it is dropped."""

    kind: EditKind
    path: str
    before: str
    after: str | None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Edits that together give an audience of this size."""

    size: int
    edits: tuple[Edit, ...]
    audience: Question


@dataclass(frozen=True, slots=True)
class _Try:
    """An expression after some edits."""

    edits: tuple[Edit, ...]
    expression: Expression


@dataclass(frozen=True, slots=True)
class _Scale:
    """A bound of a clause as whole numbers from low to high; `at` makes the expression with it."""

    low: int
    high: int
    at: Callable[[int], _Try]


async def goal_seek(context: Context, question: Question, goal: int, top: int) -> list[Suggestion]:
    """Up to `top` ways to come nearer to a size, the nearest first, of equally near ones the simplest.

    One edit; or, where none comes within a hundredth of the goal, two. None where it is that many already. Of a saved
    audience by itself it is the definition that is edited.
    """
    context.viewer.require("count")
    top = bounded(top, SUGGESTIONS_MAX, "top")
    question = _opened(context, question)
    seek = _Seek(context, question, goal)
    whole = await seek.size(question.expression)
    if whole == goal:
        return []
    leaves = sum(1 for _, node in walk(question.expression) if not children(node))
    edits_most, scales_most = min(EDITS_MAX, WORK_MAX // leaves), WORK_MAX // 10 // leaves
    single = list(_edits(context, question.expression))[:edits_most]
    counted = await seek.sizes(single)
    found = list(counted)
    scales = await _scales(context, question, question.expression, ())
    found += await seek.tuned(scales[:scales_most])
    if min((abs(size - goal) for _, size in found), default=goal + 1) > NEAR * goal:
        ranked = sorted(counted, key=lambda each: abs(each[1] - goal))
        scales = []
        for tried, _ in ranked[:PAIRED]:
            scales += await _scales(context, question, tried.expression, tried.edits)
        found += await seek.tuned(scales[:scales_most])
        twice = [again for tried, _ in ranked[:PAIRED] for again in _edits(context, tried.expression, tried.edits)]
        found += await seek.sizes(twice[:edits_most])
    return seek.best(found, whole, top)


def _opened(context: Context, question: Question) -> Question:
    """The definition in place of a saved audience, if it may be shown."""
    if not isinstance(question.expression, Saved):
        return question
    expression = kept_expression(context.view.catalog.audience(question.expression.key).text)
    if names_users(expression) and "members" not in context.viewer.scopes:
        return question
    return replace(question, expression=expression)


class _Seek:
    """Counts what is tried, and chooses."""

    def __init__(self, context: Context, question: Question, goal: int) -> None:
        self._context = context
        self._question = question
        self._goal = goal
        self._plans: dict[Expression, Plan] = {}

    def plan(self, expression: Expression) -> Plan:
        """The plan of what is tried."""
        if expression not in self._plans:
            self._plans[expression] = bind(self._context, self._question, expression, self._question.plan.reading)
        return self._plans[expression]

    async def size(self, expression: Expression) -> int:
        """How many it has."""
        [(_, size)] = await self.sizes([_Try((), expression)])
        return size

    async def sizes(self, tried: Sequence[_Try]) -> list[tuple[_Try, int]]:
        """What is tried with its sizes, in one call."""
        plans = [self.plan(each.expression) async for each in in_turns(tried)]
        sizes = await self._context.store.count(plans) if plans else []
        return list(zip(tried, sizes, strict=True))

    async def tuned(self, scales: Sequence[_Scale]) -> list[tuple[_Try, int]]:
        """Of each scale the bound that comes nearest to the goal; of those near by with the same size the roundest."""
        known = await self._at([(scale, (scale.low, scale.high)) for scale in scales])
        spans = [_span(each, self._goal) for each in known]
        while any(span is not None for span in spans):
            cuts = [() if span is None else _cuts(*span) for span in spans]
            for at, more in zip(known, await self._at(list(zip(scales, cuts, strict=True))), strict=True):
                at |= more
            spans = [None if span is None else _span(at, self._goal) for at, span in zip(known, spans, strict=True)]
        nearest = [min(at.items(), key=lambda each: (abs(each[1] - self._goal), each[0]))[0] for at in known]
        near_by = [
            tuple(place for place in _rounder(own) if scale.low <= place <= scale.high)
            for scale, own in zip(scales, nearest, strict=True)
        ]
        found: list[tuple[_Try, int]] = []
        rounded = await self._at(list(zip(scales, near_by, strict=True)))
        for scale, at, own, others in zip(scales, known, nearest, rounded, strict=True):
            same = [place for place, size in others.items() if size == at[own]]
            found.append((scale.at(same[0] if same else own), at[own]))
        return found

    async def _at(self, asked: Sequence[tuple[_Scale, Sequence[int]]]) -> list[dict[int, int]]:
        """The sizes at places of scales, in one call."""
        tried = [(i, place, scale.at(place)) for i, (scale, places) in enumerate(asked) for place in places]
        sizes = await self.sizes([each for _, _, each in tried])
        found: list[dict[int, int]] = [{} for _ in asked]
        for (i, place, _), (_, size) in zip(tried, sizes, strict=True):
            found[i][place] = size
        return found

    def best(self, found: Sequence[tuple[_Try, int]], whole: int, top: int) -> list[Suggestion]:
        """The suggestions that come nearer than the question itself."""
        kinds = list(EditKind)

        def rank(each: tuple[_Try, int]) -> tuple[int, int, int, int]:
            tried, size = each
            return abs(size - self._goal), len(tried.edits), *_effort(tried.edits, kinds)

        told: dict[str, Suggestion] = {}
        has_simple = False
        for tried, size in sorted(found, key=rank):
            text = render(tried.expression)
            is_simple = len(tried.edits) == 1
            is_needless = has_simple and not is_simple  # one edit comes as near
            has_simple = has_simple or is_simple
            if abs(size - self._goal) < abs(whole - self._goal) and text not in told and not is_needless:
                asked = self._question
                audience = Question(canonical(tried.expression), asked.entity, self.plan(tried.expression), asked.as_of)
                told[text] = Suggestion(size, tried.edits, audience)
        return list(told.values())[:top]


def _effort(edits: Sequence[Edit], kinds: Sequence[EditKind]) -> tuple[int, int]:
    return sum(kinds.index(edit.kind) for edit in edits), sum(len(edit.after or "") for edit in edits)


def _span(at: dict[int, int], goal: int) -> tuple[int, int] | None:
    """Two places side by side between whose sizes the goal lies; None where there are none, or nothing lies between."""
    for low, high in pairwise(sorted(at)):
        if min(at[low], at[high]) <= goal <= max(at[low], at[high]) and at[low] != at[high]:
            return (low, high) if high - low > 1 else None
    return None


def _cuts(low: int, high: int) -> tuple[int, ...]:
    """Places between two, evenly."""
    return tuple(sorted({low + (high - low) * i // CLOSER for i in range(1, CLOSER)} - {low, high}))


def _rounder(place: int) -> Iterator[int]:
    """Places near by, the roundest first."""
    for digits in range(len(str(abs(place))), 0, -1):
        step = 10**digits
        for each in dict.fromkeys((place // step * step, -(-place // step) * step)):
            if each != place:
                yield each


# ---------------------------------------------------------------- edits


def _open(expression: Expression) -> Iterator[tuple[str, Expression]]:
    """The nodes that may be edited: more of one is more of the whole, or less, but never now this and now that."""
    foreign: list[str] = []
    for path, node in walk(expression):
        if not any(path.startswith(f"{each}.") for each in foreign if each) and "" not in foreign:
            yield path, node
        if isinstance(node, Related | Lookalike):
            foreign.append(path)


def _replaced(expression: Expression, path: str, new: Expression, at: str = "") -> Expression:
    """The expression with another node at a path."""
    if path == at:
        return new
    below = [(f"{at}.{step}".removeprefix("."), child) for step, child in children(expression)]
    of = tuple(
        _replaced(child, path, new, place) if path == place or path.startswith(f"{place}.") else child
        for place, child in below
    )
    return with_children(expression, of)


def _edits(context: Context, expression: Expression, before: tuple[Edit, ...] = ()) -> Iterator[_Try]:
    """The edits that have no bound: another list of values, another number of clauses, one clause less."""
    known = {edit.path for edit in before}
    for path, node in _open(expression):
        if path in known:
            continue
        for kind, new in (*_other_values(context, node), *_other_counts(node)):
            edit = Edit(kind, path, render(node), render(new))
            yield _Try((*before, edit), _replaced(expression, path, new))
    for path, node in _open(expression):
        rest = without(expression, path) if path and path not in known else None
        if rest is not None:
            yield _Try((*before, Edit(EditKind.DROP, path, render(node), None)), rest)


def _other_values(context: Context, node: Expression) -> Iterator[tuple[EditKind, Expression]]:
    if not isinstance(node, Match) or node.values is None:
        return
    tag = context.view.catalog.tag(node.key)
    if tag.kind not in VALUED_KINDS:
        return
    others = [value for value in context.view.catalog.values(tag) if value not in node.values]
    for value in others[:VALUES_MAX]:
        yield EditKind.VALUES, replace(node, values=(*node.values, value))
    for value in node.values[:VALUES_MAX] if len(node.values) > 1 else ():
        yield EditKind.VALUES, replace(node, values=tuple(each for each in node.values if each != value))


def _other_counts(node: Expression) -> Iterator[tuple[EditKind, Expression]]:
    if isinstance(node, And | Or | AtLeast) and len(node.of) > 1:
        for count in range(1, len(node.of) + 1):
            new = Or(node.of) if count == 1 else And(node.of) if count == len(node.of) else AtLeast(count, node.of)
            if new != node and not (isinstance(node, AtLeast) and node.count == count):
                yield EditKind.COUNT, new


# ---------------------------------------------------------------- bounds


async def _scales(
    context: Context, question: Question, expression: Expression, before: tuple[Edit, ...]
) -> list[_Scale]:
    """The bounds of all clauses that were not edited before."""
    known = {edit.path for edit in before}
    found: list[_Scale] = []
    ranges: dict[int, Summary] = {}
    for path, node in _open(expression):
        if isinstance(node, Match) and path not in known:
            tag = context.view.catalog.tag(node.key)
            if tag.kind in NUMBER_KINDS and tag.id not in ranges:
                everyone = context.store.plan_everyone(question.plan.reading)
                ranges[tag.id] = (await numbers_of(context, everyone, tag)).summary
            for kind, low, high, make in _bounds(question, node, tag, ranges.get(tag.id)):

                def at(
                    place: int,
                    kind: EditKind = kind,
                    path: str = path,
                    node: Match = node,
                    make: Callable[[int], Match] = make,
                ) -> _Try:
                    new = make(place)
                    edit = Edit(kind, path, render(node), render(new))
                    return _Try((*before, edit), _replaced(expression, path, new))

                found.append(_Scale(low, high, at))
    return found


_Bound = tuple[EditKind, int, int, Callable[[int], Match]]


def _bounds(question: Question, match: Match, tag: Tag, summary: Summary | None) -> list[_Bound]:
    """summary: of a number or a date, over everyone."""
    found: list[_Bound] = []
    if summary is not None:
        if summary.min is not None and summary.max is not None:
            low, high = summary.min - 1, summary.max + 1
            if match.operator not in (None, Operator.EQ):
                found.append((EditKind.BOUND, low, high, lambda x: replace(match, number=unscaled(x, tag.scale))))
            if tag.kind is TagKind.DATE:
                found += _moments(match, low, high, lambda x: date_of_units(x, tag.precision))
    elif not tag.is_rule:
        today = question.plan.reading.moment // _DAY
        found += _moments(match, today - DAYS_MAX, today + 1, lambda x: moment_of(x * _DAY))
    if match.within is not None:
        least = 1 if match.skip is None else match.skip // timedelta(days=1) + 1
        found.append((EditKind.WINDOW, least, least + DAYS_MAX, lambda x: replace(match, within=timedelta(days=x))))
    if match.ahead is not None:
        found.append((EditKind.WINDOW, 1, DAYS_MAX, lambda x: replace(match, ahead=timedelta(days=x))))
    if tag.kind is TagKind.EVENT:
        found.append((EditKind.TIMES, 1, TIMES_MAX, lambda x: replace(match, times=x)))
    if match.min_score is not None:
        found.append((EditKind.BOUND, 0, 1_000, lambda x: replace(match, min_score=x / 1_000)))
    return found


_DAY = 86_400 * 1_000_000


def _moments(match: Match, low: int, high: int, moment: Callable[[int], datetime]) -> list[_Bound]:
    """The ends of a span of time that it has."""
    found: list[_Bound] = []
    if match.after is not None:
        found.append((EditKind.WINDOW, low, high, lambda x: replace(match, after=moment(x))))
    if match.before is not None:
        found.append((EditKind.WINDOW, low, high, lambda x: replace(match, before=moment(x))))
    return found
