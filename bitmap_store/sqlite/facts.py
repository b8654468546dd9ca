"""Identifiers and attributes of users as they were at a reading: rows with the versions from and to which they held."""

import json
import sqlite3

from bitmap_store.plan import Reading
from bitmap_store.values import Identifier

_CHUNK = 500


def facts_of(
    connection: sqlite3.Connection, reading: Reading, users: list[int]
) -> dict[int, tuple[list[Identifier], dict[str, object]]]:
    """Identifiers, in the order in which they were linked, and attributes of each user that has any."""
    found: dict[int, tuple[list[Identifier], dict[str, object]]] = {}
    for start in range(0, len(users), _CHUNK):
        chunk = users[start : start + _CHUNK]
        marks = ",".join("?" * len(chunk))
        valid = f"entity_id = ? AND dense IN ({marks}) AND from_version <= ? AND (to_version IS NULL OR to_version > ?)"
        parameters = (reading.entity, *chunk, reading.version, reading.version)
        for dense, kind, value in connection.execute(
            f"SELECT dense, kind, value FROM identifier WHERE {valid} ORDER BY id", parameters
        ):
            found.setdefault(dense, ([], {}))[0].append(Identifier(kind, value))
        for dense, body in connection.execute(f"SELECT dense, body FROM attribute WHERE {valid}", parameters):
            found.setdefault(dense, ([], {}))[1].update(json.loads(body))
    return found
