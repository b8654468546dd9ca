"""One request, or one operation of a WebSocket: its id, what kind of thing it is, how it ended. For logs and measures.

Whatever runs for it finds it (`current`), in threads and tasks too. It never holds who asked, or with which variables.
"""

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from time import perf_counter

KINDS = ("graphql", "query", "mutation", "subscription", "array", "import", "export", "job", "page", "probe")
"""What requests are told apart by. `graphql` is what was refused before it could be told what it is."""
OUTCOMES = (
    "ok", "invalid", "unauthenticated", "forbidden", "not_found", "conflict", "stale", "too_large", "rate_limited",
    "internal", "unavailable", "gone",
)  # fmt: skip
"""How requests end: the code of the first error. `gone`: the client did not wait for the answer."""
_WORD = (1 << 64) - 1
_SANE = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Exchange:
    """What is known of a request while it is answered."""

    __slots__ = ("began", "document", "id", "kind", "operation", "outcome")

    def __init__(self, id_: str, kind: str) -> None:
        self.id = id_
        self.kind = kind
        self.outcome = "ok"
        self.operation: str | None = None
        self.document: str | None = None
        self.began = perf_counter()

    def failed(self, code: object) -> None:
        """Notes the first code of an error."""
        if self.outcome == "ok":
            name = str(code).lower()
            self.outcome = name if name in OUTCOMES else "internal"

    def answered(self, answer: object) -> None:
        """Notes what an answer of GraphQL says of errors."""
        errors = answer.get("errors") if isinstance(answer, dict) else None
        if errors:
            self.failed(errors[0].get("extensions", {}).get("code", "internal"))

    def asked(self, kind: str, document: str, operation: str | None) -> None:
        """Notes what was asked, of which logs hold a digest and the name of the operation."""
        if self.kind != "array":
            self.kind, self.document, self.operation = kind, document, operation


_CURRENT: ContextVar[Exchange | None] = ContextVar("tagroar_exchange", default=None)
_NONE = Exchange("-", "page")


def current() -> Exchange:
    """The exchange that is going on; outside of any, one that nobody looks at."""
    return _CURRENT.get() or _NONE


def begin(exchange: Exchange) -> Exchange:
    """Makes an exchange the current one of this task, and of all that it starts."""
    _CURRENT.set(exchange)
    return exchange


class Ids:
    """Ids for requests, no two alike among processes: drawn once, then counted, as drawing each costs as much as
    answering from memory. Made when serving begins: a process that is forked later would count the same."""

    def __init__(self) -> None:
        self._first = secrets.randbits(64)

    def id_of(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The id that was sent with a request, where that is short and plain, else a new one."""
        for name, value in headers:
            if name == b"x-request-id" and _SANE.fullmatch(value):
                return value.decode()
        self._first = (self._first + 1) & _WORD
        return f"{self._first:016x}"
