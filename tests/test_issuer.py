"""Tokens of an issuer: keys made here, published by a server on loopback, and a clock that stands until it is set."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from bitmap_store.errors import Invalid, Unauthenticated, Unavailable
from resolvers.viewers import Viewer
from tests.worlds import StillClock
from web.issuer import ALGORITHMS, TOKEN_CHARACTERS_MAX, Issuer, Rules, algorithms_of, mapped_of
from web.keys import FRESH, KEPT, KEYS_BYTES_MAX, RETRY, Keys, check_place

pytestmark = pytest.mark.anyio
ISSUER, AUDIENCE = "https://login.example", "tagroar"
RSA = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("one", "two")}
CURVE = ec.generate_private_key(ec.SECP256R1())


def published(name: str, **more: Any) -> dict[str, Any]:
    """The public half of a key, as an issuer publishes it."""
    if name == "curve":
        return {**ECAlgorithm.to_jwk(CURVE.public_key(), as_dict=True), "kid": name, **more}
    return {**RSAAlgorithm.to_jwk(RSA[name].public_key(), as_dict=True), "kid": name, **more}


class Publisher:
    """An issuer's server. `answer` makes the body of its next answers, or raises for a failure."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.body = b""
        self.release = threading.Event()
        self.release.set()
        outer = self

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.release.wait(20)
                self.send_response(outer.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.place = f"http://127.0.0.1:{self._server.server_port}/keys"

    def publish(self, *keys: dict[str, Any]) -> None:
        self.body = json.dumps({"keys": keys}).encode()

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    found = Publisher()
    found.publish(published("one"), published("curve"))
    yield found
    found.close()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


def issuer_at(place: str, clock: StillClock, **rules: Any) -> Issuer:
    return Issuer(Rules(ISSUER, AUDIENCE, **rules), Keys(place, clock), clock)


@pytest.fixture
def issuer(publisher: Publisher, clock: StillClock) -> Issuer:
    return issuer_at(publisher.place, clock)


def claims(clock: StillClock, **changed: Any) -> dict[str, Any]:
    """What a good token says; None takes a claim out."""
    now = int(clock.now().timestamp())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 3600, "scope": "count members"}
    return {name: value for name, value in (good | changed).items() if value is not None}


def signed(said: dict[str, Any], key: str | None = "one", algorithm: str = "RS256", secret: Any = None) -> str:
    private = secret or (CURVE if key == "curve" else RSA.get(key or "one"))
    return jwt.encode(said, private, algorithm, headers={"kid": key} if key else None)


@pytest.mark.parametrize(("key", "algorithm"), [("one", "RS256"), ("curve", "ES256")])
async def test_a_good_token_says_who_asks(issuer: Issuer, clock: StillClock, key: str, algorithm: str) -> None:
    viewer = await issuer.viewer(signed(claims(clock), key, algorithm))
    assert (viewer.name, viewer.scopes) == ("oidc:ann", {"count", "members"})
    assert viewer.until == clock.now() + FRESH


def plain(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def by_public_key(said: dict[str, Any]) -> str:
    """Signed with the text of the public key as if it were a shared secret."""
    public = RSA["one"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body = plain({"alg": "HS256", "kid": "one"}), plain(said)
    digest = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(f"{head}.{body}".encode(), public)
    return f"{head}.{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def changed_after(said: dict[str, Any]) -> str:
    """Signed for somebody, then written anew."""
    head, _, signature = signed(said).split(".")
    return f"{head}.{plain(said | {'scope': 'admin'})}.{signature}"


WRONG: list[tuple[str, Callable[[StillClock], str], str]] = [
    ("expired", lambda clock: signed(claims(clock, exp=int(clock.now().timestamp()) - 31)), "has expired"),
    ("not yet", lambda clock: signed(claims(clock, nbf=int(clock.now().timestamp()) + 31)), "not valid yet"),
    ("made later", lambda clock: signed(claims(clock, iat=int(clock.now().timestamp()) + 31)), "not valid yet"),
    ("endless", lambda clock: signed(claims(clock, exp=None)), "has no exp"),
    ("odd end", lambda clock: signed(claims(clock, exp="tomorrow")), "are numbers"),
    ("true end", lambda clock: signed(claims(clock, exp=True)), "are numbers"),
    ("no number", lambda clock: signed(claims(clock, exp=float("nan"))), "has expired"),
    ("audience", lambda clock: signed(claims(clock, aud="other")), "another audience"),
    ("audiences", lambda clock: signed(claims(clock, aud=["a", "b"])), "another audience"),
    ("no audience", lambda clock: signed(claims(clock, aud=None)), "has no aud"),
    ("issuer", lambda clock: signed(claims(clock, iss=f"{ISSUER}/")), "another issuer"),
    ("no issuer", lambda clock: signed(claims(clock, iss=None)), "has no iss"),
    ("nobody", lambda clock: signed(claims(clock, sub=None)), "has no sub"),
    ("empty name", lambda clock: signed(claims(clock, sub="")), "names nobody"),
    ("odd name", lambda clock: signed(claims(clock, sub="a\nb")), "names nobody"),
    ("no kid", lambda clock: signed(claims(clock), None), "which key"),
    ("other key", lambda clock: signed(claims(clock), "one", secret=RSA["two"]), "signature"),
    ("unknown key", lambda clock: signed(claims(clock), "two"), "does not publish"),
    ("changed", lambda clock: changed_after(claims(clock)), "signature"),
    ("none", lambda clock: jwt.encode(claims(clock), None, "none", headers={"kid": "one"}), "signed by RS256"),
    ("none of its own", lambda clock: f"{plain({'alg': 'none', 'kid': 'one'})}.{plain(claims(clock))}.", "signed by"),
    ("public key as a secret", lambda clock: by_public_key(claims(clock)), "signed by RS256"),
    ("another algorithm", lambda clock: signed(claims(clock), "one", "PS256"), "signed by RS256 or ES256"),
    ("algorithm of another key", lambda clock: signed(claims(clock), "one", "ES256", CURVE), "not valid"),
    ("no token", lambda clock: "a.b.c", "JSON Web Token"),
    ("odd algorithm", lambda clock: f"{plain({'alg': ['RS256'], 'kid': 'one'})}.{plain({})}.", "signed by"),
    ("odd kid", lambda clock: f"{plain({'alg': 'RS256', 'kid': {}})}.{plain({})}.", "token"),
    ("critical", lambda clock: f"{plain({'alg': 'RS256', 'kid': 'one', 'crit': ['x'], 'x': 1})}.{plain({})}.", "token"),
    ("deep", lambda clock: f"{base64.urlsafe_b64encode(b'[' * 9000).decode()}.{plain({})}.x", "token"),
    ("long", lambda clock: "x" * TOKEN_CHARACTERS_MAX + ".y.z", "at most"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "sentence"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
async def test_a_wrong_token_is_refused_with_a_sentence(
    issuer: Issuer, clock: StillClock, made: Callable[[StillClock], str], sentence: str
) -> None:
    with pytest.raises(Unauthenticated, match=sentence):
        await issuer.viewer(made(clock))


async def test_clocks_may_differ_a_little(issuer: Issuer, clock: StillClock) -> None:
    now = int(clock.now().timestamp())
    token = signed(claims(clock, exp=now - 29, nbf=now + 29, iat=now + 29))
    assert (await issuer.viewer(token)).until == clock.now() + timedelta(seconds=1)
    clock.tick(seconds=1)
    with pytest.raises(Unauthenticated, match="has expired"):
        await issuer.viewer(token)


@pytest.mark.parametrize(
    ("rules", "said", "scopes"),
    [
        ({}, {"scope": "count openid write profile"}, {"count", "write"}),
        ({}, {"scope": ["count", 3, None, "admin"]}, {"count", "admin"}),
        ({}, {"scope": None}, set()),
        ({}, {"scope": {"count": True}}, set()),
        ({"claim": "realm.roles"}, {"realm": {"roles": ["count"]}}, {"count"}),
        ({"claim": "realm.roles"}, {"realm": "count"}, set()),
        ({"claim": "https://x.example/r"}, {"https://x.example/r": "define"}, {"define"}),
        ({"mapped": mapped_of("analysts = count members; a=b=write ")}, {"scope": "analysts a=b admin"},
         {"count", "members", "write"}),
    ],
)  # fmt: skip
async def test_a_claim_says_what_may_be_done(
    publisher: Publisher, clock: StillClock, rules: dict[str, Any], said: dict[str, Any], scopes: set[str]
) -> None:
    issuer = issuer_at(publisher.place, clock, **rules)
    assert (await issuer.viewer(signed(claims(clock, **said)))).scopes == scopes


async def test_a_new_key_is_found_and_an_old_one_ends(issuer: Issuer, publisher: Publisher, clock: StillClock) -> None:
    old, new = signed(claims(clock)), signed(claims(clock), "two")
    await issuer.viewer(old)
    clock.tick(seconds=11)
    publisher.publish(published("two"))
    assert (await issuer.viewer(new)).name == "oidc:ann"
    assert publisher.asked == 2
    clock.tick(seconds=1)
    assert (await issuer.viewer(old)).name == "oidc:ann", "verified a moment ago"
    clock.tick(minutes=10)
    with pytest.raises(Unauthenticated, match="does not publish"):
        await issuer.viewer(old)


async def test_made_up_names_of_keys_make_no_traffic(issuer: Issuer, publisher: Publisher, clock: StillClock) -> None:
    for number in range(20):
        with pytest.raises(Unauthenticated, match="does not publish"):
            await issuer.viewer(signed(claims(clock), f"made-up-{number}", secret=RSA["one"]))
    assert publisher.asked == 1
    clock.tick(seconds=RETRY.total_seconds())
    with pytest.raises(Unauthenticated):
        await issuer.viewer(signed(claims(clock), "made-up", secret=RSA["one"]))
    assert publisher.asked == 2


async def test_many_at_once_ask_once_and_hold_nobody_back(
    issuer: Issuer, publisher: Publisher, clock: StillClock
) -> None:
    publisher.release.clear()
    waiting = [asyncio.create_task(issuer.viewer(signed(claims(clock, sub=f"u{i}")))) for i in range(10)]
    for _ in range(5):
        await asyncio.sleep(0)  # the loop goes round while the keys are not there
    assert not any(task.done() for task in waiting)
    publisher.release.set()
    assert [(await task).name for task in waiting] == [f"oidc:u{i}" for i in range(10)]
    assert publisher.asked == 1


def broken(publisher: Publisher) -> None:
    publisher.status = 503


def moved(publisher: Publisher) -> None:
    publisher.status = 302


def nonsense(publisher: Publisher) -> None:
    publisher.body = b'{"keys": 3}'


def endless(publisher: Publisher) -> None:
    publisher.body = b" " * (KEYS_BYTES_MAX + 1)


@pytest.mark.parametrize("breaks", [broken, moved, nonsense, endless])
async def test_an_outage_is_outlived_for_a_while(
    issuer: Issuer, publisher: Publisher, clock: StillClock, breaks: Callable[[Publisher], None]
) -> None:
    good = publisher.body
    await issuer.viewer(signed(claims(clock)))
    breaks(publisher)
    clock.tick(seconds=FRESH.total_seconds() + 1)
    for number in range(3):
        assert (await issuer.viewer(signed(claims(clock, sub=f"u{number}")))).name == f"oidc:u{number}"
    while issuer._keys._loading is not None:
        await asyncio.gather(issuer._keys._loading)
    with pytest.raises(Unavailable):  # nobody can say whether there is such a key
        await issuer.viewer(signed(claims(clock), "two"))
    clock.tick(seconds=KEPT.total_seconds())
    with pytest.raises(Unavailable):
        await issuer.viewer(signed(claims(clock)))
    publisher.status, publisher.body = 200, good
    with pytest.raises(Unavailable):
        await issuer.viewer(signed(claims(clock)))
    clock.tick(seconds=RETRY.total_seconds())
    assert (await issuer.viewer(signed(claims(clock)))).name == "oidc:ann"


async def test_no_keys_at_the_start_are_unavailable(clock: StillClock, tmp_path: Path) -> None:
    issuer = issuer_at(str(tmp_path / "keys.json"), clock)
    with pytest.raises(Unavailable, match="try again"):
        await issuer.viewer(signed(claims(clock)))
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [published("one")]}))
    clock.tick(seconds=10)
    assert await issuer.viewer(signed(claims(clock))) == Viewer(
        "oidc:ann", frozenset({"count", "members"}), clock.now() + FRESH
    )


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ({"use": "enc"}, "does not publish"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "does not publish"),
        ({"kid": 3}, "does not publish"),
        ({"alg": "RS512"}, "another algorithm"),
        ({"n": "AQAB"}, "not valid"),
        ({"n": "!"}, "not valid"),
    ],
)
async def test_keys_that_are_none_verify_nothing(
    issuer: Issuer, publisher: Publisher, clock: StillClock, key: dict[str, Any], sentence: str
) -> None:
    publisher.publish(published("one", **key))
    with pytest.raises(Unauthenticated, match=sentence):
        await issuer.viewer(signed(claims(clock)))


def test_settings_that_would_let_others_in_are_refused() -> None:
    for name in ("none", "HS256", "RS256 HS256", "", "rs256"):
        with pytest.raises(Invalid):
            algorithms_of(name)
    assert algorithms_of(" ".join(ALGORITHMS)) == ALGORITHMS
    for text in ("analysts", "analysts = everything", "= count", "a ="):
        with pytest.raises(Invalid):
            mapped_of(text)
    for place in (
        "http://login.example/keys",
        "ftp://login.example/keys",
        "file:///etc/passwd",
        "https://",
        "http://[",
    ):
        with pytest.raises(Invalid):
            check_place(place)
    assert check_place("https://login.example/keys") and check_place("keys.json") and check_place("http://[::1]:8/k")
