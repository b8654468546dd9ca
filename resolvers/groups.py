"""Groups of users that are compared: how many of each have each value of many tags, and the sums of their numbers.

What is made of these counts is in `differences.py` and `comparisons.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitmap_store.costs import PLAN
from bitmap_store.errors import TooLarge
from bitmap_store.plan import Plan, Reading
from bitmap_store.store import Sums
from bitmap_store.values import Tag, TagKind
from resolvers.context import Context, in_turns
from resolvers.numbers import NUMBER_KINDS


@dataclass(frozen=True, slots=True)
class Features:
    """What is asked of each group: who has each value (of a FLAG None), and the numbers of each NUMBER and DATE tag.

    plans: whoever has the value, then whoever has a number.
    """

    values: Sequence[tuple[Tag, str | None]]
    numbers: Sequence[Tag]
    plans: Sequence[Plan]


@dataclass(frozen=True, slots=True)
class Group:
    """How many a group has: all in all, with each value, and of each number."""

    size: int
    counts: NDArray[np.int64]
    sums: tuple[Sums, ...]

    @classmethod
    def nobody(cls, features: Features) -> "Group":
        """A group without members."""
        return cls(0, np.zeros(len(features.values), np.int64), tuple(Sums(0, 0, 0) for _ in features.numbers))

    def __sub__(self, part: "Group") -> "Group":
        """The group without a part of it."""
        sums = tuple(all_ - some for all_, some in zip(self.sums, part.sums, strict=True))
        return Group(self.size - part.size, self.counts - part.counts, sums)

    def had(self, place: int) -> int:
        """How many have the value, or the number, at a place among the plans of the features."""
        values = len(self.counts)
        return int(self.counts[place]) if place < values else self.sums[place - values].count


async def features_of(context: Context, reading: Reading, tags: Sequence[Tag]) -> Features:
    """The values and numbers of tags; told before they are bound how many there are at least."""
    if len(tags) > context.limits.portrait_tags_max:
        raise TooLarge(
            f"at most {context.limits.portrait_tags_max} tags are compared; name fewer, or a category", argument="tags"
        )
    view, store = context.view, context.store
    measured = [tag for tag in tags if tag.kind in NUMBER_KINDS]
    valued = [tag for tag in tags if tag.kind not in NUMBER_KINDS]
    listed = {tag.key: tuple(view.catalog.values(tag)) for tag in valued if tag.kind is not TagKind.FLAG}
    context.add(PLAN * sum(map(len, listed.values())))
    values: list[tuple[Tag, str | None]] = []
    plans: list[Plan] = []
    async for tag in in_turns(valued):
        names = listed.get(tag.key)
        if names is None:
            values.append((tag, None))
            plans.append(store.plan_known(view, tag, reading))
        else:
            values += [(tag, name) for name in names]
            plans += store.plans_of_values(view, tag, reading, names)
    plans += [store.plan_known(view, tag, reading) for tag in measured]
    return Features(values, measured, plans)


async def group(context: Context, plan: Plan, features: Features, size: int) -> Group:
    """Counts a group of `size` users; what that takes counts towards the limit of the request."""
    if not size:
        return Group.nobody(features)
    store, keys = context.store, features.plans[: len(features.values)]
    context.spend([plan, *features.plans])
    if plan == store.plan_everyone(plan.reading):  # nothing has to be intersected
        counts = await store.count(keys)
    else:
        counts = await store.breakdown(plan, keys)
    sums = await store.sums(plan, features.numbers)
    return Group(size, np.array(counts, np.int64), tuple(sums))
