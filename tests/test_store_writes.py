"""The contract of a store, once for every engine: batches, profiles, entities and definitions."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from bitmap_store.definitions import TagChange, TagDefinition
from bitmap_store.errors import Conflict, Invalid, NotFound
from bitmap_store.values import (
    Assign,
    Batch,
    Event,
    Identifier,
    Operation,
    ProfileChange,
    Remove,
    TagKind,
    ValueRule,
    WriteResult,
)
from tests.suite import define, define_all, refused
from tests.worlds import MONDAY, World


@pytest.fixture
def world(world: World) -> World:
    """A world with a tag of each kind, and nobody in it."""
    return define_all(world)


# ---------------------------------------------------------------- batches


def test_operations_apply_in_order_as_one_version(world: World) -> None:
    result = world.apply(
        Assign("ann", "city", value="Oslo"),
        Assign("ann", "city", value="Rome"),
        Assign("ann", "vip"),
        Remove("ann", "vip"),
        Remove("bob", "vip"),
        Assign("bob", "likes", values=("tea", "tea")),
    )
    assert result == WriteResult(1, 2, 2)
    assert world.members("vip") == set()
    assert world.view().breakdown("everyone", "city") == {"Oslo": 0, "Rome": 1}


@pytest.mark.parametrize("at", [0, 2, 4])
def test_one_bad_operation_and_nothing_is_applied(world: World, at: int) -> None:
    world.apply(Assign("ann", "vip"), Event("ann", "buys", "milk"))
    good: list[Operation] = [
        Remove("ann", "vip"),
        Assign("new", "city", value="Nowhere"),
        ProfileChange("ann", (Identifier("email", "e"),), (("a", 1),)),
        Event("ann", "buys", "milk"),
    ]
    bad = Assign("ann", "spend", number=Decimal("0.001"))
    view = world.view()
    error = refused(Invalid, lambda: world.apply(*good[:at], bad, *good[at:]))
    assert error.argument == f"input.{at}.number"
    assert world.view().version == view.version
    assert world.members("vip") == world.members("everyone") == {"ann"}
    assert world.view().profile("ann") == (set(), {})
    assert world.members("buys times 2") == set()
    refused(NotFound, lambda: world.size('city = "Nowhere"'))
    assert world.apply(*good) == WriteResult(view.version + 1, 5, 1)
    assert world.members('city = "Nowhere"') == {"new"}


def test_batches_together(world: World) -> None:
    """Whatever they are committed with, each batch applies all or not at all, and none takes another down."""
    batches = []
    for i in range(60):
        good = (Assign(f"u{i}", "city", value=f"c{i % 7}"), Assign("all", "likes", value=f"v{i}"), Event("all", "buys"))
        bad = (*good, Assign("all", "spend", number=Decimal("NaN")))
        batches.append(Batch("user", bad if i % 3 == 0 else good))
    outcomes = world.apply_together(batches)
    good_ones = [i for i in range(60) if i % 3]
    assert [i for i, outcome in enumerate(outcomes) if isinstance(outcome, WriteResult)] == good_ones
    assert all(isinstance(outcome, WriteResult | Invalid) for outcome in outcomes)
    versions = [outcome.data_version for outcome in outcomes if isinstance(outcome, WriteResult)]
    assert sorted(versions) == list(range(1, 41))
    view = world.view()
    assert view.members("everyone") == {"all"} | {f"u{i}" for i in good_ones}
    assert {m.value for m in view.tags_of("all") if m.tag == "likes"} == {f"v{i}" for i in good_ones}
    assert [m.count for m in view.tags_of("all") if m.tag == "buys"] == [40]
    assert set(view.breakdown("everyone", "city")) == {f"c{i % 7}" for i in good_ones}


def test_an_idempotency_key_applies_once(world: World) -> None:
    first = world.apply(Event("ann", "buys", "milk"), key="k1")
    world.apply(Assign("bob", "vip"))
    world.clock.tick(days=1)
    assert world.apply(Event("ann", "buys", "milk"), key="k1") == replace(first, already_applied=True)
    assert world.members("buys times 2") == set()
    assert refused(Conflict, lambda: world.apply(Event("ann", "buys", "tea"), key="k1")).argument == "idempotencyKey"
    world.apply(Event("ann", "buys", "milk"), key="k2")
    assert world.members("buys times 2") == {"ann"}


def test_a_key_of_a_batch_that_failed_is_free(world: World) -> None:
    refused(Invalid, lambda: world.apply(Assign("ann", "city"), key="k"))
    world.apply(Assign("ann", "vip"), key="k")
    assert world.members("vip") == {"ann"}


def test_the_same_key_together_applies_once(world: World) -> None:
    batch = Batch("user", (Event("ann", "buys"),), idempotency_key="k")
    outcomes = world.apply_together([batch] * 10)
    known = [outcome.already_applied for outcome in outcomes if isinstance(outcome, WriteResult)]
    assert sorted(known) == [False] + 9 * [True]
    assert world.members("buys times 2") == set()


# ---------------------------------------------------------------- profiles and identifiers


def test_attributes_merge_and_have_a_history(world: World) -> None:
    world.apply(ProfileChange("ann", attributes=(("name", "Ann"), ("n", 1), ("deep", {"b": [1, None], "a": "é"}))))
    then = world.clock.now()
    world.clock.tick(hours=1)
    world.apply(ProfileChange("ann", attributes=(("n", None), ("age", 40))))
    assert world.view().profile("ann") == (set(), {"name": "Ann", "age": 40, "deep": {"b": [1, None], "a": "é"}})
    profile = world.view().profile("ann", as_of=then)
    assert profile is not None and profile[1]["n"] == 1 and "age" not in profile[1]
    assert world.view().profile("ann", as_of=then - timedelta(microseconds=1)) is None
    assert world.view().profile("zoe") is None


def test_true_is_not_one(world: World) -> None:
    world.apply(ProfileChange("ann", attributes=(("a", 1),)))
    assert world.apply(ProfileChange("ann", attributes=(("a", True),))).changed == 1
    profile = world.view().profile("ann")
    assert profile is not None and profile[1]["a"] is True
    assert world.apply(ProfileChange("ann", attributes=(("a", True),))).changed == 0


def test_identifiers(world: World) -> None:
    email, device = Identifier("email", "a@x"), Identifier("device", "a@x")
    world.apply(ProfileChange("ann", (email,)))
    assert world.apply(ProfileChange("ann", (email, device))).changed == 1
    profile = world.view().profile("ann")
    assert profile is not None and profile[0] == {email, device}
    error = refused(Conflict, lambda: world.apply(ProfileChange("bob", (Identifier("x", "y"), email))))
    assert error.argument == "input.0.identifiers.1"
    assert world.members("everyone") == {"ann"}
    error = refused(Invalid, lambda: world.apply(ProfileChange("bob", (Identifier("x", ""),))))
    assert error.argument == "input.0.identifiers.0.value"


def test_writing_by_identifier(world: World) -> None:
    world.apply(ProfileChange("ann", (Identifier("email", "a@x"),)), Assign("b@x", "vip"))
    batch = Batch("user", (Assign("a@x", "vip"), Assign("c@x", "vip"), Remove("nobody", "vip")), id_kind="email")
    assert world.apply_batch(batch) == WriteResult(2, 2, 1)
    assert world.members("vip") == {"ann", "b@x", "c@x"}
    assert world.members('users email ("c@x")') == {"c@x"}
    refused(Conflict, lambda: world.apply_batch(Batch("user", (Assign("b@x", "vip"),), id_kind="email")))
    world.apply_batch(Batch("user", (Remove("a@x", "vip"), Remove("b@x", "vip")), id_kind="email"))
    assert world.members("vip") == {"b@x", "c@x"}


def test_entity_kinds_have_their_own_users_and_tags(world: World) -> None:
    world.define_entity("account")
    define(world, "gold", entity="account")
    world.apply(Assign("x", "gold"), Assign("y", "gold"), entity="account")
    world.apply(Assign("x", "vip"), Assign("z", "vip"))
    assert world.members("gold", entity="account") == {"x", "y"}
    assert world.members("everyone") == {"x", "z"}
    refused(NotFound, lambda: world.size("gold"))
    refused(NotFound, lambda: world.apply(Assign("x", "gold")))
    refused(NotFound, lambda: world.apply(Assign("x", "vip"), entity="account"))
    refused(NotFound, lambda: world.apply(Assign("x", "vip"), entity="nothing"))
    world.save_audience("gold-ones", "gold", entity="account")
    assert world.size("@gold-ones", entity="account") == 2
    refused(Invalid, lambda: world.size("@gold-ones"))
    refused(NotFound, lambda: define(world, "x", entity="nothing"))


# ---------------------------------------------------------------- definitions


def test_defining_again(world: World) -> None:
    tag = define(world, "size", TagKind.CHOICE, values=("S", "M"), name="Size")
    assert define(world, "size", TagKind.CHOICE, values=("S", "M"), name="Size").id == tag.id
    refused(Conflict, lambda: define(world, "size", TagKind.CHOICES, values=("S", "M"), name="Size"))
    refused(Conflict, lambda: define(world, "size", TagKind.CHOICE, values=("S", "XL"), name="Size"))
    refused(Conflict, lambda: define(world, "size", TagKind.CHOICE, name="Size"))
    refused(Invalid, lambda: define(world, "bad", scale=2))
    refused(Invalid, lambda: define(world, "bad", TagKind.NUMBER, values=("x",)))
    refused(Invalid, lambda: define(world, "bad", TagKind.NUMBER, rule="vip"))


def test_definitions_have_versions(world: World) -> None:
    tag = define(world, "x")
    assert world.update_tag("x", TagChange(name="X"), if_version=tag.version).version == tag.version + 1
    refused(Conflict, lambda: world.update_tag("x", TagChange(name="Y"), if_version=tag.version))
    refused(NotFound, lambda: world.update_tag("y", TagChange(name="Y")))
    assert world.save_audience("a", "vip", if_version=0).version == 1
    refused(Conflict, lambda: world.save_audience("a", "vip", if_version=0))
    assert world.save_audience("a", "not vip", if_version=1).version == 2


def test_deleting_a_tag_takes_its_members(world: World) -> None:
    world.apply(Assign("ann", "city", value="Oslo"), Assign("bob", "vip"))
    world.save_audience("locals", "city")
    refused(Conflict, lambda: world.delete_tag("city"))
    world.delete_audience("locals")
    assert world.delete_tag("city").changed == 1
    refused(NotFound, lambda: world.size("city"))
    assert world.view().tags_of("ann") == []
    define(world, "city", TagKind.CHOICE)
    assert world.size("city") == 0
    refused(NotFound, lambda: world.size('city = "Oslo"'))
    world.apply(Assign("bob", "city", value="Rome"))
    assert world.members('city = "Rome"') == {"bob"}
    assert world.members("city", as_of=MONDAY) == set()


def test_rules_are_read_afresh(world: World) -> None:
    world.define_tag(TagDefinition("big", rule="spend >= 100"))
    world.apply(Assign("ann", "spend", number=Decimal(100)), Assign("bob", "spend", number=Decimal(99)))
    assert world.members("big") == {"ann"}
    assert world.members("not big") == {"bob"}
    world.update_tag("big", TagChange(rule="spend >= 99"))
    assert world.members("big") == {"ann", "bob"}
    refused(Invalid, lambda: world.apply(Assign("ann", "big")))
    refused(Conflict, lambda: world.delete_tag("spend"))
    refused(Invalid, lambda: world.update_tag("big", TagChange(rule="not big")))
    assert world.view().tags_of("bob") and all(m.tag != "big" for m in world.view().tags_of("ann"))


def test_of_a_choice_the_first_rule_that_holds_decides(world: World) -> None:
    rules = (ValueRule("high", "spend >= 100"), ValueRule("mid", "spend >= 10"), ValueRule("none", "not spend"))
    world.define_tag(TagDefinition("tier", kind=TagKind.CHOICE, rules=rules))
    world.define_tag(TagDefinition("tiers", kind=TagKind.CHOICES, rules=rules))
    world.apply(
        Assign("ann", "spend", number=Decimal(100)),
        Assign("bob", "spend", number=Decimal(10)),
        Assign("cid", "spend", number=Decimal(1)),
        Assign("dee", "vip"),
    )
    assert world.view().breakdown("everyone", "tier") == {"high": 1, "mid": 1, "none": 1}
    assert world.view().breakdown("everyone", "tiers") == {"high": 1, "mid": 2, "none": 1}
    assert world.members('tier in ("mid", "none")') == {"bob", "dee"}
    assert world.members("tier") == {"ann", "bob", "dee"}
    assert world.members("not tier") == {"cid"}


def test_what_nobody_is_named_by_is_told_inside_of_a_saved_audience_too(world: World) -> None:
    world.save_audience("kept", '1 of (users email ("a@x"), everyone)')
    refused(NotFound, lambda: world.members("@kept"))
    world.apply(ProfileChange("ann", (Identifier("email", "a@x"),)))
    assert world.members("@kept") == {"ann"}


def test_saved_audiences_follow_their_definition_of_today(world: World) -> None:
    world.apply(Assign("ann", "vip"), Assign("bob", "city", value="Oslo"))
    then = world.clock.now()
    world.save_audience("some", "vip")
    world.save_audience("others", "not @some")
    world.clock.tick(days=1)
    world.save_audience("some", "city")
    assert world.members("@some") == world.members("@some", as_of=then) == {"bob"}
    assert world.members("@others") == {"ann"}
    refused(Invalid, lambda: world.save_audience("some", "vip and @others"))
    refused(Conflict, lambda: world.delete_audience("some"))
    refused(NotFound, lambda: world.save_audience("new", "vpi"))
