"""How a store is, for those who run it: whether its file can be read, and numbers to watch."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bitmap_store.errors import Unavailable
from bitmap_store.sqlite.database import FILE, read_connection


@dataclass(frozen=True, slots=True)
class Condition:
    """Data version, catalog version, jobs by state, and the bytes of the file and of the log before it (WAL)."""

    version: int
    catalog: int
    jobs: dict[str, int]
    file_bytes: int
    log_bytes: int


def condition_of(directory: Path) -> Condition:
    """The condition of the store in a directory, read anew: what is open already may be of a file that is gone.

    UNAVAILABLE where it cannot be read. Takes some 100 µs.
    """
    try:
        with closing(read_connection(directory)) as connection:
            version, catalog = connection.execute("SELECT version, catalog FROM store").fetchone()
            jobs = dict(connection.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall())
        log = directory / f"{FILE}-wal"
        log_bytes = log.stat().st_size if log.exists() else 0
        return Condition(version, catalog, jobs, (directory / FILE).stat().st_size, log_bytes)
    except (sqlite3.Error, OSError, TypeError) as error:
        raise Unavailable("the store cannot be read now") from error
