"""The served schema holds the public contract, is described throughout, and is the one that is committed."""

import os
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    build_schema,
    is_introspection_type,
    is_required_argument,
    is_required_input_field,
    is_specified_scalar_type,
    print_ast,
)

from schema.served import sdl

HERE = Path(__file__).parent
UPDATE = os.environ.get("TAGROAR_UPDATE_GOLDEN") == "1"
CONTRACT = build_schema((HERE / "contract.graphql").read_text("utf-8"))
SERVED = build_schema(sdl())
OUTPUTS = (GraphQLObjectType, GraphQLInterfaceType)


def own_types(types: dict[str, GraphQLNamedType]) -> list[GraphQLNamedType]:
    return [each for each in types.values() if not is_introspection_type(each) and not is_specified_scalar_type(each)]


def signature(given: Any) -> tuple[str, str | None]:
    """The type of an argument or input field, and its default as it is written in the schema language."""
    default = given.ast_node.default_value
    return str(given.type), print_ast(default) if default else None


def lacks(name: str, contract: GraphQLNamedType, served: GraphQLNamedType | None) -> list[str]:
    """What a served type lacks of the contract, in words."""
    if served is None:
        return [f"{name} is missing"]
    if type(served) is not type(contract):
        return [f"{name} is {type(served).__name__}, not {type(contract).__name__}"]
    found: list[str] = []
    if isinstance(contract, OUTPUTS) and isinstance(served, OUTPUTS):
        missing = {each.name for each in contract.interfaces} - {each.name for each in served.interfaces}
        found += [f"{name} does not implement {each}" for each in missing]
        for key, field in contract.fields.items():
            found += lacks_field(f"{name}.{key}", field, served.fields.get(key))
    elif isinstance(contract, GraphQLInputObjectType) and isinstance(served, GraphQLInputObjectType):
        if contract.is_one_of != served.is_one_of:
            found.append(f"{name}: @oneOf differs")
        for key, given in contract.fields.items():
            other = served.fields.get(key)
            if other is None or signature(given) != signature(other):
                found.append(f"{name}.{key}: {signature(given)} is {other and signature(other)}")
        extra = served.fields.keys() - contract.fields.keys()
        found += [f"{name}.{key} is extra and required" for key in extra if is_required_input_field(served.fields[key])]
    elif isinstance(contract, GraphQLEnumType) and isinstance(served, GraphQLEnumType):
        found += [f"{name} lacks {value}" for value in contract.values.keys() - served.values.keys()]
    return found


def lacks_field(name: str, contract: GraphQLField, served: GraphQLField | None) -> list[str]:
    if served is None:
        return [f"{name} is missing"]
    found = [] if str(contract.type) == str(served.type) else [f"{name}: {contract.type} is {served.type}"]
    for key, given in contract.args.items():
        other: GraphQLArgument | None = served.args.get(key)
        if other is None or signature(given) != signature(other):
            found.append(f"{name}({key}:): {signature(given)} is {other and signature(other)}")
    extra = served.args.keys() - contract.args.keys()
    return found + [f"{name}({key}:) is extra and required" for key in extra if is_required_argument(served.args[key])]


@pytest.mark.parametrize("contract", own_types(CONTRACT.type_map), ids=str)
def test_served_schema_holds_the_contract(contract: GraphQLNamedType) -> None:
    assert lacks(contract.name, contract, SERVED.type_map.get(contract.name)) == []


def test_everything_is_described() -> None:
    bare: list[str] = []
    for each in own_types(SERVED.type_map):
        bare += [] if each.description else [each.name]
        for key, field in getattr(each, "fields", {}).items():
            bare += [] if field.description else [f"{each.name}.{key}"]
            bare += [
                f"{each.name}.{key}({a}:)" for a, given in getattr(field, "args", {}).items() if not given.description
            ]
        if isinstance(each, GraphQLEnumType):
            bare += [f"{each.name}.{key}" for key, value in each.values.items() if not value.description]
    assert bare == []


def test_committed_schema_is_the_served_one() -> None:
    committed = HERE.parent / "schema" / "schema.graphql"
    if UPDATE:
        committed.write_text(sdl(), "utf-8")
    assert committed.read_text("utf-8") == sdl(), "`make golden` writes schema/schema.graphql afresh"
