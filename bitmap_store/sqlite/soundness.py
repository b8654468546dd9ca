"""Whether the file is sound, as SQLite sees it: found out when a store is opened, and again while it is served.

Sets, rows and names have checksums, which readings verify. What leads to them has none: a flipped bit in an index
would hide a row. So pages are checked, and indexes compared with their tables.
"""

import logging
import sqlite3
import time
from contextlib import closing, suppress
from math import inf
from pathlib import Path
from typing import IO

from sqlalchemy import Engine

from bitmap_store.errors import Damaged, Invalid
from bitmap_store.sqlite.database import FILE, migrate, read_connection, write_engine
from bitmap_store.sqlite.occupancy import occupy

AT_ONCE_BYTES_MAX = 256 << 20
"""A file up to this size is verified before anybody is answered: that takes up to a fifth of a second."""
SECONDS = 3600
"""So long a file that was found sound is taken to be."""
SAID_MAX = 3


class Soundness:
    """What is known of the file of one open store. `problem`: why nothing is answered from it any more."""

    def __init__(self, directory: Path) -> None:
        """Raises Damaged for a small file that is. A large one is verified when `look_again` is called first."""
        self._directory = directory
        self._looked_at = -inf
        self.problem: Damaged | None = None
        file = directory / FILE
        if file.exists() and file.stat().st_size <= AT_ONCE_BYTES_MAX:
            with suppress(sqlite3.OperationalError):  # which the migration meets as well, and tells
                self.look_again()
        if self.problem is not None:
            raise self.problem

    def look_again(self) -> None:
        """Verifies the file where that was not done for a while; for a thread beside. Reads all of it, a second for
        1.5 GB."""
        if time.monotonic() - self._looked_at < SECONDS:
            return
        try:
            with closing(read_connection(self._directory)) as own:
                own.text_factory = lambda data: data.decode(errors="replace")  # names that it tells may be damaged
                found = own.execute(f"PRAGMA integrity_check({SAID_MAX})").fetchall()
            said = "; ".join(str(line) for (line,) in found if line != "ok")
        except sqlite3.OperationalError:
            raise  # it is busy, or there is no room: nothing that says anything about the file
        except sqlite3.DatabaseError as error:
            said = str(error)
        self._looked_at = time.monotonic()
        if said:
            self.problem = Damaged(f"{self._directory / FILE} is damaged ({said}); run check, and restore a backup")
            logging.getLogger(__name__).error("%s", self.problem)


def opened(directory: Path) -> tuple[IO[bytes], Engine, Soundness]:
    """The engine of the writer on a directory, made if it is not there, with the file in today's shape; and what keeps
    a restore away until it is closed. INVALID for a place that can hold no store; see `occupy` and `migrate` too."""
    try:
        occupied = occupy(directory)
    except OSError as error:
        raise Invalid(f"{directory} cannot hold a store: {error.strerror}") from error
    engine = write_engine(directory)
    try:
        soundness = Soundness(directory)
        migrate(directory, engine)
    except BaseException:
        engine.dispose()
        occupied.close()
        raise
    return occupied, engine, soundness
