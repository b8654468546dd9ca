"""Tokens that somebody else gives: JSON Web Tokens of one OpenID Connect issuer, verified by its public keys.

Tokens of this service are in `bitmap_store`; where both meet is `resolvers/viewers.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from bitmap_store import Clock
from bitmap_store.errors import Invalid, Unauthenticated
from resolvers.viewers import SCOPES, Viewer
from web.keys import Keys

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those with a private key that only the issuer has. `none` proves nothing, and HS… would take a public key for one."""
TOKEN_CHARACTERS_MAX = 16_384
TOKENS_KEPT_MAX = 1_000
NAME_CHARACTERS_MAX = 200
CLAIMS = ["exp", "iss", "aud", "sub"]

Mapped = Mapping[str, frozenset[str]]
_JWT = jwt.PyJWT(
    {
        # Moments are compared below, by the clock that the service was given.
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
        "enforce_minimum_key_length": True,
    }
)


@dataclass(frozen=True, slots=True)
class Rules:
    """Which tokens are taken: whose, for whom, how signed, how wrong clocks may be, and what their claims allow.

    mapped: the scopes of each value of `claim`; where it is empty the values are scopes by their own names.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    claim: str = "scope"
    mapped: Mapped | None = None
    leeway: timedelta = timedelta(seconds=30)


class Issuer:
    """One issuer of tokens."""

    def __init__(self, rules: Rules, keys: Keys, clock: Clock) -> None:
        self._rules = rules
        self._keys = keys
        self._clock = clock
        self._known: dict[str, Viewer] = {}

    async def viewer(self, token: str) -> Viewer:
        """Who a token stands for, and until when that need not be looked at again.

        UNAUTHENTICATED with what is wrong with it; UNAVAILABLE while the keys of the issuer cannot be read.
        """
        known = self._known.get(token)
        if known is None or known.until is None or known.until <= self._clock.now():
            known = await self._verified(token)
            if len(self._known) >= TOKENS_KEPT_MAX:
                self._known.clear()
            self._known[token] = known
        return known

    async def _verified(self, token: str) -> Viewer:
        rules = self._rules
        algorithm, name = self._header(token)
        key = await self._keys.find(name)
        if key.get("alg", algorithm) != algorithm:
            raise Unauthenticated("the token is signed by another algorithm than its key is for")
        try:
            claims = _JWT.decode(
                token,
                jwt.PyJWK(key, algorithm),
                [algorithm],
                audience=rules.audience,
                issuer=rules.issuer,
                options={"require": CLAIMS},
            )
        except jwt.InvalidAudienceError:
            raise Unauthenticated("the token is for another audience") from None
        except jwt.InvalidIssuerError:
            raise Unauthenticated("the token is of another issuer") from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"the token has no {error.claim}") from None
        except jwt.InvalidSignatureError:
            raise Unauthenticated("the signature of the token is wrong") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthenticated("the token is not valid") from None
        ends = self._end(claims)
        subject = claims["sub"]
        if not 1 <= len(subject) <= NAME_CHARACTERS_MAX or not subject.isprintable():
            raise Unauthenticated("the token names nobody by 1 to 200 printable characters (sub)")
        return Viewer(f"oidc:{subject}", self._scopes(claims), min(ends, self._keys.good_until))

    def _header(self, token: str) -> tuple[str, str]:
        """By which algorithm a token says it is signed, and with which key."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise Unauthenticated(f"a token has at most {TOKEN_CHARACTERS_MAX} characters")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated("the token is neither one of this service nor a JSON Web Token") from None
        algorithm, name = header.get("alg"), header.get("kid")
        if algorithm not in self._rules.algorithms:
            raise Unauthenticated(f"a token is signed by {' or '.join(self._rules.algorithms)} here")
        if not isinstance(name, str) or not name:
            raise Unauthenticated("the token does not say which key it is signed with (kid)")
        return algorithm, name

    def _end(self, claims: Mapping[str, Any]) -> datetime:
        """When a token ends; UNAUTHENTICATED where it has ended, or has not begun."""
        now, leeway = self._clock.now().timestamp(), self._rules.leeway.total_seconds()
        moments = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
        if not all(type(moment) in (int, float) for moment in moments.values()):
            raise Unauthenticated("exp, nbf and iat of a token are numbers")
        if not now < moments["exp"] + leeway:
            raise Unauthenticated("the token has expired")
        if not max(moments.get("nbf", now), moments.get("iat", now)) - leeway <= now:
            raise Unauthenticated("the token is not valid yet")
        return datetime.fromtimestamp(min(moments["exp"] + leeway, now + 86_400), UTC)

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """What a token allows: nothing where the claim is missing or of another form."""
        found = _claim(claims, self._rules.claim)
        values = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        names = [value for value in values if isinstance(value, str)]
        if self._rules.mapped:
            return frozenset().union(*(self._rules.mapped.get(name, frozenset()) for name in names))
        return frozenset(names) & frozenset(SCOPES)


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """A claim by its name, else by the names on the way to it, with dots."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def algorithms_of(text: str) -> tuple[str, ...]:
    """The algorithms of a setting; INVALID for one that is not asymmetric."""
    names = tuple(text.split())
    wrong = [name for name in names if name not in ALGORITHMS]
    if wrong or not names:
        raise Invalid(f"{wrong[0] if wrong else 'nothing'!r} is none of {', '.join(ALGORITHMS)}")
    return names


def mapped_of(text: str) -> Mapped:
    """What values of a claim allow, of a setting such as "analysts = count members; loaders = write"."""
    found: dict[str, frozenset[str]] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        value, _, scopes = part.rpartition("=")  # a value may be an address
        wrong = sorted(set(scopes.split()) - set(SCOPES))
        if not value.strip() or not scopes.split() or wrong:
            said = f"there is no scope {wrong[0]!r}" if wrong else f"{part!r} is not value = scopes"
            raise Invalid(f"{said}; write it as in: analysts = count members; loaders = write")
        found[value.strip()] = found.get(value.strip(), frozenset()) | frozenset(scopes.split())
    return found
