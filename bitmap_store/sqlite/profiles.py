"""What is known of users, from rows: identifiers and attributes as they were at a reading, memberships as values."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import repeat
from typing import Any

from bitmap_store.bitmaps import checksum
from bitmap_store.catalog import ValueTable
from bitmap_store.errors import Damaged
from bitmap_store.plan import Reading
from bitmap_store.rows import Column, Rows, is_constant
from bitmap_store.store import ProfileFacts
from bitmap_store.values import NEVER, Identifier, Membership, Tag, TagKind, moment_of

Facts = tuple[list[Identifier], dict[str, object]]
"""Identifiers in the order in which they were linked, and attributes."""
_CHUNK = 500

MEMBERSHIP = ("since", "expires", "source", "score", "units")
"""The columns of rows that a membership tells, an EVENT aside."""

known_moment = lru_cache(1 << 16)(moment_of)
"""`moment_of`, which is asked again and again about the moments of imports."""


def facts_of(
    lock: AbstractContextManager[Any], connection: sqlite3.Connection, reading: Reading, users: list[int]
) -> dict[int, Facts]:
    """The facts of each user that has any: rows have the versions from and to which they held."""
    with lock:
        return _facts(connection, reading, users)


def _facts(connection: sqlite3.Connection, reading: Reading, users: list[int]) -> dict[int, Facts]:
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
        for dense, body, kept in connection.execute(
            f"SELECT dense, body, checksum FROM attribute WHERE {valid}", parameters
        ):
            if kept is not None and checksum(body.encode()) != kept:
                raise Damaged("the attributes of a user do not match their checksum; restore a backup")
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
    if not len(rows):
        return []
    if tag.kind is TagKind.EVENT:
        return _events(tag, rows, values)
    names = [values.name_of(value) if value else None for value in rows["value"].tolist()]
    found = memberships(tag, names, [_plain(rows[name]) for name in MEMBERSHIP], sources)
    return list(zip(rows["user"].tolist(), found, strict=True))


def _plain(column: Column) -> Iterable[Any]:
    return repeat(column[0].item()) if is_constant(column) else column.tolist()


def memberships(
    tag: Tag, values: Iterable[str | None], columns: Sequence[Iterable[Any]], sources: Mapping[int, str]
) -> list[Membership]:
    """Memberships of a tag other than an EVENT: a value each, and what the columns of MEMBERSHIP say of each."""
    numbers = tag.kind in (TagKind.NUMBER, TagKind.DATE)
    return [
        Membership(
            tag.key,
            value,
            known_moment(since),
            None if expires == NEVER else known_moment(expires),
            sources.get(source),
            None if score != score else score,  # NaN
            units if numbers else None,
        )
        for value, since, expires, source, score, units in zip(values, *columns, strict=False)
    ]


def _events(tag: Tag, rows: Rows, values: ValueTable) -> list[tuple[int, Membership]]:
    sums: dict[tuple[int, int], tuple[int, int, int]] = {}
    for user, value, _, began, _, _, _, times, latest in rows.tolist():
        since, count, last = sums.get((user, value), (began, 0, latest))
        sums[user, value] = (min(since, began), count + times, max(last, latest))
    found = []
    for (user, value), (since, count, last) in sums.items():
        name = values.name_of(value) if value else None
        found.append((user, Membership(tag.key, name, known_moment(since), count=count, last_at=known_moment(last))))
    return found
