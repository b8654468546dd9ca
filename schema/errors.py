"""The one error shape: what every error of GraphQL is turned into before it leaves.

`extensions.code` is always there; argument, suggestions, line and column where they are known. What was
not foreseen is logged with its trace, and says nothing to the client.
"""

import logging
import re
from typing import Any

from graphql import GraphQLError

from bitmap_store.errors import Invalid, TagroarError, TooLarge

logger = logging.getLogger("tagroar.graphql")

_VARIABLE = re.compile(r"Variable '\$(\w+)' has invalid value(?: at (\S+))?: ")
_STEP = re.compile(r"\[(\d+)\]")
_FOUND = re.compile(r"[.;,]? [Ff]ound: .*$", re.DOTALL)
_DIGITS = "Exceeds the limit (4300 digits)"
"""What Python says of a number that would take it long to read, and GraphQL does not expect."""
_TOO_LARGE = ("nested too deeply", "tokens. Parsing aborted")


def describe(error: GraphQLError) -> None:
    """Gives an error its code and its sentence, in place; describing it twice changes nothing."""
    cause = _cause(error)
    if isinstance(cause, TagroarError):
        error.extensions = _argument(error.message) | cause.extensions()
        error.message = cause.message
    elif isinstance(cause, RecursionError):
        error.message = "the request is nested too deeply"
        error.extensions = {"code": TooLarge.code}
    elif isinstance(cause, ValueError) and str(cause).startswith(_DIGITS):
        error.message = "a number in the document has too many digits"
        error.extensions = {"code": Invalid.code}
    elif error.extensions and "code" in error.extensions:
        pass
    elif cause is None and not error.message.startswith("Cannot return null"):
        _describe_request(error)
    else:
        logger.error("an unforeseen error in a field", exc_info=cause or error)
        error.message = "internal error"
        error.extensions = {"code": "INTERNAL"}


def shown(errors: list[GraphQLError]) -> list[dict[str, Any]]:
    """Errors in the one shape, as they are written."""
    for error in errors:
        describe(error)
    return [dict(error.formatted) for error in errors]


def _cause(error: GraphQLError) -> Exception | None:
    """The exception behind an error; None where GraphQL itself found the request wrong."""
    cause: Exception | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _describe_request(error: GraphQLError) -> None:
    """What GraphQL found wrong: in the syntax, the document or the variables."""
    # Beside what it expected, GraphQL shows what it found as Python writes it.
    error.message = _FOUND.sub("", error.message).replace("not to be None", "not to be null")
    code = TooLarge.code if any(sign in error.message for sign in _TOO_LARGE) else Invalid.code
    _, asked, names = error.message.partition("Did you mean ")
    suggestions = {"suggestions": re.findall(r"'([^']+)'", names)} if asked else {}
    error.extensions = {"code": code} | _argument(error.message) | suggestions


def _argument(message: str) -> dict[str, object]:
    """The path, in a variable, that a message of GraphQL is about."""
    found = _VARIABLE.match(message)
    if not found:
        return {}
    path = _STEP.sub(r".\1", found[2] or "").strip(".")
    return {"argument": f"{found[1]}.{path}".rstrip(".")}
