"""Inputs, compiled: functions that turn what was sent into what a resolver takes, made once for each type.

They know what is usual. Whatever else they meet is `Unusual`, and left to the reference implementation: it
tells what is wrong, in its words, or knows better.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    ConstValueNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    Undefined,
    ValueNode,
    VariableNode,
    type_from_ast,
)
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_literal
from strawberry.schema.compat import is_scalar
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import StrawberryList, StrawberryOptional
from strawberry.types.enum import StrawberryEnumDefinition

from schema.served import SCHEMA
from schema.shapes import reader_of

NESTING_MAX = 60
"""Of objects and lists; an audience may have 20 levels of three. More is judged by the reference implementation."""

Coerced = dict[str, Any]
Coerce = Callable[[Any, int], Any]
"""From a JSON value, and how deep it stands, to the value of a GraphQL type."""
Value = Callable[[Coerced], Any]
"""The value of an argument, from the variables; Undefined where it is not given."""
Convert = Callable[[Any], Any]
"""From the value of a GraphQL type to what a resolver takes."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that no variable changes."""

    value: Any

    def __call__(self, _variables: Coerced) -> Any:
        """The value."""
        return self.value


class Unusual(Exception):
    """A value, or a type, that is not known here."""


# ---------------------------------------------------------------- variables


@dataclass(slots=True)
class Needs:
    """What is asked of variables where they stand: not to be null if they are given; to be given and not null."""

    not_null: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)


def variables_of(operation: OperationDefinitionNode, needs: Needs) -> Callable[[Mapping[str, Any]], Coerced]:
    """Reads the variables of an operation; Unusual where a value is wrong, or not what the places of it need."""
    definitions: list[tuple[str, Coerce, bool, Any]] = []
    for node in operation.variable_definitions or ():
        type_: Any = type_from_ast(SCHEMA._schema, node.type)
        default = Undefined if node.default_value is None else constant(node.default_value, type_)
        required = isinstance(type_, GraphQLNonNull) and default is Undefined
        definitions.append((node.variable.name.value, coerce_to(type_), required, default))

    def read(sent: Mapping[str, Any]) -> Coerced:
        found = {}
        for name, coerce, required, default in definitions:
            if name in sent:
                found[name] = coerce(sent[name], 0)
            elif required:
                raise Unusual
            elif default is not Undefined:
                found[name] = default
        for name in needs.not_null:
            if name in found and found[name] is None:
                raise Unusual
        for name in needs.given:
            if found.get(name) is None:
                raise Unusual
        return found

    return read


_coercions: dict[GraphQLInputType, Coerce] = {}


def coerce_to(type_: GraphQLInputType) -> Coerce:
    """Reads a JSON value as a type."""
    if isinstance(type_, GraphQLNonNull):
        return _not_null(coerce_to(type_.of_type))
    if isinstance(type_, GraphQLList):
        return _list(coerce_to(type_.of_type))
    if type_ not in _coercions:
        if isinstance(type_, GraphQLInputObjectType):
            _object(type_)
        else:
            _coercions[type_] = _leaf(type_)
    return _coercions[type_]


def _not_null(inner: Coerce) -> Coerce:
    def coerce(value: Any, depth: int) -> Any:
        if value is None:
            raise Unusual
        return inner(value, depth)

    return coerce


def _list(item: Coerce) -> Coerce:
    def coerce(value: Any, depth: int) -> Any:
        if type(value) is list:
            return [item(each, depth + 1) for each in value]
        return None if value is None else [item(value, depth + 1)]  # what is no list is a list of one

    return coerce


def _object(type_: GraphQLInputObjectType) -> None:
    """Registers how an input object is read, before its fields: they may lead back to it."""
    fields: dict[str, Coerce] = {}
    required: list[str] = []
    defaults: list[tuple[str, Any]] = []
    one_of = _is_one_of(type_)
    if any(each.out_name is not None for each in type_.fields.values()):
        raise Unusual

    def coerce(value: Any, depth: int) -> Any:
        if type(value) is not dict:
            if value is None:
                return None
            raise Unusual
        if depth > NESTING_MAX or (one_of and len(value) != 1):
            raise Unusual
        found = {}
        for name, below in value.items():
            read = fields.get(name)
            if read is None or (one_of and below is None):
                raise Unusual
            found[name] = read(below, depth + 1)
        for name in required:
            if name not in found:
                raise Unusual
        for name, default in defaults:
            if name not in found:
                found[name] = default
        return found

    _coercions[type_] = coerce
    for name, each in type_.fields.items():
        fields[name] = coerce_to(each.type)
        default = coerce_default_value(each)
        if default is not Undefined:
            defaults.append((name, default))
        elif isinstance(each.type, GraphQLNonNull):
            required.append(name)


def _is_one_of(type_: GraphQLInputObjectType) -> bool:
    definition: Any = type_.extensions.get("strawberry-definition")
    if definition is None or type_.is_one_of:
        raise Unusual
    return bool(definition.is_one_of)


def _leaf(type_: GraphQLLeafType) -> Coerce:
    if isinstance(type_, GraphQLEnumType):
        members = {name: type_.coerce_input_value(name) for name in type_.values}
        return lambda value, _: members[value] if type(value) is str and value in members else _null(value)
    read = type_.coerce_input_value

    def coerce(value: Any, _: int) -> Any:
        if value is None:
            return None
        try:
            found = read(value)
        except Exception:
            raise Unusual from None
        if found is Undefined:
            raise Unusual
        return found

    match type_.name:
        case "String" | "ID":
            return lambda value, _: value if type(value) is str else coerce(value, _)
        case "Int":
            return lambda value, _: (
                value if type(value) is int and GRAPHQL_MIN_INT <= value <= GRAPHQL_MAX_INT else coerce(value, _)
            )
        case "Boolean":
            return lambda value, _: value if value is True or value is False else coerce(value, _)
    return coerce


def _null(value: Any) -> None:
    if value is not None:
        raise Unusual


# ---------------------------------------------------------------- literals


def constant(node: ValueNode | ConstValueNode, type_: GraphQLInputType) -> Any:
    """The value of a literal without variables; Unusual where it is none of the type."""
    try:
        found = coerce_input_literal(node, type_)
    except Exception:
        raise Unusual from None
    if found is Undefined:
        raise Unusual
    return found


def argument_value(argument: GraphQLArgument | GraphQLInputField, node: ValueNode | None, needs: Needs) -> Value:
    """The value of an argument or of a field of an input as it stands in a document, or its default.

    Unusual where the document itself is wrong; that no variable is, `needs` has to make sure.
    """
    default = coerce_default_value(argument)
    if node is None:
        if default is Undefined and isinstance(argument.type, GraphQLNonNull):
            raise Unusual
        return Constant(default)
    read = value_of(node, argument.type, needs)
    if not isinstance(node, VariableNode) or default is Undefined:
        return read

    def value(variables: Coerced) -> Any:
        found = read(variables)
        return default if found is Undefined else found

    return value


def value_of(node: ValueNode, type_: GraphQLInputType, needs: Needs) -> Value:
    """The value of a literal in which variables may stand."""
    if isinstance(node, VariableNode):
        name = node.name.value
        if isinstance(type_, GraphQLNonNull):
            needs.not_null.add(name)
        return lambda variables: variables.get(name, Undefined)
    if not _has_variables(node):
        return Constant(constant(node, type_))
    if isinstance(type_, GraphQLNonNull):
        type_ = type_.of_type
    if isinstance(type_, GraphQLList):
        nodes = node.values if isinstance(node, ListValueNode) else (node,)
        items = [value_of(each, type_.of_type, needs) for each in nodes]
        return lambda variables: [_or_null(item(variables)) for item in items]
    if isinstance(type_, GraphQLInputObjectType) and isinstance(node, ObjectValueNode):
        return _object_value(node, type_, needs)
    raise Unusual


def _or_null(value: Any) -> Any:
    return None if value is Undefined else value


def _object_value(node: ObjectValueNode, type_: GraphQLInputObjectType, needs: Needs) -> Value:
    given = {each.name.value: each.value for each in node.fields}
    if not given.keys() <= type_.fields.keys():
        raise Unusual
    if _is_one_of(type_):
        only = next(iter(given.values())) if len(given) == 1 else NullValueNode()
        if isinstance(only, NullValueNode):
            raise Unusual
        if isinstance(only, VariableNode):
            needs.given.add(only.name.value)
    fields = [(name, argument_value(below, given.get(name), needs)) for name, below in type_.fields.items()]

    def value(variables: Coerced) -> Any:
        found = {}
        for name, read in fields:
            below = read(variables)
            if below is not Undefined:
                found[name] = below
        return found

    return value


def _has_variables(node: ValueNode) -> bool:
    if isinstance(node, ListValueNode):
        return any(_has_variables(each) for each in node.values)
    if isinstance(node, ObjectValueNode):
        return any(_has_variables(each.value) for each in node.fields)
    return isinstance(node, VariableNode)


# ---------------------------------------------------------------- what resolvers take


def converted(argument: StrawberryArgument, name: str) -> Convert:
    """Turns the value of an argument into what its resolver takes, as Strawberry does."""
    return _converted(argument.type, name)


def _converted(type_: Any, place: str) -> Convert:
    if isinstance(type_, StrawberryOptional):
        return _converted(type_.of_type, place)
    if _is_leaf(type_):
        return _same
    if isinstance(type_, StrawberryList):
        inner = type_.of_type.of_type if isinstance(type_.of_type, StrawberryOptional) else type_.of_type
        read = reader_of(inner)
        if _is_leaf(inner):
            return lambda value: None if value is None else list(value)
        if read is not None:
            return lambda value: (
                None
                if value is None
                else [None if each is None else read(each, f"{place}.{i}") for i, each in enumerate(value)]
            )
    read_one = reader_of(type_)
    if read_one is not None:
        return lambda value: None if value is None else read_one(value, place)
    converter = SCHEMA.schema_converter
    registry, config = converter.scalar_registry, converter.config
    return lambda value: convert_argument(value, type_, registry, config, path=(place,))


def _is_leaf(type_: Any) -> bool:
    registry = SCHEMA.schema_converter.scalar_registry
    return isinstance(type_, StrawberryEnumDefinition) or is_scalar(type_, registry)


def _same(value: Any) -> Any:
    return value
