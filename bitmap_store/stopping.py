"""Work that can be stopped, and the threads that it runs in.

Python cannot end a thread, so long work asks between its steps whether anybody still waits for it.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """Nobody waits for the work any more."""


class Stop:
    """A wish that work ends: asked for by whoever waited, looked at between steps by the work."""

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        """From now on `check` raises."""
        self._asked = True

    def check(self) -> None:
        """Raises Stopped once it was asked for. Costs nanoseconds."""
        if self._asked:
            raise Stopped


class Lanes:
    """Threads for work that takes a while, in two lanes so that what is short never waits behind what is long."""

    def __init__(self, threads: int | None = None) -> None:
        self.width = threads or os.cpu_count() or 1
        """How many threads a lane has."""
        self._short = ThreadPoolExecutor(self.width, "short")
        self._long = ThreadPoolExecutor(self.width, "long")

    async def run(self, work: Callable[[Stop], T], *, long: bool = False) -> T:
        """What the work gives. When the task that waits is cancelled, the work stops at its next step.

        long: work that may take more than some tens of milliseconds.
        """
        stop = Stop()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._long if long else self._short, work, stop)
        except asyncio.CancelledError:
            stop.ask()
            raise

    def close(self) -> None:
        """Lets go of the threads; work that has not begun never does."""
        for lane in (self._short, self._long):
            lane.shutdown(wait=False, cancel_futures=True)
