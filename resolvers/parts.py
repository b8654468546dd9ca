"""Parts of an audience: shares as ranges of a stable hash, each an expression that prints, reads back and stays.

Which users are where is decided by `bitmap_store/slices.py`; here are the bounds, and how a part is put together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bitmap_store.bind import HASH_SPACE
from bitmap_store.errors import Invalid
from bitmap_store.expression import NOTHING, Expression, Part, check_bounds
from bitmap_store.plan import AllOf, Node, Plan
from bitmap_store.slices import stable_hash
from bitmap_store.values import place
from resolvers.answers import Question
from resolvers.audiences import ratio
from resolvers.combining import conjunction, union
from resolvers.context import Context, bounded

TIE = "~"
"""What the seed of those has who have the same hash under a seed: they are told apart by another hash."""
ROUNDING = Fraction(1, 10**12)
"""By so much shares may miss 1 in sum and still be all: thirds cannot be written as floats."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part that is asked for: a name, and a share of the whole within 0..1."""

    name: str
    share: float

    @property
    def exact(self) -> Fraction:
        """The share as it is written, so that three times 0.1 is 0.3."""
        return Fraction(repr(self.share))


@dataclass(frozen=True, slots=True)
class PartOf:
    """A part of an audience, an audience of its own. target: the share that was asked for, None where none was."""

    name: str
    whole: Question
    audience: Question
    target: float | None = None
    control: bool = False


async def size(context: Context, part: PartOf) -> int:
    """How many are in the part."""
    context.viewer.require("count")
    return await context.loaders.size(part.audience.plan)


async def share(context: Context, part: PartOf) -> float:
    """The share of the whole audience that is in the part; 0 of nobody."""
    context.viewer.require("count")
    inside, whole = await context.loaders.sizes(part.audience.plan, part.whole.plan)
    return ratio(inside, whole)


def narrowed(question: Question, expressions: Sequence[Expression], node: Node) -> Question:
    """The audience and all of these; node: what the expressions mean. Prints as one flat `and`, and reads back."""
    plan = Plan(question.plan.reading, AllOf((question.plan.node, node)))
    return Question(joined([question.expression, *expressions]), question.entity, plan, question.as_of)


def joined(of: Sequence[Expression]) -> Expression:
    """All of these; TOO_LARGE where that could not be sent, as every part is there to be used again."""
    found = conjunction(of)
    check_bounds(found)
    return found


# ---------------------------------------------------------------- shares


def check_shares(context: Context, parts: Sequence[Share], control: str | None) -> list[Share]:
    """The parts, and behind them the control group, which has what the others leave.

    INVALID for a name twice or none, a share that is none, shares above 1 in sum, a control that nothing is left for.
    """
    bounded(len(parts), context.limits.parts_max, "parts")
    names: set[str] = set()
    left = Fraction(1)
    for i, part in enumerate(parts):
        check_name(part.name, names, f"parts.{i}.name")
        if not 0 < part.share <= 1:  # NaN is not, either
            raise Invalid("a share lies within 0..1, and is more than 0", argument=f"parts.{i}.share")
        left -= part.exact
        if left < -ROUNDING:
            raise Invalid("the shares are more than 1 in sum", argument=f"parts.{i}.share")
    if control is None:
        return list(parts)
    check_name(control, names, "control")
    if left <= ROUNDING:
        raise Invalid("the parts leave nobody for a control group", argument="control")
    return [*parts, Share(control, float(left))]


def check_name(name: str, others: set[str], argument: str) -> None:
    """INVALID for a part without a name, or with that of another; notes the name."""
    if not name.strip():
        raise Invalid("a part has a name", argument=argument)
    if name in others:
        raise Invalid(f"two parts are called {name!r}", argument=argument)
    others.add(name)


def bounds_of(shares: Sequence[Fraction]) -> list[float]:
    """Where each part ends within 0..1, the first beginning at 0; 1 where the last ends there but for rounding."""
    ends, end = [], Fraction(0)
    for each in shares:
        end += each
        ends.append(1.0 if abs(1 - end) <= ROUNDING else float(end))
    return ends


def apportioned(total: int, shares: Sequence[Fraction], owed: list[Fraction]) -> list[int]:
    """How many of `total` each part gets: its share rounded down, or up for those that are owed most.

    owed: what earlier totals rounded away from each part, carried on here; all 0 of a single total, where this is the
    method of largest remainders (Hamilton). The shares are 1 in sum, but for rounding.
    """
    due = [total * each for each in shares]
    found = [each.numerator // each.denominator for each in due]
    short = total - sum(found)
    fractional = [i for i, each in enumerate(due) if each != found[i]]
    first = sorted(fractional, key=lambda i: (-(owed[i] + due[i] - found[i]), i))[:short]
    for i in first:
        found[i] += 1
    for i, each in enumerate(due):
        owed[i] += each - found[i]
    return found


# ---------------------------------------------------------------- ranges of a hash


@dataclass(frozen=True, slots=True)
class Cut:
    """A place in 0..1 below which users are by their hash under a seed; `ties` divides those right at it by another."""

    at: float
    ties: "Cut | None" = None


START, END = Cut(0.0), Cut(1.0)
_STEP = 1 << 15
"""Users hashed at a time: what is in between stays in the cache of the core."""


def between(seed: str, low: Cut, high: Cut) -> Expression:
    """The users from one cut to the next, as slices of everyone."""
    if low == high:
        return NOTHING
    if low.ties is None and high.ties is None:
        return Part(seed, low.at, high.at)
    if low.ties is not None and high.ties is not None and low.at == high.at:
        return joined([_tied(seed, low), between(seed + TIE, low.ties, high.ties)])
    pieces: list[Expression] = []
    start = low.at
    if low.ties is not None:
        pieces.append(joined([_tied(seed, low), between(seed + TIE, low.ties, END)]))
        start = _after(low.at)
    if start < high.at:
        pieces.append(Part(seed, start, high.at))
    if high.ties is not None:
        pieces.append(joined([_tied(seed, high), between(seed + TIE, START, high.ties)]))
    return union(pieces)


def _tied(seed: str, cut: Cut) -> Part:
    return Part(seed, cut.at, _after(cut.at))


def _after(at: float) -> float:
    return place(round(at * HASH_SPACE) + 1)


def cuts(users: NDArray[np.uint32], seed: str, counts: Sequence[int], wanted: Sequence[float]) -> list[Cut]:
    """Cuts below which exactly so many of the users are, each as near to the place wanted as that allows.

    counts and wanted ascend. Costs tens of nanoseconds a user.
    """
    hashes = np.empty(len(users), np.uint32)
    for start in range(0, len(users), _STEP):
        hashes[start : start + _STEP] = stable_hash(users[start : start + _STEP], seed)
    ranks = sorted({count for count in counts if count < len(users)})
    ordered = np.partition(hashes, ranks) if ranks else hashes
    found = []
    before, low = 0, 0
    for count, near in zip(counts, wanted, strict=True):
        if count > before:  # what lies between two ranks is not in order
            before, low = count, int(ordered[before:count].max()) + 1
        high = int(ordered[count]) if count < len(users) else HASH_SPACE
        if low <= high:
            position = min(max(round(near * HASH_SPACE), low), high)
            found.append(Cut(near if position == round(near * HASH_SPACE) else place(position)))
        else:  # the last below and the first above have the same hash
            tied = users[hashes == high]
            below = count - int(np.count_nonzero(hashes < high))
            found.append(Cut(place(high), cuts(tied, seed + TIE, [below], [below / len(tied)])[0]))
    return found
