"""What the contract has and a later version brings: it answers UNAVAILABLE, and is never ignored."""

from typing import NoReturn

from bitmap_store.errors import Unavailable


def later(capability: str, *, argument: str | None = None) -> NoReturn:
    """UNAVAILABLE, with a sentence that begins with the capability (a plural)."""
    raise Unavailable(f"{capability} come with a later version", argument=argument)


def refuse_purpose(purpose: object | None) -> None:
    """UNAVAILABLE for an answer by purpose."""
    if purpose is not None:
        later("answers for a purpose", argument="purpose")
