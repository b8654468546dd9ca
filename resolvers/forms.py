"""What always holds of audiences, whatever the data: every way in which a user can stand to the leaves of some plans.

Who has one value of a tag has no other, and a number lies on one side of a bound. Each group of leaves that bear on
each other has its patterns (which of them can hold together); the groups are free of each other, and the ways are the
product. Among them may be ways that no user can be, so what is said to hold always does.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import nextafter, prod

import numpy as np
from numpy.typing import NDArray

from bitmap_store.catalog import Catalog
from bitmap_store.plan import (
    AllOf,
    AnyOf,
    AsOf,
    AtLeastOf,
    Happened,
    Listed,
    Node,
    Nothing,
    Plan,
    Range,
    Reading,
    Slice,
    Tagged,
    Universe,
)
from bitmap_store.values import SINGLE_KINDS
from resolvers.changes import Had, fulfills

WAYS_MAX = 1 << 14
"""Ways that are looked at; of more nothing is said."""
PATTERNS_MAX = 1 << 12
HAPPENED_MAX = 10
"""Leaves of one tag of events."""

Ways = NDArray[np.bool_]
Key = tuple[object, ...]
Leaf = tuple[Reading, Node]


class TooMany(Exception):
    """There are more ways than are looked at."""


def ways(plans: Sequence[Plan], catalog: Catalog) -> list[Ways] | None:
    """For each plan, all of one reading, in which ways a user is in it; None where there are too many to look at."""
    try:
        return _Space(plans, catalog).found
    except TooMany:
        return None


class _Space:
    """All ways of some plans."""

    def __init__(self, plans: Sequence[Plan], catalog: Catalog) -> None:
        self._now = plans[0].reading
        groups: dict[Key, dict[Leaf, None]] = {}
        for plan in plans:
            for reading, leaf in _leaves(plan.node, plan.reading):
                groups.setdefault(_group(reading, leaf), {})[(reading, leaf)] = None
            for reading in _readings(plan.node):
                groups.setdefault(("there", reading), {})[(reading, Universe())] = None
        patterns = {key: _patterns([leaf for _, leaf in leaves], catalog) for key, leaves in groups.items()}
        count = prod(len(each) for each in patterns.values())
        if count > WAYS_MAX:
            raise TooMany
        places, stride = np.arange(count), 1
        self._leaves: dict[Leaf, Ways] = {}
        for key, leaves in groups.items():
            codes = (places // stride) % len(patterns[key])
            stride *= len(patterns[key])
            for i, placed in enumerate(leaves):
                self._leaves[placed] = np.array([bool(mask >> i & 1) for mask in patterns[key]])[codes]
        self._all = np.ones(count, np.bool_)
        self.found = [self._of(plan.node, plan.reading) for plan in plans]

    def _of(self, node: Node, reading: Reading) -> Ways:
        match node:
            case Universe():
                return self._there(reading)
            case Nothing():
                return ~self._all
            case AllOf(of, without):
                found = self._there(reading)
                for each in of:
                    found = found & self._of(each, reading)
                for each in without:
                    found = found & ~self._of(each, reading)
                return found
            case AnyOf(of):
                found = ~self._all
                for each in of:
                    found = found | self._of(each, reading)
                return found
            case AtLeastOf(count, of):
                held = np.sum([self._of(each, reading) for each in of], axis=0)
                enough: Ways = held >= count
                return enough
            case AsOf(then, of):
                return self._of(of, then) & self._there(reading)
        return self._leaves[reading, node] & self._there(reading)

    def _there(self, reading: Reading) -> Ways:
        """Who existed at a reading; at that of the plans everybody."""
        return self._all if reading == self._now else self._leaves[reading, Universe()]


def _leaves(node: Node, reading: Reading) -> Iterator[Leaf]:
    pending = [(node, reading)]
    for each, at in pending:
        match each:
            case AllOf(of, without):
                pending += [(child, at) for child in of + without]
            case AnyOf(of) | AtLeastOf(_, of):
                pending += [(child, at) for child in of]
            case AsOf(then, of):
                pending.append((of, then))
            case Universe() | Nothing():
                continue
            case _:
                yield at, each


def _readings(node: Node) -> Iterator[Reading]:
    """The readings below the one of the plan."""
    pending = [node]
    for each in pending:
        match each:
            case AllOf(of, without):
                pending += of + without
            case AnyOf(of) | AtLeastOf(_, of):
                pending += of
            case AsOf(then, of):
                yield then
                pending.append(of)


def _group(reading: Reading, leaf: Node) -> Key:
    """What the leaves that bear on each other have in common."""
    match leaf:
        case Tagged(tag) | Range(tag) | Happened(tag):
            return "tag", reading, tag
        case Listed():
            return ("listed",)
        case Slice(seed):
            return "slice", seed
    return "other", reading, leaf


# ---------------------------------------------------------------- patterns


def _patterns(leaves: Sequence[Node], catalog: Catalog) -> list[int]:
    """Which leaves of a group can hold together: sets as bits, in the order of the leaves."""
    first = leaves[0]
    match first:
        case Happened():
            return _of_events([leaf for leaf in leaves if isinstance(leaf, Happened)])
        case Tagged(tag) | Range(tag):
            return _of_memberships([leaf for leaf in leaves if isinstance(leaf, Tagged | Range)], tag, catalog)
        case Listed():
            lists = [set(leaf.users) for leaf in leaves if isinstance(leaf, Listed)]
            known = _each(set().union(*lists), [own.__contains__ for own in lists])
            unknown = [(0, 1 << i) for i, own in enumerate(lists) if not own]  # who is in none yet may come into being
            return list(dict.fromkeys([*known, *_together(unknown)]))
        case Slice():
            slices = [leaf for leaf in leaves if isinstance(leaf, Slice)]
            points = {point for each in slices for point in (each.start - 1, each.start, each.end - 1, each.end)}
            inside = [range(own.start, own.end).__contains__ for own in slices]
            return _each([point for point in points if 0 <= point < 1 << 32], inside, has_none=False)
    return [0, 1]


def _each(things: Iterable[object], tests: Sequence[Callable[[object], bool]], has_none: bool = True) -> list[int]:
    """The patterns of things of which a user is or has one, or none."""
    found = {0: None} if has_none else {}
    for thing in things:
        found[sum(1 << i for i, test in enumerate(tests) if test(thing))] = None
    return list(found)


def _of_memberships(leaves: Sequence[Tagged | Range], tag: int, catalog: Catalog) -> list[int]:
    known = catalog.tags_by_id.get(tag)
    kind = None if known is None else known.kind
    values: dict[int, None] = {}
    units: dict[int, None] = {0: None} if not any(isinstance(leaf, Range) for leaf in leaves) else {}
    since: dict[int, None] = {0: None}
    scores: dict[float | None, None] = {None: None}
    for leaf in leaves:
        if isinstance(leaf, Range):
            for bound in (leaf.low, leaf.high):
                units |= {} if bound is None else {bound - 1: None, bound: None, bound + 1: None}
        elif leaf.values is not None:
            values |= dict.fromkeys(leaf.values)
        for moment in (leaf.span.since_from, leaf.span.since_until):
            since |= {} if moment is None else {moment - 1: None, moment: None}
        score = leaf.span.score_min
        scores |= {} if score is None else {nextafter(score, -np.inf): None, score: None}
    is_every_value = known is not None and not known.open and len(values) == len(catalog.values(known))
    cells = [*values] if is_every_value and values else [*values, -1]
    if len(cells) * len(units or (0,)) * len(since) * len(scores) > PATTERNS_MAX:
        raise TooMany
    own: Mapping[int, set[int]] = {
        value: {
            sum(1 << i for i, leaf in enumerate(leaves) if fulfills(leaf, Had(value, *rest)))
            for rest in product(units or (0,), since, scores)
        }
        for value in cells
    }
    if kind in SINGLE_KINDS:
        return list(dict.fromkeys([0, *(mask for masks in own.values() for mask in sorted(masks))]))
    return _together(own.values())


def _together(each: Iterable[Iterable[int]]) -> list[int]:
    """The patterns of a user who may have something of each."""
    found = {0: None}
    for masks in each:
        found |= {one | other: None for one in found for other in sorted(masks)}
        if len(found) > PATTERNS_MAX:
            raise TooMany
    return list(found)


def _of_events(leaves: Sequence[Happened]) -> list[int]:
    """What happened often in little of a window happened as often in more of it."""
    if len(leaves) > HAPPENED_MAX:
        raise TooMany
    implied = [sum(1 << j for j, other in enumerate(leaves) if _implies(leaf, other)) for leaf in leaves]
    return [
        mask
        for mask in range(1 << len(leaves))
        if all(mask & implied[i] == implied[i] for i in range(len(leaves)) if mask >> i & 1)
    ]


def _implies(one: Happened, other: Happened) -> bool:
    is_of = other.values is None or (one.values is not None and set(one.values) <= set(other.values))
    is_from = other.first_day is None or (one.first_day is not None and one.first_day >= other.first_day)
    is_until = other.last_day is None or (one.last_day is not None and one.last_day <= other.last_day)
    return is_of and is_from and is_until and one.times >= other.times
