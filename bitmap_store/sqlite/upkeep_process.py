"""The process that keeps a store in shape beside those that serve it: folds what is due, then makes its cache."""

import json
import logging
import os
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from bitmap_store.clock import Clock
from bitmap_store.no_pandas import keep_pandas_out
from bitmap_store.sqlite import cache
from bitmap_store.sqlite.database import read_connection, refuse_newer, revision_of, write_engine
from bitmap_store.sqlite.definitions import load_catalog
from bitmap_store.sqlite.fold import fold
from bitmap_store.sqlite.memberships import Memberships
from bitmap_store.sqlite.names import Names
from bitmap_store.sqlite.occupancy import occupy
from bitmap_store.sqlite.writer import Writer

NICENESS = 10
"""How far upkeep stands back for the processes that answer questions."""


def main(settings: dict[str, str | int | float]) -> None:
    """Does what is due in the store that the settings name; nothing while other bulk work goes on."""
    keep_pandas_out()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is for the parent, which ends us in order
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    os.nice(NICENESS)
    directory = Path(str(settings["directory"]))
    occupied = occupy(directory)
    engine, connection = write_engine(directory), read_connection(directory)
    refuse_newer(revision_of(connection), directory)
    memberships = Memberships(connection, cache_bytes_max=0, files=cache.directory_of(directory))
    clock = Clock(datetime.fromisoformat(str(settings["now"])))
    writer = Writer(engine, memberships, Names(directory), clock, ZoneInfo(str(settings["timezone"])), load_catalog)
    try:
        memberships.tail()
        fold(directory, connection, writer, timedelta(seconds=float(settings["retention"])))
        cache.build_alone(directory, connection, float(settings["stale"]))
    finally:
        writer.close()
        occupied.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
