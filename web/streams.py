"""Responses that last for as long as somebody reads them, and how they end when the process is to stop."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bitmap_store.errors import Unavailable

STREAMS_MAX = 1_000


class Streams:
    """The responses of a process that last, so that all of them can be ended: none does so by itself."""

    def __init__(self) -> None:
        self._ends: set[asyncio.Event] = set()

    def __len__(self) -> int:
        return len(self._ends)

    def check_room(self) -> None:
        """UNAVAILABLE where there are as many as may be."""
        if len(self) >= STREAMS_MAX:
            raise Unavailable(f"a process has at most {STREAMS_MAX} streams of events open at a time; try again later")

    def end(self) -> None:
        """Ends them all, as if their connections broke off: clients of graphql-sse then connect anew."""
        for each in self._ends:
            each.set()

    async def until_end(self) -> None:
        """Returns when they are to end."""
        mine = asyncio.Event()
        self._ends.add(mine)
        try:
            await mine.wait()
        finally:
            self._ends.discard(mine)


@contextmanager
def when_told_to_stop(tell: Callable[[], None]) -> Iterator[None]:
    """Within this, `tell` is called in the event loop when a signal stops the server, besides what that does.

    The server waits for responses to end before it says anything to the application. Signals that nobody has
    asked for, as in a test, are left alone.
    """
    loop = asyncio.get_running_loop()
    replaced: dict[int, Callable[[int, FrameType | None], object]] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)
        replaced[number](number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        current = signal.getsignal(number)
        if callable(current) and current is not signal.default_int_handler:
            replaced[number] = current
            signal.signal(number, stop)
    try:
        yield
    finally:
        for replaced_number, handler in replaced.items():
            signal.signal(replaced_number, handler)
