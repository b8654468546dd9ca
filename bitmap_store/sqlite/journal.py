"""Versions and changes as one write transaction makes them: written together, and taken back batch by batch.

A transaction is of many batches; two statements for all of their rows cost a tenth of two for each.
"""

import sqlite3

from pyroaring import BitMap

from bitmap_store.bitmaps import checksum, packed
from bitmap_store.rows import Rows, encode, rows_of
from bitmap_store.sqlite.layers import Change
from bitmap_store.sqlite.memberships import Memberships

Mark = tuple[int, int]
"""How many versions and changes there are."""

NOTHING: Mark = (0, 0)


class Journal:
    """The log of one write transaction, before it is in the file. version, moment, id_: the last ones there."""

    def __init__(self, raw: sqlite3.Connection, memberships: Memberships, version: int, moment: int, id_: int) -> None:
        self._raw = raw
        self._memberships = memberships
        self._first = self._last = (version, moment)
        self._id = id_
        self._versions: list[tuple[int, int]] = []
        self._changes: list[tuple[int, int, int, int, bytes, bytes, bytes | None, int | None]] = []
        self._written = (0, 0)

    @property
    def version(self) -> int:
        """The version that was made last."""
        return self._last[0]

    @property
    def moment(self) -> int:
        """When that was."""
        return self._last[1]

    def next_version(self, moment: int) -> int:
        """Makes a version."""
        self._last = self.version + 1, moment
        self._versions.append(self._last)
        return self.version

    def record(self, tag: int, change: Change) -> None:
        """Adds the change of one tag to the version that was made last."""
        self._add(tag, change.touched, change.before, change.after)
        self._memberships.propose(tag, self.version, change, self._id)

    def record_flip(self, tag: int, generation: int, late: BitMap) -> None:
        """Adds that staged fragments of a tag have come to hold. What that changed is staged too, and counts except
        for the users who were written meanwhile."""
        self._add(tag, late, rows_of(0), None, generation)
        self._memberships.propose_flip(tag, self.version, self._id)

    def _add(self, tag: int, touched: BitMap, before: Rows, after: Rows | None, generation: int | None = None) -> None:
        blobs = packed(touched), encode(before), None if after is None else encode(after)
        kept = checksum(*(blob or b"" for blob in blobs))
        self._id += 1
        self._changes.append((self._id, self.version, tag, kept, *blobs, generation))

    def mark(self) -> Mark:
        """Where the journal stands, for `withdraw`."""
        return len(self._versions), len(self._changes)

    def withdraw(self, mark: Mark) -> None:
        """Takes back what was added since; what was written of that is taken back by the file's savepoint."""
        versions, changes = mark
        if len(self._versions) > versions:
            self._memberships.withdraw(self._versions[versions][0])
            self._last = self._versions[versions - 1] if versions else self._first
        del self._versions[versions:], self._changes[changes:]
        self._written = (min(self._written[0], versions), min(self._written[1], changes))

    def write(self) -> None:
        """Puts into the file what is not there yet."""
        versions, changes = self._written
        if len(self._versions) > versions:
            self._raw.executemany("INSERT INTO version (version, moment) VALUES (?, ?)", self._versions[versions:])
            self._raw.execute("UPDATE store SET version = ?", (self.version,))
        if len(self._changes) > changes:
            self._raw.executemany(
                "INSERT INTO change (id, version, tag_id, checksum, touched, before, after, generation) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                self._changes[changes:],
            )
        self._written = self.mark()
