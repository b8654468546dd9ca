"""The set algebra: from plan nodes and their leaves to users, or only to how many.

Knows nothing of storage: `Leaves` gives the set of a leaf at a reading. Sparse sets meet as Roaring bitmaps,
the smallest first and pushed down; many dense ones as packed words (`words.py`). Nothing here changes a set
that it did not make.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store import croaring, words
from bitmap_store.bitmaps import (
    difference,
    difference_size,
    ids_between,
    intersect_into,
    intersection,
    intersection_size,
    subtract_from,
    union,
    union_size,
)
from bitmap_store.containers import Containers, Packed
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
from bitmap_store.sharing import Shared
from bitmap_store.slices import SLICES, among
from bitmap_store.stopping import Stop

EMPTY = BitMap()
SHORT = 100.0
"""Microseconds of work that are done at once, as handing it to a thread and back takes about as long."""
FIRST_IDS = 1 << 17
"""The first range of ids in which a page looks for users."""
_EVERYONE = Universe()
PACKED_KEYS_MAX = 1 << 13
"""Keys of 2^16 users, 8 KiB each, that one call keeps of parts that several plans have."""
DENSE = 1 << 10
"""Users in a key of 2^16 from which on a set takes less time as packed words."""
WORDS_KEYS_MIN = 8
"""Fewer keys of 2^16 users are done sooner as Roaring bitmaps than it takes to set about words."""
RECURRENCE_MAX = 4
"""Up to this count an `AtLeastOf` of Roaring bitmaps goes by recurrence, for which counters are not worth while."""


class Leaves(Protocol):
    """Where an evaluation finds its leaves; what it gives must not be changed."""

    def universe(self, reading: Reading) -> BitMap:
        """Everyone who exists."""

    def leaf(self, node: Tagged | Range | Happened, reading: Reading) -> BitMap:
        """The users of a leaf over one tag."""

    def known(self, node: Tagged | Range | Happened | Universe, reading: Reading) -> BitMap | None:
        """What `leaf` or `universe` would give, where that takes no time; None where it has to be read or made."""


class _At:
    """What was found of one reading: sets and estimates by the identity of their nodes, which are kept with them."""

    __slots__ = ("_keys", "_leaves", "_universe", "abouts", "packed", "reading", "sets")

    def __init__(self, reading: Reading, leaves: Leaves) -> None:
        self.reading = reading
        self._leaves = leaves
        self._universe: BitMap | None = None
        self._keys: int | None = None
        self.sets: dict[int, tuple[Node, BitMap]] = {}
        self.abouts: dict[int, tuple[Node, float]] = {}
        self.packed: dict[int, tuple[Node, Packed]] = {}

    @property
    def universe(self) -> BitMap:
        if self._universe is None:
            self._universe = self._leaves.universe(self.reading)
        return self._universe

    @property
    def keys(self) -> int:
        """How many keys of 2^16 ids there are."""
        if self._keys is None:
            self._keys = (self.universe.max() >> 16) + 1 if self.universe else 0
        return self._keys


class Evaluation:
    """The plans of one call over leaves; what two of them share is looked up and made once. For one thread.

    packed: whether packed words are used; None decides by estimated costs, anything else is for tests.
    """

    def __init__(self, leaves: Leaves, stop: Stop | None = None, *, packed: bool | None = None) -> None:
        self._leaves = leaves
        self._stop = stop or Stop()
        self._packed = packed
        self._ats: dict[Reading, _At] = {}
        self._containers: dict[int, Containers] = {}
        self._packed_keys = 0
        self._shared = Shared()

    # ------------------------------------------------------------ what is asked

    def users(self, plan: Plan, within: BitMap | None = None) -> BitMap:
        """The users of a plan, or those of them within a set. Not to be changed: it may be a leaf itself."""
        return self._users(plan.node, self._at(plan.reading), within)[0]

    def size(self, plan: Plan, within: BitMap | None = None) -> int:
        """How many users a plan has, all in all or within a set; the last step counts without making the result."""
        return self._size(plan.node, self._at(plan.reading), within)

    def sizes(self, plans: Sequence[Plan]) -> list[int]:
        """The size of each plan; parts that several have are made once."""
        known = dict.fromkeys(plans, 0)
        asked = {plan: plan for plan in known}
        if len(known) > 1:
            self._shared = Shared()
            asked = self._shared.plans(list(known))
        for plan in known:
            self._stop.check()
            known[plan] = self.size(asked[plan])
        return [known[plan] for plan in plans]

    def first_users(self, plan: Plan, first: int, limit: int) -> NDArray[np.uint32]:
        """Up to `limit` users of a plan with ids from `first` on, ascending.

        Looks at ranges of ids, each wider than the one before, so that it costs what lies up to the last of them.
        """
        at = self._at(plan.reading)
        end = at.keys << 16
        found: list[NDArray[np.uint32]] = []
        width = FIRST_IDS
        while first < end and limit > 0:
            users = self.users(plan, BitMap(range(first, min(first + width, end))))
            found.append(ids_between(users, 0, limit))
            limit -= len(found[-1])
            first, width = first + width, 4 * width
        return np.concatenate(found) if found else np.zeros(0, np.uint32)

    def cost(self, plans: Sequence[Plan], within: int | None = None) -> float:
        """About how many microseconds the plans take (within so many users), as long as that is less than `SHORT`.

        Looks nothing up that takes time: plans with a leaf that is not at hand cost infinitely much.
        """
        total = 0.0
        for plan in plans:
            if total < SHORT:
                total += self._cost(plan.node, self._at(plan.reading), inf if within is None else within)
        return total

    def _cost(self, node: Node, at: _At, size: float) -> float:
        """As `cost`, for a node that is wanted within `size` users."""
        match node:
            case Tagged() | Range() | Happened() | Universe():
                known = self._leaves.known(node, at.reading)
                if known is None:
                    return inf
                at.sets[id(node)] = node, known
                keys = (known.max() >> 16) + 1 if known else 0
                return 2.0 + 0.1 * keys + min(0.001 * min(size, len(known)), 3.0 * keys)
            case AllOf(of, without):
                costs = []
                for child in of:
                    costs.append(self._cost(child, at, size))
                    if id(child) in at.sets:
                        size = min(size, len(at.sets[id(child)][1]))
                return sum(costs) + sum(self._cost(child, at, size) for child in without)
            case AnyOf(of):
                return sum(self._cost(child, at, size) for child in of)
            case AtLeastOf(count, of):
                return 2 * count * sum(self._cost(child, at, size) for child in of)
            case AsOf(then, child):
                return self._cost(child, self._at(then), size) + self._cost(_EVERYONE, at, size)
            case Slice():
                return 5.0 + 0.01 * size + self._cost(_EVERYONE, at, size)
            case Listed(users):
                return 2.0 + 0.1 * len(users) + self._cost(_EVERYONE, at, size)
        return 1.0

    def _at(self, reading: Reading) -> _At:
        found = self._ats.get(reading)
        if found is None:
            found = self._ats[reading] = _At(reading, self._leaves)
        return found

    # ------------------------------------------------------------ sets that are there

    def _set(self, node: Node, at: _At) -> BitMap | None:
        """The set of a leaf, or of a node that was made before and kept; None for any other."""
        node = self._shared.first(node)
        found = at.sets.get(id(node))
        if found is not None:
            return found[1]
        if isinstance(node, Tagged | Range | Happened):
            known = self._leaves.leaf(node, at.reading)
        elif isinstance(node, Universe):
            known = at.universe
        elif isinstance(node, Listed):
            known = BitMap(node.users) & at.universe
        elif isinstance(node, Nothing):
            known = EMPTY
        else:
            return None
        at.sets[id(node)] = node, known
        return known

    def _about(self, node: Node, at: _At) -> float:
        """About how many users a node has; of a set that is there, exactly."""
        known = self._set(node, at)
        if known is not None:
            return len(known)
        node = self._shared.first(node)
        found = at.abouts.get(id(node))
        if found is not None:
            return found[1]
        everyone = len(at.universe) or 1
        match node:
            case AllOf(of, without):
                about, *more = sorted(self._about(child, at) for child in of)
                for other in more:
                    about *= min(1.0, other / everyone)
                for child in without:
                    about *= max(0.0, 1 - self._about(child, at) / everyone)
            case AnyOf(of):
                about = min(everyone, sum(self._about(child, at) for child in of))
            case AtLeastOf(count, of):
                about = min(everyone, sum(self._about(child, at) for child in of) / max(count, 1))
            case AsOf(then, child):
                about = self._about(child, self._at(then))
            case Slice(_, start, end):
                about = everyone * (end - start) / 2**32
            case _:
                raise TypeError(f"no evaluation for {type(node).__name__}")
        at.abouts[id(node)] = node, about
        return about

    # ------------------------------------------------------------ Roaring bitmaps

    def _users(self, node: Node, at: _At, within: BitMap | None = None) -> tuple[BitMap, bool]:
        """The users of a node (within a set), and whether the set was made for this and may be changed."""
        node = self._shared.first(node)
        known = self._set(node, at)
        if known is not None:
            return (known, False) if within is None else (intersection(known, within), True)
        self._stop.check()
        if self._wants_words(node, at, within):
            found, own = words.bitmap_of_term(self._term(node, at, within), self._stop), True
        else:
            found, own = self._made(node, at, within)
        if within is None and self._shared.has(node):
            at.sets[id(node)] = node, found
            own = False
        return found, own

    def _made(self, node: Node, at: _At, within: BitMap | None) -> tuple[BitMap, bool]:
        match node:
            case AllOf():
                found, own, _ = self._all_but_last(node, at, within, steps_left=0)
                return found, own
            case AnyOf(of):
                parts = self._parts(of, at, within)
                return (union([part for part, _ in parts]), True) if len(parts) > 1 else (*parts, (EMPTY, False))[0]
            case AtLeastOf(count, of):
                sets = [part for part, _ in self._parts(of, at, within)]
                if count > RECURRENCE_MAX and self._packed is not False:
                    term = words.AtLeast(count, tuple(self._leaf(each) for each in sets))
                    return words.bitmap_of_term(term, self._stop), True
                return at_least(count, sets, self._stop), True
            case AsOf(then, child):
                # Who is asked about has to exist now; who the question is about existed then.
                found, own = self._users(child, self._at(then), within)
                return intersection(found, at.universe), True
            case Slice():
                some = at.universe if within is None else intersection(at.universe, within)
                if within is not None and len(some) < at.keys << 12:
                    return among(node, some), True
                return intersection(SLICES.ids(node, at.keys, self._stop), some), True
        raise TypeError(f"no evaluation for {type(node).__name__}")

    def _parts(self, of: Iterable[Node], at: _At, within: BitMap | None) -> list[tuple[BitMap, bool]]:
        """Those operands that are not empty, the smallest first."""
        parts = [self._users(child, at, within) for child in of]
        return sorted(((part, own) for part, own in parts if part), key=lambda part: len(part[0]))

    def _all_but_last(
        self, node: AllOf, at: _At, within: BitMap | None, steps_left: int
    ) -> tuple[BitMap, bool, tuple[bool, Node | BitMap] | None]:
        """An intersection, the smallest operand first, so that every step works on as little as possible.

        Gives the set, whether it may be changed, and the step that was left to the caller: whether it takes
        away, and what. Ends when nothing is left.
        """
        positive: list[tuple[float, Node | BitMap]] = [] if within is None else [(len(within), within)]
        for child in node.of:
            about = self._about(child, at)
            if not about and self._set(child, at) is not None:
                return EMPTY, False, None
            positive.append((about, child))
        positive.sort(key=lambda operand: operand[0])
        steps = [(False, child) for _, child in positive]
        _, first = steps.pop(0)
        found, own = (first, False) if isinstance(first, BitMap) else self._users(first, at)
        for child in node.without:
            # Taking away a union is taking away each.
            taken = child.of if isinstance(child, AnyOf) and not self._shared.has(child) else (child,)
            steps += [(True, each) for each in taken]
        last = steps.pop() if steps_left and steps else None
        for negative, step in steps:
            if not found:
                return EMPTY, False, None
            found, own = self._step(found, own, negative, step, at)
        return found, own, last

    def _step(self, found: BitMap, own: bool, negative: bool, child: Node | BitMap, at: _At) -> tuple[BitMap, bool]:
        other, pushed = self._other(found, child, at)
        if pushed and not negative:
            return other, True
        if own:
            (subtract_from if negative else intersect_into)(found, other)
            return found, True
        return (difference if negative else intersection)(found, other), True

    def _other(self, found: BitMap, child: Node | BitMap, at: _At) -> tuple[BitMap, bool]:
        """The other operand of a step, and whether it was made within `found`."""
        if isinstance(child, BitMap):
            return child, False
        known = self._set(child, at)
        if known is not None:
            return known, False
        pushed = self._pays_to_push(len(found), child, at)
        return self._users(child, at, found if pushed else None)[0], pushed

    def _pays_to_push(self, size: int, child: Node, at: _At) -> bool:
        """Whether to make a node within a set of this size: what is in members to visit, from measured costs."""
        if not isinstance(child, AnyOf) or size < DENSE:
            return True
        keys = at.keys
        pushed = whole = 0.0
        for about in (self._about(each, at) for each in child.of):
            pushed += min(size, about) + 110 * keys
            whole += 450 * keys if about > keys << 12 else 0.7 * about + 30 * keys
        return pushed * (2 if self._shared.has(child) else 1) < whole

    # ------------------------------------------------------------ sizes

    def _size(self, node: Node, at: _At, within: BitMap | None = None) -> int:
        node = self._shared.first(node)
        known = self._set(node, at)
        if known is not None:
            return len(known) if within is None else intersection_size(known, within)
        if self._wants_words(node, at, within, counting=True):
            return words.size_of(self._term(node, at, within), self._stop)
        if within is None and self._shared.has(node):
            return len(self._users(node, at)[0])
        match node:
            case AllOf():
                found, _, last = self._all_but_last(node, at, within, steps_left=1)
                return len(found) if last is None or not found else self._last_size(found, *last, at)
            case AnyOf(of):
                parts = [part for part, _ in self._parts(of, at, within)]
                return union_size(*parts) if len(parts) == 2 else len(union(parts)) if parts else 0
            case AsOf(then, child):
                return intersection_size(self._users(child, self._at(then), within)[0], at.universe)
        return len(self._made(node, at, within)[0])

    def _last_size(self, found: BitMap, negative: bool, child: Node | BitMap, at: _At) -> int:
        """How many are left after one more step, without making it."""
        if isinstance(child, Node):
            if self._set(child, at) is None and self._pays_to_push(len(found), child, at):
                both = self._size(child, at, found)
                return len(found) - both if negative else both
            child = self._users(child, at)[0]
        return (difference_size if negative else intersection_size)(found, child)

    # ------------------------------------------------------------ packed words

    def _wants_words(self, node: Node, at: _At, within: BitMap | None = None, *, counting: bool = False) -> bool:
        """Whether a node takes less time as packed words: where dense sets meet, and what they share is sparse."""
        if not isinstance(node, AllOf | AnyOf | AtLeastOf):
            return False
        if self._packed is not None:
            return self._packed
        if not croaring.AVAILABLE or at.keys < WORDS_KEYS_MIN:
            return False
        dense = at.keys * DENSE
        if within is not None and len(within) < dense:
            return False
        match node:
            case AllOf(of, without):
                if min(self._about(child, at) for child in of) < dense:
                    return False
                pair = len(of) + len(without) == 2 and within is None
                if pair and all(self._set(child, at) is not None for child in of + without):
                    return not counting and self._about(node, at) < 4 * dense
                return True
            case AtLeastOf(_, of):
                return sum(self._about(child, at) for child in of) > dense
        return any(self._wants_words(child, at) for child in node.of)

    def _term(self, node: Node, at: _At, within: BitMap | None = None) -> words.Term:
        """A node as packed words have it, its sparse parts made beforehand."""
        if within is not None:
            return words.All((self._leaf(within), self._term(node, at)))
        node = self._shared.first(node)
        known = self._set(node, at)
        if known is not None:
            return self._leaf(known)
        match node:
            case AsOf(then, child):
                return words.All((self._term(child, self._at(then)), self._leaf(at.universe)))
            case Slice():
                return words.All((self._leaf(SLICES.ids(node, at.keys, self._stop)), self._leaf(at.universe)))
        kept = at.packed.get(id(node))
        if kept is not None:
            return words.Leaf(kept[1])
        if self._about(node, at) < at.keys * DENSE and not self._wants_words(node, at):
            return self._leaf(self._users(node, at)[0])
        term = self._composed(node, at)
        if self._shared.has(node) and self._packed_keys < PACKED_KEYS_MAX:
            packed = words.packed_term(term, self._stop)
            at.packed[id(node)] = node, packed
            self._packed_keys += packed.stop
            return words.Leaf(packed)
        return term

    def _composed(self, node: Node, at: _At) -> words.Term:
        match node:
            case AllOf(of, without):
                ordered = sorted(of, key=lambda child: self._about(child, at))
                return words.All(
                    tuple(self._term(child, at) for child in ordered),
                    tuple(self._term(child, at) for child in without),
                )
            case AnyOf(of):
                return words.Any(tuple(self._term(child, at) for child in of))
            case AtLeastOf(count, of):
                return words.AtLeast(count, tuple(self._term(child, at) for child in of))
        raise TypeError(f"no evaluation for {type(node).__name__}")

    def _leaf(self, users: BitMap) -> words.Leaf:
        found = self._containers.get(id(users))
        if found is None:
            found = self._containers[id(users)] = Containers(users)
        return words.Leaf(found)


def at_least(count: int, sets: Sequence[BitMap], stop: Stop) -> BitMap:
    """Users in at least `count` sets, by the recurrence over prefixes: reached[k] after each set is
    reached[k] ∪ (reached[k-1] ∩ set). O(len(sets) · count) operations, no enumeration of users."""
    if count > len(sets):
        return EMPTY
    reached = [BitMap() for _ in range(count)]
    for members in sets:
        stop.check()
        for k in range(count - 1, 0, -1):
            reached[k] |= reached[k - 1] & members
        reached[0] |= members
    return reached[-1]
