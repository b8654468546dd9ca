"""Piles: of a block of memberships in which all is as it should be, the users of each tag and value, pile by pile.

What a tag means with a value is found out once a file, and the rows of a block are put in order once, as integers.
Anything else, and whatever is wrong, is left to `memberships.py`, which knows what to say of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bitmap_store.files.blocks import Block, Faults, Ints
from bitmap_store.files.cells import (
    BlockRows,
    Cells,
    Draft,
    Hints,
    Interpreted,
    Target,
    TargetOf,
    Users,
    name_errors,
    units_of,
    users_of,
    value_errors,
)
from bitmap_store.files.coded import Coded, Indexes, said
from bitmap_store.files.memberships import refusal_of
from bitmap_store.values import TagKind

TABLE = 1 << 22
"""Tags times values of a file, as many as a table of subjects is made for."""
TABLE_OF_BLOCK = 1 << 18
"""The same of a block, whose table is looked up row by row and should stay in the processor's cache."""
_UNMET, _WRONG = 0xFFFF, 0xFFFE
_MEASURED = {"number": TagKind.NUMBER, "date": TagKind.DATE}
_VALUED = (TagKind.CHOICE, TagKind.CHOICES)

Name = TypeVar("Name")
Subject = int
Codes = NDArray[np.uint16]


class Subjects:
    """What the rows of a file say, numbered as it is met: a tag, with one of its values where it takes any."""

    def __init__(self, target_of: TargetOf) -> None:
        self.targets: list[Target] = []
        self.values: list[str | None] = []
        self.of_tag: dict[str, list[Subject]] = {}
        """Those of a tag, in the order in which they were met; without NUMBER and DATE tags."""
        self.measured: dict[str, list[Subject]] = {name: [] for name in _MEASURED}
        """Those whose rows have a number, and those whose rows have a date."""
        self._target_of = target_of
        self._hints = Hints()
        self._tags: dict[str, int] = {}
        self._names: dict[str | None, int] = {None: 0}
        self._table = np.full((1, 1), _UNMET, np.uint16)  # by tag and value

    def __len__(self) -> int:
        """How many were met."""
        return len(self.targets)

    def codes(self, tags: Coded, values: Coded | None) -> Codes | None:
        """The subject of each row; None where any row has none, or there are very many."""
        names: list[str | None] = [None, *(() if values is None else values.names.to_pylist())]
        keys = tags.names.to_pylist()
        if len(keys) * len(names) > TABLE_OF_BLOCK or int(tags.codes.min(initial=0)) < 0:
            return None
        rows, columns = _places(self._tags, keys), _places(self._names, names)
        if len(self._tags) * len(self._names) > TABLE:
            return None
        self._grow()
        here = np.ix_(rows, columns)
        places = np.multiply(tags.codes, len(names), dtype=np.int32)
        if values is not None:
            places += values.codes
            places += 1
        table = self._table[here].reshape(-1)
        found: Codes = table.take(places)
        if int(found.max(initial=0)) == _UNMET:
            for place in np.unique(places[found == _UNMET]).tolist():
                table[place] = self._met(keys[place // len(names)], names[place % len(names)])
            self._table[here] = table.reshape(len(keys), len(names))
            found = table.take(places)
        return None if int(found.max(initial=0)) == _WRONG else found

    def _grow(self) -> None:
        """Makes the table large enough for all names."""
        before = self._table
        if len(self._tags) > before.shape[0] or len(self._names) > before.shape[1]:
            shape = max(len(self._tags), before.shape[0]), max(len(self._names), before.shape[1])
            self._table = np.full(shape, _UNMET, np.uint16)
            self._table[: before.shape[0], : before.shape[1]] = before

    def _met(self, key: str, value: str | None) -> Subject:
        """The number of a tag with a value that were not met before; _WRONG where a row cannot say so."""
        target = self._target_of(key)
        if target is None or refusal_of(target) is not None or len(self) >= _WRONG:
            return _WRONG
        if (value is not None) != (target.kind in _VALUED):
            return _WRONG
        if value is not None:
            coded = Coded(np.zeros(1, np.int32), pa.array([value], pa.string()))
            if name_errors(coded.names, "a value") or value_errors(coded, target, self._hints, [value]):
                return _WRONG
        subject = len(self)
        self.targets.append(target)
        self.values.append(value)
        if measured := [name for name, kind in _MEASURED.items() if kind is target.kind]:
            self.measured[measured[0]].append(subject)
        else:
            self.of_tag.setdefault(target.key, []).append(subject)
        return subject


def _places(known: dict[Name, int], names: Iterable[Name]) -> Indexes:
    """The places of names, of which new ones get the next."""
    return np.array([known.setdefault(name, len(known)) for name in names], np.intp)


@dataclass(frozen=True, slots=True)
class Piles:
    """The rows of a block in the order of what they say: those of subject s are bounds[s]:bounds[s + 1]."""

    rows: BlockRows
    bounds: Ints
    subjects: Subjects

    def tags(self) -> set[str]:
        """The tags of which there are piles here."""
        targets, left_out = self.subjects.targets, {s for found in self.subjects.measured.values() for s in found}
        return {targets[s].key for s in np.flatnonzero(np.diff(self.bounds)).tolist() if s not in left_out}

    def users(self, subject: Subject) -> Users:
        """The users of a subject in the order of the file; none where it was met in a later block only."""
        return self.rows.users[slice(*self._bounds(subject))]

    def _bounds(self, subject: Subject) -> tuple[int, int]:
        if subject + 1 >= len(self.bounds):
            return 0, 0
        return int(self.bounds[subject]), int(self.bounds[subject + 1])

    def cells(self, tag: str) -> Cells:
        """The same of one tag as cells, in the order of the file."""
        assert self.rows.order is not None
        subjects = self.subjects.of_tag[tag]
        bounds = [self._bounds(subject) for subject in subjects]
        rows = np.concatenate([np.arange(low, high, dtype=np.uint32) for low, high in bounds])
        in_file = np.argsort(self.rows.order[rows])
        values = [self.subjects.values[subject] for subject in subjects]
        coded: Coded | None = None
        if None not in values:
            codes = np.repeat(np.arange(len(subjects), dtype=np.int32), [high - low for low, high in bounds])
            coded = Coded(codes[in_file], pa.array(values, pa.string()))
        return Cells(tag, self.subjects.targets[subjects[0]].kind, self.rows, rows[in_file], coded)


@dataclass(frozen=True, slots=True)
class Piled(Interpreted):
    """What a block means whose rows stand in piles; cells are those of its numbers and dates."""

    bounds: Ints
    subjects: Subjects

    def numbered(self, ids: Users) -> Self:
        """The same with `ids`, a number for each name that is one for the whole file, in place of the users."""
        rows = replace(self.rows, users=ids.take(self.rows.users))
        return replace(self, rows=rows, cells=[cells.of(rows) for cells in self.cells])

    @property
    def piles(self) -> Piles:
        """The piles, without what else the block says."""
        return Piles(self.rows, self.bounds, self.subjects)

    def as_cells(self) -> Interpreted:
        """The same with all of it as cells."""
        piles = self.piles
        cells = [*self.cells, *(piles.cells(tag) for tag in sorted(piles.tags()))]
        return Interpreted(self.names, self.rows, cells, self.rejected)


def piled(block: Block, subjects: Subjects) -> Piled | None:
    """What a block of memberships means; None where `memberships` has to say it.

    That is where a row is wrong, has an expiry or a score, or where there are very many tags and values.
    """
    columns = block.columns
    if not len(block.lines) or any(name in columns and said(columns[name]).any() for name in ("expires_at", "score")):
        return None
    tags = Coded.of(columns["tag"]).in_nfc()
    codes = subjects.codes(tags, Coded.of(columns["value"]).in_nfc() if "value" in columns else None)
    if codes is None:
        return None
    order, bounds = _in_order(codes, len(subjects))
    drafts: list[Draft] = []
    for name, measured in subjects.measured.items():
        found = _measured(columns.get(name), subjects, measured, order, bounds)
        if found is None:
            return None
        drafts += found
    users = columns["user"]
    if pa.types.is_integer(users.type) and not users.null_count:
        rows = BlockRows.of(None, block.lines, order)
    else:
        faults = Faults(block.lines)
        coded = users_of(block, faults)
        if faults.any:
            return None
        coded = coded.compact()
        users, rows = coded.names, BlockRows.of(coded.codes, block.lines, order)
    return Piled(users, rows, [draft.cells(rows) for draft in drafts], [], bounds, subjects)


def _measured(
    column: pa.Array | None, subjects: Subjects, measured: Sequence[Subject], order: Indexes, bounds: Ints
) -> list[Draft] | None:
    """What rows say whose tags have a number, or a date; None where one of them says none, or another row does."""
    parts = [(subject, slice(int(bounds[subject]), int(bounds[subject + 1]))) for subject in measured]
    rows = sum(part.stop - part.start for _, part in parts)
    if column is None:
        return None if rows else []
    says = said(column)
    if np.count_nonzero(says) != rows:
        return None
    drafts: list[Draft] = []
    for subject, part in parts:
        if part.start == part.stop:
            continue
        here = order[part]
        if not says[here].all():
            return None
        parsed = units_of(column.take(pa.array(here)), subjects.targets[subject])
        if parsed.faults:
            return None
        drafts.append(Draft(subjects.targets[subject], here, units=parsed.numbers, part=part))
    return drafts


def _in_order(codes: Codes, count: int) -> tuple[Indexes, Ints]:
    """The places of codes below `count` in ascending order, equal ones as they stand, and where each code begins.

    Sorts one integer of code and place, which numpy does several times faster than it sorts places.
    """
    bits = len(codes).bit_length()
    keys: NDArray[Any] = codes.astype(np.uint32 if count << bits < 1 << 32 else np.uint64)
    keys <<= keys.dtype.type(bits)
    keys |= np.arange(len(codes), dtype=keys.dtype)
    keys.sort()
    codes_begin: NDArray[Any] = np.arange(count + 1, dtype=keys.dtype)
    codes_begin <<= keys.dtype.type(bits)
    bounds: Ints = np.searchsorted(keys, codes_begin)
    keys &= keys.dtype.type((1 << bits) - 1)
    return keys.astype(np.uint32, copy=False), bounds


def piles_of(piles: Sequence[Piles], tag: str) -> dict[str | None, Users]:
    """The users of each value of a tag in all blocks, ascending; None: those of a tag without values.

    Who stands there twice is there twice.
    """
    found: dict[str | None, Users] = {}
    subjects = piles[0].subjects
    for subject in subjects.of_tag[tag]:
        parts = [part for block in piles if len(part := block.users(subject))]
        if parts:
            users = np.concatenate(parts)
            if not bool((users[1:] > users[:-1]).all()):
                users.sort()
            found[subjects.values[subject]] = users
    return found
