"""Inputs of partitions and of measured parts: lists of audiences with names."""

import strawberry

from resolvers.effects import Measured
from resolvers.partitions import Named, PartitionBy
from schema.inputs import texts
from schema.shapes import Raw, optional, shape, shown
from schema.where import AudienceWhere, read_where


@strawberry.input(description="An audience with a name.")
class NamedAudience:
    """Read by `_read_partition`."""

    where: AudienceWhere = shown("The audience.")
    name: str | None = shown("The name of the part that it becomes; its text unless given.")


@strawberry.input(description="The values of a tag in an order.")
class ValuesInOrder:
    """Read by `_read_partition`."""

    key: str = shown("The key of a tag of kind CHOICE, CHOICES or EVENT.")
    values: list[str] | None = shown("The values, what is preferred most first; all in their own order unless given.")


def _read_partition(raw: Raw, place: str) -> PartitionBy:
    [(field, value)] = raw.items()
    match field:
        case "tag":
            return PartitionBy(tag=value["key"], values=texts(value.get("values")))
        case "tags":
            return PartitionBy(tags=texts(value))
        case "audiences":
            wheres = [read_where(each["where"], f"{place}.audiences.{i}.where") for i, each in enumerate(value)]
            named = tuple(Named(where, each.get("name")) for where, each in zip(wheres, value, strict=True))
            return PartitionBy(audiences=named)
    return PartitionBy(category=value)


@shape("What an audience is cut by, in order of preference: each user is in the first part that takes them.",
       _read_partition, one_of=True)  # fmt: skip
class PartitionInput:
    """Becomes a `partitions.PartitionBy`."""

    tag: ValuesInOrder | None = optional("By the values of a tag.")
    tags: list[str] | None = optional("By tags, in this order: whoever has any value of the first, then of the next.")
    category: str | None = optional("By the tags of a category and of those below it, by key.")
    audiences: list[NamedAudience] | None = optional("By other audiences, in this order.")


def _read_measured(raw: Raw, place: str) -> Measured:
    return Measured(raw["name"], read_where(raw["where"], f"{place}.where"), raw.get("share"))


@shape("A part whose outcome is measured.", _read_measured)
class MeasuredPart:
    """Becomes a `Measured`."""

    name: str = shown("The name of the part.")
    where: AudienceWhere = shown("Its users.")
    share: float | None = shown("The share that it should have of all parts; with it sizes are checked.")
