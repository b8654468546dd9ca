"""Anything by its global id."""

from bitmap_store.errors import Invalid, TagroarError
from bitmap_store.values import Category, Experiment, Job, SavedAudience, Tag, moment_of
from resolvers import ids
from resolvers.answers import Profile, Question
from resolvers.asked import Asked
from resolvers.audiences import ask
from resolvers.catalog import tag
from resolvers.context import Context
from resolvers.experiments import experiment
from resolvers.jobs import job
from resolvers.profiles import By, profile
from resolvers.saved import saved_audience

Thing = Tag | Category | Profile | Question | SavedAudience | Experiment | Job


async def node(context: Context, id_: str) -> Thing | None:
    """The thing with this id, None where it is gone; INVALID for an id that this service never gave."""
    try:
        parts = ids.decode(id_, argument="id")
    except TagroarError:
        found = await job(context, id_) if context.viewer.scopes & {"write", "admin"} else None
        if found is None:
            raise
        return found
    match parts:
        case ("Tag", str(key)):
            return tag(context, key)
        case ("Category", str(key)):
            context.viewer.require("count")
            return context.view.catalog.categories.get(key)
        case ("Experiment", str(key)):
            return experiment(context, key)
        case ("SavedAudience", str(key)):
            return saved_audience(context, key)
        case ("Profile", str(entity), str(user), int() | None as moment):
            return await profile(context, By(user), entity, None if moment is None else moment_of(moment))
        case ("Audience", str(entity), str(text), int() | None as moment):
            asked = Asked.of_text(text, "id", ids.ID_CHARACTERS_MAX)
            return ask(context, asked, entity, None if moment is None else moment_of(moment))
    raise Invalid("this is not an id of a thing", argument="id")
