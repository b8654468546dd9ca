"""What is known of a plan at a reading before it is evaluated: sets at hand, about how many users, about what it takes.

Costs are microseconds of one core, as measured in the year 2026; only what they are relative to each other decides.
"""

from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple, Protocol
from weakref import WeakMethod

from pyroaring import BitMap

from bitmap_store import croaring
from bitmap_store.bitmaps import intersection
from bitmap_store.containers import Packed, measured
from bitmap_store.plan import (
    Alike,
    AllOf,
    AnyOf,
    AsOf,
    AtLeastOf,
    Happened,
    Listed,
    Node,
    Nothing,
    Range,
    Reading,
    Slice,
    Tagged,
    Universe,
)
from bitmap_store.sharing import Shared
from bitmap_store.stopping import Stop
from bitmap_store.words import Counted

EMPTY = BitMap()
KEY_USERS = 1 << 16
DENSE = 1 << 10
"""Users in a key of 2^16 from which on packed words are thought of."""
FEW_KEYS = 8
"""With fewer keys of 2^16 users nothing takes long, and Roaring bitmaps are done before packed words are set up."""
ARRAY_USERS = 1 << 12
"""Users in a key up to which Roaring keeps them as an array."""
LEAF_COST = 15.0
"""Microseconds that a leaf of packed words takes however many users there are."""
SCORES_COST = 2_000.0
"""Microseconds that a look-alike takes for each key of 2^16 users."""
LIKE = 0.1
"""The share of everyone who is taken to reach a threshold."""
_EVERYONE = Universe()
_COMPOSED = frozenset({AllOf, AnyOf, AtLeastOf, AsOf, Slice})


class Leaves(Protocol):
    """Where an evaluation finds its leaves; what it gives must not be changed."""

    def universe(self, reading: Reading) -> BitMap:
        """Everyone who exists."""

    def leaf(self, node: Tagged | Range | Happened, reading: Reading) -> BitMap:
        """The users of a leaf over one tag."""

    def known(self, node: Tagged | Range | Happened | Universe | Alike, reading: Reading) -> BitMap | None:
        """What `leaf`, `universe` or `scored` would give, where that takes no time; None where it has to be made."""

    def scored(self, node: Alike, reading: Reading, make: Callable[[], BitMap], stop: Stop) -> BitMap:
        """The users of a look-alike: those that are kept, else those that are made. One is made at a time."""


class Operand(NamedTuple):
    """An operand of an intersection: about how many users, the node, and its set where that is there."""

    about: float
    node: Node | None
    users: BitMap | None


class At:
    """The nodes of plans at one reading, told apart by identity; they are kept as long as this.

    of: a method that gives the same for another reading. shared: what several plans have in common.
    """

    def __init__(self, reading: Reading, leaves: Leaves, of: Callable[[Reading], "At"], shared: Shared | None) -> None:
        self.reading = reading
        self._of = WeakMethod(of)  # a cycle would keep every set of an evaluation until Python looks for cycles
        self._leaves = leaves
        self._shared = shared
        self._universe: BitMap | None = None
        self._keys = -1
        self.packed: dict[int, Packed] = {}
        """Shared nodes that were made as packed words, by identity."""
        self.counted: dict[int, Counted] = {}
        """Nodes whose size came by on the way to that of another, by identity."""
        self._sets: dict[int, tuple[Node, BitMap]] = {}
        self._abouts: dict[int, tuple[Node, float]] = {}
        self._operands: dict[int, tuple[Node, list[Operand]]] = {}
        self._costs: dict[int, tuple[Node, float]] = {}

    @property
    def universe(self) -> BitMap:
        """Everyone who exists."""
        if self._universe is None:
            self._universe = self._leaves.universe(self.reading)
        return self._universe

    @property
    def keys(self) -> int:
        """How many keys of 2^16 ids there are; one at least, because costs are divided by it."""
        if self._keys < 0:
            self._keys = max(1, measured(self.universe)[1])
        return self._keys

    def of(self, reading: Reading) -> "At":
        """The same for another reading."""
        of = self._of()
        assert of is not None
        return of(reading)

    # ------------------------------------------------------------ sets

    def users(self, node: Node) -> BitMap | None:
        """The set of a leaf, or of a node that was made before and kept; None for any other."""
        found = self._sets.get(id(node))
        if found is not None:
            return found[1]
        if self._shared is not None:
            first = self._shared.first(node)
            if first is not node:
                return self.users(first)
        kind = type(node)
        if kind in _COMPOSED:
            return None
        match node:
            case Tagged() | Range() | Happened():
                users = self._leaves.leaf(node, self.reading)
            case Universe():
                users = self.universe
            case Listed(listed):
                users = intersection(BitMap(listed), self.universe)
            case Alike():
                known = self._leaves.known(node, self.reading)
                if known is None:
                    return None
                users = known
            case Nothing():
                users = EMPTY
            case _:
                raise TypeError(f"no evaluation for {kind.__name__}")
        self._sets[id(node)] = node, users
        return users

    def keep(self, node: Node, users: BitMap) -> None:
        """From now on these are the users of a node."""
        self._sets[id(node)] = node, users

    def operands(self, node: AllOf) -> list[Operand]:
        """The positive operands of an intersection, the smallest first; none when one of them is empty."""
        found = self._operands.get(id(node))
        if found is not None:
            return found[1]
        operands: list[Operand] = []
        for child in node.of:
            users = self.users(child)
            if users is None:
                operands.append(Operand(self.about(child), child, None))
                continue
            size, _ = measured(users)
            if not size:
                operands.clear()
                break
            operands.append(Operand(size, child, users))
        operands.sort(key=_about)
        self._operands[id(node)] = node, operands
        return operands

    # ------------------------------------------------------------ how many

    def about(self, node: Node) -> float:
        """About how many users a node has, as if its parts were independent; of a set that is there, exactly."""
        found = self._abouts.get(id(node))
        if found is not None:
            return found[1]
        users = self.users(node)
        if users is not None:
            about = float(measured(users)[0])
            self._abouts[id(node)] = node, about
            return about
        everyone = measured(self.universe)[0] or 1
        match node:
            case AllOf(_, without):
                first, *more = self.operands(node) or [Operand(0, None, None)]
                about = first.about
                for operand in more:
                    about *= min(1.0, operand.about / everyone)
                for child in without:
                    about *= max(0.0, 1 - self.about(child) / everyone)
            case AnyOf(of):
                about = min(everyone, sum(map(self.about, of)))
            case AtLeastOf(count, of):
                about = min(everyone, sum(map(self.about, of)) / max(count, 1))
            case AsOf(then, child):
                about = self.of(then).about(child)
            case Slice(_, start, end):
                about = everyone * (end - start) / 2**32
            case Alike(size=size):
                about = min(everyone, everyone * LIKE if size is None else size)
            case _:
                raise TypeError(f"no evaluation for {type(node).__name__}")
        self._abouts[id(node)] = node, about
        return about

    # ------------------------------------------------------------ what it takes

    def roaring_cost(self, node: Node, within: float = inf, *, counting: bool = False) -> float:
        """To make a node of Roaring bitmaps (or to count it), within a set of some size.

        What is within a set is looked at in one way only, and what is not is kept, so that this stays linear in the
        nodes times their depth.
        """
        if self.users(node) is not None:
            return 0.0 if within == inf else self._and_cost(within, self.about(node), counting)
        if within < inf or counting:
            return self._roaring_cost(node, within, counting)
        found = self._costs.get(id(node))
        if found is None:
            found = self._costs[id(node)] = node, self._roaring_cost(node, inf, False)
        return found[1]

    def _roaring_cost(self, node: Node, within: float, counting: bool) -> float:
        match node:
            case AllOf(_, without):
                everyone = measured(self.universe)[0] or 1
                taken = [each for child in without for each in (child.of if isinstance(child, AnyOf) else (child,))]
                steps = len(node.of) + len(taken) - 1
                total, size = 0.0, within
                for i, (about, child, users) in enumerate(self.operands(node)):
                    last = counting and i == steps
                    if users is None and child is not None:
                        total += self._step_cost(size, child, last, within)
                    elif size != inf:
                        total += self._and_cost(size, about, last)
                    size = about if size == inf else size * min(1.0, about / everyone)
                for i, child in enumerate(taken, len(node.of)):
                    about = self.about(child)
                    made = 0.0 if self.users(child) is not None else self.roaring_cost(child, within)
                    total += made + self._minus_cost(size, about, counting and i == steps)
                    size *= max(0.0, 1 - about / everyone)
                return total
            case AnyOf(of) | AtLeastOf(_, of):
                made = sum(self.roaring_cost(child, within) for child in of)
                sizes = [min(within, self.about(child)) for child in of]
                times = 2 * node.count if isinstance(node, AtLeastOf) else 1
                return made + times * sum(map(self._or_cost, sizes))
            case AsOf(then, child):
                return self.of(then).roaring_cost(child, within) + self._and_cost(self.about(node), inf, counting)
            case Alike():
                return SCORES_COST * self.keys
        return 0.005 * min(within, KEY_USERS * self.keys)

    def _step_cost(self, size: float, node: Node, counting: bool, within: float) -> float:
        if size == inf:
            return self.roaring_cost(node)
        if within < inf:
            return self.roaring_cost(node, size, counting=counting)
        whole = self.roaring_cost(node) + self._and_cost(size, self.about(node), counting)
        return min(whole, self.roaring_cost(node, size, counting=counting))

    def pays_to_push(self, size: int, node: Node, *, twice: bool = False) -> bool:
        """Whether a node is made within a set of this size. twice: made as a whole it will be used again."""
        if size < DENSE:
            return True
        if self.keys < FEW_KEYS:  # where estimating would take longer than either
            return not isinstance(node, AnyOf) or 2 * size < self.about(node)
        if size > DENSE * self.keys and isinstance(node, AnyOf):
            return False
        whole = self.roaring_cost(node) + self._and_cost(size, self.about(node), False)
        return (2 if twice else 1) * self.roaring_cost(node, size) < whole

    def _minus_cost(self, a: float, b: float, counting: bool) -> float:
        keys = self.keys
        if counting or a <= ARRAY_USERS * keys:
            return self._and_cost(a, b, counting) + (0.0 if counting else 0.0003 * a)
        left = a * max(0.0, 1 - b / (KEY_USERS * keys))
        added = 0.0 if b > ARRAY_USERS * keys else 0.0007 * b
        return 1.0 + 1.4 * keys + added + (0.0 if left > ARRAY_USERS * keys else 0.0014 * left)

    def _and_cost(self, a: float, b: float, counting: bool) -> float:
        a, b, keys = min(a, b), max(a, b), self.keys
        if a > ARRAY_USERS * keys:
            if counting:
                return 1.0 + 0.62 * keys
            both = a * min(1.0, b / (KEY_USERS * keys))
            # Where two packed containers have little in common an array is made of it, bit by bit.
            return 1.0 + (1.5 * keys if both > ARRAY_USERS * keys else 6.0 * keys + 0.0021 * both)
        touched = min(a, 0.15 * keys)
        if b > ARRAY_USERS * keys:
            return 1.0 + touched + 0.00105 * a
        return 1.0 + touched + min(0.0006 * (a + b), 0.005 * a)

    def _or_cost(self, size: float) -> float:
        keys = self.keys
        return 0.5 + (0.58 * keys if size > ARRAY_USERS * keys else min(size, 0.2 * keys) + 0.0006 * size)

    def words_cost(self, node: Node, *, alone: bool = True) -> float:
        """To have a node as packed words. alone: not to be added to others, which is what sparse sets are good for."""
        keys = self.keys
        users = self.users(node)
        if users is not None:
            size, _ = measured(users)
            if size > ARRAY_USERS * keys:
                return LEAF_COST + (0.5 if isinstance(users, croaring.Mapped) else 1.0) * keys
            return LEAF_COST + (0.9 if alone else 0.2) * keys + 0.00045 * size
        match node:
            case AllOf(of, without):
                taken = sum(self.words_cost(child, alone=False) for child in without) + keys * bool(without)
                return sum(map(self.words_cost, of)) + taken
            case AnyOf(of):
                return sum(self.words_cost(child, alone=False) for child in of)
            case AtLeastOf(_, of):
                return sum(map(self.words_cost, of)) + 0.8 * keys * len(of) * len(of).bit_length()
            case AsOf(then, child):
                return self.of(then).words_cost(child) + self.words_cost(_EVERYONE)
        return self.roaring_cost(node)

    # ------------------------------------------------------------ at hand

    def quick_cost(self, node: Node, size: float) -> float:
        """About what a node takes at most within `size` users; infinite where a leaf is not at hand."""
        match node:
            case Tagged() | Range() | Happened() | Universe() | Alike():
                users = self._leaves.known(node, self.reading)
                if users is None:
                    return inf
                self._sets[id(node)] = node, users
                return 1.5 + _meeting(size, *measured(users))
            case AllOf(of, without):
                total = first = 0.0
                for child in of:
                    cost = self.quick_cost(child, size)
                    if cost == inf:
                        return inf
                    total += cost
                    found = self._sets.get(id(child))
                    if found is not None:
                        # Of the sets that are there the smallest is where it begins, which takes no time.
                        count, keys = measured(found[1])
                        first = max(first, _meeting(size, count, keys))
                        size = min(size, count)
                return total - first + self._quick_costs(without, size)
            case AnyOf(of):
                return self._quick_costs(of, size)
            case AtLeastOf(count, of):
                return 2 * count * self._quick_costs(of, size)
            case AsOf(then, child):
                return self.of(then).quick_cost(child, size) + self.quick_cost(_EVERYONE, size)
            case Slice():
                return 5.0 + 0.01 * size + self.quick_cost(_EVERYONE, size)
            case Listed(users):
                return 2.0 + 0.1 * len(users) + self.quick_cost(_EVERYONE, size)
        return 1.0

    def _quick_costs(self, nodes: Iterable[Node], size: float) -> float:
        return sum(self.quick_cost(node, size) for node in nodes)


def _about(operand: Operand) -> float:
    return operand.about


def _meeting(size: float, count: int, keys: int) -> float:
    """About what it takes to intersect a set of so many users and keys with one of `size`, or to join it to others."""
    size = min(size, count)
    return min(size, 0.05 * keys) + min(0.0011 * size, 0.6 * keys)
