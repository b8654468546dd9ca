"""Whether anybody has committed: a stamp in a small file that all processes map, another one after each commit.

To ask SQLite itself takes system calls and lets go of the interpreter, which is a good part of what a question costs.
"""

import mmap
import os
import secrets
import sqlite3
from pathlib import Path


class Commits:
    """The stamp of a directory. Only a commit of ours is seen at once: who changes the file by other means does not
    set it, so whoever serves asks SQLite now and then all the same."""

    def __init__(self, directory: Path) -> None:
        path = directory / "jobs" / "commits"
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.ftruncate(descriptor, 8)
            self._cell = memoryview(mmap.mmap(descriptor, 8)).cast("Q")
        finally:
            os.close(descriptor)

    @property
    def stamp(self) -> int:
        """Another number than ever before as soon as something has been committed, before that is told to anybody."""
        return self._cell[0]

    def renew(self) -> None:
        """Sets another one. Drawn, not counted: two who count at once might come back to a number that was seen."""
        self._cell[0] = secrets.randbits(64)


class Announcing(sqlite3.Connection):
    """A connection whose commits are announced."""

    commits: Commits

    def commit(self) -> None:
        """Commits, and renews the stamp before anybody is told."""
        super().commit()
        self.commits.renew()
