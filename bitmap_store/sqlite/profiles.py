"""What is known of users, from rows: identifiers and attributes as they were at a reading, memberships as values."""

import json
import sqlite3
from collections.abc import Mapping

from bitmap_store.catalog import ValueTable
from bitmap_store.plan import Reading
from bitmap_store.rows import Rows
from bitmap_store.store import ProfileFacts
from bitmap_store.values import NEVER, Identifier, Membership, Tag, TagKind, moment_of

Facts = tuple[list[Identifier], dict[str, object]]
"""Identifiers in the order in which they were linked, and attributes."""
_CHUNK = 500


def facts_of(connection: sqlite3.Connection, reading: Reading, users: list[int]) -> dict[int, Facts]:
    """The facts of each user that has any: rows have the versions from and to which they held."""
    found: dict[int, Facts] = {}
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


def profile_of(user: int, name: str, facts: Facts) -> ProfileFacts:
    """A user's facts as a value."""
    identifiers, attributes = facts
    return ProfileFacts(user, name, tuple(identifiers), tuple(attributes.items()))


def memberships_of(
    tag: Tag, rows: Rows, values: ValueTable, sources: Mapping[int, str]
) -> list[tuple[int, Membership]]:
    """Rows of one tag as memberships with their users; the days of an EVENT are summed by value."""
    found: list[tuple[int, Membership]] = []
    if tag.kind is TagKind.EVENT:
        sums: dict[tuple[int, int], tuple[int, int, int]] = {}
        for user, value, _, began, _, _, _, times, latest in rows.tolist():
            since, count, last = sums.get((user, value), (began, 0, latest))
            sums[user, value] = (min(since, began), count + times, max(last, latest))
        for (user, value), (since, count, last) in sums.items():
            name = values.name_of(value) if value else None
            found.append((user, Membership(tag.key, name, moment_of(since), count=count, last_at=moment_of(last))))
        return found
    for user, value, units, since, expires, source, score, _, _ in rows.tolist():
        membership = Membership(
            tag=tag.key,
            value=values.name_of(value) if value else None,
            since=moment_of(since),
            expires_at=None if expires == NEVER else moment_of(expires),
            source=sources.get(source),
            score=None if score != score else score,
            units=units if tag.kind in (TagKind.NUMBER, TagKind.DATE) else None,
        )
        found.append((user, membership))
    return found
