"""What a resolver may use: the store, one view of it, who asks, the limits, the loaders.

A context is of one request: one operation of a WebSocket, all operations of an array. A write ends its view:
`refresh` takes the next.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from bitmap_store import Store, View
from bitmap_store.catalog import Selection
from bitmap_store.errors import Invalid, TagroarError, TooLarge
from bitmap_store.expression import Expression
from bitmap_store.plan import Plan, Reading
from resolvers.asked import Asked
from resolvers.loaders import Batching, Loaders
from resolvers.viewers import Viewer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask for."""

    page_max: int = 1_000
    leaves_max: int = 2_000
    listed_audiences_max: int = 200
    users_max: int = 10_000
    rows_max: int = 1_000
    cells_max: int = 10_000
    portrait_tags_max: int = 1_000
    bins_max: int = 1_000
    quantiles_max: int = 100
    parts_max: int = 100
    work_max: int = 5_000_000
    """Container operations; 0 is no bound."""


class Context:
    """One request: it sees one version of the data and one moment."""

    def __init__(
        self, store: Store, viewer: Viewer, batched: Batching, limits: Limits | None = None, view: View | None = None
    ) -> None:
        self.store = store
        self.viewer = viewer
        self.limits = limits or Limits()
        self._batched = batched
        self._leaves = 0
        self.work = 0
        """Container operations that were asked for, by estimate."""
        self.tells_cost = False
        """Whether the answer says how many."""
        self.charge: Callable[[int], None] | None = None
        """Told of them before they begin; raises RATE_LIMITED where that was too much of late."""
        self.extensions: dict[str, object] = {}
        """What the answer tells besides data and errors, such as its cost; of each operation anew."""
        self._view: View | None = view or store.view()
        self._loaders: Loaders | None = None
        self._plans: dict[tuple[Expression, str, Reading], Plan] = {}
        self.selections: dict[Hashable, Selection] = {}
        """Choices of tags that were made in the view."""

    @property
    def view(self) -> View:
        """What is seen; after a write the newest view, taken when somebody looks."""
        if self._view is None:
            self._view = self.store.view()
        return self._view

    @property
    def loaders(self) -> Loaders:
        """The loaders of the view."""
        if self._loaders is None:
            self._loaders = Loaders(self.store, self.view, self._batched)
        return self._loaders

    @cached_property
    def turn(self) -> asyncio.Lock:
        """What takes the event loop some tens of milliseconds takes turns within a request, and others come between."""
        return asyncio.Lock()

    def refresh(self) -> None:
        """Ends the view; nothing that was loaded before is used again."""
        self._view = self._loaders = None
        self.selections, self._plans = {}, {}

    def reading(self, entity: str, as_of: datetime | None = None) -> Reading:
        """The reading of an entity now, or as of a moment within the retention."""
        return self.view.reading(entity, as_of)

    def bind(self, asked: Asked, entity: str, reading: Reading) -> Plan:
        """The plan of what was asked at a reading, the same question once; its leaves count towards the limit."""
        key = (asked.expression, entity, reading)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._bound(asked, entity, reading)
        return plan

    def _bound(self, asked: Asked, entity: str, reading: Reading) -> Plan:
        self._leaves += asked.leaves
        if self._leaves > self.limits.leaves_max:
            message = f"the audiences of a request have at most {self.limits.leaves_max} leaves"
            raise TooLarge(message, argument=asked.argument)
        if "members" not in self.viewer.scopes and asked.names_users:
            self.viewer.require("members")
        try:
            plan = self.store.bind(self.view, asked.expression, entity, reading=reading, argument=asked.argument)
            self.spend([plan])
        except TagroarError as error:
            raise asked.place(error) from None
        return plan

    def spend(self, plans: Sequence[Plan]) -> None:
        """Counts what plans of one reading take, before they are evaluated; TOO_LARGE above the limit of a request."""
        self.add(self.store.operations(plans))

    def add(self, operations: int) -> None:
        """Counts so many container operations, before they begin."""
        self.work += operations
        most = self.limits.work_max
        if 0 < most < self.work:
            raise TooLarge(
                f"the request asks for about {self.work:,} container operations, and {most:,} are the most; "
                "ask for fewer or smaller audiences, or for fewer rows"
            )
        if self.charge is not None:
            self.charge(operations)

    def page_size(self, first: int | None, default: int = 50, *, argument: str = "first") -> int:
        """How many a page is to hold; INVALID below 1, TOO_LARGE over the limit."""
        return bounded(default if first is None else first, self.limits.page_max, argument)


def bounded(count: int, most: int, argument: str) -> int:
    """The count; INVALID below 1, TOO_LARGE above `most`."""
    if count < 1:
        raise Invalid(f"{argument} is 1 or more", argument=argument)
    if count > most:
        raise TooLarge(f"{argument} is at most {most}", argument=argument)
    return count


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, and after each a turn for others: all values of all tags keep the event loop for tens of ms."""
    for item in items:
        yield item
        await asyncio.sleep(0)
