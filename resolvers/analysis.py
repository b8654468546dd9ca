"""What is odd about a question: nobody can be in it, all are, a clause changes nothing, an audience is there already.

Each is told of now, by exact sizes: a part of a set that has the size of the set is the set. What holds whatever the
data is told as holding always, by its form (`forms.py`).
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations

import numpy as np

from bitmap_store.expression import And, AtLeast, Expression, Or, Saved, walk
from bitmap_store.plan import AllOf, Plan, Reading
from bitmap_store.text import render
from bitmap_store.values import SavedAudience
from resolvers.answers import Explanation, Question
from resolvers.audiences import bind, nodes, without
from resolvers.context import Context, in_turns
from resolvers.forms import Ways, ways
from resolvers.saved import saved_of_entity
from resolvers.wording import Language

SAVED_COMPARED_MAX = 200
PAIRS_OF = 24
"""Of so many clauses all pairs are looked at; of more one is left out after the other."""
TOLD = 10
"""How many saved audiences of each kind are told."""


class FindingKind(Enum):
    """What was found."""

    CONTRADICTION = "CONTRADICTION"
    TAUTOLOGY = "TAUTOLOGY"
    REDUNDANT = "REDUNDANT"
    EQUAL = "EQUAL"
    CONTAINED = "CONTAINED"
    CONTAINS = "CONTAINS"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a node of a question. always: whatever the data. because: paths and texts of what makes it so."""

    kind: FindingKind
    always: bool
    path: str
    text: str
    size: int
    because: tuple[tuple[str, str], ...] = ()
    saved: str | None = None
    saved_size: int | None = None

    @property
    def causes(self) -> list[str]:
        """The paths of what makes it so."""
        return [path for path, _ in self.because]


@dataclass(frozen=True, slots=True)
class _Part:
    """A node of the question: what it is, its size, its ways (None: too many to look at)."""

    path: str
    node: Expression
    plan: Plan
    size: int
    ways: Ways | None


async def findings(context: Context, explanation: Explanation) -> list[Finding]:
    """What is odd about the question that was explained, the gravest first; a handful of calls of many sizes each."""
    context.viewer.require("count")
    question = explanation.nodes[0].question
    found = [each async for each in in_turns(nodes(context, question))]
    forms = await asyncio.to_thread(_forms, context, [plan for _, _, plan in found])
    parts = [
        _Part(path, node, plan, told.size, forms[plan])
        for (path, node, plan), told in zip(found, explanation.nodes, strict=True)
    ]
    readings = list(dict.fromkeys(part.plan.reading for part in parts))
    everyone = dict(zip(readings, await _counted(context, map(context.store.plan_everyone, readings)), strict=True))
    odd = [*await _contradictions(context, parts), *_tautologies(parts, everyone)]
    whole = parts[0]
    if 0 < whole.size < everyone[whole.plan.reading]:
        odd += await _redundant(context, question, parts)
        odd += await _known(context, question, parts)
    return odd


def sentence(finding: Finding, language: Language) -> str:
    """The finding in words."""
    said, key = _SAID[language], finding.kind.name
    holds = said["whatever" if finding.always and key in _ABSOLUTE else "always" if finding.always else "now"]
    own = [path for path, _ in finding.because] != [finding.path]
    texts = [f"“{text}”" for _, text in finding.because]
    if key == "CONTRADICTION" and own and texts:
        key += " of one" if len(texts) == 1 else " of several"
    where = said["whole"] if not finding.path else f"“{finding.text}”"
    return said[key].format(
        where, holds, said["and"].join(texts), f"@{finding.saved}", finding.size, finding.saved_size
    )


_ABSOLUTE = ("CONTRADICTION", "TAUTOLOGY")
_SAID = {
    Language.EN: {
        "always": "always", "now": "now", "whatever": "whatever the data", "whole": "this audience", "and": " and ",
        "CONTRADICTION": "Nobody is in {0}, {1}.",
        "CONTRADICTION of one": "Nobody is in {0}, {1}: {2} has nobody.",
        "CONTRADICTION of several": "Nobody is in {0}, {1}: {2} have nobody in common.",
        "TAUTOLOGY": "Everybody is in {0}, {1}.",
        "REDUNDANT": "Without {0} it is {1} the same.",
        "EQUAL": "You already have this: {0} is {1} the same as {3} ({5:,}).",
        "CONTAINED": "All of {0} ({4:,}) are {1} in {3} ({5:,}).",
        "CONTAINS": "All of {3} ({5:,}) are {1} in {0} ({4:,}).",
    },
    Language.ZH: {
        "always": "必然", "now": "目前", "whatever": "必然", "whole": "该受众", "and": "与",
        "CONTRADICTION": "{0}{1}没有任何人。",
        "CONTRADICTION of one": "{0}{1}没有任何人：{2}没有人。",
        "CONTRADICTION of several": "{0}{1}没有任何人：{2}没有共同的人。",
        "TAUTOLOGY": "{0}{1}包含所有人。",
        "REDUNDANT": "去掉{0}，结果{1}不变。",
        "EQUAL": "已有该受众：{0}{1}与{3}相同（{5:,}人）。",
        "CONTAINED": "{0}（{4:,}人）{1}都在{3}（{5:,}人）之中。",
        "CONTAINS": "{3}（{5:,}人）{1}都在{0}（{4:,}人）之中。",
    },
}  # fmt: skip


async def _counted(context: Context, plans: Iterable[Plan]) -> list[int]:
    listed = list(plans)
    context.spend(listed)
    return await context.store.count(listed) if listed else []


def _forms(context: Context, plans: Sequence[Plan]) -> dict[Plan, Ways | None]:
    """The ways of each plan; those of one reading together, or where these are too many each alone."""
    by_reading: dict[Reading, dict[Plan, None]] = {}
    for plan in plans:
        by_reading.setdefault(plan.reading, {})[plan] = None
    found: dict[Plan, Ways | None] = {}
    for some in by_reading.values():
        together = ways(list(some), context.view.catalog)
        for i, plan in enumerate(some):
            alone = None if together is not None else ways([plan], context.view.catalog)
            found[plan] = together[i] if together is not None else alone[0] if alone is not None else None
    return found


def _is_below(path: str, others: Iterable[str]) -> bool:
    return any(not other or path == other or path.startswith(f"{other}.") for other in others)


def _below(part: _Part, parts: Sequence[_Part]) -> list[_Part]:
    """The operands of an `and`, `or` or k of."""
    steps = {And: "and", Or: "or", AtLeast: "atLeast.of"}
    step = steps.get(type(part.node))
    if step is None:
        return []
    prefix = f"{part.path}.{step}.".removeprefix(".")
    return [each for each in parts if each.path.startswith(prefix) and each.path.removeprefix(prefix).isdecimal()]


# ---------------------------------------------------------------- nobody and everybody


async def _contradictions(context: Context, parts: Sequence[_Part]) -> list[Finding]:
    found: list[Finding] = []
    for part in parts:
        if part.size == 0 and not _is_below(part.path, [each.path for each in found]):
            always = part.ways is not None and not part.ways.any()
            because = tuple((each.path, render(each.node)) for each in await _causes(context, part, parts, always))
            found.append(Finding(FindingKind.CONTRADICTION, always, part.path, render(part.node), 0, because))
    return found


async def _causes(context: Context, part: _Part, parts: Sequence[_Part], always: bool) -> list[_Part]:
    """The fewest clauses of an `and` that have nobody in common: one, two, or as many as it takes.

    always: whatever the data, so that what happens to be empty now is not blamed.
    """
    below = _below(part, parts) if isinstance(part.node, And) else []

    async def empty(groups: Sequence[Sequence[_Part]]) -> list[bool]:
        if always:
            return [
                not np.all([each.ways for each in group if each.ways is not None], axis=0).any() for group in groups
            ]
        plans = [Plan(part.plan.reading, AllOf(tuple(each.plan.node for each in group))) for group in groups]
        return [not size for size in await _counted(context, plans)]

    if not below or (always and any(each.ways is None or part.ways is None for each in below)):
        return [part]
    sizes = [1, 2] if len(below) <= PAIRS_OF else [1]
    for size in sizes:
        groups = list(combinations(below, size))
        for group, is_empty in zip(groups, await empty(groups), strict=True):
            if is_empty:
                return await _causes(context, group[0], parts, always) if size == 1 else list(group)
    kept = below
    for each in below:
        rest = [other for other in kept if other is not each]
        if rest and (await empty([rest]))[0]:
            kept = rest
    return kept


def _tautologies(parts: Sequence[_Part], everyone: dict[Reading, int]) -> list[Finding]:
    found: list[Finding] = []
    for part in parts:
        if 0 < part.size == everyone[part.plan.reading] and not _is_below(part.path, [each.path for each in found]):
            always = part.ways is not None and bool(part.ways.all())
            if part.path or render(part.node) != "everyone":  # who asks for everyone means it
                found.append(Finding(FindingKind.TAUTOLOGY, always, part.path, render(part.node), part.size))
    return found


# ---------------------------------------------------------------- clauses that change nothing


_FOREIGN = {"lookalike", "related"}
"""Steps below which more is not more."""


async def _redundant(context: Context, question: Question, parts: Sequence[_Part]) -> list[Finding]:
    """Clauses without which the whole is the same. It is larger or smaller without one, never both, so sizes decide."""
    clauses = [each for part in parts for each in _below(part, parts) if not _FOREIGN & {*each.path.split(".")}]
    rests: list[tuple[_Part, Plan]] = []
    async for each in in_turns(clauses):
        rest = without(question.expression, each.path)
        if rest is not None:
            rests.append((each, bind(context, question, rest, question.plan.reading)))
    sizes = await _counted(context, [plan for _, plan in rests])
    whole = parts[0]
    same: list[tuple[_Part, Plan]] = []
    for (each, plan), size in zip(rests, sizes, strict=True):
        if size == whole.size and not _is_below(each.path, [other.path for other, _ in same]):
            same.append((each, plan))
    forms = await asyncio.to_thread(ways, [whole.plan, *(plan for _, plan in same)], context.view.catalog)
    return [
        Finding(
            FindingKind.REDUNDANT,
            forms is not None and bool(np.array_equal(forms[0], forms[i])),
            each.path,
            render(each.node),
            each.size,
        )
        for i, (each, _) in enumerate(same, 1)
    ]


# ---------------------------------------------------------------- audiences that are there


async def _known(context: Context, question: Question, parts: Sequence[_Part]) -> list[Finding]:
    """Saved audiences that are the same as the whole or a part of it, that hold the whole, or that it holds."""
    reading, whole = question.plan.reading, parts[0]
    named = {node.key for _, node in walk(question.expression) if isinstance(node, Saved)}
    some = [
        (saved, plan) for saved, plan in saved_of_entity(context, question.entity, reading) if saved.key not in named
    ]
    some = some[:SAVED_COMPARED_MAX]
    sizes = await _counted(context, [plan for _, plan in some])
    pairs: list[tuple[_Part, SavedAudience, Plan, int]] = []
    for (saved, plan), size in zip(some, sizes, strict=True):
        if size:
            for part in parts:
                is_alike = part.plan.reading == reading and part.size == size
                if part is whole or is_alike:
                    pairs.append((part, saved, plan, size))
    both = [Plan(reading, AllOf((part.plan.node, plan.node))) for part, _, plan, _ in pairs]
    found: list[Finding] = []
    for (part, saved, plan, size), common in zip(pairs, await _counted(context, both), strict=True):
        kind = (
            FindingKind.EQUAL
            if common == part.size == size
            else FindingKind.CONTAINED
            if common == part.size
            else FindingKind.CONTAINS
            if common == size
            else None
        )
        if kind is FindingKind.EQUAL or (kind is not None and part is whole):
            always = _is_always(kind, await asyncio.to_thread(ways, [part.plan, plan], context.view.catalog))
            text = render(part.node)
            found.append(Finding(kind, always, part.path, text, part.size, saved=saved.key, saved_size=size))
    told: list[Finding] = []
    for kind, sign in ((FindingKind.EQUAL, 0), (FindingKind.CONTAINED, 1), (FindingKind.CONTAINS, -1)):
        of_kind = [each for each in found if each.kind is kind]
        told += sorted(of_kind, key=lambda each: sign * (each.saved_size or 0))[:TOLD]  # the nearest in size first
    return told


def _is_always(kind: FindingKind, forms: list[Ways] | None) -> bool:
    if forms is None:
        return False
    own, saved = forms
    if kind is FindingKind.EQUAL:
        return bool(np.array_equal(own, saved))
    inner, outer = (own, saved) if kind is FindingKind.CONTAINED else (saved, own)
    return not (inner & ~outer).any()
