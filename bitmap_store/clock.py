"""The service's clock: the one place that asks what time it is, so that tests and demos can set it."""

from datetime import UTC, datetime, timedelta
from time import monotonic_ns, time_ns

from bitmap_store.values import moment_of


class Clock:
    """Tells the moment, in UTC to the microsecond. Started at a moment it ticks on from there."""

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start
        self._began = monotonic_ns()

    def now(self) -> datetime:
        """The present moment of this clock."""
        if self._start is None:
            return moment_of(time_ns() // 1000)
        return self._start + timedelta(microseconds=(monotonic_ns() - self._began) // 1000)

    def set(self, moment: datetime) -> None:
        """Moves the clock to `moment`, from where it ticks on."""
        self._start = moment.astimezone(UTC)
        self._began = monotonic_ns()
