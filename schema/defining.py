"""Inputs of definitions: tags and saved audiences."""

from datetime import timedelta

import strawberry

from bitmap_store import TagChange, TagDefinition
from resolvers.asked import Asked
from resolvers.definitions import NewAudience, Rules
from schema.enums import DatePrecision, Sensitivity, TagKind, TagOrigin
from schema.inputs import texts
from schema.shapes import Raw, shape, shown
from schema.where import AudienceWhere, read_where


def _rule(raw: Raw, place: str) -> Asked | None:
    rule = raw.get("rule")
    return None if rule is None else read_where(rule, f"{place}.rule")


def _rules(raw: Raw, place: str) -> tuple[tuple[str, Asked], ...] | None:
    rules = raw.get("rules")
    if rules is None:
        return None
    return tuple((each["value"], read_where(each["where"], f"{place}.rules.{i}.where")) for i, each in enumerate(rules))


@strawberry.input(description="Who has one value of a tag.")
class ValueRule:
    """Read by `_rules`."""

    value: str = shown("The value.")
    where: AudienceWhere = shown("Who has it; of a CHOICE the first rule that holds decides.")


def _read_new_tag(raw: Raw, place: str) -> tuple[TagDefinition, Rules]:
    definition = TagDefinition(
        key=raw["key"],
        name=raw.get("name"),
        kind=raw["kind"],
        entity=raw["entity"],
        category=raw.get("category"),
        values=texts(raw.get("values")),
        hierarchical=raw["hierarchical"],
        scale=raw["scale"],
        precision=raw["precision"],
        definition=raw.get("definition"),
        valid_for=raw.get("validFor"),
        origin=raw.get("origin"),
        sensitivity=raw["sensitivity"],
        owner=raw.get("owner"),
        method=raw.get("method"),
        scope=raw.get("scope"),
        unit=raw.get("unit"),
    )
    return definition, Rules(_rule(raw, place), _rules(raw, place))


@shape("A tag to be.", _read_new_tag)
class DefineTagInput:
    """Becomes a `TagDefinition` and its `Rules`."""

    key: str = shown("The key; one name space for all entities.")
    name: str | None = shown("The name for people; the key unless given.")
    kind: TagKind = strawberry.field(description="What it can say of a user.", default=TagKind.FLAG)
    entity: str = strawberry.field(description="The entity kind it is of.", default="user")
    category: str | None = shown("The key of the category it is in.")
    values: list[str] | None = shown("CHOICE, CHOICES, EVENT: the allowed values; unless given, the tag is open.")
    hierarchical: bool = strawberry.field(description='Whether "/" in a value makes it a child.', default=False)
    scale: int = strawberry.field(description="NUMBER: the decimals it keeps; more are INVALID.", default=0)
    precision: DatePrecision = strawberry.field(description="DATE: days or seconds.", default=DatePrecision.SECOND)
    definition: str | None = shown("What it means, in words.")
    rule: AudienceWhere | None = shown("FLAG: who has it, read afresh each time.")
    rules: list[ValueRule] | None = shown("CHOICE, CHOICES: who has each value, read afresh each time.")
    valid_for: timedelta | None = shown("How long a membership lasts.")
    origin: TagOrigin | None = shown("Where its values come from; RULE with a rule, else DECLARED unless given.")
    sensitivity: Sensitivity = strawberry.field(description="Who may learn it.", default=Sensitivity.INTERNAL)
    owner: str | None = shown("Who answers for it.")
    method: str | None = shown("How it comes about, in words.")
    scope: str | None = shown("Of whom it is told, in words.")
    unit: str | None = shown("What a number or a count of it counts.")


def _read_changed_tag(raw: Raw, place: str) -> tuple[TagChange, Rules]:
    change = TagChange(
        name=raw.get("name"),
        category=raw.get("category"),
        add_values=texts(raw.get("addValues")),
        definition=raw.get("definition"),
        valid_for=raw.get("validFor"),
        sensitivity=raw.get("sensitivity"),
        owner=raw.get("owner"),
        method=raw.get("method"),
        scope=raw.get("scope"),
        unit=raw.get("unit"),
    )
    return change, Rules(_rule(raw, place), _rules(raw, place))


@shape("What is to change of a tag. What is absent or null stays as it is.", _read_changed_tag)
class UpdateTagInput:
    """Becomes a `TagChange` and its `Rules`."""

    name: str | None = shown("The name for people.")
    category: str | None = shown("The key of the category it is in.")
    add_values: list[str] | None = shown("More allowed values.")
    definition: str | None = shown("What it means, in words.")
    rule: AudienceWhere | None = shown("Of a tag with a rule: the new one.")
    rules: list[ValueRule] | None = shown("Of a tag with rules: the new ones.")
    valid_for: timedelta | None = shown("How long a membership lasts that begins from now on.")
    sensitivity: Sensitivity | None = shown("Who may learn it.")
    owner: str | None = shown("Who answers for it.")
    method: str | None = shown("How it comes about, in words.")
    scope: str | None = shown("Of whom it is told, in words.")
    unit: str | None = shown("What a number or a count of it counts.")


def _read_new_audience(raw: Raw, place: str) -> NewAudience:
    return NewAudience(raw["key"], raw.get("name"), read_where(raw["where"], f"{place}.where"), raw["entity"])


@shape("An audience to save.", _read_new_audience)
class SaveAudienceInput:
    """Becomes a `NewAudience`."""

    key: str = shown("The key by which it is used, as in @key.")
    name: str | None = shown("The name for people; the key unless given.")
    where: AudienceWhere = shown("Who is in.")
    entity: str = strawberry.field(description="The entity kind it is of.", default="user")
