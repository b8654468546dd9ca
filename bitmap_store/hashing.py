"""Columns of short texts as bytes in one buffer: eight at a time, hashed, compared, all rows at once.

What is kept under their hashes is in `dictionary.py`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]

LONGEST = 512
"""Longer texts can be asked for, but none is ever found."""
PADDING = 8
"""Bytes that a buffer has beyond its last text, so that eight can be read where any text begins."""
BLOCK = 1 << 14
"""Rows that are worked on together: their columns of numbers stay in the cache of a core."""
_FEW = 8
_WORDS_MAX = LONGEST // 8
_LOW = np.uint64(2**32 - 1)
_HALF = np.uint64(32)
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
"""The bytes of a word that belong to a text of which so many are left."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts side by side in `data`, which has PADDING bytes more; text i is data[offsets[i]:offsets[i + 1]]."""

    data: Bytes
    offsets: Places

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> Self:
        """The texts of an Arrow column of strings or bytes; null is the empty text. One copy of the bytes."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if not pa.types.is_large_string(column.type) and not pa.types.is_large_binary(column.type):
            narrow = pa.types.is_string(column.type) or pa.types.is_binary(column.type)
            column = column if narrow else column.cast(pa.large_string())
        if column.null_count:
            column = pc.fill_null(column, pa.scalar("", column.type))
        wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
        _, offsets, data = column.buffers()
        if not len(column):
            return cls(np.zeros(PADDING, np.uint8), np.zeros(1, np.int64))
        width = np.dtype(np.int64 if wide else np.int32)
        found = np.frombuffer(offsets, width, len(column) + 1, column.offset * width.itemsize).astype(np.int64)
        first, size = int(found[0]), int(found[-1] - found[0])
        copied = np.zeros(size + PADDING, np.uint8)
        if size:
            copied[:size] = np.frombuffer(data, np.uint8, size, first)
        return cls(copied, found - first if first else found)

    @classmethod
    def of_list(cls, texts: Sequence[str]) -> Self:
        """The same of Python's; a text that is no Unicode is bytes that no other text has."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        return cls(np.frombuffer(b"".join([*encoded, bytes(PADDING)]), np.uint8), offsets)

    def __len__(self) -> int:
        """How many."""
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Places:
        """The bytes of each."""
        return np.diff(self.offsets)

    @cached_property
    def words(self) -> Words:
        """The eight bytes from any byte on, as one number; a view."""
        return words_of(self.data)

    def text(self, place: int) -> bytes:
        """One of them."""
        return self.data[self.offsets.item(place) : self.offsets.item(place + 1)].tobytes()

    def slice(self, start: int, stop: int) -> "Texts":
        """Those from start up to stop, without a copy."""
        return Texts(self.data, self.offsets[start : stop + 1])

    def array(self) -> pa.Array:
        """All of them as Arrow has it, without a copy."""
        buffers = [None, pa.py_buffer(np.ascontiguousarray(self.offsets)), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(pa.large_string(), len(self), buffers)


def words_of(data: Bytes) -> Words:
    """The eight bytes from any byte of a padded buffer on, as one number; a view that overlaps itself."""
    return np.ndarray((len(data) - 7,), "<u8", data, 0, (1,))


def joined(parts: Sequence[Texts]) -> Texts:
    """All texts of all parts, in one buffer."""
    if len(parts) == 1:
        return parts[0]
    sizes = [int(part.offsets[-1] - part.offsets[0]) for part in parts]
    data = np.zeros(sum(sizes) + PADDING, np.uint8)
    offsets = np.zeros(sum(map(len, parts)) + 1, np.int64)
    at, row = 0, 0
    for part, size in zip(parts, sizes, strict=True):
        first = int(part.offsets[0])
        data[at : at + size] = part.data[first : first + size]
        offsets[row + 1 : row + 1 + len(part)] = part.offsets[1:] - (first - at)
        at, row = at + size, row + len(part)
    return Texts(data, offsets)


class Hash:
    """A hash of 32 bits from a secret seed, of whole columns (6 operations a word of 8 bytes) and of single texts.

    Pairwise multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): the upper half
    of key + sum((low + key) * (high + key)) modulo 2^64. Whatever two texts are, they meet with a chance of 2^-32, so
    nobody can write texts that all meet. A text with zero bytes at its end hashes as without them.
    """

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        keys = np.frombuffer(hashlib.shake_256(seed).digest(8 * (1 + 2 * _WORDS_MAX)), "<u8")
        self._first, self._low, self._high = keys[0], keys[1::2], keys[2::2]
        self._one = [int(key) for key in keys]

    def of(self, texts: Texts) -> Words:
        """The hash of each text, below 2^32; about 10 nanoseconds one of 10 bytes."""
        found = np.empty(len(texts), np.uint64)
        for start in range(0, len(texts), BLOCK):
            stop = min(start + BLOCK, len(texts))
            found[start:stop] = self._block(texts.slice(start, stop))
        return found

    def _block(self, texts: Texts) -> Words:
        starts, lengths = texts.offsets[:-1], texts.lengths
        words = texts.words
        found = np.full(len(starts), self._first)
        longest = int(lengths.max(initial=0))
        shortest = int(lengths.min(initial=longest))
        for i in range(min(_WORDS_MAX, (longest + 7) // 8)):
            left = lengths - 8 * i
            if shortest > 8 * i:  # all go on
                found += self._product(i, _masked(words[starts + 8 * i], left))
            else:
                rows = np.flatnonzero(left > 0)
                found[rows] += self._product(i, _masked(words[starts[rows] + 8 * i], left[rows]))
        hashes: Words = found >> _HALF
        return hashes

    def _product(self, i: int, word: Words) -> Words:
        found: Words = ((word & _LOW) + self._low[i]) * ((word >> _HALF) + self._high[i])
        return found

    def of_one(self, text: bytes) -> int:
        """The hash of one text; about 0.4 microseconds for each 8 bytes."""
        keys = self._one
        found, at = keys[0], 1
        for i in range(0, min(len(text), LONGEST), 8):
            word = int.from_bytes(text[i : i + 8], "little")
            found += ((word & 0xFFFFFFFF) + keys[at]) * ((word >> 32) + keys[at + 1])
            at += 2
        return (found & 0xFFFFFFFFFFFFFFFF) >> 32


@dataclass(frozen=True, eq=False)
class Hashed:
    """A column of texts with the hash of each."""

    texts: Texts
    hash: Hash
    hashes: Words

    @classmethod
    def of(cls, texts: Texts, hash_: Hash) -> Self:
        """The texts, hashed; a few one by one, which is faster then."""
        if len(texts) <= _FEW:
            ones = [hash_.of_one(texts.text(place)) for place in range(len(texts))]
            return cls(texts, hash_, np.array(ones, np.uint64))
        return cls(texts, hash_, hash_.of(texts))

    def __len__(self) -> int:
        """How many."""
        return len(self.hashes)

    def under(self, hash_: Hash) -> "Hashed":
        """The same under another hash; costs nothing where it is the same one."""
        same = self.hash is hash_ or (type(self.hash) is type(hash_) and self.hash.seed == hash_.seed)
        return self if same else Hashed.of(self.texts, hash_)

    def take(self, rows: Places) -> "Hashed":
        """Some of them."""
        if len(rows) == len(self) and bool((np.diff(rows) == 1).all()):
            return self
        return Hashed(Texts.of(self.texts.array().take(pa.array(rows))), self.hash, self.hashes[rows])


def equal(a: Texts, rows: NDArray[np.integer[Any]], b: Texts, places: NDArray[np.integer[Any]]) -> Mask:
    """Whether text rows[i] of a is text places[i] of b, byte by byte."""
    starts, others = a.offsets[rows], b.offsets[places]
    lengths = a.offsets[rows + 1] - starts
    same: Mask = lengths == b.offsets[places + 1] - others
    longest = int(lengths.max(initial=0, where=same))
    for i in range((longest + 7) // 8):
        left = lengths - 8 * i
        if same.all() and left.min(initial=1) > 0:
            same = _masked(a.words[starts + 8 * i] ^ b.words[others + 8 * i], left) == 0
        else:
            at = np.flatnonzero(same & (left > 0))
            different = _masked(a.words[starts[at] + 8 * i] ^ b.words[others[at] + 8 * i], left[at]) != 0
            same[at[different]] = False
    return same


def _masked(word: Words, left: Places) -> Words:
    """The words without the bytes beyond the end of their texts, of which `left` bytes, more than none, are left."""
    if left.min(initial=8) >= 8:
        return word
    found: Words = word & _MASKS[np.minimum(left, 8)]
    return found
