"""Cells: what a block says of one tag, ready to be stored; and the names and values they are made of.

The routes (`memberships.py`, `table.py`, `events.py`) make cells of blocks; `repeats.py` joins those of a file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bitmap_store.errors import Invalid, NotFound, TagroarError, nearest
from bitmap_store.expression import nfc
from bitmap_store.files.blocks import Block, Faults, Ints, shown
from bitmap_store.files.columns import Floats, Mask, Parsed, date_units, decimal_units
from bitmap_store.files.texts import plain_text
from bitmap_store.values import NEVER, DatePrecision, Rejection, TagKind

NAME_BYTES_MAX = 512
_CONTROL = "[\\x00-\\x1f\\x7f]"
_HINTS_MAX = 20

Codes = NDArray[np.int32]
Users = NDArray[np.integer[Any]]
Nearest = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """What an import has to know of a tag. `allowed` None: the tag takes any value."""

    key: str
    kind: TagKind
    scale: int = 0
    precision: DatePrecision = DatePrecision.SECOND
    allowed: frozenset[str] | None = None
    hierarchical: bool = False
    is_rule: bool = False


TargetOf = Callable[[str], Target | None]
Refusal = Callable[[Target], str | None]


@dataclass(frozen=True, slots=True)
class Cells:
    """What rows say of one tag: columns of one length, in the order of the lines.

    users: places in `names` of the block, or the numbers that took their place (`numbered`). lines: where each
    stands in the file; the values of one row share a line. values: of CHOICE, CHOICES and EVENT (null: an event
    without one). units: a NUMBER in units of 10^-scale, a DATE in days or seconds since 1970, the local day of an
    EVENT. counts, last: of an EVENT, how often and when (microseconds). expires: microseconds, NEVER where one
    does not end; score: NaN where there is none; either is None where that is so of all.
    """

    tag: str
    kind: TagKind
    users: Users
    lines: Ints
    values: pa.DictionaryArray | None = None
    units: Ints | None = None
    counts: NDArray[np.uint32] | None = None
    last: Ints | None = None
    expires: Ints | None = None
    score: Floats | None = None

    def __len__(self) -> int:
        """How many."""
        return len(self.lines)


@dataclass(frozen=True, slots=True)
class Interpreted:
    """What a block means. names: the users of its good rows, each once; cells: by tag; rejected: by line."""

    names: pa.StringArray
    cells: list[Cells]
    rejected: list[Rejection]

    def numbered(self, ids: Users) -> Self:
        """The same with `ids`, a number for each name that is one for the whole file, in place of the users."""
        return replace(self, cells=[replace(cells, users=ids[cells.users]) for cells in self.cells])


# ---------------------------------------------------------------- names, encoded


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of text as codes into distinct texts; -1 where nothing is said."""

    codes: Codes
    names: pa.StringArray

    @classmethod
    def of(cls, column: pa.Array) -> "Coded":
        """Encodes any column that has text: a hash a row, for a column of codes a hash a name."""
        if not pa.types.is_dictionary(column.type):
            column = plain_text(column).dictionary_encode()
        indices = column.indices.cast(pa.int32())
        codes = (pc.fill_null(indices, -1) if indices.null_count else indices).to_numpy(zero_copy_only=False)
        empty = pc.index(column.dictionary, "").as_py()
        return cls(np.where(codes == empty, np.int32(-1), codes) if empty >= 0 else codes, column.dictionary)

    def in_nfc(self) -> "Coded":
        """The same with names in NFC, in which tags and values are compared."""
        if pc.all(pc.string_is_ascii(self.names), min_count=0).as_py():
            return self
        once = pa.array(map(nfc, self.names.to_pylist()), pa.string()).dictionary_encode()
        return Coded(_looked_up(once.indices.to_numpy(), self.codes), once.dictionary)

    def used(self) -> Ints:
        """The codes that occur, ascending; a sort of the codes, or a look at each name where those are fewer."""
        if len(self.names) > len(self.codes):
            found = np.unique(self.codes)
            return found[found >= 0].astype(np.int64)
        occurs = np.zeros(len(self.names) + 1, np.bool_)  # the last place takes the -1
        occurs[self.codes] = True
        return np.flatnonzero(occurs[:-1])

    def compact(self) -> "Coded":
        """The same without names that no row has."""
        used = self.used()
        if len(used) == len(self.names):
            return self
        places = np.empty(len(self.names), np.int32)
        places[used] = np.arange(len(used), dtype=np.int32)
        return Coded(_looked_up(places, self.codes), self.names.take(pa.array(used)))

    def take(self, rows: Ints | Mask) -> "Coded":
        """Some of the rows."""
        return Coded(self.codes[rows], self.names)

    def where(self, rows: Mask) -> "Coded":
        """The same, with nothing said outside these rows and no name that is in none of them."""
        return Coded(np.where(rows, self.codes, np.int32(-1)), self.names).compact()

    def groups(self) -> Iterator[tuple[str, Ints]]:
        """Each name with its rows, ascending; in linear time up to 32,767 names."""
        narrow = self.codes.astype(np.int16) if len(self.names) < 2**15 else self.codes
        order = np.argsort(narrow, kind="stable")
        bounds = np.searchsorted(self.codes[order], np.arange(len(self.names) + 1))
        for name, start, stop in zip(self.names.to_pylist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            if start < stop:
                yield name, order[start:stop]

    def array(self) -> pa.DictionaryArray:
        """As Arrow has it; null where nothing is said."""
        missing = self.codes < 0
        return pa.DictionaryArray.from_arrays(pa.array(self.codes, mask=missing if missing.any() else None), self.names)

    def faults(self, errors: Mapping[int, TagroarError]) -> dict[int, TagroarError]:
        """The rows whose name has an error, given by code."""
        wrong = np.flatnonzero(np.isin(self.codes, list(errors))) if errors else ()
        return {int(row): errors[int(self.codes[row])] for row in wrong}


def _looked_up(places: Codes, codes: Codes) -> Codes:
    """places[codes], where -1 stays."""
    return np.append(places, np.int32(-1))[codes]


def name_errors(names: pa.StringArray, what: str) -> dict[int, TagroarError]:
    """The names that can be none, by place: over 512 bytes, or with a control character."""
    long = pc.greater(pc.binary_length(names), NAME_BYTES_MAX)
    control = pc.match_substring_regex(names, _CONTROL)
    errors: dict[int, TagroarError] = dict.fromkeys(_places(control), Invalid(f"{what} holds no control characters"))
    return errors | dict.fromkeys(_places(long), Invalid(f"{what} has at most {NAME_BYTES_MAX} bytes"))


def _places(mask: pa.BooleanArray) -> list[int]:
    places: list[int] = np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False)).tolist()
    return places


def users_of(block: Block, faults: Faults) -> Coded:
    """The user of each row; rows without one, or with one that cannot be, are faults."""
    users = Coded.of(block.columns["user"])
    faults.add(np.flatnonzero(users.codes < 0), Invalid("the user is empty"))
    faults.merge(np.arange(len(users.codes)), users.faults(name_errors(users.names, "the name of a user")))
    return users


def values_of(column: pa.Array, faults: Faults, rows: Ints, prefix: str = "") -> Coded:
    """The values of a column whose places are these rows; those that can be no value are faults."""
    values = Coded.of(column).in_nfc()
    faults.merge(rows, values.faults(name_errors(values.names, "a value")), prefix)
    return values


def units_of(column: pa.Array, target: Target) -> Parsed[Ints]:
    """A column as units of a NUMBER or DATE tag."""
    if target.kind is TagKind.NUMBER:
        return decimal_units(column, target.scale)
    return date_units(column, target.precision)


class Hints:
    """The nearest right names for the first few wrong ones of a block: to look for more costs more than the import."""

    def __init__(self) -> None:
        self._left = _HINTS_MAX

    def unknown(self, what: str, name: str, nearest: Nearest) -> NotFound:
        """The error for a name that does not exist."""
        close = nearest(name) if self._left > 0 else ()
        self._left -= 1
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return NotFound(f"there is no {what} {shown(name)}{hint}", suggestions=close)


def by_target(
    block: Block, faults: Faults, hints: Hints, target_of: TargetOf, nearest: Nearest, refusal: Refusal
) -> Iterator[tuple[Target, Ints]]:
    """The tags that the column `tag` names, each with its rows; rows without one, or with one refused, are faults."""
    tags = Coded.of(block.columns["tag"]).in_nfc()
    faults.add(np.flatnonzero(tags.codes < 0), Invalid("the tag is empty"))
    for key, rows in tags.groups():
        target = target_of(key)
        if target is None:
            faults.add(rows, hints.unknown("tag", key, nearest))
        elif (reason := refusal(target)) is not None:
            faults.add(rows, Invalid(reason))
        else:
            yield target, rows


def value_errors(values: Coded, target: Target, hints: Hints) -> dict[int, TagroarError]:
    """The values, by code, that a tag does not take."""
    errors: dict[int, TagroarError] = {}
    if target.allowed is None and not target.hierarchical:
        return errors
    used = values.used()
    for code, value in zip(used.tolist(), values.names.take(pa.array(used)).to_pylist(), strict=True):
        if target.hierarchical and not all(value.split("/")):
            errors[code] = Invalid(f"{shown(value)} has an empty level; levels stand between single slashes")
        elif target.allowed is not None and value not in target.allowed:
            errors[code] = hints.unknown("value", value, partial(nearest, known=target.allowed))
    return errors


# ---------------------------------------------------------------- putting cells together


@dataclass(frozen=True, slots=True)
class Draft:
    """Cells of one tag before the faults of their rows are all known; columns as in `Cells`, by `rows` of the block."""

    target: Target
    rows: Ints
    values: Coded | None = None
    units: Ints | None = None
    counts: Ints | None = None
    last: Ints | None = None
    expires: Ints | None = None
    score: Floats | None = None


def finished(block: Block, users: Coded, drafts: Sequence[Draft], faults: Faults) -> Interpreted:
    """The cells of the rows without a fault, and the names of the users of such rows."""
    users = users.where(~faults.bad)
    cells = [_cells(block, users, draft, ~faults.bad[draft.rows]) for draft in drafts]
    return Interpreted(users.names, [part for part in cells if len(part)], faults.rejections())


def _cells(block: Block, users: Coded, draft: Draft, good: Mask) -> Cells:
    rows = draft.rows[good]
    expires = None if draft.expires is None else draft.expires[good]
    score = None if draft.score is None else draft.score[good]
    return Cells(
        tag=draft.target.key,
        kind=draft.target.kind,
        users=users.codes[rows],
        lines=block.lines[rows],
        values=None if draft.values is None else draft.values.take(good).compact().array(),
        units=None if draft.units is None else draft.units[good],
        counts=None if draft.counts is None else draft.counts[good].astype(np.uint32),
        last=None if draft.last is None else draft.last[good],
        expires=None if expires is None or (expires == NEVER).all() else expires,
        score=None if score is None or np.isnan(score).all() else score,
    )
