"""Profiles: finding users by their outside names, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bitmap_store.store import ProfileFacts
from bitmap_store.values import Identifier, SavedAudience
from resolvers.answers import Profile, TagOnProfile
from resolvers.asked import Asked
from resolvers.audiences import check_users
from resolvers.catalog import tags_chosen
from resolvers.context import Context, bounded
from resolvers.loaders import by_group
from resolvers.saved import saved_of_entity


@dataclass(frozen=True, slots=True)
class By:
    """An outside name of a user: their user id or, with `id_kind`, another identifier."""

    name: str
    id_kind: str | None = None


async def profile(context: Context, by: By, entity: str, as_of: datetime | None) -> Profile | None:
    """The profile with this outside name; None where there is none at that moment."""
    [found] = await profiles(context, [by], entity, as_of)
    return found


async def profiles(context: Context, each: Sequence[By], entity: str, as_of: datetime | None) -> list[Profile | None]:
    """The profiles with these outside names, in order, None where there is none; a few calls for all of them."""
    context.viewer.require("members")
    check_users(context, each, "by")
    reading = context.reading(entity, as_of)
    key = context.view.catalog.entity(entity).key

    async def resolve(id_kind: str | None, group: list[By]) -> list[int | None]:
        return await context.store.resolve(key, [by.name for by in group], id_kind)

    dense = await by_group(each, lambda by: by.id_kind, resolve)
    known = list(dict.fromkeys(user for user in dense if user is not None))
    alone = len(each) == 1
    names = zip(known, await context.store.present(reading, known), strict=True)
    found = {user: Profile(key, name, user, reading, as_of, alone) for user, name in names if name is not None}
    return [None if user is None else found.get(user) for user in dense]


async def identifiers(context: Context, profile: Profile) -> list[Identifier]:
    """The other outside names of a user."""
    return list((await _facts(context, profile)).identifiers)


async def attributes(context: Context, profile: Profile, keys: Sequence[str] | None) -> list[tuple[str, object]]:
    """The attributes of a user, or those with these keys in their order; one that is not there is left out."""
    known = dict((await _facts(context, profile)).attributes)
    return [(key, known[key]) for key in (known if keys is None else dict.fromkeys(keys)) if key in known]


async def _facts(context: Context, profile: Profile) -> ProfileFacts:
    context.viewer.require("members")
    found = await context.loaders.facts.load((profile.reading, profile.dense))
    return found or ProfileFacts(profile.dense, profile.user_id, (), ())


async def tags(
    context: Context, profile: Profile, keys: Sequence[str] | None, category: str | None
) -> tuple[TagOnProfile, ...]:
    """What a user has of these tags, of a category, or of all tags; a tag they have nothing of is left out."""
    context.viewer.require("members")
    selection = tags_chosen(context, profile.entity, keys, category, "keys")
    spot = (profile.reading, profile.dense)
    if profile.is_alone:
        return await context.loaders.tags_of(spot, selection)
    return await context.loaders.tags.load((spot, selection))


async def expired_tags(context: Context, profile: Profile) -> tuple[TagOnProfile, ...]:
    """What a user had of all tags until it ended, as far as it was not given anew."""
    context.viewer.require("members")
    selection = tags_chosen(context, profile.entity, None, None)
    return await context.loaders.ended.load(((profile.reading, profile.dense), selection))


async def is_in(context: Context, profile: Profile, asked: Asked) -> bool:
    """Whether a user is in an audience, at the moment of the profile."""
    context.viewer.require("members")
    plan = context.bind(asked, profile.entity, profile.reading)
    return await context.loaders.holds.load((plan, profile.dense))


async def saved_audiences(context: Context, profile: Profile, first: int) -> list[SavedAudience]:
    """The saved audiences that a user is in, by key, up to `first`."""
    context.viewer.require("members")
    most = bounded(first, context.limits.page_max, "first")
    candidates = saved_of_entity(context, profile.entity, profile.reading)
    holds = await context.loaders.holds.load_many([(plan, profile.dense) for _, plan in candidates])
    return [saved for (saved, _), held in zip(candidates, holds, strict=True) if held][:most]
