"""Outside names and dense ids: the dictionary of each entity kind, append-only and without versions.

A name may have its dense id before its user exists (an import reserves ids first); existing is a
membership. Names are given in `naming.py`; identifiers, which have versions, are in `identifiers.py`.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bitmap_store.dictionary import Dictionary, GrowingDictionary, empty_dictionary, merged
from bitmap_store.errors import Damaged, NotFound
from bitmap_store.hashing import Hash, Hashed, Places, Texts
from bitmap_store.sqlite import name_blocks, name_snapshots
from bitmap_store.sqlite.database import read_connection
from bitmap_store.sqlite.identifiers import kinds_of, owners

FEW = 32
"""Names that are faster looked up one by one."""
FAR = 10_000
"""Names that take some milliseconds to read."""
TAIL_FROM = 100_000
"""Names beyond the file of names, at least and as one part in 20, from which on a new one is worth writing."""


class Known:
    """The names of the first dense ids of an entity kind: those of a mapped file, and those given since.

    start: ids before it have no name. base: from `start` on.
    """

    def __init__(self, start: int, base: Dictionary) -> None:
        self.start = start
        self.base = base
        self.count = self._after = start + len(base)
        self._tail = GrowingDictionary(base.hash)

    def __len__(self) -> int:
        """The dense id after the last."""
        return self.count

    @property
    def tail(self) -> Dictionary:
        """Those that the file does not have."""
        return self._tail.now

    @property
    def hash(self) -> Hash:
        """The hash of both."""
        return self.base.hash

    def add(self, names: Hashed) -> None:
        """Adds the names of the next dense ids."""
        self._tail.add(names)
        self.count += len(names)  # only now, so that who reads it finds as many

    def find(self, asked: Hashed) -> Places:
        """The dense id of each name, -1 where it is not known."""
        asked, tail = asked.under(self.hash), self.tail
        found = self.base.find(asked)
        if self.start:
            found[found >= 0] += self.start
        if len(tail):
            rest = np.flatnonzero(found < 0)
            later = tail.find(asked, rest)[rest]
            found[rest] = np.where(later < 0, -1, later + self._after)
        return found

    def find_one(self, name: str) -> int:
        """The dense id of a name, -1 where it is not known; 2 or 3 microseconds."""
        text = name.encode("utf-8", "surrogatepass")
        tag = self.base.hash.of_one(text)
        place = self.base.find_one(text, tag)
        if place >= 0:
            return place + self.start
        place = self.tail.find_one(text, tag)
        return place if place < 0 else place + self._after

    def name(self, dense: int) -> str:
        """The name of a dense id that is known."""
        late = dense >= self._after
        text = self.tail.texts.text(dense - self._after) if late else self.base.texts.text(dense - self.start)
        return text.decode()

    def names(self, users: NDArray[np.integer[Any]]) -> pa.Array:
        """The names of dense ids, null for one that is not known or has none."""
        users = users.astype(np.int64)
        parts, rows = [], []
        for first, names in ((self.start, self.base), (self._after, self.tail)):
            here = (users >= first) & (users < first + len(names))
            if here.all():
                return names.take(users - first)
            rows.append(np.flatnonzero(here))
            parts.append(names.take(users[rows[-1]] - first))
        there = np.concatenate(rows)
        places = np.full(len(users), -1)
        places[there] = np.arange(len(there))
        return pa.concat_arrays(parts).take(pa.array(places, mask=places < 0))

    def since(self, dense: int) -> list[Texts]:
        """The names of all ids from `dense` on."""
        tail = self.tail.texts
        early = [self.base.texts.slice(dense - self.start, len(self.base))] if dense < self._after else []
        return [*early, tail.slice(max(dense - self._after, 0), len(tail))]


class Names:
    """What one process knows of names, and learns of others' as they are asked for; for any thread.

    Looking up takes no lock: what is known is added to beyond what others look at.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._connection = read_connection(directory)
        self._lock = RLock()  # of the connection, and of adding to what is known
        self._known: dict[int, Known] = {}
        self.given: dict[int, int] = {}  # by entity kind: the next dense id as it was when somebody last looked

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()

    # ------------------------------------------------------------ from names

    def dense_of(self, entity: int, names: Sequence[str], id_kind: str | None = None) -> list[int | None]:
        """The dense id of each name, by an identifier of a kind if one is given; some 3 microseconds each of a few."""
        if id_kind is not None:
            with self._lock:
                found = owners(self._connection, entity, names, id_kind)
            return [found.get(name) for name in names]
        known = self._known.get(entity)
        if known is None:
            known = self.learn(entity)
        count = known.count
        dense = found_in(known, names)
        if -1 in dense and self.learn(entity).count > count:
            dense = found_in(self._known[entity], names)
        return [None if each < 0 else each for each in dense]

    def resolve_column(self, entity: int, column: pa.Array | pa.ChunkedArray) -> Places:
        """The dense id of each row of a column of strings (or of whole numbers, for their decimal text), -1 where it
        is not known. What stands in runs of equal rows is looked up once a run; else some 0.15 microseconds a row."""
        distinct, rows = without_runs(column)
        found = self.find(entity, self.hashed(entity, distinct))
        return found if rows is None else found[rows]

    def hashed(self, entity: int, names: pa.Array) -> Hashed:
        """Names as they are looked up without being hashed again."""
        return Hashed.of(Texts.of(names), (self._known.get(entity) or self.learn(entity)).hash)

    def find(self, entity: int, asked: Hashed) -> Places:
        """The dense id of each name, -1 where it is not known."""
        known = self._known.get(entity) or self.learn(entity)
        count = known.count
        found = known.find(asked)
        if (found < 0).any() and (known := self.learn(entity)).count > count:
            found = known.find(asked)
        return found

    def dense_of_integers(self, entity: int, numbers: NDArray[np.integer[Any]]) -> Places:
        """The dense ids of names that are decimal texts of whole numbers, -1 where one is not known."""
        return self.resolve_column(entity, pa.array(numbers))

    def check_kind(self, entity: int, id_kind: str, *, argument: str | None = None) -> None:
        """NOT_FOUND, with the nearest, for a kind of which nobody has an identifier: a typo would find nobody."""
        with self._lock:
            known = kinds_of(self._connection, entity, id_kind)
        if known is not None:
            raise NotFound.named("kind of identifier", id_kind, known, argument=argument)

    # ------------------------------------------------------------ to names

    def names_of(self, entity: int, users: NDArray[np.integer[Any]]) -> pa.Array:
        """The name of each dense id, null for one that was not given; some 50 nanoseconds each."""
        return self._up_to(entity, int(users.max(initial=0))).names(users)

    def listed(self, entity: int, users: Sequence[int]) -> list[str]:
        """The same in a list, of ids that were given; about a microsecond each of a few."""
        if len(users) > FEW:
            found: list[str] = self.names_of(entity, np.array(users, np.int64)).to_pylist()
            return found
        known = self._up_to(entity, max(users, default=0))
        return [known.name(user) for user in users]

    def _up_to(self, entity: int, dense: int) -> Known:
        known = self._known.get(entity)
        return self.learn(entity) if known is None or dense >= known.count else known

    # ------------------------------------------------------------ what is known

    def learn(self, entity: int, connection: sqlite3.Connection | None = None) -> Known:
        """All names that are committed, or that the connection sees; costs what is new of them. Raises Damaged."""
        with self._lock:
            connection = connection or self._connection
            row = connection.execute("SELECT next_dense FROM entity WHERE id = ?", (entity,)).fetchone()
            given: int = row[0] if row else 0
            known = self._known.get(entity)
            if known is not None and len(known) >= given:
                return known
            if not known or given - len(known) > TAIL_FROM:
                known = self._adopted(connection, entity, known)
            for texts in name_blocks.read(connection, entity, len(known)):
                known.add(Hashed.of(texts, known.hash))
            if len(known) < given:
                raise Damaged(f"the names of the ids from {len(known)} on are missing; restore a backup")
            self._known[entity] = known
            return known

    def is_far_behind(self, entity: int) -> bool:
        """Whether so many names are not known yet that reading them takes a while."""
        known = self._known.get(entity)
        return self.given.get(entity, 0) - (known.count if known else 0) > FAR

    def publish(self, entity: int, first: int, names: Sequence[Hashed]) -> None:
        """Adds names that this process has just committed, so that it need not read them from the file."""
        with self._lock:
            known = self._known.get(entity)
            if known is not None and known.count == first:  # else somebody has read them already
                for part in names:
                    known.add(part)

    def adopt(self, entity: int) -> None:
        """Takes to the file of names where that has more than the one in use, and lets go of what it has."""
        with self._lock:
            self._known[entity] = self._adopted(self._connection, entity, self._known.get(entity))

    def outgrown(self, entity: int) -> bool:
        """Whether so many names have been given since the file in use was written that a new one is worth it."""
        known = self._known.get(entity)
        return known is not None and len(known.tail) > max(TAIL_FROM, len(known.base) // 20)

    def entities(self) -> list[int]:
        """The entity kinds of which names are known."""
        return list(self._known)

    def small_runs(self, blocks_max: int) -> list[tuple[int, name_blocks.Run]]:
        """Runs of more than `blocks_max` blocks that would be one, each with its entity kind; a look at an index."""
        with self._lock:
            counts = self._connection.execute(
                "SELECT entity_id, count(*) FROM name_block GROUP BY entity_id"
            ).fetchall()
            return [
                (entity, run)
                for entity, count in counts
                if count > max(blocks_max, 1)
                for run in name_blocks.small_runs(self._connection, entity, blocks_max)
            ]

    def write_file(self, entity: int) -> tuple[int, int]:
        """Writes a file of all names; how many it has, and its checksum. Not in use before that is recorded."""
        known = self.learn(entity)
        names = merged([known.base, known.tail])
        return len(names), name_snapshots.write(self.directory, entity, names)

    def _adopted(self, connection: sqlite3.Connection, entity: int, known: Known | None) -> Known:
        """The names of the file, where there is one that has more than what is known from one; and those after it."""
        found = name_snapshots.recorded(connection, entity)
        start = name_blocks.nameless(connection, entity)
        if found is not None and (not known or found[0] > len(known.base)):
            base = name_snapshots.load(self.directory, entity, *found)
            if base is not None:
                adopted = Known(start, base)
                for texts in known.since(len(adopted)) if known and len(known) > len(adopted) else ():
                    adopted.add(Hashed.of(texts, adopted.hash))
                return adopted
        return known or Known(start, empty_dictionary(Hash(os.urandom(16))))


def found_in(known: Known, names: Sequence[str]) -> list[int]:
    """The dense id of each name, -1 where it is not known; one by one where they are few."""
    if len(names) <= FEW:
        return [known.find_one(name) for name in names]
    found: list[int] = known.find(Hashed.of(Texts.of_list(names), known.hash)).tolist()
    return found


def without_runs(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, Places | None]:
    """A column of strings with each run of equal rows as one, and the place therein of each row; None: as it was.

    Whole numbers become their decimal text; of a column of codes it is what they stand for. 10 nanoseconds a row.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        codes = pc.fill_null(column.indices.cast(pa.int64()), len(column.dictionary))
        with_null = pa.concat_arrays([column.dictionary, pa.nulls(1, column.dictionary.type)])
        return with_null.cast(pa.large_string()), codes.to_numpy()
    runs = pc.run_end_encode(column, run_end_type=pa.int64())
    if 2 * len(runs.values) > len(column):
        return column if _is_text(column) else column.cast(pa.large_string()), None
    values = runs.values
    lengths = np.diff(runs.run_ends.to_numpy(), prepend=0)
    return values if _is_text(values) else values.cast(pa.large_string()), np.repeat(np.arange(len(values)), lengths)


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))
