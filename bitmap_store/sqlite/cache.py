"""The cache of a store: files that are made of the fragments, for all processes to map, and may be deleted at any time.

`tag.<tag>.<stamp>` is one base, `rows.<entity>.<number>` the rows per user. Building is bulk work: whoever
does it holds the lock of bulk work, so that no base moves meanwhile and no file that is in use is taken away.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bitmap_store.croaring import AVAILABLE
from bitmap_store.sqlite import jobs
from bitmap_store.sqlite.base import TagBase
from bitmap_store.sqlite.bases import fragments, fragments_to_be, newest_rows, opened, rows_files, tag_file
from bitmap_store.sqlite.staging import new_stamp
from bitmap_store.sqlite.tag_files import open_tag, write_tag
from bitmap_store.sqlite.user_rows import write_rows

log = logging.getLogger(__name__)
STALE_SHARE = 0.05
"""The share of memberships that rows per user may be wrong about before they are made again at once."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did: files of tags and of rows that it made."""

    tags: int
    rows: int


def directory_of(store: Path) -> Path:
    """Where the cache of a store is."""
    return store / "cache"


def is_stale(store: Path, connection: sqlite3.Connection) -> bool:
    """Whether a base has no file, or the rows per user of an entity are not those of all its bases."""
    if not AVAILABLE:
        return False
    directory = directory_of(store)
    stamps = _stamps(connection)
    if not all(tag_file(directory, tag, stamp).exists() for tag, stamp in stamps.items()):
        return True
    return any(_rows_are_stale(directory, entity, tags, stamps, 0.0) for entity, tags in _entities(connection).items())


def build_alone(store: Path, connection: sqlite3.Connection, stale_max: float = STALE_SHARE) -> Built | None:
    """`build`, when no other bulk work is going on; else None."""
    turn = jobs.try_lock(store / "jobs" / "bulk.lock")
    if turn is None:
        return None
    try:
        return build(store, connection, stale_max)
    finally:
        os.close(turn)


def build(store: Path, connection: sqlite3.Connection, stale_max: float = STALE_SHARE) -> Built:
    """Makes the files that are missing and takes away those that nobody can ask for any more.

    The caller holds the lock of bulk work. stale_max: the share of memberships of which the rows per user may
    be out of date. Damaged where fragments are.
    """
    if not AVAILABLE:
        return Built(0, 0)
    directory = directory_of(store)
    directory.mkdir(exist_ok=True)
    start = time.monotonic()
    stamps = _stamps(connection)
    missing = [tag for tag, stamp in stamps.items() if not tag_file(directory, tag, stamp).exists()]
    for tag in missing:
        _write_base(directory, connection, tag)
    rows = 0
    for entity, tags in _entities(connection).items():
        if _rows_are_stale(directory, entity, tags, stamps, stale_max):
            bases = {tag: _base(directory, connection, tag, stamps[tag]) for tag in tags if tag in stamps}
            number = max((number for number, _ in rows_files(directory, entity)), default=0) + 1
            write_rows(directory / f"rows.{entity}.{number}", bases)
            rows += 1
    _clean(directory, stamps)
    if missing or rows:
        seconds = time.monotonic() - start
        log.info("built the cache: %d bases, %d rows per user, %.1f s", len(missing), rows, seconds)
    return Built(len(missing), rows)


def prepare(store: Path, connection: sqlite3.Connection, tag: int, version: int, shards: Iterable[int]) -> int:
    """Makes the file of a base as it will be once its staged fragments are swapped in; the stamp to swap it in with.

    So readings find it from the first moment on. The caller holds the lock of bulk work. Without room on the
    disk there will be no file.
    """
    stamp = new_stamp()
    if AVAILABLE:
        directory = directory_of(store)
        try:
            directory.mkdir(exist_ok=True)
            base = TagBase.of_fragments(version, fragments_to_be(connection, tag, shards), stamp)
            write_tag(tag_file(directory, tag, stamp), base)
        except OSError:
            log.warning("the cache cannot be written; readings go on from fragments", exc_info=True)
    return stamp


def _stamps(connection: sqlite3.Connection) -> dict[int, int]:
    """The stamp of each base of an entity or of a tag that is defined."""
    return dict(connection.execute("SELECT tag_id, stamp FROM base WHERE tag_id < 0 OR tag_id IN (SELECT id FROM tag)"))


def _entities(connection: sqlite3.Connection) -> dict[int, list[int]]:
    """The tags of each entity."""
    found: dict[int, list[int]] = {}
    for tag, entity in connection.execute(
        "SELECT tag.id, entity.id FROM tag JOIN entity ON entity.key = tag.entity ORDER BY tag.id"
    ):
        found.setdefault(entity, []).append(tag)
    return found


def _write_base(directory: Path, connection: sqlite3.Connection, tag: int) -> None:
    connection.execute("BEGIN")
    try:
        version, stamp = connection.execute("SELECT version, stamp FROM base WHERE tag_id = ?", (tag,)).fetchone()
        base = TagBase.of_fragments(version, fragments(connection, tag), stamp)
    finally:
        connection.execute("COMMIT")
    write_tag(tag_file(directory, tag, stamp), base)


def _base(directory: Path, connection: sqlite3.Connection, tag: int, stamp: int) -> TagBase:
    """The base from its file, made anew if it is damaged."""
    path = tag_file(directory, tag, stamp)
    base = opened(path, lambda: open_tag(path, stamp))
    if base is None:
        _write_base(directory, connection, tag)
        base = open_tag(path, stamp)
    return base


def _rows_are_stale(
    directory: Path, entity: int, tags: Iterable[int], stamps: dict[int, int], stale_max: float
) -> bool:
    """Whether more than this share of the memberships is not in the rows per user as the bases have it."""
    bases = {tag: stamps[tag] for tag in tags if tag in stamps}
    rows = newest_rows(directory, entity)
    if rows is None:
        return bool(bases)
    stale = {tag for tag, stamp in bases.items() if tag not in rows.tags or rows.tags[tag].stamp != stamp}
    if not stale or stale_max <= 0:
        return bool(stale)
    before = sum(rows.tags[tag].members for tag in stale if tag in rows.tags)
    now = 0
    for tag in stale:
        path = tag_file(directory, tag, bases[tag])
        base = opened(path, partial(open_tag, path, bases[tag]))
        now += sum(len(value.users) for value in base.values.values()) if base else 0
    return max(before, now) > stale_max * max(rows.memberships, 1)


def _clean(directory: Path, stamps: dict[int, int]) -> None:
    """Takes away what is not the newest. Processes that have it mapped keep it until they let go of it."""
    kept = {tag_file(directory, tag, stamp).name for tag, stamp in stamps.items()}
    entities = {path.name.split(".")[1] for path in directory.glob("rows.*.*")}
    for entity in entities:
        files = [(number, path) for number, path in rows_files(directory, int(entity))]
        kept |= {path.name for number, path in files if number == max(files)[0]}
    for path in directory.iterdir():
        if path.name not in kept and path.is_file():
            path.unlink(missing_ok=True)
