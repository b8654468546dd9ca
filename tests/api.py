"""GraphQL as a client sees it: the routes over a new store, in memory, asked one request at a time."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from tests.worlds import StillClock, StoreWorld
from web.graphql import GraphQLRoutes
from web.service import Service

USERS = """mutation ($input: [TagAssignment!]!) { assignTags(input: $input) { dataVersion changed created } }"""


class CountingStore:
    """The store, with a count of the calls of each verb that reads."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in {"count", "breakdown", "page", "contains", "tags_of", "profiles", "summarise", "resolve", "names"}:
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            return found(*args, **kwargs)

        return counted


class Api:
    """A client of the routes over a store. Answers are awaited, so a test reads from top to bottom."""

    def __init__(self, directory: Path, *, open_to_anyone: bool = True) -> None:
        self.clock = StillClock()
        self.world = StoreWorld(directory, self.clock)
        self.store: Any = CountingStore(self.world.store)
        self.service = Service(self.store, open_to_anyone, directory / "incoming")
        self.app = Starlette(routes=GraphQLRoutes(lambda: self.service).routes())
        transport = httpx.ASGITransport(app=self.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://tagroar")

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
        found = self.request(json={"query": query, "variables": variables}, headers=headers)
        body: dict[str, Any] = found.json()
        return body

    def ask(self, query: str, token: str | None = None, **variables: Any) -> Any:
        """The data of an answer without errors."""
        found = self.answer(query, token, **variables)
        assert "errors" not in found, found["errors"]
        return found["data"]

    def errors(self, query: str, token: str | None = None, **variables: Any) -> list[dict[str, Any]]:
        """The errors of an answer; each has a code."""
        found = self.answer(query, token, **variables)
        assert found.get("errors"), found
        assert all(error["extensions"]["code"] for error in found["errors"])
        return list(found["errors"])

    def error(self, query: str, token: str | None = None, **variables: Any) -> dict[str, Any]:
        """The only error of an answer: its extensions, message and path in one."""
        (error,) = self.errors(query, token, **variables)
        return {"message": error["message"], "path": error.get("path"), **error["extensions"]}

    def assign(self, *assignments: dict[str, Any]) -> dict[str, Any]:
        """Gives users tags."""
        found: dict[str, Any] = self.ask(USERS, input=list(assignments))["assignTags"]
        return found

    def size(self, where: dict[str, Any] | str, **how: Any) -> int:
        """The size of an audience."""
        asked = {"text": where} if isinstance(where, str) else where
        query = "query ($where: AudienceWhere!, $asOf: DateTime) { audience(where: $where, asOf: $asOf) { size } }"
        return int(self.ask(query, where=asked, **how)["audience"]["size"])


Make = Callable[[], Api]
