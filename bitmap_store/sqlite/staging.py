"""Fragments as they will be: worked out and written beside the old ones, then swapped in one short transaction.

Imports and folds both work this way. While they do, they hold the lock of bulk work, so that nobody else
moves a base; users written meanwhile stay in the log, which readings apply over any base.
"""

import secrets
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from bitmap_store.rows import Rows, in_order, is_member, joined
from bitmap_store.sqlite.base import SHARD_BITS, Fragment, fragments_of
from bitmap_store.sqlite.writer import Transaction, Writer

BATCH_BYTES = 32 << 20
"""Fragments are written in transactions of about so many bytes: few enough to hold no other writer back."""


def fragments_in(rows: Sequence[Rows], shards: NDArray[np.uint32]) -> list[Fragment]:
    """All fragments of some shards, from the rows of one tag."""
    every = in_order(joined(rows))
    inside = is_member(every["user"] >> SHARD_BITS, shards)
    return list(fragments_of(every if inside.all() else every.take(inside)))


def shards_in(fragments: Iterable[Fragment]) -> NDArray[np.uint32]:
    """The shards of some fragments, ascending."""
    return np.array(sorted({fragment.shard for fragment in fragments}), np.uint32)


class Staging:
    """Fragments on their way to the file, written while the next ones are worked out; no reading sees them there."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._waiting: list[tuple[int, Fragment]] = []
        self._bytes = 0
        self._under_way: Future[None] | None = None

    def add(self, tag: int, fragments: Sequence[Fragment]) -> None:
        """Takes the fragments of a tag. Raises what has gone wrong with earlier ones."""
        self._waiting += ((tag, fragment) for fragment in fragments)
        self._bytes += sum(len(fragment.users) + len(fragment.columns) for fragment in fragments)
        if self._bytes >= BATCH_BYTES:
            self._send()

    def finish(self) -> None:
        """Waits until all of them are on disk."""
        self._send()
        self._settle()

    def _send(self) -> None:
        self._settle()
        sent, self._waiting, self._bytes = self._waiting, [], 0
        self._under_way = self._writer.submit(lambda transaction: _insert(transaction, sent))

    def _settle(self) -> None:
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None


def _insert(transaction: Transaction, fragments: Sequence[tuple[int, Fragment]]) -> None:
    transaction.raw.executemany(
        "INSERT INTO fragment (tag_id, value_id, shard, staged, cardinality, ends_first, checksum, users, columns) "
        "VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?)",
        ((tag, f.value, f.shard, f.cardinality, f.ends_first, f.checksum, f.users, f.columns) for tag, f in fragments),
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
