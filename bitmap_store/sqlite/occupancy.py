"""Who has the directory of a store open: each process that does shares a lock, and a restore takes it alone.

A restore that did not come to its end leaves a mark, and nobody opens the directory before it is gone.
"""

import fcntl
from pathlib import Path
from typing import IO

from bitmap_store.errors import Conflict, Unavailable

MARK = "restore.unfinished"


def occupy(directory: Path) -> IO[bytes]:
    """Has the directory open until what is given is closed. UNAVAILABLE while a restore works on it, or did not end."""
    held = _locked(directory, fcntl.LOCK_SH)
    if held is None:
        raise Unavailable(f"{directory} is being restored; try again when that is done")
    if (directory / MARK).exists():
        held.close()
        raise Unavailable(f"a restore into {directory} did not come to its end; restore again, with --replace")
    return held


def occupy_alone(directory: Path) -> IO[bytes]:
    """Keeps all others from opening the directory until what is given is closed. CONFLICT when one has it open."""
    held = _locked(directory, fcntl.LOCK_EX)
    if held is None:
        raise Conflict(f"a server or a command has {directory} open; stop it first")
    return held


def _locked(directory: Path, how: int) -> IO[bytes] | None:
    path = directory / "jobs" / "open.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
