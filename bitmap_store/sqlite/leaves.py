"""Leaves as they were evaluated, in a budget of bytes: the least recently used go first.

A leaf is known by its stamp, the last version that changed its tag (a look-alike by the version that it is of), and
for the moments until the next membership in it ends. Of each leaf the newest stamp is known, because from there it is
carried on.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from pyroaring import BitMap

from bitmap_store.containers import settled
from bitmap_store.croaring import Mapped, frozen_size
from bitmap_store.plan import Alike, Leaf
from bitmap_store.sqlite.layers import Layer, bytes_of


@dataclass(frozen=True, slots=True)
class KnownLeaf:
    """The users of a leaf at a stamp, right for the moments in [since, until)."""

    stamp: int
    users: BitMap
    since: int
    until: int
    is_settled: bool = False


class LeafCache:
    """Leaves, and layers of the past; for any thread. What a base holds anyway does not belong here.

    bytes_max: of what is kept here and of what is reserved for other things.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0  # with those reserved
        self._lock = Lock()
        self._found: OrderedDict[Any, tuple[Any, int]] = OrderedDict()  # with the bytes of each
        self._newest: dict[Leaf | Alike, int] = {}

    @property
    def nbytes(self) -> int:
        """About what is kept takes, and what is reserved."""
        return self._bytes

    def find(self, leaf: Leaf | Alike, stamp: int, moment: int) -> BitMap | None:
        """The users of a leaf if they are known at this stamp for this moment."""
        with self._lock:
            found = self._found.get((leaf, stamp))
            if found is None or not found[0].since <= moment < found[0].until:
                return None
            self._found.move_to_end((leaf, stamp))
            known: KnownLeaf = found[0]
        return known.users if known.is_settled else self._settled(leaf, known)

    def _settled(self, leaf: Leaf | Alike, known: KnownLeaf) -> BitMap:
        """Gives a leaf that is asked for again the form that is read fastest."""
        found = replace(known, users=settled(known.users), is_settled=True)
        with self._lock:
            if (leaf, known.stamp) in self._found:
                newest = self._newest.get(leaf)
                self._put((leaf, known.stamp), found, settled_bytes_of(found.users))
                if newest == known.stamp and (leaf, known.stamp) in self._found:
                    self._newest[leaf] = newest
        return found.users

    def newest(self, leaf: Leaf, moment: int) -> KnownLeaf | None:
        """The leaf at the newest stamp for which it is known, if that holds at this moment."""
        with self._lock:
            found = self._found.get((leaf, self._newest.get(leaf)))
            known: KnownLeaf | None = found[0] if found else None
            return known if known and known.since <= moment < known.until else None

    def keep(self, leaf: Leaf | Alike, known: KnownLeaf, instead_of: int | None = None) -> None:
        """Remembers a leaf; `instead_of` a stamp from which it was carried on."""
        with self._lock:
            if instead_of is not None:
                self._drop((leaf, instead_of))
            self._put((leaf, known.stamp), known, bytes_of(known.users))
            if (leaf, known.stamp) in self._found and self._newest.get(leaf, -1) <= known.stamp:
                self._newest[leaf] = known.stamp

    def reserve(self, size: int) -> None:
        """Leaves so many bytes more to other things; or fewer, where it is below zero."""
        with self._lock:
            self._bytes += size
            self._shrink()

    def find_layer(self, tag: int, since: int, until: int) -> Layer | None:
        """What takes a tag back from version `until` to `since`, if it is known."""
        with self._lock:
            found = self._found.get((tag, since, until))
            if found is None:
                return None
            self._found.move_to_end((tag, since, until))
            layer: Layer = found[0]
            return layer

    def keep_layer(self, tag: int, since: int, until: int, layer: Layer) -> None:
        """Remembers such a layer."""
        with self._lock:
            self._put((tag, since, until), layer, layer.nbytes)

    def _put(self, key: Any, value: Any, size: int) -> None:
        self._drop(key)
        self._found[key] = (value, size)
        self._bytes += size
        self._shrink()

    def _shrink(self) -> None:
        while self._bytes > self._bytes_max and self._found:
            self._drop(next(iter(self._found)))

    def _drop(self, key: Any) -> None:
        found = self._found.pop(key, None)
        if found is not None:
            self._bytes -= found[1]
            if isinstance(found[0], KnownLeaf) and self._newest.get(key[0]) == key[1]:
                del self._newest[key[0]]


def settled_bytes_of(users: BitMap) -> int:
    """What a settled set takes in memory."""
    return 64 + frozen_size(users) if isinstance(users, Mapped) else bytes_of(users)
