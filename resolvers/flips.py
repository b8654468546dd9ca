"""The nearest changes that would put a user into an audience, or out of it: what to write, and no more than that.

A plan has its rules and saved audiences put in, so it is what is stored that changes. Each leaf is turned by a value, a
number, a date or events; nodes combine the ways of their operands and keep the nearest; at last each way is tried on
the whole plan, with what the user has and would have. The past, slices and lists stay as they are.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import ceil, log

from bitmap_store.bind import local_day
from bitmap_store.errors import TooLarge
from bitmap_store.plan import AllOf, AnyOf, AtLeastOf, Happened, Node, Plan, Range, Reading, Tagged
from bitmap_store.values import Membership, micros
from resolvers.answers import Profile
from resolvers.asked import Asked
from resolvers.catalog import tags_chosen
from resolvers.changes import Change, Counts, Had, Option, Unit, Writing, fulfills
from resolvers.context import Context, bounded
from resolvers.reasons import TIMES_TRIED, times_of

KEPT = 8
"""Ways that each node keeps; the nearest."""
LATER = 12_345 * 86_400_000_000
"""After so many µs a bound that moves has moved, to where no other one is."""
NODES_MAX = 100
PAIRS_MAX = 8_000
"""Pairs of ways that are put together."""
ROUNDS_MAX = 6
"""Rounds of counting events: of each window, and each value in it that is named, one for each factor of 32."""
TRIES_MAX = 3_000_000
"""Memberships that are looked at to try each thing that could be written on each leaf of its tag."""
FLIPS_MAX = 50
"""Answers of one field."""


@dataclass(frozen=True, slots=True)
class Flip:
    """Changes that together turn it round. holds: whether the user is in then."""

    holds: bool
    changes: tuple[Change, ...]


async def nearest(context: Context, profile: Profile, asked: Asked, top: int) -> list[Flip]:
    """Up to `top` ways to turn round whether a user is in, the fewest changes first; none where nothing stored decides.

    No way holds another. A membership that has to begin now is taken and given.
    """
    context.viewer.require("members")
    top = bounded(top, FLIPS_MAX, "top")
    plan = context.bind(asked, profile.entity, profile.reading)
    if sum(1 for _ in _parts(plan.node)) > NODES_MAX:
        raise TooLarge(f"what is turned round has at most {NODES_MAX} nodes", argument="where")
    pairs = sum(_pairs(each) for each in _parts(plan.node))
    if pairs > PAIRS_MAX:
        message = (
            f"to turn this round could take {pairs:,} pairs of ways, of {PAIRS_MAX:,} at most: ask for less at once"
        )
        raise TooLarge(message, argument="where")
    later = replace(plan.reading, moment=plan.reading.moment + LATER)
    moved = context.store.bind(context.view, asked.expression, profile.entity, reading=later, argument=asked.argument)
    fixed = {each for each in _parts(moved.node) if isinstance(each, Range)}
    person = await _person(context, profile, plan, fixed)
    return await asyncio.to_thread(_nearest, person, plan.node, top)


def _nearest(person: "_Person", root: Node, top: int) -> list[Flip]:
    wanted = not person.holds(root, {})
    flips: list[_Way] = []
    for way in person.ways(root, wanted):
        is_more = any(each.items() <= way.items() for each in flips)
        if way and not is_more and person.holds(root, way) is wanted:
            flips.append(way)
    return [Flip(wanted, tuple(change for option in way.values() for change in option.changes)) for way in flips[:top]]


# ---------------------------------------------------------------- a user

_Way = dict[Unit, Option]


@dataclass(frozen=True)
class _Person:
    """A user at the reading of a plan. truths: of each leaf, as the store says it. counts: of leaves of events."""

    truths: Mapping[Node, bool]
    counts: Counts
    has: Mapping[int, Sequence[Had]]
    options: Mapping[int, Mapping[Unit, Sequence[Option]]]

    # ------------------------------------------------------------ whether a node holds

    def holds(self, node: Node, way: _Way) -> bool:
        """Whether the user is in a node once these things are written."""
        match node:
            case AllOf(of, without):
                return all(self.holds(each, way) for each in of) and not any(self.holds(each, way) for each in without)
            case AnyOf(of):
                return any(self.holds(each, way) for each in of)
            case AtLeastOf(count, of):
                return sum(self.holds(each, way) for each in of) >= count
            case Tagged(tag) | Range(tag) | Happened(tag) if any(unit[0] == tag for unit in way):
                return self._changed(node, tag, way)
        return self.truths[node]

    def _changed(self, node: Tagged | Range | Happened, tag: int, way: _Way) -> bool:
        written = {unit[1]: option for unit, option in way.items() if unit[0] == tag}
        if isinstance(node, Happened):
            count = 0 if None in written else self.counts[node, None]
            for value, option in written.items():
                if value is not None and not option.events:
                    count -= self.counts.get((node, value), 0)
                elif value is not None and _counts(node, value, option.day):
                    count += option.events
            return count >= node.times
        had = {} if None in written else {each.value: each for each in self.has.get(tag, ())}
        for value, option in written.items():
            if value is not None:
                had.pop(value, None)
            if option.had is not None:
                had[option.had.value] = option.had
        return any(fulfills(node, each) for each in had.values())

    # ------------------------------------------------------------ ways to turn a node

    def ways(self, node: Node, wanted: bool) -> list[_Way]:
        """The nearest ways to have a node so, up to KEPT; the empty one where it is so already."""
        match node:
            case AllOf(of, without):
                each = [self.ways(child, wanted) for child in of] + [self.ways(child, not wanted) for child in without]
                return _joined(each) if wanted else _best(way for ways in each for way in ways)
            case AnyOf(of):
                each = [self.ways(child, wanted) for child in of]
                return _best(way for ways in each for way in ways) if wanted else _joined(each)
            case AtLeastOf(count, of):
                needed = count if wanted else len(of) - count + 1
                return _some(needed, [self.ways(child, wanted) for child in of])
            case Tagged(tag) | Range(tag) | Happened(tag):
                return self._leaf_ways(node, tag, wanted)
        return [{}] if self.truths[node] is wanted else []

    def _leaf_ways(self, node: Tagged | Range | Happened, tag: int, wanted: bool) -> list[_Way]:
        found: list[_Way] = [{}] if self.truths[node] is wanted else []
        single = [{unit: option} for unit, options in self.options.get(tag, {}).items() for option in options]
        found += [way for way in single if self._changed(node, tag, way) is wanted]
        if not wanted and not isinstance(node, Happened):
            taking: _Way = {}
            for had in self.has.get(tag, ()):
                if fulfills(node, had):
                    unit = (tag, had.value)
                    taking.update((unit, each) for each in self.options.get(tag, {}).get(unit, ()) if each.had is None)
            if len(taking) > 1 and self._changed(node, tag, taking) is wanted:
                found.append(taking)
        return _best(found)


def _counts(node: Happened, value: int, day: int) -> bool:
    """Whether events of a value on a day count in a leaf."""
    return (
        (node.values is None or value in node.values)
        and (node.first_day is None or day >= node.first_day)
        and (node.last_day is None or day <= node.last_day)
    )


# ---------------------------------------------------------------- ways together


def _cost(way: _Way) -> tuple[int, float]:
    return sum(len(option.changes) for option in way.values()), sum(option.far for option in way.values())


def _best(ways: Iterable[_Way]) -> list[_Way]:
    """The nearest, each once, in an order that is always the same."""
    found: list[_Way] = []
    for way in sorted(ways, key=_cost):
        if way not in found:
            found.append(way)
            if len(found) == KEPT:
                break
    return found


def _merged(one: _Way, other: _Way) -> _Way | None:
    """Both; None where they write different things of one unit. Of events the more."""
    found = dict(one)
    for unit, option in other.items():
        known = found.get(unit)
        if known is None:
            is_all = unit[1] is None
            if any(each[0] == unit[0] and (is_all or each[1] is None) for each in found):
                return None
            found[unit] = option
        elif known != option:
            if not known.events or not option.events or known.day != option.day:
                return None
            found[unit] = max(known, option, key=lambda each: each.events)
    return found


def _joined(each: Sequence[Sequence[_Way]]) -> list[_Way]:
    """Ways to have all of several."""
    found: list[_Way] = [{}]
    for ways in each:
        found = _best(way for one, other in product(found, ways) if (way := _merged(one, other)) is not None)
    return found


def _some(needed: int, each: Sequence[Sequence[_Way]]) -> list[_Way]:
    """Ways to have so many of several."""
    none: list[_Way] = [{}]
    reached = [none, *([] for _ in range(needed))]
    for ways in each:
        for i in range(needed, 0, -1):
            more = (way for one, other in product(reached[i - 1], ways) if (way := _merged(one, other)) is not None)
            reached[i] = _best([*reached[i], *more])
    return reached[needed]


# ---------------------------------------------------------------- reading what there is


def _parts(node: Node) -> Iterator[Node]:
    """The nodes down to the leaves; what is asked of another moment is a leaf."""
    pending = [node]
    while pending:
        each = pending.pop()
        yield each
        match each:
            case AllOf(of, without):
                pending += [*reversed(without), *reversed(of)]
            case AnyOf(of) | AtLeastOf(_, of):
                pending += reversed(of)


def _pairs(node: Node) -> int:
    """How many pairs of ways a node puts together at most, whether it is wanted or not."""
    match node:
        case AllOf(of, without):
            return (len(of) + len(without)) * KEPT**2
        case AnyOf(of):
            return len(of) * KEPT**2
        case AtLeastOf(count, of):
            return len(of) * max(count, len(of) - count + 1) * KEPT**2
    return 0


async def _person(context: Context, profile: Profile, plan: Plan, fixed: Collection[Range]) -> _Person:
    leaves = list(dict.fromkeys(each for each in _parts(plan.node) if not isinstance(each, AllOf | AnyOf | AtLeastOf)))
    reading = plan.reading
    plans = [Plan(reading, leaf) for leaf in leaves]
    context.spend(plans)
    [row] = await context.store.contains(plans, [profile.dense])
    truths = dict(zip(leaves, row, strict=True))
    by_tag: dict[int, list[Tagged | Range | Happened]] = {}
    for leaf in leaves:
        if isinstance(leaf, Tagged | Range | Happened):
            by_tag.setdefault(leaf.tag, []).append(leaf)
    tags = {id_: context.view.catalog.tags_by_id[id_] for id_ in by_tag}
    selection = tags_chosen(context, profile.entity, [tag.key for tag in tags.values()], None)
    on = {
        each.tag.key: each.memberships
        for each in await context.loaders.tags.load(((reading, profile.dense), selection))
    }
    names = {id_: context.view.catalog.values(tag).names for id_, tag in tags.items()}
    has = {id_: [_had(each, names[id_]) for each in on.get(tag.key, ())] for id_, tag in tags.items()}
    counts = await _counted(context, profile, reading, has, truths)
    writing = Writing(context, reading.moment, local_day(reading.moment, context.store.settings.timezone), fixed)
    options = {id_: writing.options(tag, by_tag[id_], has[id_], counts) for id_, tag in tags.items()}
    tries = sum(
        len(by_tag[id_]) * sum(map(len, units.values())) * (1 + len(has[id_])) for id_, units in options.items()
    )
    if tries > TRIES_MAX:
        message = f"to turn this round could take {tries:,} tries, of {TRIES_MAX:,} at most: ask for less at once"
        raise TooLarge(message, argument="where")
    return _Person(truths, counts, has, options)


async def _counted(
    context: Context,
    profile: Profile,
    reading: Reading,
    has: Mapping[int, Sequence[Had]],
    truths: Mapping[Node, bool],
) -> Counts:
    """How often it happened in each leaf of events, in all and of each value that some leaf of its tag names.

    In all it is counted as far as it matters: no further than the leaf asks for, unless values can be taken from it.
    """
    happened = [leaf for leaf in truths if isinstance(leaf, Happened)]
    found: dict[tuple[Happened, int | None], int] = {}
    most: dict[Happened, int] = {}
    owns: dict[tuple[Happened, int], Happened] = {}
    for leaf in happened:
        named = {value for other in happened if other.tag == leaf.tag for value in other.values or ()}
        counted = [had for had in has[leaf.tag] if leaf.values is None or had.value in leaf.values]
        mine = {had.value: had.units for had in counted}
        taken = sorted(named & mine.keys())
        for value in taken:
            own = owns[leaf, value] = replace(leaf, values=(value,))
            most[own] = mine[value]
        if taken:
            most[leaf] = sum(mine.values())
        elif truths[leaf]:
            found[leaf, None] = leaf.times
        else:
            most.setdefault(leaf, min(sum(mine.values()), leaf.times - 1))
    if sum(ceil(log(each + 1, TIMES_TRIED)) for each in most.values()) > ROUNDS_MAX:
        message = "to turn this round, events would be counted in too many windows: ask for less at once"
        raise TooLarge(message, argument="where")
    times = {
        leaf: await times_of(context, profile.dense, each, partial(_at_least, leaf, reading))
        for leaf, each in most.items()
    }
    found |= {(leaf, None): times[leaf] for leaf in happened if leaf in times and (leaf, None) not in found}
    return found | {key: times[own] for key, own in owns.items()}


def _at_least(leaf: Happened, reading: Reading, times: int) -> Plan:
    return Plan(reading, replace(leaf, times=times))


def _had(membership: Membership, names: Mapping[str, int]) -> Had:
    value = 0 if membership.value is None else names[membership.value]
    amount = membership.units if membership.count is None else membership.count
    return Had(value, amount or 0, micros(membership.since), membership.score)
