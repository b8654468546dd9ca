"""Inputs of reads and of data: their shapes, and the values they become.

Audiences are in `where.py`, definitions in `defining.py`.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import strawberry

from bitmap_store.errors import Invalid
from bitmap_store.values import Assign, Event, Identifier, ProfileChange, Remove
from resolvers import catalog, cells, parts, profiles
from schema.enums import TagKind, TagOrigin, TagState
from schema.scalars import Json
from schema.shapes import Raw, optional, shape, shown


def texts(listed: Sequence[str] | None) -> tuple[str, ...] | None:
    """A list of texts as a value."""
    return None if listed is None else tuple(listed)


def read_identifier(raw: Raw, _: str = "") -> Identifier:
    """An outside name."""
    return Identifier(raw["kind"], raw["value"])


@shape("An outside name of a user: what kind of name, and the name.", read_identifier)
class IdentifierInput:
    """Becomes an `Identifier`."""

    kind: str = shown("The kind, such as email or device.")
    value: str = shown("The name.")


def _read_by(raw: Raw, _: str) -> profiles.By:
    if "userId" in raw:
        return profiles.By(raw["userId"])
    identifier = read_identifier(raw["identifier"])
    return profiles.By(identifier.value, identifier.kind)


@shape("A user, by exactly one outside name.", _read_by, one_of=True)
class ProfileBy:
    """Becomes a `profiles.By`."""

    user_id: str | None = optional("By the user id.")
    identifier: IdentifierInput | None = optional("By another identifier.")


def _read_filter(raw: Raw, _: str) -> catalog.TagFilter:
    return catalog.TagFilter(
        raw.get("search"), raw.get("category"), raw.get("kind"), raw.get("origin"), raw.get("state"), raw.get("entity")
    )


@shape("Which tags are wanted; all that is given has to hold.", _read_filter)
class TagFilter:
    """Becomes a `catalog.TagFilter`."""

    search: str | None = shown("Every word of it is in the key, the name, the definition, the method or the owner.")
    category: str | None = shown("The key of a category; what is below it counts too.")
    kind: TagKind | None = shown("The kind.")
    origin: TagOrigin | None = shown("Where the values come from.")
    state: TagState | None = shown("The stage in the life cycle.")
    entity: str | None = shown("The key of the entity kind.")


@strawberry.input(description="Whom a message is for; only those who agreed are in. Comes with a later version.")
class Purpose:
    """Refused by every resolver that takes it."""

    key: str = shown("The purpose, such as marketing.")
    channel: str | None = shown("The channel, such as sms.")


def _read_breakdown_by(raw: Raw, _: str) -> cells.By:
    edges = raw.get("edges")
    return cells.By(
        raw["tag"],
        raw.get("level"),
        raw.get("bins"),
        raw.get("quantiles"),
        None if edges is None else tuple(edges),
    )


@shape("A tag to break down by; at most one way to group its values.", _read_breakdown_by)
class BreakdownBy:
    """Becomes a `cells.By`."""

    tag: str = shown("The key of the tag.")
    level: int | None = shown("Of a hierarchical tag: by the values at this level and all below them; 1 unless given.")
    bins: int | None = shown("NUMBER, DATE: so many ranges of equal width; 10 unless something else is given.")
    quantiles: int | None = shown("NUMBER, DATE: so many ranges that hold about as many users each.")
    edges: list[Decimal] | None = shown("NUMBER: where one range ends and the next begins, ascending.")


def read_split_part(raw: Raw, _: str = "") -> parts.Share:
    """A part of a split."""
    return parts.Share(raw["name"], raw["share"])


@shape("A part of a split.", read_split_part)
class SplitPart:
    """Becomes a `parts.Share`."""

    name: str = shown("The name of the part.")
    share: float = shown("Its share of the audience: more than 0, and all together at most 1.")


# ---------------------------------------------------------------- data


def _read_assignment(raw: Raw, _: str) -> Assign:
    return Assign(
        user=raw["user"],
        tag=raw["tag"],
        value=raw.get("value"),
        values=texts(raw.get("values")),
        number=raw.get("number"),
        date=raw.get("date"),
        score=raw.get("score"),
        expires_at=raw.get("expiresAt"),
        source=raw.get("source"),
    )


@shape("Gives a user a tag: one of value, values, number and date, or nothing for a FLAG.", _read_assignment)
class TagAssignment:
    """Becomes an `Assign`."""

    user: str = shown("The user id, or the identifier of `idKind`; an unknown one is created and counted.")
    tag: str = shown("The key of the tag.")
    value: str | None = shown("Adds a value; of a CHOICE replaces it.")
    values: list[str] | None = shown("Replaces all values.")
    number: Decimal | None = shown("The value of a NUMBER.")
    date: datetime | None = shown("The value of a DATE.")
    score: float | None = shown("How sure a model is.")
    expires_at: datetime | None = shown("When the membership ends.")
    source: str | None = shown("Who says so: a form, an import, a model.")


def _read_removal(raw: Raw, _: str) -> Remove:
    return Remove(raw["user"], raw["tag"], raw.get("value"))


@shape("Takes a tag, or one value of it, from a user.", _read_removal)
class TagRemoval:
    """Becomes a `Remove`."""

    user: str = shown("The user id, or the identifier of `idKind`.")
    tag: str = shown("The key of the tag.")
    value: str | None = shown("The value to remove; all of the tag unless given.")


def _read_profile(raw: Raw, place: str) -> ProfileChange:
    attributes = raw.get("attributes")
    if attributes is not None and not isinstance(attributes, dict):
        raise Invalid("attributes are an object of names and values", argument=f"{place}.attributes")
    identifiers = tuple(read_identifier(each) for each in raw.get("identifiers") or ())
    return ProfileChange(raw["userId"], identifiers, tuple((attributes or {}).items()))


@shape("Creates or changes a profile.", _read_profile)
class ProfileInput:
    """Becomes a `ProfileChange`."""

    user_id: str = shown("The user id.")
    identifiers: list[IdentifierInput] | None = shown("Other outside names to link; CONFLICT when somebody else's.")
    attributes: Json | None = shown("An object of attributes, merged into those there are; null removes one.")


def _read_event(raw: Raw, _: str) -> Event:
    return Event(raw["user"], raw["tag"], raw.get("value"), raw["at"], raw["count"])


@shape("Something that happened.", _read_event)
class EventInput:
    """Becomes an `Event`."""

    user: str = shown("The user id, or the identifier of `idKind`; an unknown one is created and counted.")
    tag: str = shown("The key of an EVENT tag.")
    value: str | None = shown("What it happened to: a value of the tag.")
    at: datetime = shown("When.")
    count: int = strawberry.field(description="How often.", default=1)
