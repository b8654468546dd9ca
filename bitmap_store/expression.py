"""Expressions: what an audience means, as frozen values that know nothing of storage.

`language.py` gives them a text form, `simplify.py` rewrites them, `plan.py` binds them to a catalog
and a version. A new kind of node is added here, in `language.py`, in `plan.py`, and in the test that
asserts that every node is handled.
"""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter, is_
from typing import Any

from bitmap_store.errors import TooLarge


class Expression:
    """A set of users of one entity kind, described. Values: comparable, hashable, immutable."""

    __slots__ = ()


class Operator(StrEnum):
    """How a NUMBER is compared."""

    EQ = "="
    LT = "<"
    LTE = "<="
    GT = ">"
    GTE = ">="


class Quantifier(StrEnum):
    """How many related entities have to be in the other audience."""

    ANY = "ANY"
    ALL = "ALL"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class Everyone(Expression):
    """Every user of the entity."""


@dataclass(frozen=True, slots=True)
class Match(Expression):
    """Users by one tag. The bare key means "has any value"; conditions all have to hold for one membership.

    values: one of these values (CHOICE, CHOICES, EVENT; for a DATE its days or moments as text).
    operator, number: a comparison (NUMBER).
    after, before: [after, before) of the value of a DATE, of when an EVENT happened, else of `since`.
    within, skip: the last `within`, ending `skip` ago, counted back from the moment of the answer.
    ahead: the next so long (DATE). times: at least so often in the window (EVENT). min_score: MINED.
    """

    key: str
    values: tuple[str, ...] | None = None
    operator: Operator | None = None
    number: Decimal | None = None
    after: datetime | None = None
    before: datetime | None = None
    within: timedelta | None = None
    skip: timedelta | None = None
    ahead: timedelta | None = None
    times: int | None = None
    min_score: float | None = None
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Made once: matches are the keys of every cache, and are looked up far more than made.

        Of all that tells them apart: a cache of matches with one hash is looked through from end to end.
        """
        window = (self.after, self.before, self.within, self.skip, self.ahead, self.times, self.min_score)
        object.__setattr__(self, "_hash", hash((self.key, self.values, self.operator, self.number, *window)))

    def __hash__(self) -> int:
        """The hash that was made once."""
        return self._hash


@dataclass(frozen=True, slots=True)
class And(Expression):
    """Users in all of these; at least one operand."""

    of: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Expression):
    """Users in any of these; at least one operand."""

    of: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not(Expression):
    """Everyone of the entity except these."""

    of: Expression


@dataclass(frozen=True, slots=True)
class AtLeast(Expression):
    """Users in at least `count` of these, each operand counted as often as it is listed."""

    count: int
    of: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Saved(Expression):
    """The members of a saved audience, by its definition of today."""

    key: str


@dataclass(frozen=True, slots=True)
class Users(Expression):
    """These users, by user id or, with `id_kind`, by another identifier; unknown names are in no set."""

    ids: tuple[str, ...]
    id_kind: str | None = None


@dataclass(frozen=True, slots=True)
class At(Expression):
    """As it was known at `as_of` (an aware datetime in UTC); windows and expiry count from there."""

    as_of: datetime
    of: Expression


@dataclass(frozen=True, slots=True)
class Part(Expression):
    """A stable slice [start, end) of everyone by a hash seeded with `seed`; bounds within 0..1."""

    seed: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class InSnapshot(Expression):
    """The members of a frozen audience, by its id."""

    id: str


@dataclass(frozen=True, slots=True)
class Lookalike(Expression):
    """Users most like `of`: the best `size` of them, or all with a score of `threshold` or more."""

    of: Expression
    size: int | None = None
    threshold: float | None = None
    exclude_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Related(Expression):
    """Users by the audience `of` of another entity kind, across `relation`."""

    relation: str
    quantifier: Quantifier
    of: Expression


NOTHING = Not(Everyone())
"""The empty set; it has no node of its own because the language has none."""

LEAVES_MAX = 200
DEPTH_MAX = 20


def nfc(name: str) -> str:
    """A key or value in Unicode's composed form, the one in which names are compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def children(node: Expression) -> tuple[tuple[str, Expression], ...]:
    """The operands of a node with the step that leads to each, as in the path of an argument."""
    match node:
        case And(of):
            return tuple((f"and.{i}", child) for i, child in enumerate(of))
        case Or(of):
            return tuple((f"or.{i}", child) for i, child in enumerate(of))
        case Not(of):
            return (("not", of),)
        case AtLeast(_, of):
            return tuple((f"atLeast.of.{i}", child) for i, child in enumerate(of))
        case At(_, of):
            return (("at.where", of),)
        case Related(_, _, of):
            return (("related.where", of),)
        case Lookalike(of=of):
            return (("lookalike.of", of),)
        case _:
            return ()


def operands(node: Expression) -> tuple[Expression, ...]:
    """The operands of a node, without the steps that lead to them."""
    of = _OPERANDS.get(type(node))
    return () if of is None else of(node)


_OPERANDS: dict[type, Callable[[Any], tuple[Expression, ...]]] = {
    **dict.fromkeys((And, Or, AtLeast), attrgetter("of")),
    **dict.fromkeys((Not, At, Related, Lookalike), lambda node: (node.of,)),
}


def with_children(node: Expression, of: tuple[Expression, ...]) -> Expression:
    """The node over other operands, in the order and number of `children`; the same object over the same ones."""
    below = operands(node)
    if len(of) == len(below) and all(map(is_, of, below)):
        return node
    match node:
        case And() | Or() | AtLeast():
            return replace(node, of=of)
        case Not() | At() | Related() | Lookalike():
            return replace(node, of=of[0])
        case _:
            return node


def walk(node: Expression, path: str = "") -> Iterator[tuple[str, Expression]]:
    """Every node with its path ("" is the root, then "and.1.not"), in preorder."""
    yield path, node
    for step, child in children(node):
        yield from walk(child, f"{path}.{step}" if path else step)


def check_bounds(node: Expression, leaves_max: int = LEAVES_MAX, depth_max: int = DEPTH_MAX) -> int:
    """The number of leaves; TOO_LARGE beyond the limits. Does not recurse, so no depth can hurt it."""
    leaves = 0
    pending = [(node, 1)]
    while pending:
        current, depth = pending.pop()
        if depth > depth_max:
            raise TooLarge(f"the expression is nested deeper than {depth_max} levels")
        below = operands(current)
        leaves += not below
        if leaves > leaves_max:
            raise TooLarge(f"the expression has more than {leaves_max} leaves")
        pending += [(child, depth + 1) for child in below]
    return leaves
