"""Outside names and dense ids: the dictionary of each entity kind, append-only and without versions.

A name may have its dense id before its user exists (an import reserves ids first); existing is a
membership. Identifiers are another matter: they have versions, because links come and go.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from threading import RLock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bitmap_store.errors import NotFound, TooLarge

DENSE_MAX = 2**32 - 1
_CHUNK = 500


class Names:
    """Look-ups by any thread on one read connection, and the names of all dense ids as one Arrow array.

    The array is read when it is first needed and extended as ids are given; reading three million names
    takes about a second, later look-ups of names nanoseconds.
    """

    def __init__(self, connection: sqlite3.Connection, lock: RLock) -> None:
        self._connection = connection
        self._lock = lock
        self._known: dict[int, pa.ChunkedArray] = {}

    def dense_of(self, entity: int, names: Sequence[str], id_kind: str | None = None) -> list[int | None]:
        """The dense id of each name, by an identifier of a kind if one is given."""
        with self._lock:
            found = dict(look_up(self._connection, entity, names, id_kind))
        return [found.get(name) for name in names]

    def check_kind(self, entity: int, id_kind: str, *, argument: str | None = None) -> None:
        """NOT_FOUND, with the nearest, for a kind of which nobody has an identifier: a typo would find nobody."""
        with self._lock:
            if self._connection.execute(
                "SELECT 1 FROM identifier WHERE entity_id = ? AND kind = ? LIMIT 1", (entity, id_kind)
            ).fetchone():
                return
            kinds = self._connection.execute("SELECT DISTINCT kind FROM identifier WHERE entity_id = ?", (entity,))
            known = [kind for (kind,) in kinds]
        raise NotFound.named("kind of identifier", id_kind, known, argument=argument)

    def all_names(self, entity: int) -> pa.ChunkedArray:
        """The name of every dense id, at its own place; reserved ids that went unused have an empty one."""
        with self._lock:
            known = self._known.get(entity, pa.chunked_array([], pa.large_string()))
            chunks = list(known.chunks)
            rows = self._connection.execute(
                "SELECT dense, name FROM user_name WHERE entity_id = ? AND dense >= ? ORDER BY dense",
                (entity, len(known)),
            )
            while found := rows.fetchmany(1 << 20):
                chunks.append(_placed(found, sum(map(len, chunks))))
            if len(chunks) > 32:
                chunks = [pa.concat_arrays(chunks)]
            self._known[entity] = pa.chunked_array(chunks, pa.large_string())
            return self._known[entity]

    def names_of(self, entity: int, users: NDArray[np.uint32]) -> pa.Array:
        """The name of each dense id."""
        if len(users) <= _CHUNK:
            return pa.array(self._few(entity, users.tolist()), pa.large_string())
        known = self._known.get(entity)
        if known is None or int(users.max()) >= len(known):
            known = self.all_names(entity)
        return pa.chunked_array(known.take(pa.array(users))).combine_chunks()

    def _few(self, entity: int, users: list[int]) -> list[str | None]:
        marks = ",".join("?" * len(users))
        with self._lock:
            rows = self._connection.execute(
                f"SELECT dense, name FROM user_name WHERE entity_id = ? AND dense IN ({marks})", (entity, *users)
            ).fetchall()
        found = dict(rows)
        return [found.get(user) for user in users]


def _placed(rows: Sequence[tuple[int, str]], start: int) -> pa.Array:
    """Names at the places of their dense ids, from `start` on; gaps stay empty."""
    dense = [row[0] for row in rows]
    if dense[-1] - start + 1 == len(rows):
        return pa.array([row[1] for row in rows], pa.large_string())
    names = [""] * (dense[-1] - start + 1)
    for at, name in rows:
        names[at - start] = name
    return pa.array(names, pa.large_string())


def look_up(
    connection: sqlite3.Connection, entity: int, names: Iterable[str], id_kind: str | None = None
) -> Iterable[tuple[str, int]]:
    """The names that have a dense id, with it; in chunks, so that any number may be asked."""
    distinct = list(dict.fromkeys(names))
    for start in range(0, len(distinct), _CHUNK):
        chunk = distinct[start : start + _CHUNK]
        marks = ",".join("?" * len(chunk))
        if id_kind is None:
            sql = f"SELECT name, dense FROM user_name WHERE entity_id = ? AND name IN ({marks})"
            yield from connection.execute(sql, (entity, *chunk))
        else:
            sql = (
                f"SELECT value, dense FROM identifier "
                f"WHERE entity_id = ? AND kind = ? AND to_version IS NULL AND value IN ({marks})"
            )
            yield from connection.execute(sql, (entity, id_kind, *chunk))


def give_ids(connection: sqlite3.Connection, entity: int, names: Sequence[str]) -> dict[str, int]:
    """New dense ids for distinct names that have none, inside the open write transaction."""
    (first,) = connection.execute("SELECT next_dense FROM entity WHERE id = ?", (entity,)).fetchone()
    if first + len(names) > DENSE_MAX:
        raise TooLarge(f"an entity kind has at most {DENSE_MAX} ids")
    given = {name: first + i for i, name in enumerate(names)}
    connection.executemany(
        "INSERT INTO user_name (entity_id, name, dense) VALUES (?, ?, ?)",
        ((entity, name, dense) for name, dense in given.items()),
    )
    connection.execute("UPDATE entity SET next_dense = ? WHERE id = ?", (first + len(names), entity))
    return given
