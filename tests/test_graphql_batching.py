"""Fields that ask one by one are answered together: calls of the store, counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api import Api, shop


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = shop(empty_store, tmp_path_factory.mktemp("batching") / "store")
    found.store.has_sizes_at_hand = False  # as in a store where every set has to be read first
    for i in range(50):
        found.define(f"t{i:02}")
    yield found
    found.close()


LISTED = [f'{{text: "t{i % 50:02} or vip"}}' for i in range(200)]
QUERIES: list[tuple[str, dict[str, int]]] = [
    ('{ tags(filter: {search: "t"}, first: 50) { edges { node { key size coverage } } } }', {"count": 1}),
    ("{ tags { edges { node { values { edges { node { value size } } } } } } entities { count } }", {"count": 1}),
    (
        "{ audiences(where: ["
        + ", ".join(f'{{text: "t{i % 50:02} or vip"}}' for i in range(200))
        + "]) { size share } }",
        {"count": 1},
    ),
    (
        "{ profiles(by: [" + ", ".join(f'{{userId: "u{i % 12}"}}' for i in range(100)) + "]) {"
        ' userId identifiers { kind } attributes { key } tags { tag { key } values } isIn(where: {text: "vip"})'
        " savedAudiences { key } } }",
        {
            "resolve": 1,
            "present": 1,
            "profiles": 1,
            "tags_of": 1,
            "contains": 2,
        },  # of the tags with rules, and of audiences
    ),
    (
        '{ audience(where: {text: "spend"}) { size members { totalCount edges { node { tags { values } } } } } }',
        {"count": 1, "page": 1, "names": 1, "tags_of": 1, "contains": 1},
    ),
    (
        '{ audience(where: {text: "spend and not vip"}) { explain { nodes { size sizeWithout } } } }',
        {"count": 2},
    ),
    (
        '{ memberships(users: ["u1", "u2", "u3"], in: [{text: "vip"}, {text: "rich"}, {text: "city"}]) }',
        {"resolve": 1, "contains": 1},
    ),
]


@pytest.mark.parametrize(("query", "calls"), QUERIES, ids=[query[:50] for query, _ in QUERIES])
def test_calls_of_the_store(api: Api, query: str, calls: dict[str, int]) -> None:
    api.store.calls.clear()
    api.ask(query)
    assert dict(api.store.calls) == calls
