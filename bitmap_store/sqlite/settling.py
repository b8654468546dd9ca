"""Work for a writer, and how its results come to whoever waits: in a thread, or in an event loop."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bitmap_store.values import Batch


@dataclass(frozen=True, slots=True)
class Work:
    """A batch, or a function to be called with a write transaction, and where the result goes."""

    run: Batch | Callable[[Any], Any]
    result: "Future[Any] | asyncio.Future[Any]"


Outcome = tuple[Work, Any, BaseException | None]


def settle(outcomes: Sequence[Outcome]) -> None:
    """Gives the results to whoever waits: each event loop is woken once."""
    awaited: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        work, value, problem = outcome
        if isinstance(work.result, asyncio.Future):
            awaited.setdefault(work.result.get_loop(), []).append(outcome)
        elif problem is None:
            work.result.set_result(value)
        else:
            work.result.set_exception(problem)
    for loop, found in awaited.items():
        with suppress(RuntimeError):  # the loop was closed, so nobody waits
            loop.call_soon_threadsafe(_settle, found)


def _settle(outcomes: Sequence[Outcome]) -> None:
    for work, value, problem in outcomes:
        if not work.result.done():
            if problem is None:
                work.result.set_result(value)
            else:
                work.result.set_exception(problem)
