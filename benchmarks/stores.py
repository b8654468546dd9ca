"""Stores of a world: defined and imported by the doors that users take, kept in a directory, made once.

A benchmark that writes works on a copy.
"""

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.files import File, Told, directory, made, silent
from benchmarks.world import Shape, World
from bitmap_store import Format, ImportRequest, Store, StoreSettings, TagDefinition
from bitmap_store.values import DatePrecision, Job, JobState, TagKind

CACHE_BYTES = 2 << 30
READY = "ready"
SCOPES = ("count", "members", "write", "define", "admin")


def definition_of(shape: Shape) -> TagDefinition:
    """The definition of a tag."""
    return TagDefinition(
        key=shape.key,
        kind=TagKind(shape.kind),
        values=shape.values or None,
        scale=shape.scale,
        precision=DatePrecision.DAY if shape.kind == "DATE" else DatePrecision.SECOND,
    )


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    """A store, closed at the end."""
    store = Store(StoreSettings(path, cache_bytes_max=CACHE_BYTES))
    try:
        yield store
    finally:
        await store.close()


async def define(store: Store, shapes: Sequence[Shape]) -> None:
    """Defines tags, all at once, so that they share commits."""
    await asyncio.gather(*(store.define_tag(definition_of(shape)) for shape in shapes))


@dataclass(frozen=True, slots=True)
class Imported:
    """An import: the job, and the seconds until it was done, durable, and every index was ready."""

    job: Job
    seconds: float


async def import_file(store: Store, kind: str, path: Path) -> Imported:
    """Imports a file in which every row is good."""
    started = time.perf_counter()
    format_: Format = "csv" if path.suffix == ".csv" else "parquet"
    job = await store.start_import(ImportRequest(kind, path, format_, owned=False, title=path.name))
    job = await store.wait_job(job.id)
    await build_cache(store)
    seconds = time.perf_counter() - started
    if job.state is not JobState.DONE or job.rows_rejected:
        raise RuntimeError(f"import of {path.name}: {job}")
    return Imported(job, seconds)


async def new_token(path: Path) -> str:
    """A token for everything."""
    async with opened(path) as store:
        return await store.create_token(f"bench-{secrets.token_hex(4)}", SCOPES)


async def build_cache(store: Store) -> None:
    """Makes every index ready, where the store has any beside its file."""
    build = getattr(store, "build_cache", None)
    if build is not None:
        await build()


async def store_of(world: World, told: Told = silent) -> Path:
    """The directory of a store that holds a world, users in order; made if it is not there yet."""
    path = directory() / f"store-{world.name}"
    if (path / READY).exists():
        return path
    shutil.rmtree(path, ignore_errors=True)
    file = made(world, File("wide"), told)
    async with opened(path) as store:
        told(f"importing {file.name}", 0.0)
        await define(store, world.shapes)
        await import_file(store, "table", file)
        told(f"importing {file.name}", 1.0)
    (path / READY).touch()
    return path


@asynccontextmanager
async def copied(path: Path) -> AsyncIterator[Path]:
    """A copy of a store that nobody has open, gone at the end."""
    copy = path.with_name(f"{path.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)
