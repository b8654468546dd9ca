"""Slices: stable shares of all users, cut by a hash of the dense id.

Which ids a slice holds depends on nothing but its seed and bounds, so what was hashed once is kept.
"""

from collections import OrderedDict
from hashlib import blake2b
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of, ids_of
from bitmap_store.containers import KEY_WORDS, Packed
from bitmap_store.plan import Slice
from bitmap_store.stopping import Stop

KEPT_BYTES_MAX = 64 << 20
"""Of all slices that a process keeps."""
_STEP = 1 << 15
"""Ids hashed at a time: what is in between stays in the cache of the core."""


def among(node: Slice, users: BitMap) -> BitMap:
    """Those of these users that are in a slice. Costs about 5 ns a user."""
    ids = ids_of(users)
    kept = np.empty(len(ids), bool)
    key = _key(node.seed)
    for start in range(0, len(ids), _STEP):
        some = slice(start, start + _STEP)
        kept[some] = _within(_hashed(ids[some].astype(np.uint64), key), node)
    return bitmap_of(ids[kept])


def is_thin(users: BitMap, keys: int) -> bool:
    """Whether users are so few among the ids below `keys` · 2^16 that only they are hashed, not all ids."""
    return len(users) < keys << 12


class SliceCache:
    """The ids of slices from 0 up to some key, within a budget of bytes, least recently used out. For any thread."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._lock = Lock()
        self._kept: OrderedDict[Slice, tuple[int, BitMap]] = OrderedDict()

    def ids(self, node: Slice, keys: int, stop: Stop) -> BitMap:
        """All ids of a slice below `keys` · 2^16, and maybe some above, existing or not; not to be changed."""
        with self._lock:
            known, found = self._kept.get(node, (0, BitMap()))
            if known and known >= keys:
                self._kept.move_to_end(node)
            if known >= keys:
                return found
        found = found | _ids(node, known, keys, stop)
        with self._lock:
            self._kept[node] = keys, found
            self._kept.move_to_end(node)
            while sum(map(_bytes, self._kept.values())) > self._bytes_max:
                self._kept.popitem(last=False)
        return found


def _bytes(kept: tuple[int, BitMap]) -> int:
    keys, ids = kept
    return 64 + min(4 * len(ids), 8192 * keys)


SLICES = SliceCache()


def _ids(node: Slice, first: int, keys: int, stop: Stop) -> BitMap:
    result = Packed(keys)
    bits = result.words.view(np.uint8)
    key = _key(node.seed)
    steps = np.arange(_STEP, dtype=np.uint64)
    for start in range(first * KEY_WORDS * 64, keys * KEY_WORDS * 64, _STEP):
        stop.check()
        kept = _within(_hashed(steps + np.uint64(start), key), node)
        bits[start // 8 : (start + _STEP) // 8] = np.packbits(kept, bitorder="little")
    return result.bitmap()


def stable_hash(users: NDArray[np.uint32], seed: str) -> NDArray[np.uint64]:
    """A uniform 32-bit hash of each dense id under a seed, widened to 64 bits.

    The seed gives 64 bits by BLAKE2b; they and the id go through the finalizer of SplitMix64 (Steele,
    Lea, Flood 2014), whose upper half is taken. The same on every machine and version, by contract.
    """
    return _hashed(users.astype(np.uint64), _key(seed))


def _key(seed: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(seed.encode(), digest_size=8).digest(), "little"))


def _hashed(x: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """The hash of ids, in their place."""
    shifted = np.empty_like(x)
    x *= np.uint64(0x9E3779B97F4A7C15)
    x += key
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None)):
        np.right_shift(x, np.uint64(shift), out=shifted)
        x ^= shifted
        if factor is not None:
            x *= np.uint64(factor)
    x >>= np.uint64(32)
    return x


def _within(hashed: NDArray[np.uint64], node: Slice) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = hashed >= np.uint64(node.start)
    if node.end < 1 << 32:
        kept &= hashed < np.uint64(node.end)
    return kept
