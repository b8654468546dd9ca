"""Cost against size: the same few figures for worlds of different sizes, such as --users 100k,1m,10m,30m."""

import resource
import shutil
import sys
import time

from benchmarks.engine import FIVE, TWENTY, Engine
from benchmarks.figures import Figure, Run
from benchmarks.files import File, directory, made
from benchmarks.questions import Questions, values_of
from benchmarks.stores import READY, define, import_file, opened
from benchmarks.world import World


async def measure(run: Run, world: World) -> None:
    """The import that makes the store, its size, and questions to it beside pyroaring by hand."""
    path = directory() / f"store-{world.name}"
    file = made(world, File("wide"), run.told)
    shutil.rmtree(path, ignore_errors=True)
    async with opened(path) as store:
        await define(store, world.shapes)
        run.say(f"importing {file.name}")
        imported = await import_file(store, "table", file)
    (path / READY).touch()
    memberships = int(world.sizes(lambda done: run.told("counting what was drawn", done)).sum())
    run.figure(
        Figure("memberships imported from a wide table", "/s", memberships / imported.seconds,
               note=f"{memberships / 1e6:,.0f} M in {imported.seconds:.0f} s")
    )  # fmt: skip
    stored = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    run.figure(Figure("store on disk, bytes a membership", "B", stored / memberships, note=f"{stored / 1e6:,.0f} MB"))
    questions = Questions(world, seed=2)
    asked = {value.code: value for value in values_of(world) if value in questions.pool}
    members = world.members(asked, lambda done: run.told("drawing the reference", done))
    bitmaps = {value.leaf: members[code] for code, value in asked.items()}
    started = time.perf_counter()
    async with opened(path) as store:
        engine = Engine(run, world, store, bitmaps)
        await engine.check_sizes(list(asked.values()))
        run.figure(Figure("opened, 200 values counted", "s", time.perf_counter() - started))
        await engine.warm(questions)
        await engine.sizes(questions.five(FIVE), questions.twenty(TWENTY))
        await engine.ranges()
        await engine.profiles(checked=False)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    run.figure(Figure("most memory of this process, the reference included", "MB", memory / 1e6))
