"""What plans cost at most, told from their form and from how many ids there are, before any of them is looked at.

The unit is the container operation: two containers of Roaring, of 2^16 ids each, met or joined, about a microsecond. It
is meant to refuse what would take seconds, not to choose between ways to evaluate: that is in `estimates.py`.
"""

from collections.abc import Sequence

from bitmap_store.containers import measured
from bitmap_store.estimates import Leaves
from bitmap_store.plan import (
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
    Universe,
)

PLAN = 20
"""A plan costs as much however few ids there are: it is bound, looked up and answered."""
RANGE, EVENTS, SLICE = 4, 8, 64
"""For each container: a range of numbers, users by their events, and a slice, which looks at each user."""


_EVERYONE = Universe()


def operations(plans: Sequence[Plan], leaves: Leaves) -> int:
    """About how many container operations plans of one reading take at most; takes microseconds, and reads nothing."""
    everyone = leaves.known(_EVERYONE, plans[0].reading) if plans else None
    keys = 1 if everyone is None else measured(everyone)[1] or 1
    return sum([PLAN + operations_of(plan.node, keys) for plan in plans])


def operations_of(node: Node, keys: int) -> int:
    """About how many container operations a node takes at most, with `keys` containers of ids."""
    match node:
        case Tagged(_, values):
            return keys * (1 if values is None else len(values))
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
    return keys
