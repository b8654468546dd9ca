"""Whose identifiers are: by queries for a few, by a dictionary in memory for whole columns."""

import os
import sqlite3
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bitmap_store.dictionary import GrowingDictionary
from bitmap_store.hashing import Hash, Hashed, Places, Texts

MANY = 20_000
"""Identifiers from which on it is faster to read all of their kind than to ask for each."""
_CHUNK = 500
_ROWS = 1 << 16


def owners(connection: sqlite3.Connection, entity: int, values: Iterable[str], kind: str) -> dict[str, int]:
    """The dense id of whoever has each identifier of a kind; nothing for those that nobody has."""
    distinct = list(dict.fromkeys(values))
    found: dict[str, int] = {}
    for start in range(0, len(distinct), _CHUNK):
        chunk = distinct[start : start + _CHUNK]
        marks = ",".join("?" * len(chunk))
        found.update(
            connection.execute(
                f"SELECT value, dense FROM identifier "
                f"WHERE entity_id = ? AND kind = ? AND to_version IS NULL AND value IN ({marks})",
                (entity, kind, *chunk),
            ).fetchall()
        )
    return found


def kinds_of(connection: sqlite3.Connection, entity: int, kind: str) -> Sequence[str] | None:
    """The kinds of which somebody has an identifier; None when this is one of them."""
    if connection.execute(
        "SELECT 1 FROM identifier WHERE entity_id = ? AND kind = ? LIMIT 1", (entity, kind)
    ).fetchone():
        return None
    return [
        each for (each,) in connection.execute("SELECT DISTINCT kind FROM identifier WHERE entity_id = ?", (entity,))
    ]


class OwnersOfKind:
    """All identifiers of one kind, read once and then as they are linked: for the time of one import.

    Reading costs about a microsecond each. Not for connections whose own links may be taken back.
    """

    def __init__(self, entity: int, kind: str) -> None:
        self._entity = entity
        self._kind = kind
        self._values = GrowingDictionary(Hash(os.urandom(16)))
        self._dense: NDArray[np.int64] = np.zeros(0, np.int64)
        self._last = 0

    def find(self, connection: sqlite3.Connection, values: pa.Array) -> Places:
        """The dense id of whoever has each identifier, -1 where nobody does."""
        self._learn(connection)
        known = self._values.now
        places = known.find(Hashed.of(Texts.of(values), known.hash))
        return np.append(self._dense, -1)[places]

    def _learn(self, connection: sqlite3.Connection) -> None:
        # The + keeps SQLite from the index by value, through which it would read each row from another page.
        rows = connection.execute(
            "SELECT id, value, dense FROM identifier "
            "WHERE id > ? AND +entity_id = ? AND kind = ? AND to_version IS NULL ORDER BY id",
            (self._last, self._entity, self._kind),
        )
        dense = [self._dense]
        while some := rows.fetchmany(_ROWS):
            texts = Texts.of_list([value for _, value, _ in some])
            self._values.add(Hashed.of(texts, self._values.now.hash))
            dense.append(np.fromiter((each for *_, each in some), np.int64, len(some)))
            self._last = some[-1][0]
        if len(dense) > 1:
            self._dense = np.concatenate(dense)
