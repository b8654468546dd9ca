"""How much one client may ask: how often, how much at once, how long; refused with a code, and when to ask again."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitmap_store.errors import RateLimited
from tests.api import Api, shop
from web import bounds
from web.bounds import Bounds, Use

NAME = {"query": "{ viewer { name } }"}


@pytest.fixture
def api(empty_store: Path, tmp_path: Path) -> Iterator[Api]:
    found = shop(empty_store, tmp_path / "store")
    yield found
    found.close()


def bound(api: Api, **numbers: Any) -> None:
    """Gives the service other bounds."""
    object.__setattr__(api.service, "bounds", replace(Bounds(), **numbers))
    vars(api.service).pop("use", None)


class Ticks:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    found = Ticks()
    monkeypatch.setattr(bounds, "monotonic", found)
    return found


def ask(use: Use, name: str = "a", operations: int = 0) -> None:
    client = use.begin(name)
    charge = use.charge(client)
    try:
        if charge is not None:
            charge(operations)
    finally:
        use.end(client)


def test_a_rate_with_a_burst(ticks: Ticks) -> None:
    use = Use(Bounds(rate=2, burst=3))
    for _ in range(3):
        ask(use)
    with pytest.raises(RateLimited) as error:
        ask(use)
    assert error.value.extensions()["retryAfter"] == 1
    ask(use, "b")  # another client has its own
    ticks.now += 0.5
    ask(use)
    with pytest.raises(RateLimited):
        ask(use)
    ticks.now += 1000
    for _ in range(3):
        ask(use)
    with pytest.raises(RateLimited):
        ask(use)


def test_work_may_be_owed(ticks: Ticks) -> None:
    use = Use(Bounds(work_rate=100))
    ask(use, operations=900)
    ask(use, operations=1_100)  # more than is left, as anything that is within the bound of a request can be asked
    with pytest.raises(RateLimited) as error:
        ask(use, operations=1)
    assert error.value.retry_after == 11
    ticks.now += 10.5
    ask(use, operations=1)


def test_within_a_request_too(ticks: Ticks) -> None:
    use = Use(Bounds(work_rate=1))
    charge = use.charge(use.begin("a"))
    assert charge is not None
    charge(10)
    with pytest.raises(RateLimited):
        charge(1)


def test_requests_at_once() -> None:
    use = Use(Bounds(at_once=2, all_at_once=3))
    first, _ = use.begin("a"), use.begin("a")
    with pytest.raises(RateLimited, match="at most 2 requests"):
        use.begin("a")
    use.begin("b")
    with pytest.raises(RateLimited, match="3 requests under way"):
        use.begin("c")
    use.end(first)
    use.begin("c")


def test_nothing_is_bounded_by_nothing() -> None:
    use = Use(Bounds(rate=0, work_rate=0, at_once=0, all_at_once=0))
    assert [use.begin("a") is not None for _ in range(2_000)]
    assert use.charge(use.begin("a")) is None


def test_clients_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "CLIENTS_MAX", 2)
    use = Use(Bounds(rate=1, burst=1))
    kept = use.begin("busy")
    for name in "abcd":
        ask(use, name)
    assert list(use._clients) == ["busy", "d"]
    use.end(kept)
    assert use.running == 0


def test_it_is_told_over_http(api: Api) -> None:
    bound(api, rate=0.001, burst=1)
    assert api.request(json=NAME).status_code == 200
    for _ in range(2):
        refused = api.request(json=NAME)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) == refused.json()["errors"][0]["extensions"]["retryAfter"] > 900
        assert refused.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


def test_every_way_begins_and_ends(api: Api) -> None:
    bound(api, at_once=1)
    for body in (NAME, [NAME, NAME], {"query": "{"}, {"query": 5}, "no", {"query": "subscription { dataVersion }"}):
        api.request(json=body)
        api.request("GET", params={"query": "{ viewer { name } }"})
        api.request(content=b"{", headers={"content-type": "application/json"})
    assert api.service.use.running == 0
    assert api.request(json=NAME).status_code == 200


def test_what_takes_too_long_is_ended(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is cancelled, the answer says so, and nothing is left under way."""
    bound(api, request_seconds=0.05)
    ended = []

    async def count(plans: Any) -> list[int]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(len(plans))
        return []

    monkeypatch.setattr(api.store._store, "count", count)
    api.store.has_sizes_at_hand = False
    query = '{ audience(where: {text: "vip"}) { size } }'
    for accept, status in (("application/json", 200), ("application/graphql-response+json", 400)):
        answer = api.request(json={"query": query}, headers={"Accept": accept})
        assert answer.status_code == status
        (error,) = answer.json()["errors"]
        assert error["extensions"] == {"code": "TOO_LARGE"}
        assert "longer than 0.05 seconds" in error["message"]
    assert ended == [1, 1]
    assert api.service.use.running == 0


def test_a_body_that_does_not_come(api: Api) -> None:
    bound(api, read_seconds=0.05)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b""}
    api.world.run(api.endpoint({**scope, "headers": [(b"content-type", b"application/json")]}, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert api.service.use.running == 0
