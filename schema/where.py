"""`AudienceWhere`: its shape, and how what was sent becomes an expression.

Reading stops at the depth limit, so no input can make it recurse far.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

import strawberry

from bitmap_store.errors import Invalid, TagroarError, TooLarge
from bitmap_store.expression import (
    DEPTH_MAX,
    And,
    At,
    AtLeast,
    Everyone,
    Expression,
    InSnapshot,
    Lookalike,
    Match,
    Not,
    Operator,
    Or,
    Part,
    Related,
    Saved,
    Users,
    check_bounds,
)
from bitmap_store.language import parse
from bitmap_store.validity import MATCHES_MAX, check_nodes
from resolvers.asked import Asked, Detour
from schema.enums import Quantifier
from schema.scalars import BigInt
from schema.shapes import Raw, argument, optional, shape, shown

Place = tuple[Any, str] | None
"""Where a node stands in what was sent: a step, after the place of what it stands in. Written out when it is needed."""


def read_where(raw: Raw, place: str) -> Asked:
    """What an `AudienceWhere` sent at `place` asks; an error in it is kept until the answer is wanted."""
    detours: list[Detour] = []
    try:
        expression = _expression(raw, None, detours)
    except TagroarError as error:
        return Asked(place, error.within(place))
    try:
        leaves = check_bounds(expression)
        return Asked(place, check_nodes(expression), leaves, tuple(detours))
    except TagroarError as error:
        return Asked(place, Asked(place, expression, detours=tuple(detours)).place(error.within(place)))


def _expression(raw: Raw, place: Place, detours: list[Detour], depth: int = 1) -> Expression:
    """The expression of a node at a place; notes in `detours` where it is not the tree that was sent."""
    if depth > DEPTH_MAX:
        raise TooLarge(f"the expression is nested deeper than {DEPTH_MAX} levels")
    [(field, value)] = raw.items()
    match field:
        case "tag":
            return _tag(value, place, detours)
        case "text":
            return _text(value, place, detours)
        case "and":
            return And(_each(value, place, "and", detours, depth))
        case "or":
            return Or(_each(value, place, "or", detours, depth))
        case "not":
            return Not(_expression(value, (place, "not"), detours, depth + 1))
        case "atLeast":
            return AtLeast(value["count"], _each(value["of"], place, "atLeast.of", detours, depth))
        case "saved":
            return Saved(value)
        case "users":
            return Users(tuple(value["ids"]), value.get("idKind"))
        case "everyone" if not value:
            raise Invalid("everyone is true or absent", argument=_written((place, "everyone")))
        case "everyone":
            return Everyone()
        case "at":
            return At(value["asOf"], _expression(value["where"], (place, "at.where"), detours, depth + 1))
        case "part":
            return Part(value["seed"], value["from"], value["to"])
        case "snapshot":
            return InSnapshot(value)
        case "lookalike":
            of = _expression(value["of"], (place, "lookalike.of"), detours, depth + 1)
            return Lookalike(of, value.get("size"), value.get("threshold"), tuple(value.get("excludeTags") or ()))
        case "related":
            of = _expression(value["where"], (place, "related.where"), detours, depth + 1)
            return Related(value["relation"], value["quantifier"], of)
    raise Invalid(f"there is no audience by {field!r}", argument=_written(place))


def _each(listed: Sequence[Raw], place: Place, step: str, detours: list[Detour], depth: int) -> tuple[Expression, ...]:
    return tuple([_expression(raw, (place, f"{step}.{i}"), detours, depth + 1) for i, raw in enumerate(listed)])


def _written(place: Place) -> str:
    """The path of a place, as in "and.1.tag"; "" is the root."""
    steps = []
    while place is not None:
        place, step = place
        steps.append(step)
    return ".".join(reversed(steps))


def _tag(raw: Raw, place: Place, detours: list[Detour]) -> Expression:
    """A tag with its conditions; of several comparisons each becomes a match, and all have to hold."""
    if raw.keys() <= _PLAIN:
        key, values = raw["key"], raw.get("in")
        if values is not None and len(values) == 1 and len(key) + len(values[0]) <= _SHORT:
            return _one_value(key, values[0])
        return Match(key, None if values is None else tuple(values))
    compared = [(operator, raw[field]) for field, operator in _COMPARISONS.items() if raw.get(field) is not None]
    if len(compared) < 2:
        return _match(raw, *(compared[0] if compared else (None, None)))
    matches = tuple(_match(raw, *each) for each in compared)
    detours += [Detour(_written((place, f"and.{i}")), _written(place)) for i in range(len(matches))]
    return And(matches)


def _match(raw: Raw, operator: Operator | None, number: Decimal | None) -> Match:
    values = raw.get("in")
    return Match(
        key=raw["key"],
        values=None if values is None else tuple(values),
        operator=operator,
        number=number,
        after=raw.get("after"),
        before=raw.get("before"),
        within=raw.get("within"),
        skip=raw.get("skip"),
        ahead=raw.get("ahead"),
        times=raw.get("times"),
        min_score=raw.get("minScore"),
    )


def _text(text: str, place: Place, detours: list[Detour]) -> Expression:
    sent_at = _written((place, "text"))
    detours.append(Detour(_written(place), sent_at, text))
    try:
        return parse(text)
    except TagroarError as error:
        raise error.within(sent_at) from None


_PLAIN = {"key", "in"}
_SHORT = 400


@lru_cache(MATCHES_MAX)
def _one_value(key: str, value: str) -> Match:
    """The match of one value of a tag, which most audiences are made of; the same object each time."""
    return Match(key, (value,))


_COMPARISONS = {
    "eq": Operator.EQ,
    "gt": Operator.GT,
    "gte": Operator.GTE,
    "lt": Operator.LT,
    "lte": Operator.LTE,
}


# ---------------------------------------------------------------- shapes


@strawberry.input(description="Users by one tag. The key alone: whoever has any value. Conditions all have to hold.")
class TagMatch:
    """Read by `read_where`."""

    key: str = shown("The key of the tag; alone, whoever has any value of it.")
    in_: list[str] | None = shown("CHOICE, CHOICES, EVENT: one of these values; DATE: one of these days.", "in")
    eq: Decimal | None = shown("NUMBER: equal to this.")
    gt: Decimal | None = shown("NUMBER: greater than this.")
    gte: Decimal | None = shown("NUMBER: this or greater.")
    lt: Decimal | None = shown("NUMBER: less than this.")
    lte: Decimal | None = shown("NUMBER: this or less.")
    after: datetime | None = shown(
        "At this moment or later: of the value of a DATE, of when an EVENT happened, else of when it began."
    )
    before: datetime | None = shown("Before this moment, counted as for `after`.")
    within: timedelta | None = shown("In the last so long, counted back from the moment of the answer.")
    skip: timedelta | None = shown("With `within`: ending so long ago. Within P60D skip P30D is 60 to 30 days ago.")
    ahead: timedelta | None = shown("DATE: in the next so long.")
    times: int | None = shown("EVENT: at least so often in the window.")
    min_score: float | None = shown("At least this score.")


@strawberry.input(description="These users, as far as they are known.")
class UsersMatch:
    """Read by `read_where`."""

    ids: list[str] = shown("Their user ids, or their identifiers of `idKind`; at most 10,000.")
    id_kind: str | None = shown("The kind of identifier that `ids` are of.")


@strawberry.input(description="A stable slice of everyone: those whose hash under a seed lies in [from, to).")
class PartMatch:
    """Read by `read_where`."""

    seed: str = shown("Slices of one seed do not overlap; slices of different seeds are independent.")
    from_: float = shown("Where the slice begins, within 0..1.", "from")
    to: float = shown("Where it ends, within 0..1.")


@shape("An audience: exactly one of these fields. The same question can be written as `text`.", read_where, one_of=True)
class AudienceWhere:
    """Read by `read_where`, which gives what it asks."""

    tag: TagMatch | None = optional("Users by one tag.")
    and_: list["AudienceWhere"] | None = optional("Users in all of these; at least one.", "and")
    or_: list["AudienceWhere"] | None = optional("Users in any of these; at least one.", "or")
    not_: "AudienceWhere | None" = optional("Everyone of the entity except these.", "not")
    at_least: "AtLeastOf | None" = optional("Users in at least so many of these.")
    saved: str | None = optional("A saved audience by its key, by its definition of today.")
    users: UsersMatch | None = optional("These users. Needs the scope members.")
    everyone: bool | None = optional("Everyone of the entity: true, as false is INVALID.")
    at: "AtMatch | None" = optional("As it was known at a moment.")
    part: PartMatch | None = optional("A stable slice of everyone.")
    snapshot: strawberry.ID | None = optional("The members of a frozen audience. Comes with a later version.")
    lookalike: "LookalikeMatch | None" = optional("Users most like others, by what they have.")
    related: "RelatedMatch | None" = optional("Users by what they are related to. Comes with a later version.")
    text: str | None = optional("The same, in the audience language.")


@strawberry.input(name="AtLeast", description="Users in at least `count` of these.")
class AtLeastOf:
    """Read by `read_where`."""

    count: int = shown("How many of them at least; from 1 to as many as there are.")
    of: list[AudienceWhere] = shown("The audiences that are counted, each as often as it is listed.")


@strawberry.input(description="An audience as it was known at a moment; windows and expiry count from there.")
class AtMatch:
    """Read by `read_where`."""

    as_of: datetime = shown("The moment, as far back as the retention reaches.")
    where: AudienceWhere = shown("The audience.")


@strawberry.input(description="Users most like an audience, by what they have; a size or a threshold.")
class LookalikeMatch:
    """Read by `read_where`."""

    of: AudienceWhere = shown("The audience to grow from; its own members are not in the answer.")
    size: BigInt | None = shown("How many are wanted: the best so many.")
    threshold: float | None = shown(
        "The score that is wanted at least: a natural logarithm, 0 of those as like the audience as the others."
    )
    exclude_tags: list[str] | None = shown("Tags that may not count.")


@strawberry.input(description="Users by an audience of another entity, across a relation. Comes with a later version.")
class RelatedMatch:
    """Read by `read_where`."""

    relation: str = shown("The relation, as `account.members`.")
    quantifier: Quantifier = strawberry.field(
        description="How many of the related have to be in the audience.", default=Quantifier.ANY
    )
    where: AudienceWhere = shown("The audience of the related.")


Where = Annotated[Asked, argument(AudienceWhere, "The audience.")]
Wheres = Annotated[list[Asked], argument(list[AudienceWhere], "The audiences, at most 200.")]
Baseline = Annotated[
    Asked | None, argument(AudienceWhere | None, "The audience to compare with; everyone of the entity unless given.")
]
