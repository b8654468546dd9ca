"""Reading the catalog: entity kinds, categories, tags and their values. Changing it: `definitions.py`."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

from bitmap_store.catalog import Selection
from bitmap_store.errors import Invalid, NotFound, Stale
from bitmap_store.expression import Match, Operator
from bitmap_store.language import render
from bitmap_store.plan import Plan
from bitmap_store.values import (
    Category,
    EntityKind,
    Experiment,
    SavedAudience,
    Tag,
    TagKind,
    TagOrigin,
    TagState,
)
from resolvers import ids
from resolvers.answers import Connection, TagValue
from resolvers.audiences import ratio
from resolvers.context import Context, bounded

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TagFilter:
    """Which tags are wanted: all of these hold. search: each word is in key, name, definition, method or owner."""

    search: str | None = None
    category: str | None = None
    kind: TagKind | None = None
    origin: TagOrigin | None = None
    state: TagState | None = None
    entity: str | None = None


# ---------------------------------------------------------------- reading


def entities(context: Context) -> list[EntityKind]:
    """All entity kinds."""
    context.viewer.require("count")
    return list(context.view.catalog.entities.values())


async def entity_count(context: Context, entity: EntityKind) -> int:
    """How many of this kind there are."""
    return await context.loaders.size(_everyone(context, entity.key))


def categories(context: Context) -> list[Category]:
    """All categories, parents before their children."""
    context.viewer.require("count")
    return sorted(context.view.catalog.categories.values(), key=lambda category: (category.depth, category.key))


def parent(context: Context, category: Category) -> Category | None:
    """The category above this one."""
    return None if category.parent is None else context.view.catalog.categories.get(category.parent)


def children(context: Context, category: Category) -> list[Category]:
    """The categories right below this one."""
    below = (each for each in context.view.catalog.categories.values() if each.parent == category.key)
    return sorted(below, key=lambda each: each.key)


def category_of(context: Context, tag: Tag) -> Category | None:
    """The category that a tag is in."""
    return None if tag.category is None else context.view.catalog.categories.get(tag.category)


def tag(context: Context, key: str) -> Tag | None:
    """The tag with this key, None where there is none."""
    context.viewer.require("count")
    try:
        return context.view.catalog.tag(key)
    except NotFound:
        return None


def tags(context: Context, wanted: TagFilter | None, first: int | None, after: str | None) -> Connection[Tag]:
    """A page of the tags that a filter leaves, by key."""
    context.viewer.require("count")
    found = list(context.view.catalog.tags.values())
    if wanted is not None:
        found = _filtered(context, found, wanted)
    return by_key(context, "tag", found, lambda tag: tag.key, first, after)


def _filtered(context: Context, found: Sequence[Tag], wanted: TagFilter) -> list[Tag]:
    catalog = context.view.catalog
    entity = None if wanted.entity is None else catalog.entity(wanted.entity, argument="filter.entity").key
    shelves = None if wanted.category is None else _shelves(context, wanted.category, "filter.category")
    words = (wanted.search or "").casefold().split()

    def passes(tag: Tag) -> bool:
        text = "\n".join(filter(None, (tag.key, tag.name, tag.definition, tag.method, tag.owner))).casefold()
        return (
            (entity is None or tag.entity == entity)
            and (shelves is None or tag.category in shelves)
            and (wanted.kind is None or tag.kind is wanted.kind)
            and (wanted.origin is None or tag.origin is wanted.origin)
            and (wanted.state is None or tag.state is wanted.state)
            and all(word in text for word in words)
        )

    return [tag for tag in found if passes(tag)]


def _shelves(context: Context, key: str, argument: str) -> set[str]:
    """The category with this key and all below it."""
    found = {context.view.catalog.category(key, argument=argument).key}
    for each in categories(context):
        if each.parent in found:
            found.add(each.key)
    return found


def tags_chosen(
    context: Context, entity: str, keys: Sequence[str] | None, category: str | None, argument: str = "tags"
) -> Selection:
    """The tags of an entity with these keys, in their order, or all by key; only of a category and below if named.

    The same object for the same choice in a request.
    """
    catalog = context.view.catalog
    if keys is None and category is None:
        return catalog.by_entity[catalog.entity(entity).key]
    choice = (entity, None if keys is None else tuple(keys), category)
    known = context.selections.get(choice)
    if known is None:
        chosen: Iterable[Tag] = catalog.by_entity[catalog.entity(entity).key].tags
        if keys is not None:
            chosen = [catalog.tag_of(entity, key, argument=f"{argument}.{i}") for i, key in enumerate(keys)]
        if category is not None:
            shelves = _shelves(context, category, "category")
            chosen = [tag for tag in chosen if tag.category in shelves]
        known = context.selections[choice] = Selection(tuple({tag.key: tag for tag in chosen}.values()))
    return known


async def tag_size(context: Context, tag: Tag) -> int:
    """How many have any value of a tag."""
    context.viewer.require("count")
    return await context.loaders.size(_known(context, tag))


async def coverage(context: Context, tag: Tag) -> float:
    """The share of the entity with any value of a tag; 0 where the entity has nobody."""
    context.viewer.require("count")
    known, everyone = await context.loaders.sizes(_known(context, tag), _everyone(context, tag.entity))
    return ratio(known, everyone)


def _known(context: Context, tag: Tag) -> Plan:
    return context.store.plan_known(context.view, tag, context.view.reading(tag.entity))


def _everyone(context: Context, entity: str) -> Plan:
    return context.store.plan_everyone(context.view.reading(entity))


def values(
    context: Context, tag: Tag, first: int | None, after: str | None, search: str | None
) -> Connection[TagValue]:
    """A page of the values of a tag in the order in which they were declared; search: a part of a value."""
    context.viewer.require("count")
    table = context.view.catalog.values(tag)
    names = [name for name in table.names if search is None or search.casefold() in name.casefold()]
    start = 0
    if after is not None:
        match ids.decode(after, argument="after"):
            case ("value", str(key), str(value)) if key == tag.key:
                start = _place_after(names, value)
            case _:
                raise Invalid("this is not a cursor of the values of this tag", argument="after")
    page = names[start : start + context.page_size(first)]
    plans = context.store.plans_of_values(context.view, tag, context.view.reading(tag.entity), page)
    nodes = [
        TagValue(name, table.display(name), _above(tag, name), plan) for name, plan in zip(page, plans, strict=True)
    ]
    cursors = [ids.encode("value", tag.key, name) for name in page]
    return Connection.of(nodes, cursors, before=start > 0, after=start + len(page) < len(names), total=len(names))


def _place_after(names: Sequence[str], value: str) -> int:
    try:
        return names.index(value) + 1
    except ValueError:
        raise Stale("the value at this cursor is gone; begin again", argument="after") from None


def _above(tag: Tag, value: str) -> str | None:
    return value.rpartition("/")[0] or None if tag.hierarchical else None


async def value_size(context: Context, value: TagValue) -> int:
    """How many have a value, or one below it."""
    context.viewer.require("count")
    return await context.loaders.size(value.plan)


def used_by(context: Context, thing: Tag | SavedAudience, first: int) -> list[Tag | SavedAudience | Experiment]:
    """The tags, saved audiences and experiments whose definition names this one, up to `first`."""
    context.viewer.require("count")
    kind = "tag" if isinstance(thing, Tag) else "audience"
    return context.view.catalog.used_by(kind, thing.key)[: bounded(first, context.limits.page_max, "first")]


def by_key(
    context: Context, kind: str, found: Sequence[T], key: Callable[[T], str], first: int | None, after: str | None
) -> Connection[T]:
    """A page of things ordered by key. A cursor is the key before it, so a page holds while others come and go."""
    ordered = sorted(found, key=key)
    start = 0
    if after is not None:
        match ids.decode(after, argument="after"):
            case (str(of), str(last)) if of == kind:
                start = bisect_right(ordered, last, key=key)
            case _:
                raise Invalid("this is not a cursor of this list", argument="after")
    page = ordered[start : start + context.page_size(first)]
    cursors = [ids.encode(kind, key(each)) for each in page]
    return Connection.of(page, cursors, before=start > 0, after=start + len(page) < len(ordered), total=len(ordered))


def example(context: Context, tag: Tag) -> str:
    """An audience by a tag that can be asked as it is: of its first value, of a number, of the last month."""
    value = next(iter(context.view.catalog.values(tag)), None)
    values = None if value is None else (value,)
    match tag.kind:
        case TagKind.NUMBER:
            return render(Match(tag.key, operator=Operator.GTE, number=Decimal(0)))
        case TagKind.DATE:
            return render(Match(tag.key, within=timedelta(days=30)))
        case TagKind.EVENT:
            return render(Match(tag.key, values=values, times=2, within=timedelta(days=30)))
    return render(Match(tag.key, values=values))
