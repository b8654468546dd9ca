"""Limits that hold before a request is executed, on every path: HTTP and WebSocket, document and variables."""

from collections.abc import Mapping

from bitmap_store.errors import TooLarge

DOCUMENT_CHARACTERS_MAX = 65_536
LEAVES_MAX = 2_000
OBJECT_FIELDS_MAX = 500
"""Fields of one object in variables; of those that are not known each is looked up among those that are."""
LEAVES = frozenset({"tag", "saved", "users", "everyone", "part", "snapshot", "text"})
"""The fields of an `AudienceWhere` with nothing below: an object of one of them alone is taken for a leaf."""
LEAF_BYTES_MIN = len('{"tag":0}')
"""No leaf is written with fewer bytes."""


def check_request(
    document: str,
    variables: Mapping[str, object] | None,
    size: int,
    characters: int = 0,
    characters_max: int = DOCUMENT_CHARACTERS_MAX,
) -> None:
    """TOO_LARGE for a document or variables over the limits. Linear, and cheaper than reading them as inputs.

    Variables are not tokens of a document, so a limit on tokens does not see how many audiences are in them.
    `size` is how many bytes the request was sent with: in few bytes there cannot be many leaves. `characters` are
    those of other documents in the same request.
    """
    if characters + len(document) > characters_max:
        raise TooLarge(f"the documents of a request have at most {characters_max} characters")
    if size < LEAVES_MAX * LEAF_BYTES_MIN:
        return
    leaves = 0
    pending: list[object] = [variables]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            if len(value) > OBJECT_FIELDS_MAX:
                raise TooLarge(f"an object in variables has at most {OBJECT_FIELDS_MAX} fields")
            leaves += len(value) == 1 and not LEAVES.isdisjoint(value)
            pending.extend(below for key, below in value.items() if key != "attributes")  # may hold anything
        elif isinstance(value, list):
            pending.extend(value)
        if leaves > LEAVES_MAX:
            raise TooLarge(f"the audiences of a request have at most {LEAVES_MAX} leaves")
