"""When the power fails, what was acknowledged is there and nothing is there by half, whatever the disk had not written.

TAGROAR_POWER_LOSSES says how many are tried, at moments spread over a run of writes, folds and an import.
"""

import os
import random
import re
import shutil
import sys
from pathlib import Path

import pytest

from bitmap_store.definitions import TagDefinition
from bitmap_store.sqlite.checks import check
from bitmap_store.values import TagKind
from tests.importing import csv_file
from tests.power import STRACE, Disk, Step, recorded
from tests.worlds import StillClock, StoreWorld, copied

ROOT = Path(__file__).parents[1]
LOSSES = int(os.environ.get("TAGROAR_POWER_LOSSES", "6"))
BATCHES = 120
WRITES = """
import asyncio, sys
from pathlib import Path
from bitmap_store import ImportRequest, Store, StoreSettings
from bitmap_store.values import Assign, Batch

BATCHES = int(sys.argv[3])

def acknowledged(what):
    print(f"{what}.", flush=True)

async def client(store, name):
    for n in range(BATCHES // 4):
        users = [f"{name}-{n}-{i}" for i in range(5)]
        await store.apply(Batch("user", tuple(
            each for user in users for each in (Assign(user, "a"), Assign(user, "b"), Assign(user, "city", value=name))
        )))
        acknowledged(f"{name}-{n}")

async def upkeep(store):
    for _ in range(3):
        await asyncio.sleep(0.2)
        await store.fold(0)
        await store.build_cache()
    job = await store.start_import(ImportRequest("memberships", Path(sys.argv[2]), "csv", owned=False))
    assert (await store.wait_job(job.id)).state.value == "DONE"
    acknowledged("imported")

async def main():
    store = Store(StoreSettings(Path(sys.argv[1])))
    await asyncio.gather(upkeep(store), *(client(store, f"c{i}") for i in range(4)))
    await store.close()

asyncio.run(main())
"""


def acknowledgment(step: Step) -> str | None:
    """What the program told the world at a step."""
    if step.call != "write" or not step.arguments.startswith("1<"):
        return None
    said = re.fullmatch(rb"([\w-]+)\.\n?", step.strings[0])
    return said[1].decode() if said else None


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_what_was_acknowledged_outlives_the_power(empty_store: Path, tmp_path: Path) -> None:
    store = copied(empty_store, tmp_path / "store")
    world = StoreWorld(store, StillClock())
    for definition in (TagDefinition("a"), TagDefinition("b"), TagDefinition("city", kind=TagKind.CHOICE)):
        world.define_tag(definition)
    world.close()
    before = shutil.copytree(store, tmp_path / "before")
    rows = csv_file(tmp_path / "rows.csv", "user,tag", [f"i-0-{i},{tag}" for i in range(2_000) for tag in "ab"])
    command = [sys.executable, "-c", WRITES, str(store), str(rows), str(BATCHES)]
    steps = recorded(command, tmp_path / "log", ROOT)
    shutil.rmtree(store)
    before.rename(store)  # where the recorded paths are
    disk = Disk(store, steps)
    told = {number: what for number, step in enumerate(steps) if (what := acknowledgment(step)) is not None}
    assert len(told) == BATCHES + 1
    choose = random.Random(9)
    moments = [*sorted(choose.sample(range(min(told), len(steps)), LOSSES - 1)), len(steps)]
    lost = 0
    for number, moment in enumerate(moments):
        disk.replay(moment)
        lost += disk.waiting
        acknowledged = {what for at, what in told.items() if at < moment}
        for how in (None, random.Random(number)):
            found = tmp_path / f"found-{number}-{how is None}"
            disk.after_power_loss(found, how)
            look(found, acknowledged)
            shutil.rmtree(found)
    assert lost > 0  # or the disk had everything anyway


def look(directory: Path, acknowledged: set[str]) -> None:
    """All of what was acknowledged is there, nothing by half, and nothing is damaged."""
    world = StoreWorld(directory, StillClock())
    try:
        view = world.view()
        members, of_a, of_b = (view.members(question) for question in ("everyone", "a", "b"))
        assert members == of_a == of_b
        imported = {user for user in members if user.startswith("i-")}
        assert len(imported) in ((2_000,) if "imported" in acknowledged else (0, 2_000))
        assert view.members("city") == members - imported
        batches = [user.rpartition("-")[0] for user in members - imported]
        assert acknowledged - {"imported"} <= set(batches)
        assert all(batches.count(batch) == 5 for batch in set(batches))
    finally:
        world.close()
    assert [problem for problem in check(directory) if problem.code != "CACHE"] == []
