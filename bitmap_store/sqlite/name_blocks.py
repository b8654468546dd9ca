"""Where the truth about names is kept: blocks of the names of consecutive dense ids, appended and never altered.

What finds a name in them is `names.py`. Small blocks are joined into large ones when a store is folded.
"""

import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from bitmap_store.bitmaps import checksum
from bitmap_store.errors import Damaged
from bitmap_store.hashing import PADDING, Texts

BLOCK_NAMES = 1 << 17
"""Names in one block."""
RUN_BLOCKS = 10_000
"""Blocks that are joined in one transaction."""
Run = tuple[int, int]
"""Blocks that follow one another: the first dense id of the first and of the last."""
_ROWS = 256
_COMPRESSED_FROM = 1024
_CODEC = pa.Codec("zstd", compression_level=1)


def append(connection: sqlite3.Connection, entity: int, first: int, texts: Texts) -> None:
    """Writes the names of the dense ids from `first` on, inside the open write transaction."""
    for start in range(0, len(texts), BLOCK_NAMES):
        part = texts.slice(start, min(start + BLOCK_NAMES, len(texts)))
        size, body = encoded(part)
        connection.execute(
            "INSERT INTO name_block (entity_id, first_dense, count, size, checksum, body) VALUES (?, ?, ?, ?, ?, ?)",
            (entity, first + start, len(part), size, checksum_of(entity, first + start, len(part), body), body),
        )


def encoded(texts: Texts) -> tuple[int, bytes]:
    """Lengths as 16 bits each, then the bytes; compressed (zstd) where that is shorter. With the size before that."""
    start, end = int(texts.offsets[0]), int(texts.offsets[-1])
    plain = texts.lengths.astype("<u2").tobytes() + texts.data[start:end].tobytes()
    if len(plain) < _COMPRESSED_FROM:
        return len(plain), plain
    packed: bytes = _CODEC.compress(plain, asbytes=True)
    return len(plain), packed if len(packed) < len(plain) else plain


def checksum_of(entity: int, first: int, count: int, body: bytes) -> int:
    """CRC-32 of a block, and of where it stands."""
    return checksum(b"%d %d %d " % (entity, first, count), body)


def nameless(connection: sqlite3.Connection, entity: int) -> int:
    """How many of the first ids have no name: those of a first block of size 0."""
    found = connection.execute(
        "SELECT count FROM name_block WHERE entity_id = ? AND first_dense = 0 AND size = 0", (entity,)
    ).fetchone()
    return int(found[0]) if found else 0


def read(connection: sqlite3.Connection, entity: int, start: int) -> Iterator[Texts]:
    """The names of all dense ids from `start` on, in order; some 200 nanoseconds a name. Raises Damaged."""
    rows = connection.execute(
        "SELECT first_dense, count, size, checksum, body FROM name_block WHERE entity_id = ? AND size > 0 "
        "AND first_dense >= "
        "coalesce((SELECT max(first_dense) FROM name_block WHERE entity_id = ? AND first_dense <= ?), 0) "
        "ORDER BY first_dense",
        (entity, entity, start),
    )
    at = start
    while some := rows.fetchmany(_ROWS):
        texts = _decoded(entity, some)
        first = some[0][0]
        if first > at:
            raise Damaged(f"the names of the ids from {at} to {first - 1} are missing; restore a backup")
        at, skipped = first + len(texts), at - first
        if skipped < len(texts):
            yield texts.slice(skipped, len(texts))


def _decoded(entity: int, rows: Sequence[tuple[int, int, int, int, bytes]]) -> Texts:
    """The names of blocks that follow one another."""
    lengths: list[bytes] = []
    texts: list[bytes] = []
    at = rows[0][0]
    for first, count, size, kept, body in rows:
        if first != at or checksum_of(entity, first, count, body) != kept:
            raise Damaged(
                f"the names of the ids from {min(at, first)} on do not match their checksum; restore a backup"
            )
        plain = body if len(body) == size else _CODEC.decompress(body, size, asbytes=True)
        lengths.append(plain[: 2 * count])
        texts.append(plain[2 * count :])
        at += count
    offsets = np.zeros(at - rows[0][0] + 1, np.int64)
    np.cumsum(np.frombuffer(b"".join(lengths), "<u2"), out=offsets[1:])
    return Texts(np.frombuffer(b"".join([*texts, bytes(PADDING)]), np.uint8), offsets)


def small_runs(connection: sqlite3.Connection, entity: int, blocks_max: int) -> list[Run]:
    """Runs of more than `blocks_max` blocks that would be one."""
    runs: list[Run] = []
    begun, names, blocks, last = 0, 0, 0, 0
    for first, count in connection.execute(
        "SELECT first_dense, count FROM name_block WHERE entity_id = ? AND size > 0 ORDER BY first_dense", (entity,)
    ):
        if names + count > BLOCK_NAMES or blocks == RUN_BLOCKS:
            if blocks > max(blocks_max, 1):
                runs.append((begun, last))
            names, blocks = 0, 0
        begun = begun if blocks else first
        names, blocks, last = names + count, blocks + 1, first
    if blocks > max(blocks_max, 1):
        runs.append((begun, last))
    return runs


def merge(connection: sqlite3.Connection, entity: int, run: Run) -> None:
    """Joins the blocks of a run, inside the open write transaction; says the same as before."""
    there = "entity_id = ? AND first_dense BETWEEN ? AND ?"
    rows = connection.execute(
        f"SELECT first_dense, count, size, checksum, body FROM name_block WHERE {there} ORDER BY first_dense",
        (entity, *run),
    ).fetchall()
    texts = _decoded(entity, rows)
    connection.execute(f"DELETE FROM name_block WHERE {there}", (entity, *run))
    append(connection, entity, run[0], texts)
