"""Killed at any moment, the store has everything it acknowledged and no half of anything."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bitmap_store.definitions import TagDefinition
from bitmap_store.sqlite import jobs
from bitmap_store.values import JobState, TagKind
from tests.importing import csv_file, csv_request
from tests.worlds import StillClock, StoreWorld, copied

ROOT = Path(__file__).parents[1]
WRITES = """
import asyncio, sys
from pathlib import Path
from bitmap_store import Store, StoreSettings
from bitmap_store.values import Assign, Batch

async def client(store, name):
    n = 0
    while True:
        users = [f"{name}-{n}-{i}" for i in range(5)]
        await store.apply(Batch("user", tuple(
            each for user in users for each in (Assign(user, "a"), Assign(user, "b"), Assign(user, "city", value=name))
        )))
        print(f"{name} {n}", flush=True)
        n += 1

async def main():
    store = Store(StoreSettings(Path(sys.argv[1])))
    await asyncio.gather(*(client(store, f"c{i}") for i in range(4)))

asyncio.run(main())
"""


@pytest.fixture
def directory(empty_store: Path, tmp_path: Path) -> Path:
    found = copied(empty_store, tmp_path / "store")
    world = StoreWorld(found, StillClock())
    world.define_tag(TagDefinition("a"))
    world.define_tag(TagDefinition("b"))
    world.define_tag(TagDefinition("city", kind=TagKind.CHOICE))
    world.close()
    return found


def written_until_killed(directory: Path, after: int) -> list[str]:
    """What a process acknowledged before it was killed, once it had acknowledged so many batches."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    return [line for line in (*acknowledged, *rest.splitlines()) if line.count(" ") == 1 and not line.endswith(" ")]


def test_every_acknowledged_batch_is_there_and_none_by_half(directory: Path) -> None:
    rounds = random.Random(5)
    acknowledged: set[str] = set()
    for _ in range(4):
        fresh = written_until_killed(directory, rounds.randrange(1, 60))
        acknowledged.update(f"{line.replace(' ', '-')}-{i}" for line in fresh for i in range(5))
        world = StoreWorld(directory, StillClock())
        try:
            members = world.members("everyone")
            assert acknowledged <= members
            for question in ("a", "b", "city"):
                assert world.members(question) == members
            batches = [user.rpartition("-")[0] for user in members]
            assert all(batches.count(batch) == 5 for batch in set(batches))
        finally:
            world.close()


@pytest.mark.parametrize("progress", [0.0, 0.6])
def test_an_import_that_is_killed_leaves_nothing_and_can_be_repeated(
    directory: Path, tmp_path: Path, progress: float
) -> None:
    path = csv_file(tmp_path / "rows.csv", "user,tag,value", [f"u{i},city,v{i % 9}" for i in range(20_000)])
    world = StoreWorld(directory, StillClock())
    try:
        job = world.run(world.store.start_import(csv_request("memberships", path, key="k")))

        async def killed() -> None:
            async for now in world.store.job_changes(job.id):
                if now.state is JobState.RUNNING and (now.progress or 0.0) >= progress:
                    for process in world.store._workers._processes:
                        os.kill(process.pid, signal.SIGKILL)

        world.run(killed())
        ended = world.run(world.store.wait_job(job.id))
        members = world.members("city")
        if ended.state is JobState.DONE:  # it was quicker than the signal
            assert len(members) == 20_000
        else:
            assert (ended.state, ended.error) == (JobState.FAILED, jobs.INTERRUPTED)
            assert members == set()
        again = world.run(world.store.start_import(csv_request("memberships", path, key="k")))
        assert world.run(world.store.wait_job(again.id)).state is JobState.DONE
        assert len(world.members("city")) == 20_000
        assert len(world.members("everyone")) == 20_000
        third = world.run(world.store.start_import(csv_request("memberships", path, key="k")))
        assert (third.id, third.already_applied) == (again.id, True)
    finally:
        world.close()
