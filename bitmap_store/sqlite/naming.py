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
from bitmap_store.hashing import LONGEST, Places, Texts, joined
from bitmap_store.sqlite import name_blocks
from bitmap_store.sqlite.names import FEW, Known, Names, found_in, without_runs

DENSE_MAX = 2**32 - 1
Mark = dict[int, int]
"""For each entity kind that is named in: the next dense id."""


@dataclass(slots=True)
class Given:
    """The names that are given in one entity kind: by name where they are few, and in columns where they are many."""

    known: Known
    first: int
    next: int
    few: dict[str, int] = field(default_factory=dict)
    columns: list[tuple[int, Dictionary]] = field(default_factory=list)


class Naming:
    """The names of one write transaction, which may be of several batches; those of one can be taken back."""

    def __init__(self, names: Names, connection: sqlite3.Connection) -> None:
        self._names = names
        self._connection = connection
        self._given: dict[int, Given] = {}

    def _in(self, entity: int) -> Given:
        given = self._given.get(entity)
        if given is None:
            # Nobody else gives a name from here on, because nobody else writes.
            known = self._names.learn(entity, self._connection)
            given = self._given[entity] = Given(known, len(known), len(known))
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
        for first, column in given.columns:
            if dense is None and (place := column.find_one(name.encode("utf-8", "surrogatepass"))) >= 0:
                dense = first + place
        return dense

    def resolve_column(self, entity: int, column: pa.Array | pa.ChunkedArray) -> Places:
        """See `Names.resolve_column`."""
        given = self._in(entity)
        distinct, rows = without_runs(column)
        texts = Texts.of(distinct)
        found = given.known.find(texts)
        for first, new in given.columns:
            places = new.find(texts, new.hash.of(texts))
            found = np.where(places < 0, found, places + first)
        if given.few:
            for row in np.flatnonzero(found < 0).tolist():
                found[row] = given.few.get(texts.text(row).decode("utf-8", "surrogatepass"), -1)
        return found if rows is None else found[rows]

    # ------------------------------------------------------------ giving

    def give(self, entity: int, names: Sequence[str]) -> dict[str, int]:
        """New dense ids for distinct names that have none."""
        if len(names) > FEW:
            given_ids = self.give_column(entity, pa.array(names, pa.large_string()))
            return dict(zip(names, given_ids.tolist(), strict=True))
        given = self._in(entity)
        first = self._reserve(given, len(names))
        ids = {name: first + i for i, name in enumerate(names)}
        given.few |= ids
        return ids

    def give_column(self, entity: int, names: pa.Array) -> Places:
        """New dense ids for names that have none, in the order in which each is first; the id of each row."""
        given = self._in(entity)
        texts = Texts.of(names)
        if len(texts) and not 1 <= texts.lengths.min() <= texts.lengths.max() <= LONGEST:
            raise Invalid(f"the name of a user has 1 to {LONGEST} bytes")
        hash_ = given.known.hash
        hashes = hash_.of(texts)
        column = dictionary_of(texts, hashes, hash_)
        places = column.find(texts, hashes)
        leads = places == np.arange(len(texts))
        if not leads.all():  # some stand there twice
            texts = Texts.of(names.filter(pa.array(leads)))
            column = dictionary_of(texts, hashes[leads], hash_)
            places = (np.cumsum(leads) - 1)[places]
        first = self._reserve(given, len(texts))
        given.columns.append((first, column))
        return places + first

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
            given.columns = [column for column in given.columns if column[0] < given.next]

    def write(self) -> None:
        """Writes all names that were given: a block an entity kind, or several where they are very many."""
        for entity, given in self._given.items():
            if given.next > given.first:
                name_blocks.append(self._connection, entity, given.first, _in_order(given))
                self._connection.execute("UPDATE entity SET next_dense = ? WHERE id = ?", (given.next, entity))


def _in_order(given: Given) -> Texts:
    """The names from the first dense id that was given to the last."""
    parts: list[tuple[int, Texts]] = [(first, column.texts) for first, column in given.columns]
    runs: list[list[tuple[str, int]]] = []
    for name, dense in given.few.items():  # ascending
        if not runs or runs[-1][-1][1] + 1 != dense:
            runs.append([])
        runs[-1].append((name, dense))
    parts += [(run[0][1], Texts.of_list([name for name, _ in run])) for run in runs]
    return joined([texts for _, texts in sorted(parts, key=lambda part: part[0])])
