"""The cache of a store: files that are made of the fragments, for all processes to map, and may be deleted at any time.

`tag.<tag>.<stamp>` is one base, `rows.<entity>.<number>` the rows per user. Building is bulk work: whoever
does it holds the lock of bulk work, so that no base moves meanwhile and no file that is in use is taken away.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bitmap_store.croaring import AVAILABLE
from bitmap_store.sqlite import jobs
from bitmap_store.sqlite.base import Fragment, TagBase
from bitmap_store.sqlite.bases import fragments, fragments_to_be, newest_rows, opened, rows_files, tag_file
from bitmap_store.sqlite.staging import new_stamp
from bitmap_store.sqlite.tag_files import open_tag, write_tag
from bitmap_store.sqlite.user_rows import UserRows, write_rows

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


def share_stale(store: Path, connection: sqlite3.Connection, rows_of: Callable[[int], UserRows | None]) -> float:
    """The largest share of an entity's memberships that its rows per user do not have as the bases do.

    1 where a base has no file, 0 where nothing is to be made. rows_of: the rows per user of an entity.
    """
    if not AVAILABLE:
        return 0.0
    directory = directory_of(store)
    stamps = _stamps(connection)
    if not all(tag_file(directory, tag, stamp).exists() for tag, stamp in stamps.items()):
        return 1.0
    shares = (_share_stale(directory, rows_of(entity), tags, stamps) for entity, tags in _entities(connection).items())
    return max(shares, default=0.0)


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
    rows = _build_rows(directory, connection, stamps, stale_max)
    _clean(directory, stamps)
    if missing or rows:
        seconds = time.monotonic() - start
        log.info("built the cache: %d bases, %d rows per user, %.1f s", len(missing), rows, seconds)
    return Built(len(missing), rows)


def prepare(
    store: Path, connection: sqlite3.Connection, tag: int, generation: int, shards: Iterable[int], version: int
) -> int:
    """Makes the file of a base as it will be once its staged fragments are swapped in; the stamp to swap it in with.

    So readings find it from the first moment on. The caller holds the lock of bulk work. Without room on the
    disk there will be no file.
    """
    return prepare_of(store, tag, version, fragments_to_be(connection, tag, generation, shards))


def prepare_of(store: Path, tag: int, version: int, to_be: Iterable[Fragment]) -> int:
    """The same for fragments that are at hand, in order of value and shard; for any thread."""
    return prepare_base(store, tag, partial(TagBase.of_fragments, version, to_be))


def prepare_base(store: Path, tag: int, base: Callable[[int], TagBase]) -> int:
    """The same for a base that is at hand, made with the stamp; for any thread."""
    stamp = new_stamp()
    if AVAILABLE:
        directory = directory_of(store)
        with _without_room():
            directory.mkdir(exist_ok=True)
            write_tag(tag_file(directory, tag, stamp), base(stamp))
    return stamp


def prepare_rows(store: Path, connection: sqlite3.Connection, prepared: Mapping[int, int]) -> None:
    """Makes rows per user as they will be once bases with these stamps are swapped in, if enough of them changes."""
    if AVAILABLE:
        with _without_room():
            _build_rows(directory_of(store), connection, {**_stamps(connection), **prepared}, STALE_SHARE)


@contextmanager
def _without_room() -> Iterator[None]:
    try:
        yield
    except OSError:
        log.warning("the cache cannot be written; readings go on from fragments", exc_info=True)


def _build_rows(directory: Path, connection: sqlite3.Connection, stamps: Mapping[int, int], stale_max: float) -> int:
    """Makes the rows per user of each entity where they are stale; for how many that was."""
    made = 0
    for entity, tags in _entities(connection).items():
        if _share_stale(directory, newest_rows(directory, entity), tags, stamps) > stale_max:
            bases = {tag: _base(directory, connection, tag, stamps[tag]) for tag in tags if tag in stamps}
            number = max((number for number, _ in rows_files(directory, entity)), default=0) + 1
            write_rows(directory / f"rows.{entity}.{number}", bases)
            made += 1
    return made


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


def _share_stale(directory: Path, rows: UserRows | None, tags: Iterable[int], stamps: Mapping[int, int]) -> float:
    """The share of the memberships of some tags that rows per user do not have as the bases do."""
    bases = {tag: stamps[tag] for tag in tags if tag in stamps}
    if rows is None:
        return 1.0 if bases else 0.0
    stale = {tag for tag, stamp in bases.items() if tag not in rows.tags or rows.tags[tag].stamp != stamp}
    changed = 0
    for tag in stale:
        path = tag_file(directory, tag, bases[tag])
        base = opened(path, partial(open_tag, path, bases[tag]))
        now = sum(value.members for value in base.values.values()) if base else 0
        changed += max(now, rows.tags[tag].members if tag in rows.tags else 0, 1)
    return changed / max(rows.memberships, changed, 1)


def _clean(directory: Path, stamps: Mapping[int, int]) -> None:
    """Takes away what is not the newest. Processes that have it mapped keep it until they let go of it."""
    kept = {tag_file(directory, tag, stamp).name for tag, stamp in stamps.items()}
    entities = {path.name.split(".")[1] for path in directory.glob("rows.*.*")}
    for entity in entities:
        files = [(number, path) for number, path in rows_files(directory, int(entity))]
        kept |= {path.name for number, path in files if number == max(files)[0]}
    for path in directory.iterdir():
        if path.name not in kept and path.is_file():
            path.unlink(missing_ok=True)
