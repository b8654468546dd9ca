"""The service's clock: the one place that asks what time it is, so that tests and demos can set it."""

from datetime import datetime
from time import monotonic_ns, time_ns

from bitmap_store.values import micros, moment_of


class Clock:
    """Tells the moment, in UTC to the microsecond. Started at a moment it ticks on from there."""

    def __init__(self, start: datetime | None = None) -> None:
        self._ahead: int | None = None
        """Microseconds to add to those that have passed; None of the clock of the machine."""
        if start is not None:
            self.set(start)

    def micros(self) -> int:
        """The present moment of this clock, in microseconds since 1970."""
        if self._ahead is None:
            return time_ns() // 1000
        return self._ahead + monotonic_ns() // 1000

    def now(self) -> datetime:
        """The present moment of this clock."""
        return moment_of(self.micros())

    def set(self, moment: datetime) -> None:
        """Moves the clock to `moment`, from where it ticks on."""
        self._ahead = micros(moment) - monotonic_ns() // 1000
