"""What plans of one call have in common, so that it is made once: equal parts, and operands that many `and`s list.

Only nodes are looked at here; what is kept of them is the affair of `evaluate.py`.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from bitmap_store.plan import AllOf, AnyOf, AsOf, AtLeastOf, Node, Plan, Reading

FACTORED_MIN = 3
"""So many `and`s have to list the same operands before these are intersected on their own."""


class Shared:
    """Which nodes are equal to one met before, and which composed ones are met more than once."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._seen: dict[tuple[Reading, Node], Node] = {}
        self._first: dict[int, tuple[Node, Node]] = {}
        self._several: dict[int, Node] = {}
        self.plans = dict(zip(plans, _factored(plans), strict=True))
        """For each plan one with the same users, in which common operands are nodes of their own."""
        for plan in self.plans.values():
            self._meet(plan.node, plan.reading)

    def first(self, node: Node) -> Node:
        """The first node that was met of those that equal this one."""
        found = self._first.get(id(node))
        return node if found is None else found[1]

    def has(self, node: Node) -> bool:
        """Whether this node, the first of its kind, is met again."""
        return id(node) in self._several

    def _meet(self, node: Node, reading: Reading) -> None:
        first = self._seen.setdefault((reading, node), node)
        below = _below(node)
        if first is not node:
            self._first[id(node)] = node, first
            if below:
                self._several[id(first)] = first
            return
        if isinstance(node, AsOf):
            reading = node.reading
        for child in below:
            self._meet(child, reading)


def _factored(plans: Sequence[Plan]) -> list[Plan]:
    """Plans in which operands that several intersections of a reading list together are one operand."""
    listed = [(plan.reading, _operands(plan.node)) for plan in plans]
    counts = Counter((reading, operand) for reading, operands in listed for operand in operands)
    groups: dict[tuple[Reading, frozenset[tuple[bool, Node]]], list[int]] = defaultdict(list)
    for i, (reading, operands) in enumerate(listed):
        common = frozenset(operand for operand in operands if counts[reading, operand] >= FACTORED_MIN)
        if len(common) > 1 and any(not negative for negative, _ in common):
            groups[reading, common].append(i)
    found = list(plans)
    for (reading, common), members in groups.items():
        if len(members) < FACTORED_MIN:
            continue
        core = _all_of([operand for operand in listed[members[0]][1] if operand in common])
        for i in members:
            rest = [operand for operand in listed[i][1] if operand not in common]
            found[i] = Plan(reading, _all_of([(False, core), *rest]) if rest else core)
    return found


def _operands(node: Node) -> list[tuple[bool, Node]]:
    """What an intersection lists, each with whether it is taken away."""
    if not isinstance(node, AllOf):
        return []
    return list(dict.fromkeys([(False, child) for child in node.of] + [(True, child) for child in node.without]))


def _all_of(operands: Sequence[tuple[bool, Node]]) -> AllOf:
    return AllOf(
        tuple(child for negative, child in operands if not negative),
        tuple(child for negative, child in operands if negative),
    )


def _below(node: Node) -> tuple[Node, ...]:
    match node:
        case AllOf(of, without):
            return of + without
        case AnyOf(of) | AtLeastOf(_, of):
            return of
        case AsOf(_, child):
            return (child,)
    return ()
