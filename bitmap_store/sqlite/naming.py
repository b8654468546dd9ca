"""Names as one write transaction sees and gives them; written when it commits, gone when it does not.

What is committed is in `names.py`, which learns of these names as of any other process's.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from bitmap_store.dictionary import Dictionary, dictionary_of
from bitmap_store.errors import Invalid, TooLarge
from bitmap_store.hashing import LONGEST, Hashed, Places, Texts, Words, joined
from bitmap_store.sqlite import name_blocks
from bitmap_store.sqlite.names import FEW, Known, Names, found_in

DENSE_MAX = 2**32 - 1
Mark = dict[int, int]
"""For each entity kind that is named in: the next dense id."""


@dataclass(slots=True)
class Column:
    """Names that were given together: the first of their ids, and what finds them."""

    first: int
    names: Hashed
    found: Dictionary


@dataclass(slots=True)
class Given:
    """The names that are given in one entity kind: by name where they are few, and in columns where they are many."""

    known: Known
    first: int
    next: int
    few: dict[str, int] = field(default_factory=dict)
    columns: list[Column] = field(default_factory=list)


class Naming:
    """The names of one write transaction, which may be of several batches; those of one can be taken back."""

    def __init__(self, names: Names, connection: sqlite3.Connection) -> None:
        self._names = names
        self._connection = connection
        self._given: dict[int, Given] = {}
        self._written: dict[int, list[Hashed]] = {}

    def _in(self, entity: int) -> Given:
        given = self._given.get(entity)
        if given is None:
            # Nobody else gives a name from here on, because nobody else writes.
            known = self._names.learn(entity, self._connection)
            given = self._given[entity] = Given(known, known.count, known.count)
        return given

    # ------------------------------------------------------------ looking up

    def dense_of(self, entity: int, names: Sequence[str]) -> dict[str, int]:
        """The dense id of each name that has one."""
        given = self._in(entity)
        found = {name: dense for name, dense in zip(names, found_in(given.known, names), strict=True) if dense >= 0}
        if given.next > given.first and len(found) < len(names):
            for name in names:
                if name not in found and (dense := self._new_id(given, name)) is not None:
                    found[name] = dense
        return found

    def _new_id(self, given: Given, name: str) -> int | None:
        dense = given.few.get(name)
        text = name.encode("utf-8", "surrogatepass")
        for column in given.columns:
            if dense is None and (place := column.found.find_one(text, column.found.hash.of_one(text))) >= 0:
                dense = column.first + place
        return dense

    def find(self, entity: int, asked: Hashed) -> Places:
        """The dense id of each name, -1 where it has none."""
        given = self._in(entity)
        found = given.known.find(asked)
        for column in given.columns:
            places = column.found.find(asked)
            found = np.where(places < 0, found, places + column.first)
        if given.few:
            for row in np.flatnonzero(found < 0).tolist():
                found[row] = given.few.get(asked.texts.text(row).decode("utf-8", "surrogatepass"), -1)
        return found

    # ------------------------------------------------------------ giving

    def give(self, entity: int, names: Sequence[str]) -> dict[str, int]:
        """New dense ids for distinct names that have none."""
        if len(names) > FEW:
            ids = self.give_column(entity, self._names.hashed(entity, pa.array(names, pa.large_string())))
            return dict(zip(names, ids.tolist(), strict=True))
        given = self._in(entity)
        first = self._reserve(given, len(names))
        fresh = {name: first + i for i, name in enumerate(names)}
        given.few |= fresh
        return fresh

    def give_column(self, entity: int, names: Hashed) -> Places:
        """New dense ids for names that have none, in the order in which each is first; the id of each row."""
        given = self._in(entity)
        lengths = names.texts.lengths
        if len(names) and not 1 <= lengths.min() <= lengths.max() <= LONGEST:
            raise Invalid(f"the name of a user has 1 to {LONGEST} bytes")
        places = np.arange(len(names))
        found = dictionary_of(names)
        alike = _alike(names.hashes)
        if len(alike):
            places[alike] = found.find(names, alike)[alike]
            leads = places == np.arange(len(names))
            if not leads.all():  # some stand there twice
                names = names.take(np.flatnonzero(leads))
                found = dictionary_of(names)
                places = (np.cumsum(leads) - 1)[places]
        first = self._reserve(given, len(names))
        given.columns.append(Column(first, names, found))
        return places + first

    def find_or_give(self, entity: int, names: Hashed) -> Places:
        """The dense id of each name; those that have none get one."""
        ids = self.find(entity, names)
        new = np.flatnonzero(ids < 0)
        if len(new):
            ids[new] = self.give_column(entity, names.take(new))
        return ids

    def _reserve(self, given: Given, count: int) -> int:
        first = given.next
        if first + count > DENSE_MAX:
            raise TooLarge(f"an entity kind has at most {DENSE_MAX} ids")
        given.next = first + count
        return first

    # ------------------------------------------------------------ the transaction

    def mark(self) -> Mark:
        """Where giving stands."""
        return {entity: given.next for entity, given in self._given.items()}

    def withdraw(self, mark: Mark) -> None:
        """Takes back the names that were given since."""
        for entity, given in self._given.items():
            given.next = mark.get(entity, given.first)
            given.few = {name: dense for name, dense in given.few.items() if dense < given.next}
            given.columns = [column for column in given.columns if column.first < given.next]

    def write(self) -> None:
        """Writes all names that were given: a block an entity kind, or several where they are very many."""
        for entity, given in self._given.items():
            if given.next > given.first:
                self._written[entity] = parts = _in_order(given)
                name_blocks.append(self._connection, entity, given.first, joined([part.texts for part in parts]))
                self._connection.execute("UPDATE entity SET next_dense = ? WHERE id = ?", (given.next, entity))

    def publish(self) -> None:
        """Tells this process of the names, once they are committed."""
        for entity, parts in self._written.items():
            self._names.publish(entity, self._given[entity].first, parts)


def _alike(hashes: Words) -> Places:
    """The rows whose hash another row has too."""
    ordered = np.sort(hashes)
    return np.flatnonzero(np.isin(hashes, ordered[1:][ordered[1:] == ordered[:-1]]))


def _in_order(given: Given) -> list[Hashed]:
    """The names from the first dense id that was given to the last."""
    parts = [(column.first, column.names) for column in given.columns]
    runs: list[list[tuple[str, int]]] = []
    for name, dense in given.few.items():  # ascending
        if not runs or runs[-1][-1][1] + 1 != dense:
            runs.append([])
        runs[-1].append((name, dense))
    hash_ = given.known.hash
    parts += [(run[0][1], Hashed.of(Texts.of_list([name for name, _ in run]), hash_)) for run in runs]
    return [names for _, names in sorted(parts, key=lambda part: part[0])]
