"""Splitting an audience into parts of given shares: by a stable hash, exactly if wanted, in each stratum if wanted.

Parts by the values of tags, or by other audiences in turn, are in `partitions.py`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise, product
from math import prod
from operator import mul

import numpy as np

from bitmap_store.costs import PLAN
from bitmap_store.errors import Invalid, TooLarge
from bitmap_store.expression import LEAVES_MAX, NOTHING, Expression, Match, Not
from bitmap_store.literals import check_string
from bitmap_store.plan import Alike, AllOf, AnyOf, AsOf, AtLeastOf, Node, Nothing, Plan, Slice
from bitmap_store.values import SINGLE_KINDS
from resolvers.answers import Question
from resolvers.breakdowns import DIMENSIONS_MAX
from resolvers.cells import By, dimension
from resolvers.combining import union
from resolvers.context import Context
from resolvers.parts import (
    START,
    Cut,
    PartOf,
    Share,
    apportioned,
    between,
    bounds_of,
    check_shares,
    cuts,
    joined,
    narrowed,
)


async def split(
    context: Context,
    question: Question,
    parts: Sequence[Share],
    seed: str,
    control: str | None = None,
    exact: bool = False,
    stratify_by: Sequence[By] | None = None,
) -> list[PartOf]:
    """Parts that have no user in common, in the order asked for; the control group, if any, last: all that is left.

    As they come, the parts are ranges of a hash of everyone: a user's part depends on the seed alone, and sizes are as
    chance has them. exact: the ranges end at ranks of the hash among the members, so that the sizes are the shares,
    rounded, at this version. stratify_by: the same in each cell of a cross-tab by these tags. Whoever comes later goes
    by the same ranges. Costs a look at each member where it is exact.
    """
    context.viewer.require("count")
    check_string(seed, "seed")
    wanted = check_shares(context, parts, control)
    context.add(PLAN)  # where the request is at its end already, nothing is looked up
    strata = [_Stratum((), question)] if not stratify_by else await _strata(context, question, stratify_by, len(wanted))
    if exact or stratify_by:
        placed = await _ranked(context, strata, seed, wanted)
    else:
        check_fresh(question, seed, "seed")
        placed = [[Cut(end) for end in bounds_of([each.exact for each in wanted])]]
    found = [
        PartOf(each.name, question, _part(context, question, seed, strata, ends), each.share, each.name == control)
        for each, ends in zip(wanted, _ends_of_parts(placed), strict=True)
    ]
    context.spend([each.audience.plan for each in found])
    return found


@dataclass(frozen=True, slots=True)
class _Stratum:
    """What tells some of the audience from the others, and those."""

    cell: tuple[Expression, ...]
    members: Question


async def _strata(context: Context, question: Question, by: Sequence[By], parts: int) -> list[_Stratum]:
    """The cells of a cross-tab; all that is in none of the values of a tag, now or later, is a cell of that tag."""
    if len(by) > DIMENSIONS_MAX:
        raise Invalid(f"strata are by one to {DIMENSIONS_MAX} tags", argument="stratifyBy")
    for i, each in enumerate(by):
        tag = context.view.catalog.tag_of(question.entity, each.tag, argument=f"stratifyBy.{i}.tag")
        if tag.kind not in SINGLE_KINDS:
            raise Invalid(
                f"a user may have several values of {tag.key!r}, and be in several strata", argument=f"stratifyBy.{i}"
            )
    sides = []
    for i, each in enumerate(by):
        cut = await dimension(context, question, each, f"stratifyBy.{i}", open_ended=True)
        of = [(cell.expression, cell.plan) for cell in cut.cells] or [(Match(cut.tag.key), cut.known)]
        named = tuple(cell.label for cell in cut.cells if cell.label is not None) if cut.numbers is None else ()
        rest = Not(Match(cut.tag.key, values=named or None))
        plan = context.store.bind(context.view, rest, question.entity, reading=question.plan.reading)
        sides.append([*of, (rest, plan)])
    sides.sort(key=len)  # what is told first is told least often
    count = prod(map(len, sides))
    if sum(accumulate(map(len, sides), mul)) + count > LEAVES_MAX:
        raise TooLarge(f"{count} strata are more than an audience can tell; take fewer values", argument="stratifyBy")
    context.add(PLAN * count * parts)
    found = []
    for cells in product(*sides):
        expressions = tuple(expression for expression, _ in cells)
        node = AllOf(tuple(plan.node for _, plan in cells))
        found.append(_Stratum(expressions, narrowed(question, expressions, node)))
    return found


async def _ranked(context: Context, strata: Sequence[_Stratum], seed: str, wanted: Sequence[Share]) -> list[list[Cut]]:
    """For each stratum where its parts end, by rank of the hash among its members."""
    shares = [each.exact for each in wanted]
    ends = bounds_of(shares)
    left = Fraction(1) - sum(shares)
    if left > 0:
        shares.append(left)  # whoever is in no part takes up room, too
    owed = [Fraction(0)] * len(shares)
    context.spend([each.members.plan for each in strata])
    context.spend([Plan(each.members.plan.reading, Slice(seed, 0, 1)) for each in strata])  # a look at each user
    found = []
    for each in strata:
        blocks = [block async for block in context.store.stream(each.members.plan)]
        users = np.concatenate(blocks) if blocks else np.empty(0, np.uint32)
        counts = list(accumulate(apportioned(len(users), shares, owed)))[: len(wanted)]
        found.append(await asyncio.to_thread(cuts, users, seed, counts, ends))
    return found


def check_fresh(question: Question, seed: str, argument: str) -> None:
    """INVALID where the audience is itself cut by this seed: its members lie where some parts do not."""
    pending: list[Node] = [question.plan.node]
    for node in pending:
        match node:
            case Slice(other) if other == seed:
                raise Invalid(
                    "the audience is a part by this seed itself; take another seed, or exact parts", argument=argument
                )
            case AllOf(of, without):
                pending += of + without
            case AnyOf(of) | AtLeastOf(_, of):
                pending += of
            case AsOf(_, of) | Alike(of):  # nobody of the seeds is in the look-alike, so it lies where they do not
                pending.append(of)


def _ends_of_parts(strata: Sequence[Sequence[Cut]]) -> list[list[tuple[Cut, Cut]]]:
    """For each part where it begins and ends, in each stratum."""
    ranges = [list(pairwise([START, *ends])) for ends in strata]
    return [list(each) for each in zip(*ranges, strict=True)]


def _part(
    context: Context, question: Question, seed: str, strata: Sequence[_Stratum], ends: Sequence[tuple[Cut, Cut]]
) -> Question:
    """One part: its range of each stratum."""
    reading = question.plan.reading
    pieces, nodes = [], []
    for stratum, (low, high) in zip(strata, ends, strict=True):
        range_ = between(seed, low, high)
        if range_ == NOTHING and len(strata) > 1:
            continue
        plan = context.store.bind(context.view, range_, question.entity, reading=reading)
        pieces.append((*stratum.cell, range_))
        nodes.append(AllOf((stratum.members.plan.node, plan.node)))
    if not pieces:
        return narrowed(question, [NOTHING], Nothing())
    expression = joined([question.expression, _any_of(pieces)])
    return Question(expression, question.entity, Plan(reading, AnyOf(tuple(nodes))), question.as_of)


def _any_of(paths: Sequence[tuple[Expression, ...]]) -> Expression:
    """Whoever is in all of any of these; what several begin with is told once."""
    if len(paths[0]) == 1:
        return union([path[0] for path in paths])
    groups: dict[Expression, list[tuple[Expression, ...]]] = {}
    for first, *rest in paths:
        groups.setdefault(first, []).append(tuple(rest))
    return union([joined([first, _any_of(rests)]) for first, rests in groups.items()])
