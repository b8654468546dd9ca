"""The public keys of an issuer, read from where it publishes them, kept for a while, and read again when they change.

Reading is done in a thread, by one task at a time; whether a token is signed by a key is said in `issuer.py`.
"""

import asyncio
import logging
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from bitmap_store import Clock
from bitmap_store.errors import Invalid, Unauthenticated, Unavailable

FRESH = timedelta(minutes=10)
"""Keys that were read within this time are not asked for again, unless a token names one that is not among them."""
KEPT = timedelta(days=1)
"""So long keys stay good while the issuer cannot be reached."""
RETRY = timedelta(seconds=10)
"""Keys are not asked for more often, whatever tokens name: anybody can make up the name of a key."""
READ_SECONDS_MAX = 5
KEYS_BYTES_MAX = 1 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")
log = logging.getLogger("tagroar.keys")

Key = dict[str, Any]
"""A JSON Web Key."""


def check_place(place: str) -> str:
    """The place of keys; INVALID for what is no file and no address that keys may be believed from."""
    if "://" not in place:
        return place
    try:
        parts = urlsplit(place)
        if (parts.scheme == "https" and parts.hostname) or (parts.scheme == "http" and parts.hostname in LOOPBACK):
            return place
    except ValueError:
        pass
    raise Invalid("keys are read from a file or over https; over http only from this machine")


class Keys:
    """The keys at a place: a file, or an address."""

    def __init__(self, place: str, clock: Clock) -> None:
        self._place = check_place(place)
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._loaded_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._failed = False
        self._loading: asyncio.Task[None] | None = None

    @property
    def good_until(self) -> datetime:
        """Until when what was verified with these keys need not be verified again."""
        now = self._clock.now()
        return max((self._loaded_at or now) + FRESH, now + RETRY)

    async def find(self, name: str) -> Key:
        """The key with this id (`kid`).

        UNAUTHENTICATED where the issuer has none, UNAVAILABLE where that cannot be found out: the place cannot be
        read, and what was read before is too old or does not have it.
        """
        age = self._age()
        if name in self._keys and age < FRESH:
            return self._keys[name]
        loading = self._begin()
        if name in self._keys and age < KEPT:
            return self._keys[name]
        if loading is not None:
            await asyncio.shield(loading)
        if name in self._keys and self._age() < KEPT:
            return self._keys[name]
        if self._failed:
            raise Unavailable("the keys of the issuer of this token cannot be read now; try again in a moment")
        raise Unauthenticated("the token is signed with a key that its issuer does not publish")

    def _age(self) -> timedelta:
        return timedelta.max if self._loaded_at is None else self._clock.now() - self._loaded_at

    def _begin(self) -> "asyncio.Task[None] | None":
        """The reading that is under way, a new one where it is time for that, or none."""
        now = self._clock.now()
        if self._loading is None and (self._tried_at is None or now - self._tried_at >= RETRY):
            self._tried_at = now
            self._loading = asyncio.create_task(self._load())
        return self._loading

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                self._keys = _parsed(await asyncio.to_thread(_read, self._place))
            self._loaded_at = self._clock.now()
            self._failed = False
        except Exception as error:
            self._failed = True
            log.warning("the keys of the issuer cannot be read: %s", type(error).__name__)
        finally:
            self._loading = None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Keys come from the address that was given, or not at all."""

    def redirect_request(self, *_: Any) -> None:
        """None: the answer stands as it is, which is an error."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def _read(place: str) -> bytes:
    if "://" not in place:
        data = Path(place).read_bytes()
    else:
        with _OPENER.open(place, timeout=READ_SECONDS_MAX) as answer:
            data = answer.read(KEYS_BYTES_MAX + 1)
    if len(data) > KEYS_BYTES_MAX:
        raise ValueError("too many keys")
    return data


def _parsed(data: bytes) -> dict[str, Key]:
    """The keys to verify with, by their ids. A key that is shared would be a password, so it is passed over."""
    return {
        key["kid"]: key
        for key in orjson.loads(data)["keys"]
        if isinstance(key.get("kid"), str) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"
    }
