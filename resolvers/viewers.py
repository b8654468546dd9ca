"""Who asks, and what they may do. Tokens themselves are in `bitmap_store`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bitmap_store import Store
from bitmap_store.errors import Forbidden, Unauthenticated

SCOPES = ("count", "members", "write", "define", "admin")
"""What a token can be given. None implies another."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who asks, with the scopes of their token, and until when that holds without a look at it."""

    name: str
    scopes: frozenset[str]
    until: datetime | None = None

    def require(self, *any_of: str) -> None:
        """FORBIDDEN unless the viewer has one of these scopes."""
        if self.scopes.isdisjoint(any_of):
            raise Forbidden(f"this needs a token with the scope {' or '.join(map(repr, any_of))}")


DEMO = Viewer("demo", frozenset(SCOPES))
"""Whoever asks a service that is open to anyone."""


class Issuer(Protocol):
    """Somebody else whose tokens are taken."""

    async def viewer(self, token: str) -> Viewer:
        """Who a token stands for; UNAUTHENTICATED where it is not valid."""


async def authenticate(
    store: Store, authorization: str | None, now: datetime, *, open_to_anyone: bool, issuer: Issuer | None = None
) -> Viewer:
    """The viewer of an `Authorization: Bearer …` header; UNAUTHENTICATED without a valid token.

    A service that is open to anyone takes a request without a header as the demo viewer; a wrong token is
    refused there too. now: by the clock of the world, whatever that of the store says.
    """
    if authorization is None and open_to_anyone:
        return DEMO
    if authorization is None:
        raise Unauthenticated("this needs a token: send the header Authorization: Bearer …")
    method, _, secret = authorization.partition(" ")
    secret = secret.strip()
    if method.lower() != "bearer":
        raise Unauthenticated("the token is not valid: send it as Authorization: Bearer …")
    if issuer is not None and secret.count(".") == 2:  # which no token of this service has
        return await issuer.viewer(secret)
    found = await store.token(secret)
    if found is None:
        raise Unauthenticated("the token is not valid")
    if found.expires_at is not None and found.expires_at <= now:
        raise Unauthenticated("the token has expired")
    return Viewer(found.name, found.scopes, found.expires_at)
