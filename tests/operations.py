"""Hypothesis strategies for GraphQL: operations of our schema with their variables, most of them valid.

Whatever a type of the schema is asked, it is asked by its definition, so that a new field is asked too.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    Undefined,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from schema.served import SCHEMA

TYPES: Any = SCHEMA._schema.type_map
LEVELS_MAX = 4
NAMES = ["vip", "city", "spend", "born", "buy", "rich", "worth", "school", "best", "shop", "nobody", ""]
USERS = ["u0", "u1", "u7", "u10", "u99", "li@x"]
VALUES = ["Shanghai", "Paris", "tea", "Rom", "student/graduate", "1990-02-03"]
TEXTS = ["vip", "vip and city", "not rich", '@best or city = "Paris"', "2 of (vip, rich, seen)", "vip and", "citty", ""]
MOMENTS = ["2026-11-02T12:00:00Z", "2026-11-01", "2026-10-20", "2030-01-01", "2020-01-01", "2026-11-01T00:00:00", "x"]
SCALARS: dict[str, tuple[list[Any], list[Any]]] = {
    "Int": ([1, 2, 3, 50, 0, -1, 1001], [2.0, 2**31, 1.5, True, "3"]),
    "Float": ([0.5, 0, 1, 1.5, -3.25], ["0.5", True]),
    "Boolean": ([True, False], [0, "true"]),
    "BigInt": ([3, 0, 2**53], [2.0, -1, 1.5, "3"]),
    "Decimal": ([100, "150.25", 0.5, -1], ["x", True, [1]]),
    "DateTime": (MOMENTS[:5], MOMENTS[5:]),
    "Duration": (["P30D", "PT1H", "P1W"], ["P1M", 3]),
    "JSON": ([{"a": [1, None, 0.5]}, 3, "x", []], []),
}
"""What a scalar is, and what it is not."""
STRINGS = {"text": TEXTS, "users": USERS, "ids": USERS, "userId": USERS, "in": VALUES, "entity": ["user", "usr"]}


@dataclass
class Operation:
    """An operation as it is sent. `ids` and `cursors` are those that the service gave out; sound: no value is wrong."""

    ids: list[str] = field(repr=False)
    cursors: list[str] = field(repr=False)
    definitions: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    fragments: list[str] = field(default_factory=list)
    text: str = ""
    sound: bool = True


@st.composite
def operations(draw: DrawFn, ids: list[str], cursors: list[str], kind: str = "query") -> Operation:
    """An operation with its variables."""
    operation = Operation(ids, cursors, sound=draw(st.integers(0, 3)) > 0)
    root = TYPES["Query"] if kind == "query" else TYPES["Mutation"]
    selection = draw(_selections(operation, root, 0))
    head = f"({', '.join(operation.definitions)})" if operation.definitions else ""
    parts = draw(st.permutations([f"{kind} Q{head} {selection}", *operation.fragments]))
    operation.text = "\n".join(parts)
    return operation


@st.composite
def _selections(draw: DrawFn, operation: Operation, type_: Any, level: int) -> str:
    fields = [name for name, each in type_.fields.items() if level < LEVELS_MAX or _is_leaf(each)]
    if level == 0 and draw(st.booleans()):  # what most is asked below
        fields = [name for name in fields if name in ("node", "audience", "audiences", "profile", "profiles", "tags")]
    chosen = draw(st.lists(st.sampled_from([*fields, "__typename"]), min_size=1, max_size=4)) if fields else []
    parts = [draw(_field(operation, type_, name, level)) for name in chosen]
    if parts and draw(st.integers(0, 4)) == 0:
        parts.append(draw(_repeated(operation, type_, draw(st.sampled_from(parts)))))
    if is_abstract_type(type_) and level < LEVELS_MAX:
        possible = SCHEMA._schema.get_possible_types(type_)
        for each in draw(st.lists(st.sampled_from(possible), max_size=3, unique=True)):
            inner = draw(_selections(operation, each, level + 1))
            parts.append(f"... on {each.name}{draw(_directive(operation))} {inner}")
    return "{ " + " ".join(parts or ["__typename"]) + " }"


@st.composite
def _repeated(draw: DrawFn, operation: Operation, type_: GraphQLObjectType, part: str) -> str:
    """The same once more, in a fragment of either kind."""
    directive = draw(_directive(operation))
    if draw(st.booleans()):
        condition = draw(st.sampled_from(["", f" on {type_.name}"]))
        return f"...{condition}{directive} {{ {part} }}"
    name = f"F{len(operation.fragments)}"
    operation.fragments.append(f"fragment {name} on {type_.name} {{ {part} }}")
    return f"...{name}{directive} ...{name}"


@st.composite
def _field(draw: DrawFn, operation: Operation, type_: Any, name: str, level: int) -> str:
    number = draw(st.integers(0, 99))
    alias = f"a{number}: " if draw(st.booleans()) else ""
    if name == "__typename":
        return f"{alias}{name}"
    definition: GraphQLField = type_.fields[name]
    given = [
        f"{argument}: {draw(_argument(operation, argument, each))}"
        for argument, each in definition.args.items()
        if is_required_argument(each) or draw(st.integers(0, 3)) == 0
    ]
    if given and not alias:
        alias = f"b{len(operation.variables)}{number}: "
    arguments = f"({', '.join(given)})" if given else ""
    below = get_named_type(definition.type)
    inner = "" if is_leaf_type(below) else f" {draw(_selections(operation, below, level + 1))}"
    return f"{alias}{name}{arguments}{draw(_directive(operation))}{inner}"


@st.composite
def _directive(draw: DrawFn, operation: Operation) -> str:
    which = draw(st.integers(0, 14))
    if which > 1:
        return ""
    name = ("skip", "include")[which]
    if draw(st.booleans()):
        return f" @{name}(if: {draw(st.sampled_from(['true', 'false']))})"
    variable = draw(st.sampled_from(["yes", "no"]))
    definition = f"${variable}: Boolean!"
    if definition not in operation.definitions:
        operation.definitions.append(definition)
        operation.variables[variable] = variable == "yes"
    return f" @{name}(if: ${variable})"


@st.composite
def _argument(draw: DrawFn, operation: Operation, name: str, argument: Any) -> str:
    """A literal, with variables in it or not, or a variable."""
    if draw(st.booleans()):
        return draw(_literal(operation, name, argument.type, 0))
    return draw(
        _variable(operation, name, argument.type, argument.default is None and argument.default_value is Undefined)
    )


@st.composite
def _variable(draw: DrawFn, operation: Operation, name: str, type_: Any, required: bool) -> str:
    variable = f"v{len(operation.variables)}x{len(operation.definitions)}"
    inner = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
    default = ""
    if isinstance(type_, GraphQLNonNull) and required and draw(st.integers(0, 3)):
        shown = str(type_)
    elif draw(st.booleans()):
        shown, default = (
            str(inner),
            f" = {draw(_literal(Operation([], []), name, GraphQLNonNull(inner), 0, constant=True))}",
        )
    else:
        shown = str(type_) if required else str(inner)
    operation.definitions.append(f"${variable}: {shown}{default}")
    if shown.endswith("!") or draw(st.integers(0, 3)):
        operation.variables[variable] = draw(_json(operation, name, inner, 0))
    return f"${variable}"


@st.composite
def _literal(draw: DrawFn, operation: Operation, name: str, type_: Any, level: int, constant: bool = False) -> str:
    if isinstance(type_, GraphQLNonNull):
        type_ = type_.of_type
    elif draw(st.integers(0, 9)) == 0:
        return "null"
    if level and not constant and draw(st.integers(0, 5)) == 0:
        variable = draw(_variable(operation, name, GraphQLNonNull(type_), True))
        return variable
    if isinstance(type_, GraphQLList):
        items = draw(st.lists(_literal(operation, name, type_.of_type, level + 1, constant), max_size=3))
        return f"[{', '.join(items)}]" if len(items) != 1 or draw(st.booleans()) else items[0]
    if isinstance(type_, GraphQLInputObjectType):
        chosen = draw(_fields(type_, level))
        parts = [
            f"{each}: {draw(_literal(operation, each, _given(type_, each), level + 1, constant))}" for each in chosen
        ]
        return "{" + ", ".join(parts) + "}"
    if isinstance(type_, GraphQLEnumType):
        return draw(st.sampled_from(list(type_.values)))
    value = draw(st.sampled_from(_leaves(operation, name, type_, sound=True)))
    return json.dumps(value, ensure_ascii=False).replace('"a":', "a:")


@st.composite
def _json(draw: DrawFn, operation: Operation, name: str, type_: Any, level: int) -> Any:
    """A JSON value for a type; now and then a wrong one."""
    if isinstance(type_, GraphQLNonNull):
        type_ = type_.of_type
    elif not operation.sound and draw(st.integers(0, 9)) == 0:
        return None
    if not operation.sound and draw(st.integers(0, 19)) == 0:
        return draw(st.sampled_from([None, 3, "x", [], {}, {"x": 1}, [None], True]))
    if isinstance(type_, GraphQLList):
        if draw(st.integers(0, 9)) == 0:
            return draw(_json(operation, name, type_.of_type, level + 1))
        return draw(st.lists(_json(operation, name, type_.of_type, level + 1), max_size=3))
    if isinstance(type_, GraphQLInputObjectType):
        return {
            each: draw(_json(operation, each, _given(type_, each), level + 1)) for each in draw(_fields(type_, level))
        }
    if isinstance(type_, GraphQLEnumType):
        return draw(st.sampled_from([*type_.values] if operation.sound else [*type_.values, "NONE"]))
    return draw(st.sampled_from(_leaves(operation, name, type_, operation.sound)))


def _fields(type_: GraphQLInputObjectType, level: int) -> SearchStrategy[list[str]]:
    """Fields of an input to be given: of some exactly one, the others as they are required and a few more."""
    names = list(type_.fields)
    if getattr(type_.extensions["strawberry-definition"], "is_one_of"):  # noqa: B009 (of any type)
        flat = [name for name in names if level < 4 or is_leaf_type(get_named_type(type_.fields[name].type))]
        return st.sampled_from(flat).map(lambda name: [name])
    required = [name for name in names if is_required_input_field(type_.fields[name])]
    return st.lists(st.sampled_from(names), max_size=2).map(lambda more: list(dict.fromkeys([*required, *more])))


def _given(type_: GraphQLInputObjectType, name: str) -> Any:
    """The type of a field that is given."""
    found = type_.fields[name].type
    return found if isinstance(found, GraphQLNonNull) else GraphQLNonNull(found)


def _leaves(operation: Operation, name: str, type_: Any, sound: bool) -> list[Any]:
    if type_.name == "ID":
        return [*operation.ids, "WyJUYWciXQ", "nothing", 3]
    if type_.name == "String":
        found = [*operation.cursors, "x"] if name == "after" else STRINGS.get(name, NAMES)
        return found if sound else [*found, 3, ["vip"]]
    good, wrong = SCALARS[type_.name]
    return good if sound else [*good, *wrong]


def _is_leaf(definition: GraphQLField) -> bool:
    return bool(is_leaf_type(get_named_type(definition.type)))
