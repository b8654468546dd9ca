"""Access tokens: only a digest of the secret is kept, so that the file gives nobody access."""

import hashlib
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlmodel import select

from bitmap_store.errors import Conflict, Invalid, NotFound
from bitmap_store.sqlite.writer import Transaction
from bitmap_store.tables import TokenRow
from bitmap_store.values import micros, moment_of


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """Who a token stands for, what it may do, when it was made, and from when on it is not valid any more.

    Made by the clock of the store, which tests and the demo set; ended by that of the world, which nobody does.
    """

    name: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None


def create(transaction: Transaction, name: str, scopes: Sequence[str], expires_at: datetime | None = None) -> str:
    """A new secret of 256 random bits under a name. CONFLICT for a name in use."""
    if not 1 <= len(name) <= 200 or not name.isprintable() or name != name.strip():
        raise Invalid("the name of a token has 1 to 200 printable characters")
    secret = f"tgr_{secrets.token_urlsafe(32)}"
    with transaction.session() as session:
        if session.get(TokenRow, name):
            raise Conflict(f"there is a token {name!r}; revoke it first or choose another name")
        kept = " ".join(sorted(set(scopes)))
        ends = None if expires_at is None else micros(expires_at)
        session.add(
            TokenRow(name=name, digest=_digest(secret), scopes=kept, created_at=transaction.moment, expires_at=ends)
        )
        session.flush()
    return secret


def revoke(transaction: Transaction, name: str) -> None:
    """Ends a token; NOT_FOUND where there is none."""
    with transaction.session() as session:
        row = session.get(TokenRow, name)
        if row is None:
            raise NotFound(f"there is no token {name!r}")
        session.delete(row)
        session.flush()


async def in_force(engine: AsyncEngine) -> list[TokenInfo]:
    """All tokens that were not revoked, by name; those that have ended too, as a name is in use until then."""
    async with AsyncSession(engine) as session:
        rows = await session.scalars(select(TokenRow).order_by(TokenRow.name))
        return [_told(row.name, row.scopes, row.created_at, row.expires_at) for row in rows]


def find(connection: sqlite3.Connection, secret: str) -> TokenInfo | None:
    """Who a secret stands for. Random secrets need no slow hash: there is nothing to guess."""
    found = connection.execute(
        "SELECT name, scopes, created_at, expires_at FROM token WHERE digest = ?", (_digest(secret),)
    ).fetchone()
    return _told(*found) if found else None


def _told(name: str, scopes: str, created_at: int, expires_at: int | None) -> TokenInfo:
    ends = None if expires_at is None else moment_of(expires_at)
    return TokenInfo(name, frozenset(scopes.split()), moment_of(created_at), ends)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
