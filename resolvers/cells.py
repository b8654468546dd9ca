"""Cells: the values of a tag grouped for a breakdown, each group with its expression and plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from bitmap_store.errors import Invalid, TooLarge
from bitmap_store.expression import And, Expression, Match, Operator
from bitmap_store.plan import Plan, Range, Reading
from bitmap_store.values import SINGLE_KINDS, Tag, TagKind, date_of_units, scaled, unscaled
from resolvers.answers import Numbers, Question, number_or_day
from resolvers.context import Context, bounded
from resolvers.numbers import NUMBER_KINDS, numbers_of

BINS = 10
"""Into how many bins numbers and dates go unless the request says so."""


@dataclass(frozen=True, slots=True)
class By:
    """A tag to break down by, and how its values are grouped: levels of a hierarchy, bins of numbers and dates."""

    tag: str
    level: int | None = None
    bins: int | None = None
    quantiles: int | None = None
    edges: tuple[Decimal, ...] | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """Some values of a tag, under one label; None labels a FLAG, which has no values."""

    label: str | None
    expression: Expression
    plan: Plan


@dataclass(frozen=True, slots=True)
class Dimension:
    """A tag cut into cells. `numbers` are of NUMBER and DATE, whose cells have an order of their own."""

    tag: Tag
    cells: tuple[Cell, ...]
    known: Plan
    numbers: Numbers | None = None

    @property
    def exclusive(self) -> bool:
        """Whether nobody is in two cells."""
        return self.tag.kind in SINGLE_KINDS


async def dimension(
    context: Context, question: Question, by: By, argument: str, *, open_ended: bool = False
) -> Dimension:
    """A tag cut into cells; bins lie between the smallest and the largest value in the audience.

    open_ended: the first and the last bin hold whatever lies beyond them, too.
    """
    tag = context.view.catalog.tag_of(question.entity, by.tag, argument=f"{argument}.tag")
    _check_grouping(tag, by, argument)
    reading = question.plan.reading
    known = context.store.plan_known(context.view, tag, reading)
    if tag.kind in NUMBER_KINDS:
        numbers = await numbers_of(context, question.plan, tag, _shares(context, by, argument))
        ranges = _ranges(context, numbers, by, argument)
        if open_ended and ranges:
            ranges[0] = (None, ranges[0][1])
            ranges[-1] = (ranges[-1][0], None)
        if ranges == [(None, None)]:
            return Dimension(tag, (Cell(None, Match(tag.key), known),), known, numbers)
        cells = [_range(tag, reading, low, high) for low, high in ranges]
        return Dimension(tag, tuple(cells), known, numbers)
    if tag.kind is TagKind.FLAG:
        return Dimension(tag, (Cell(None, Match(tag.key), known),), known)
    names = tuple(context.view.catalog.values(tag))
    if tag.hierarchical:
        names = _branches(names, 1 if by.level is None else by.level)
    return Dimension(tag, _cells(context, tag, reading, names), known)


def _check_grouping(tag: Tag, by: By, argument: str) -> None:
    given = [name for name in ("level", "bins", "quantiles", "edges") if getattr(by, name) is not None]
    if len(given) > 1:
        raise Invalid(f"a tag is grouped by {given[0]} or by {given[1]}, not both", argument=f"{argument}.{given[1]}")
    for name in given:
        allowed = tag.hierarchical if name == "level" else tag.kind in NUMBER_KINDS
        if name == "edges" and tag.kind is TagKind.DATE:
            raise Invalid(f"{tag.key!r} is a DATE tag; group it by bins or quantiles", argument=f"{argument}.edges")
        if not allowed:
            what = "is not hierarchical and has no level" if name == "level" else f"is of kind {tag.kind} and has no"
            raise Invalid(f"{tag.key!r} {what}{'' if name == 'level' else f' {name}'}", argument=f"{argument}.{name}")
    if by.level is not None and by.level < 1:
        raise Invalid("the first level is 1", argument=f"{argument}.level")


def _branches(names: Sequence[str], level: int) -> tuple[str, ...]:
    """The values at a level of a hierarchy; each stands for all that is below it."""
    paths = (name.split("/") for name in names)
    return tuple(dict.fromkeys("/".join(path[:level]) for path in paths if len(path) >= level))


def _cells(context: Context, tag: Tag, reading: Reading, names: Sequence[str]) -> tuple[Cell, ...]:
    plans = context.store.plans_of_values(context.view, tag, reading, names)
    return tuple(Cell(name, Match(tag.key, values=(name,)), plan) for name, plan in zip(names, plans, strict=True))


# ---------------------------------------------------------------- numbers and dates


def _shares(context: Context, by: By, argument: str) -> list[float]:
    """Where to cut for quantiles: 4 of them cut at 0.25, 0.5 and 0.75."""
    if by.quantiles is None:
        return []
    count = bounded(by.quantiles, context.limits.quantiles_max, f"{argument}.quantiles")
    return [i / count for i in range(1, count)]


def _ranges(context: Context, numbers: Numbers, by: By, argument: str) -> list[tuple[int | None, int | None]]:
    """Ranges of units, both ends included, that lie side by side and hold every value of the audience."""
    if by.edges is not None:
        cuts = _edges(context, numbers.tag, by.edges, f"{argument}.edges")
        return [(low, None if high is None else high - 1) for low, high in pairwise([None, *cuts, None])]
    low, high = numbers.summary.min, numbers.summary.max
    if low is None or high is None:
        return []
    if by.quantiles is not None:
        cuts = [units for units in numbers.summary.quantiles if units is not None]
    else:
        bins = bounded(BINS if by.bins is None else by.bins, context.limits.bins_max, f"{argument}.bins")
        cuts = [low + (high - low + 1) * i // bins for i in range(1, bins)]
    starts = sorted({low, *cuts})
    return [(start, end - 1) for start, end in pairwise([*starts, high + 1])]


def _edges(context: Context, tag: Tag, edges: Sequence[Decimal], argument: str) -> list[int]:
    if not edges:
        raise Invalid("a list of edges cannot be empty", argument=argument)
    if len(edges) > context.limits.bins_max:
        raise TooLarge(f"a tag is cut at most {context.limits.bins_max} times", argument=argument)
    cuts = [scaled(edge, tag.scale, argument=f"{argument}.{i}") for i, edge in enumerate(edges)]
    wrong = next((i for i, (one, next_) in enumerate(pairwise(cuts), 1) if next_ <= one), None)
    if wrong is not None:
        raise Invalid("edges ascend", argument=f"{argument}.{wrong}")
    return cuts


def _range(tag: Tag, reading: Reading, low: int | None, high: int | None) -> Cell:
    return Cell(_label(tag, low, high), _between(tag, low, high), Plan(reading, Range(tag.id, low, high)))


def _label(tag: Tag, low: int | None, high: int | None) -> str:
    if low is None and high is not None:
        return f"< {number_or_day(tag, high + 1)}"
    if low is not None and high is None:
        return f">= {number_or_day(tag, low)}"
    assert low is not None and high is not None
    return number_or_day(tag, low) if low == high else f"{number_or_day(tag, low)}..{number_or_day(tag, high)}"


def _between(tag: Tag, low: int | None, high: int | None) -> Expression:
    if tag.kind is TagKind.DATE:
        return Match(tag.key, after=_start(tag, low), before=_start(tag, None if high is None else high + 1))
    bounds = [(Operator.GTE, low), (Operator.LTE, high)]
    of = [Match(tag.key, operator=op, number=unscaled(at, tag.scale)) for op, at in bounds if at is not None]
    return of[0] if len(of) == 1 else And(tuple(of))


def _start(tag: Tag, units: int | None) -> datetime | None:
    return None if units is None else date_of_units(units, tag.precision)
