"""Names as files: the dictionary of an entity kind with its table, mapped read-only by all processes.

Derived from the blocks and deletable at any time. Which file is right is written in the store (count and
checksum), so that one of another age of the store, after a backup was restored, is never taken for it.
"""

import mmap
import os
import sqlite3
import struct
import zlib
from pathlib import Path

import numpy as np

from bitmap_store.dictionary import Dictionary
from bitmap_store.hashing import Hash, Texts

_MAGIC = b"TGNAMES1"
_HEADER = struct.Struct("<8s16sQQQQ8x")
"""magic, seed of the hash, names, bytes of the names with padding, size of the table, slots of the table."""


def recorded(connection: sqlite3.Connection, entity: int) -> tuple[int, int] | None:
    """How many names the right file has, and its checksum."""
    found: tuple[int, int] | None = connection.execute(
        "SELECT count, checksum FROM name_snapshot WHERE entity_id = ?", (entity,)
    ).fetchone()
    return found


def record(connection: sqlite3.Connection, entity: int, count: int, digest: int) -> None:
    """Says which file is right, inside the open write transaction."""
    connection.execute(
        "INSERT INTO name_snapshot (entity_id, count, checksum) VALUES (?, ?, ?) "
        "ON CONFLICT (entity_id) DO UPDATE SET count = excluded.count, checksum = excluded.checksum",
        (entity, count, digest),
    )


def path_of(directory: Path, entity: int, count: int, digest: int) -> Path:
    """Where the file is."""
    return directory / "cache" / "names" / f"{entity}.{count}.{digest:08x}"


def write(directory: Path, entity: int, names: Dictionary) -> int:
    """Writes the file of a dictionary, under its name from the moment on at which it is whole; its checksum.

    It is not made to reach the disk: the checksum tells whether it did.
    """
    folder = directory / "cache" / "names"
    folder.mkdir(parents=True, exist_ok=True)
    texts = names.texts
    start, end = int(texts.offsets[0]), int(texts.offsets[-1])
    filled = -(end - start) % 8 + 8
    header = _HEADER.pack(_MAGIC, names.hash.seed, len(names), end - start + filled, names.size, len(names.slots))
    parts = (
        np.frombuffer(header, np.uint8),
        (texts.offsets - start).view(np.uint8),
        names.slots.view(np.uint8),
        texts.data[start:end],
        np.zeros(filled, np.uint8),
    )
    draft = folder / f"{entity}.{os.getpid()}.draft"
    digest = 0
    with draft.open("wb") as file:
        for part in parts:
            file.write(part.data)
            digest = zlib.crc32(part.data, digest)
    draft.rename(path_of(directory, entity, len(names), digest))
    return digest


def load(directory: Path, entity: int, count: int, digest: int) -> Dictionary | None:
    """The dictionary of a file, mapped; None when the file is not there or is damaged.

    All of it is read once, to verify its checksum: about a tenth of a second for 10 million names.
    """
    try:
        with path_of(directory, entity, count, digest).open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    if len(mapped) < _HEADER.size or zlib.crc32(mapped) != digest:
        return None
    magic, seed, names, size, places, slots = _HEADER.unpack_from(mapped)
    if magic != _MAGIC or names != count:
        return None
    at = _HEADER.size
    offsets = np.frombuffer(mapped, np.int64, names + 1, at)
    table = np.frombuffer(mapped, np.uint64, slots, at + 8 * (names + 1))
    data = np.frombuffer(mapped, np.uint8, size, at + 8 * (names + 1 + slots))
    return Dictionary(Hash(seed), Texts(data, offsets), table, places)


def drop_others(directory: Path, entity: int, count: int, digest: int) -> None:
    """Removes every file of an entity but the right one; who has mapped one keeps it. Under the lock of bulk work."""
    kept = path_of(directory, entity, count, digest)
    for path in kept.parent.glob(f"{entity}.*"):
        if path != kept:
            path.unlink(missing_ok=True)
