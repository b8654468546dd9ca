"""The users that the file of an import names: their dense ids, and the identifiers that new ones are to have.

Ids are given at once, in short transactions; whom they stand for exists from the flip on.
"""

import os
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of, ids_of
from bitmap_store.dictionary import GrowingDictionary
from bitmap_store.errors import Conflict
from bitmap_store.files.buffers import stored
from bitmap_store.files.cells import Users
from bitmap_store.files.texts import plain_text
from bitmap_store.hashing import Hash, Hashed, Places, Texts
from bitmap_store.rows import is_member
from bitmap_store.sqlite.identifiers import MANY, OwnersOfKind, owners
from bitmap_store.sqlite.names import without_runs
from bitmap_store.sqlite.writer import Transaction, Writer
from bitmap_store.values import EntityKind

CHUNK = 1 << 17
"""Names that one transaction gives ids to."""
NUMBERS_MAX = 1 << 26
"""User ids that are whole numbers below this are looked up in an array."""
TICKED = 1 << 27
"""Dense ids below this have a byte each while a file is read."""


class Met:
    """The users that a file names. Low ids are ticked off, which takes a tenth of what a set of each block takes."""

    def __init__(self) -> None:
        self._ticked = np.zeros(1, np.bool_)
        self._others = BitMap()

    def add(self, ids: Users) -> None:
        """Adds dense ids, in any order and each as often as it is named; -1 is nobody."""
        most = int(ids.max()) if len(ids) else -1
        if most >= TICKED:
            self._others |= bitmap_of(np.unique(ids[ids >= TICKED]))
            ids = ids[ids < TICKED]
            most = TICKED - 1
        if most + 2 > len(self._ticked):
            grown = np.zeros(min(max(most + 2, 2 * len(self._ticked)), TICKED + 1), np.bool_)
            grown[: len(self._ticked) - 1] = self._ticked[:-1]
            self._ticked = grown
        self._ticked[ids] = True  # the last place takes the -1

    def all(self) -> BitMap:
        """All of them."""
        return bitmap_of(np.flatnonzero(self._ticked[:-1])) | self._others


class FileNames:
    """Names, or identifiers of a kind, to dense ids for the time of one import."""

    def __init__(self, writer: Writer, entity: EntityKind, id_kind: str | None) -> None:
        self._writer = writer
        self._entity = entity
        self._id_kind = id_kind
        self._all_of_kind = OwnersOfKind(entity.id, id_kind or "")
        self._seen = GrowingDictionary(Hash(os.urandom(16)))
        self._seen_ids: Places = np.zeros(0, np.int64)
        self._linked: list[tuple[pa.Array, Places]] = []
        # By the number; the largest of the type is of one that was not met. Without identifiers nobody is refused, and
        # as many lie in the cache of the processor again.
        self._of_numbers: NDArray[Any] = np.zeros(0, np.uint32 if id_kind is None else np.int64)

    def resolve(self, names: pa.Array) -> Users:
        """The dense id of each row; new names get one. -1 for an identifier that nobody has but that is the user id
        of somebody: see `refusal`. Whole numbers are names as well; one becomes text when it is first met."""
        if pa.types.is_integer(names.type):
            return self._by_number(names)
        if self._id_kind is not None:
            return self._by_identifier(names)
        known = self._writer.names
        distinct, rows = without_runs(names)
        asked = known.hashed(self._entity.id, distinct)
        ids = known.find(self._entity.id, asked)
        unknown = np.flatnonzero(ids < 0)
        for start in range(0, len(unknown), CHUNK):
            some = unknown[start : start + CHUNK]
            ids[some] = self._writer.submit(partial(self._named, asked.take(some))).result()
        return ids if rows is None else ids[rows]

    def _by_number(self, names: pa.Array) -> Users:
        numbers = stored(names)
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= NUMBERS_MAX):
            coded = names.dictionary_encode()
            return self.resolve(plain_text(coded.dictionary)).take(stored(coded.indices))
        unmet = np.iinfo(self._of_numbers.dtype).max
        missing = (int(numbers.max()) if len(numbers) else -1) + 1 - len(self._of_numbers)
        if missing > 0:
            grown = np.full(max(missing, len(self._of_numbers)), unmet, self._of_numbers.dtype)
            self._of_numbers = np.concatenate([self._of_numbers, grown])
        ids = self._of_numbers.take(numbers)
        if ids.max(initial=0) == unmet:
            fresh = pa.array(numbers[ids == unmet]).unique()
            self._of_numbers[stored(fresh)] = self.resolve(plain_text(fresh))
            ids = self._of_numbers.take(numbers)
        return ids

    def refusal(self, name: str) -> str:
        """Why a name gets no id."""
        return f"{name!r} is a user id already, and not linked as {self._id_kind!r}; link it first"

    def _named(self, names: Hashed, transaction: Transaction) -> Places:
        return transaction.naming.find_or_give(self._entity.id, names)

    # ------------------------------------------------------------ by identifier

    def _by_identifier(self, names: pa.Array) -> Places:
        coded = names.dictionary_encode()
        distinct = coded.dictionary
        asked = Hashed.of(Texts.of(distinct), self._seen.now.hash)
        unseen = np.flatnonzero(self._seen.now.find(asked) < 0)
        for start in range(0, len(unseen), CHUNK):
            rows = unseen[start : start + CHUNK]
            some = distinct.take(pa.array(rows))
            ids = self._writer.submit(partial(self._identified, some, len(unseen))).result()
            self._seen.add(asked.take(rows))
            self._seen_ids = np.concatenate([self._seen_ids, ids])
        found: Places = self._seen_ids[self._seen.now.find(asked)][coded.indices.to_numpy()]
        return found

    def _identified(self, names: pa.Array, asked: int, transaction: Transaction) -> Places:
        """Dense ids by identifier. Who has none yet is new, and gets the identifier's text as user id."""
        ids = self._owners(names, asked, transaction)
        new = np.flatnonzero(ids < 0)
        if not len(new):
            return ids
        fresh = names.take(pa.array(new))
        asked_by_name = self._writer.names.hashed(self._entity.id, fresh)
        there = transaction.naming.find(self._entity.id, asked_by_name)  # of an import that did not get to its flip
        taken = np.zeros(len(new), np.bool_)
        if (there >= 0).any():
            asked_for = bitmap_of(there[there >= 0])
            existing = transaction.memberships.rows(-self._entity.id, transaction.current, asked_for)["user"]
            taken = np.isin(there, existing)
        given = self._named(asked_by_name, transaction)
        ids[new] = np.where(taken, -1, given)
        self._linked.append((fresh.filter(pa.array(~taken)), given[~taken]))
        return ids

    def _owners(self, names: pa.Array, asked: int, transaction: Transaction) -> Places:
        if asked >= MANY:
            return self._all_of_kind.find(transaction.raw, names)
        values = names.to_pylist()
        found = owners(transaction.raw, self._entity.id, values, str(self._id_kind))
        return np.fromiter((found.get(value, -1) for value in values), np.int64, len(values))

    def link(self, transaction: Transaction, users: BitMap) -> None:
        """Gives new ones of these users the identifiers by which the file names them. CONFLICT when another has one
        by now."""
        ids = ids_of(users)
        for names, dense in self._linked:
            there = is_member(dense.astype(np.uint32), ids)
            self._link(transaction, names.filter(pa.array(there)), dense[there])

    def _link(self, transaction: Transaction, names: pa.Array, dense: NDArray[np.int64]) -> None:
        owned = self._owners(names, len(names), transaction)
        foreign = np.flatnonzero((owned >= 0) & (owned != dense))
        if len(foreign):
            name = names[int(foreign[0])].as_py()
            raise Conflict(f"the {self._id_kind} {name!r} belongs to another user", argument="identifier")
        free = owned < 0
        if free.any():
            version = transaction.next_version()
            transaction.raw.executemany(
                "INSERT INTO identifier (entity_id, kind, value, dense, from_version) VALUES (?, ?, ?, ?, ?)",
                (
                    (self._entity.id, self._id_kind, value, user, version)
                    for value, user in zip(names.filter(pa.array(free)).to_pylist(), dense[free].tolist(), strict=True)
                ),
            )
