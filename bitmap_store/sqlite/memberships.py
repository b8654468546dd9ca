"""Memberships at any version: the base of each tag and the changes around it, per process.

At version v a user's rows of a tag are those before the earliest change after v, else those after the
latest change that the base does not hold, else the base's. So a write touches no fragment, and any base
serves any version; a tag's base is loaded when it is first asked for.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock, RLock

from pyroaring import BitMap

from bitmap_store.bitmaps import checksum, ids_of, unpacked
from bitmap_store.errors import Damaged, Stale
from bitmap_store.plan import Reading, Tagged, Universe
from bitmap_store.rows import Rows, decode, in_order, is_member, joined, rows_of
from bitmap_store.sqlite.base import Fragment, Leaf, TagBase, members_of_rows
from bitmap_store.values import NEVER


class _Forgotten(Exception):
    """A log entry is no longer in the file, because a base there holds it and `asOf` cannot reach it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one version did to one tag: the users touched, their rows before and after (None: the base has them)."""

    touched: BitMap
    before: Rows
    after: Rows | None


@dataclass(slots=True)
class LogEntry:
    """Where a change is: in hand while it is being written, else in the file under `id`."""

    version: int
    in_base: bool
    id: int | None = None
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Overlay:
    """The users whose rows differ from the base's at a version, and their rows then."""

    covered: BitMap
    rows: Rows


NO_OVERLAY = Overlay(BitMap(), rows_of(0))


class TagState:
    """One tag: its log entries in order of version, its base, the overlay of the newest version read."""

    __slots__ = ("base", "entries", "latest")

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.base: TagBase | None = None
        self.latest: tuple[int, int, Overlay] | None = None  # entries merged, base version, overlay


@dataclass(frozen=True, slots=True)
class CachedLeaf:
    """The users of a leaf, right from one moment until another."""

    users: BitMap
    since: int
    until: int
    size: int


class LeafCache:
    """Leaves as they were evaluated, within a budget of bytes, least recently used out first. For any thread."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lock = Lock()
        self._found: OrderedDict[tuple[Leaf, int], CachedLeaf] = OrderedDict()

    def find(self, key: tuple[Leaf, int], moment: int) -> BitMap | None:
        """The users of the leaf if they are known for this moment."""
        with self._lock:
            found = self._found.get(key)
            if found is None or not found.since <= moment < found.until:
                return None
            self._found.move_to_end(key)
            return found.users

    def keep(self, key: tuple[Leaf, int], users: BitMap, since: int, until: int) -> None:
        """Remembers the users of the leaf for moments in [since, until)."""
        size = 64 + min(4 * len(users), 8192 * ((users.max() >> 16) + 1)) if users else 64
        with self._lock:
            earlier = self._found.pop(key, None)
            self._bytes += size - (earlier.size if earlier else 0)
            self._found[key] = CachedLeaf(users, since, until, size)
            while self._bytes > self._bytes_max and self._found:
                _, oldest = self._found.popitem(last=False)
                self._bytes -= oldest.size


class Memberships:
    """Who has which tag at which version; the leaves of evaluation.

    `lock` guards the log entries and the read connection; it is held for look-ups, never for a commit.
    """

    def __init__(self, connection: sqlite3.Connection, cache_bytes_max: int) -> None:
        self.lock = RLock()
        self.version = 0
        self._folds = 0
        self._connection = connection
        self._tags: dict[int, TagState] = {}
        self._provisional: set[int] = set()
        self._cache = LeafCache(cache_bytes_max)

    # ------------------------------------------------------------ the log

    def tail(self) -> int:
        """Learns of every version that any process has committed; the version of the file."""
        with self.lock:
            version, folds = self._connection.execute("SELECT version, folds FROM store").fetchone()
            if version > self.version:
                self._read_log(version)
            if folds != self._folds:
                self._forget_old_bases()
                self._folds = folds
            return int(version)

    def _forget_old_bases(self) -> None:
        """Lets go of bases that have been brought up to date in the file, so that log entries can be too."""
        for tag, version in self._connection.execute("SELECT tag_id, version FROM base"):
            state = self._tags.get(tag)
            if state is not None and state.base is not None and state.base.version < version:
                state.base = state.latest = None
                for entry in state.entries:
                    if entry.version <= version and entry.id is not None:
                        entry.change = None  # the file has it, and only asOf can want it

    def _read_log(self, version: int) -> None:
        rows = self._connection.execute(
            "SELECT id, version, tag_id, after IS NULL FROM change WHERE version > ? AND version <= ? ORDER BY id",
            (self.version, version),
        )
        for id_, made, tag, in_base in rows:
            if made not in self._provisional:
                self._add(tag, LogEntry(made, bool(in_base), id=id_))
        self._provisional = {made for made in self._provisional if made > version}
        self.version = version

    def _add(self, tag: int, entry: LogEntry) -> None:
        state = self._tags.setdefault(tag, TagState())
        state.entries.append(entry)
        if entry.in_base:
            state.base = state.latest = None  # the base in the file has moved on

    def propose(self, tag: int, version: int, change: Change, id_: int) -> None:
        """Adds the change of a version that is being written; readings of earlier versions do not see it."""
        with self.lock:
            self._provisional.add(version)
            self._add(tag, LogEntry(version, change.after is None, id=id_, change=change))

    def withdraw(self, version: int) -> None:
        """Takes back what was proposed from `version` on, because it was not committed."""
        with self.lock:
            for state in self._tags.values():
                if state.entries and state.entries[-1].version >= version:
                    state.entries = [entry for entry in state.entries if entry.version < version]
                    state.latest = None
            self._provisional = {made for made in self._provisional if made < version}
            if self.version >= version:  # another process has made these versions meanwhile, and they were seen
                seen, self.version = self.version, version - 1
                self._read_log(seen)

    def _change(self, entry: LogEntry) -> Change:
        if entry.change is not None:
            return entry.change
        with self.lock:
            found = self._connection.execute(
                "SELECT checksum, touched, before, after FROM change WHERE id = ?", (entry.id,)
            ).fetchone()
        if found is None:
            raise _Forgotten
        kept, touched, before, after = found
        if checksum(touched, before, after or b"") != kept:
            raise Damaged(f"the log entry of version {entry.version} does not match its checksum; restore a backup")
        return Change(unpacked(touched), decode(before), None if after is None else decode(after))

    def changed_tags(self) -> list[int]:
        """The tags that have entries in the log."""
        return [tag for tag, state in list(self._tags.items()) if state.entries]

    # ------------------------------------------------------------ states of a tag

    def _state(self, tag: int) -> tuple[TagState, TagBase]:
        """The state of a tag with its base, which is loaded together with the log that belongs to it."""
        state = self._tags.get(tag)
        base = None if state is None else state.base
        if state is not None and base is not None:
            return state, base
        with self.lock:
            self._connection.execute("BEGIN")
            try:
                (version,) = self._connection.execute("SELECT version FROM store").fetchone()
                if version > self.version:
                    # The base may hold changes of versions not known yet; undoing them needs their entries.
                    self._read_log(version)
                found = self._connection.execute("SELECT version FROM base WHERE tag_id = ?", (tag,)).fetchone()
                fragments = self._connection.execute(
                    "SELECT value_id, shard, cardinality, ends_first, checksum, users, columns FROM fragment "
                    "WHERE tag_id = ? AND staged = 0 ORDER BY value_id, shard",
                    (tag,),
                )
                base = TagBase(found[0] if found else 0, (Fragment(*row) for row in fragments))
            finally:
                self._connection.execute("COMMIT")
            state = self._tags.setdefault(tag, TagState())
            state.base, state.latest = base, None
            return state, base

    def _at(self, tag: int, version: int) -> tuple[TagBase, Overlay]:
        """The base of a tag, and what is to be said instead of it at a version."""
        state, base = self._state(tag)
        try:
            return base, self._overlay(state, base, version)
        except _Forgotten:  # since the base was loaded the tag was folded; the base in the file needs fewer entries
            with self.lock:
                state.base = state.latest = None
            state, base = self._state(tag)
        try:
            return base, self._overlay(state, base, version)
        except _Forgotten:
            raise Stale("this moment is no longer kept; ask again") from None

    def _overlay(self, state: TagState, base: TagBase, version: int) -> Overlay:
        entries = state.entries
        if not entries or (entries[-1].version <= base.version and entries[-1].version <= version):
            return NO_OVERLAY
        until = len(entries)
        while until and entries[until - 1].version > version:
            until -= 1
        overlay = self._redone(state, base, entries, until)
        return overlay if until == len(entries) else self._undone(overlay, entries[until:])

    def _redone(self, state: TagState, base: TagBase, entries: Sequence[LogEntry], until: int) -> Overlay:
        """The rows after the first `until` entries, as far as the base does not hold them."""
        start, overlay = 0, NO_OVERLAY
        latest = state.latest
        if latest is not None and latest[1] == base.version and latest[0] <= until:
            start, overlay = latest[0], latest[2]
        covered, parts = overlay.covered, [overlay.rows]
        for entry in entries[start:until]:
            if entry.version <= base.version or entry.in_base:
                continue
            change = self._change(entry)
            assert change.after is not None
            parts = [_without(part, change.touched) for part in parts]
            parts.append(change.after)
            covered = covered | change.touched
            if len(parts) > 64:
                parts = [joined(parts)]
        if len(parts) > 1:
            overlay = Overlay(covered, in_order(joined(parts)))
        if latest is None or latest[0] <= until:
            state.latest = (until, base.version, overlay)
        return overlay

    def _undone(self, overlay: Overlay, later: Sequence[LogEntry]) -> Overlay:
        """The rows before the later entries: each user's from the earliest that touched it."""
        covered = BitMap()
        parts: list[Rows] = []
        for entry in later:
            change = self._change(entry)
            fresh = change.touched - covered
            if fresh:
                parts.append(_only(change.before, fresh))
                covered |= fresh
        parts.append(_without(overlay.rows, covered))
        return Overlay(overlay.covered | covered, in_order(joined(parts)))

    def _stamp(self, state: TagState | None, version: int) -> int:
        """The last version up to `version` that changed the tag: the same stamp, the same members."""
        if state is not None:
            for entry in reversed(state.entries):
                if entry.version <= version:
                    return entry.version
        return 0

    # ------------------------------------------------------------ what readings ask

    def universe(self, reading: Reading) -> BitMap:
        """Everyone of the reading's entity who exists."""
        return self.leaf(Tagged(-reading.entity), reading)

    def leaf(self, node: Leaf, reading: Reading) -> BitMap:
        """The users of a leaf; must not be changed."""
        state, _ = self._state(node.tag)
        key = (node, self._stamp(state, reading.version))
        known = self._cache.find(key, reading.moment)
        if known is not None:
            return known
        base, overlay = self._at(node.tag, reading.version)
        users = base.members(node, reading.moment)
        until = base.next_end(reading.moment)
        if overlay.covered:
            users = (users - overlay.covered) | members_of_rows(node, reading.moment, overlay.rows)
            until = min(until, _next_end(overlay.rows, reading.moment))
        self._cache.keep(key, users, reading.moment, until)
        return users

    def known(self, node: Leaf | Universe, reading: Reading) -> BitMap | None:
        """What `leaf` or `universe` gives, where it is at hand; None where it would have to be made."""
        leaf = Tagged(-reading.entity) if isinstance(node, Universe) else node
        state = self._tags.get(leaf.tag)
        if state is None:
            return None
        return self._cache.find((leaf, self._stamp(state, reading.version)), reading.moment)

    def rows(self, tag: int, version: int, users: BitMap | None = None) -> Rows:
        """The rows of these users (or of all) at a version, expired ones included, in canonical order."""
        base, overlay = self._at(tag, version)
        if users is None:
            kept = _without(base.rows(), overlay.covered)
            return in_order(joined([kept, overlay.rows]))
        return in_order(joined([base.rows(users - overlay.covered), _only(overlay.rows, users)]))

    def touched_since(self, tag: int, version: int) -> BitMap:
        """The users whose rows of a tag changed after `version`."""
        state = self._tags.get(tag)
        found = BitMap()
        for entry in state.entries if state else ():
            if entry.version > version:
                found |= self._change(entry).touched
        return found

    def overlaid(self, tag: int, version: int) -> BitMap:
        """The users whose rows of a tag are not in its base as they are at a version."""
        return self._at(tag, version)[1].covered


def _only(rows: Rows, users: BitMap) -> Rows:
    return rows.take(is_member(rows["user"], ids_of(users))) if len(rows) else rows


def _without(rows: Rows, users: BitMap) -> Rows:
    return rows.take(~is_member(rows["user"], ids_of(users))) if len(rows) and users else rows


def _next_end(rows: Rows, moment: int) -> int:
    later = rows["expires"][rows["expires"] > moment]
    return int(later.min()) if len(later) else NEVER
