"""Gathering: what fields ask for one by one within two turns of the event loop becomes one question.

A DataLoader of our own: each request makes five, and those of Strawberry cost more than most questions. This
one begins to load without a task, and needs none where the answer is at hand.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from types import coroutine
from typing import Any, Generic, TypeVar

from resolvers.loaders import Loader

K = TypeVar("K")
V = TypeVar("V")


def batching(load: Callable[[list[K]], Awaitable[Sequence[V]]]) -> Loader[K, V]:
    """A loader that asks for all keys of two turns of the event loop together, and for each key once."""
    return Gathered(load)


class Gathered(Generic[K, V]):
    """Loads keys together. Who asks has a future of their own, and when all have gone loading stops."""

    __slots__ = ("_load", "_loaded", "_running", "_waiting")

    def __init__(self, load: Callable[[list[K]], Awaitable[Sequence[V]]]) -> None:
        self._load = load
        self._loaded: dict[K, asyncio.Future[V] | list[asyncio.Future[V]]] = {}
        self._waiting: list[K] = []
        self._running: dict[asyncio.Task[None], list[K]] = {}

    def load(self, key: K) -> Awaitable[V]:
        """The answer for one key, or what went wrong when it was loaded."""
        known = self._loaded.get(key)
        if isinstance(known, asyncio.Future):
            return known
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V] = loop.create_future()
        if known is not None:
            known.append(future)
            future.add_done_callback(self._gone)
            return future
        self._loaded[key] = [future]
        if not self._waiting:
            loop.call_soon(loop.call_soon, self._begin)  # what stands deeper in the answer begins a turn later
        self._waiting.append(key)
        return future

    async def load_many(self, keys: Iterable[K]) -> list[V]:
        """The answers for these keys, in order."""
        return [await future for future in [self.load(key) for key in keys]]

    # ------------------------------------------------------------ loading

    def _begin(self) -> None:
        """Begins to load what is waiting. What does not end at once is ended by a task."""
        keys, self._waiting = self._waiting, []
        keys = [key for key in keys if self._wanted(key)]
        if not keys:
            return
        work = self._answer(keys)
        try:
            awaited = work.send(None)
        except StopIteration:
            return
        task = asyncio.get_running_loop().create_task(resumed(work, awaited))
        self._running[task] = keys
        task.add_done_callback(self._running.pop)
        for key in keys:
            for future in self._futures(key):
                future.add_done_callback(self._gone)

    async def _answer(self, keys: list[K]) -> None:
        try:
            values = await self._load(keys)
            for key, value in zip(keys, values, strict=True):
                self._loaded[key] = _told(self._futures(key), value, None)
        except Exception as error:
            for key in keys:
                self._loaded[key] = _told(self._futures(key), None, error)
        finally:  # nobody has waited for them, or the loop has stopped
            for key in keys:
                if isinstance(self._loaded.get(key), list):
                    del self._loaded[key]

    def _futures(self, key: K) -> list[asyncio.Future[V]]:
        found = self._loaded[key]
        return found if isinstance(found, list) else [found]

    def _wanted(self, key: K) -> bool:
        """Whether anybody waits for a key; what nobody wants is forgotten."""
        if any(not future.cancelled() for future in self._futures(key)):
            return True
        del self._loaded[key]
        return False

    def _gone(self, future: asyncio.Future[V]) -> None:
        """Stops to load what everybody has stopped to wait for."""
        if future.cancelled():
            for task, keys in self._running.items():
                if all(each.cancelled() for key in keys for each in self._futures(key)):
                    task.cancel()


def _told(futures: list[asyncio.Future[V]], value: Any, error: Exception | None) -> Any:
    """Tells those who wait; one of the futures, or none where nobody waits any longer."""
    told: Any = []
    for future in futures:
        if not future.cancelled():
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
                future.exception()  # that nobody looks at it later is nothing to be logged
            told = future
    return told


@coroutine
def resumed(work: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    """Runs to its end what was begun and awaits something; what it gives."""
    try:
        while True:
            try:
                given = yield awaited
            except BaseException as error:
                awaited = work.throw(error)
            else:
                awaited = work.send(given)
    except StopIteration as done:
        return done.value
