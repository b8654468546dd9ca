"""What the catalog tells people of a tag, what a profile tells of the past, and what repeating a write answers."""

from pathlib import Path
from typing import Any

import pytest

from tests.api import Api
from tests.worlds import copied

pytestmark = pytest.mark.anyio

TAG = """{ tag(key: "spend") { name definition method scope unit owner example }
  tags(filter: {search: "高价值"}) { edges { node { key owner example } } } }"""
ASSIGN = """mutation { assignTags(idempotencyKey: "k", input: [
  {user: "u1", tag: "trial", expiresAt: "2026-11-03T00:00:00Z"}, {user: "u1", tag: "vip"}]) {
  changed created alreadyApplied } }"""
PROFILE = """{ profile(by: {userId: "u1"}) { tags { tag { key } }
  expiredTags { tag { key } memberships { expiresAt } } }
  audience(where: {tag: {key: "trial"}}) { size } }"""


@pytest.fixture
async def api(empty_store: Path, tmp_path: Path) -> Any:
    found = Api(copied(empty_store, tmp_path / "store"))
    yield found
    await found.client.aclose()
    await found.world.store.close()
    found.world._runner.close()


async def sent(api: Api, query: str) -> Any:
    answer = (await api.client.post("/graphql", json={"query": query})).json()
    assert "errors" not in answer, answer
    return answer["data"]


async def test_a_tag_says_what_it_means_and_how_it_is_asked(api: Api) -> None:
    await sent(
        api,
        """mutation { defineTag(input: {key: "spend", kind: NUMBER, scale: 2, name: "Spend 高价值",
        definition: "All paid",
        method: "sum of sales", scope: "households with a card", unit: "USD", owner: "analytics"}) { key } }""",
    )
    await sent(api, 'mutation { updateTag(key: "spend", input: {unit: "EUR"}) { key } }')
    assert await sent(api, TAG) == {
        "tag": {
            "name": "Spend 高价值",
            "definition": "All paid",
            "method": "sum of sales",
            "scope": "households with a card",
            "unit": "EUR",
            "owner": "analytics",
            "example": "spend >= 0",
        },
        "tags": {"edges": [{"node": {"key": "spend", "owner": "analytics", "example": "spend >= 0"}}]},
    }


async def test_what_ended_is_in_no_answer_and_still_told(api: Api) -> None:
    await sent(
        api, 'mutation { a: defineTag(input: {key: "trial"}) { key } b: defineTag(input: {key: "vip"}) { key } }'
    )
    assert (await sent(api, ASSIGN))["assignTags"] == {"changed": 2, "created": 1, "alreadyApplied": False}
    assert (await sent(api, ASSIGN))["assignTags"] == {"changed": 2, "created": 1, "alreadyApplied": True}
    api.clock.tick(hours=12)
    assert await sent(api, PROFILE) == {
        "profile": {
            "tags": [{"tag": {"key": "vip"}}],
            "expiredTags": [{"tag": {"key": "trial"}, "memberships": [{"expiresAt": "2026-11-03T00:00:00Z"}]}],
        },
        "audience": {"size": 0},
    }
    await sent(api, 'mutation { assignTags(input: [{user: "u1", tag: "trial"}]) { changed } }')
    assert (await sent(api, PROFILE))["profile"]["expiredTags"] == []
