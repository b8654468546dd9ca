"""Views: what one request sees of a store."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from bitmap_store.catalog import Catalog
from bitmap_store.errors import Invalid, Stale
from bitmap_store.plan import Reading
from bitmap_store.values import micros, moment_of


class History(Protocol):
    """What a view asks about the past."""

    @property
    def retention(self) -> timedelta:
        """How far back it reaches."""

    def version_at(self, moment: datetime) -> int:
        """The version that was current at a moment."""


@dataclass(slots=True)
class View:
    """What one request sees: one version, one moment, one catalog. horizon: what lies before it is forgotten.

    micros: the moment, in microseconds since 1970.
    seen: a number that is another one as soon as any process has written anything, be it a token or a job.
    clocked: whether anything was asked through it whose answer changes with the moment alone, as windows do.
    """

    version: int
    micros: int
    horizon: datetime
    catalog: Catalog
    history: History
    seen: int
    clocked: bool = False

    @property
    def moment(self) -> datetime:
        """The moment."""
        return moment_of(self.micros)

    def reading(self, entity: str, as_of: datetime | None = None) -> Reading:
        """The reading of an entity now, or as it was known at `as_of`.

        INVALID for the future, STALE for what is beyond the retention.
        """
        kind = self.catalog.entity(entity, argument="entity")
        if as_of is None:
            return Reading(kind.id, self.version, self.micros)
        self.clocked = True  # it is forgotten some day
        if as_of > self.moment:
            raise Invalid(f"{as_of.isoformat()} lies after now, {self.moment.isoformat()}", argument="asOf")
        horizon = max(self.moment - self.history.retention, self.horizon)
        if as_of < horizon:
            raise Stale(f"history reaches back to {horizon.isoformat()}, not {as_of.isoformat()}", argument="asOf")
        version = min(self.history.version_at(as_of), self.version)
        return Reading(kind.id, version, micros(as_of))
