"""Experiments with a name: parts that stay, layers without common users, room that runs out and comes back."""

import json
import sqlite3
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from bitmap_store.bind import HASH_SPACE
from bitmap_store.errors import Conflict
from bitmap_store.sqlite.checks import check
from bitmap_store.sqlite.database import FILE
from bitmap_store.sqlite.experiments import _room
from bitmap_store.values import Assign
from tests.api import Api
from tests.crowds import crowd, drawn
from tests.test_migrations import revise, rows_of
from tests.worlds import StillClock, StoreWorld, copied

TABLE = drawn(5_000, 31)
FIELDS = """id key name entity text layer share owner definedAt endedAt audience { text size }
    parts { name target control size share audience { text size } }"""
DEFINE = f"mutation ($input: DefineExperimentInput!) {{ defineExperiment(input: $input) {{ {FIELDS} }} }}"
READ = f"query ($key: String!) {{ experiment(key: $key) {{ {FIELDS} }} }}"
END = f"mutation ($key: String!) {{ endExperiment(key: $key) {{ {FIELDS} }} }}"
DELETE = "mutation ($key: String!) { deleteExperiment(key: $key) { changed } }"
RESULTS = """query ($key: String!, $outcome: AudienceWhere!) { experiment(key: $key) { results(outcome: $outcome) {
    control { name size converted rate } parts { name size converted rate difference lift zScore pValue significant }
    sampleRatio { chiSquared pValue mismatch } } } }"""


@pytest.fixture(scope="module")
def shared(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = crowd(empty_store, tmp_path_factory.mktemp("experiments") / "store", TABLE)
    yield found
    found.close()


@pytest.fixture
def api(shared: Api) -> Iterator[Api]:
    yield shared
    for edge in shared.ask("{ experiments { edges { node { key } } } }")["edges"]:
        shared.ask(DELETE, key=edge["node"]["key"])


def asked(key: str, text: str = "everyone", shares: tuple[float, ...] = (0.5,), **more: Any) -> dict[str, Any]:
    parts = [{"name": f"p{i}", "share": share} for i, share in enumerate(shares)]
    return {"key": key, "where": {"text": text}, "parts": parts, **more}


def define(api: Api, key: str, *how: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = api.ask(DEFINE, input=asked(key, *how, **more))
    return found


def members(api: Api, found: dict[str, Any]) -> list[set[str]]:
    return [api.world.members(part["audience"]["text"]) for part in found["parts"]]


def test_an_experiment_has_parts_that_are_audiences(api: Api) -> None:
    found = define(api, "mail", "vip", (0.4, 0.4), name="Mail", control="nobody")
    assert (found["name"], found["entity"], found["layer"], found["share"]) == ("Mail", "user", None, 1)
    assert [(part["name"], part["control"]) for part in found["parts"]] == [
        ("p0", False),
        ("p1", False),
        ("nobody", True),
    ]
    assert [part["audience"]["text"] for part in found["parts"]] == [
        'vip and part("experiment mail", 0, 0.4)',
        'vip and part("experiment mail", 0.4, 0.8)',
        'vip and part("experiment mail", 0.8, 1)',
    ]
    groups = members(api, found)
    assert [part["size"] for part in found["parts"]] == list(map(len, groups))
    assert sum(map(len, groups)) == len(set().union(*groups)) == found["audience"]["size"] == api.size("vip")
    assert api.ask(READ, key="mail") == found
    assert api.ask("query ($id: ID!) { node(id: $id) { ... on Experiment { key } } }", id=found["id"]) == {
        "key": "mail"
    }
    assert define(api, "mail", "vip", (0.4, 0.4), name="Mail", control="nobody") == found
    for change in ({"name": "other"}, {"control": "c"}, {"layer": "l"}, {"where": {"text": "city"}}):
        again = asked("mail", "vip", (0.4, 0.4), name="Mail", control="nobody") | change
        assert api.error(DEFINE, input=again)["code"] == "CONFLICT"
    assert api.ask(READ, key="nothing") is None


def test_experiments_of_a_layer_have_no_user_in_common(api: Api) -> None:
    found = [
        define(api, f"e{i}", "everyone", (0.5,), layer="home", share=share) for i, share in enumerate((0.3, 0.5, 0.2))
    ]
    groups = [set().union(*members(api, each)) for each in found]
    assert all(not one & other for one, other in combinations(groups, 2))
    assert set().union(*groups) == set(TABLE.user)
    for group, share in zip(groups, (0.3, 0.5, 0.2), strict=True):
        assert abs(len(group) - len(TABLE) * share) <= 4 * (len(TABLE) * share * (1 - share)) ** 0.5
    for each, group in zip(found, groups, strict=True):
        treated = members(api, each)[0]
        assert abs(len(treated) - len(group) / 2) <= 4 * (len(group) / 4) ** 0.5
    full = api.error(DEFINE, input=asked("e3", layer="home", share=0.01))
    assert (full["code"], full["argument"]) == ("CONFLICT", "input.share")
    assert "no room" in full["message"]
    assert [each["share"] for each in found] == [0.3, 0.5, 0.2]
    assert define(api, "e3", layer="away", share=0.01)["share"] == 0.01


def test_layers_have_nothing_to_do_with_each_other(api: Api) -> None:
    one, other = (define(api, key, layer=key, share=0.5) for key in ("one", "other"))
    groups = [set().union(*members(api, each)) for each in (one, other)]
    table = [[len(groups[0] & groups[1]), len(groups[0] - groups[1])]]
    table += [[len(groups[1] - groups[0]), len(TABLE) - len(groups[0] | groups[1])]]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_room_comes_back_when_an_experiment_ends(api: Api) -> None:
    first = define(api, "first", layer="home", share=0.6)
    assert api.error(DEFINE, input=asked("second", layer="home", share=0.6))["code"] == "CONFLICT"
    ended = api.ask(END, key="first")
    assert ended["endedAt"] is not None and ended | {"endedAt": None} == first
    assert api.ask(END, key="first") == ended
    second = define(api, "second", layer="home", share=0.6)
    assert second["audience"]["text"] == first["audience"]["text"] == 'part("layer home", 0, 0.6)'
    assert api.error(DEFINE, input=asked("first", layer="home", share=0.6))["code"] == "CONFLICT"
    assert api.ask(DELETE, key="second") == {"changed": 1}
    assert api.error(DELETE, key="second")["code"] == "NOT_FOUND"
    assert api.error(END, key="frist")["suggestions"] == ["first"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, HASH_SPACE), st.booleans()), max_size=40))
def test_rooms_never_overlap(asks: list[tuple[int, bool]]) -> None:
    """Ranges come and go; each is given where it fits, and refused only where no gap is wide enough."""
    taken: list[tuple[int, int]] = []
    for width, leaves in asks:
        if leaves and taken:
            taken.pop(width % len(taken))
        edges = [0, *(edge for each in sorted(taken) for edge in each), HASH_SPACE]
        widest = max(end - start for start, end in zip(edges[::2], edges[1::2], strict=True))
        if widest < width:
            with pytest.raises(Conflict):
                _room(taken, width, "home")
            continue
        start = _room(taken, width, "home")
        assert start >= 0 and start + width <= HASH_SPACE
        assert all(start + width <= low or high <= start for low, high in taken)
        taken.append((start, start + width))


def test_results_are_those_of_a_planted_effect(empty_store: Path, tmp_path: Path) -> None:
    api = crowd(empty_store, tmp_path / "store", TABLE)
    api.define("converted")
    found = define(api, "test", "not vip", (0.3, 0.3))
    rng = np.random.default_rng(3)
    for group, rate in zip(members(api, found), (0.3, 0.15, 0.15), strict=True):
        api.world.apply(*(Assign(user, "converted") for user in sorted(group) if rng.random() < rate))
    answer = api.ask(RESULTS, key="test", outcome={"text": "converted"})["results"]
    converted = api.world.members("converted")
    counts = [(len(group & converted), len(group)) for group in members(api, found)]
    rows = [*answer["parts"], answer["control"]]
    assert [(row["name"], row["converted"], row["size"]) for row in rows] == [
        (name, *count) for name, count in zip(("p0", "p1", "control"), counts, strict=True)
    ]
    for row, (inside, whole) in zip(answer["parts"], counts, strict=False):
        table = [[inside, whole - inside], [counts[-1][0], counts[-1][1] - counts[-1][0]]]
        tails = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
        assert row["pValue"] == pytest.approx(min(2 * min(tails), 1))
        assert row["lift"] == pytest.approx(inside / whole / (counts[-1][0] / counts[-1][1]) - 1)
    assert [row["significant"] for row in answer["parts"]] == [True, False]
    expected = stats.chisquare(
        [size for _, size in counts], np.array([0.3, 0.3, 0.4]) * sum(size for _, size in counts)
    )
    assert answer["sampleRatio"]["pValue"] == pytest.approx(expected.pvalue)
    assert not answer["sampleRatio"]["mismatch"]
    api.close()


def test_what_an_experiment_names_is_not_deleted(empty_store: Path, tmp_path: Path) -> None:
    api = crowd(empty_store, tmp_path / "store", TABLE.head(50))
    api.ask('mutation { saveAudience(input: {key: "mine", where: {text: "vip"}}) { key } }')
    define(api, "test", "@mine and city")
    for what in ('deleteTag(key: "city")', 'deleteAudience(key: "mine")'):
        assert api.error(f"mutation {{ {what} {{ changed }} }}")["code"] == "CONFLICT"
    used = '{ tag(key: "city") { usedBy { ... on Experiment { key } } } }'
    assert api.ask(used) == {"usedBy": [{"key": "test"}]}
    api.ask(DELETE, key="test")
    assert api.ask('mutation { deleteTag(key: "city") { changed } }')["changed"] > 0
    api.close()


def test_experiments_page_by_page(api: Api) -> None:
    for key in ("b", "a", "c"):
        define(api, key)
    query = """query ($after: String) { experiments(first: 2, after: $after) {
        totalCount pageInfo { hasNextPage endCursor } edges { node { key } } } }"""
    first = api.ask(query)
    rest = api.ask(query, after=first["pageInfo"]["endCursor"])
    assert [edge["node"]["key"] for page in (first, rest) for edge in page["edges"]] == ["a", "b", "c"]
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (3, True, False)


def test_who_lists_users_is_for_those_who_may_see_them(empty_store: Path, tmp_path: Path) -> None:
    crowd(empty_store, tmp_path / "store", TABLE.head(20)).close()
    api = Api(tmp_path / "store", open_to_anyone=False)
    tokens = {
        scopes: api.world.run(api.world.store.create_token("-".join(scopes), list(scopes)))
        for scopes in (("define",), ("define", "members"), ("count",), ("count", "members"))
    }
    listed = asked("listed", 'users("u1", "u2")')
    define_key = "mutation ($input: DefineExperimentInput!) { defineExperiment(input: $input) { key } }"
    assert api.error(define_key, tokens["define",], input=listed)["code"] == "FORBIDDEN"
    assert api.ask(define_key, tokens["define", "members"], input=listed) == {"key": "listed"}
    for fields in (
        "text",
        "audience { size }",
        "parts { size }",
        'results(outcome: {text: "vip"}) { control { size } }',
    ):
        query = f'{{ experiment(key: "listed") {{ {fields} }} }}'
        assert api.errors(query, tokens["count",])[0]["code"] == "FORBIDDEN"
        assert api.errors(query, tokens["count", "members"]) == []
    api.close()


@pytest.mark.parametrize(
    ("change", "code", "argument"),
    [
        ({"key": ""}, "INVALID", "input.key"),
        ({"where": {"text": 'like (part("experiment x", 0, 0.5)) size 9'}}, "INVALID", "input.where"),
        ({"layer": " "}, "INVALID", "input.layer"),
        ({"share": 0.5}, "INVALID", "input.share"),
        ({"layer": "l", "share": 0}, "INVALID", "input.share"),
        ({"layer": "l", "share": 1e-12}, "INVALID", "input.share"),
        ({"layer": "l", "share": 1.5}, "INVALID", "input.share"),
        ({"parts": []}, "INVALID", "input.parts"),
        ({"parts": [{"name": "a", "share": 1}]}, "INVALID", "input.control"),
        ({"control": "p0"}, "INVALID", "input.control"),
        ({"where": {"text": "vipp"}}, "NOT_FOUND", "input.where.text"),
        ({"where": {"text": 'part("experiment x", 0, 0.5)'}}, "INVALID", "input.where"),
        ({"where": {"text": 'vip and not part("layer l", 0, 0.5)'}, "layer": "l"}, "INVALID", "input.where"),
        ({"entity": "thing"}, "NOT_FOUND", "input.entity"),
    ],
)
def test_what_is_wrong_is_named(api: Api, change: dict[str, Any], code: str, argument: str) -> None:
    found = api.error(DEFINE, input=asked("x") | change)
    assert (found["code"], found["argument"]) == (code, argument)
    if change == {"key": ""}:
        assert found["message"] == "an experiment cannot be empty"


def test_an_experiment_is_there_after_opening_again_and_after_a_revision_back(
    empty_store: Path, tmp_path: Path
) -> None:
    api = crowd(empty_store, tmp_path / "store", TABLE.head(50))
    found = define(api, "test", layer="home", share=0.5)
    define(api, "over")
    over = api.ask(END, key="over")
    directory = api.world.directory
    api.close()
    again = Api(copied(directory, tmp_path / "again"))
    assert [again.ask(READ, key=key) for key in ("test", "over")] == [found, over]
    again.close()
    assert check(directory) == []
    connection = sqlite3.connect(directory / FILE)
    connection.execute("UPDATE experiment SET text = 'vip and' WHERE key = 'test'")
    connection.commit()
    connection.close()
    assert [problem.place for problem in check(directory)] == ["experiment 'test'"]
    revise(directory, "0006", up=False)
    assert rows_of(directory, "SELECT name FROM sqlite_master WHERE name LIKE 'experiment%'") == []
    world = StoreWorld(directory, StillClock())
    assert world.view().catalog.experiments == {} and world.size("vip") == int(TABLE.head(50).vip.sum())
    world.close()


def test_parts_are_kept_as_they_are_written(api: Api) -> None:
    define(api, "names", parts=[{"name": '优惠券 "a"', "share": 0.1}, {"name": "b", "share": 0.2}])
    [(kept,)] = rows_of(api.world.directory, "SELECT parts FROM experiment WHERE key = 'names'")
    assert json.loads(str(kept)) == [['优惠券 "a"', 0.1], ["b", 0.2]]
    assert [part["target"] for part in api.ask(READ, key="names")["parts"]] == [0.1, 0.2, 0.7]
