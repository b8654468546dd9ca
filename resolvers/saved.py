"""Reading saved audiences: expressions with a name. Changing them: `definitions.py`."""

from bitmap_store.catalog import kept_expression
from bitmap_store.errors import NotFound
from bitmap_store.expression import Saved
from bitmap_store.plan import Plan, Reading
from bitmap_store.values import SavedAudience
from resolvers.answers import Connection, Question
from resolvers.asked import names_users
from resolvers.catalog import by_key
from resolvers.context import Context


def saved_audience(context: Context, key: str) -> SavedAudience | None:
    """The saved audience with this key, None where there is none."""
    context.viewer.require("count")
    try:
        return context.view.catalog.audience(key)
    except NotFound:
        return None


def saved_audiences(context: Context, first: int | None, after: str | None) -> Connection[SavedAudience]:
    """A page of the saved audiences, by key."""
    context.viewer.require("count")
    found = tuple(context.view.catalog.audiences.values())
    return by_key(context, "saved", found, lambda saved: saved.key, first, after)


def audience(context: Context, saved: SavedAudience) -> Question:
    """The audience by the definition of today. Whoever may count may count it, also where it lists users."""
    expression = kept_expression(saved.text)
    if names_users(expression) and "members" not in context.viewer.scopes:
        expression = Saved(saved.key)  # which counts the same and names nobody
    plan = context.store.bind(context.view, expression, saved.entity, reading=context.reading(saved.entity))
    return Question(expression, saved.entity, plan)


def text(context: Context, kept: str) -> str:
    """The text of a saved audience or a rule; FORBIDDEN where it names users, without the scope to see them."""
    if names_users(kept_expression(kept)):
        context.viewer.require("members")
    return kept


def saved_of_entity(context: Context, entity: str, reading: Reading) -> list[tuple[SavedAudience, Plan]]:
    """The saved audiences of an entity by key, with their plans at a reading."""
    saved = sorted(context.view.catalog.audiences.values(), key=lambda each: each.key)
    return [
        (each, context.store.bind(context.view, Saved(each.key), entity, reading=reading))
        for each in saved
        if each.entity == entity
    ]
