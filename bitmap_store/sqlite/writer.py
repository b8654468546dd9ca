"""The one writer of a process: batches that wait are applied together and made durable by one commit.

A batch that fails takes back its own savepoint and none of the others. What is answered is on disk and
in the next reading of every process.
"""

import asyncio
import hashlib
import json
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar, cast
from zoneinfo import ZoneInfo

from pyroaring import BitMap
from sqlalchemy import Connection, Engine
from sqlmodel import Session

from bitmap_store.bitmaps import checksum, ids_of
from bitmap_store.catalog import Catalog, ValueTable
from bitmap_store.clock import Clock
from bitmap_store.errors import Conflict, Invalid, NotFound, TagroarError, Unavailable
from bitmap_store.rows import rows_of
from bitmap_store.sqlite.changes import TagEditor, check_user, users_of
from bitmap_store.sqlite.identifiers import owners
from bitmap_store.sqlite.journal import NOTHING, Journal
from bitmap_store.sqlite.layers import Change
from bitmap_store.sqlite.memberships import Memberships
from bitmap_store.sqlite.names import Names
from bitmap_store.sqlite.naming import Naming
from bitmap_store.sqlite.settling import Outcome, Work, settle
from bitmap_store.values import (
    Assign,
    Batch,
    EntityKind,
    Event,
    Identifier,
    ProfileChange,
    Remove,
    Tag,
    WriteResult,
)

T = TypeVar("T")
GROUP_MAX = 256
QUEUE_MAX = 10_000
ATTRIBUTE_BYTES_MAX = 65_536


class Writer:
    """A thread that owns the write connection."""

    def __init__(
        self,
        engine: Engine,
        memberships: Memberships,
        names: Names,
        clock: Clock,
        timezone: ZoneInfo,
        load_catalog: Callable[[sqlite3.Connection], Catalog],
    ) -> None:
        self._engine = engine
        self.memberships = memberships
        self.names = names
        self.clock = clock
        self.timezone = timezone
        self.load_catalog = load_catalog
        self.catalog = Catalog(version=-1)
        self.sources: dict[str, int] = {}
        self._waiting: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="tagroar-writer", daemon=True)
        self._thread.start()

    def submit(self, run: Callable[["Transaction"], T]) -> "Future[T]":
        """Runs a function in the next transaction; the future has its result once that is on disk."""
        result: Future[T] = Future()
        result.set_running_or_notify_cancel()  # whoever stops waiting for it cannot cancel it
        self._put(Work(run, result))
        return result

    def soon(self, run: "Batch | Callable[[Transaction], Any]") -> "asyncio.Future[Any]":
        """The same for a coroutine, and for a batch. Whoever stops waiting does not stop the write."""
        result = asyncio.get_running_loop().create_future()
        self._put(Work(run, result))
        return result

    def _put(self, work: Work) -> None:
        with self._gate:
            if self._closed:
                raise Unavailable("the store is closing and takes no more writes")
            if self._waiting.qsize() >= QUEUE_MAX:
                raise Unavailable("too many writes are waiting; try again in a moment")
            self._waiting.put(work)

    @property
    def waiting(self) -> int:
        """How many writes wait for the next transaction."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Finishes what waits, then ends the thread; nothing is taken any more."""
        with self._gate:
            self._closed = True
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None:
            group = [work]
            while len(group) < GROUP_MAX and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    self._waiting.put(None)
                    break
                group.append(following)
            settle(self._commit(group))

    def _commit(self, group: list[Work]) -> list[Outcome]:
        """Runs a group in one transaction. Whatever fails, no caller waits for ever and no reading is wrong."""
        journal: Journal | None = None
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                raw = cast(sqlite3.Connection, connection.connection.driver_connection)
                try:
                    journal = self._refresh(raw)
                    naming = Naming(self.names, raw)
                    outcomes = [self._attempt(work, connection, raw, journal, naming) for work in group]
                    journal.write()
                    naming.write()
                    transaction.commit()
                except BaseException:
                    if journal is not None:  # before anybody else can make these versions
                        journal.withdraw(NOTHING)
                    raw.rollback()
                    raise
            self.memberships.committed(journal.version)
            with suppress(MemoryError):  # what was committed can be read again
                naming.publish()
            return outcomes
        except BaseException as error:
            self.catalog = Catalog(version=-1)
            self.sources.clear()
            failure = error if isinstance(error, TagroarError) else Unavailable("the write could not be stored")
            failure.__cause__ = error
            return [(work, None, failure) for work in group]

    def _refresh(self, raw: sqlite3.Connection) -> Journal:
        """Learns of what other processes wrote; where the log goes on."""
        version, folds, catalog, moment, change = raw.execute(
            "SELECT version, folds, catalog, (SELECT coalesce(max(moment), 0) FROM version), "
            "(SELECT coalesce(max(id), 0) FROM change) FROM store"
        ).fetchone()
        self.memberships.learn(version, folds)
        if catalog != self.catalog.version:
            self.catalog = self.load_catalog(raw)
        return Journal(raw, self.memberships, version, moment, change)

    def _attempt(
        self, work: Work, connection: Connection, raw: sqlite3.Connection, journal: Journal, naming: Naming
    ) -> Outcome:
        if not isinstance(work.run, Batch):
            journal.write()  # outside of what it may take back, and for whatever it asks of the file
        mark, names = journal.mark(), naming.mark()
        transaction = Transaction(self, connection, raw, journal, naming)
        try:
            if isinstance(work.run, Batch):
                value: Any = transaction.apply(work.run)
            else:
                transaction.begin()
                value = work.run(transaction)
                journal.write()
            transaction.release()
            return work, value, None
        except BaseException as error:
            journal.withdraw(mark)
            naming.withdraw(names)
            if transaction.take_back():
                self.sources.clear()
                (catalog,) = raw.execute("SELECT catalog FROM store").fetchone()
                if catalog != self.catalog.version:
                    self.catalog = self.load_catalog(raw)
            return work, None, error


class Transaction:
    """What may be done inside a write: one batch, one definition, one flip. Gives versions and ids."""

    def __init__(
        self, writer: Writer, connection: Connection, raw: sqlite3.Connection, journal: Journal, naming: Naming
    ) -> None:
        self._writer = writer
        self.connection = connection
        self._raw = raw
        self._begun = False
        self.journal = journal
        self.naming = naming
        self.memberships = writer.memberships
        self.version: int | None = None
        # Moments never go back, whatever the clocks of several processes say.
        self.moment = max(writer.clock.micros(), journal.moment + 1)

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection; what is written there is taken back alone when this fails."""
        self.begin()
        return self._raw

    def begin(self) -> None:
        """Sets the point to go back to. Most batches need none: what they write is in the journal."""
        if not self._begun:
            self._raw.execute("SAVEPOINT batch")
            self._begun = True

    def release(self) -> None:
        """Leaves what was written to the commit."""
        if self._begun:
            self._raw.execute("RELEASE batch")

    def take_back(self) -> bool:
        """Takes back what was written, if anything was."""
        if self._begun:
            self._raw.execute("ROLLBACK TO batch")
            self._raw.execute("RELEASE batch")
        return self._begun

    @property
    def catalog(self) -> Catalog:
        """The definitions as they are in this transaction."""
        return self._writer.catalog

    @property
    def current(self) -> int:
        """The version that reading inside this transaction sees."""
        return self.journal.version

    def session(self) -> Session:
        """A session on this transaction; what it flushes is committed or taken back with the rest."""
        self.begin()
        return Session(bind=self.connection, join_transaction_mode="rollback_only")

    def next_version(self) -> int:
        """The version that this transaction makes; the first call makes it."""
        if self.version is None:
            self.version = self.journal.next_version(self.moment)
        return self.version

    def catalog_changed(self) -> Catalog:
        """To be called after definitions were changed: every process will read them again."""
        self.raw.execute("UPDATE store SET catalog = catalog + 1")
        self._writer.catalog = self._writer.load_catalog(self.raw)
        return self._writer.catalog

    def record(self, tag: int, change: Change) -> None:
        """Writes the change of one tag to the log."""
        self.next_version()
        self.journal.record(tag, change)

    def record_flip(self, tag: int, generation: int, late: BitMap) -> None:
        """Writes to the log that staged fragments of a tag have come to hold.

        What that changed is staged too, and counts except for the users who were written meanwhile.
        """
        self.next_version()
        self.journal.record_flip(tag, generation, late)

    def source_id(self, name: str | None) -> int:
        """The id of a source, given when it is first named; 0 is none."""
        if name is None:
            return 0
        sources = self._writer.sources
        if name not in sources:
            if not name or len(name) > 200:
                raise Invalid("a source has 1 to 200 characters", argument="source")
            self.raw.execute("INSERT OR IGNORE INTO source (name) VALUES (?)", (name,))
            (sources[name],) = self.raw.execute("SELECT id FROM source WHERE name = ?", (name,)).fetchone()
        return sources[name]

    def value_id(self, tag: Tag, value: str) -> int:
        """The id of a value; of an open tag a new one is added, with the levels above it where hierarchical."""
        known = self.known_id(tag, value)
        return self.add_values(tag, [value])[value] if known is None else known

    def known_id(self, tag: Tag, value: str) -> int | None:
        """The id of a value, None for one that an open tag does not have yet; of a closed tag that is NOT_FOUND."""
        known = self.catalog.values(tag).names.get(value)
        if known is None and not tag.open:
            raise NotFound.named(f"value of {tag.key!r}", value, self.catalog.values(tag))
        return known

    def add_values(self, tag: Tag, values: list[str]) -> dict[str, int]:
        """Declares values of a tag, those that are not yet; the ids of all its values."""
        catalog = self.catalog
        names = dict(catalog.values(tag).names)
        known, last = len(names), max(names.values(), default=0)
        for value in values:
            levels = value.split("/") if tag.hierarchical else [value]
            for depth in range(1, len(levels) + 1):
                name = "/".join(levels[:depth])
                if name not in names:
                    names[name] = last = last + 1
                    self.raw.execute("INSERT INTO tag_value (tag_id, id, value) VALUES (?, ?, ?)", (tag.id, last, name))
        if len(names) > known:
            # Known without reading all definitions again, which a batch of many new values would do for each.
            self.raw.execute("UPDATE store SET catalog = catalog + 1")
            tables = {**catalog.value_tables, tag.id: ValueTable(names)}
            self._writer.catalog = replace(catalog, version=catalog.version + 1, value_tables=tables)
        return names

    # ------------------------------------------------------------ idempotency

    def applied(self, key: str | None, fingerprint: str) -> WriteResult | None:
        """What a key that was used before did; CONFLICT when it was used for something else."""
        if key is None:
            return None
        found = self.raw.execute(
            "SELECT fingerprint, version, changed, created FROM applied WHERE key = ?", (key,)
        ).fetchone()
        if found is None:
            return None
        if found[0] != fingerprint:
            raise Conflict(
                f"the idempotency key {key!r} was used for another request; use a new key", argument="idempotencyKey"
            )
        _, version, changed, created = found
        return WriteResult(version, changed, created, already_applied=True)

    def remember(self, key: str | None, fingerprint: str, result: WriteResult, job: str | None = None) -> None:
        """Keeps what a key was used for."""
        if key is not None:
            self.raw.execute(
                "INSERT INTO applied (key, fingerprint, version, changed, created, job_id) VALUES (?, ?, ?, ?, ?, ?)",
                (key, fingerprint, result.data_version, result.changed, result.created, job),
            )

    # ------------------------------------------------------------ users

    def users(self, entity: EntityKind, names: list[str], id_kind: str | None) -> dict[str, int]:
        """The dense id of each name; unknown names get one. By identifier a new user has the identifier's
        own text as its user id."""
        found = self.known(entity, names, id_kind)
        missing = [name for name in names if name not in found]
        if not missing:
            return found
        for name in missing:
            check_user(name)
        if id_kind is None:
            return found | self.naming.give(entity.id, missing)
        taken = self.known(entity, missing)
        if taken:
            name = next(iter(taken))
            raise Conflict(f"{name!r} is a user id already, and not linked as {id_kind!r}; link it first")
        given = self.naming.give(entity.id, missing)
        for name, dense in given.items():
            self.link(entity, dense, Identifier(id_kind, name))
        return found | given

    def known(self, entity: EntityKind, names: list[str], id_kind: str | None = None) -> dict[str, int]:
        """The dense id of each name that has one, by an identifier of a kind if one is given."""
        if id_kind is None:
            return self.naming.dense_of(entity.id, names)
        return owners(self.raw, entity.id, names, id_kind)

    def create(self, entity: EntityKind, users: BitMap) -> int:
        """Makes these users exist, if they do not; how many are new."""
        fresh = users - self.memberships.holders(-entity.id, self.current, users)
        if fresh:
            rows = rows_of(len(fresh))
            rows["user"] = ids_of(fresh)
            rows["since"] = self.moment
            self.record(-entity.id, Change(fresh, rows_of(0), rows))
        return len(fresh)

    def owner(self, entity: EntityKind, identifier: Identifier) -> int | None:
        """Whose identifier this is."""
        return owners(self.raw, entity.id, [identifier.value], identifier.kind).get(identifier.value)

    def link(self, entity: EntityKind, dense: int, identifier: Identifier) -> bool:
        """Gives a user an identifier, from this version on; False when it has it. CONFLICT when another has."""
        owner = self.owner(entity, identifier)
        if owner == dense:
            return False
        if owner is not None:
            raise Conflict(f"the {identifier.kind} {identifier.value!r} belongs to another user", argument="identifier")
        self.raw.execute(
            "INSERT INTO identifier (entity_id, kind, value, dense, from_version) VALUES (?, ?, ?, ?, ?)",
            (entity.id, identifier.kind, identifier.value, dense, self.next_version()),
        )
        return True

    def merge_attributes(self, entity: EntityKind, dense: int, attributes: dict[str, object]) -> bool:
        """Merges attributes into those of a user; None removes one. False when nothing changes."""
        if not all(map(fits_json, attributes.values())):
            raise Invalid("a whole number in an attribute has at most 63 bits", argument="attributes")
        found = self.raw.execute(
            "SELECT id, body FROM attribute WHERE entity_id = ? AND dense = ? AND to_version IS NULL",
            (entity.id, dense),
        ).fetchone()
        old: dict[str, object] = json.loads(found[1]) if found else {}
        new = {key: value for key, value in (old | attributes).items() if value is not None}
        body = json.dumps(new, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        if body == (found[1] if found else "{}"):  # as text, because True equals 1 in Python
            return False
        if len(body.encode()) > ATTRIBUTE_BYTES_MAX:
            raise Invalid(f"the attributes of a user have at most {ATTRIBUTE_BYTES_MAX} bytes", argument="attributes")
        if found:
            self.raw.execute("UPDATE attribute SET to_version = ? WHERE id = ?", (self.next_version(), found[0]))
        self.raw.execute(
            "INSERT INTO attribute (entity_id, dense, body, from_version, checksum) VALUES (?, ?, ?, ?, ?)",
            (entity.id, dense, body, self.next_version(), checksum(body.encode())),
        )
        return True

    # ------------------------------------------------------------ a batch

    def apply(self, batch: Batch) -> WriteResult:
        """Applies a batch; see `BitmapStore.apply`."""
        entity = self.catalog.entity(batch.entity, argument="entity")
        fingerprint = fingerprint_of(batch) if batch.idempotency_key is not None else ""
        earlier = self.applied(batch.idempotency_key, fingerprint)
        if earlier is not None:
            return earlier
        made = users_of(operation for operation in batch.operations if not isinstance(operation, Remove))
        dense = self._dense(entity, batch, made)
        editors = self._editors(entity, batch, dense)
        created = self.create(entity, BitMap([dense[name] for name in made]))
        changed = 0
        for i, operation in enumerate(batch.operations):
            name = operation.user
            try:
                match operation:
                    case Assign():
                        editors[operation.tag].assign(dense[name], operation, batch.source)
                    case Remove():
                        editors[operation.tag].remove(dense.get(name), operation)
                    case Event():
                        editors[operation.tag].record(dense[name], operation)
                    case ProfileChange():
                        changed += self._profile(entity, dense[name], operation)
            except TagroarError as error:
                raise error.within(f"input.{i}") from None
        for editor in dict.fromkeys(editors.values()):
            change, memberships = editor.change()
            changed += memberships
            if change is not None:
                self.record(editor.tag.id, change)
        result = WriteResult(self.current, changed, created)
        self.remember(batch.idempotency_key, fingerprint, result)
        return result

    def _dense(self, entity: EntityKind, batch: Batch, made: list[str]) -> dict[str, int]:
        """Dense ids of the users of a batch, of those that are to be `made` new ones; others need not have one."""
        for i, operation in enumerate(batch.operations):
            try:
                check_user(operation.user)
            except Invalid as error:
                error.argument = f"input.{i}.user"
                raise
        found = self.known(entity, users_of(batch.operations), batch.id_kind)
        missing = [name for name in made if name not in found]
        return found | self.users(entity, missing, batch.id_kind) if missing else found

    def _editors(self, entity: EntityKind, batch: Batch, dense: dict[str, int]) -> dict[str, TagEditor]:
        """An editor for each tag that the batch names, holding the rows of the users it touches there."""
        touched: dict[str, list[int]] = {}
        tags: dict[str, Tag] = {}
        by_id: dict[int, list[int]] = {}
        for i, operation in enumerate(batch.operations):
            if isinstance(operation, ProfileChange):
                continue
            users = touched.get(operation.tag)
            if users is None:
                tag = self.catalog.tag_of(entity.key, operation.tag, argument=f"input.{i}.tag")
                if tag.is_rule:
                    raise Invalid(f"{tag.key!r} follows from its rule and is not written", argument=f"input.{i}.tag")
                tags[operation.tag] = tag
                # Two spellings of a key are one tag.
                users = touched[operation.tag] = by_id.setdefault(tag.id, [])
            user = dense.get(operation.user)
            if user is not None:
                users.append(user)
        editors: dict[int, TagEditor] = {}
        for tag in tags.values():
            if tag.id not in editors:
                before = self.memberships.rows(tag.id, self.current, BitMap(by_id[tag.id]))
                editors[tag.id] = self._editor(tag, before)
        return {key: editors[tag.id] for key, tag in tags.items()}

    def _editor(self, tag: Tag, before: Any) -> TagEditor:
        return TagEditor(
            tag,
            before,
            self.moment,
            self._writer.timezone,
            lambda value: self.value_id(tag, value),
            lambda value: self.known_id(tag, value),
            self.source_id,
        )

    def _profile(self, entity: EntityKind, dense: int, profile: ProfileChange) -> int:
        changed = 0
        for i, identifier in enumerate(profile.identifiers):
            check_identifier(identifier, f"identifiers.{i}")
            try:
                changed += self.link(entity, dense, identifier)
            except Conflict as error:
                error.argument = f"identifiers.{i}"
                raise
        if profile.attributes:
            changed += self.merge_attributes(entity, dense, dict(profile.attributes))
        return changed


def fits_json(value: object) -> bool:
    """Whether every whole number in a JSON value is one that every reader of JSON here can read again."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, int) and not -(2**63) <= each < 2**63:
            return False
        if isinstance(each, dict):
            pending.extend(each.values())
        elif isinstance(each, list):
            pending.extend(each)
    return True


def check_identifier(identifier: Identifier, argument: str) -> None:
    """INVALID when an identifier cannot be one."""
    for name, text in (("kind", identifier.kind), ("value", identifier.value)):
        try:
            check_user(text)
        except Invalid as error:
            raise Invalid(
                error.message.replace("the name of a user", f"the {name} of an identifier"),
                argument=f"{argument}.{name}",
            ) from None


def fingerprint_of(batch: Batch) -> str:
    """A digest of what a batch asks for, whatever its key."""
    said = repr((batch.entity, batch.id_kind, batch.source, batch.operations))
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
