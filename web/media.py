"""The media types of GraphQL over HTTP: what a request is sent as, and which of ours a client would rather read."""

from enum import Enum
from functools import lru_cache

JSON = "application/json"
RESPONSE = "application/graphql-response+json"
EVENTS = "text/event-stream"
HEADERS_KEPT_MAX = 256


class Media(Enum):
    """How an answer is written; the value is its Content-Type."""

    JSON = b"application/json; charset=utf-8"
    """For all clients: a request that GraphQL refuses is answered 200, as before the others were there."""
    RESPONSE = b"application/graphql-response+json; charset=utf-8"
    EVENTS = b"text/event-stream; charset=utf-8"


@lru_cache(maxsize=HEADERS_KEPT_MAX)
def answered_as(accept: bytes) -> tuple[Media | None, bool]:
    """How a client that sends this `Accept` wants its answer, and whether it reads a stream of events as well.

    The range that fits a type most closely says its quality. Of types that are wanted alike one that is named goes
    before one that only fits, and then RESPONSE before JSON before EVENTS: there are clients that send all three
    with every request. None where none is acceptable; JSON where nothing is said.
    """
    ranges = _ranges(accept.decode("latin-1"))
    if not ranges:
        return Media.JSON, False
    best, most = None, (0.0, 0)
    for media, name in ((Media.RESPONSE, RESPONSE), (Media.JSON, JSON), (Media.EVENTS, EVENTS)):
        found = _wanted(ranges, name)
        if media is Media.RESPONSE and found[1] < 2 and _wanted(ranges, JSON)[0]:
            continue  # who takes anything is answered as always
        if media is Media.EVENTS and found[1] < 2:
            continue  # who takes anything cannot be meant to read a stream
        if found[0] and found > most:
            best, most = media, found
    events, closeness = _wanted(ranges, EVENTS)
    return best, bool(events) and closeness == 2


def is_json(content_type: bytes) -> bool:
    """Whether a body sent as this is JSON in UTF-8."""
    kind, *parameters = content_type.decode("latin-1").lower().split(";")
    if kind.strip() != JSON:
        return False
    pairs = (parameter.partition("=") for parameter in parameters)
    return all(value.strip(' "') in ("utf-8", "utf8") for name, _, value in pairs if name.strip() == "charset")


def _ranges(accept: str) -> dict[str, float]:
    """The media ranges of an `Accept`, with their quality."""
    found: dict[str, float] = {}
    for each in accept.lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        if name:
            found[name] = max(_quality(parameters), found.get(name, 0.0))
    return found


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 1.0  # what cannot be read says nothing
            return quality if 0.0 <= quality <= 1.0 else 1.0
    return 1.0


def _wanted(ranges: dict[str, float], name: str) -> tuple[float, int]:
    """How much a type is wanted, and how closely it is named: 2 by its name, 1 by its kind, 0 by anything."""
    for closeness, range_ in ((2, name), (1, f"{name.partition('/')[0]}/*"), (0, "*/*")):
        if range_ in ranges:
            return ranges[range_], closeness
    return 0.0, 0
