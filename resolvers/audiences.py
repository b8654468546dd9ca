"""Audiences: asking one, its size and share, who is in it, and its size at every node.

By the values of tags: `breakdowns.py`. With a name: `saved.py`.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from time import perf_counter

from bitmap_store.errors import Invalid, Stale, TagroarError, TooLarge
from bitmap_store.expression import And, At, AtLeast, Expression, Or, children, walk, with_children
from bitmap_store.plan import Plan, Reading
from bitmap_store.text import render
from bitmap_store.values import micros, moment_of
from resolvers import ids
from resolvers.answers import (
    Edge,
    Explanation,
    ExplanationNode,
    Members,
    Profile,
    Question,
    Rests,
    page_info,
)
from resolvers.asked import Asked
from resolvers.context import Context, in_turns
from resolvers.later import refuse_purpose


def ask(
    context: Context, asked: Asked, entity: str, as_of: datetime | None = None, purpose: object | None = None
) -> Question:
    """The audience that was asked for; raises what is wrong with it."""
    context.viewer.require("count", "members")
    refuse_purpose(purpose)
    return question_at(context, asked, entity, context.reading(entity, as_of), as_of)


def ask_each(
    context: Context, each: Sequence[Asked], entity: str, as_of: datetime | None, purpose: object | None
) -> list[Question | TagroarError]:
    """The audiences that were asked for, in order, with the error in the place of each that is wrong."""
    context.viewer.require("count", "members")
    refuse_purpose(purpose)
    _check_listed(context, each, "where")
    reading = context.reading(entity, as_of)
    found: list[Question | TagroarError] = []
    for asked in each:
        try:
            found.append(question_at(context, asked, entity, reading, as_of))
        except TagroarError as error:
            found.append(error)
    return found


def question_at(context: Context, asked: Asked, entity: str, reading: Reading, as_of: datetime | None) -> Question:
    """The audience that was asked for, at a reading."""
    plan = context.bind(asked, entity, reading)
    return Question(asked.expression, context.view.catalog.entity(entity).key, plan, as_of)


async def size(context: Context, question: Question) -> int:
    """How many are in."""
    context.viewer.require("count")
    return await context.loaders.size(question.plan)


async def share(context: Context, question: Question) -> float:
    """The part of the entity that is in, within 0..1; 0 where the entity has nobody."""
    context.viewer.require("count")
    everyone = context.store.plan_everyone(question.plan.reading)
    inside, all_ = await context.loaders.sizes(question.plan, everyone)
    return ratio(inside, all_)


def ratio(part: int, whole: int) -> float:
    """The part as a share; 0 of nothing."""
    return part / whole if whole else 0.0


# ---------------------------------------------------------------- who is in


async def members(context: Context, question: Question, first: int | None, after: str | None) -> Members:
    """A page of the members. A cursor fixes version and moment, so that pages belong together while data changes.

    INVALID for a cursor of another audience, STALE when its version is no longer kept.
    """
    context.viewer.require("members")
    limit = context.page_size(first)
    plan, start, mark = question.plan, None, _mark(question)
    if after is not None:
        reading, user = _cursor(context, question, mark, after)
        plan = bind(context, question, question.expression, reading)
        [start] = await context.store.resolve(question.entity, [user])
        if start is None:
            raise Stale("the user at this cursor is gone; begin again", argument="after")
    page = await context.store.page(plan, start, limit)
    names = await context.store.names(question.entity, page.users)
    reading = plan.reading
    cursors = [ids.encode("members", reading.version, reading.moment, name, mark) for name in names]
    edges = tuple(
        Edge(cursor, Profile(question.entity, name, dense, reading, question.as_of))
        for cursor, name, dense in zip(cursors, names, page.users, strict=True)
    )
    return Members(edges, page_info(cursors, before=after is not None, after=page.more), plan)


async def member_count(context: Context, members: Members) -> int:
    """How many members there are on all pages."""
    return await context.loaders.size(members.plan)


async def contains(context: Context, question: Question, users: Sequence[str], id_kind: str | None) -> list[bool]:
    """For each user whether they are in; an unknown user is not."""
    rows = await _matrix(context, [question.plan], question.entity, users, id_kind)
    return [row[0] for row in rows]


async def memberships(
    context: Context,
    users: Sequence[str],
    each: Sequence[Asked],
    id_kind: str | None,
    entity: str,
    as_of: datetime | None,
    purpose: object | None,
) -> list[list[bool]]:
    """For each user (row) and audience (column) whether the user is in; raises the first audience that is wrong."""
    context.viewer.require("members")
    refuse_purpose(purpose)
    _check_listed(context, each, "in")
    reading = context.reading(entity, as_of)
    plans = [context.bind(asked, entity, reading) for asked in each]
    return await _matrix(context, plans, context.view.catalog.entity(entity).key, users, id_kind)


async def _matrix(
    context: Context, plans: Sequence[Plan], entity: str, users: Sequence[str], id_kind: str | None
) -> list[list[bool]]:
    context.viewer.require("members")
    check_users(context, users)
    dense = await context.store.resolve(entity, users, id_kind)
    known = list(dict.fromkeys(user for user in dense if user is not None))
    rows = dict(zip(known, await context.store.contains(plans, known), strict=True)) if known and plans else {}
    nowhere = [False] * len(plans)
    return [nowhere if user is None else rows.get(user, nowhere) for user in dense]


def check_users(context: Context, users: Iterable[object], argument: str = "users") -> None:
    """TOO_LARGE for more users than one request may name."""
    if sum(1 for _ in users) > context.limits.users_max:
        raise TooLarge(f"a request names at most {context.limits.users_max} users", argument=argument)


def _check_listed(context: Context, each: Sequence[Asked], argument: str) -> None:
    if len(each) > context.limits.listed_audiences_max:
        raise TooLarge(f"a request lists at most {context.limits.listed_audiences_max} audiences", argument=argument)


def _mark(question: Question) -> str:
    """What tells the cursors of one audience from those of another."""
    as_of = None if question.as_of is None else micros(question.as_of)
    return hashlib.sha256(f"{question.entity}\n{as_of}\n{question.text}".encode()).hexdigest()[:16]


def _cursor(context: Context, question: Question, mark: str, after: str) -> tuple[Reading, str]:
    match ids.decode(after, argument="after"):
        case ("members", int(version), int(moment), str(user), str(of)):
            if of != mark:
                raise Invalid("this cursor belongs to another audience", argument="after")
        case _:
            raise Invalid("this is not a cursor of members", argument="after")
    try:
        kept = context.view.reading(question.entity, moment_of(moment))
    except (TagroarError, OverflowError):
        raise Stale("the pages of this cursor are no longer kept; begin again", argument="after") from None
    if version > context.view.version:
        raise Stale("the data of this cursor is not there; begin again", argument="after")
    return Reading(kept.entity, version, moment), user


# ---------------------------------------------------------------- at every node


async def explain(context: Context, question: Question) -> Explanation:
    """The sizes at every node of the question as it was asked, in preorder, counted in one call."""
    context.viewer.require("count")
    all_ = [each async for each in in_turns(nodes(context, question))]
    rests = Rests()
    began = perf_counter()
    sizes = await context.store.count([plan for _, _, plan in all_])
    milliseconds = (perf_counter() - began) * 1000
    return Explanation(
        milliseconds,
        tuple(
            ExplanationNode(path, render(node), size, question, rests)
            for (path, node, _), size in zip(all_, sizes, strict=True)
        ),
    )


def nodes(context: Context, question: Question) -> Iterable[tuple[str, Expression, Plan]]:
    """Every node with its path and plan; below an `at` they are bound as of its moment."""
    pending = [("", question.expression, question.plan.reading)]
    while pending:
        path, node, reading = pending.pop()
        plan = question.plan if not path else bind(context, question, node, reading)
        yield path, node, plan
        then = context.reading(question.entity, node.as_of) if isinstance(node, At) else reading
        pending += [(f"{path}.{step}".removeprefix("."), child, then) for step, child in reversed(children(node))]


async def size_without(context: Context, node: ExplanationNode) -> int | None:
    """The size of the whole question without this node; None where nothing would be left of it.

    Those of all nodes are counted in one call when the first is asked for: they have most parts in common.
    """
    async with node.rests.lock:
        if node.rests.sizes is None:
            node.rests.sizes = await _sizes_without(context, node.question)
    return node.rests.sizes.get(node.path)


async def _sizes_without(context: Context, question: Question) -> dict[str, int]:
    plans: dict[str, Plan] = {}
    async for path, _ in in_turns(walk(question.expression)):
        rest = without(question.expression, path)
        if rest is not None:
            plans[path] = bind(context, question, rest, question.plan.reading)
    return dict(zip(plans, await context.store.count(list(plans.values())), strict=True))


def without(expression: Expression, path: str, at: str = "") -> Expression | None:
    """The expression less the node at `path`; what stands on that node alone goes with it."""
    if path == at:
        return None
    below = {f"{at}.{step}".removeprefix("."): child for step, child in children(expression)}
    kept = [
        without(child, path, place) if path == place or path.startswith(f"{place}.") else child
        for place, child in below.items()
    ]
    left = tuple(child for child in kept if child is not None)
    if not left:
        return None
    if isinstance(expression, AtLeast):
        return AtLeast(min(expression.count, len(left)), left)
    return replace(expression, of=left) if isinstance(expression, And | Or) else with_children(expression, left)


def bind(context: Context, question: Question, expression: Expression, reading: Reading) -> Plan:
    """The plan of another expression of the entity of a question; what it takes counts."""
    plan = context.store.bind(context.view, expression, question.entity, reading=reading)
    context.spend([plan])
    return plan
