"""Starting: how long until the first answer, warm and with every index gone; and what several workers hold together."""

import random
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, Run, median
from benchmarks.http import SIZE, body, where_of
from benchmarks.load import Round, played
from benchmarks.questions import Questions, values_of
from benchmarks.servers import Server
from benchmarks.stores import build_cache, copied, new_token, opened, store_of
from benchmarks.world import World

WARM, WORKERS = 5, 4
CACHE = "cache"
LISTED = 200
EACH, PARTS = 6, 6
"""How often each value is asked for by one worker's share of the questions, and in how many rounds."""

PROFILES = "query($u: String!) { profile(by: {userId: $u}) { tags { tag { key } values number } } }"
SIZES = "query($w: [AudienceWhere!]!) { audiences(where: $w) { size } }"


async def measure(run: Run, world: World) -> None:
    """Warm starts, a cold one, and memory."""
    path = await store_of(world, run.told)
    async with copied(path) as copy:
        token = await new_token(copy)
        question = where_of(Questions(world, seed=8).five(1)[0])
        async with opened(copy) as store:
            await build_cache(store)
        ready, first = [], []
        for _ in range(WARM + 1):  # the first fills the page cache
            with Server.tagroar(copy, token) as server:
                ready.append(server.seconds)
                first.append(server.seconds + _seconds(server, SIZE, where=question))
        with tempfile.TemporaryDirectory(prefix="tagroar-bench-start-") as name:
            bare = []
            for _ in range(WARM):
                with Server.bare(Path(name)) as server:
                    bare.append(server.seconds)
        run.figure(
            Figure(
                "warm start until the first size of five leaves", "s", median(first[1:]), median(bare),
                "bare Starlette, ready", "ours", "≤", 2, f"ready after {median(ready[1:]):.2f} s",
            )
        )  # fmt: skip
        shutil.rmtree(copy / CACHE, ignore_errors=True)
        with Server.tagroar(copy, token) as server:
            seconds = server.seconds + _everything(server, world)
        run.figure(
            Figure("cold start, every value counted and a profile read", "s", seconds, None, "", "ours", "≤", 30)
        )
        async with opened(copy) as store:
            await build_cache(store)
        one, four = _memory(run, copy, token, world, 1), _memory(run, copy, token, world, WORKERS)
        run.figure(
            Figure(
                f"memory of {WORKERS} workers after the same questions", "MB", four / 1e6, one / 1e6, "one",
                "ratio", "≤", 1.3,
            )
        )  # fmt: skip


def _seconds(server: Server, query: str, **variables: object) -> float:
    started = time.perf_counter()
    server.ask(query, **variables)
    return time.perf_counter() - started


def _everything(server: Server, world: World) -> float:
    """Seconds until all of a store has been asked for."""
    wheres = [where_of(value.leaf) for value in values_of(world)]
    seconds = [
        _seconds(server, SIZES, w=wheres[start : start + LISTED]) for start in range(0, len(wheres), LISTED)
    ]  # fmt: skip
    return sum(seconds) + _seconds(server, PROFILES, u="0")


def _memory(run: Run, path: Path, token: str, world: World, workers: int) -> int:
    """Bytes after many questions, in which every worker had its part."""
    choose, questions = random.Random(9), Questions(world, seed=9)
    with Server.tagroar(path, token, workers=workers) as server, tempfile.TemporaryDirectory() as name:
        bodies = Path(name) / "questions.jsonl"
        lines = [body(SIZE, where=where_of(value.leaf)) for value in questions.pool for _ in range(EACH)]
        lines += [body(SIZE, where=where_of(each)) for each in questions.two(len(lines) // 2)]
        choose.shuffle(lines)
        bodies.write_text("\n".join(lines))
        before = server.processor_times()
        for part in range(PARTS):  # new connections each time, so other workers
            count, first = len(lines) // PARTS * workers, len(lines) // PARTS * part
            played(
                Round(server.port, "/graphql", str(bodies), server.headers, first, 8 * workers, 60.0, count=count)
            )  # fmt: skip
        idle = sum(spent - before.get(process, 0.0) < 0.2 for process, spent in server.processor_times().items())
        run.say(f"{workers} workers: {idle} processes had next to nothing to do")
        return server.memory()
