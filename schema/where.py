"""`AudienceWhere`: its shape, and how what was sent becomes an expression.

Reading stops at the depth limit, so no input can make it recurse far.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

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
from bitmap_store.language import check, parse
from resolvers.asked import Asked, Detour
from schema.enums import Quantifier
from schema.scalars import BigInt
from schema.shapes import Raw, argument, optional, shape, shown


def read_where(raw: Raw, place: str) -> Asked:
    """What an `AudienceWhere` sent at `place` asks; an error in it is kept until the answer is wanted."""
    detours: list[Detour] = []
    try:
        expression = _expression(raw, "", detours)
    except TagroarError as error:
        return Asked(place, error.within(place))
    asked = Asked(place, expression, detours=tuple(detours))
    try:
        return replace(asked, found=check(expression), leaves=check_bounds(expression))
    except TagroarError as error:
        return Asked(place, asked.place(error.within(place)))


def _expression(raw: Raw, path: str, detours: list[Detour], depth: int = 1) -> Expression:
    """The expression of a node at `path`; notes in `detours` where it is not the tree that was sent."""
    if depth > DEPTH_MAX:
        raise TooLarge(f"the expression is nested deeper than {DEPTH_MAX} levels")
    [(field, value)] = raw.items()

    def inner(below: Raw, step: str) -> Expression:
        return _expression(below, _join(path, step), detours, depth + 1)

    def each(listed: Sequence[Raw], step: str) -> tuple[Expression, ...]:
        return tuple(inner(below, f"{step}.{i}") for i, below in enumerate(listed))

    match field:
        case "tag":
            return _tag(value, path, detours)
        case "and":
            return And(each(value, "and"))
        case "or":
            return Or(each(value, "or"))
        case "not":
            return Not(inner(value, "not"))
        case "atLeast":
            return AtLeast(value["count"], each(value["of"], "atLeast.of"))
        case "saved":
            return Saved(value)
        case "users":
            return Users(tuple(value["ids"]), value.get("idKind"))
        case "everyone" if not value:
            raise Invalid("everyone is true or absent", argument=_join(path, "everyone"))
        case "everyone":
            return Everyone()
        case "at":
            return At(value["asOf"], inner(value["where"], "at.where"))
        case "part":
            return Part(value["seed"], value["from"], value["to"])
        case "snapshot":
            return InSnapshot(value)
        case "lookalike":
            excluded = tuple(value.get("excludeTags") or ())
            return Lookalike(inner(value["of"], "lookalike.of"), value.get("size"), value.get("threshold"), excluded)
        case "related":
            return Related(value["relation"], value["quantifier"], inner(value["where"], "related.where"))
        case "text":
            return _text(value, path, detours)
    raise Invalid(f"there is no audience by {field!r}", argument=path)


def _tag(raw: Raw, path: str, detours: list[Detour]) -> Expression:
    """A tag with its conditions; of several comparisons each becomes a match, and all have to hold."""
    compared = [(operator, raw[field]) for field, operator in _COMPARISONS.items() if raw.get(field) is not None]
    if len(compared) < 2:
        return _match(raw, *(compared[0] if compared else (None, None)))
    matches = tuple(_match(raw, *each) for each in compared)
    detours += [Detour(_join(path, f"and.{i}"), path) for i in range(len(matches))]
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


def _text(text: str, path: str, detours: list[Detour]) -> Expression:
    place = _join(path, "text")
    detours.append(Detour(path, place, text))
    try:
        return parse(text)
    except TagroarError as error:
        raise error.within(place) from None


def _join(path: str, step: str) -> str:
    return f"{path}.{step}" if path else step


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
    lookalike: "LookalikeMatch | None" = optional("Users most like others. Comes with a later version.")
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


@strawberry.input(description="Users most like an audience. Comes with a later version.")
class LookalikeMatch:
    """Read by `read_where`."""

    of: AudienceWhere = shown("The audience to grow from; its own members are not in the answer.")
    size: BigInt | None = shown("How many are wanted: the best so many.")
    threshold: float | None = shown("The score that is wanted at least.")
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
