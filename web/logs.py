"""How logs are written: a line each, as JSON or as text, with the id of the request, and nothing of anybody.

What goes wrong is told by the class of the error and the places it went through. Its message may hold what was sent,
so only those of the system and of SQLite are told, which name files and conditions.
"""

import hashlib
import logging
import sqlite3
import sys
import traceback
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, TextIO

import orjson

from web.exchange import Exchange, current

FRAMES_MAX = 20
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("json", "text")
requests = logging.getLogger("tagroar.requests")


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Has everything that is logged in this process written so."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines(form))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("tagroar").setLevel(level.upper())


def log_exchange(exchange: Exchange, status: int | None) -> None:
    """A line for a request that is over."""
    if requests.isEnabledFor(logging.INFO):
        said: dict[str, object] = {"kind": exchange.kind, "outcome": exchange.outcome}
        if status is not None:
            said["status"] = status
        said["ms"] = round((perf_counter() - exchange.began) * 1e3, 3)
        if exchange.document is not None:
            digest = hashlib.sha256(exchange.document.encode("utf-8", "replace")).hexdigest()
            said |= {"operation": (exchange.operation or "")[:64], "document": digest[:16]}
        requests.info("request", extra={"said": said, "exchange": exchange})


class Lines(logging.Formatter):
    """One line for each record."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        made = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        exchange: Exchange = getattr(record, "exchange", None) or current()
        said: dict[str, Any] = {
            "time": made,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request": exchange.id,
            "process": record.process,
            **getattr(record, "said", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            said |= failure(record.exc_info[1])
        if self._form == "json":
            return orjson.dumps(said).decode()
        head = f"{made} {said['level']} {record.name}: {said['message']}"
        rest = [f"{name}={value}" for name, value in said.items() if name not in ("time", "level", "logger", "message")]
        return " ".join([head, *rest]).replace("\n", " ")


def failure(error: BaseException) -> dict[str, object]:
    """What may be told of an error: its class, those of its causes, and where it went through."""
    names: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(names) < FRAMES_MAX:
        names.append(_named(cause))
        cause = cause.__cause__ or cause.__context__
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    return {"error": names, "trace": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


def _named(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    return f"{name}: {error}" if isinstance(error, sqlite3.Error) else name
