"""Writes of data: each is one batch, all or nothing, and ends the view of the request."""

from collections.abc import Sequence

from bitmap_store.errors import Invalid, NotFound, TagroarError
from bitmap_store.values import (
    Assign,
    Batch,
    Event,
    Identifier,
    Operation,
    ProfileChange,
    Remove,
    WriteResult,
)
from resolvers.answers import Profile
from resolvers.context import Context


async def assign_tags(
    context: Context, input: Sequence[Assign], entity: str, id_kind: str | None, key: str | None
) -> WriteResult:
    """Gives users tags. An assignment says one of value, values, number and date, or nothing for a FLAG."""
    for i, each in enumerate(input):
        given = [name for name in ("value", "values", "number", "date") if getattr(each, name) is not None]
        if len(given) > 1:
            raise Invalid(f"an assignment gives {given[0]} or {given[1]}, not both", argument=f"input.{i}.{given[1]}")
    return await _apply(context, input, entity, id_kind, key)


async def remove_tags(
    context: Context, input: Sequence[Remove], entity: str, id_kind: str | None, key: str | None
) -> WriteResult:
    """Takes tags, or single values of them, from users."""
    return await _apply(context, input, entity, id_kind, key)


async def record_events(
    context: Context, input: Sequence[Event], entity: str, id_kind: str | None, key: str | None
) -> WriteResult:
    """Counts things that happened."""
    return await _apply(context, input, entity, id_kind, key)


async def upsert_profiles(
    context: Context, input: Sequence[ProfileChange], entity: str, key: str | None
) -> WriteResult:
    """Creates profiles, or changes their identifiers and attributes."""
    return await _apply(context, input, entity, None, key)


async def link_identifier(context: Context, user: str, identifier: Identifier, entity: str) -> Profile:
    """The profile, known by another outside name too; CONFLICT where that is somebody else's."""
    try:
        await _apply(context, [ProfileChange(user, identifiers=(identifier,))], entity, None, None)
    except TagroarError as error:
        place = error.argument or ""
        error.argument = place.replace("input.0.user", "userId").replace("input.0.identifiers.0", "identifier") or None
        raise
    # Whoever may only write may link; what else is known of the user is guarded field by field.
    reading = context.reading(entity)
    key = context.view.catalog.entity(entity).key
    [dense] = await context.store.resolve(key, [user])
    if dense is None:
        raise NotFound(f"there is no user {user!r}", argument="userId")
    [name] = await context.store.names(key, [dense])
    return Profile(key, name, dense, reading)


async def _apply(
    context: Context, operations: Sequence[Operation], entity: str, id_kind: str | None, key: str | None
) -> WriteResult:
    context.viewer.require("write")
    kind = context.view.catalog.entity(entity, argument="entity").key
    result = await context.store.apply(Batch(kind, tuple(operations), id_kind, key))
    context.refresh()
    return result
