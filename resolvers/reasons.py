"""Why a user is in an audience or is not: the tree with what holds of one user, and the evidence at its leaves.

The nearest changes that would turn it round are in `flips.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from bitmap_store.catalog import kept_expression
from bitmap_store.expression import Expression, Match, Saved
from bitmap_store.plan import Plan, Reading
from bitmap_store.text import render
from bitmap_store.values import Membership, Tag, TagKind
from resolvers.answers import Profile, Question, TagOnProfile
from resolvers.asked import Asked
from resolvers.audiences import nodes
from resolvers.catalog import tags_chosen
from resolvers.context import Context
from resolvers.sentences import sentence_of
from resolvers.wording import Language

TIMES_TRIED = 32
"""How many numbers of times are tried in one call."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A node of a question, and what it says of one user.

    membership: what shows it, or what the user has instead. has: all that the user has of the tag of a leaf, None where
    nothing is known; ended: what they had until it ended. times: how often it happened in the window of a leaf (EVENT).
    """

    path: str
    text: str
    holds: bool
    membership: Membership | None
    has: TagOnProfile | None
    ended: TagOnProfile | None
    times: int | None
    node: Expression
    profile: Profile
    reading: Reading


async def why(context: Context, profile: Profile, asked: Asked) -> list[Reason]:
    """The tree of a question in preorder with what holds of a user; a handful of calls whatever its size."""
    context.viewer.require("members")
    plan = context.bind(asked, profile.entity, profile.reading)
    return await _reasons(context, profile, "", Question(asked.expression, profile.entity, plan, profile.as_of))


async def definition(context: Context, reason: Reason) -> list[Reason] | None:
    """The same for what a leaf stands for: a saved audience, or the rules of a tag; None for all else.

    Of a tag with a rule for each value the trees stand one behind the other; of a CHOICE the first that holds decides.
    """
    found: list[Reason] = []
    parts = list(_definitions(context, reason.node))
    for step, text in parts:
        expression = kept_expression(text)
        entity = reason.profile.entity
        plan = context.store.bind(context.view, expression, entity, reading=reason.reading)
        context.spend([plan])
        prefix = f"{reason.path}.{step}".removeprefix(".")
        found += await _reasons(context, reason.profile, prefix, Question(expression, entity, plan))
    return found if parts else None


def _definitions(context: Context, node: Expression) -> Iterable[tuple[str, str]]:
    """The steps and texts of what a node stands for."""
    catalog = context.view.catalog
    if isinstance(node, Saved):
        yield "saved", catalog.audience(node.key).text
    elif isinstance(node, Match):
        tag = catalog.tag(node.key)
        if tag.rule is not None:
            yield "rule", tag.rule
        yield from ((f"rules.{i}", rule.text) for i, rule in enumerate(tag.rules))


def sentence(context: Context, reason: Reason, language: Language) -> str:
    """The node in words."""
    return sentence_of(reason.node, reason.profile.entity, context.view.catalog, language)


async def _reasons(context: Context, profile: Profile, prefix: str, question: Question) -> list[Reason]:
    """The reasons of a question; the reading of its plan is where the tree begins."""
    all_ = list(nodes(context, question))
    plans = list(dict.fromkeys(plan for _, _, plan in all_))
    [row] = await context.store.contains(plans, [profile.dense])
    holds = dict(zip(plans, row, strict=True))
    leaves = {(node, plan.reading): None for _, node, plan in all_ if isinstance(node, Match)}
    evidence = await _evidence(context, profile, list(leaves))
    found = []
    for path, node, plan in all_:
        shown = evidence.get((node, plan.reading), _NOTHING)
        place = ".".join(filter(None, (prefix, path)))
        found.append(Reason(place, render(node), holds[plan], *shown, node, profile, plan.reading))
    return found


# ---------------------------------------------------------------- evidence

_Shown = tuple[Membership | None, TagOnProfile | None, TagOnProfile | None, int | None]
_NOTHING: _Shown = (None, None, None, None)
Leaf = tuple[Expression, Reading]


async def _evidence(context: Context, profile: Profile, leaves: Sequence[Leaf]) -> dict[Leaf, _Shown]:
    """What the user has of the tag of each leaf, and of that what shows it best."""
    keys: dict[Reading, dict[str, None]] = {}
    for node, reading in leaves:
        assert isinstance(node, Match)
        keys.setdefault(reading, {})[node.key] = None
    had: dict[tuple[str, Reading], TagOnProfile] = {}
    gone: dict[tuple[str, Reading], TagOnProfile] = {}
    for reading, some in keys.items():
        selection = tags_chosen(context, profile.entity, list(some), None)
        asked = ((reading, profile.dense), selection)
        had |= {(each.tag.key, reading): each for each in await context.loaders.tags.load(asked)}
        gone |= {(each.tag.key, reading): each for each in await context.loaders.ended.load(asked)}
    shown = await _showing(context, profile, leaves, had)
    times = await _happened(context, profile, leaves, had)
    return {
        leaf: (shown.get(leaf), had.get(_of(leaf)), gone.get(_of(leaf)), times.get(leaf))
        for leaf in dict.fromkeys(leaves)
    }


def _of(leaf: Leaf) -> tuple[str, Reading]:
    node, reading = leaf
    assert isinstance(node, Match)
    return node.key, reading


async def _showing(
    context: Context, profile: Profile, leaves: Sequence[Leaf], had: dict[tuple[str, Reading], TagOnProfile]
) -> dict[Leaf, Membership]:
    """Of several memberships the first that fulfills the leaf by itself, else one of its values, else any."""
    found: dict[Leaf, Membership] = {}
    tried: list[tuple[Leaf, Membership, Plan]] = []
    for leaf in leaves:
        node, reading = leaf
        tag_on = had.get(_of(leaf))
        if tag_on is None or not isinstance(node, Match):
            continue
        several = [each for each in tag_on.memberships if each.value is not None and _is_asked(node, tag_on.tag, each)]
        found[leaf] = (several or tag_on.memberships)[0]
        if len(several) > 1 and not tag_on.tag.is_rule:
            for each in several:
                own = replace(node, values=(each.value or "",), times=None)
                plan = context.store.bind(context.view, own, profile.entity, reading=reading)
                tried.append((leaf, each, plan))
    if tried:
        context.spend([plan for _, _, plan in tried])
        [row] = await context.store.contains([plan for _, _, plan in tried], [profile.dense])
        for (leaf, membership, _), holds in reversed(list(zip(tried, row, strict=True))):
            if holds:
                found[leaf] = membership
    return found


def _is_asked(match: Match, tag: Tag, membership: Membership) -> bool:
    """Whether a membership has one of the values that a match names, or one below it."""
    value = membership.value or ""
    return match.values is None or any(
        value == each or (tag.hierarchical and value.startswith(f"{each}/")) for each in match.values
    )


async def _happened(
    context: Context, profile: Profile, leaves: Sequence[Leaf], had: dict[tuple[str, Reading], TagOnProfile]
) -> dict[Leaf, int]:
    """How often what a leaf of an EVENT asks for happened to the user, in its window."""
    found: dict[Leaf, int] = {}
    for leaf in leaves:
        node, reading = leaf
        assert isinstance(node, Match)
        if context.view.catalog.tag(node.key).kind is not TagKind.EVENT:
            continue
        tag_on = had.get(_of(leaf))
        some = () if tag_on is None else tag_on.memberships
        most = sum(each.count or 0 for each in some if tag_on and _is_asked(node, tag_on.tag, each))
        is_whole = node.after is None and node.before is None and node.within is None

        def at_least(times: int, node: Match = node, reading: Reading = reading) -> Plan:
            own = replace(node, times=times)
            return context.store.bind(context.view, own, profile.entity, reading=reading)

        found[leaf] = most if is_whole else await times_of(context, profile.dense, most, at_least)
    return found


async def times_of(context: Context, user: int, most: int, at_least: Callable[[int], Plan]) -> int:
    """How often it happened to a user, of `most` times: found by asking for ever closer numbers.

    at_least: the plan of those to whom it happened at least so often.
    """
    low, high = 0, most
    while low < high:
        step = -(-(high - low) // TIMES_TRIED)
        tried = [*range(low + step, high, step), high]
        plans = [at_least(times) for times in tried]
        context.spend(plans)
        [row] = await context.store.contains(plans, [user])
        reached = sum(row)
        low, high = (tried[reached - 1] if reached else low), (tried[reached] - 1 if reached < len(tried) else high)
    return low
