"""The log as the file has it: what each version did to each tag.

A process knows where changes are by their entries; what they say is read when it is wanted, and checked.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock

from bitmap_store.bitmaps import checksum, unpacked
from bitmap_store.errors import Damaged
from bitmap_store.rows import decode
from bitmap_store.sqlite.layers import Change


class Forgotten(Exception):
    """A log entry is no longer in the file, because a base there holds it and `asOf` cannot reach it."""


@dataclass(slots=True)
class LogEntry:
    """Where a change is: in hand, else in the file under `id`. in_base: only its rows before were written."""

    version: int
    in_base: bool
    id: int
    change: Change | None = None


def version_of(entry: LogEntry) -> int:
    """The version of an entry, by which they stand in order."""
    return entry.version


class Log:
    """Reads the log, by any thread on one connection. few: so many changes are kept in hand once they were read."""

    def __init__(self, connection: sqlite3.Connection, lock: RLock, few: int) -> None:
        self._connection = connection
        self._lock = lock
        self._few = few

    def news(self, after: int, until: int) -> list[tuple[int, int, int, bool]]:
        """Id, version, tag and whether the base has it of all changes in versions after..until, without the first."""
        with self._lock:
            return self._connection.execute(
                "SELECT id, version, tag_id, after IS NULL FROM change WHERE version > ? AND version <= ? ORDER BY id",
                (after, until),
            ).fetchall()

    def entries(self, tag: int, after: int, until: int) -> list[LogEntry]:
        """The entries of a tag in versions after..until, without the first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT version, after IS NULL, id FROM change WHERE tag_id = ? AND version > ? AND version <= ? "
                "ORDER BY id",
                (tag, after, until),
            ).fetchall()
        return [LogEntry(version, bool(in_base), id_) for version, in_base, id_ in rows]

    def last_change(self, tag: int, version: int) -> int | None:
        """The last version up to this one that changed a tag; None where none is kept."""
        with self._lock:
            found = self._connection.execute(
                "SELECT max(version) FROM change WHERE tag_id = ? AND version <= ?", (tag, version)
            ).fetchone()
        return None if found[0] is None else int(found[0])

    def forgotten(self) -> int:
        """The version before which changes may be missing."""
        with self._lock:
            found = self._connection.execute(
                "SELECT coalesce(max(version), 0) FROM version WHERE moment <= (SELECT horizon FROM store)"
            ).fetchone()
        return int(found[0])

    def changes(self, tag: int, entries: Sequence[LogEntry]) -> list[Change]:
        """The changes of some entries; those that are not in hand are read together, and kept if they are few."""
        found = {entry.id: entry.change for entry in entries}
        missing = [entry for entry in entries if found[entry.id] is None]
        if missing:
            read = {
                id_: (made, change) for id_, made, change in self.read(tag, missing[0].version - 1, missing[-1].version)
            }
            for entry in missing:
                made, found[entry.id] = read.get(entry.id, (0, None))
                if made != entry.version:
                    raise Forgotten
                if len(entries) <= self._few:
                    entry.change = found[entry.id]
        return [change for change in found.values() if change is not None]

    def read(self, tag: int, after: int, until: int) -> list[tuple[int, int, Change]]:
        """Id, version and change of what the file says of a tag in versions after..until, the first not included."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, version, change.checksum, change.touched, change.before, after, change.generation, "
                "staged.checksum, staged.touched, staged.before "
                "FROM change LEFT JOIN staged_change AS staged "
                "ON staged.tag_id = change.tag_id AND staged.generation = change.generation "
                "WHERE change.tag_id = ? AND version > ? AND version <= ? ORDER BY id",
                (tag, after, until),
            ).fetchall()
        found = []
        for id_, version, kept, touched, before, rest, generation, *staged in rows:
            intact = checksum(touched, before, rest or b"") == kept
            if generation is not None:
                intact &= staged[0] is not None and checksum(*staged[1:]) == staged[0]
            if not intact:
                raise Damaged(f"the log entry of version {version} does not match its checksum; restore a backup")
            change = Change(unpacked(touched), decode(before), None if rest is None else decode(rest))
            if generation is not None:  # of an import, without whom others wrote while it was staged
                late = change.touched
                change = Change(unpacked(staged[1]) - late, decode(staged[2]).without(late), None)
            found.append((id_, version, change))
        return found

    def tags(self) -> list[int]:
        """The tags that have entries in the log of the file."""
        with self._lock:
            rows = self._connection.execute(
                "WITH RECURSIVE logged(tag) AS (SELECT min(tag_id) FROM change UNION ALL "
                "SELECT (SELECT min(tag_id) FROM change WHERE tag_id > logged.tag) FROM logged WHERE tag IS NOT NULL) "
                "SELECT tag FROM logged WHERE tag IS NOT NULL"
            )
            return [tag for (tag,) in rows]
