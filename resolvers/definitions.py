"""Changing the catalog: entity kinds, categories, tags and saved audiences. Reading it: `catalog.py`, `saved.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from bitmap_store import TagChange, TagDefinition
from bitmap_store.text import render
from bitmap_store.values import (
    Category,
    DatePrecision,
    EntityKind,
    SavedAudience,
    Sensitivity,
    Tag,
    TagKind,
    TagOrigin,
    ValueRule,
    WriteResult,
)
from resolvers.asked import Asked
from resolvers.context import Context


@dataclass(frozen=True, slots=True)
class NewTag:
    """What `defineTag` asks for, its rules still as they were sent."""

    key: str
    name: str | None = None
    kind: TagKind = TagKind.FLAG
    entity: str = "user"
    category: str | None = None
    values: tuple[str, ...] | None = None
    hierarchical: bool = False
    scale: int = 0
    precision: DatePrecision = DatePrecision.SECOND
    definition: str | None = None
    rule: Asked | None = None
    rules: tuple[tuple[str, Asked], ...] | None = None
    valid_for: timedelta | None = None
    origin: TagOrigin | None = None
    sensitivity: Sensitivity = Sensitivity.INTERNAL
    owner: str | None = None
    method: str | None = None
    scope: str | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class ChangedTag:
    """What `updateTag` asks for; None leaves a field as it is."""

    name: str | None = None
    category: str | None = None
    add_values: tuple[str, ...] | None = None
    definition: str | None = None
    rule: Asked | None = None
    rules: tuple[tuple[str, Asked], ...] | None = None
    valid_for: timedelta | None = None
    sensitivity: Sensitivity | None = None
    owner: str | None = None
    method: str | None = None
    scope: str | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class NewAudience:
    """What `saveAudience` asks for."""

    key: str
    name: str | None
    where: Asked
    entity: str = "user"


async def define_entity(context: Context, key: str, name: str | None) -> EntityKind:
    """The entity kind, new or renamed."""
    context.viewer.require("define")
    found = await context.store.define_entity(key, name)
    context.refresh()
    return found


async def define_category(context: Context, key: str, name: str | None, parent: str | None) -> Category:
    """The category, new or changed; INVALID below the third level."""
    context.viewer.require("define")
    found = await context.store.define_category(key, name, parent)
    context.refresh()
    return found


async def define_tag(context: Context, new: NewTag) -> Tag:
    """The tag; CONFLICT where there is another of this key, the tag itself where it is the same."""
    context.viewer.require("define")
    definition = TagDefinition(
        key=new.key,
        name=new.name,
        kind=new.kind,
        entity=context.view.catalog.entity(new.entity, argument="input.entity").key,
        category=new.category,
        values=new.values,
        hierarchical=new.hierarchical,
        scale=new.scale,
        precision=new.precision,
        definition=new.definition,
        rule=None if new.rule is None else text_of(context, new.rule, new.entity),
        rules=_rules(context, new.rules or (), new.entity),
        valid_for=new.valid_for,
        origin=new.origin,
        sensitivity=new.sensitivity,
        owner=new.owner,
        method=new.method,
        scope=new.scope,
        unit=new.unit,
    )
    tag = await context.store.define_tag(definition)
    context.refresh()
    return tag


async def update_tag(context: Context, key: str, changed: ChangedTag, if_version: int | None) -> Tag:
    """The tag with the change; CONFLICT unless it has the version `if_version`."""
    context.viewer.require("define")
    entity = context.view.catalog.tag(key, argument="key").entity
    change = TagChange(
        name=changed.name,
        category=changed.category,
        add_values=changed.add_values,
        definition=changed.definition,
        rule=None if changed.rule is None else text_of(context, changed.rule, entity),
        rules=None if changed.rules is None else _rules(context, changed.rules, entity),
        valid_for=changed.valid_for,
        sensitivity=changed.sensitivity,
        owner=changed.owner,
        method=changed.method,
        scope=changed.scope,
        unit=changed.unit,
    )
    tag = await context.store.update_tag(key, change, if_version)
    context.refresh()
    return tag


async def delete_tag(context: Context, key: str) -> WriteResult:
    """Takes a tag and its memberships away; CONFLICT, naming them, while others use it."""
    context.viewer.require("define")
    result = await context.store.delete_tag(key)
    context.refresh()
    return result


async def save_audience(context: Context, new: NewAudience, if_version: int | None) -> SavedAudience:
    """The saved audience, new or with a new definition; CONFLICT unless it has the version `if_version` (0: none)."""
    context.viewer.require("define")
    context.view.catalog.entity(new.entity, argument="input.entity")
    text = text_of(context, new.where, new.entity)
    saved = await context.store.save_audience(new.key, new.name, text, new.entity, context.viewer.name, if_version)
    context.refresh()
    return saved


async def delete_audience(context: Context, key: str) -> WriteResult:
    """Takes a saved audience away; CONFLICT, naming them, while others use it."""
    context.viewer.require("define")
    result = await context.store.delete_audience(key)
    context.refresh()
    return result


def text_of(context: Context, asked: Asked, entity: str) -> str:
    """The canonical text of what was asked, after checking that it can be answered today."""
    context.bind(asked, entity, context.reading(entity))
    return render(asked.expression)


def _rules(context: Context, rules: Sequence[tuple[str, Asked]], entity: str) -> tuple[ValueRule, ...]:
    return tuple(ValueRule(value, text_of(context, asked, entity)) for value, asked in rules)
