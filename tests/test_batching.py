"""Loaders: what is asked one by one is loaded together, and nobody's going away harms another."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import pytest

from bitmap_store.errors import Unavailable
from schema.batching import Gathered


class Source:
    """Doubles numbers, at once or when it is let to; counts what it was asked."""

    def __init__(self, *, at_once: bool) -> None:
        self.asked: list[list[int]] = []
        self.ended = 0
        self.go = asyncio.Event()
        if at_once:
            self.go.set()

    async def load(self, keys: list[int]) -> Sequence[int]:
        self.asked.append(keys)
        try:
            if not self.go.is_set():
                await self.go.wait()
            if -1 in keys:
                raise Unavailable("not this one")
            return [2 * key for key in keys]
        finally:
            self.ended += 1


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


@pytest.mark.parametrize("at_once", [True, False])
def test_keys_are_loaded_together_and_once(at_once: bool) -> None:
    async def work() -> None:
        source = Source(at_once=at_once)
        loader = Gathered(source.load)

        async def deeper(key: int) -> int:
            await asyncio.sleep(0)
            return await loader.load(key)

        tasks = [
            asyncio.ensure_future(each) for each in (loader.load_many([1]), loader.load_many([2, 1, 3]), deeper(4))
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(loader.load(2)))
        source.go.set()
        assert await asyncio.gather(*tasks) == [[2], [4, 2, 6], 8, 4]
        assert await loader.load(3) == 6
        assert source.asked == [[1, 2, 3, 4]]

    run(work())


@pytest.mark.parametrize("at_once", [True, False])
def test_an_error_is_told_to_all_who_asked_and_ask(at_once: bool) -> None:
    async def work() -> None:
        source = Source(at_once=at_once)
        loader = Gathered(source.load)
        tasks = [asyncio.ensure_future(loader.load(key)) for key in (1, -1, 1)]
        asyncio.get_running_loop().call_later(0.001, source.go.set)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [Unavailable] * 3
        with pytest.raises(Unavailable):
            await loader.load_many([2, -1])

    run(work())


def test_who_goes_takes_nobody_along() -> None:
    async def work() -> None:
        source = Source(at_once=False)
        loader = Gathered(source.load)
        gone, stays = (asyncio.ensure_future(loader.load_many([1])) for _ in range(2))
        for _ in range(4):
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        source.go.set()
        assert await stays == [2]
        assert gone.cancelled()
        assert source.asked == [[1]]

    run(work())


def test_loading_stops_when_all_have_gone() -> None:
    async def work() -> None:
        source = Source(at_once=False)
        loader = Gathered(source.load)
        tasks = [asyncio.ensure_future(loader.load_many([key])) for key in (1, 1, 2)]
        for _ in range(4):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        for _ in range(4):
            await asyncio.sleep(0)
        assert source.ended == 1
        source.go.set()
        assert await loader.load(1) == 2  # anew
        assert source.asked == [[1, 2], [1]]

    run(work())


def test_what_nobody_waits_for_is_not_loaded() -> None:
    async def work() -> None:
        source = Source(at_once=True)
        loader = Gathered(source.load)
        task = asyncio.ensure_future(loader.load_many([1]))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await loader.load(2) == 4
        assert source.asked == [[2]]

    run(work())
