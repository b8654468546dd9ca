"""The cases of `cases/*.yaml`, on each engine and through GraphQL.

A file is a small world and what it answers: `steps` write (each at its moment), `cases` ask. A case names the
members, or the code of the error with where it stands and what it suggests.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import TagroarError
from bitmap_store.literals import parse_duration, parse_moment
from bitmap_store.values import (
    Assign,
    Batch,
    DatePrecision,
    Event,
    Operation,
    ProfileChange,
    Remove,
    TagKind,
    TagOrigin,
    ValueRule,
)
from tests.api import Api
from tests.worlds import OracleWorld, StillClock, StoreWorld, World, copied

FILES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
START = "2026-11-02T12:00:00Z"
File = dict[str, Any]


def loaded(path: Path) -> File:
    found: File = yaml.safe_load(path.read_text())
    return found


def named(path: Path) -> str:
    return path.stem


# ---------------------------------------------------------------- on the engines


def definition(tag: dict[str, Any]) -> TagDefinition:
    given = dict(tag)
    rules = given.pop("rules", {})
    valid_for = given.pop("validFor", None)
    values = given.pop("values", None)
    return TagDefinition(
        kind=TagKind(given.pop("kind", "FLAG")),
        origin=TagOrigin(given.pop("origin")) if "origin" in given else None,
        precision=DatePrecision(given.pop("precision", "SECOND")),
        values=None if values is None else tuple(values),
        rules=tuple(ValueRule(value, text) for value, text in rules.items()),
        valid_for=None if valid_for is None else parse_duration(valid_for),
        **given,
    )


def operation(said: dict[str, Any]) -> Operation:
    user = said["user"]
    if "profile" in said:
        return ProfileChange(user, attributes=tuple(said["profile"].items()))
    if "remove" in said:
        return Remove(user, said["remove"], said.get("value"))
    if "event" in said:
        return Event(user, said["event"], said.get("value"), parse_moment(said["when"]), said.get("count", 1))
    return Assign(
        user,
        said["tag"],
        value=said.get("value"),
        values=tuple(said["values"]) if "values" in said else None,
        number=Decimal(said["number"]) if "number" in said else None,
        date=parse_moment(said["date"]) if "date" in said else None,
        score=said.get("score"),
        expires_at=parse_moment(said["expiresAt"]) if "expiresAt" in said else None,
    )


def build(world: World, file: File) -> None:
    """Tells an engine what a file says."""
    world.clock.set(parse_moment(file.get("now", START)))
    for entity in file.get("entities", ()):
        world.define_entity(entity)
    for tag in file["tags"]:
        world.define_tag(definition(tag))
    for step in file["steps"]:
        if "at" in step:
            world.clock.set(parse_moment(step["at"]))
        for entity in dict.fromkeys(said.get("entity", "user") for said in step["write"]):
            of_entity = [said for said in step["write"] if said.get("entity", "user") == entity]
            world.apply_batch(Batch(entity, tuple(operation(said) for said in of_entity)))
    for key, text in file.get("saved", {}).items():
        world.save_audience(key, text)


@pytest.fixture(params=FILES, ids=named)
def file(request: pytest.FixtureRequest) -> File:
    return loaded(request.param)


@pytest.fixture(params=["sqlite", "oracle"])
def engine(request: pytest.FixtureRequest, file: File, empty_store: Path, tmp_path: Path) -> Iterator[World]:
    """A new world on each engine, in the time zone of the file."""
    timezone = file.get("timezone", "UTC")
    if request.param == "oracle":
        yield OracleWorld(StillClock(), timezone)
        return
    store = StoreWorld(copied(empty_store, tmp_path / "store"), StillClock(), timezone)
    yield store
    store.close()


def test_on_the_engine(engine: World, file: File) -> None:
    world = engine
    build(world, file)
    present = world.clock.now()
    for case in file["cases"]:
        world.clock.set(parse_moment(case["at"]) if "at" in case else present)
        as_of = parse_moment(case["asOf"]) if "asOf" in case else None
        entity = case.get("entity", "user")
        if "error" in case and isinstance(world, OracleWorld):
            continue  # the oracle says what is right, not how what is wrong is told
        if "error" in case:
            with pytest.raises(TagroarError) as raised:
                world.members(case["ask"], entity, as_of)
            assert raised.value.code == case["error"], case
        else:
            assert sorted(world.members(case["ask"], entity, as_of)) == case["members"], case
            assert world.size(case["ask"], entity, as_of) == len(case["members"]), case


# ---------------------------------------------------------------- through GraphQL


@pytest.fixture
def api(file: File, empty_store: Path, tmp_path: Path) -> Iterator[Api]:
    found = Api(copied(empty_store, tmp_path / "store"), timezone=file.get("timezone", "UTC"))
    yield found
    found.close()


DEFINE = "mutation ($input: DefineTagInput!) { defineTag(input: $input) { key } }"
SAVE = "mutation ($input: SaveAudienceInput!) { saveAudience(input: $input) { text } }"
ENTITY = "mutation ($key: String!) { defineEntity(key: $key) { key } }"
WRITES = {
    "tag": ("assignTags", "TagAssignment"),
    "remove": ("removeTags", "TagRemoval"),
    "event": ("recordEvents", "EventInput"),
    "profile": ("upsertProfiles", "ProfileInput"),
}
ASK = """query ($text: String!, $entity: String!, $asOf: DateTime) {
  audience(where: {text: $text}, entity: $entity, asOf: $asOf) {
    size text members(first: 100) { totalCount edges { node { userId } } } explain { nodes { path size } } } }"""


def write(api: Api, said: dict[str, Any]) -> None:
    kind = next(kind for kind in WRITES if kind in said)
    mutation, type_ = WRITES[kind]
    renamed = {"event": "tag", "remove": "tag", "when": "at", "profile": "attributes"}
    given = {renamed.get(name, name): value for name, value in said.items() if name != "entity"}
    if kind == "profile":
        given["userId"] = given.pop("user")
    variables = f"$input: [{type_}!]!, $entity: String!"
    query = f"mutation ({variables}) {{ {mutation}(input: $input, entity: $entity) {{ changed }} }}"
    api.ask(query, input=[given], entity=said.get("entity", "user"))


def defined(tag: dict[str, Any]) -> dict[str, Any]:
    given = dict(tag)
    if "rule" in given:
        given["rule"] = {"text": given["rule"]}
    if "rules" in given:
        given["rules"] = [{"value": value, "where": {"text": text}} for value, text in given["rules"].items()]
    return given


def test_through_graphql(api: Api, file: File) -> None:
    api.clock.set(parse_moment(file.get("now", START)))
    for entity in file.get("entities", ()):
        api.ask(ENTITY, key=entity)
    for tag in file["tags"]:
        api.ask(DEFINE, input=defined(tag))
    for step in file["steps"]:
        if "at" in step:
            api.clock.set(parse_moment(step["at"]))
        for said in step["write"]:
            write(api, said)
    for key, text in file.get("saved", {}).items():
        api.ask(SAVE, input={"key": key, "where": {"text": text}})
    present = api.clock.now()
    for case in file["cases"]:
        api.clock.set(parse_moment(case["at"]) if "at" in case else present)
        asked = {"text": case["ask"], "entity": case.get("entity", "user"), "asOf": case.get("asOf")}
        if "error" in case:
            check_error(api.error(ASK, **asked), case)
            continue
        found = api.ask(ASK, **asked)
        members = [edge["node"]["userId"] for edge in found["members"]["edges"]]
        assert sorted(members) == case["members"], case
        assert found["size"] == found["members"]["totalCount"] == len(members)
        assert found["explain"]["nodes"][0] == {"path": "", "size": len(members)}
        assert api.ask(ASK, **asked | {"text": found["text"]})["text"] == found["text"]


def check_error(error: dict[str, Any], case: dict[str, Any]) -> None:
    assert error["code"] == case["error"], case
    for name in ("line", "column"):
        assert error.get(name) == case.get(name, error.get(name)), (case, error)
    if "suggests" in case:
        assert case["suggests"] in error["suggestions"], (case, error)
