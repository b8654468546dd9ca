"""How a tag stands in a process: its base, and what is known of the changes around it."""

from bisect import bisect_right
from dataclasses import dataclass
from threading import Lock

from bitmap_store.sqlite.base import TagBase
from bitmap_store.sqlite.layers import Layer
from bitmap_store.sqlite.log import LogEntry, version_of


@dataclass(frozen=True, slots=True)
class Standing:
    """The base of a tag and what is known of its changes; replaced as a whole, except that entries are appended.

    floor: the last version that changed the tag before the entries. flips: entries after the base's version that
    it holds all the same. layers: what the entries before the one at `tail` say, as far as the base does not.
    """

    base: TagBase
    floor: int
    entries: list[LogEntry]
    flips: tuple[LogEntry, ...]
    layers: tuple[Layer, ...] = ()
    tail: int = 0

    def count_until(self, version: int) -> int:
        """How many entries are of versions up to this one."""
        entries = self.entries
        count = len(entries)
        if not count or entries[-1].version <= version:
            return count
        return bisect_right(entries, version, key=version_of)

    def is_base(self, version: int) -> bool:
        """Whether the base alone says all at a version: what was written since, if anything, it holds already."""
        flips = self.flips
        return not self.layers and len(self.entries) == len(flips) and not (flips and flips[-1].version > version)

    def says_all_since(self, version: int) -> bool:
        """Whether all changes after a version are in the layers and the tail."""
        return version >= self.floor and not (self.flips and self.flips[-1].version > version)


class TagState:
    """One tag: how it stands (None: its base in the file has moved on), and its log from `floor` on."""

    __slots__ = ("entries", "floor", "layers", "merging", "standing")

    def __init__(self, entries: list[LogEntry], floor: int) -> None:
        self.entries = entries
        self.floor = floor
        self.standing: Standing | None = None
        self.layers: tuple[Layer, ...] = ()
        self.merging = Lock()
