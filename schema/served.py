"""The schema that is served: everything put together, and its text."""

from collections.abc import Sequence
from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    Undefined,
    coerce_input_value,
    validate_input_value,
)
from strawberry.schema.config import StrawberryConfig

from bitmap_store.errors import Invalid
from resolvers.asked import Asked
from schema.audience import Audience, Profile, SavedAudience, Snapshot
from schema.errors import describe
from schema.experiment import Experiment
from schema.job import Job
from schema.mutation import Merge, Mutation
from schema.query import Query
from schema.scalars import SCALARS
from schema.subscription import Subscription
from schema.tag import Category, Tag
from schema.where import read_where


class Served(strawberry.Schema):
    """The schema, with every error in the one shape."""

    def process_errors(self, errors: list[GraphQLError], execution_context: object = None) -> None:
        """Describes each error, in place; called on every path before errors leave."""
        for error in errors:
            describe(error)


def _served() -> Served:
    schema = Served(
        Query,
        Mutation,
        Subscription,
        types=[Audience, Category, Experiment, Job, Merge, Profile, SavedAudience, Snapshot, Tag],
        config=StrawberryConfig(scalar_map=SCALARS),
    )
    for argument in _arguments(schema):
        # Strawberry writes what Python calls None as "= null"; here it says that nothing was given.
        if argument.default_value is None:
            argument.default_value = Undefined
    return schema


def _arguments(schema: Served) -> Sequence[GraphQLArgument]:
    outputs = (GraphQLObjectType, GraphQLInterfaceType)
    types = [each for each in schema._schema.type_map.values() if isinstance(each, outputs)]
    return [argument for each in types for field in each.fields.values() for argument in field.args.values()]


SCHEMA = _served()


def sdl() -> str:
    """The schema in the GraphQL schema language, as it is committed in `schema.graphql`."""
    return SCHEMA.as_str() + "\n"


def where_of_json(value: object, argument: str = "where") -> Asked:
    """What an `AudienceWhere` in JSON asks, outside of GraphQL; INVALID where it is none."""
    where: Any = SCHEMA._schema.type_map["AudienceWhere"]

    def refuse(error: GraphQLError, path: list[str | int]) -> None:
        describe(error)
        suggestions = (error.extensions or {}).get("suggestions", ())
        raise Invalid(error.message, argument=".".join(map(str, [argument, *path])), suggestions=suggestions)

    validate_input_value(value, where, refuse)
    try:
        return read_where(coerce_input_value(value, where), argument)
    except GraphQLError as error:  # not exactly one field, which Strawberry notices only here
        raise Invalid(error.message, argument=argument) from None
