"""What plans cost at most, told from their form and from how many ids were given, before any of them is looked at.

The unit is the container operation: two containers of Roaring, of 2^16 ids each, met or joined, about a microsecond. It
is meant to refuse what would take seconds, not to choose between ways to evaluate: that is in `estimates.py`.
"""

from collections.abc import Sequence

from bitmap_store.plan import (
    Alike,
    AllOf,
    AnyOf,
    AsOf,
    AtLeastOf,
    Happened,
    Listed,
    Node,
    Plan,
    Range,
    Slice,
    Tagged,
)

PLAN = 20
"""A plan costs as much however few ids there are: it is bound, looked up and answered."""
RANGE, EVENTS, SLICE = 4, 8, 64
"""For each container: a range of numbers, users by their events, and a slice, which looks at each user."""
SCORES = 2_000
"""For each container: the sums of a hundred weights, and the best of them."""


def operations(plans: Sequence[Plan], ids: int) -> int:
    """About how many container operations plans take at most where so many ids were given; reads nothing."""
    keys = (ids >> 16) + 1
    return sum([PLAN + operations_of(plan.node, keys) for plan in plans])


def operations_of(node: Node, keys: int) -> int:
    """About how many container operations a node takes at most, with `keys` containers of ids."""
    if type(node) is Tagged:  # most nodes are
        return keys * (1 if node.values is None else len(node.values))
    match node:
        case AllOf(of, without):
            return sum([operations_of(each, keys) + keys for each in of + without])
        case AnyOf(of):
            return sum([operations_of(each, keys) + keys for each in of])
        case AtLeastOf(_, of):
            return sum([operations_of(each, keys) for each in of]) + keys * len(of) * len(of).bit_length()
        case Range():
            return RANGE * keys
        case Happened(_, values):
            return keys * (EVENTS + (0 if values is None else len(values)))
        case Slice():
            return SLICE * keys
        case Listed(users):
            return min(len(users), keys)
        case AsOf(_, of):
            return operations_of(of, keys) + 2 * keys
        case Alike(of, features):
            return operations_of(of, keys) + keys * len(features) + SCORES * keys
    return keys
