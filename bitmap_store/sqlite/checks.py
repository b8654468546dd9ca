"""Going through all that a store keeps, and naming what is wrong: the file, what its rows say, the cache.

Nothing is changed. What readings verify on their way is verified here as a whole, and what no reading looks at too.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyroaring import BitMap

from bitmap_store.bitmaps import checksum, ids_of, unpacked
from bitmap_store.catalog import Catalog
from bitmap_store.errors import Damaged, Invalid, TagroarError
from bitmap_store.language import parse
from bitmap_store.rows import decode, decode_columns
from bitmap_store.sqlite import cache, name_blocks, name_snapshots
from bitmap_store.sqlite.base import SHARD_BITS
from bitmap_store.sqlite.database import FILE, newest_revision, read_connection, refuse_newer, revision_of
from bitmap_store.sqlite.definitions import load_catalog
from bitmap_store.sqlite.occupancy import occupy
from bitmap_store.sqlite.sections import Unusable
from bitmap_store.sqlite.tag_files import open_tag
from bitmap_store.sqlite.user_rows import GATHERED, UserRows

Tell = Callable[[str, float], None]
"""Told of each step: its title, and how much of it is done within 0..1."""

RESTORE = "restore a backup"
REBUILD = "nothing: it is made again when it is next looked at; it may be deleted"
PROBLEMS_MAX = 1_000
"""A file that is damaged all over is not read to its end."""


def silent(_title: str, _done: float) -> None:
    """For whoever does not want to be told."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong. code: DAMAGED is data that is not right; CACHE what can be made again from it."""

    code: str
    place: str
    said: str

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REBUILD if self.code == "CACHE" else RESTORE


def check(directory: Path, tell: Tell = silent) -> list[Problem]:
    """All that is wrong with a store, up to PROBLEMS_MAX; also while it is served. Reads everything that there is.

    INVALID without a store there, or for one of a newer program.
    """
    if not (directory / FILE).exists():
        raise Invalid(f"there is no store in {directory}")
    with closing(occupy(directory)):
        return check_file(directory, tell) + _check_cache(directory, tell)


def check_file(directory: Path, tell: Tell = silent) -> list[Problem]:
    """All that is wrong with the file in a directory, as it is at one moment. The tables of an older program are not
    gone through, only the file as SQLite sees it."""
    found: list[Problem] = []
    try:
        with closing(read_connection(directory)) as connection:
            connection.execute("BEGIN")
            tell("checking the file", 0.0)
            for (line,) in connection.execute(f"PRAGMA integrity_check({PROBLEMS_MAX})"):
                if line != "ok":
                    found.append(Problem("DAMAGED", FILE, str(line)))
            revision = revision_of(connection)
            refuse_newer(revision, directory)
            tell("checking the file", 1.0)
            if revision is None:
                found.append(Problem("DAMAGED", FILE, "this is no file of a store"))
            elif revision == newest_revision():
                found += _Contents(connection, tell).problems()
    except sqlite3.DatabaseError as error:
        found.append(Problem("DAMAGED", FILE, str(error)))
    return found[:PROBLEMS_MAX]


class _Contents:
    """What the rows of a file say, as one connection sees them."""

    def __init__(self, connection: sqlite3.Connection, tell: Tell) -> None:
        self._connection = connection
        self._tell = tell
        self._catalog: Catalog | None = None
        self._given = dict(connection.execute("SELECT id, next_dense FROM entity"))

    def problems(self) -> list[Problem]:
        """All that is wrong with them."""
        parts: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
            "definitions": self._definitions,
            "versions": self._versions,
            "bases": self._bases,
            "members": self._fragments,
            "log": self._log,
            "names": self._names,
            "profiles": self._profiles,
        }
        found: list[Problem] = []
        for title, part in parts.items():
            self._tell(f"checking {title}", 0.0)
            try:
                for place, said in part():
                    found.append(Problem("DAMAGED", place, said))
                    if len(found) >= PROBLEMS_MAX:
                        return found
            except Exception as error:  # of damaged rows anything may come
                said = error.message if isinstance(error, TagroarError) else f"{type(error).__name__}: {error}"
                found.append(Problem("DAMAGED", title, said))
            self._tell(f"checking {title}", 1.0)
        return found

    def _counted(self, title: str, table: str, sql: str) -> Iterator[tuple[object, ...]]:
        """Rows, with how many of the table were seen told on the way."""
        (count,) = self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        for number, row in enumerate(self._connection.execute(sql)):
            if number % 256 == 0:
                self._tell(f"checking {title}", number / max(count, 1))
            yield row

    # ------------------------------------------------------------ definitions and versions

    def _definitions(self) -> Iterator[tuple[str, str]]:
        catalog = self._catalog = load_catalog(self._connection)
        for tag in catalog.tags.values():
            if tag.entity not in catalog.entities:
                yield f"tag {tag.key!r}", f"there is no entity kind {tag.entity!r}"
            if tag.category is not None and tag.category not in catalog.categories:
                yield f"tag {tag.key!r}", f"there is no category {tag.category!r}"
            for text in (tag.rule, *(rule.text for rule in tag.rules)):
                if text is not None:
                    yield from _readable(f"rule of tag {tag.key!r}", text)
        for audience in catalog.audiences.values():
            if audience.entity not in catalog.entities:
                yield f"audience {audience.key!r}", f"there is no entity kind {audience.entity!r}"
            yield from _readable(f"audience {audience.key!r}", audience.text)
        for experiment in catalog.experiments.values():
            if experiment.entity not in catalog.entities:
                yield f"experiment {experiment.key!r}", f"there is no entity kind {experiment.entity!r}"
            yield from _readable(f"experiment {experiment.key!r}", experiment.text)
        for tag_id, value in self._connection.execute(
            "SELECT tag_id, value FROM tag_value WHERE tag_id NOT IN (SELECT id FROM tag)"
        ):
            yield f"value {value!r}", f"there is no tag with the number {tag_id}"

    def _versions(self) -> Iterator[tuple[str, str]]:
        rows = self._connection.execute("SELECT count(*), max(version) FROM store").fetchone()
        if rows[0] != 1:
            yield "store", f"there are {rows[0]} rows where there has to be one"
        before: tuple[int, int] | None = None
        for version, moment in self._connection.execute("SELECT version, moment FROM version ORDER BY version"):
            if before is not None and version != before[0] + 1:
                yield f"version {version}", f"the one before it is {before[0]}"
            if before is not None and moment <= before[1]:
                yield f"version {version}", "it is not later than the one before it"
            before = version, moment
        if before is not None and before[0] != rows[1]:
            yield "store", f"it says that version {rows[1]} is the last, and version {before[0]} is"

    # ------------------------------------------------------------ memberships

    def _bases(self) -> Iterator[tuple[str, str]]:
        (last,) = self._connection.execute("SELECT version FROM store").fetchone()
        for tag, version in self._connection.execute("SELECT tag_id, version FROM base"):
            if not 0 <= version <= last:
                yield self._tag_named(tag), f"its base is of version {version}, and {last} is the last"
        for tag in self._column("SELECT DISTINCT tag_id FROM shard WHERE tag_id NOT IN (SELECT tag_id FROM base)"):
            yield self._tag_named(tag), "it has shards, and no base"

    def _fragments(self) -> Iterator[tuple[str, str]]:
        given = max(self._given.values(), default=0)
        for tag, value, shard, cardinality, ends, kept, users, columns in self._counted(
            "members",
            "fragment",
            "SELECT tag_id, value_id, shard, cardinality, ends_first, checksum, users, columns FROM fragment "
            "ORDER BY id",
        ):
            place = f"members of {self._tag_named(tag)}, value {value}, shard {shard}"
            try:
                yield from (
                    (place, said) for said in _fragment_problems(shard, cardinality, ends, kept, users, columns, given)
                )
            except Damaged as error:
                yield place, error.message

    def _log(self) -> Iterator[tuple[str, str]]:
        for version, tag, kept, touched, before, after in self._counted(
            "log", "change", "SELECT version, tag_id, checksum, touched, before, after FROM change ORDER BY id"
        ):
            yield from _entry_problems(
                f"log entry of version {version}, {self._tag_named(tag)}", kept, (touched, before, after)
            )
        for tag, generation, kept, touched, before in self._connection.execute(
            "SELECT tag_id, generation, checksum, touched, before FROM staged_change"
        ):
            place = f"log entry of the import {generation}, {self._tag_named(tag)}"
            yield from _entry_problems(place, kept, (touched, before))
        for version, tag in self._connection.execute(
            "SELECT version, tag_id FROM change WHERE version > (SELECT version FROM store)"
        ):
            yield f"log entry of version {version}, {self._tag_named(tag)}", "there is no such version"
        for version, tag in self._connection.execute(
            "SELECT version, tag_id FROM change WHERE generation IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
            "staged_change WHERE staged_change.tag_id = change.tag_id AND staged_change.generation = change.generation)"
        ):
            yield f"log entry of version {version}, {self._tag_named(tag)}", "what its import changed is missing"

    # ------------------------------------------------------------ users

    def _names(self) -> Iterator[tuple[str, str]]:
        for entity, given in self._given.items():
            at = name_blocks.nameless(self._connection, entity)
            try:
                for texts in name_blocks.read(self._connection, entity, at):
                    at += len(texts)
                    self._tell("checking names", at / max(given, 1))
                if at != given:
                    yield f"names of entity kind {entity}", f"there are {at}, and {given} ids were given"
            except Damaged as error:
                yield f"names of entity kind {entity}", error.message

    def _profiles(self) -> Iterator[tuple[str, str]]:
        for table in ("identifier", "attribute"):
            for row, entity, dense in self._connection.execute(
                f"SELECT {table}.id, entity_id, dense FROM {table} LEFT JOIN entity ON entity.id = entity_id "
                "WHERE dense NOT BETWEEN 0 AND coalesce(next_dense, 0) - 1"
            ):
                yield f"{table} {row}", f"it is of a user {dense} of entity kind {entity}, who is not there"
        for row, body, kept in self._counted("profiles", "attribute", "SELECT id, body, checksum FROM attribute"):
            if kept is not None and checksum(str(body).encode()) != kept:
                yield f"attribute {row}", "it does not match its checksum"
            if not _is_object(str(body)):
                yield f"attribute {row}", "it is not a JSON object"

    # ------------------------------------------------------------ helpers

    def _column(self, sql: str) -> list[object]:
        return [found for (found,) in self._connection.execute(sql)]

    def _tag_named(self, tag: object) -> str:
        """A tag as a person knows it."""
        if isinstance(tag, int) and tag < 0:
            return f"who exists of entity kind {-tag}"
        known = self._catalog.tags_by_id.get(tag) if self._catalog and isinstance(tag, int) else None
        return f"tag {known.key!r}" if known else f"tag number {tag}"


def _fragment_problems(
    shard: object, cardinality: object, ends: object, kept: object, users: object, columns: object, given: int
) -> Iterator[str]:
    if not isinstance(users, bytes) or not isinstance(columns, bytes):
        yield "it holds no bytes"
        return
    if checksum(users, columns) != kept:
        yield "it does not match its checksum"
        return
    found: BitMap = unpacked(users)
    _, decoded = decode_columns(columns)
    if len(found) != cardinality:
        yield f"it has {len(found)} members, and says {cardinality}"
    if found and (found.min() >> SHARD_BITS != shard or found.max() >> SHARD_BITS != shard):
        yield "its members are not of this shard"
    if found and found.max() >= given:
        yield f"it has the user {found.max()}, who is not there"
    if len(decoded["expires"]) and int(decoded["expires"].min()) != ends:
        yield "its first end is not that of its members"


def _entry_problems(place: str, kept: object, blobs: tuple[object, ...]) -> Iterator[tuple[str, str]]:
    parts = [blob for blob in blobs if isinstance(blob, bytes)]
    if len(parts) < 2 or checksum(*parts) != kept:
        yield place, "it does not match its checksum"
        return
    try:
        unpacked(parts[0])
        for rows in parts[1:]:
            decode(rows)
    except Damaged as error:
        yield place, error.message


def _readable(place: str, text: str) -> Iterator[tuple[str, str]]:
    try:
        parse(text)
    except TagroarError as error:
        yield place, f"it cannot be read: {error.message}"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


# ---------------------------------------------------------------- the cache


def _check_cache(directory: Path, tell: Tell) -> list[Problem]:
    """Files of the cache that are not as they were written. Those of an earlier age of the store do no harm."""
    found: list[Problem] = []
    files = sorted(path for path in cache.directory_of(directory).rglob("*") if path.is_file())
    with closing(read_connection(directory)) as connection:
        try:
            stamps = dict(connection.execute("SELECT tag_id, stamp FROM base"))
            names = {entity: name_snapshots.recorded(connection, entity) for (entity,) in _entities(connection)}
        except sqlite3.DatabaseError:
            return []  # the file is damaged, which has been told
    for number, path in enumerate(files):
        tell("checking the cache", number / len(files))
        try:
            _check_cached(path, stamps, names, directory)
        except FileNotFoundError:
            continue  # taken away meanwhile
        except Exception as error:  # of a damaged file anything may come
            found.append(Problem("CACHE", str(path.relative_to(directory)), f"{error}"))
    tell("checking the cache", 1.0)
    return found


def _entities(connection: sqlite3.Connection) -> Iterable[tuple[int]]:
    return connection.execute("SELECT id FROM entity").fetchall()


def _check_cached(
    path: Path, stamps: dict[int, int], names: dict[int, tuple[int, int] | None], directory: Path
) -> None:
    kind, *numbers = path.name.split(".")
    if path.suffix in (".partial", ".draft"):
        return  # being written, or left over, and never read
    if path.parent.name == "names":
        recorded = names.get(int(kind))
        if recorded is None or name_snapshots.path_of(directory, int(kind), *recorded) != path:
            return
        if name_snapshots.load(directory, int(kind), *recorded) is None and path.exists():
            raise Unusable(f"{path.name} does not match its checksum")
    elif kind == "tag" and stamps.get(int(numbers[0])) == int(numbers[1], 16):
        for value in open_tag(path, stamps[int(numbers[0])]).values.values():
            len(value.users)
    elif kind == "rows":
        rows = UserRows(path)
        users = ids_of(rows.users())
        for start in range(0, len(users), GATHERED):
            rows.codes_of(np.asarray(users[start : start + GATHERED], np.uint32))
