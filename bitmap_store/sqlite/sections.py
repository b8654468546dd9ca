"""Files of aligned arrays and frozen sets under one checksum: written once, then mapped and shared by all processes.

They are derived and never changed, so nothing waits for the disk: a file that a crash cut short fails its
checksum and is made again. What is in them is in `tag_files.py` and `user_rows.py`.
"""

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.containers import widened
from bitmap_store.croaring import ALIGNMENT, frozen_size, mapped, write_frozen

Array = NDArray[Any]

_FOOTER = struct.Struct("<QQQI8s")  # where the checksum begins, where the index is, its length, the CRC-32, magic
_MAGIC = b"TAGROAR1"
_UNCHECKED = 12
"""The last bytes of the footer, which the checksum cannot cover: itself and the magic."""


class Unusable(Exception):
    """A file is not there, or not as it was written."""


class SectionsWriter:
    """Writes a file under a name of its own, which becomes the right one when all is written; a context."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        self._file = self._partial.open("wb", buffering=1 << 20)
        self._at = 0
        self._checksum = self._checked_from = 0
        self._arrays: dict[str, tuple[str, int, int]] = {}
        self._finished = False

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._checksum = zlib.crc32(data, self._checksum)
        self._at += len(data)

    def put(self, array: Array) -> int:
        """Writes an array; where it begins."""
        self._write(bytes(-self._at % ALIGNMENT))
        at = self._at
        if array.size:
            self._write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return at

    def put_set(self, users: BitMap) -> tuple[int, int]:
        """Writes a set in frozen form, widened where it is dense; where it begins and its length."""
        users = widened(users)
        frozen = np.empty(frozen_size(users), np.uint8)
        write_frozen(users, frozen)
        return self.put(frozen), len(frozen)

    def name(self, name: str, array: Array) -> None:
        """Writes an array that is found by name; of records too."""
        descriptor = np.lib.format.dtype_to_descr(array.dtype)
        self._arrays[name] = (descriptor, self.put(array), len(array))  # type: ignore[assignment]

    def stream(self, name: str, dtype: np.dtype[Any], parts: Iterable[Array]) -> None:
        """Writes an array that is found by name, part by part, before all else.

        The checksum of the file does not cover it, as it would have to be read as a whole: who reads it verifies it.
        """
        count = 0
        for part in parts:
            self._write(part.view(np.uint8).data)
            count += len(part)
        self._arrays[name] = (dtype.str, 0, count)
        self._checksum, self._checked_from = 0, self._at

    def finish(self, meta: dict[str, object]) -> None:
        """Ends the file and gives it its name."""
        index = json.dumps({"meta": meta, "arrays": self._arrays}).encode()
        footer = (self._checked_from, self._at, len(index))
        self._write(index)
        self._write(_FOOTER.pack(*footer, 0, b"")[:-_UNCHECKED])
        self._file.write(_FOOTER.pack(*footer, self._checksum, _MAGIC)[-_UNCHECKED:])
        self._file.close()
        self._partial.replace(self._path)
        self._finished = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            self._partial.unlink(missing_ok=True)
            self._file.close()  # which writes what waits, and fails once more where there is no room


class Sections:
    """A mapped file whose checksum was found right. Whatever is taken from it keeps it mapped, deleted or not."""

    def __init__(self, path: Path) -> None:
        """Costs a read of the file, less what was streamed, without the GIL. Raises Unusable."""
        try:
            with path.open("rb") as file:
                self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise Unusable(f"{path.name}: {error}") from error
        self.size = len(self._memory)
        if self.size < _FOOTER.size:
            raise Unusable(f"{path.name} is cut short")
        checked, at, length, checksum, magic = _FOOTER.unpack_from(self._memory, self.size - _FOOTER.size)
        if not checked:
            self._memory.madvise(mmap.MADV_WILLNEED)
        if magic != _MAGIC or zlib.crc32(memoryview(self._memory)[checked:-_UNCHECKED]) != checksum:
            raise Unusable(f"{path.name} does not match its checksum")
        index = json.loads(self._memory[at : at + length])
        self.meta: dict[str, Any] = index["meta"]
        self._arrays: dict[str, tuple[Any, int, int]] = index["arrays"]
        self._bytes = np.frombuffer(self._memory, np.uint8)
        self._address = self._bytes.ctypes.data

    def array(self, dtype: np.dtype[Any], at: int, count: int) -> Array:
        """`count` elements from `at` on."""
        return np.frombuffer(self._memory, dtype, count, at)

    def named(self, name: str) -> Array:
        """The array of this name."""
        descriptor, at, count = self._arrays[name]
        if not isinstance(descriptor, str):
            descriptor = [tuple(field) for field in descriptor]
        return self.array(np.lib.format.descr_to_dtype(descriptor), at, count)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def set_at(self, at: int, size: int) -> BitMap:
        """The set that was put there."""
        return mapped(self._address + at, size, self._memory)
