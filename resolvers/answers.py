"""The plain values that resolvers give, beside those of the store: what an audience, a profile, a page is."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Generic, TypeVar

from bitmap_store.expression import Expression
from bitmap_store.literals import moment_text
from bitmap_store.plan import Plan, Reading
from bitmap_store.store import Summary
from bitmap_store.text import render
from bitmap_store.values import (
    VALUED_KINDS,
    DatePrecision,
    Membership,
    Tag,
    TagKind,
    date_of_units,
    moment_of,
    unscaled,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageInfo:
    """Where a page stands among the others."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclass(frozen=True, slots=True)
class Edge(Generic[T]):
    """One thing on a page, and the cursor after which the next begins."""

    cursor: str
    node: T


@dataclass(frozen=True, slots=True)
class Connection(Generic[T]):
    """One page of things, and how many there are on all pages."""

    edges: tuple[Edge[T], ...]
    page_info: PageInfo
    total_count: int

    @classmethod
    def of(
        cls, nodes: Sequence[T], cursors: Sequence[str], *, before: bool, after: bool, total: int
    ) -> "Connection[T]":
        """The page of these nodes; before, after: whether others come before and after it."""
        edges = tuple(Edge(cursor, node) for cursor, node in zip(cursors, nodes, strict=True))
        return cls(edges, page_info(cursors, before=before, after=after), total)


def page_info(cursors: Sequence[str], *, before: bool, after: bool) -> PageInfo:
    """The page info of a page with these cursors."""
    return PageInfo(after, before, cursors[0] if cursors else None, cursors[-1] if cursors else None)


@dataclass(frozen=True, slots=True)
class Question:
    """An audience: an expression over one entity, bound to the reading that answers are of.

    as_of: the moment of the past that was asked for, None where it was the moment of the request.
    """

    expression: Expression
    entity: str
    plan: Plan
    as_of: datetime | None = None

    @property
    def text(self) -> str:
        """The expression in canonical form."""
        return render(self.expression)

    @property
    def data_version(self) -> int:
        """The version of the data that answers are of."""
        return self.plan.reading.version

    @property
    def at(self) -> datetime:
        """The moment that expiry and windows count from."""
        return moment_of(self.plan.reading.moment)


@dataclass(frozen=True, slots=True)
class Profile:
    """A user at a reading. is_alone: it was asked for by itself, so there is nobody to be gathered with."""

    entity: str
    user_id: str
    dense: int
    reading: Reading
    as_of: datetime | None = None
    is_alone: bool = False


@dataclass(frozen=True, slots=True)
class Members:
    """One page of the members of an audience, all of one reading."""

    edges: tuple[Edge[Profile], ...]
    page_info: PageInfo
    plan: Plan


@dataclass(frozen=True, slots=True, eq=False)
class TagOnProfile:
    """What a profile has of one tag; `memberships` is never empty. Equal to itself alone, as it is shared."""

    tag: Tag
    memberships: tuple[Membership, ...]

    @property
    def is_common(self) -> bool:
        """Whether others have the very same: one membership, which is that of all."""
        return len(self.memberships) == 1 and self.memberships[0].is_shared

    @property
    def values(self) -> list[str]:
        """The values of a CHOICE, CHOICES or EVENT tag."""
        return [m.value for m in self.memberships if m.value is not None] if self.tag.kind in VALUED_KINDS else []

    @property
    def number(self) -> Decimal | None:
        """The value of a NUMBER tag."""
        units = self.memberships[0].units
        return unscaled(units, self.tag.scale) if self.tag.kind is TagKind.NUMBER and units is not None else None

    @property
    def date(self) -> date | datetime | None:
        """The value of a DATE tag: a day or a moment, as is its precision."""
        units = self.memberships[0].units
        if self.tag.kind is not TagKind.DATE or units is None:
            return None
        moment = date_of_units(units, self.tag.precision)
        return moment.date() if self.tag.precision is DatePrecision.DAY else moment


@dataclass(frozen=True, slots=True)
class TagValue:
    """A value of a tag, with the plan of those who have it."""

    value: str
    name: str
    parent: str | None
    plan: Plan


class RowKind(StrEnum):
    """What the users of a row have in common."""

    VALUE = "VALUE"
    OTHER = "OTHER"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Row:
    """A part of an audience by the values of one to three tags; a value is None where the row has none."""

    kind: RowKind
    values: tuple[str | None, ...]
    size: int
    share: float
    baseline_share: float
    audience: Question

    @property
    def tgi(self) -> float | None:
        """The share as a percentage of the baseline's; None where the baseline has nobody."""
        return self.share / self.baseline_share * 100 if self.baseline_share else None


@dataclass(frozen=True, slots=True)
class Numbers:
    """Statistics of a NUMBER or DATE tag over an audience."""

    tag: Tag
    plan: Plan
    summary: Summary

    @property
    def count(self) -> int:
        """How many have a value."""
        return self.summary.count

    @property
    def sum(self) -> Decimal:
        """The exact sum."""
        return self.exact(self.summary.sum)

    @property
    def mean(self) -> float | None:
        """The mean; None of nobody."""
        return float(self.sum / self.count) if self.count else None

    @property
    def min(self) -> Decimal | None:
        """The smallest value."""
        return None if self.summary.min is None else self.exact(self.summary.min)

    @property
    def max(self) -> Decimal | None:
        """The largest value."""
        return None if self.summary.max is None else self.exact(self.summary.max)

    @property
    def median(self) -> float | None:
        """The mean of the two middle values."""
        return None if self.summary.median is None else self.summary.median / 10**self.scale

    @property
    def scale(self) -> int:
        """The decimals that the tag keeps."""
        return self.tag.scale if self.tag.kind is TagKind.NUMBER else 0

    def exact(self, units: int) -> Decimal:
        """A value from the units in which the store keeps it; days or seconds since 1970 of a DATE."""
        return unscaled(units, self.scale)


@dataclass(frozen=True, slots=True)
class Bin:
    """A bar of a histogram: how many lie between two values."""

    low: float
    high: float
    size: int


@dataclass(frozen=True, slots=True)
class Portrait:
    """An audience by the values of one tag."""

    tag: Tag
    known: int
    exclusive: bool
    rows: tuple[Row, ...]
    numbers: Numbers | None


class Rests:
    """The sizes of a question less each of its nodes, by path, once they were asked for."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] | None = None
        self.lock = asyncio.Lock()


@dataclass(frozen=True, slots=True)
class ExplanationNode:
    """A node of the question as it was asked; `path` is "" at the root. rests: the question less each of its nodes."""

    path: str
    text: str
    size: int
    question: Question
    rests: "Rests"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The sizes at every node, in preorder, and how long counting them took."""

    milliseconds: float
    nodes: tuple[ExplanationNode, ...]


def number_or_day(tag: Tag, units: int) -> str:
    """A value of a NUMBER or DATE tag as a person writes it."""
    if tag.kind is TagKind.NUMBER:
        return f"{unscaled(units, tag.scale):f}"
    moment = date_of_units(units, tag.precision)
    return moment.date().isoformat() if tag.precision is DatePrecision.DAY else moment_text(moment)
