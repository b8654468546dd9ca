"""How a tag stands in a process: its base, and what is known of the changes around it."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

from pyroaring import BitMap

from bitmap_store.rows import Rows
from bitmap_store.sqlite.base import TagBase
from bitmap_store.sqlite.layers import Layer
from bitmap_store.sqlite.log import LogEntry, version_of

ENTRY_BYTES = 1_200
"""About what an entry takes in memory with its change in hand."""


@dataclass(slots=True)
class Touched:
    """Whom the later entries touch that are in no layer, up to the entry at `place`, and maybe others. Grows as it
    is asked for; threads that do so at once see to the same entries."""

    place: int = 0
    users: BitMap = field(default_factory=BitMap)


@dataclass(frozen=True, slots=True)
class Standing:
    """The base of a tag and what is known of its changes; replaced as a whole, except that entries are appended.

    floor: the last version that changed the tag before those named here. old: the versions of older entries, which
    are known by nothing else. entries: the later ones. sealed: up to which version the layers say what changed, as
    far as the base does not. flips: the entries after the base's version that it holds all the same.
    """

    base: TagBase
    floor: int
    old: "array[int]"
    entries: list[LogEntry]
    flips: Sequence[LogEntry] = ()
    layers: tuple[Layer, ...] = ()
    sealed: int = 0
    _touched: Touched = field(default_factory=Touched, init=False)

    def is_base(self, version: int) -> bool:
        """Whether the base alone says all at a version: what was written since, if anything, it holds already."""
        flips = self.flips
        if self.layers or len(self.old) + len(self.entries) != len(flips):
            return False
        return not (flips and flips[-1].version > version)

    def stamp(self, version: int) -> int | None:
        """The last version up to this one that changed the tag; None for one before the floor."""
        entries = self.entries
        if entries and entries[-1].version <= version:
            return entries[-1].version
        if entries and entries[0].version <= version:
            return entries[bisect_right(entries, version, key=version_of) - 1].version
        if self.old and self.old[0] <= version:
            return self.old[bisect_right(self.old, version) - 1]
        return self.floor if version >= self.floor else None

    def count(self, after: int, until: int) -> int:
        """How many entries are of versions after..until, the first not included."""
        of_old = bisect_right(self.old, until) - bisect_right(self.old, after)
        return of_old + len(self.between(after, until))

    def between(self, after: int, until: int) -> list[LogEntry]:
        """Those of the later entries that are of versions after..until, the first not included."""
        entries = self.entries
        end = len(entries)
        if end and entries[-1].version > until:
            end = bisect_right(entries, until, key=version_of)
        return entries[bisect_right(entries, after, 0, end, key=version_of) : end]

    def later_rows(self, version: int, users: BitMap) -> tuple[list[Rows], BitMap] | None:
        """The rows at a version of users whom entries touch that are in no layer, and the other users; None where the
        base or a layer holds what is later, or an entry is not in hand. Who was not written lately costs one look."""
        if version < self.sealed or not self.says_all_since(version):
            return None
        entries, touched = self.entries, self._touched
        place = touched.place or bisect_right(entries, self.sealed, key=version_of)
        fresh = entries[place:]
        for entry in fresh:
            if entry.change is not None:
                touched.users |= entry.change.touched
            elif not entry.in_base:
                return None
        touched.place = place + len(fresh)
        parts: list[Rows] = []
        left = users - touched.users
        if len(left) < len(users):
            tail = self.between(self.sealed, version)
            for user in users - left:
                found = _last_of(tail, user)
                if found is None:
                    left.add(user)
                else:
                    parts.append(found)
        return parts, left

    def has_all(self, after: int) -> bool:
        """Whether all entries after a version are among the later ones."""
        return after >= (self.old[-1] if self.old else self.floor)

    def says_all_since(self, version: int) -> bool:
        """Whether all changes after a version are in the layers and the later entries."""
        return version >= self.floor and not (self.flips and self.flips[-1].version > version)


def _last_of(tail: Sequence[LogEntry], user: int) -> Rows | None:
    """The rows of a user after the last entry that touches it."""
    for entry in reversed(tail):
        change = entry.change
        if change is not None and change.after is not None and user in change.touched:
            return change.after.of_few(BitMap([user]))
    return None


@dataclass(slots=True, eq=False)
class TagState:
    """One tag: how it stands (None: its base in the file has moved on), and what a new standing begins with."""

    floor: int
    entries: list[LogEntry]
    old: "array[int]" = field(default_factory=lambda: array("q"))
    flips: list[LogEntry] = field(default_factory=list)
    layers: tuple[Layer, ...] = ()
    standing: Standing | None = None
    reserved: int = 0
    merging: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.flips = [entry for entry in self.entries if entry.in_base]

    def add(self, entry: LogEntry) -> None:
        """Another entry; later than all others."""
        self.entries.append(entry)
        if entry.in_base:
            self.flips.append(entry)

    def withdraw(self, version: int) -> None:
        """Takes entries back, from a version on."""
        self.entries = self.entries[: bisect_left(self.entries, version, key=version_of)]
        self.flips = [entry for entry in self.flips if entry.version < version]

    def rise(self, version: int) -> None:
        """Forgets entries that a base of this version holds."""
        of_old = bisect_right(self.old, version)
        later = bisect_right(self.entries, version, key=version_of)
        if later:
            self.floor = self.entries[later - 1].version
        elif of_old:
            self.floor = self.old[of_old - 1]
        self.old, self.entries = self.old[of_old:], self.entries[later:]
        self.flips = [entry for entry in self.flips if entry.version > version]
        self.layers = tuple(layer for layer in self.layers if layer.until > version)

    @property
    def nbytes(self) -> int:
        """About what is known of changes takes in memory."""
        return sum(layer.nbytes for layer in self.layers) + 8 * len(self.old) + ENTRY_BYTES * len(self.entries)

    def age(self, count: int) -> None:
        """Keeps of the first entries nothing but their versions."""
        self.old = self.old + array("q", [entry.version for entry in self.entries[:count]])
        self.entries = self.entries[count:]
