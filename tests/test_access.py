"""Nobody gets in without a token, and nobody further than its scopes: every route, every root field, every way to ask.

Both tables are compared with the application and the schema, so what is new needs its entry here.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Mount, Route, WebSocketRoute

from bitmap_store.errors import Unauthenticated
from bitmap_store.sqlite.engine import SqliteStore
from bitmap_store.sqlite.settings import StoreSettings
from resolvers import ids
from resolvers.viewers import SCOPES, Viewer
from schema.served import SCHEMA
from tests.api import Api, shop
from tests.worlds import StillClock
from web.app import create_app
from web.service import Service

SECONDS_MAX = 10
TAG, SAVED, CATEGORY = ids.encode("Tag", "vip"), ids.encode("SavedAudience", "best"), ids.encode("Category", "shop")
PROFILE = ids.encode("Profile", "user", "u1", None)
AUDIENCE = ids.encode("Audience", "user", "vip", None)
VIP = 'where: {text: "vip"}'
MEASURED = (
    'parts: [{name: "a", where: {text: "vip"}}, {name: "b", where: {text: "not vip"}}], control: "b", '
    'outcome: {text: "rich"}'
)
ANY = frozenset(SCOPES)
JOBS = frozenset({"write", "admin"})


@dataclass(frozen=True)
class Asked:
    """A field as it is asked, the scopes of which one is enough, and the code that it then has, if any."""

    text: str
    enough: frozenset[str]
    code: str | None = None


def asked(text: str, *enough: str, code: str | None = None) -> Asked:
    return Asked(text, frozenset(enough), code)


LATER = "UNAVAILABLE"
FIELDS: dict[str, list[Asked]] = {
    "Query.node": [
        asked(f'node(id: "{TAG}") {{ id }}', "count"),
        asked(f'node(id: "{CATEGORY}") {{ id }}', "count"),
        asked(f'node(id: "{SAVED}") {{ id }}', "count"),
        asked(f'node(id: "{AUDIENCE}") {{ id }}', "count", "members"),
        asked(f'node(id: "{PROFILE}") {{ id }}', "members"),
    ],
    "Query.viewer": [asked("viewer { name scopes }", *SCOPES)],
    "Query.entities": [asked("entities { key count }", "count")],
    "Query.profile": [
        asked('profile(by: {userId: "u1"}) { userId tags { tag { key } } }', "members"),
        asked(f'profile(by: {{userId: "u1"}}) {{ why({VIP}) {{ holds }} nearest({VIP}) {{ holds }} }}', "members"),
    ],
    "Query.profiles": [asked('profiles(by: [{userId: "u1"}]) { userId }', "members")],
    "Query.tag": [asked('tag(key: "vip") { key size }', "count")],
    "Query.tags": [asked("tags { totalCount }", "count")],
    "Query.categories": [asked("categories { key }", "count")],
    "Query.audience": [
        asked(f"audience({VIP}) {{ text }}", "count", "members"),
        asked(f"audience({VIP}) {{ size share }}", "count"),
        asked(f"audience({VIP}) {{ members {{ edges {{ node {{ userId }} }} }} }}", "members"),
        asked(f'audience({VIP}) {{ contains(users: ["u1"]) }}', "members"),
        asked(f'audience({VIP}) {{ breakdown(by: [{{tag: "city"}}]) {{ size }} }}', "count"),
        asked(f"audience({VIP}) {{ portrait {{ known }} }}", "count"),
        asked(f"audience({VIP}) {{ explain {{ nodes {{ size }} }} }}", "count"),
        asked(f"audience({VIP}) {{ differentiators {{ tgi numbers {{ medians {{ median }} }} }} }}", "count"),
        asked(f'audience({VIP}) {{ numbers(tag: "spend") {{ sum }} }}', "count"),
        asked(f"audience({VIP}) {{ sentence }}", "count", "members"),
        asked(f"audience({VIP}) {{ explain {{ findings {{ kind }} }} goalSeek(size: 3) {{ size }} }}", "count"),
        asked(f"audience({VIP}) {{ portrait {{ sentence }} }}", "count"),
        asked(
            f'audience({VIP}) {{ split(parts: [{{name: "a", share: 0.5}}], seed: "s", exact: true) {{ name }} }}',
            "count",
        ),
        asked(f'audience({VIP}) {{ partition(by: {{tags: ["city"]}}) {{ size share }} }}', "count"),
        asked(f'audience({VIP}) {{ association(tags: ["city", "likes"]) {{ lift }} }}', "count"),
        asked(f"audience({VIP}) {{ lookalike(size: 1) {{ reasons {{ weight }} auc }} }}", "count"),
        asked(f"audience({VIP}) {{ lookalike(size: 1) {{ best {{ score }} }} }}", "members"),
        asked(f'audience({VIP}) {{ lookalike(size: 1) {{ scores(users: ["u1"]) {{ score }} }} }}', "members"),
        asked(f"audience({VIP}) {{ persona {{ values {{ share }} }} }}", "count"),
        asked(f"audience({VIP}) {{ persona {{ exemplars {{ values {{ share }} }} }} }}", "members"),
        asked('audience(where: {users: {ids: ["u1"]}}) { text }', "members"),
        asked("audience(where: {text: \"users('u1')\"}) { text }".replace("'", '\\"'), "members"),
    ],
    "Query.effects": [asked(f"effects({MEASURED}) {{ control {{ rate }} }}", "count")],
    "Query.experiment": [
        asked('experiment(key: "none") { key }', "count"),
    ],
    "Query.experiments": [asked("experiments { totalCount }", "count")],
    "Query.sampleSize": [asked("sampleSize(baseline: 0.1, effect: 0.01) { total }", "count")],
    "Query.minimumDetectableEffect": [
        asked("minimumDetectableEffect(baseline: 0.1, control: 9, treated: 9) { increase }", "count")
    ],
    "Query.audiences": [asked('audiences(where: [{text: "vip"}]) { size }', "count")],
    "Query.savedAudience": [asked('savedAudience(key: "best") { key }', "count")],
    "Query.savedAudiences": [asked("savedAudiences { totalCount }", "count")],
    "Query.memberships": [asked('memberships(users: ["u1"], in: [{text: "vip"}])', "members")],
    "Query.compare": [
        asked('compare(audiences: [{text: "vip"}, {text: "city"}]) { sizes regions { size } }', "count"),
        asked('compare(audiences: [{text: "vip"}]) { differentiators { size } }', "count"),
    ],
    "Query.job": [asked('job(id: "none") { id }', *JOBS)],
    "Query.jobs": [asked("jobs { totalCount }", *JOBS)],
    "Query.catalogHealth": [asked("catalogHealth { __typename }", "count", code=LATER)],
    "Mutation.defineEntity": [asked('defineEntity(key: "user") { key }', "define")],
    "Mutation.defineCategory": [asked('defineCategory(key: "shop") { key }', "define")],
    "Mutation.defineRelation": [asked('defineRelation(key: "a", from: "user", to: "user")', "define", code=LATER)],
    "Mutation.defineTag": [asked('defineTag(input: {key: "new"}) { key }', "define")],
    "Mutation.updateTag": [asked('updateTag(key: "city", input: {name: "City"}) { key }', "define")],
    "Mutation.deleteTag": [asked('deleteTag(key: "nothing") { changed }', "define", code="NOT_FOUND")],
    "Mutation.changeTagState": [asked('changeTagState(key: "vip", to: ACTIVE) { key }', "define", code=LATER)],
    "Mutation.assignTags": [asked('assignTags(input: [{user: "u1", tag: "vip"}]) { changed }', "write")],
    "Mutation.removeTags": [asked('removeTags(input: [{user: "u9", tag: "vip"}]) { changed }', "write")],
    "Mutation.upsertProfiles": [asked('upsertProfiles(input: [{userId: "u1"}]) { changed }', "write")],
    "Mutation.recordEvents": [
        asked('recordEvents(input: [{user: "u1", tag: "buy", at: "2026-11-01T00:00:00Z"}]) { changed }', "write")
    ],
    "Mutation.saveAudience": [asked(f'saveAudience(input: {{key: "own", {VIP}}}) {{ key }}', "define")],
    "Mutation.deleteAudience": [asked('deleteAudience(key: "nothing") { changed }', "define", code="NOT_FOUND")],
    "Mutation.defineExperiment": [
        asked(f'defineExperiment(input: {{key: "e", {VIP}, parts: [{{name: "a", share: 0.5}}]}}) {{ key }}', "define")
    ],
    "Mutation.endExperiment": [asked('endExperiment(key: "nothing") { key }', "define", code="NOT_FOUND")],
    "Mutation.deleteExperiment": [asked('deleteExperiment(key: "nothing") { changed }', "define", code="NOT_FOUND")],
    "Mutation.snapshotAudience": [asked('snapshotAudience(key: "best") { __typename }', "define", code=LATER)],
    "Mutation.linkIdentifier": [
        asked('linkIdentifier(userId: "u1", identifier: {kind: "k", value: "v"}) { userId }', "write")
    ],
    "Mutation.mergeProfiles": [asked('mergeProfiles(from: "u1", into: "u2") { __typename }', "write", code=LATER)],
    "Mutation.undoMerge": [asked('undoMerge(id: "x") { changed }', "write", code=LATER)],
    "Mutation.eraseProfiles": [asked('eraseProfiles(users: ["u1"]) { changed }', "admin", code=LATER)],
    "Mutation.cancelJob": [asked('cancelJob(id: "none") { id }', *JOBS, code="NOT_FOUND")],
    "Subscription.audienceSize": [asked(f"audienceSize({VIP}) {{ size }}", "count", code=LATER)],
    "Subscription.audienceChanges": [asked('audienceChanges(key: "best") { cursor }', "members", code=LATER)],
    "Subscription.jobProgress": [asked('jobProgress(id: "none") { id }', *JOBS, code="NOT_FOUND")],
    "Subscription.dataVersion": [asked("dataVersion", "count", "members", "write")],
}
NEEDS_NO_SCOPE = {"Query.viewer"}
"""Whoever has a token may ask what it is good for."""


@dataclass(frozen=True)
class Way:
    """A route as it is asked; `enough` is one set of scopes for each that is needed, and none at all for the public."""

    method: str
    url: str
    enough: tuple[frozenset[str], ...] | None
    body: str | None = None
    status: int = 200


CSV = "user,tag\nu1,vip\n"
MEMBERS, WRITE, DEFINE = frozenset({"members"}), frozenset({"write"}), frozenset({"define"})
QUERY = '{"query": "{ viewer { name } }"}'
ROUTES: dict[str, list[Way]] = {
    "GET /": [Way("GET", "/", None)],
    "GET /demo/queries.graphql": [Way("GET", "/demo/queries.graphql", None, status=204)],
    "GET /healthz": [Way("GET", "/healthz", None)],
    "GET /readyz": [Way("GET", "/readyz", None)],
    "/static": [Way("GET", "/static/nothing", None, status=404)],
    "GET /graphql": [Way("GET", "/graphql?query={viewer{name}}", ())],
    "POST /graphql": [Way("POST", "/graphql", (), QUERY)],
    "POST /import/{kind}": [
        Way("POST", "/import/memberships?wait=1", (WRITE,), CSV),
        Way("POST", "/import/memberships?wait=1&define=1", (WRITE, DEFINE), CSV),
        Way("POST", "/import/profiles?wait=1", (WRITE,), "user\nu1\n"),
        Way("POST", "/import/relations", (WRITE,), CSV, 503),
        Way("POST", "/import/nothing", (WRITE,), CSV, 404),
    ],
    "GET /export/audience": [Way("GET", f"/export/audience?text=vip&format={kind}", (MEMBERS,)) for kind in
                             ("csv", "parquet", "roaring")],
    "POST /export/audience": [Way("POST", "/export/audience", (MEMBERS,), '{"text": "vip"}')],
    "GET /export/ids": [Way("GET", "/export/ids", (MEMBERS,))],
    "GET /jobs/{id}/rejections": [Way("GET", "/jobs/none/rejections", (JOBS,), status=404)],
    "GET /metrics": [Way("GET", "/metrics", (frozenset({"admin"}),))],
}  # fmt: skip


class NobodysScopes:
    """An issuer whose tokens are good for nothing."""

    async def viewer(self, token: str) -> Viewer:
        if token != "a.b.c":
            raise Unauthenticated("the token is not valid")
        return Viewer("oidc:nobody", frozenset())


class Whole:
    """The whole application over a shop, with tokens of every kind; each way to ask gives the codes of its errors."""

    def __init__(self, api: Api, changed: Callable[[Service], Service] = lambda service: service) -> None:
        self.run = api.world.run
        self._world = api.world
        self.clock = StillClock(datetime(2026, 11, 22, tzinfo=UTC))
        store = api.world.store
        plain = Service(
            store, False, api.service.incoming, issuer=NobodysScopes(), clock=self.clock, answer_cache_bytes_max=1 << 20
        )
        self.service = changed(plain)
        self.app: Any = create_app(lambda: self.service)
        self._lifespan = self.app.router.lifespan_context(self.app)
        self.run(self._lifespan.__aenter__())
        self.only = {scope: self.token(f"only-{scope}", [scope]) for scope in SCOPES}
        self.all_but = {
            lacking: self.token("all-but-" + "-".join(sorted(lacking)), sorted(ANY - lacking))
            for lacking in {each.enough for some in FIELDS.values() for each in some} - {ANY}
        }
        revoked = self.token("revoked", SCOPES)
        self.run(store.revoke_token("revoked"))
        expired = self.run(store.create_token("expired", SCOPES, self.clock.now()))
        # Everything that is no token, as the header says it.
        self.strangers: list[str | None] = [
            None, "", "Bearer", f"Bearer {revoked}", f"Bearer {expired}", "Bearer tgr_made-up", "Bearer x.y.z",
            "Basic eDp5", self.only["admin"], f"Token {self.only['admin']}", "Bearer null",
        ]  # fmt: skip
        self.nobody = "a.b.c"
        self.asked = 0
        self._made = 0

    def token(self, name: str, scopes: Sequence[str]) -> str:
        return str(self.run(self._world.store.create_token(name, list(scopes))))

    def new_token(self, scopes: Iterable[str]) -> str:
        self._made += 1
        return self.token(f"made-{self._made}", sorted(scopes))

    def close(self) -> None:
        self.run(self._lifespan.__aexit__(None, None, None))
        self._world._runner.close()

    # ------------------------------------------------------------ ways to ask

    def http(
        self, method: str, url: str, authorization: str | None, body: Any = None, *headers: tuple[str, str]
    ) -> tuple[int, bytes]:
        """Status and body of a request; of one that goes on, what it says first."""
        self.asked += 1
        return self.run(asyncio.wait_for(self._http(method, url, authorization, body, headers), SECONDS_MAX))

    async def _http(
        self, method: str, url: str, authorization: str | None, body: Any, headers: Sequence[tuple[str, str]]
    ) -> tuple[int, bytes]:
        kind = "application/json" if body is None or str(body)[:1] in "{[" else "text/csv"
        sent = [("host", "tagroar"), ("content-type", kind), *headers]
        sent += [] if authorization is None else [("authorization", authorization)]
        path, _, query = url.partition("?")
        told: asyncio.Queue[Any] = asyncio.Queue()
        waiting: asyncio.Queue[Any] = asyncio.Queue()
        waiting.put_nowait({"type": "http.request", "body": (body or "").encode(), "more_body": False})
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": "",
            "scheme": "http", "query_string": query.encode(),
            "headers": [(a.encode(), b.encode("latin-1")) for a, b in sent],
            "client": ("127.0.0.1", 5), "server": ("tagroar", 80), "http_version": "1.1", "asgi": {"version": "3.0"},
        }  # fmt: skip
        serving = asyncio.create_task(self.app(scope, waiting.get, told.put))
        status, answer = 0, b""
        try:
            while True:
                message = await told.get()
                status = message.get("status", status)
                answer += message.get("body", b"")
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    return status, answer
                if b"event: next" in answer and "subscription" in body:  # which would tell for ever
                    return status, answer
        finally:
            waiting.put_nowait({"type": "http.disconnect"})
            await serving

    def post(self, document: str, authorization: str | None) -> set[str]:
        return codes_of(*self.http("POST", "/graphql", authorization, json.dumps({"query": document})))

    def with_variables(self, document: str, authorization: str | None) -> set[str]:
        """As an operation among others, of which one is chosen."""
        named = f"query Other {{ viewer {{ name }} }} {document.replace(' {', ' Named {', 1)}"
        body = {"query": named, "operationName": "Named", "variables": {"a": 1}}
        accept = ("accept", "application/graphql-response+json")
        return codes_of(*self.http("POST", "/graphql", authorization, json.dumps(body), accept))

    def by_get(self, document: str, authorization: str | None) -> set[str]:
        return codes_of(*self.http("GET", f"/graphql?query={document}".replace("+", "%2B"), authorization))

    def in_an_array(self, document: str, authorization: str | None) -> set[str]:
        body = json.dumps([{"query": "{ viewer { name } }"}, {"query": document}, {"query": document}])
        return codes_of(*self.http("POST", "/graphql", authorization, body))

    def by_hash(self, document: str, authorization: str | None) -> set[str]:
        """A document that somebody who may has sent before, by its hash alone."""
        mark = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(document.encode()).hexdigest()}}
        known = {"query": document, "extensions": mark}
        self.http("POST", "/graphql", f"Bearer {self.only['admin']}", json.dumps(known))
        return codes_of(*self.http("POST", "/graphql", authorization, json.dumps({"extensions": mark})))

    def by_events(self, document: str, authorization: str | None) -> set[str]:
        accept = ("accept", "text/event-stream")
        return codes_of(*self.http("POST", "/graphql", authorization, json.dumps({"query": document}), accept))

    def by_socket(self, document: str, authorization: str | None) -> set[str]:
        self.asked += 1
        return self.run(asyncio.wait_for(self._socket(document, authorization), SECONDS_MAX))

    async def _socket(self, document: str, authorization: str | None) -> set[str]:
        payload = {} if authorization is None else {"authorization": authorization}
        sent = [
            {"type": "connection_init", "payload": payload},
            {"type": "subscribe", "id": "1", "payload": {"query": document}},
        ]
        scope = {
            "type": "websocket", "path": "/graphql", "query_string": b"", "headers": [(b"host", b"tagroar")],
            "subprotocols": ["graphql-transport-ws"], "root_path": "",
        }  # fmt: skip
        waiting: asyncio.Queue[Any] = asyncio.Queue()
        told: asyncio.Queue[Any] = asyncio.Queue()
        waiting.put_nowait({"type": "websocket.connect"})
        for each in sent:
            waiting.put_nowait({"type": "websocket.receive", "text": json.dumps(each)})
        serving = asyncio.create_task(self.app(scope, waiting.get, told.put))
        try:
            while True:
                message = await told.get()
                if message["type"] == "websocket.close":
                    assert message["code"] == 4403, "closed for another reason"
                    return {"UNAUTHENTICATED"}
                said = json.loads(message.get("text") or "{}")
                if said.get("type") == "error":
                    return codes_in(said["payload"])
                if said.get("type") == "next":
                    return codes_in(said["payload"].get("errors", []))
        finally:
            waiting.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await asyncio.wait_for(serving, SECONDS_MAX)


def codes_in(errors: list[dict[str, Any]]) -> set[str]:
    return {error["extensions"]["code"] for error in errors}


def codes_of(status: int, body: bytes) -> set[str]:
    """The codes of all errors of an answer, in JSON or in events."""
    assert status < 500, body
    events = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: {")]
    found = [json.loads(event) for event in events] or json.loads(body)
    codes = {
        code for each in (found if isinstance(found, list) else [found]) for code in codes_in(each.get("errors", []))
    }
    assert (status == 401) == ("UNAUTHENTICATED" in codes)
    return codes


@pytest.fixture(scope="module")
def whole(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    api = shop(empty_store, tmp_path_factory.mktemp("access") / "store")
    found = Whole(api)
    yield found
    print(f"\n{found.asked:,} requests")
    found.close()


def documents_of(kind: str, text: str) -> list[str]:
    """A field asked plainly, by other names, and in fragments of both kinds, one in the other."""
    root, condition = kind.capitalize(), "" if kind == "subscription" else "@include(if: true)"
    twice = f"{kind} {{ one: {text} two: {text} }}" if kind != "subscription" else f"{kind} {{ one: {text} }}"
    return [
        f"{kind} {{ {text} }}",
        twice,
        f"{kind} {{ ...Outer }} fragment Outer on {root} {{ ...Inner }} fragment Inner on {root} {{ other: {text} }}",
        f"{kind} {{ ... on {root} {condition} {{ ... {{ {text} }} }} }}",
    ]


WAYS: dict[str, list[Callable[[Whole, str, str | None], set[str]]]] = {
    "query": [Whole.post, Whole.with_variables, Whole.by_get, Whole.in_an_array, Whole.by_hash, Whole.by_events,
              Whole.by_socket],
    "mutation": [Whole.post, Whole.with_variables, Whole.in_an_array, Whole.by_hash, Whole.by_events, Whole.by_socket],
    "subscription": [Whole.by_events, Whole.by_socket],
}  # fmt: skip


def test_every_root_field_has_an_entry() -> None:
    schema = SCHEMA._schema
    roots = [schema.query_type, schema.mutation_type, schema.subscription_type]
    assert FIELDS.keys() == {f"{root.name}.{name}" for root in roots if root for name in root.fields}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_for_those_who_may(whole: Whole, name: str) -> None:
    """First those who may ask, twice, so that what is remembered of their questions serves nobody else."""
    kind = name.partition(".")[0].lower()
    for each in FIELDS[name]:
        for way in WAYS[kind]:
            for document in documents_of(kind, each.text):
                for scope in sorted(each.enough):
                    for _ in range(2 if way is Whole.post else 1):
                        codes = way(whole, document, f"Bearer {whole.only[scope]}")
                        assert codes == ({each.code} if each.code else set()), (way.__name__, document, scope)
                lacking = [whole.only[scope] for scope in sorted(ANY - each.enough)]
                lacking += [whole.all_but[each.enough]] if each.enough in whole.all_but else []
                lacking += [] if name in NEEDS_NO_SCOPE else [whole.nobody]
                for token in lacking:
                    assert way(whole, document, f"Bearer {token}") == {"FORBIDDEN"}, (way.__name__, document)
                for stranger in (
                    whole.strangers if document.startswith(f"{kind} {{ {each.text}") else whole.strangers[:4]
                ):
                    assert way(whole, document, stranger) == {"UNAUTHENTICATED"}, (way.__name__, document, stranger)


def test_every_route_has_an_entry(whole: Whole) -> None:
    found: set[str] = set()
    for route in whole.app.routes:
        match route:
            case Route():
                found |= {f"{method} {route.path}" for method in (route.methods or set()) - {"HEAD"}}
            case WebSocketRoute():
                assert route.path == "/graphql"
            case Mount():
                found.add(route.path)
            case _:
                raise AssertionError(f"{route} is of no known kind")
    assert found == ROUTES.keys()


@pytest.mark.parametrize("name", ROUTES)
def test_a_route_is_for_those_who_may(whole: Whole, name: str) -> None:
    for way in ROUTES[name]:
        if way.enough is None:
            for authorization in (None, "Bearer tgr_made-up"):
                assert whole.http(way.method, way.url, authorization)[0] == way.status
            continue
        for stranger in whole.strangers:
            status, body = whole.http(way.method, way.url, stranger, way.body)
            assert (status, codes_of(status, body)) == (401, {"UNAUTHENTICATED"}), stranger
        for needed in way.enough:
            others = {sorted(each)[0] for each in way.enough if each is not needed}
            tokens = [whole.new_token({one} | others) for one in sorted(ANY - needed)]
            for token in [*tokens, whole.nobody]:
                status, body = whole.http(way.method, way.url, f"Bearer {token}", way.body)
                assert (status, codes_of(status, body)) == (403, {"FORBIDDEN"}), way
        allowed = whole.new_token({sorted(each)[-1] for each in way.enough} or {"count"})
        assert whole.http(way.method, way.url, f"Bearer {allowed}", way.body)[0] == way.status, way


def test_a_subscription_ends_with_its_token(whole: Whole) -> None:
    store, told = whole.service.store, []
    token = f"Bearer {whole.token('watcher', ['count'])}"

    async def versions() -> AsyncGenerator[int, None]:
        yield 1
        await store.revoke_token("watcher")
        yield 2

    async def watch() -> None:
        async for version in whole.service.while_admitted(token, versions()):
            told.append(version)  # noqa: PERF401 (it has to be there when the loop ends with an error)

    with pytest.raises(Unauthenticated):
        whole.run(watch())
    assert told == [1]


def test_what_another_process_revokes_is_revoked(whole: Whole) -> None:
    store = whole.service.store
    other = SqliteStore(StoreSettings(store.settings.directory), StillClock())
    token = whole.token("elsewhere", ["count"])
    document = "{ tags { totalCount } }"
    assert whole.post(document, f"Bearer {token}") == set()
    whole.run(other.revoke_token("elsewhere"))
    for way in (Whole.post, Whole.by_socket, Whole.by_events):
        assert way(whole, document, f"Bearer {token}") == {"UNAUTHENTICATED"}
    whole.run(other.close())


def test_a_token_ends_by_itself(whole: Whole) -> None:
    ends = whole.clock.now() + timedelta(hours=1)
    token = whole.run(whole.service.store.create_token("an-hour", ["count"], ends))
    document = "{ tags { totalCount } }"
    for moment, codes in ((ends - timedelta(seconds=1), set()), (ends, {"UNAUTHENTICATED"})):
        whole.clock.set(moment)
        assert whole.post(document, f"Bearer {token}") == codes
