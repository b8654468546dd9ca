"""Changing the catalog: entity kinds, categories, tags and saved audiences. Reading it: `catalog.py`, `saved.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bitmap_store import TagChange, TagDefinition
from bitmap_store.text import render
from bitmap_store.values import (
    Category,
    EntityKind,
    SavedAudience,
    Tag,
    ValueRule,
    WriteResult,
)
from resolvers.asked import Asked
from resolvers.context import Context


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a definition as they were sent: one, or one for each value."""

    one: Asked | None = None
    of_values: tuple[tuple[str, Asked], ...] | None = None


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


async def define_tag(context: Context, definition: TagDefinition, rules: Rules) -> Tag:
    """The tag; CONFLICT where there is another of this key, the tag itself where it is the same."""
    context.viewer.require("define")
    entity = context.view.catalog.entity(definition.entity, argument="input.entity").key
    tag = await context.store.define_tag(
        replace(
            definition,
            entity=entity,
            rule=None if rules.one is None else text_of(context, rules.one, entity),
            rules=_rules(context, rules.of_values or (), entity),
        )
    )
    context.refresh()
    return tag


async def update_tag(context: Context, key: str, change: TagChange, rules: Rules, if_version: int | None) -> Tag:
    """The tag with the change; CONFLICT unless it has the version `if_version`."""
    context.viewer.require("define")
    entity = context.view.catalog.tag(key, argument="key").entity
    change = replace(
        change,
        rule=None if rules.one is None else text_of(context, rules.one, entity),
        rules=None if rules.of_values is None else _rules(context, rules.of_values, entity),
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
