"""What plans of one call have in common, so that it is made once: equal parts, and operands that many `and`s list.

Only nodes are looked at here; what is kept of them is the affair of `evaluate.py`.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from bitmap_store.plan import AllOf, AnyOf, AsOf, AtLeastOf, Node, Plan, Reading

FACTORED_MIN = 3
"""So many `and`s have to list the same operands before these are intersected on their own."""
_Operands = tuple[tuple[int, bool], ...]
"""What an intersection lists: the number of each node, and whether it is taken away."""


class Shared:
    """The nodes of several plans, each with a number; equal ones have the same, whatever their reading.

    plans: for each plan one with the same users, in which common operands are nodes of their own.
    """

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._firsts: list[Node] = []
        self._parents: list[int] = []
        self._number_of: dict[int, int] = {}  # by the identity of nodes, which the plans and these keep:
        self._cores: list[Node] = []
        self._plans = plans
        self._asked = {self._meet(plan.node) for plan in plans}
        self.plans = dict(zip(plans, self._factored(plans), strict=True))

    def first(self, node: Node) -> Node:
        """The first node that was met of those that equal this one."""
        number = self._number_of.get(id(node))
        return node if number is None else self._firsts[number]

    def has(self, node: Node) -> bool:
        """Whether several nodes have this one as a part."""
        number = self._number_of.get(id(node))
        return number is not None and self._parents[number] > 1

    def is_asked(self, node: Node) -> bool:
        """Whether it is also asked for by itself."""
        return self._number_of.get(id(node)) in self._asked

    def depth_first(self, plan: Plan) -> int:
        """A key for sorting that puts a plan before those of its parts."""
        return -self._number_of[id(plan.node)]

    def _meet(self, node: Node) -> int:
        key: Hashable
        below: tuple[int, ...] = ()
        match node:
            case AllOf(of, without):
                below = self._meet_all(of) + self._meet_all(without)
                key = 1, len(of), below
            case AnyOf(of):
                key = 2, (below := self._meet_all(of))
            case AtLeastOf(count, of):
                key = 3, count, (below := self._meet_all(of))
            case AsOf(then, child):
                key = 4, then, (below := self._meet_all((child,)))
            case _:
                key = node
        number = self._numbers.setdefault(key, len(self._firsts))
        if number == len(self._firsts):
            self._firsts.append(node)
            self._parents.append(0)
            for each in below:
                self._parents[each] += 1
        self._number_of[id(node)] = number
        return number

    def _meet_all(self, nodes: Sequence[Node]) -> tuple[int, ...]:
        return tuple([self._meet(node) for node in nodes])

    def _factored(self, plans: Sequence[Plan]) -> list[Plan]:
        """Plans in which operands that several intersections list together are one operand."""
        listed = [self._operands(plan.node) for plan in plans]
        counts = Counter(operand for operands in listed for operand in operands)
        groups: dict[tuple[Reading, _Operands], list[int]] = defaultdict(list)
        for i, operands in enumerate(listed):
            common = tuple(operand for operand in operands if counts[operand] >= FACTORED_MIN)
            if len(common) > 1 and not all(negative for _, negative in common):
                groups[plans[i].reading, common].append(i)
        found = list(plans)
        for (reading, common), members in groups.items():
            if len(members) < FACTORED_MIN:
                continue
            core = self._all_of(common)
            self._cores.append(core)
            self._parents[self._meet(core)] += len(members)
            for i in members:
                rest = self._all_of(tuple(operand for operand in listed[i] if operand not in common))
                if rest.of or rest.without:
                    found[i] = Plan(reading, AllOf((core, *rest.of), rest.without))
        return found

    def _operands(self, node: Node) -> _Operands:
        if not isinstance(node, AllOf):
            return ()
        listed = [(self._number_of[id(child)], False) for child in node.of]
        listed += [(self._number_of[id(child)], True) for child in node.without]
        return tuple(sorted(set(listed)))

    def _all_of(self, operands: _Operands) -> AllOf:
        return AllOf(
            tuple(self._firsts[number] for number, negative in operands if not negative),
            tuple(self._firsts[number] for number, negative in operands if negative),
        )
