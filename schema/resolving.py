"""Resolvers and leaf values without Strawberry between: the function that was declared, called with what it takes.

Compiled operations use these; the schema itself stays as it is declared.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from operator import attrgetter
from typing import Any

from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    FieldNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLLeafType,
    Undefined,
)
from graphql.pyutils import inspect as shown_value
from strawberry.types.field import StrawberryField

from schema.coercion import Constant, Convert, Needs, Unusual, Value, argument_value, converted
from schema.served import SCHEMA

Resolve = Callable[[Any, Any], Any]
"""From the value that a field is of, and the run, to what its resolver gives."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """How a field is resolved. attribute: reads it from the value alone, where it is an attribute of that."""

    call: Resolve
    is_asynchronous: bool = False
    attribute: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """How a value of a leaf type is written, which is not None. exact: values of this class are written as they are."""

    serialize: Callable[[Any], Any]
    exact: type | None = None


def resolver_of(definition: GraphQLField, node: FieldNode, needs: Needs) -> Resolver:
    """The resolver of a field, called with the arguments at a node.

    Unusual for a field with extensions, and for one whose resolver is not declared as ours are.
    """
    field: Any = definition.extensions.get("strawberry-definition")
    if not isinstance(field, StrawberryField) or field.extensions or field.is_subscription:
        raise Unusual
    resolver: Any = field.base_resolver
    if resolver is None:
        if field.default_resolver is not getattr or definition.args:
            raise Unusual
        attribute = attrgetter(field.python_name)
        return Resolver(lambda source, _: attribute(source), attribute=attribute)
    function = resolver._unbound_wrapped_func
    reserved = (resolver.parent_parameter or resolver.root_parameter, resolver.info_parameter)
    names = [parameter.name for parameter in reserved if parameter is not None]
    if (
        resolver.self_parameter is not None
        or resolver.root_parameter not in (None, reserved[0])
        or not inspect.isfunction(function)
        or [*inspect.signature(function).parameters][: len(names)] != names
    ):
        raise Unusual
    of_parent, of_info = (parameter is not None for parameter in reserved)
    call = _call(function, of_parent, of_info, _arguments(definition, field, node, needs))
    return Resolver(call, inspect.iscoroutinefunction(function))


Reading = tuple[str, Value, Convert]


def _arguments(definition: GraphQLField, field: Any, node: FieldNode, needs: Needs) -> list[Reading]:
    """The name of each argument that a resolver takes, its value from the variables, and how it is converted."""
    given = {argument.name.value: argument.value for argument in node.arguments or ()}
    found = []
    for argument in field.arguments:
        name = SCHEMA.config.name_converter.from_argument(argument)
        value = argument_value(definition.args[name], given.get(name), needs)
        if not (isinstance(value, Constant) and value.value is Undefined):
            found.append((argument.python_name, value, converted(argument, name)))
    return found


def _call(function: Callable[..., Any], of_parent: bool, of_info: bool, arguments: list[Reading]) -> Resolve:
    def keywords(run: Any) -> dict[str, Any]:
        variables = run.variables
        found = {}
        for name, value, convert in arguments:
            sent = value(variables)
            if sent is not Undefined:
                found[name] = convert(sent)
        return found

    match of_parent, of_info, bool(arguments):
        case True, True, True:
            return lambda source, run: function(source, run, **keywords(run))
        case True, True, False:
            return function
        case True, False, True:
            return lambda source, run: function(source, **keywords(run))
        case True, False, False:
            return lambda source, _: function(source)
        case False, True, True:
            return lambda _, run: function(run, **keywords(run))
        case False, True, False:
            return lambda _, run: function(run)
        case _:
            return lambda _, run: function(**keywords(run))


# ---------------------------------------------------------------- leaf values


def leaf_of(type_: GraphQLLeafType) -> Leaf:
    """How a value of a scalar or an enum is written; raises what graphql-core does."""
    write = type_.coerce_output_value

    def any_value(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        found = write(value)
        if found is None or found is Undefined:
            raise TypeError(
                f"Expected `{type_}.coerce_output_value({shown_value(value)})` to return non-nullable value,"
                f" returned: {shown_value(found)}"
            )
        return found

    if isinstance(type_, GraphQLEnumType):
        kind: Any = getattr(type_, "wrapped_cls", None)
        members = {} if kind is None else {member: write(member) for member in kind}
        return Leaf(lambda value: members[value] if type(value) is kind else any_value(value))
    match type_.name:
        case "String" | "ID":
            return Leaf(any_value, str)
        case "Int":
            return Leaf(
                lambda value: (
                    value if type(value) is int and GRAPHQL_MIN_INT <= value <= GRAPHQL_MAX_INT else any_value(value)
                )
            )
        case "BigInt":
            return Leaf(any_value, int)
        case "Float":
            return Leaf(lambda value: value if type(value) is float and isfinite(value) else any_value(value))
        case "Boolean":
            return Leaf(any_value, bool)
    return Leaf(any_value)
