"""Fragments as they will be: worked out and written beside the old ones, then swapped in one short transaction.

Imports and folds both work this way. While they do, they hold the lock of bulk work, so that nobody else
moves a base; users written meanwhile stay in the log, which readings apply over any base.
"""

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitmap_store.rows import Rows, in_order, joined
from bitmap_store.sqlite.base import SHARD_BITS, Fragment, fragments_of
from bitmap_store.sqlite.writer import Transaction


def fragments_in(rows: Sequence[Rows], shards: NDArray[np.uint32]) -> list[Fragment]:
    """All fragments of some shards, from the rows of one tag."""
    inside = [part.take(np.isin(part["user"] >> SHARD_BITS, shards)) for part in rows]
    return list(fragments_of(in_order(joined(inside))))


def stage(transaction: Transaction, tag: int, fragments: Sequence[Fragment]) -> None:
    """Writes fragments where no reading sees them."""
    transaction.raw.executemany(
        "INSERT INTO fragment (tag_id, value_id, shard, staged, cardinality, ends_first, checksum, users, columns) "
        "VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?)",
        ((tag, f.value, f.shard, f.cardinality, f.ends_first, f.checksum, f.users, f.columns) for f in fragments),
    )


def drop_staged(transaction: Transaction) -> None:
    """Takes away what an interrupted import or fold left."""
    transaction.raw.execute("DELETE FROM fragment WHERE staged = 1")


def new_stamp() -> int:
    """A stamp that no base has had."""
    return 1 + secrets.randbits(62)


def swap(
    transaction: Transaction, tag: int, shards: NDArray[np.uint32], version: int, stamp: int | None = None
) -> None:
    """Puts the staged fragments of a tag in the place of those in the shards; they hold its log up to `version`.

    stamp: the one under which a file of the cache holds the fragments as they are then; None: there is no file yet.
    """
    transaction.raw.executemany(
        "DELETE FROM fragment WHERE tag_id = ? AND staged = 0 AND shard = ?", ((tag, int(shard)) for shard in shards)
    )
    transaction.raw.execute("UPDATE fragment SET staged = 0 WHERE tag_id = ? AND staged = 1", (tag,))
    transaction.raw.execute(
        "INSERT INTO base (tag_id, version, stamp) VALUES (?, ?, ?) "
        "ON CONFLICT (tag_id) DO UPDATE SET version = excluded.version, stamp = excluded.stamp",
        (tag, version, stamp or new_stamp()),
    )
