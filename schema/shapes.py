"""How this schema is written: answers, arguments and inputs are declared as GraphQL and typed as plain values.

A type of the schema is never instantiated. Its fields read attributes of the plain value behind it; its
methods are static and take that value as `root`.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import strawberry
from strawberry.types.arguments import InputContext

from resolvers.context import Context

F = TypeVar("F")
T = TypeVar("T", bound=type)

_readers: dict[object, Callable[[Mapping[str, Any], str], object]] = {}

Info = strawberry.Info[Context, None]
Raw = Mapping[str, Any]
"""An input object after GraphQL has checked it: fields by their GraphQL names, without those that are absent."""


def answer(graphql_type: object, description: str) -> Callable[[F], F]:
    """Declares a static method as a field of this GraphQL type."""
    declare: Callable[[F], F] = strawberry.field(graphql_type=graphql_type, description=description)
    return declare


def live(graphql_type: object, description: str) -> Callable[[F], F]:
    """Declares a static method that yields as a subscription to this GraphQL type."""
    declare: Callable[[F], F] = strawberry.subscription(graphql_type=graphql_type, description=description)
    return declare


def shown(description: str, name: str | None = None) -> Any:
    """Declares an attribute of the plain value as a field, or a field of an input."""
    return strawberry.field(description=description, name=name)


def optional(description: str, name: str | None = None) -> Any:
    """Declares a field of an input of which exactly one is given."""
    return strawberry.field(description=description, name=name, default=strawberry.UNSET)


def argument(graphql_type: object, description: str, name: str | None = None) -> object:
    """Says, in `Annotated`, what an argument is in GraphQL."""
    return strawberry.argument(graphql_type=graphql_type, description=description, name=name)


def note(description: str, name: str | None = None) -> object:
    """Describes, in `Annotated`, an argument whose Python type says what it is in GraphQL."""
    return strawberry.argument(description=description, name=name)


def shape(description: str, read: Callable[[Raw, str], object], *, one_of: bool = False) -> Callable[[T], T]:
    """Declares an input; `read` turns it, and the path at which it was sent, into a plain value."""

    def declare(cls: T) -> T:
        declared: T = strawberry.input(cls, description=description, one_of=one_of)
        definition: Any = getattr(declared, "__strawberry_definition__")  # noqa: B009 (strawberry does not declare it)
        definition.from_input = lambda _, raw, context: read(raw, path_of(context))
        _readers[declared] = read
        return declared

    return declare


def reader_of(declared: object) -> Callable[[Raw, str], object] | None:
    """What reads an input that was declared by `shape`; None for everything else."""
    return _readers.get(declared)


def path_of(context: InputContext) -> str:
    """The path of an input among the arguments, as in "where" or "input.3"."""
    return ".".join(map(str, context.path))
