"""The process of one import: opens the store as its parent has it, waits for its turn, imports, says how it went."""

import gc
import json
import logging
import os
import signal
import sqlite3
import sys
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from bitmap_store.clock import Clock
from bitmap_store.errors import TagroarError
from bitmap_store.no_pandas import keep_pandas_out
from bitmap_store.sqlite import cache, jobs
from bitmap_store.sqlite.database import read_connection, refuse_newer, revision_of, write_engine
from bitmap_store.sqlite.definitions import load_catalog
from bitmap_store.sqlite.imports import Abandoned, Cancelled, Import
from bitmap_store.sqlite.memberships import Memberships
from bitmap_store.sqlite.names import Names
from bitmap_store.sqlite.occupancy import occupy
from bitmap_store.sqlite.writer import Writer
from bitmap_store.values import JobState

TURN_SECONDS = 0.2
NICENESS = 10
"""How far an import stands back for the processes that answer questions."""


def main(settings: dict[str, str | int]) -> None:
    """Runs the job that the settings name."""
    keep_pandas_out()
    gc.freeze()  # what is imported stays, and is not to be looked through again and again
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is for the parent, which ends us in order
    os.nice(NICENESS)
    directory, job = Path(str(settings["directory"])), str(settings["job"])
    occupied = occupy(directory)
    engine, connection = write_engine(directory), read_connection(directory)
    refuse_newer(revision_of(connection), directory)
    memberships = Memberships(connection, cache_bytes_max=0, files=cache.directory_of(directory))
    clock = Clock(datetime.fromisoformat(str(settings["now"])))
    writer = Writer(engine, memberships, Names(directory), clock, ZoneInfo(str(settings["timezone"])), load_catalog)
    found = connection.execute("SELECT request FROM job WHERE id = ?", (job,)).fetchone()
    request = jobs.ImportRequest.from_json(found[0])
    turn: int | None = None
    state, sentence = JobState.FAILED, jobs.INTERRUPTED
    try:
        turn = await_turn(directory, writer, job, int(settings["parent"]))
        Import(writer, job, request, int(settings["parent"])).run()
        state, sentence = JobState.DONE, ""
        clean_up(directory, connection)
    except Cancelled:
        state, sentence = JobState.CANCELLED, "cancelled; nothing of it applied"
    except Abandoned:
        pass  # the state and the sentence are those of an interruption already
    except TagroarError as error:
        sentence = f"{error.code}: {error.message}"
    except Exception:
        logging.exception("the import %s failed", job)
        sentence = "INTERNAL: the import failed for a reason of ours; the log has it"
    finally:
        writer.submit(lambda transaction: jobs.end(transaction, job, state, sentence or None)).result()
        writer.close()
        if request.owned:
            request.path.unlink(missing_ok=True)
        jobs.lock_of(directory, job).unlink(missing_ok=True)
        if turn is not None:
            os.close(turn)
        occupied.close()


def clean_up(directory: Path, connection: sqlite3.Connection) -> None:
    """Takes away the files of the cache that have been replaced. Whatever befalls it, the import is done."""
    try:
        cache.build(directory, connection)
    except Exception:
        logging.exception("the cache is left to the next upkeep")


def await_turn(directory: Path, writer: Writer, job: str, parent: int) -> int:
    """Waits until no other bulk work is going on, and holds the lock that says so."""
    while (turn := jobs.try_lock(directory / "jobs" / "bulk.lock")) is None:
        if os.getppid() != parent:
            raise Abandoned
        if not writer.submit(lambda transaction: jobs.advance(transaction, job)).result():
            raise Cancelled
        time.sleep(TURN_SECONDS)
    return turn


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
