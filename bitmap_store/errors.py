"""The errors of the service, one class a code; every entry point renders them the same way.

TagroarError
 ├─ Invalid            INVALID          the request is wrong; the same request will be wrong again
 ├─ NotFound           NOT_FOUND        a name that does not exist, with the nearest names that do
 ├─ Conflict           CONFLICT         the state of the data forbids it
 ├─ Forbidden          FORBIDDEN        the viewer lacks a scope
 ├─ Unauthenticated    UNAUTHENTICATED  no token, or one that is not valid
 ├─ TooLarge           TOO_LARGE        over a limit; the sentence names the limit
 ├─ RateLimited        RATE_LIMITED     too often
 ├─ Unavailable        UNAVAILABLE      not there yet, or not now
 ├─ Stale              STALE            a cursor or moment that is no longer kept
 └─ Damaged            INTERNAL         stored bytes fail their checksum
"""

import difflib
from collections.abc import Iterable
from math import ceil


class TagroarError(Exception):
    """A failure with a stable code and a sentence for a person.

    `argument` is the path of the argument at fault ("where.and.1.tag.key"), `suggestions` the nearest
    names that exist, `line` and `column` (from 1) the place in a text of the audience language.
    """

    code = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        argument: str | None = None,
        suggestions: Iterable[str] = (),
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.argument = argument
        self.suggestions = tuple(suggestions)
        self.line = line
        self.column = column

    def extensions(self) -> dict[str, object]:
        """The machine-readable part of the error, as GraphQL and HTTP both show it."""
        details = {
            "argument": self.argument,
            "suggestions": list(self.suggestions) or None,
            "line": self.line,
            "column": self.column,
        }
        return {"code": self.code} | {name: value for name, value in details.items() if value is not None}

    def within(self, prefix: str) -> "TagroarError":
        """Puts `prefix` before the argument path, in place, and gives the error back to be raised."""
        self.argument = f"{prefix}.{self.argument}" if self.argument else prefix
        return self


class Invalid(TagroarError):
    """The request is wrong."""

    code = "INVALID"


class NotFound(TagroarError):
    """Something named does not exist."""

    code = "NOT_FOUND"

    @classmethod
    def named(cls, what: str, name: str, known: Iterable[str], *, argument: str | None = None) -> "NotFound":
        """The error for an unknown `name`, with the nearest of the `known` names."""
        suggestions = nearest(name, known)
        hint = f"; did you mean {suggestions[0]!r}?" if suggestions else ""
        return cls(f"there is no {what} {name!r}{hint}", argument=argument, suggestions=suggestions)


class Conflict(TagroarError):
    """The state of the data forbids it."""

    code = "CONFLICT"


class Forbidden(TagroarError):
    """The viewer lacks a scope."""

    code = "FORBIDDEN"


class Unauthenticated(TagroarError):
    """There is no token, or it is not valid."""

    code = "UNAUTHENTICATED"


class TooLarge(TagroarError):
    """The request passes a limit."""

    code = "TOO_LARGE"


class RateLimited(TagroarError):
    """The viewer asks too often. `retry_after`: seconds until it is worth asking again."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after: float, argument: str | None = None) -> None:
        super().__init__(message, argument=argument)
        self.retry_after = max(1, ceil(retry_after))

    def extensions(self) -> dict[str, object]:
        """The same as of any error, and when to ask again."""
        return super().extensions() | {"retryAfter": self.retry_after}


class Unavailable(TagroarError):
    """Not there yet, or not at this moment."""

    code = "UNAVAILABLE"


class Stale(TagroarError):
    """A cursor or a moment that is no longer kept."""

    code = "STALE"


class Damaged(TagroarError):
    """Stored bytes do not match their checksum; restoring a backup mends it."""

    code = "INTERNAL"


def nearest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """The `known` names that look most like `name`, best first; compares without regard to case."""
    by_fold: dict[str, str] = {}
    for candidate in known:
        by_fold.setdefault(candidate.casefold(), candidate)
    found = difflib.get_close_matches(name.casefold(), by_fold, n=limit, cutoff=0.6)
    return [by_fold[fold] for fold in found]
