"""Folding: bringing fragments up to date with the log, and forgetting what lies beyond the retention.

Answers are the same before, while and after; only how much of the log a reading has to apply changes.
One process at a time folds, tag by tag, in short transactions.
"""

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from bitmap_store.bitmaps import ids_of
from bitmap_store.rows import is_member
from bitmap_store.sqlite import cache, jobs, name_upkeep
from bitmap_store.sqlite.base import SHARD_BITS, fragments_of, shards_of
from bitmap_store.sqlite.database import read_connection
from bitmap_store.sqlite.staging import Staging, swap, sweep
from bitmap_store.sqlite.writer import Transaction, Writer

ENTRIES_MAX = 2_000
"""Log entries of one tag that readings may have to apply before it is worth rewriting its fragments."""


def tags_behind(connection: sqlite3.Connection, tags: Iterable[int], entries_max: int, horizon: int) -> list[int]:
    """Those of the tags whose fragments lack more than `entries_max` changes, or one that `asOf` cannot reach any
    more and that could be forgotten if they held it; an index look-up a tag."""
    bases = dict(connection.execute("SELECT tag_id, version FROM base"))
    forgotten = version_at(connection, horizon)
    behind: list[int] = []
    for tag in tags:
        base = bases.get(tag, 0)
        versions = connection.execute(
            "SELECT version FROM change WHERE tag_id = ? AND version > ? ORDER BY version LIMIT ?",
            (tag, base, entries_max + 1),
        ).fetchall()
        if len(versions) > entries_max or (versions and versions[0][0] <= forgotten):
            behind.append(tag)
    return behind


def version_at(connection: sqlite3.Connection, moment: int) -> int:
    """The version that was current at a moment; 0 before the first."""
    found = connection.execute(
        "SELECT version FROM version WHERE moment <= ? ORDER BY moment DESC LIMIT 1", (moment,)
    ).fetchone()
    return int(found[0]) if found else 0


def fold(
    directory: Path,
    connection: sqlite3.Connection,
    writer: Writer,
    retention: timedelta,
    entries_max: int = ENTRIES_MAX,
) -> int:
    """Folds the tags that are behind; how many those were. 0 too when other bulk work is going on."""
    horizon = _horizon(writer, retention)
    behind = _behind(connection, writer, horizon, entries_max)
    due = behind or name_upkeep.is_due(writer, entries_max)
    turn = jobs.try_lock(directory / "jobs" / "bulk.lock") if due else None
    if turn is None:
        return 0
    try:
        if behind:
            staging = Staging(writer)
            for tag in behind:
                _fold_tag(directory, writer, staging, tag)
            writer.submit(lambda transaction: forget(transaction, horizon)).result()
            sweep(writer)
        name_upkeep.keep_up(writer, entries_max)
    finally:
        os.close(turn)
    return len(behind)


def is_due(
    connection: sqlite3.Connection, writer: Writer, retention: timedelta, entries_max: int = ENTRIES_MAX
) -> bool:
    """Whether `fold` would do something; some index look-ups."""
    behind = _behind(connection, writer, _horizon(writer, retention), entries_max)
    return bool(behind) or name_upkeep.is_due(writer, entries_max)


def _horizon(writer: Writer, retention: timedelta) -> int:
    return writer.clock.micros() - retention // timedelta(microseconds=1)


def _behind(connection: sqlite3.Connection, writer: Writer, horizon: int, entries_max: int) -> list[int]:
    with writer.memberships.lock:
        return tags_behind(connection, writer.memberships.logged_tags(), entries_max, horizon)


def _fold_tag(directory: Path, writer: Writer, staging: Staging, tag: int) -> None:
    memberships = writer.memberships
    version = memberships.tail()
    covered = memberships.overlaid(tag, version)
    shards = shards_of(ids_of(covered))
    every = memberships.rows(tag, version)
    inside = every.take(is_member(every["user"] >> SHARD_BITS, shards))
    staging.add(tag, list(fragments_of(inside)))
    staging.finish()
    stamp: int | None = None
    if memberships.bases.directory is not None:
        with closing(read_connection(directory)) as own:
            stamp = cache.prepare(directory, own, tag, staging.generation, shards.tolist(), version)

    def finish(transaction: Transaction) -> None:
        swap(transaction, tag, staging.generation, shards, version, stamp)
        transaction.raw.execute("UPDATE store SET folds = folds + 1")

    writer.submit(finish).result()


def forget(transaction: Transaction, horizon: int) -> None:
    """Drops log entries that the fragments hold and that `asOf` cannot reach any more: those before the horizon."""
    version = version_at(transaction.raw, horizon)
    if not version:
        return
    transaction.raw.execute("UPDATE store SET horizon = max(horizon, ?)", (horizon,))
    # The version at the horizon itself stays: it is what asOf reads there.
    transaction.raw.execute(
        "DELETE FROM change WHERE version <= ? AND version <= "
        "coalesce((SELECT version FROM base WHERE base.tag_id = change.tag_id), 0)",
        (version,),
    )
    transaction.raw.execute("DELETE FROM version WHERE version < ?", (version,))
    for table in ("identifier", "attribute"):
        transaction.raw.execute(f"DELETE FROM {table} WHERE to_version <= ?", (version,))
