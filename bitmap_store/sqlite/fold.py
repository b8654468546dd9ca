"""Folding: bringing fragments up to date with the log, and forgetting what lies beyond the retention.

Answers are the same before, while and after; only how much of the log a reading has to apply changes.
One process at a time folds, tag by tag, in short transactions.
"""

import os
import sqlite3
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from bitmap_store.rows import is_member
from bitmap_store.sqlite import jobs
from bitmap_store.sqlite.base import SHARD_BITS
from bitmap_store.sqlite.merge import shards_of
from bitmap_store.sqlite.staging import drop_staged, fragments_in, stage, swap
from bitmap_store.sqlite.writer import Transaction, Writer

ENTRIES_MAX = 2_000
"""Log entries of one tag that readings may have to apply before it is worth rewriting its fragments."""


def tags_behind(connection: sqlite3.Connection, tags: Iterable[int], entries_max: int) -> list[int]:
    """Those of the tags whose fragments lack more than `entries_max` changes; an index look-up a tag."""
    bases = dict(connection.execute("SELECT tag_id, version FROM base"))
    behind: list[int] = []
    for tag in tags:
        (entries,) = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM change WHERE tag_id = ? AND version > ? LIMIT ?)",
            (tag, bases.get(tag, 0), entries_max + 1),
        ).fetchone()
        if entries > entries_max:
            behind.append(tag)
    return behind


def fold(
    directory: Path,
    connection: sqlite3.Connection,
    writer: Writer,
    retention: timedelta,
    entries_max: int = ENTRIES_MAX,
) -> int:
    """Folds the tags that are behind; how many those were. 0 too when other bulk work is going on."""
    with writer.memberships.lock:
        behind = tags_behind(connection, writer.memberships.changed_tags(), entries_max)
    turn = jobs.try_lock(directory / "jobs" / "bulk.lock") if behind else None
    if turn is None:
        return 0
    try:
        writer.submit(drop_staged).result()
        for tag in behind:
            _fold_tag(writer, tag)
        writer.submit(lambda transaction: forget(transaction, retention)).result()
    finally:
        os.close(turn)
    return len(behind)


def _fold_tag(writer: Writer, tag: int) -> None:
    memberships = writer.memberships
    version = memberships.tail()
    covered = memberships.overlaid(tag, version)
    shards = shards_of(covered, SHARD_BITS)
    every = memberships.rows(tag, version)
    inside = every[is_member(every["user"] >> SHARD_BITS, shards)]
    fragments = fragments_in([inside], shards)
    writer.submit(lambda transaction: stage(transaction, tag, fragments)).result()

    def finish(transaction: Transaction) -> None:
        swap(transaction, tag, shards, version)
        transaction.raw.execute("UPDATE store SET folds = folds + 1")

    writer.submit(finish).result()


def forget(transaction: Transaction, retention: timedelta) -> None:
    """Drops log entries that the fragments hold and that `asOf` cannot reach any more."""
    horizon = transaction.moment - retention // timedelta(microseconds=1)
    transaction.raw.execute("UPDATE store SET horizon = max(horizon, ?)", (horizon,))
    found = transaction.raw.execute("SELECT max(version) FROM version WHERE moment <= ?", (horizon,)).fetchone()
    if found[0] is None:
        return
    # The version at the horizon itself stays: it is what asOf reads there.
    transaction.raw.execute(
        "DELETE FROM change WHERE version <= ? AND version <= "
        "coalesce((SELECT version FROM base WHERE base.tag_id = change.tag_id), 0)",
        (found[0],),
    )
    transaction.raw.execute("DELETE FROM version WHERE version < ?", (found[0],))
    for table in ("identifier", "attribute"):
        transaction.raw.execute(f"DELETE FROM {table} WHERE to_version <= ?", (found[0],))
