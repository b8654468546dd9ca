"""Imports by the command line, into stores of their own: rows a second until durable and every index is ready.

What is in the store afterwards is compared with the world, value by value.
"""

import asyncio
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import loaded
from benchmarks.figures import ROOT, Figure, Run
from benchmarks.files import File, directory, made
from benchmarks.questions import values_of
from benchmarks.servers import environment
from benchmarks.stores import build_cache, define, import_file, opened
from benchmarks.world import World
from bitmap_store.expression import Everyone, Match

NARROW = 10
"""CSV brings a tenth of the tags, about seven rows a user, so that names weigh as much as they do in practice."""

CASES = (
    ("memberships from Parquet, known ids, by user", File("long"), True, 6e6),
    ("memberships from Parquet, known ids, shuffled", File("long", shuffled=True), True, 3e6),
    ("memberships from a wide table in Parquet, new ids", File("wide"), False, None),
    ("rows of CSV, new names, by user", File("long", "csv", names=True), False, 1e6),
    ("rows of CSV, new names, shuffled", File("long", "csv", names=True, shuffled=True), False, 0.4e6),
)


async def measure(run: Run, world: World) -> None:
    """All imports, one after another."""
    narrow = World(world.users, world.tag_count // NARROW, world.value_count // NARROW, world.seed)
    for name, file, known, bound in CASES:
        imported = world if file.format == "parquet" else narrow
        path = made(imported, file, run.told)
        store = directory() / "store-imports"
        shutil.rmtree(store, ignore_errors=True)
        await _prepare(store, imported, known)
        run.say(f"importing {path.name}")
        seconds = await asyncio.to_thread(_by_command, store, "table" if file.form == "wide" else "memberships", path)
        started = time.perf_counter()
        async with opened(store) as held:
            await build_cache(held)
        seconds += time.perf_counter() - started
        rows = await _checked(store, imported)
        theirs = None
        if file.form == "long":
            spent, count = await asyncio.to_thread(loaded.seconds, imported, path, directory() / "by-hand.roaring")
            if count != rows:
                raise RuntimeError(f"by hand {count} memberships, drawn were {rows}")
            theirs = count / spent
        sign, reference = "" if bound is None else "≥", "" if theirs is None else "bitmaps by hand"
        note = f"{rows / 1e6:,.1f} M in {seconds:.1f} s"
        run.figure(Figure(name, "/s", rows / seconds, theirs, reference, "ours", sign, bound, note))
        shutil.rmtree(store)


async def _prepare(path: Path, world: World, known: bool) -> None:
    """An empty store with the tags, and the users if they are to be known."""
    users = made(world, File("users")) if known else None
    async with opened(path) as store:
        await define(store, world.shapes)
        if users is not None:
            await import_file(store, "profiles", users)


def _by_command(store: Path, kind: str, path: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "server.py", "import", kind, str(path)],
        cwd=ROOT,
        env=environment(TAGROAR_DATA=store),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or "+ 0 rejected" not in done.stdout:
        raise RuntimeError(f"{done.stdout}\n{done.stderr[-2000:]}")
    return time.perf_counter() - started


async def _checked(path: Path, world: World) -> int:
    """How many memberships there are; each value has to have as many users as were drawn."""
    sizes = world.sizes()
    expected = {value.leaf: int(sizes[value.code]) for value in values_of(world)}
    expected |= {Match(shape.key): int(sizes[shape.first]) for shape in world.measured}
    async with opened(path) as store:
        view = store.view()
        asked = [*expected, Everyone()]
        found = await store.count([store.bind(view, leaf, "user") for leaf in asked])
    for leaf, size, drawn in zip(asked, found, [*expected.values(), world.users], strict=True):
        if size != drawn and (leaf != Everyone() or size > drawn):  # nobody brings a user who has nothing
            raise RuntimeError(f"{leaf}: {size} users, drawn were {drawn}")
    return int(sizes.sum())
