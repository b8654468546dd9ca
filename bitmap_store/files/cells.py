"""Cells: what a block says of one tag, ready to be stored; and the names and values they are made of.

The routes (`memberships.py`, `table.py`, `events.py`) make cells of blocks; `repeats.py` joins those of a file.
Cells name rows of their block, whose users and lines are looked up when they are asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bitmap_store.errors import Invalid, NotFound, TagroarError, nearest
from bitmap_store.files.blocks import Block, Faults, Ints, shown
from bitmap_store.files.buffers import truth, validity
from bitmap_store.files.coded import Coded, Indexes, Places
from bitmap_store.files.columns import Floats, Parsed, date_units, decimal_units
from bitmap_store.values import NEVER, DatePrecision, Rejection, TagKind

NAME_BYTES_MAX = 512
_CONTROL = "[\\x00-\\x1f\\x7f]"
_HINTS_MAX = 20

Users = NDArray[np.integer[Any]]
Nearest = Callable[[str], Sequence[str]]
Keep = Callable[[NDArray[Any]], NDArray[Any]]
EVERY = slice(None)


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


class Source(Protocol):
    """The rows that cells are of: the user of each, and where it stands in the file."""

    @property
    def users(self) -> Users:
        """The user of each row."""

    def lines_at(self, rows: Places) -> Ints:
        """The lines of some rows."""


@dataclass(frozen=True, slots=True)
class BlockRows:
    """The rows of a block, those with faults too, in the order of the file or in another that `order` gives.

    A range of lines takes no memory.
    """

    users: Users
    lines: Ints | range
    order: Indexes | None = None

    @classmethod
    def of(cls, users: Users | None, lines: Ints, order: Indexes | None = None) -> "BlockRows":
        """Rows with ascending lines. users: by line; None: they are as many as rows, a user each, in order."""
        gapless = len(lines) and int(lines[-1]) - int(lines[0]) + 1 == len(lines)
        if users is None:
            users = np.arange(len(lines), dtype=np.int32) if order is None else order
        elif order is not None:
            users = users[order]
        return cls(users, range(int(lines[0]), int(lines[-1]) + 1) if gapless else lines, order)

    def lines_at(self, rows: Places) -> Ints:
        """The lines of some rows."""
        lines = self.lines
        if self.order is not None:
            rows = self.order[rows]
        return np.arange(lines.start, lines.stop)[rows] if isinstance(lines, range) else lines[rows]


@dataclass(slots=True)
class Cells:
    """What rows say of one tag: columns of one length.

    rows: which rows of the source, by line and with repeats where a row has several values. values: of CHOICE,
    CHOICES and EVENT (nothing: an event without one). units: a NUMBER in units of 10^-scale, a DATE in days or
    seconds since 1970, the local day of an EVENT. counts, last: of an EVENT, how often and when (microseconds).
    expires: microseconds, NEVER where one does not end; score: NaN where there is none; either is None where that is
    so of all.
    """

    tag: str
    kind: TagKind
    source: Source
    rows: slice | Indexes
    values: Coded | None = None
    units: Ints | None = None
    counts: NDArray[np.uint32] | None = None
    last: Ints | None = None
    expires: Ints | None = None
    score: Floats | None = None

    def __len__(self) -> int:
        """How many."""
        rows = self.rows
        return len(range(*rows.indices(len(self.source.users)))) if isinstance(rows, slice) else len(rows)

    @property
    def users(self) -> Users:
        """The user of each: places in `names` of the block, or the numbers that took their place (`numbered`)."""
        return self.source.users[self.rows]

    @property
    def lines(self) -> Ints:
        """Where each stands in the file; the values of one row share a line."""
        return self.source.lines_at(self.rows)

    def lines_at(self, places: Indexes) -> Ints:
        """The lines of some of them."""
        rows = self.rows
        return self.source.lines_at(places + (rows.start or 0) if isinstance(rows, slice) else rows[places])

    def of(self, source: Source) -> "Cells":
        """The same of other rows."""
        columns = self.values, self.units, self.counts, self.last, self.expires, self.score
        return Cells(self.tag, self.kind, source, self.rows, *columns)

    def kept(self, source: Source, keep: Keep) -> "Cells":
        """The same of other rows, with columns where they are to be kept."""
        return Cells(
            self.tag,
            self.kind,
            source,
            self.rows if isinstance(self.rows, slice) else keep(self.rows),
            None if self.values is None else Coded(keep(self.values.codes), self.values.names),
            None if self.units is None else keep(self.units),
            None if self.counts is None else keep(self.counts),
            None if self.last is None else keep(self.last),
            None if self.expires is None else keep(self.expires),
            None if self.score is None else keep(self.score),
        )

    def take(self, kept: Places) -> "Cells":
        """Some of them."""
        return Cells(
            self.tag,
            self.kind,
            self.source,
            (np.arange(len(self.source.users))[self.rows] if isinstance(self.rows, slice) else self.rows)[kept],
            None if self.values is None else self.values.take(kept),
            None if self.units is None else self.units[kept],
            None if self.counts is None else self.counts[kept],
            None if self.last is None else self.last[kept],
            None if self.expires is None else self.expires[kept],
            None if self.score is None else self.score[kept],
        )


@dataclass(frozen=True, slots=True)
class Interpreted:
    """What a block means. names: the users of its good rows; cells: by tag; rejected: by line.

    The users of `rows` are places in the names, each of which comes once. Where users are whole numbers and no row is
    bad, the names are the column itself: a number a row.
    """

    names: pa.Array
    rows: BlockRows
    cells: list[Cells]
    rejected: list[Rejection]

    def numbered(self, ids: Users) -> Self:
        """The same with `ids`, a number for each name that is one for the whole file, in place of the users."""
        rows = replace(self.rows, users=np.append(ids, ids.dtype.type(0))[self.rows.users])  # of bad rows it is the 0
        return replace(self, rows=rows, cells=[cells.of(rows) for cells in self.cells])

    def kept(self, keep: Keep) -> Self:
        """The same with its columns where they are to be kept until the whole file is read."""
        rows = self.rows
        rows = BlockRows(
            keep(rows.users),
            rows.lines if isinstance(rows.lines, range) else keep(rows.lines),
            None if rows.order is None else keep(rows.order),
        )
        return replace(self, rows=rows, cells=[cells.kept(rows, keep) for cells in self.cells])


# ---------------------------------------------------------------- names and values


def name_errors(names: pa.StringArray, what: str) -> dict[int, TagroarError]:
    """The names that can be none, by place: over 512 bytes, or with a control character."""
    long = pc.greater(pc.binary_length(names), NAME_BYTES_MAX)
    control = pc.match_substring_regex(names, _CONTROL)
    errors: dict[int, TagroarError] = dict.fromkeys(_places(control), Invalid(f"{what} holds no control characters"))
    return errors | dict.fromkeys(_places(long), Invalid(f"{what} has at most {NAME_BYTES_MAX} bytes"))


def _places(mask: pa.BooleanArray) -> list[int]:
    places: list[int] = np.flatnonzero(truth(mask)).tolist()
    return places


def users_of(block: Block, faults: Faults) -> Coded:
    """The user of each row; rows without one, or with one that cannot be, are faults. Numbers are not encoded."""
    column = block.columns["user"]
    if pa.types.is_integer(column.type):
        users = Coded(np.where(validity(column), np.arange(len(column), dtype=np.int32), np.int32(-1)), column)
    else:
        users = Coded.of(column)
        faults.merge(np.arange(len(users)), users.faults(name_errors(users.names, "the name of a user")))
    faults.add(np.flatnonzero(users.codes < 0), Invalid("the user is empty"))
    return users


def checked_values(values: Coded, faults: Faults, rows: Ints, prefix: str = "") -> Coded:
    """Values that these rows say, in NFC; those that can be no value are faults."""
    values = values.in_nfc()
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
) -> tuple[Ints, list[tuple[Target, slice]]]:
    """The rows by the tag that the column `tag` names, and where those of each tag stand among them.

    Rows without a tag, or with one that is refused, are faults.
    """
    tags = Coded.of(block.columns["tag"]).in_nfc()
    faults.add(np.flatnonzero(tags.codes < 0), Invalid("the tag is empty"))
    rows, groups = tags.groups()
    found = []
    for key, part in groups:
        target = target_of(key)
        if target is None:
            faults.add(rows[part], hints.unknown("tag", key, nearest))
        elif (reason := refusal(target)) is not None:
            faults.add(rows[part], Invalid(reason))
        else:
            found.append((target, part))
    return rows, found


def value_errors(
    values: Coded, target: Target, hints: Hints, listed: Sequence[str] | None = None
) -> dict[int, TagroarError]:
    """The values, by code, that a tag does not take. listed: the names of all codes, where they are at hand."""
    errors: dict[int, TagroarError] = {}
    if target.allowed is None and not target.hierarchical:
        return errors
    used = values.used()
    here = used.tolist()
    texts = values.names.take(pa.array(used)).to_pylist() if listed is None else [listed[code] for code in here]
    if not target.hierarchical and target.allowed is not None and target.allowed.issuperset(texts):
        return errors
    for code, value in zip(here, texts, strict=True):
        if target.hierarchical and not all(value.split("/")):
            errors[code] = Invalid(f"{shown(value)} has an empty level; levels stand between single slashes")
        elif target.allowed is not None and value not in target.allowed:
            errors[code] = hints.unknown("value", value, partial(nearest, known=target.allowed))
    return errors


# ---------------------------------------------------------------- putting cells together


@dataclass(frozen=True, slots=True)
class Draft:
    """Cells of one tag before the faults of their rows are all known; columns as in `Cells`, by `rows` of the block.

    part: where these rows stand in the order that the drafts of the block share, if they do.
    """

    target: Target
    rows: Indexes
    values: Coded | None = None
    units: Ints | None = None
    counts: Ints | None = None
    last: Ints | None = None
    expires: Ints | None = None
    score: Floats | None = None
    part: slice | None = None

    def cells(self, source: BlockRows, kept: Places = EVERY) -> Cells:
        """The cells of some of the rows."""
        expires = None if self.expires is None else self.expires[kept]
        score = None if self.score is None else self.score[kept]
        return Cells(
            tag=self.target.key,
            kind=self.target.kind,
            source=source,
            rows=self.part if source.order is not None and self.part else self.rows[kept].astype(np.uint32, copy=False),
            values=None if self.values is None else self.values.take(kept).narrow(),
            units=None if self.units is None else self.units[kept],
            counts=None if self.counts is None else self.counts[kept].astype(np.uint32),
            last=None if self.last is None else self.last[kept],
            expires=None if expires is None or (expires == NEVER).all() else expires,
            score=None if score is None or np.isnan(score).all() else score,
        )


def finished(
    block: Block, users: Coded, drafts: Sequence[Draft], faults: Faults, order: Indexes | None = None
) -> Interpreted:
    """The cells of the rows without a fault, and the names of the users of such rows.

    order: of which each draft is a part. Cells of rows that stand together are looked up several times faster.
    """
    if faults.any:
        users = users.where(~faults.bad)
        source = BlockRows.of(users.codes, block.lines)
        cells = [draft.cells(source, ~faults.bad[draft.rows]) for draft in drafts]
    else:
        users = users if pa.types.is_integer(users.names.type) else users.compact()
        source = BlockRows.of(users.codes, block.lines, order)
        cells = [draft.cells(source) for draft in drafts]
    return Interpreted(users.names, source, [part for part in cells if len(part)], faults.rejections())
