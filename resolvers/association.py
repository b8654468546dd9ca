"""What goes with what in an audience: rules between values of tags, counted exactly.

Sets that are too small are not built upon (Apriori: Agrawal, Srikant 1994), and every side of a rule is an audience.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from bitmap_store.costs import PLAN
from bitmap_store.errors import Invalid, TooLarge
from bitmap_store.expression import Not
from bitmap_store.plan import AllOf, Plan
from bitmap_store.text import render
from bitmap_store.values import Tag
from resolvers.answers import Question
from resolvers.audiences import ratio
from resolvers.breakdowns import MANY_CELLS
from resolvers.cells import By, Cell, dimension
from resolvers.context import Context, bounded
from resolvers.parts import narrowed

SIZES = (2, 3)
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a tag, or a range of it; the value is None of a FLAG."""

    tag: Tag
    value: str | None


@dataclass(frozen=True, slots=True)
class Rule:
    """Whoever has what is given often has `then` as well. Sizes are of the audience whose members it is about."""

    given: tuple[Item, ...]
    then: Item
    whole: int
    size: int
    given_size: int
    then_size: int
    audience: Question
    given_audience: Question
    then_audience: Question
    missing: Question

    @property
    def support(self) -> float:
        """The share of the audience that has all of it."""
        return ratio(self.size, self.whole)

    @property
    def confidence(self) -> float:
        """The share of those with what is given that has `then`, too."""
        return ratio(self.size, self.given_size)

    @property
    def lift(self) -> float:
        """How many times as often as if the two sides had nothing to do with each other (Brin and others 1997)."""
        return self.size * self.whole / (self.given_size * self.then_size)


async def association(
    context: Context,
    question: Question,
    tags: Sequence[str],
    min_support: float,
    min_confidence: float,
    top: int,
    size: int,
) -> list[Rule]:
    """The rules of `size` values whose support and confidence suffice: the largest lift first, then the larger support,
    the larger confidence, and the text. Costs a count for each pair (and triple) of values that are frequent enough.
    """
    context.viewer.require("count")
    top = bounded(top, context.limits.rows_max, "top")
    for name, share in (("minSupport", min_support), ("minConfidence", min_confidence)):
        if not 0 <= share <= 1:
            raise Invalid(f"{name} lies within 0..1", argument=name)
    if size not in SIZES:
        raise Invalid("a rule has 2 or 3 values", argument="size")
    bounded(len(tags), context.limits.portrait_tags_max, "tags")
    context.add(PLAN)  # where the request is at its end already, nothing is looked up
    items = await _items(context, question, tags)
    [whole] = await context.store.count([question.plan])
    least = max(min_support * whole, 1)
    found: dict[Ids, int] = {}
    level: list[Ids] = [(i,) for i in range(len(items))]
    for _ in range(size):
        counts = await _counted(context, question, items, level)
        frequent = {each: count for each, count in zip(level, counts, strict=True) if count >= least}
        found |= frequent
        if len(level[0]) < size:
            _check(len(frequent), context.limits.rows_max, len(level[0]))
            level = await asyncio.to_thread(_grown, items, list(frequent))
            _check(len(level), context.limits.cells_max, 2)
        if not level:
            return []
    ranked = await asyncio.to_thread(_ranked, items, found, whole, min_confidence, size)
    return [_rule(question, items, found, whole, given, then) for given, then in ranked[:top]]


def _ranked(
    items: Sequence["_Listed"], sizes: dict[Ids, int], whole: int, min_confidence: float, size: int
) -> list[tuple[Ids, int]]:
    """What is given and what then, of all rules, in order."""
    found = []
    for ids, count in sizes.items():
        for then in ids if len(ids) == size else ():
            given = tuple(i for i in ids if i != then)
            if count >= min_confidence * sizes[given]:
                lift = count * whole / (sizes[given] * sizes[(then,)])
                text = [items[i].text for i in (*given, then)]
                found.append((-lift, -count, sizes[given], text, given, then))
    return [(given, then) for *_, given, then in sorted(found)]


@dataclass(frozen=True, slots=True)
class _Listed:
    """An item with who has it. alone: nobody has it and another value of its tag."""

    item: Item
    cell: Cell
    alone: bool
    text: str


async def _items(context: Context, question: Question, tags: Sequence[str]) -> list[_Listed]:
    found: list[_Listed] = []
    for i, key in enumerate(tags):
        context.view.catalog.tag_of(question.entity, key, argument=f"tags.{i}")
        if key in tags[:i]:
            continue
        cut = await dimension(context, question, By(key), f"tags.{i}")
        found += [
            _Listed(Item(cut.tag, cell.label), cell, cut.exclusive, render(cell.expression)) for cell in cut.cells
        ]
        _check(len(found), context.limits.cells_max, 1)
    return found


def _check(count: int, most: int, size: int) -> None:
    if count > most:
        what = "values" if size == 1 else "sets of values"
        raise TooLarge(
            f"{count} {what} are more than {most}; name fewer tags, or ask for more support", argument="tags"
        )


def _grown(items: Sequence[_Listed], frequent: Sequence[Ids]) -> list[Ids]:
    """The sets of one value more of which every part is frequent; without those that nobody can have."""
    known = set(frequent)
    by_head: dict[Ids, list[int]] = {}
    for each in frequent:
        by_head.setdefault(each[:-1], []).append(each[-1])
    return [
        (*head, one, other)
        for head, tails in by_head.items()
        for one, other in combinations(tails, 2)
        if not (items[one].alone and items[one].item.tag == items[other].item.tag)
        and all((*head[:i], *head[i + 1 :], one, other) in known for i in range(len(head)))
    ]


async def _counted(context: Context, question: Question, items: Sequence[_Listed], sets: Sequence[Ids]) -> list[int]:
    """How many of the audience have all values of each set."""
    context.add(PLAN * len(sets))  # so much at least, told before they are put together

    def put_together() -> tuple[list[Plan], int]:
        plans = [_plan(question, items, ids) for ids in sets]
        return plans, context.store.operations([question.plan, *plans])

    plans, operations = put_together() if len(sets) < MANY_CELLS else await asyncio.to_thread(put_together)
    context.add(operations - PLAN * len(sets))
    return await context.store.breakdown(question.plan, plans)


def _plan(question: Question, items: Sequence[_Listed], ids: Ids) -> Plan:
    if len(ids) == 1:
        return items[ids[0]].cell.plan
    return Plan(question.plan.reading, AllOf(tuple(items[i].cell.plan.node for i in ids)))


def _rule(
    question: Question, items: Sequence[_Listed], sizes: dict[Ids, int], whole: int, given: Ids, then: int
) -> Rule:
    def of(*ids: int) -> Question:
        return narrowed(question, [items[i].cell.expression for i in ids], _plan(question, items, ids).node)

    without = AllOf((_plan(question, items, given).node,), (items[then].cell.plan.node,))
    wanting = [*(items[i].cell.expression for i in given), Not(items[then].cell.expression)]
    return Rule(
        given=tuple(items[i].item for i in given),
        then=items[then].item,
        whole=whole,
        size=sizes[tuple(sorted((*given, then)))],
        given_size=sizes[given],
        then_size=sizes[(then,)],
        audience=of(*given, then),
        given_audience=of(*given),
        then_audience=of(then),
        missing=narrowed(question, wanting, without),
    )
