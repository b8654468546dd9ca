"""`BitmapStore`: what every engine has to give, clause by clause; the waist of the service.

Above it only expressions, plans and plain values travel; below it, bytes. Dense ids cross this border
as integers, bitmaps never do. Every verb of a plan answers for exactly the plan's reading: one version,
one moment. The contract suite in `tests/test_store.py` holds each clause on every engine.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bitmap_store.plan import Plan, Reading
from bitmap_store.values import Batch, Identifier, Membership, Tag, WriteResult


@dataclass(frozen=True, slots=True)
class Page:
    """Dense ids in ascending order, and whether more follow the last of them."""

    users: tuple[int, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """Of a NUMBER or DATE tag over an audience, in its integer units; all None when `count` is 0.

    quantiles: one for each asked, the smallest value with at least that share of users at or below it
    (inverted CDF; the only definition that always gives a value somebody has). median: the mean of the
    two middle values. edges and bins: a histogram of equal width between min and max.
    """

    count: int
    sum: int
    min: int | None
    max: int | None
    median: float | None
    quantiles: tuple[int | None, ...]
    bins: tuple[int, ...]


Weight = tuple[Plan, int]
"""What it adds to the score of a user to be in a plan."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Users by score, the best first, and the score of each."""

    users: tuple[int, ...]
    scores: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sums:
    """Of a NUMBER or DATE tag over an audience, in its integer units and exact: how many have one, the sum of them,
    and the sum of their squares."""

    count: int
    sum: int
    squares: int

    def __add__(self, other: "Sums") -> "Sums":
        """Of two groups without common members, together."""
        return Sums(self.count + other.count, self.sum + other.sum, self.squares + other.squares)

    def __sub__(self, part: "Sums") -> "Sums":
        """Of a group without a part of it."""
        return Sums(self.count - part.count, self.sum - part.sum, self.squares - part.squares)


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """What is known of a user besides tags, at a reading."""

    dense: int
    user: str
    identifiers: tuple[Identifier, ...]
    attributes: tuple[tuple[str, object], ...]


class BitmapStore(Protocol):
    """Sets of users by tag value, at any version within the retention.

    Users are dense ids; unknown dense ids are in no set. Costs are for the SQLite engine.
    """

    async def count(self, plans: Sequence[Plan]) -> list[int]:
        """The size of each plan, in order; common parts are computed once."""

    def size_at_hand(self, plan: Plan) -> int | None:
        """The size of a plan where that takes some microseconds; None where it is left to `count`."""

    def operations(self, plans: Sequence[Plan]) -> int:
        """About how many container operations plans of one reading take at most. Reads nothing."""

    async def breakdown(self, plan: Plan, keys: Sequence[Plan]) -> list[int]:
        """The size of `plan` ∩ each key; all of one reading."""

    async def page(self, plan: Plan, after: int | None, limit: int) -> Page:
        """Up to `limit` users with a dense id above `after`, ascending, without enumerating those before."""

    async def contains(self, plans: Sequence[Plan], users: Sequence[int]) -> list[list[bool]]:
        """For each user (row) and plan (column), whether the user is in."""

    async def tags_of(
        self, reading: Reading, users: Sequence[int], tags: Sequence[Tag], *, ended: bool = False
    ) -> list[list[Membership]]:
        """For each user the memberships of the stored `tags` (never those of a rule), in the order of `tags`.

        With `ended` those that have expired and were not given anew, in place of those that hold.
        EVENT days are summed to one membership a value: count in all, last_at, since the first day.
        """

    async def present(self, reading: Reading, users: Sequence[int]) -> list[str | None]:
        """The user id of each who existed at the reading, None for others."""

    async def profiles(self, reading: Reading, users: Sequence[int]) -> list[ProfileFacts | None]:
        """Names, identifiers and attributes; None for whoever did not exist at the reading."""

    async def score(self, plan: Plan, weights: Sequence[Weight], limit: int) -> Ranking:
        """The `limit` users of a plan with the highest sums of the weights of the plans that they are in.

        The highest first, of equal ones the lower ids. All plans are of one reading. Takes memory of a bit an id for
        each binary digit of the sums, in a thread.
        """

    async def score_counts(self, plans: Sequence[Plan], weights: Sequence[Weight]) -> list[dict[int, int]]:
        """For each plan how many of its users have which sum of the weights, by ascending sum. Costs as `score`."""

    async def summarise(self, plan: Plan, tag: Tag, quantiles: Sequence[float] = (), bins: int = 0) -> Summary:
        """Statistics of a NUMBER or DATE tag over the plan's users who have it."""

    async def sums(self, plan: Plan, tags: Sequence[Tag]) -> list[Sums]:
        """What means and variances follow from, of each of these NUMBER or DATE tags. Sorts nothing."""

    def stream(self, plan: Plan) -> AsyncIterator[NDArray[np.uint32]]:
        """All users, ascending, block by block; consistent however long it takes to read."""

    async def resolve(self, entity: str, names: Sequence[str], id_kind: str | None = None) -> list[int | None]:
        """The dense id of each outside name; None where nobody ever had it."""

    async def names(self, entity: str, users: Sequence[int] | NDArray[np.uint32]) -> list[str]:
        """The user id of each dense id that was ever given."""

    async def apply(self, batch: Batch) -> WriteResult:
        """All operations or none, durable when it returns, visible to the next reading of any process.

        An unknown user is created and counted. Raises INVALID, NOT_FOUND (tag, value) with
        `argument` "input.<i>.<field>", CONFLICT for a key used with another body or somebody else's identifier.
        """

    async def moment_of_version(self, version: int) -> datetime | None:
        """When a version was made; None before the first and beyond the retention."""
