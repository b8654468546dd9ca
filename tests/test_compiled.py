"""Compiled operations answer what graphql-core answers: a differential test over operations of our schema."""

import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from graphql import OperationType
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from orjson import Fragment

from bitmap_store import croaring
from bitmap_store.errors import Unavailable
from bitmap_store.values import EntityKind, Membership
from resolvers import audiences, catalog
from resolvers.answers import TagOnProfile
from resolvers.context import Context
from resolvers.viewers import DEMO, Viewer
from schema import closures, compiled
from schema.batching import batching
from schema.document_rule import DocumentLimits
from schema.documents import Documents, Prepared, Refused, by_graphql_core
from schema.served import SCHEMA
from tests.api import Api, shop
from tests.operations import Operation, operations
from tests.worlds import MONDAY, copied

VIEWERS = [DEMO, DEMO, DEMO, Viewer("counts", frozenset({"count"})), Viewer("nobody", frozenset())]
BROKEN = [None, None, None, None, "count", "tags_of", "present", "profiles", "contains", "names", "plan_everyone"]
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
"""An operation that differs is shown as it was found: it takes minutes to shrink one."""
IDS = """{
  tags { edges { cursor node { id values { edges { cursor } } } } } categories { id }
  savedAudiences { edges { cursor node { id audience { id members(first: 2) { edges { cursor node { id } } } } } } }
  old: profile(by: {userId: "u1"}, asOf: "2026-11-02T12:00:00Z") { id }
}"""


class BrokenStore:
    """The store, one verb of which fails."""

    def __init__(self, store: Any, broken: str) -> None:
        self._store = store
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name != self._broken:
            return found

        def fail(*_: Any, **__: Any) -> Any:
            raise Unavailable(f"{name} is broken")

        return fail


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = shop(empty_store, tmp_path_factory.mktemp("compiled") / "store")
    written(found)
    yield found
    found.close()


def written(api: Api) -> None:
    """Brings the bases and the files of the cache up to date, so that users share what they share."""
    api.world.run(api.world.store.fold(0))
    api.world.run(api.world.store.build_cache())


@pytest.fixture(scope="module")
def given_out(api: Api) -> tuple[list[str], list[str]]:
    """Ids and cursors of the shop, a few of each kind."""
    found: dict[str, list[str]] = {"id": [], "cursor": []}

    def gather(value: Any) -> None:
        for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            gather(below)
        for key in found:
            if isinstance(value, dict) and key in value:
                found[key].append(value[key])

    gather(api.ask(IDS))
    return found["id"], found["cursor"][::3]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Explaining takes no time, and what is not foreseen is foreseen here."""
    monkeypatch.setattr(audiences, "perf_counter", lambda: 0.0)
    caplog.set_level(logging.CRITICAL, "tagroar.graphql")


Runs = Callable[[Prepared, dict[str, Any], Context], Awaitable[Any]]


async def _compiled(prepared: Prepared, variables: dict[str, Any], context: Context) -> Any:
    answer = None if prepared.compiled is None else await prepared.compiled.run(variables, context)
    return None if answer is None else orjson.loads(orjson.dumps(answer))  # some of it is encoded already


def answers(api: Api, prepared: Prepared, variables: dict[str, Any], viewer: Viewer, broken: str | None) -> list[Any]:
    """What the compiled operation answers (None: it leaves that to graphql-core), and what graphql-core does."""

    async def run(by: Runs) -> Any:
        store = api.world.store if broken is None else BrokenStore(api.world.store, broken)
        found = await by(prepared, variables, Context(store, viewer, batching))
        if found is None:
            return None
        errors = sorted(json.dumps(error, sort_keys=True) for error in found.get("errors", ()))
        return json.dumps(found.get("data")), errors, found.keys()

    return [api.world.run(run(by)) for by in (_compiled, by_graphql_core)]


seen: Counter[str] = Counter()


@settings(max_examples=150, suppress_health_check=list(HealthCheck), phases=PHASES)
@given(data=st.data())
def test_compiled_operations_answer_the_same(api: Api, given_out: tuple[list[str], list[str]], data: Any) -> None:
    operation: Operation = data.draw(operations(*given_out))
    prepared = Documents().prepared(operation.text, None)
    if isinstance(prepared, Refused):
        event("refused")
        seen["refused"] += 1
        return
    assert prepared.kind is OperationType.QUERY
    viewer, broken = data.draw(st.sampled_from(VIEWERS)), data.draw(st.sampled_from(BROKEN))
    by_us, by_core = answers(api, prepared, operation.variables, viewer, broken)
    outcome = "left" if by_us is None else "with errors" if by_us[1] else "without errors"
    seen[outcome] += 1
    event(outcome)
    if by_us is not None:
        assert by_us == by_core


def test_most_operations_were_compiled() -> None:
    assert seen["with errors"] + seen["without errors"] > 2 * seen["left"]
    assert min(seen["with errors"], seen["without errors"]) > seen["refused"]


# ---------------------------------------------------------------- odd values


class Odd:
    """A value whose attributes are odd."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


KIND = EntityKind(1, "k", "K")
ODD: list[Any] = [
    None,
    [],
    [None],
    [KIND, None, KIND],
    [KIND, Unavailable("gone"), KIND],
    Unavailable("gone"),
    3,
    "text",
    {"key": 3},
    (each for each in ()),
    [Odd(key="a", name=3)],
    [Odd(key=None, name="a"), KIND],
    [Odd(key=[], name="a")],
    [Odd(name="a")],
    [Odd(key=ValueError("odd"), name=True)],
]
ASKED = "{ entities { key name __typename } viewer { name } again: entities { k: key } }"
COUNTED = "{ viewer { name } entities { key count a: count } categories { id } }"


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("text", [ASKED, COUNTED, "{ categories { id key parent { key children { key } } } }"])
@pytest.mark.parametrize("broken", [None, "count", "plan_everyone"])
def test_odd_values(api: Api, monkeypatch: pytest.MonkeyPatch, value: Any, text: str, broken: str | None) -> None:
    for name in ("entities", "categories", "parent", "children"):
        monkeypatch.setattr(catalog, name, lambda *_: value)
    prepared = Documents().prepared(text, None)
    assert isinstance(prepared, Prepared)
    by_us, by_core = answers(api, prepared, {}, DEMO, broken)
    assert by_us == by_core


SHAPES: list[Any] = [
    None,
    Odd(key="a"),
    Odd(key="a", version=2**40, kind="ODD", open="yes", coverage=float("inf")),
    Odd(key="a", version=1.0, kind="FLAG", open=0, valid_for=3),
]


@pytest.mark.parametrize("value", SHAPES, ids=lambda value: repr(value and value.__dict__))
def test_odd_shapes(api: Api, monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.setattr(catalog, "tag", lambda *_: value)
    monkeypatch.setattr(SCHEMA._schema.type_map["Tag"], "is_type_of", lambda *_: True)
    prepared = Documents().prepared('{ tag(key: "a") { key version kind open validFor coverage size } }', None)
    assert isinstance(prepared, Prepared)
    by_us, by_core = answers(api, prepared, {}, DEMO, None)
    assert by_us == by_core


# ---------------------------------------------------------------- what is left to graphql-core

BOMB = "{ categories { ...F0 } }" + "".join(
    f"fragment F{i} on Category {{ a: parent {{ ...F{i + 1} }} b: parent {{ ...F{i + 1} }} }}" for i in range(10)
)
CONDITIONS = range(5)
WIDE = DocumentLimits(aliases=10_000, fields=100_000, depth=100)
LEFT = [
    "{ __schema { queryType { name } } }",
    '{ __type(name: "Tag") { name } viewer { name } }',
    f"{BOMB} fragment F10 on Category {{ key }}",
    "{ categories { " + "parent { " * 60 + "key" + " }" * 60 + " } }",
    f"query ({' '.join(f'$c{i}: Boolean = true' for i in CONDITIONS)})"
    f" {{ categories {{ {' '.join(f'n{i}: name @skip(if: $c{i})' for i in CONDITIONS)} key }} }}",
]
"""Introspection, more fields than the text allows for, too many levels, too many conditions."""


@pytest.mark.parametrize("text", LEFT, ids=[text[:40] for text in LEFT])
def test_what_is_not_known_is_left(api: Api, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setitem(vars(api.service), "documents", Documents(limits=WIDE))
    prepared = Documents(limits=WIDE).prepared(text, None)
    assert isinstance(prepared, Prepared)
    by_us, by_core = answers(api, prepared, {}, DEMO, None)
    assert by_us is None
    assert by_core[0] != "null"
    assert api.answer(text)["data"] == json.loads(by_core[0])


def test_documents_can_be_left_uncompiled(api: Api) -> None:
    prepared = Documents(compiled=False).prepared("{ viewer { name } }", None)
    assert isinstance(prepared, Prepared)
    assert prepared.compiled is None
    assert api.world.run(prepared.run(None, Context(api.world.store, DEMO, batching))) == {
        "data": {"viewer": {"name": "demo"}}
    }


PROFILES = """query ($by: [ProfileBy!]!) {
  profiles(by: $by) { tags { key: tag { key name } values number memberships { source since } } ...Once }
  profile(by: {userId: "u2"}) { tags { tag { key size } values } all: tags { values date } expiredTags { values } }
}
fragment Once on Profile { some: tags(keys: ["likes", "city", "rich", "spend"]) { values number } }"""
RENAMED = 'mutation { updateTag(key: "city", input: {name: "Town"}) { name } }'


@pytest.mark.skipif(not croaring.AVAILABLE, reason="without mapped files users share nothing")
def test_profiles_are_answered_the_same_from_what_users_share(empty_store: Path, tmp_path: Path) -> None:
    api = shop(empty_store, tmp_path / "store")
    prepared = Documents().prepared(PROFILES, None)
    assert isinstance(prepared, Prepared) and prepared.compiled is not None
    variables = {"by": [{"userId": f"u{i}"} for i in range(13)]}

    def asked() -> str:
        for _ in range(2):  # what became of a value is given again
            by_us, by_core = answers(api, prepared, variables, DEMO, None)
            assert by_us == by_core
        return str(by_us[0])

    before = asked()
    written(api)
    assert asked() == before
    found: Any = api.world.run(prepared.compiled.run(variables, Context(api.world.store, DEMO, batching)))
    assert any(isinstance(each, Fragment) for each in found["data"]["profiles"][0]["tags"])
    api.ask(RENAMED)
    assert asked().count("Town") == 8
    api.assign({"user": "u1", "tag": "city", "value": "Paris"}, {"user": "u2", "tag": "likes", "values": ["a", "b"]})
    after = asked()
    assert after.count("Paris") == 2
    assert after.count('["a", "b"]') == 4
    api.world.clock.tick(days=40)
    ended = asked()
    assert after.count("churn") == 2 * 2 and ended.count("churn") == 2  # key and name; one of two has ended
    written(api)
    assert asked() == ended
    api.close()


def test_what_is_remembered_of_shared_values_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one budget for all selections: a document of a few lines may have a thousand."""
    monkeypatch.setattr(closures, "REMEMBERED_BYTES_MAX", 100 * closures.ENTRY_BYTES)
    made: Counter[Any] = Counter()

    def completed(value: Any, _run: Any, _path: Any) -> Any:
        made[id(value)] += 1
        return {"key": value.memberships[0].tag}

    tag: Any = None
    values = [TagOnProfile(tag, (Membership(f"tag {i}", None, MONDAY, is_shared=True),)) for i in range(200)]
    run = closures.Run(None, {})  # type: ignore[arg-type]
    selections = [closures.Remembered(completed) for _ in range(4)]
    for value in values:
        for _ in range(3):
            for selection in selections:
                assert orjson.loads(orjson.dumps(selection(value, run, None))) == {"key": value.memberships[0].tag}
    assert sum(made.values()) < 2 * len(values) * len(selections)  # most were remembered while they were asked for
    before = made[id(values[0])]
    selections[0](values[0], run, None)
    assert made[id(values[0])] == before + 1  # and made room


def test_documents_make_room_for_what_they_compile_to(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fragments make many fields of few words, whatever the length of a document is."""
    monkeypatch.setattr(compiled, "FIELDS_KEPT_MAX", 100)
    sizes: list[int] = []
    variant = compiled.Compiled._compiled
    monkeypatch.setattr(compiled.Compiled, "_compiled", lambda *each: sizes.append(1) or variant(*each))
    documents = Documents()
    context = Context(api.world.store, DEMO, batching)
    texts = [
        f"{{ {' '.join(f'v{j}: viewer {{ ...F }}' for j in range(i, i + 20))} }} fragment F on Viewer {{ name }}"
        for i in range(5)
    ]
    for _ in range(3):
        for i, text in enumerate(texts):
            for _ in range(2):
                prepared = documents.prepared(text, None)
                assert isinstance(prepared, Prepared)
                answer = api.world.run(prepared.run(None, context))
                assert answer == {"data": {f"v{j}": {"name": "demo"} for j in range(i, i + 20)}}
    assert 5 < len(sizes) <= 15


# ---------------------------------------------------------------- mutations

STEPS = """mutation ($fail: Boolean!) {
  one: assignTags(input: [{user: "n1", tag: "vip"}]) { created changed }
  two: assignTags(input: [{user: "n1", tag: "none"}]) @include(if: $fail) { created changed }
  three: removeTags(input: [{user: "n1", tag: "vip"}]) { changed }
  four: defineTag(input: {key: "vip"}) { key size }
}"""


@pytest.mark.parametrize("fail", [True, False])
def test_mutations_run_one_by_one(empty_store: Path, tmp_path: Path, fail: bool) -> None:
    found = []
    for name, by in (("compiled", _compiled), ("core", by_graphql_core)):
        api = Api(copied(empty_store, tmp_path / name))
        api.define("vip")
        prepared = Documents().prepared(STEPS, None)
        assert isinstance(prepared, Prepared)
        found.append(api.world.run(by(prepared, {"fail": fail}, Context(api.world.store, DEMO, batching))))
        api.close()
    assert found[0] == found[1]
    assert found[0]["data"]["three"] == {"changed": 1}
    assert found[0]["data"]["four"] == {"key": "vip", "size": 0}
