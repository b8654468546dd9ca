"""What the contract has and a later version brings: it answers UNAVAILABLE, and is never ignored."""

from typing import NoReturn

from bitmap_store.errors import Unavailable
from resolvers.viewers import Viewer


def later(viewer: Viewer, capability: str, *scopes: str) -> NoReturn:
    """UNAVAILABLE, with a sentence that begins with the capability (a plural); FORBIDDEN without one of the scopes."""
    viewer.require(*scopes)
    raise Unavailable(f"{capability} come with a later version")


def refuse_purpose(purpose: object | None) -> None:
    """UNAVAILABLE for an answer by purpose."""
    if purpose is not None:
        raise Unavailable("answers for a purpose come with a later version", argument="purpose")
