"""Who asks, and what they may do. Tokens themselves are in `bitmap_store`."""

from dataclasses import dataclass

from bitmap_store import Store
from bitmap_store.errors import Forbidden, Unauthenticated

SCOPES = ("count", "members", "write", "define", "admin")
"""What a token can be given. None implies another."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who asks, with the scopes of their token."""

    name: str
    scopes: frozenset[str]

    def require(self, *any_of: str) -> None:
        """FORBIDDEN unless the viewer has one of these scopes."""
        if self.scopes.isdisjoint(any_of):
            raise Forbidden(f"this needs a token with the scope {' or '.join(map(repr, any_of))}")


DEMO = Viewer("demo", frozenset(SCOPES))
"""Whoever asks a service that is open to anyone."""


async def authenticate(store: Store, authorization: str | None, *, open_to_anyone: bool) -> Viewer:
    """The viewer of an `Authorization: Bearer …` header; UNAUTHENTICATED without a valid token.

    A service that is open to anyone takes a request without a header as the demo viewer; a wrong token is
    refused there too.
    """
    if authorization is None and open_to_anyone:
        return DEMO
    if authorization is None:
        raise Unauthenticated("this needs a token: send the header Authorization: Bearer …")
    method, _, secret = authorization.partition(" ")
    found = await store.token(secret.strip()) if method.lower() == "bearer" else None
    if found is None:
        raise Unauthenticated("the token is not valid")
    return Viewer(found.name, found.scopes)
