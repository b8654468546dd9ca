"""An audience cut by what its members prefer or are: each is in the first part that takes them, the others in the last.

Parts of given shares are in `splits.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bitmap_store.costs import PLAN
from bitmap_store.errors import Invalid, TagroarError
from bitmap_store.expression import Expression, Match, Not
from bitmap_store.plan import AllOf, Plan
from bitmap_store.text import render
from bitmap_store.values import VALUED_KINDS
from resolvers.answers import Question
from resolvers.asked import Asked
from resolvers.catalog import tags_chosen
from resolvers.combining import union
from resolvers.context import Context, bounded
from resolvers.parts import PartOf, check_name, joined


@dataclass(frozen=True, slots=True)
class Named:
    """An audience that becomes a part, under a name; under its text where it has none."""

    where: Asked
    name: str | None = None


@dataclass(frozen=True, slots=True)
class PartitionBy:
    """By what an audience is cut: the values of a tag, tags that are known, those of a category, or audiences."""

    tag: str | None = None
    values: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    category: str | None = None
    audiences: tuple[Named, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """Who goes into a part, if not into an earlier one."""

    name: str
    expression: Expression
    plan: Plan


async def partition(context: Context, question: Question, by: PartitionBy, rest: str) -> list[PartOf]:
    """Parts that have no user in common and are the audience together, in order of preference; `rest` is the last.

    Costs one set operation for each part and each before it.
    """
    context.viewer.require("count")
    context.add(PLAN)  # where the request is at its end already, nothing is looked up
    steps = _steps(context, question, by)
    names: set[str] = set()
    for i, step in enumerate(steps):
        check_name(step.name, names, f"by.{i}" if by.audiences is None else f"by.audiences.{i}.name")
    check_name(rest, names, "rest")
    found = []
    for i, step in enumerate(steps):
        found.append(_part(question, step.name, [step], steps[:i], by.tag))
    found.append(_part(question, rest, [], steps, by.tag))
    context.spend([each.audience.plan for each in found])
    return found


def _part(question: Question, name: str, taken: Sequence[_Step], before: Sequence[_Step], tag: str | None) -> PartOf:
    """Those of the audience who are in what is taken, and in nothing before."""
    narrowing = [step.expression for step in taken]
    if before:
        narrowing.append(Not(_any_of(before, tag)))
    nodes = (question.plan.node, *(step.plan.node for step in taken))
    plan = Plan(question.plan.reading, AllOf(nodes, tuple(step.plan.node for step in before)))
    expression = joined([question.expression, *narrowing])
    return PartOf(name, question, Question(expression, question.entity, plan, question.as_of))


def _any_of(steps: Sequence[_Step], tag: str | None) -> Expression:
    """Whoever any of the steps takes; values of one tag as one leaf, so that many of them can be told."""
    if tag is None:
        return union([step.expression for step in steps])
    return Match(tag, values=tuple(step.name for step in steps))


def _steps(context: Context, question: Question, by: PartitionBy) -> list[_Step]:
    entity, reading = question.entity, question.plan.reading
    if by.audiences is not None:
        _check_count(context, by.audiences, "by.audiences")
        plans = [context.bind(each.where, entity, reading) for each in by.audiences]
        return [
            _Step(render(each.where.expression) if each.name is None else each.name, each.where.expression, plan)
            for each, plan in zip(by.audiences, plans, strict=True)
        ]
    if by.tag is not None:
        return _values(context, question, by.tag, by.values)
    try:
        tags = tags_chosen(context, entity, by.tags, by.category).tags
    except TagroarError as error:
        raise error.within("by") from None
    _check_count(context, tags, "by.tags" if by.category is None else "by.category")
    return [_Step(tag.key, Match(tag.key), context.store.plan_known(context.view, tag, reading)) for tag in tags]


def _values(context: Context, question: Question, key: str, values: Sequence[str] | None) -> list[_Step]:
    """The values of a tag in the order given, or in their own."""
    tag = context.view.catalog.tag_of(question.entity, key, argument="by.tag.key")
    if tag.kind not in VALUED_KINDS:
        raise Invalid(
            f"{tag.key!r} is of kind {tag.kind} and has no values; cut by tags or audiences", argument="by.tag.key"
        )
    names = tuple(context.view.catalog.values(tag)) if values is None else tuple(values)
    _check_count(context, names, "by.tag.values")
    for i, name in enumerate(names):
        context.view.catalog.value_ids(tag, name, argument=f"by.tag.values.{i}")
    plans = context.store.plans_of_values(context.view, tag, question.plan.reading, names)
    return [_Step(name, Match(tag.key, values=(name,)), plan) for name, plan in zip(names, plans, strict=True)]


def _check_count(context: Context, listed: Sequence[object], argument: str) -> None:
    bounded(len(listed), context.limits.parts_max, argument)
