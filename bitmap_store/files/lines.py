"""A file as physical lines: numbered, in runs of whole lines, with bounded memory whatever the file holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bitmap_store.files.blocks import Ints

LINE_BYTES_MAX = 1 << 20
BOM = b"\xef\xbb\xbf"
LF, CR = 10, 13


@dataclass(frozen=True, slots=True)
class Lines:
    """A run of whole lines. Line i is data[starts[i]:ends[i]], without its line break, and number first + i."""

    data: bytes
    starts: Ints
    ends: Ints
    first: int
    bytes_done: int

    @classmethod
    def of(cls, data: bytes, first: int, bytes_done: int) -> "Lines":
        """The lines of `data`: LF or CRLF ends one, and the end of the data."""
        buffer = np.frombuffer(data, np.uint8)
        breaks = np.flatnonzero(buffer == LF)
        if not data.endswith(b"\n"):
            breaks = np.append(breaks, len(data))
        starts = np.concatenate(([0], breaks[:-1] + 1))
        returns = (breaks > starts) & (buffer[breaks - 1] == CR)
        return cls(data, starts, breaks - returns, first, bytes_done)

    def __len__(self) -> int:
        """How many."""
        return len(self.starts)

    def after_first(self) -> "Lines":
        """The same without the first line."""
        if len(self) == 1:
            return Lines(b"", self.starts[:0], self.ends[:0], self.first + 1, self.bytes_done)
        cut = int(self.starts[1])
        return Lines(self.data[cut:], self.starts[1:] - cut, self.ends[1:] - cut, self.first + 1, self.bytes_done)

    @property
    def buffer(self) -> NDArray[np.uint8]:
        """The bytes as an array; no copy."""
        return np.frombuffer(self.data, np.uint8)

    def holding(self, byte: int) -> Ints:
        """The lines that hold this byte, ascending; cheap where none does."""
        if self.data.find(byte) < 0:
            return np.empty(0, np.int64)
        return self.around(np.flatnonzero(self.buffer == byte))

    def around(self, places: Ints) -> Ints:
        """The lines that hold these places of the data, ascending, each once; line breaks are in no line."""
        lines = np.searchsorted(self.starts, places, "right") - 1
        return np.unique(lines[places < self.ends[lines]])

    def not_unicode(self) -> Ints:
        """The lines that are not valid UTF-8, ascending."""
        if _is_unicode(self.data):
            return np.empty(0, np.int64)
        suspects = self.around(np.flatnonzero(self.buffer >= 0x80))
        return np.array([i for i in suspects.tolist() if not _is_unicode(self.bytes_of(i))], np.int64)

    def bytes_of(self, line: int) -> bytes:
        """The bytes of one line."""
        return self.data[int(self.starts[line]) : int(self.ends[line])]


def _is_unicode(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def runs_of_lines(path: Path, block_bytes: int) -> Iterator[Lines]:
    """The file in runs of about `block_bytes`, without its byte order mark.

    A line beyond LINE_BYTES_MAX is cut there, which leaves it too long for every reader, so that memory
    stays within three blocks.
    """
    first, carry = 1, b""
    kept = LINE_BYTES_MAX + 2  # a byte over the limit stays visible when the last one is a carriage return
    with path.open("rb") as file:
        if file.read(len(BOM)) != BOM:
            file.seek(0)
        chunk = file.read(block_bytes)
        while chunk:
            following = file.read(block_bytes)
            cut = chunk.rfind(b"\n") + 1 if following else len(chunk)
            if cut:
                lines = Lines.of(carry + chunk[:cut], first, file.tell() - len(following))
                yield lines
                first += len(lines)
                carry = chunk[cut : cut + kept]
            else:
                carry = (carry + chunk)[:kept]
            chunk = following
