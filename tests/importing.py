"""Importing in tests: the same code as in the import's own process, run here, so that hundreds of files are quick."""

import os
from collections.abc import Callable
from pathlib import Path

from bitmap_store.sqlite import jobs
from bitmap_store.sqlite.imports import Import
from bitmap_store.sqlite.writer import Transaction
from bitmap_store.values import Job, JobState, Rejection, WriteResult
from tests.worlds import StoreWorld


class Interleaved(Import):
    """An import during whose staging something else happens: `meanwhile` runs just before the flip."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def _stage_all(self, entity):  # type: ignore[no-untyped-def]
        staged = list(super()._stage_all(entity))
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
