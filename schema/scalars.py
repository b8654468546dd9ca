"""Scalars: how numbers, moments, durations and JSON travel. Their text forms are those of the audience language."""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NewType, TypeVar

import strawberry
from graphql import FloatValueNode, GraphQLError, IntValueNode, StringValueNode, ValueNode
from strawberry.types.scalar import ScalarDefinition

from bitmap_store.errors import Invalid, TagroarError
from bitmap_store.literals import duration_text, moment_text, parse_duration, parse_moment, shown

T = TypeVar("T")

BigInt = NewType("BigInt", int)
Json = NewType("Json", object)

BIG_MAX = 2**53
EXACT_DIGITS_MAX = 15
DECIMAL_CHARACTERS_MAX = 64
DECIMAL_EXPONENT_MAX = 40
JSON_DEPTH_MAX = 32
JSON_INTEGER_MAX = 2**63 - 1


class ExactFloat(float):
    """A JSON number that remembers how it was written, as a float has only 15 digits to itself."""

    text: str

    def __new__(cls, text: str) -> "ExactFloat":
        """The number that the text says."""
        found = super().__new__(cls, text)
        found.text = text
        return found


def big_int(value: object) -> int:
    """A whole number within 0 .. 2^53."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise Invalid("this is not a whole number")
    if not 0 <= value <= BIG_MAX:
        raise Invalid("a BigInt lies within 0..2^53")
    return int(value)


def read_decimal(value: object) -> Decimal:
    """An exact number from a JSON number or a text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Invalid("a Decimal is a number, or a number in a string")
    text = value.text if isinstance(value, ExactFloat) else value if isinstance(value, str) else repr(value)
    if len(text) > DECIMAL_CHARACTERS_MAX:
        raise Invalid(f"a Decimal is written with at most {DECIMAL_CHARACTERS_MAX} characters")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise Invalid(f"{shown(text)} is not a number") from None
    if not number.is_finite() or "_" in text or not text.isascii():
        raise Invalid(f"{shown(text)} is not a number")
    if number and abs(number.adjusted()) > DECIMAL_EXPONENT_MAX:
        raise Invalid(f"a Decimal lies within 10^-{DECIMAL_EXPONENT_MAX} and 10^{DECIMAL_EXPONENT_MAX}, or is 0")
    return number


def read_decimal_literal(node: ValueNode, _: object = None) -> Decimal:
    """An exact number as it stands in a document."""
    if isinstance(node, FloatValueNode | IntValueNode | StringValueNode):
        return read_decimal(node.value)
    raise Invalid("a Decimal is a number, or a number in a string")


def show_decimal(value: Decimal) -> int | float | str:
    """A JSON number where a float holds it exactly, that is up to 15 digits; else a text."""
    if len(value.as_tuple().digits) > EXACT_DIGITS_MAX:
        return f"{value:f}"
    whole = value == value.to_integral_value()
    return int(value) if whole and abs(value) < BIG_MAX else f"{value:f}" if whole else float(value)


def read_moment(value: object) -> datetime:
    """A moment from RFC 3339 or a day."""
    if not isinstance(value, str):
        raise Invalid("a DateTime is a string such as 2026-11-01T00:00:00Z or 2026-11-01")
    return parse_moment(value)


def show_moment(value: date | datetime) -> str:
    """RFC 3339 in UTC; a day as a day."""
    return moment_text(value.astimezone(UTC)) if isinstance(value, datetime) else value.isoformat()


def read_duration(value: object) -> timedelta:
    """A duration from ISO 8601 without months and years."""
    if not isinstance(value, str):
        raise Invalid("a Duration is a string such as P30D or PT1H")
    return parse_duration(value)


def read_json(value: object) -> object:
    """Any JSON within bounds, with plain numbers."""
    return _plain(value, JSON_DEPTH_MAX)


def _plain(value: object, depth: int) -> object:
    if depth == 0:
        raise Invalid(f"JSON is nested deeper than {JSON_DEPTH_MAX} levels")
    match value:
        case dict():
            return {str(key): _plain(below, depth - 1) for key, below in value.items()}
        case list():
            return [_plain(below, depth - 1) for below in value]
        case float() if not math.isfinite(value):
            raise Invalid("JSON has no number of this size")
        case float():
            return float(value)
        case int() if not isinstance(value, bool) and abs(value) > JSON_INTEGER_MAX:
            raise Invalid("a whole number in JSON has at most 63 bits; send it as a string")
    return value


def _told(read: Callable[..., T]) -> Callable[..., T]:
    """Reads, and tells GraphQL what is wrong in words that it passes on as they are."""

    def told(*value: Any) -> T:
        try:
            return read(*value)
        except TagroarError as error:
            raise GraphQLError(error.message, original_error=error, extensions=error.extensions()) from None

    return told


SCALARS: dict[object, ScalarDefinition] = {
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number within 0 .. 2^53, as a JSON number.",
        serialize=int,
        parse_value=_told(big_int),
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description="An exact number: a JSON number of up to 15 digits, else a string. Both are taken.",
        serialize=show_decimal,
        parse_value=_told(read_decimal),
        parse_literal=_told(read_decimal_literal),
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description=(
            "A moment in RFC 3339, answered in UTC. A day (YYYY-MM-DD) is taken as its midnight in UTC; a DATE tag"
            " of precision DAY gives days. A date-time without a time zone is refused."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=show_moment,
        parse_value=_told(read_moment),
    ),
    timedelta: strawberry.scalar(
        name="Duration",
        description='ISO 8601 in weeks, days, hours, minutes and seconds ("P30D", "PT1H"); no months or years.',
        serialize=duration_text,
        parse_value=_told(read_duration),
    ),
    Json: strawberry.scalar(
        name="JSON",
        description="Any JSON value.",
        serialize=lambda value: value,
        parse_value=_told(read_json),
    ),
}
"""The scalars by the Python type that stands for each."""

__all__ = ["SCALARS", "BigInt", "ExactFloat", "Json", "big_int", "read_decimal", "read_json"]
