"""What a client asks of GraphQL on any transport: a document, variables, an operation, and how an answer is written."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bitmap_store.errors import Invalid, TagroarError, TooLarge
from schema.scalars import ExactFloat
from web.known import Known

_DIGITS = bytes(ord("0") if char in b"0123456789." else ord(" ") for char in range(256))
_MANY_DIGITS = b"0" * 16


@dataclass(frozen=True, slots=True)
class Asking:
    """A request to GraphQL, its parts of the right types."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    cost: bool = False
    """Whether the answer is to say what it cost."""

    @classmethod
    def of(cls, sent: object, known: Known) -> "Asking":
        """The request that a JSON value says; INVALID where it says none, and see `Known.document`."""
        if not isinstance(sent, dict):
            raise Invalid('a request is an object such as {"query": "{ viewer { name } }"}')
        name = sent.get("operationName")
        if name is not None and not isinstance(name, str):
            raise Invalid("operationName is a string", argument="operationName")
        for key in ("variables", "extensions"):
            if not isinstance(sent.get(key, {}), dict | None):
                raise Invalid(f"{key} is an object", argument=key)
        cost = (sent.get("extensions") or {}).get("cost") is True
        return cls(known.document(sent), sent.get("variables") or None, name or None, cost)


JSON_DEPTH = 100
LARGE = 1 << 16
"""Bytes from which on JSON is read in a thread: a body of the largest size takes tens of milliseconds."""


async def json_of(text: bytes, depth_max: int = JSON_DEPTH) -> object:
    """The same as `exact_json`, beside the event loop where it takes a while."""
    if len(text) < LARGE:
        return exact_json(text, depth_max)
    return await asyncio.to_thread(exact_json, text, depth_max)


def exact_json(text: bytes, depth_max: int = JSON_DEPTH) -> object:
    """The JSON value, with every number as it was written; INVALID for anything but strict JSON in UTF-8.

    TOO_LARGE where objects and lists are more than so many levels below each other. A float holds 15 digits. Only
    where a number is longer the slower parser reads it once more.
    """
    try:
        found: object = orjson.loads(text)
        if text.count(b"[") + text.count(b"{") > depth_max:
            _check_depth(found, depth_max)
        many = _MANY_DIGITS in text.translate(_DIGITS)  # which takes a tenth of a regular expression
        return json.loads(text, parse_float=ExactFloat) if many else found
    except (ValueError, RecursionError):
        raise Invalid("the request is not JSON in UTF-8, or is nested too deeply") from None


def _check_depth(value: object, most: int) -> None:
    level = [value]
    for _ in range(most + 1):
        level = [
            below
            for each in level
            if isinstance(each, dict | list)
            for below in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise TooLarge(f"JSON has at most {most} levels of objects and lists")


def error_body(error: TagroarError) -> dict[str, object]:
    """The one shape of an error, in GraphQL and HTTP alike."""
    return {"errors": [{"message": error.message, "extensions": error.extensions()}]}


def as_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> bytes:
    """JSON in UTF-8."""
    return orjson.dumps(value)
