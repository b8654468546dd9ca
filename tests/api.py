"""GraphQL as a client sees it: the routes over a store, in memory, and a small shop to ask about."""

from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from tests.worlds import StillClock, StoreWorld, copied
from web.graphql import GraphQLRoutes
from web.service import Service

ASSIGN = "mutation ($input: [TagAssignment!]!) { assignTags(input: $input) { dataVersion changed created } }"
DEFINE = "mutation ($input: DefineTagInput!) { defineTag(input: $input) { key } }"
READS = {
    "count",
    "size_at_hand",
    "breakdown",
    "page",
    "contains",
    "tags_of",
    "present",
    "profiles",
    "summarise",
    "resolve",
    "names",
}


class CountingStore:
    """The store, with a count of the calls of each verb that reads; if it is told so, with no size at hand."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()
        self.has_sizes_at_hand = True

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name == "size_at_hand" and not self.has_sizes_at_hand:
            return lambda plan: None
        if name not in READS:
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            return found(*args, **kwargs)

        return counted


class Api:
    """A client of the routes over a store of its own. Everything is awaited, so a test reads from top to bottom."""

    def __init__(self, directory: Path, *, open_to_anyone: bool = True, timezone: str = "UTC") -> None:
        self.clock = StillClock()
        self.world = StoreWorld(directory, self.clock, timezone)
        self.store: Any = CountingStore(self.world.store)
        self.service = Service(self.store, open_to_anyone, directory / "incoming")
        routes = GraphQLRoutes(lambda: self.service)
        self.endpoint = routes.endpoint
        app = Starlette(routes=routes.routes())
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://tagroar")

    def close(self) -> None:
        """Closes client and store."""
        self.world.run(self.client.aclose())
        self.world.close()

    def request(self, method: str = "POST", **how: Any) -> httpx.Response:
        """One HTTP request."""
        return self.world.run(self.client.request(method, "/graphql", **how))

    def answer(self, query: str, token: str | None = None, **variables: Any) -> dict[str, Any]:
        """The whole answer to one request."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body: dict[str, Any] = self.request(json={"query": query, "variables": variables}, headers=headers).json()
        return body

    def ask(self, query: str, token: str | None = None, **variables: Any) -> Any:
        """The data of an answer without errors; of a single root its value."""
        found = self.answer(query, token, **variables)
        assert "errors" not in found, found["errors"]
        data = found["data"]
        return next(iter(data.values())) if len(data) == 1 else data

    def errors(self, query: str, token: str | None = None, **variables: Any) -> list[dict[str, Any]]:
        """The errors of an answer: message, path and extensions of each in one."""
        found = self.answer(query, token, **variables).get("errors", [])
        return [{"message": each["message"], "path": each.get("path"), **each["extensions"]} for each in found]

    def error(self, query: str, token: str | None = None, **variables: Any) -> dict[str, Any]:
        """The only error of an answer."""
        (error,) = self.errors(query, token, **variables)
        return error

    def define(self, key: str, **definition: Any) -> None:
        """Defines a tag."""
        self.ask(DEFINE, input={"key": key, **definition})

    def assign(self, *assignments: dict[str, Any]) -> dict[str, Any]:
        """Gives users tags."""
        found: dict[str, Any] = self.ask(ASSIGN, input=list(assignments))
        return found

    def audience(self, where: dict[str, Any] | str, fields: str, **how: Any) -> Any:
        """Fields of an audience."""
        asked = {"text": where} if isinstance(where, str) else where
        query = (
            f"query ($where: AudienceWhere!, $asOf: DateTime) {{ audience(where: $where, asOf: $asOf) {{ {fields} }} }}"
        )
        return self.ask(query, where=asked, **how)

    def size(self, where: dict[str, Any] | str, **how: Any) -> int:
        """The size of an audience."""
        return int(self.audience(where, "size", **how)["size"])


CITIES = ("Shanghai", "Beijing", "Paris")
SPEND = {f"u{i}": f"{i * 25}.50" for i in range(10)}


def shop(empty_store: Path, directory: Path) -> Api:
    """A shop of twelve users: u0..u9 with tags of every kind, u10 with an attribute, u11 with nothing.

    vip: u0..u4 · city: u0..u7 by turns · likes: two of u0..u2 · spend: u0..u9 · born, seen: u1 · buy: u1, u2
    """
    api = Api(copied(empty_store, directory))
    api.ask('mutation { a: defineCategory(key: "shop") { id } b: defineCategory(key: "money", parent: "shop") { id } }')
    api.define("vip", definition="High value, 高价值", owner="Ann", category="shop")
    api.define("city", kind="CHOICE", values=list(CITIES))
    api.define("likes", kind="CHOICES")
    api.define("spend", kind="NUMBER", scale=2, category="money")
    api.define("born", kind="DATE", precision="DAY")
    api.define("seen", kind="DATE")
    api.define("buy", kind="EVENT")
    api.define("school", kind="CHOICE", hierarchical=True)
    api.define("churn", origin="MINED")
    api.define("rich", rule={"tag": {"key": "spend", "gte": 100}}, category="money")
    big, some = {"tag": {"key": "spend", "gte": 200}}, {"tag": {"key": "spend"}}
    api.define("worth", kind="CHOICE", rules=[{"value": "big", "where": big}, {"value": "some", "where": some}])
    api.assign(
        *({"user": f"u{i}", "tag": "vip", "source": "form"} for i in range(5)),
        *({"user": f"u{i}", "tag": "city", "value": CITIES[i % 2]} for i in range(8)),
        *({"user": user, "tag": "spend", "number": number} for user, number in SPEND.items()),
        {"user": "u0", "tag": "likes", "values": ["tea", "milk"]},
        {"user": "u1", "tag": "likes", "value": "tea"},
        {"user": "u1", "tag": "born", "date": "1990-02-03"},
        {"user": "u1", "tag": "seen", "date": "2026-11-02T13:00:00+02:00"},
        {"user": "u3", "tag": "school", "value": "student/undergraduate/year-3"},
        {"user": "u4", "tag": "school", "value": "student/graduate"},
        {"user": "u5", "tag": "school", "value": "teacher"},
        {"user": "u6", "tag": "churn", "score": 0.9, "expiresAt": "2026-11-20T00:00:00Z"},
        {"user": "u7", "tag": "churn", "score": 0.5},
    )
    api.ask(
        """mutation { recordEvents(input: [
            {user: "u1", tag: "buy", value: "milk", at: "2026-11-01T10:00:00Z", count: 2}
            {user: "u1", tag: "buy", value: "milk", at: "2026-10-20T10:00:00Z"}
            {user: "u2", tag: "buy", value: "tea", at: "2026-09-01T10:00:00Z"}
        ]) { changed } }"""
    )
    api.ask(
        """mutation { upsertProfiles(input: [
            {userId: "u10", attributes: {first: "Li", n: [1, 2.5, null]}, identifiers: [{kind: "email", value: "li@x"}]}
            {userId: "u11"}
        ]) { created } }"""
    )
    api.ask('mutation { saveAudience(input: {key: "best", where: {text: "vip and rich"}}) { key } }')
    return api
