"""Work in threads: it gives what it gives, stops when nobody waits, and the short never waits behind the long."""

import asyncio
from collections.abc import Iterator
from threading import Event

import pytest

from bitmap_store.stopping import Lanes, Stop, Stopped


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    found = Lanes(threads=1)
    yield found
    found.close()


def test_nothing_is_raised_before_it_is_asked_for() -> None:
    stop = Stop()
    stop.check()
    stop.ask()
    with pytest.raises(Stopped):
        stop.check()


def test_what_the_work_gives_or_raises(lanes: Lanes) -> None:
    assert asyncio.run(lanes.run(lambda stop: 7)) == 7
    with pytest.raises(ZeroDivisionError):
        asyncio.run(lanes.run(lambda stop: 1 // 0))


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
def test_work_stops_when_nobody_waits(lanes: Lanes, how: str) -> None:
    begun, ended = Event(), Event()

    def work(stop: Stop) -> None:
        begun.set()
        try:
            while True:
                stop.check()
        except Stopped:
            ended.set()
            raise

    async def leave() -> None:
        task = asyncio.create_task(lanes.run(work))
        await asyncio.to_thread(begun.wait)
        if how == "cancelled":
            task.cancel()
        with pytest.raises(asyncio.CancelledError if how == "cancelled" else TimeoutError):
            await asyncio.wait_for(task, 0 if how == "timed out" else None)
        await asyncio.to_thread(ended.wait)
        assert await lanes.run(lambda stop: 7) == 7  # the thread is free again

    asyncio.run(asyncio.wait_for(leave(), 60))


def test_the_short_does_not_wait_behind_the_long(lanes: Lanes) -> None:
    over = Event()

    async def both() -> None:
        long = asyncio.create_task(lanes.run(lambda stop: over.wait(60), long=True))
        assert await lanes.run(lambda stop: 7) == 7
        over.set()
        assert await long

    asyncio.run(asyncio.wait_for(both(), 60))


def test_work_that_has_not_begun_never_does(lanes: Lanes) -> None:
    over, done = Event(), []

    async def leave() -> None:
        first = asyncio.create_task(lanes.run(lambda stop: over.wait(60)))
        second = asyncio.create_task(lanes.run(lambda stop: done.append(1)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        over.set()
        await first
        await lanes.run(lambda stop: None)

    asyncio.run(asyncio.wait_for(leave(), 60))
    assert not done
