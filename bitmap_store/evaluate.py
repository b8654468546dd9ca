"""The set algebra: from plan nodes and their leaves to users, or only to how many.

Knows nothing of storage: `Leaves` gives the set of a leaf at a reading. Sparse sets meet as Roaring bitmaps,
the smallest first and pushed down; many dense ones as packed words (`words.py`). Nothing here changes a set
that it did not make.
"""

from collections.abc import Iterable, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store import croaring, words
from bitmap_store.bitmaps import (
    difference,
    difference_size,
    ids_between,
    ids_of,
    intersect_into,
    intersection,
    intersection_size,
    subtract_from,
    union,
    union_size,
)
from bitmap_store.containers import Containers, measured
from bitmap_store.estimates import DENSE, EMPTY, FEW_KEYS, At, Leaves
from bitmap_store.likeness import alike
from bitmap_store.plan import (
    Alike,
    AllOf,
    AnyOf,
    AsOf,
    AtLeastOf,
    Happened,
    Node,
    Plan,
    Range,
    Reading,
    Slice,
    Tagged,
    Universe,
)
from bitmap_store.scoring import Scores
from bitmap_store.sharing import Shared
from bitmap_store.slices import SLICES, among, is_thin
from bitmap_store.stopping import Stop

SHORT = 1_500.0
"""Microseconds of work that are done at once: to hand it to a thread and back takes up to a third of that, and those
who wait do not notice it."""
FIRST_IDS = 1 << 17
"""The first range of ids in which a page looks for users."""
PACKED_KEYS_MAX = 1 << 13
"""Keys of 2^16 users, 8 KiB each, that one call keeps of parts that several plans have."""
RECURRENCE_COUNT = 4
"""Up to this count an `AtLeastOf` of Roaring bitmaps goes by recurrence, for which counters are not worth while."""
_NEVER = Stop()
_WORDED = (AllOf, AnyOf, AtLeastOf)
_LEAVES = frozenset({Tagged, Range, Happened, Universe})
QUICK = 20_000
"""Users of the smaller of two sets that are counted together without more ado."""
QUICK_LEAVES = 24
"""Leaves of a plan up to which it is counted so where nobody has an id of `QUICK_IDS` or more."""
QUICK_IDS = 48 << 16
QUICK_KEYS = 200
"""Keys of 2^16 users with which they are, however many there are: a tenth of a millisecond."""


def quick_size(plan: Plan, leaves: Leaves) -> int | None:
    """The size of a plan where its leaves are at hand and it takes no more than `SHORT`; else None.

    Two leaves, or up to `QUICK_LEAVES` where there are few ids. Most questions are such, and take less time than an
    `Evaluation` takes to make up its mind.
    """
    node, reading = plan.node, plan.reading
    if type(node) in _LEAVES:
        known = leaves.known(node, reading)  # type: ignore[arg-type]
        return None if known is None else len(known)
    if type(node) is AllOf:
        of, without = node.of, node.without
    elif type(node) is AnyOf:
        of, without = node.of, ()
    else:
        return None
    if len(of) + len(without) == 2:
        first, second = of + without
        one = leaves.known(first, reading) if type(first) in _LEAVES else None  # type: ignore[arg-type]
        other = leaves.known(second, reading) if one is not None and type(second) in _LEAVES else None  # type: ignore[arg-type]
        if one is not None and other is not None:
            if not (_is_quick(one) or _is_quick(other)):
                return None
            if type(node) is AnyOf:
                return int(one.union_cardinality(other))
            return int(one.difference_cardinality(other) if without else one.intersection_cardinality(other))
    return Quick(reading, leaves).size(node)


def _is_quick(users: BitMap) -> bool:
    size, keys = measured(users)
    return size <= QUICK or keys <= QUICK_KEYS


class _Slow(Exception):
    """A plan that is not quickly counted."""


class Quick:
    """Plans of few leaves over few ids: nothing is estimated, as whatever is done first takes little time."""

    __slots__ = ("_leaves", "_left", "_reading")

    def __init__(self, reading: Reading, leaves: Leaves) -> None:
        self._reading = reading
        self._leaves = leaves
        self._left = QUICK_LEAVES

    def size(self, node: Node) -> int | None:
        """How many users a node has; None where it has to be left to an `Evaluation`."""
        try:
            match node:
                case AllOf(of, without):
                    taken = [each for child in without for each in (child.of if isinstance(child, AnyOf) else (child,))]
                    if not taken:
                        first, *more = sorted(map(self._users, of), key=len)
                        if not more:
                            return len(first)
                        return int(_met(first, more[:-1]).intersection_cardinality(more[-1]))
                    found = self._users(AllOf(of))
                    lost = sorted(map(self._users, taken), key=len)
                    for users in lost[:0:-1]:
                        found = found - users
                    return int(found.difference_cardinality(lost[0]))
                case AnyOf(of):
                    sets = sorted(map(self._users, of), key=len)
                    return int(union(sets[:-1]).union_cardinality(sets[-1])) if len(sets) > 1 else len(sets[0])
        except _Slow:
            pass
        return None

    def _users(self, node: Node) -> BitMap:
        if type(node) in _LEAVES:
            self._left -= 1
            known = self._leaves.known(node, self._reading)  # type: ignore[arg-type]
            if known is None or self._left < 0 or (known and known.max() >= QUICK_IDS):
                raise _Slow
            return known
        match node:
            case AllOf(of, without):
                first, *more = sorted(map(self._users, of), key=len)
                found = _met(first, more)
                for child in without:
                    found = found - self._users(child)
                return found
            case AnyOf(of):
                return union(list(map(self._users, of)))
        raise _Slow


def _met(first: BitMap, more: Sequence[BitMap]) -> BitMap:
    for users in more:
        first = intersection(first, users)
    return first


class Evaluation:
    """The plans of one call over leaves; what two of them share is looked up and made once. For one thread at a time.

    packed: whether packed words are used; None decides by estimated costs, anything else is for tests.
    """

    def __init__(self, leaves: Leaves, stop: Stop = _NEVER, *, packed: bool | None = None) -> None:
        self._leaves = leaves
        self._stop = stop
        self._packed = packed
        self._shared: Shared | None = None
        self._ats: dict[Reading, At] = {}
        self._containers: dict[int, Containers] = {}
        self._kept_keys = 0
        self._narrow = False  # whether users are asked for within a few keys, where the rest need not be looked at

    # ------------------------------------------------------------ what is asked

    def users(self, plan: Plan, within: BitMap | None = None) -> BitMap:
        """The users of a plan, or those of them within a set. Not to be changed: it may be a leaf itself."""
        return self._users(plan.node, self._at(plan.reading), within)[0]

    def size(self, plan: Plan, within: BitMap | None = None) -> int:
        """How many users a plan has, all in all or within a set; the last step counts without making the result."""
        return self._size(plan.node, self._at(plan.reading), within)

    def sizes(self, plans: Sequence[Plan]) -> list[int]:
        """The size of each plan; parts that several have are made once."""
        if len(plans) < 2 or self._at(plans[0].reading).keys < FEW_KEYS:
            return [self.size(plan) for plan in plans]
        shared = Shared(list(dict.fromkeys(plans)))
        self._shared, self._ats = shared, {}
        known = {}
        for plan in sorted(shared.plans, key=shared.depth_first):
            self._stop.check()
            known[plan] = self.size(shared.plans[plan])
        return [known[plan] for plan in plans]

    def first_users(self, plan: Plan, first: int, limit: int) -> NDArray[np.uint32]:
        """Up to `limit` users of a plan with ids from `first` on, ascending.

        Looks at ranges of ids, each wider than the one before, and at last at all that is left.
        """
        end = self._at(plan.reading).keys << 16
        found: list[NDArray[np.uint32]] = []
        width = FIRST_IDS
        while first < end and limit > 0:
            self._narrow = 8 * width < end
            stop = min(first + width, end) if self._narrow else end
            users = self.users(plan, BitMap(range(first, stop)))
            found.append(ids_between(users, 0, limit))
            limit -= len(found[-1])
            first, width = stop, 4 * width
        self._narrow = False
        return np.concatenate(found) if found else np.zeros(0, np.uint32)

    def cost(self, plans: Sequence[Plan], within: float = inf) -> float:
        """About how many microseconds the plans take (within so many users), as long as that is less than `SHORT`.

        Looks nothing up that takes time: plans with a leaf that is not at hand cost infinitely much.
        """
        total = 0.0
        for plan in plans:
            total += self._at(plan.reading).quick_cost(plan.node, within)
            if total > SHORT:
                break
        return total

    def until(self, stop: Stop) -> "Evaluation":
        """The same, which from now on ends when it is asked to."""
        self._stop = stop
        return self

    def scores(self, weights: Sequence[tuple[Plan, int]], reading: Reading) -> Scores:
        """The sums of the weights of the plans that users are in; all of one reading."""
        weighted = [(self.users(plan), weight) for plan, weight in weights]
        return Scores(weighted, self._at(reading).universe, self._stop)

    def ranking(self, plan: Plan, weights: Sequence[tuple[Plan, int]], limit: int) -> tuple[list[int], list[int]]:
        """The users of a plan with the highest sums of weights, best first, and their sums."""
        scores = self.scores(weights, plan.reading)
        users = ids_of(scores.best(self.users(plan), limit, self._stop))
        sums = scores.of(users)
        order = np.lexsort((users, -sums))
        return users[order].tolist(), sums[order].tolist()

    def score_counts(self, plans: Sequence[Plan], weights: Sequence[tuple[Plan, int]]) -> list[dict[int, int]]:
        """Of each plan how many users have each sum of weights."""
        if not plans:
            return []
        scores = self.scores(weights, plans[0].reading)
        return [scores.counts(self.users(plan), self._stop) for plan in plans]

    def _at(self, reading: Reading) -> At:
        found = self._ats.get(reading)
        if found is None:
            found = self._ats[reading] = At(reading, self._leaves, self._at, self._shared)
        return found

    # ------------------------------------------------------------ Roaring bitmaps

    def _is_shared(self, node: Node) -> bool:
        """Whether several nodes have this one as a part."""
        return self._shared is not None and self._shared.has(node)

    def _is_wanted(self, node: Node) -> bool:
        """Whether what is made of this node will be of use again."""
        return self._shared is not None and (self._shared.has(node) or self._shared.is_asked(node))

    def _users(self, node: Node, at: At, within: BitMap | None = None) -> tuple[BitMap, bool]:
        """The users of a node (within a set), and whether the set was made for this and may be changed."""
        known = at.users(node)
        if known is not None:
            return (known, False) if within is None else (intersection(known, within), True)
        self._stop.check()
        if self._shared is not None:
            node = self._shared.first(node)
        if isinstance(node, Alike):
            found = self._alike(node, at)
            return (found, False) if within is None else (intersection(found, within), True)
        if self._wants_words(node, at, within):
            found, own = words.bitmap_of_term(self._term(node, at, within), self._stop), True
        else:
            found, own = self._made(node, at, within)
        if within is None and self._is_wanted(node):
            at.keep(node, found)
            own = False
        return found, own

    def _made(self, node: Node, at: At, within: BitMap | None) -> tuple[BitMap, bool]:
        match node:
            case AllOf():
                found, own, _ = self._all_but_last(node, at, within, steps_left=0)
                return found, own
            case AnyOf(of):
                parts = self._parts(of, at, within)
                return (union([part for part, _ in parts]), True) if len(parts) > 1 else (*parts, (EMPTY, False))[0]
            case AtLeastOf(count, of):
                sets = [part for part, _ in self._parts(of, at, within)]
                if count > RECURRENCE_COUNT and self._packed is not False:
                    term = words.AtLeast(count, tuple(self._leaf(each) for each in sets))
                    return words.bitmap_of_term(term, self._stop), True
                return at_least(count, sets, self._stop), True
            case AsOf(then, child):
                # Who is asked about has to exist now; who the question is about existed then.
                found, _ = self._users(child, self._at(then), within)
                return intersection(found, at.universe), True
            case Slice():
                some = at.universe if within is None else intersection(at.universe, within)
                if is_thin(some, at.keys):
                    return among(node, some), True
                return intersection(SLICES.ids(node, at.keys, self._stop), some), True
        raise TypeError(f"no evaluation for {type(node).__name__}")

    def _alike(self, node: Alike, at: At) -> BitMap:
        """The users of a look-alike, which is made as a whole whatever it is asked within, and kept."""

        def made() -> BitMap:
            seeds = self._users(node.of, at)[0]
            return alike(node, seeds, at.universe, lambda leaf: self._leaves.leaf(leaf, at.reading), self._stop)

        found = self._leaves.scored(node, at.reading, made, self._stop)
        at.keep(node, found)
        return found

    def _parts(self, of: Iterable[Node], at: At, within: BitMap | None) -> list[tuple[BitMap, bool]]:
        """Those operands that are not empty."""
        parts = [self._users(child, at, within) for child in of]
        return [part for part in parts if part[0]]

    def _all_but_last(
        self, node: AllOf, at: At, within: BitMap | None, steps_left: int
    ) -> tuple[BitMap, bool, tuple[bool, Node | None, BitMap | None] | None]:
        """An intersection, the smallest operand first, so that every step works on as little as possible.

        Gives the set, whether it may be changed, and the step that was left to the caller: whether it takes
        away, which node, and the set of it where that is there. Ends when nothing is left.
        """
        operands = at.operands(node)
        if not operands:
            return EMPTY, False, None
        steps: list[tuple[bool, Node | None, BitMap | None]]
        if within is not None and len(within) <= operands[0].about:
            found, own = within, False
            steps = [(False, operand.node, operand.users) for operand in operands]
        else:
            _, first, users = operands[0]
            found, own = self._users(first, at) if users is None and first is not None else (users or EMPTY, False)
            steps = [(False, operand.node, operand.users) for operand in operands[1:]]
            if within is not None:
                steps.insert(0, (False, None, within))
        for child in node.without:
            # Taking away a union is taking away each.
            taken = child.of if isinstance(child, AnyOf) and not self._is_shared(child) else (child,)
            steps += [(True, each, at.users(each)) for each in taken]
        last = steps.pop() if steps_left and steps else None
        for negative, each, other in steps:
            if not found:
                return EMPTY, False, None
            if other is None:
                assert each is not None
                pushed = self._narrow or at.pays_to_push(len(found), each, twice=self._is_wanted(each))
                other, fresh = self._users(each, at, found if pushed else None)
                if pushed and not negative:
                    found, own = other, fresh
                    continue
            if own:
                (subtract_from if negative else intersect_into)(found, other)
            else:
                found, own = (difference if negative else intersection)(found, other), True
        return found, own, last

    # ------------------------------------------------------------ sizes

    def _size(self, node: Node, at: At, within: BitMap | None = None) -> int:
        known = at.users(node)
        if known is not None:
            return len(known) if within is None else intersection_size(known, within)
        if self._shared is not None:
            node = self._shared.first(node)
        if isinstance(node, AllOf) and within is None and len(node.of) + len(node.without) == 2:
            one, other = map(at.users, node.of + node.without)
            if one is not None and other is not None:
                return (difference_size if node.without else intersection_size)(one, other)
        if within is None and id(node) in at.counted:
            return at.counted[id(node)].size
        if within is None and id(node) in at.packed:
            return words.size_of(words.Leaf(at.packed[id(node)]), self._stop)
        if self._wants_words(node, at, within, counting=True):
            return words.size_of(self._term(node, at, within), self._stop)
        if within is None and self._is_shared(node):
            return len(self._users(node, at)[0])
        match node:
            case AllOf():
                found, _, last = self._all_but_last(node, at, within, steps_left=1)
                return len(found) if last is None or not found else self._last_size(found, *last, at)
            case AnyOf(of):
                parts = sorted((part for part, _ in self._parts(of, at, within)), key=len)
                if len(parts) < 2:
                    return sum(map(len, parts))
                *smaller, largest = parts  # so that what is made is small
                return union_size(smaller[0] if len(smaller) == 1 else union(smaller), largest)
            case AsOf(then, child):
                return intersection_size(self._users(child, self._at(then), within)[0], at.universe)
            case Alike():
                return len(self._users(node, at, within)[0])
        return len(self._made(node, at, within)[0])

    def _last_size(self, found: BitMap, negative: bool, node: Node | None, other: BitMap | None, at: At) -> int:
        """How many are left after one more step, without making it."""
        if other is None:
            assert node is not None
            if at.pays_to_push(len(found), node, twice=self._is_wanted(node)):
                both = self._size(node, at, found)
                return len(found) - both if negative else both
            other = self._users(node, at)[0]
        return (difference_size if negative else intersection_size)(found, other)

    # ------------------------------------------------------------ packed words

    def _wants_words(self, node: Node, at: At, within: BitMap | None = None, *, counting: bool = False) -> bool:
        """Whether a node takes less time as packed words: where dense sets meet, and what they share is sparse."""
        if not isinstance(node, _WORDED):
            return False
        if self._packed is not None:
            return self._packed
        if not croaring.AVAILABLE or (within is not None and len(within) < DENSE * at.keys):
            return False
        if isinstance(node, AllOf):
            operands = at.operands(node)
            if not operands:
                return False
            smallest = operands[0].users
            if smallest is not None:
                # Whoever is sparse among the ids up to their own last is so among all: most plans end here, at once.
                size, keys = measured(smallest)
                if size < DENSE * keys:
                    return False
        elif isinstance(node, AnyOf) and all([at.users(child) is not None for child in node.of]):
            return False
        if at.keys < FEW_KEYS:
            return False
        made = (0.6 if counting else 2.0) * at.keys + (0.0 if counting else 0.002 * at.about(node))
        return at.words_cost(node) + made < at.roaring_cost(
            node, inf if within is None else len(within), counting=counting
        )

    def _term(self, node: Node, at: At, within: BitMap | None = None) -> words.Term:
        """A node that wants it as packed words."""
        term = self._composed(node, at)
        return term if within is None else words.All((self._leaf(within), term))

    def _part(self, node: Node, at: At) -> words.Term:
        """A node inside of a term, made beforehand where that takes less time, or where several plans have it."""
        if self._shared is not None:
            node = self._shared.first(node)
        known = at.users(node)
        if known is not None:
            return self._leaf(known)
        match node:
            case AsOf(then, child):
                return words.All((self._part(child, self._at(then)), self._leaf(at.universe)))
            case Slice():
                if is_thin(at.universe, at.keys):
                    return self._leaf(among(node, at.universe))
                return words.All((self._leaf(SLICES.ids(node, at.keys, self._stop)), self._leaf(at.universe)))
            case Alike():
                return self._leaf(self._users(node, at)[0])
        kept = at.packed.get(id(node))
        if kept is not None:
            return words.Leaf(kept)
        if self._packed is None and not isinstance(node, AnyOf) and not self._wants_words(node, at):
            return self._leaf(self._users(node, at)[0])
        term = self._composed(node, at)
        if not self._is_shared(node) or self._kept_keys > PACKED_KEYS_MAX:
            if self._shared is None or not self._shared.is_asked(node):
                return term
            counted = at.counted[id(node)] = words.Counted(term)
            return counted
        packed = words.packed_term(term, self._stop)
        at.packed[id(node)] = packed
        self._kept_keys += packed.stop
        return words.Leaf(packed)

    def _composed(self, node: Node, at: At) -> words.Term:
        match node:
            case AllOf(of, without):
                return words.All(
                    tuple(self._part(child, at) for child in sorted(of, key=at.about)),
                    tuple(self._part(child, at) for child in without),
                )
            case AnyOf(of):
                return words.Any(tuple(self._part(child, at) for child in of))
            case AtLeastOf(count, of):
                return words.AtLeast(count, tuple(self._part(child, at) for child in of))
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
            reached[k] |= intersection(reached[k - 1], members)
        reached[0] |= members
    return reached[-1]
