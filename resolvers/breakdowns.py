"""Audiences by the values of tags: cross-tabs and portraits, each row an audience of its own.

A tag is cut into cells; a row is one cell of each tag. Rows, the others and the unknown sum to the
audience where the tags are exclusive.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import TypeVar

from bitmap_store.costs import PLAN
from bitmap_store.errors import Invalid, TooLarge
from bitmap_store.expression import Expression, Match, Not
from bitmap_store.plan import AllOf, Plan
from resolvers.answers import Portrait, Question, Row, RowKind
from resolvers.asked import Asked
from resolvers.audiences import ratio
from resolvers.catalog import tags_chosen
from resolvers.cells import By, Cell, Dimension, dimension
from resolvers.combining import conjunction, narrowed, union
from resolvers.context import Context, bounded, in_turns

DIMENSIONS_MAX = 3
MANY_CELLS = 1_000
"""From so many on they are put together in a thread, as that takes tens of milliseconds."""
RESTS = 2
"""Rows behind those of values: the others, and the unknown."""
T = TypeVar("T")


async def breakdown(
    context: Context, question: Question, by: Sequence[By], top: int, baseline: Asked | None
) -> list[Row]:
    """The audience by the values of one to three tags: the largest `top` rows, then the others and the unknown."""
    context.viewer.require("count")
    if not 1 <= len(by) <= DIMENSIONS_MAX:
        raise Invalid(f"a breakdown is by one to {DIMENSIONS_MAX} tags", argument="by")
    top = bounded(top, context.limits.rows_max, "top")
    context.add(PLAN)  # where the request is at its end already, nothing is looked up
    against = baseline_of(context, question, baseline)
    dimensions = [await dimension(context, question, each, f"by.{i}") for i, each in enumerate(by)]
    [rows] = await _tables(context, question, against, [dimensions], top)
    return rows


async def portrait(
    context: Context,
    question: Question,
    keys: Sequence[str] | None,
    category: str | None,
    top: int,
    baseline: Asked | None,
) -> list[Portrait]:
    """The audience by the values of each of these tags, or of all tags of its entity."""
    context.viewer.require("count")
    top = bounded(top, context.limits.rows_max, "top")
    context.add(PLAN)  # where the request is at its end already, nothing is looked up
    against = baseline_of(context, question, baseline)
    tags = tags_chosen(context, question.entity, keys, category).tags
    if len(tags) > context.limits.portrait_tags_max:
        raise TooLarge(f"a portrait shows at most {context.limits.portrait_tags_max} tags", argument="tags")
    dimensions = [
        await dimension(context, question, By(tag.key), f"tags.{i}") async for i, tag in in_turns(enumerate(tags))
    ]
    tables = await _tables(context, question, against, [[each] for each in dimensions], top)
    known = await context.store.breakdown(question.plan, [each.known for each in dimensions])
    return [
        Portrait(each.tag, count, each.exclusive, tuple(rows), each.numbers)
        for each, count, rows in zip(dimensions, known, tables, strict=True)
    ]


def baseline_of(context: Context, question: Question, baseline: Asked | None) -> Plan:
    """What an audience is compared with: everyone of its entity unless something is asked for."""
    reading = question.plan.reading
    if baseline is None:
        return context.store.plan_everyone(reading)
    return context.bind(baseline, question.entity, reading)


# ---------------------------------------------------------------- counting


async def _tables(
    context: Context, question: Question, baseline: Plan, tables: Sequence[Sequence[Dimension]], top: int
) -> list[list[Row]]:
    """The rows of several breakdowns of one audience, counted together."""
    count = sum(prod(len(each.cells) for each in dimensions) for dimensions in tables)
    for dimensions in tables:
        _check_cells(context, dimensions)
    context.add(PLAN * count)  # so much at least, told before they are put together
    if count < MANY_CELLS:
        return await _counted(context, question, baseline, tables, top, count)
    async with context.turn:
        return await _counted(context, question, baseline, tables, top, count)


async def _counted(
    context: Context,
    question: Question,
    baseline: Plan,
    tables: Sequence[Sequence[Dimension]],
    top: int,
    count: int,
) -> list[list[Row]]:
    def crossed() -> tuple[list[list[tuple[Cell, ...]]], list[Plan], int]:
        cells = [list(product(*(each.cells for each in dimensions))) for dimensions in tables]
        keys = [_all_of(cell) for table in cells for cell in table]
        return cells, keys, context.store.operations([question.plan, *keys])

    cells, keys, operations = crossed() if count < MANY_CELLS else await asyncio.to_thread(crossed)
    context.add(operations - PLAN * count)
    sizes = _split(await context.store.breakdown(question.plan, keys), cells)
    shown = [
        _largest(table, counts, top, len(dimensions) == 1 and dimensions[0].numbers is not None)
        for table, counts, dimensions in zip(cells, sizes, tables, strict=True)
    ]
    everyone = context.store.plan_everyone(question.plan.reading)
    parts = [
        _parts(question, dimensions, [table[i] for i in rows], everyone)
        async for dimensions, table, rows in in_turns(zip(tables, cells, shown, strict=True))
    ]
    plans = [part.plan for table in parts for part in table]
    without = [each.plan for table in parts for each in table[-RESTS:]]
    context.spend(without)  # within the audience
    context.spend(plans)  # within what it is compared with
    whole, whole_baseline = await context.store.count([question.plan, baseline])
    rests = iter(await context.store.breakdown(question.plan, without))
    inside = [[*(counts[i] for i in rows), *islice(rests, RESTS)] for counts, rows in zip(sizes, shown, strict=True)]
    outside = _split(await context.store.breakdown(baseline, plans), parts)
    return [
        [
            Row(part.kind, part.values, count, ratio(count, whole), ratio(base, whole_baseline), part.audience)
            for part, count, base in zip(table, counts, bases, strict=True)
            if count or part.kind is not RowKind.OTHER
        ]
        async for table, counts, bases in in_turns(zip(parts, inside, outside, strict=True))
    ]


def _check_cells(context: Context, dimensions: Sequence[Dimension]) -> None:
    if prod(len(each.cells) for each in dimensions) > max(
        context.limits.cells_max, *(len(each.cells) for each in dimensions)
    ):
        raise TooLarge(f"a breakdown has at most {context.limits.cells_max} cells; take fewer values", argument="by")


def _largest(cells: Sequence[tuple[Cell, ...]], sizes: Sequence[int], top: int, ordered: bool) -> list[int]:
    """The places of the `top` largest, largest first, or in their own order; ties stay in the order of the catalog."""
    ranked = sorted(range(len(cells)), key=lambda i: -sizes[i])[:top]
    return sorted(ranked) if ordered else ranked


@dataclass(frozen=True, slots=True)
class _Part:
    """A row before it is counted."""

    kind: RowKind
    values: tuple[str | None, ...]
    plan: Plan
    audience: Question


def _parts(
    question: Question, dimensions: Sequence[Dimension], shown: Sequence[tuple[Cell, ...]], everyone: Plan
) -> list[_Part]:
    """The rows of one breakdown: those shown, then the known in none of them, and those of whom a tag is not known."""
    reading = question.plan.reading
    blank = tuple(None for _ in dimensions)
    known: list[Expression] = [Match(each.tag.key) for each in dimensions]
    known_node = AllOf(tuple(each.known.node for each in dimensions))
    values = [
        _part(question, RowKind.VALUE, tuple(c.label for c in cell), [c.expression for c in cell], _all_of(cell))
        for cell in shown
    ]
    rest = [Not(union([conjunction([c.expression for c in cell]) for cell in shown]))] if shown else []
    others = Plan(reading, AllOf((known_node,), tuple(_all_of(cell).node for cell in shown)))
    unknown = Plan(reading, AllOf((everyone.node,), (known_node,)))
    return [
        *values,
        _part(question, RowKind.OTHER, blank, [*known, *rest], others),
        _part(question, RowKind.UNKNOWN, blank, [Not(conjunction(known))], unknown),
    ]


def _part(
    question: Question,
    kind: RowKind,
    values: tuple[str | None, ...],
    cell: Sequence[Expression],
    plan: Plan,
) -> _Part:
    return _Part(kind, values, plan, narrowed(question, cell, plan))


def _all_of(cell: Sequence[Cell]) -> Plan:
    if len(cell) == 1:
        return cell[0].plan
    return Plan(cell[0].plan.reading, AllOf(tuple(each.plan.node for each in cell)))


def _split(counts: Sequence[int], like: Sequence[Sequence[object]]) -> list[Sequence[int]]:
    """The counts cut into pieces as long as those of `like`."""
    found, start = [], 0
    for piece in like:
        found.append(counts[start : start + len(piece)])
        start += len(piece)
    return found
