"""The bases of tags: mapped from the cache, where their files are; else read from fragments, within a budget of bytes.

Which base a tag has is told by its stamp, new with every swap of fragments. What the log says on top is in
`memberships.py`; how the files come about, in `cache.py`.
"""

import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TypeVar

from bitmap_store.croaring import AVAILABLE
from bitmap_store.sqlite.base import Fragment, TagBase
from bitmap_store.sqlite.sections import Unusable
from bitmap_store.sqlite.tag_files import open_tag
from bitmap_store.sqlite.user_rows import UserRows

T = TypeVar("T")
_FRAGMENT = "SELECT value_id, shard, cardinality, ends_first, checksum, users, columns FROM fragment"
_HOLDS = (
    "generation = (SELECT generation FROM shard WHERE shard.tag_id = fragment.tag_id AND shard.shard = fragment.shard)"
)


class Bases:
    """Where a process gets bases from. bytes_max: of those from fragments, which it holds alone.

    directory: that of the files; None, or a build of pyroaring that exports too little: none are used.
    """

    def __init__(self, connection: sqlite3.Connection, bytes_max: int, directory: Path | None) -> None:
        self._connection = connection
        self._bytes_max = bytes_max
        self.directory = directory if AVAILABLE else None
        """Where files of the cache are; None where none are used."""
        self._private: OrderedDict[int, int] = OrderedDict()
        self._rows: dict[int, UserRows | None] = {}
        self._looking = Lock()

    def stamp(self, tag: int) -> tuple[int, int]:
        """Up to which version the fragments of a tag hold its log, and their stamp; 0 and 0 where there are none."""
        found = self._connection.execute("SELECT version, stamp FROM base WHERE tag_id = ?", (tag,)).fetchone()
        return found or (0, 0)

    def mapped(self, tag: int, stamp: int) -> TagBase | None:
        """The base in its file, if that is there and intact. Costs a read of the file; needs no lock."""
        if self.directory is None or not stamp:
            return None
        path = tag_file(self.directory, tag, stamp)
        return opened(path, partial(open_tag, path, stamp))

    def user_rows(self, entity: int) -> UserRows | None:
        """The newest rows per user of an entity, as `look_again` found them last."""
        if self.directory is None:
            return None
        with self._looking:
            if entity not in self._rows:
                self._rows[entity] = newest_rows(self.directory, entity)
            return self._rows[entity]

    def look_again(self) -> None:
        """Looks for newer rows per user when they are asked for next."""
        with self._looking:
            for entity, rows in list(self._rows.items()):
                if rows is None or max(rows_files(rows.path.parent, entity), default=(0, None))[1] != rows.path:
                    del self._rows[entity]

    def drop_rows(self, entity: int, problem: Unusable) -> None:
        """Takes rows per user away that have turned out to be damaged."""
        with self._looking:
            rows = self._rows.pop(entity, None)
        if rows is not None:
            discard(rows.path, problem)

    def is_mappable(self, tag: int, stamp: int) -> bool:
        """Whether there is a file for the base."""
        return self.directory is not None and tag_file(self.directory, tag, stamp).exists()

    def read(self, tag: int) -> TagBase:
        """The base from the fragments; of one moment only inside a transaction. Damaged if they are."""
        version, stamp = self.stamp(tag)
        return TagBase.of_fragments(version, fragments(self._connection, tag), stamp)

    def admit(self, tag: int, base: TagBase) -> Iterable[int]:
        """Takes a base into account that is now at hand; the tags whose bases have to be let go for it."""
        self._private.pop(tag, None)
        if base.private_bytes:
            self._private[tag] = base.private_bytes
        released = []
        while len(self._private) > 1 and sum(self._private.values()) > self._bytes_max:
            released.append(self._private.popitem(last=False)[0])
        return released

    def used(self, tag: int, base: TagBase) -> None:
        """Remembers that a base was asked for."""
        if base.private_bytes and tag in self._private:
            self._private.move_to_end(tag)


def opened(path: Path, read: Callable[[], T]) -> T | None:
    """What is in a file of the cache; None when it is not there. A damaged one is taken away, to be made again."""
    if not path.exists():
        return None
    try:
        return read()
    except Unusable as error:
        discard(path, error)
        return None


def discard(path: Path, problem: Unusable) -> None:
    """Takes away a file that cannot be used."""
    logging.getLogger(__name__).warning("a file of the cache is to be made again: %s", problem)
    path.unlink(missing_ok=True)


def fragments(connection: sqlite3.Connection, tag: int, without: Iterable[int] = ()) -> Iterator[Fragment]:
    """The fragments of a tag in order of value and shard, without those of some shards."""
    elsewhere = f"shard NOT IN ({','.join(str(int(shard)) for shard in without)})"
    rows = connection.execute(
        f"{_FRAGMENT} WHERE tag_id = ? AND {elsewhere} AND {_HOLDS} ORDER BY value_id, shard", (tag,)
    )
    return (Fragment(*row) for row in rows)


def staged_fragments(
    connection: sqlite3.Connection, tag: int, generation: int, shards: Iterable[int]
) -> Iterator[Fragment]:
    """The fragments of a generation in some shards."""
    for shard in shards:
        rows = connection.execute(
            f"{_FRAGMENT} WHERE tag_id = ? AND generation = ? AND shard = ? ORDER BY value_id", (tag, generation, shard)
        )
        for row in rows:
            yield Fragment(*row)


def fragments_to_be(
    connection: sqlite3.Connection, tag: int, generation: int, shards: Iterable[int]
) -> Iterator[Fragment]:
    """The fragments of a tag as they will be once those of a generation hold in the shards."""
    taken = set(map(int, shards))
    found = list(staged_fragments(connection, tag, generation, taken))
    found += fragments(connection, tag, without=taken)
    return iter(sorted(found, key=lambda fragment: (fragment.value, fragment.shard)))


def rows_files(directory: Path, entity: int) -> list[tuple[int, Path]]:
    """The files of rows per user of an entity, with their numbers; the highest is the newest."""
    found = directory.glob(f"rows.{entity}.*")
    return [(int(path.suffix[1:]), path) for path in found if path.suffix[1:].isdigit()]


def newest_rows(directory: Path, entity: int) -> UserRows | None:
    """The rows per user of an entity, if there are any."""
    path = max(rows_files(directory, entity), default=(0, None))[1]
    return None if path is None else opened(path, partial(UserRows, path))


def tag_file(directory: Path, tag: int, stamp: int) -> Path:
    """The file of a base."""
    return directory / f"tag.{tag}.{stamp:x}"
