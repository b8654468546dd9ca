"""Memory for what an import has to remember of its file: some of its own, and beyond that a file without a name.

The system writes pages of the file out when it needs the room, so that large imports do not crowd out the rest;
when the process ends, however it ends, the file is gone.
"""

import mmap
import os
import tempfile
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bitmap_store.errors import Unavailable
from bitmap_store.rows import NAMES, Rows, is_constant

A = TypeVar("A", bound=np.generic)
CHUNK_BYTES = 256 << 20
SMALL_BYTES = 256
"""Arrays of fewer bytes stay in memory."""


class Spool:
    """Keeps arrays, of any thread. bytes_max: of memory of its own, else a quarter of the machine's; the directory is
    that of the file."""

    def __init__(self, directory: Path, bytes_max: int | None = None) -> None:
        self._directory = directory
        self._left = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 if bytes_max is None else bytes_max
        self._lock = Lock()
        self._file: int | None = None
        self._size = 0
        self._chunk = np.empty(0, np.uint8)
        self._used = 0

    def kept(self, array: NDArray[A]) -> NDArray[A]:
        """The array, or a copy that takes no memory for good; not to be changed."""
        size = array.nbytes
        with self._lock:
            if size <= SMALL_BYTES or size <= self._left:
                self._left -= size
                return array
            if size > len(self._chunk) - self._used:
                self._grow(size)
            place = self._chunk[self._used : self._used + size]
            self._used += -(-size // 64) * 64
        copy = place.view(array.dtype)
        copy[:] = array
        return copy

    def kept_rows(self, rows: Rows) -> Rows:
        """Rows, with columns that are kept."""
        columns = {name: rows[name] for name in NAMES}
        return Rows(len(rows), {name: each if is_constant(each) else self.kept(each) for name, each in columns.items()})

    def _grow(self, size: int) -> None:
        """Another piece of the file. Its room on the disk is taken at once, as a page cannot say that there is none."""
        if self._file is None:
            with tempfile.TemporaryFile(dir=self._directory) as file:
                self._file = os.dup(file.fileno())
        size = max(CHUNK_BYTES, -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY)
        try:
            os.posix_fallocate(self._file, self._size, size)
        except OSError as error:
            raise Unavailable(
                f"there is no room on the disk for what the import has to remember: {error.strerror}"
            ) from error
        self._chunk = np.frombuffer(mmap.mmap(self._file, size, offset=self._size), np.uint8)
        self._size += size
        self._used = 0

    def close(self) -> None:
        """Lets go of the file; what is kept in it stays readable as long as it is used."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
