"""Importing in tests: the same code as in the import's own process, run here, so that hundreds of files are quick."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bitmap_store.literals import moment_text
from bitmap_store.sqlite import jobs
from bitmap_store.sqlite.cache import directory_of
from bitmap_store.sqlite.database import read_connection, write_engine
from bitmap_store.sqlite.definitions import load_catalog
from bitmap_store.sqlite.imports import Import
from bitmap_store.sqlite.memberships import Memberships
from bitmap_store.sqlite.names import Names
from bitmap_store.sqlite.writer import Transaction, Writer
from bitmap_store.values import Assign, Event, Job, JobState, Operation, Rejection, WriteResult
from tests.worlds import StoreWorld


class Interleaved(Import):
    """An import during whose staging something else happens: `meanwhile` runs just before the flip."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def _stage_all(self, entity, staging):  # type: ignore[no-untyped-def]
        staged = list(super()._stage_all(entity, staging))
        self.meanwhile()
        return staged


def import_here(
    world: StoreWorld, request: jobs.ImportRequest, meanwhile: Callable[[], object] = lambda: None
) -> tuple[WriteResult, Job, list[Rejection]]:
    """What an import did, its job and what it rejected. Raises what would have ended the job."""
    writer = world.store.writer
    job, _ = writer.submit(lambda transaction: jobs.enlist(transaction, request, request.fingerprint())).result()
    run = Interleaved(writer, job.id, request, os.getppid())
    run.meanwhile = meanwhile
    try:
        result = run.run()
    except BaseException:
        writer.submit(lambda transaction: jobs.end(transaction, job.id, JobState.FAILED, "failed")).result()
        raise
    ended, rejected = writer.submit(lambda transaction: _ended(transaction, job.id)).result()
    return result, ended, rejected


def import_apart(
    world: StoreWorld,
    kind: str,
    rows: Sequence[Operation],
    *,
    only: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
) -> WriteResult:
    """Imports the rows, with connections and a memory of their own, as a process of its own has them.

    only: the tags named have just what the rows say, mode=replace.
    """
    path = world.directory / "rows.ndjson"
    path.write_text("".join(json.dumps(_line(row)) + "\n" for row in rows))
    request = jobs.ImportRequest(kind, path, "ndjson", mode="replace" if only else "merge", source="file")
    enlisted = world.store.writer.submit(lambda transaction: jobs.enlist(transaction, request, request.fingerprint()))
    job, _ = enlisted.result()
    engine, connection = write_engine(world.directory), read_connection(world.directory)
    files = directory_of(world.directory) if world.settings.mapped else None
    memberships, names = Memberships(connection, cache_bytes_max=0, files=files), Names(world.directory)
    writer = Writer(engine, memberships, names, world.clock, world.settings.timezone, load_catalog)
    run = Interleaved(writer, job.id, request, os.getppid())
    run.meanwhile = meanwhile
    try:
        return run.run()
    finally:
        writer.close()
        engine.dispose()
        names.close()
        connection.close()


def _line(row: Operation) -> Mapping[str, object]:
    """A row of an import that says the same as the operation."""
    match row:
        case Assign(user, tag, value):
            return {"user": user, "tag": tag} | ({} if value is None else {"value": value})
        case Event(user, tag, value, at, count) if at is not None:
            return {"user": user, "tag": tag, "value": value, "at": moment_text(at), "count": count}
    raise AssertionError(f"no file says {row}")


def _ended(transaction: Transaction, id_: str) -> tuple[Job, list[Rejection]]:
    job = jobs.find_job(transaction.raw, id_)
    assert job is not None
    return job, jobs.page_of_rejections(transaction.raw, id_, 0, 1_000_000)


def csv_file(path: Path, header: str, rows: list[str]) -> Path:
    """A CSV file of a header and rows."""
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def csv_request(kind: str, path: Path, **options: object) -> jobs.ImportRequest:
    """A request to import a CSV file that stays where it is."""
    return jobs.ImportRequest(kind=kind, path=path, format="csv", owned=False, **options)  # type: ignore[arg-type]
