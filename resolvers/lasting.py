"""How long an answer stays right without a write: a store that notes what was asked of it.

Answers change with time alone where a membership ends and where a window moves on. What is asked by a verb
that is not named here may change at any moment.
"""

from collections.abc import Sequence
from typing import Any, cast

from bitmap_store import Store, View
from bitmap_store.errors import TagroarError
from bitmap_store.plan import Plan, Reading
from bitmap_store.store import ProfileFacts, Summary
from bitmap_store.values import Membership, Tag

TIMELESS = frozenset(
    {"bind", "operations", "plan_everyone", "plan_known", "plans_of_values", "check_id_kind", "resolve", "names"}
)
"""Verbs whose answers change with writes only; a view notes by itself whether it was asked about a window."""


class Watched:
    """A store for one request, and until when what it said stays right."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plans: set[Plan] = set()
        self._tags: set[int] = set()
        self._lasting = True

    @classmethod
    def over(cls, store: Store) -> tuple[Store, "Watched"]:
        """A store to be asked, and the same as what watches it."""
        found = cls(store)
        return cast(Store, found), found

    def __getattr__(self, name: str) -> Any:
        if name not in TIMELESS:
            self._lasting = False
        return getattr(self._store, name)

    def right_until(self, view: View) -> int:
        """The moment (µs) up to which all that was said at a view is right; that of the view where it is only now."""
        if not self._lasting or view.clocked:
            return view.micros
        try:
            return self._store.right_until(view, self._plans, self._tags)
        except TagroarError:  # what was looked at is no longer kept
            return view.micros

    # ------------------------------------------------------------ verbs

    async def count(self, plans: Sequence[Plan]) -> list[int]:
        """See `BitmapStore`, and so for the others."""
        self._plans.update(plans)
        return await self._store.count(plans)

    def size_at_hand(self, plan: Plan) -> int | None:
        """The same, where it takes no time."""
        self._plans.add(plan)
        return self._store.size_at_hand(plan)

    async def breakdown(self, plan: Plan, keys: Sequence[Plan]) -> list[int]:
        """The sizes within a plan."""
        self._plans.update(keys, [plan])
        return await self._store.breakdown(plan, keys)

    async def contains(self, plans: Sequence[Plan], users: Sequence[int]) -> list[list[bool]]:
        """Who is in."""
        self._plans.update(plans)
        return await self._store.contains(plans, users)

    async def summarise(self, plan: Plan, tag: Tag, quantiles: Sequence[float] = (), bins: int = 0) -> Summary:
        """Statistics."""
        self._plans.add(plan)
        self._tags.add(tag.id)
        return await self._store.summarise(plan, tag, quantiles, bins)

    async def tags_of(
        self, reading: Reading, users: Sequence[int], tags: Sequence[Tag], *, ended: bool = False
    ) -> list[list[Membership]]:
        """What users have."""
        self._tags.update(tag.id for tag in tags)
        self._tags.add(-reading.entity)
        return await self._store.tags_of(reading, users, tags, ended=ended)

    async def present(self, reading: Reading, users: Sequence[int]) -> list[str | None]:
        """Who exists."""
        self._tags.add(-reading.entity)
        return await self._store.present(reading, users)

    async def profiles(self, reading: Reading, users: Sequence[int]) -> list[ProfileFacts | None]:
        """Who exists, and what is known of them."""
        self._tags.add(-reading.entity)
        return await self._store.profiles(reading, users)
