"""Jobs as rows: what was asked, how far it is, what it rejected; and the locks that tell who is alive.

A job holds its lock file from before it is listed until its process ends, whoever started it; so a job
that is listed as running and holds no lock was interrupted, and is marked so when that is noticed.
"""

import fcntl
import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bitmap_store.errors import Conflict, NotFound
from bitmap_store.files.reader import Format
from bitmap_store.sqlite.writer import Transaction
from bitmap_store.values import Job, JobState, Rejection, moment_of

KINDS = ("memberships", "table", "profiles", "events")
INTERRUPTED = "the import was interrupted and nothing of it applied; start it again with the same key"
_COLUMNS = "id, kind, state, progress, started_at, ended_at, rows_read, rows_applied, rows_rejected, error, title"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """A file to import. path: a file that the job reads, and removes when `owned`.

    kind: memberships, table, profiles or events. format: csv, ndjson or parquet. mode: merge or replace.
    define: unknown tags are defined as the file suggests. key: the same twice applies once.
    """

    kind: str
    path: Path
    format: Format
    entity: str = "user"
    id_kind: str | None = None
    mode: str = "merge"
    define: bool = False
    key: str | None = None
    title: str = ""
    source: str | None = None
    owned: bool = True

    def to_json(self) -> str:
        """The request as it is kept with its job."""
        return json.dumps(asdict(self) | {"path": str(self.path)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ImportRequest":
        """The request that `to_json` took."""
        fields = json.loads(text)
        return cls(**fields | {"path": Path(fields["path"])})

    def fingerprint(self) -> str:
        """A digest of the file's bytes and of everything that decides what they mean."""
        digest = hashlib.sha256(
            repr((self.kind, self.format, self.entity, self.id_kind, self.mode, self.define, self.source)).encode()
        )
        with self.path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()


def job_of(row: tuple[object, ...]) -> Job:
    """A row of `_COLUMNS` as a value."""
    id_, kind, state, progress, started, ended, read, applied, rejected, error, title = row
    return Job(
        id=str(id_),
        kind=str(kind),
        state=JobState(str(state)),
        progress=None if progress is None else float(str(progress)),
        started_at=None if started is None else moment_of(int(str(started))),
        ended_at=None if ended is None else moment_of(int(str(ended))),
        rows_read=int(str(read)),
        rows_applied=int(str(applied)),
        rows_rejected=int(str(rejected)),
        error=None if error is None else str(error),
        title=str(title),
    )


def find_job(raw: sqlite3.Connection, id_: str) -> Job | None:
    """A job by its id."""
    row = raw.execute(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (id_,)).fetchone()
    return job_of(row) if row else None


def page_of_jobs(raw: sqlite3.Connection, after: str | None, limit: int) -> list[Job]:
    """Jobs, the newest first, from the one after `after` on."""
    before = None
    if after is not None:
        before = raw.execute("SELECT seq FROM job WHERE id = ?", (after,)).fetchone()
        if before is None:
            raise NotFound(f"there is no job {after!r}", argument="after")
    rows = raw.execute(
        f"SELECT {_COLUMNS} FROM job WHERE seq < ? ORDER BY seq DESC LIMIT ?",
        (before[0] if before else 2**62, limit),
    )
    return [job_of(row) for row in rows]


def page_of_rejections(raw: sqlite3.Connection, job: str, after_line: int, limit: int) -> list[Rejection]:
    """Rejected rows of a job by line."""
    rows = raw.execute(
        "SELECT line, code, message FROM rejection WHERE job_id = ? AND line > ? ORDER BY line LIMIT ?",
        (job, after_line, limit),
    )
    return [Rejection(*row) for row in rows]


# ---------------------------------------------------------------- inside write transactions


def enlist(transaction: Transaction, request: ImportRequest, fingerprint: str) -> tuple[Job, bool]:
    """The job for a request, and whether it is new. A key that was used gives the job that used it, unless
    that one came to nothing; with another file or other settings it is CONFLICT."""
    raw = transaction.raw
    if request.key is not None:
        row = raw.execute(
            f"SELECT {_COLUMNS}, fingerprint FROM job WHERE key = ? AND state IN ('QUEUED', 'RUNNING', 'DONE') "
            "ORDER BY seq DESC LIMIT 1",
            (request.key,),
        ).fetchone()
        if row is not None:
            if row[-1] != fingerprint:
                raise _used(request.key)
            return job_of(row[:-1]), False
        if raw.execute("SELECT 1 FROM applied WHERE key = ?", (request.key,)).fetchone():
            raise _used(request.key)
    id_ = secrets.token_hex(12)
    raw.execute(
        "INSERT INTO job (id, kind, title, state, rows_read, rows_applied, rows_rejected, request, cancel, key, "
        "fingerprint) VALUES (?, ?, ?, 'QUEUED', 0, 0, 0, ?, 0, ?, ?)",
        (id_, f"import {request.kind}", request.title, request.to_json(), request.key, fingerprint),
    )
    job = find_job(raw, id_)
    assert job is not None
    return job, True


def _used(key: str) -> Conflict:
    return Conflict(f"the key {key!r} was used for another request; use a new key", argument="Idempotency-Key")


def advance(transaction: Transaction, id_: str, **fields: object) -> bool:
    """Writes how far a job is; False when it has been asked to stop."""
    if fields:
        assignments = ", ".join(f"{name} = ?" for name in fields)
        transaction.raw.execute(f"UPDATE job SET {assignments} WHERE id = ?", (*fields.values(), id_))
    (cancel,) = transaction.raw.execute("SELECT cancel FROM job WHERE id = ?", (id_,)).fetchone()
    return not cancel


def end(transaction: Transaction, id_: str, state: JobState, error: str | None = None) -> None:
    """Ends a job that has not ended yet."""
    transaction.raw.execute(
        "UPDATE job SET state = ?, error = ?, ended_at = ? WHERE id = ? AND ended_at IS NULL",
        (state, error, transaction.moment, id_),
    )


def reject(transaction: Transaction, id_: str, rejections: Iterable[Rejection]) -> None:
    """Keeps rejected rows."""
    transaction.raw.executemany(
        "INSERT INTO rejection (job_id, line, code, message) VALUES (?, ?, ?, ?)",
        ((id_, row.line, row.code, row.message) for row in rejections),
    )


def ask_to_stop(transaction: Transaction, id_: str) -> Job:
    """Asks a job to stop; one that has ended stays as it is."""
    transaction.raw.execute("UPDATE job SET cancel = 1 WHERE id = ? AND ended_at IS NULL", (id_,))
    job = find_job(transaction.raw, id_)
    if job is None:
        raise NotFound(f"there is no job {id_!r}", argument="id")
    return job


# ---------------------------------------------------------------- locks


def try_lock(path: Path) -> int | None:
    """A file descriptor that holds the lock of a file until it is closed everywhere; None when another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether anybody holds the lock of a file at the moment."""
    descriptor = try_lock(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def lock_of(directory: Path, id_: str) -> Path:
    """The lock file of a job."""
    return directory / "jobs" / f"{id_}.lock"


def _interrupted(id_: str, transaction: Transaction) -> None:
    end(transaction, id_, JobState.FAILED, INTERRUPTED)


def mark_interrupted(directory: Path, raw: sqlite3.Connection) -> list[Callable[[Transaction], None]]:
    """For each job that nobody is working on any more, the write that says so."""
    found: list[Callable[[Transaction], None]] = []
    for (id_,) in raw.execute("SELECT id FROM job WHERE ended_at IS NULL").fetchall():
        descriptor = try_lock(lock_of(directory, id_))
        if descriptor is not None:
            os.close(descriptor)
            found.append(partial(_interrupted, id_))
    return found
