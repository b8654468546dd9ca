"""Fragments as they will be: worked out and written beside the old ones, then swapped in one short transaction.

Imports and folds both work this way. While they do, they hold the lock of bulk work, so that nobody else
moves a base; users written meanwhile stay in the log, which readings apply over any base.
What is staged has a generation of its own; a swap says of a shard that this is the one that holds.
"""

import secrets
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bitmap_store.bitmaps import checksum, packed
from bitmap_store.rows import encode
from bitmap_store.sqlite.base import Fragment
from bitmap_store.sqlite.layers import Change
from bitmap_store.sqlite.writer import Transaction, Writer

BATCH_BYTES = 32 << 20
"""Fragments are written in transactions of about so many bytes: few enough to hold no other writer back."""
SWEEP_MAX = 256
"""So many fragments are taken away in one transaction."""

_HOLDING = (
    "SELECT 1 FROM shard WHERE shard.tag_id = fragment.tag_id AND shard.shard = fragment.shard "
    "AND shard.generation = fragment.generation"
)
_MADE = (
    "SELECT 1 FROM change WHERE change.tag_id = staged_change.tag_id AND change.generation = staged_change.generation"
)

Said = tuple[bytes, bytes]
"""What an import does to a tag, as it is stored: the users touched, and their rows before."""


class Staging:
    """Fragments on their way to the file, written while the next ones are worked out; no reading sees them there.

    One at a time: what an earlier one left is taken away first.
    """

    def __init__(self, writer: Writer) -> None:
        sweep(writer)
        self._writer = writer
        self.generation = writer.submit(_next_generation).result()
        self._waiting: list[tuple[int, Sequence[Fragment], Said | None]] = []
        self._bytes = 0
        self._under_way: Future[None] | None = None

    def add(self, tag: int, fragments: Sequence[Fragment], change: Change | None = None) -> None:
        """Takes the fragments of a tag, and what changes with them. Raises what befell earlier ones."""
        said = None if change is None else (packed(change.touched), encode(change.before))
        self._waiting.append((tag, fragments, said))
        self._bytes += sum(len(fragment.users) + len(fragment.columns) for fragment in fragments)
        self._bytes += sum(map(len, said or ()))
        if self._bytes >= BATCH_BYTES:
            self._send()

    def finish(self) -> None:
        """Waits until all of them are on disk."""
        self._send()
        self._settle()

    def _send(self) -> None:
        self._settle()
        sent, self._waiting, self._bytes = self._waiting, [], 0
        self._under_way = self._writer.submit(partial(_insert, self.generation, sent))

    def _settle(self) -> None:
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None


def _next_generation(transaction: Transaction) -> int:
    transaction.raw.execute("UPDATE store SET generation = generation + 1")
    (generation,) = transaction.raw.execute("SELECT generation FROM store").fetchone()
    return int(generation)


def _insert(
    generation: int, staged: Sequence[tuple[int, Sequence[Fragment], Said | None]], transaction: Transaction
) -> None:
    transaction.raw.executemany(
        "INSERT INTO fragment (tag_id, value_id, shard, generation, cardinality, ends_first, checksum, users, columns) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (tag, f.value, f.shard, generation, f.cardinality, f.ends_first, f.checksum, f.users, f.columns)
            for tag, fragments, _ in staged
            for f in fragments
        ),
    )
    transaction.raw.executemany(
        "INSERT INTO staged_change (tag_id, generation, checksum, touched, before) VALUES (?, ?, ?, ?, ?)",
        ((tag, generation, checksum(*said), *said) for tag, _, said in staged if said is not None),
    )


def sweep(writer: Writer) -> None:
    """Takes away fragments that do not hold and changes that no version made, in short transactions.

    For whoever holds the lock of bulk work, and has nothing staged that is still to be swapped in.
    """
    fragments, changes = writer.submit(_left_over).result()
    for start in range(0, len(fragments), SWEEP_MAX):
        writer.submit(partial(_delete_fragments, fragments[start : start + SWEEP_MAX])).result()
    for change in changes:
        writer.submit(partial(_delete_change, change)).result()


def _left_over(transaction: Transaction) -> tuple[list[tuple[int]], list[tuple[int, int]]]:
    fragments = transaction.raw.execute(f"SELECT id FROM fragment WHERE NOT EXISTS ({_HOLDING})").fetchall()
    changes = transaction.raw.execute(
        f"SELECT tag_id, generation FROM staged_change WHERE NOT EXISTS ({_MADE})"
    ).fetchall()
    return fragments, changes


def _delete_fragments(ids: Sequence[tuple[int]], transaction: Transaction) -> None:
    transaction.raw.executemany("DELETE FROM fragment WHERE id = ?", ids)


def _delete_change(change: tuple[int, int], transaction: Transaction) -> None:
    transaction.raw.execute("DELETE FROM staged_change WHERE tag_id = ? AND generation = ?", change)


def new_stamp() -> int:
    """A stamp that no base has had."""
    return 1 + secrets.randbits(62)


def swap(
    transaction: Transaction,
    tag: int,
    generation: int,
    shards: NDArray[np.uint32],
    version: int,
    stamp: int | None = None,
) -> None:
    """Lets the staged fragments of a tag hold in the shards, instead of what did; they hold its log up to `version`.

    stamp: the one under which a file of the cache holds the fragments as they are then; None: there is no file yet.
    What held until now stays in the file until `sweep`.
    """
    transaction.raw.executemany(
        "INSERT INTO shard (tag_id, shard, generation) VALUES (?, ?, ?) "
        "ON CONFLICT (tag_id, shard) DO UPDATE SET generation = excluded.generation",
        ((tag, shard, generation) for shard in shards.tolist()),
    )
    transaction.raw.execute(
        "INSERT INTO base (tag_id, version, stamp) VALUES (?, ?, ?) "
        "ON CONFLICT (tag_id) DO UPDATE SET version = excluded.version, stamp = excluded.stamp",
        (tag, version, stamp or new_stamp()),
    )
