"""The contract of a store, clause by clause, once for every engine. See `BitmapStore` and `values.Batch`."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bitmap_store.definitions import TagChange, TagDefinition
from bitmap_store.errors import Conflict, Invalid, NotFound, Stale, TagroarError
from bitmap_store.values import (
    Assign,
    Batch,
    DatePrecision,
    Event,
    Identifier,
    Operation,
    ProfileChange,
    Remove,
    Tag,
    TagKind,
    ValueRule,
    WriteResult,
)
from tests.worlds import MONDAY, RETENTION, StillClock, StoreWorld, World, copied

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def world(world: World) -> World:
    """A world with a tag of each kind, and nobody in it."""
    return define_all(world)


def define_all(world: World) -> World:
    define(world, "vip")
    define(world, "city", TagKind.CHOICE)
    define(world, "likes", TagKind.CHOICES)
    define(world, "spend", TagKind.NUMBER, scale=2)
    define(world, "born", TagKind.DATE, precision=DatePrecision.DAY)
    define(world, "renews", TagKind.DATE)
    define(world, "buys", TagKind.EVENT)
    return world


def define(world: World, key: str, kind: TagKind = TagKind.FLAG, **rest: object) -> Tag:
    return world.define_tag(TagDefinition(key, kind=kind, **rest))  # type: ignore[arg-type]


def refused(kind: type[TagroarError], act: Callable[[], object]) -> TagroarError:
    """The error of an act that has to fail."""
    with pytest.raises(kind) as caught:
        act()
    return caught.value


# ---------------------------------------------------------------- kinds of tags


def test_a_flag_is_there_or_not(world: World) -> None:
    world.apply(Assign("ann", "vip"), Assign("bob", "city", value="Oslo"))
    assert world.members("vip") == {"ann"}
    assert world.members("not vip") == {"bob"}
    world.apply(Remove("ann", "vip"))
    assert world.size("vip") == 0
    assert world.members("everyone") == {"ann", "bob"}


def test_a_choice_replaces_the_old_value_in_the_same_version(world: World) -> None:
    world.apply(Assign("ann", "city", value="Oslo"))
    result = world.apply(Assign("ann", "city", value="Rome"))
    assert world.members('city = "Rome"') == {"ann"}
    assert world.members('city = "Oslo"') == set()
    assert [m.value for m in world.view().tags_of("ann")] == ["Rome"]
    assert result == WriteResult(2, 1, 0)


def test_choices_add_or_replace(world: World) -> None:
    world.apply(Assign("ann", "likes", value="tea"), Assign("ann", "likes", value="go"))
    assert [m.value for m in world.view().tags_of("ann")] == ["tea", "go"]
    world.apply(Assign("ann", "likes", values=("go", "jazz")))
    assert [m.value for m in world.view().tags_of("ann")] == ["go", "jazz"]
    world.apply(Remove("ann", "likes", value="go"))
    assert world.members('likes in ("go", "tea")') == set()
    assert world.members("likes") == {"ann"}
    world.apply(Assign("ann", "likes", values=()))
    assert world.members("likes") == set()


def test_numbers_compare_exactly(world: World) -> None:
    world.apply(
        Assign("ann", "spend", number=Decimal("10.25")),
        Assign("bob", "spend", number=Decimal("-0.01")),
        Assign("cid", "spend", number=Decimal(0)),
    )
    assert world.members("spend >= 10.25") == {"ann"}
    assert world.members("spend > 10.25") == set()
    assert world.members("spend < 10.2500001") == {"ann", "bob", "cid"}
    assert world.members("spend > 10.2499999") == {"ann"}
    assert world.members("spend = 10.250") == {"ann"}
    assert world.members("spend = 10.2500001") == set()
    assert world.members("spend != 10.25") == {"bob", "cid"}
    assert world.members("spend < 0") == {"bob"}
    assert world.members("spend <= 0") == {"bob", "cid"}
    assert world.members("spend > -0.015") == {"ann", "bob", "cid"}
    assert world.members("spend < -0.015") == set()


def test_a_number_of_eighteen_digits_is_kept(world: World) -> None:
    most = Decimal("9999999999999999.99")
    world.apply(Assign("ann", "spend", number=most), Assign("bob", "spend", number=-most))
    assert world.members("spend = 9999999999999999.99") == {"ann"}
    assert world.members("spend > 9999999999999999.98") == {"ann"}
    assert world.members("spend >= 99999999999999999999999999999999999") == set()
    error = refused(Invalid, lambda: world.apply(Assign("ann", "spend", number=Decimal("10000000000000000"))))
    assert error.argument == "input.0.number"
    error = refused(Invalid, lambda: world.apply(Assign("ann", "spend", number=Decimal("0.001"))))
    assert error.argument == "input.0.number"


def test_dates_of_days(world: World) -> None:
    world.apply(
        Assign("ann", "born", date=MONDAY),
        Assign("bob", "born", date=MONDAY - DAY),
        Assign("cid", "born", date=MONDAY + 6 * DAY),
    )
    assert world.members('born = "2026-11-02"') == {"ann"}
    assert world.members('born >= "2026-11-02"') == {"ann", "cid"}
    assert world.members('born > "2026-11-02"') == {"cid"}
    assert world.members('born before "2026-11-02"') == {"bob"}
    assert world.members('born <= "2026-11-02"') == {"ann", "bob"}
    assert world.members('born after "2026-11-02T00:00:01Z"') == {"cid"}
    assert world.members("born within P1D") == {"ann"}
    assert world.members("born within P2D") == {"ann", "bob"}
    assert world.members("born within P2D skip P1D") == {"bob"}
    assert world.members("born ahead P6D") == {"ann"}
    assert world.members("born ahead P7D") == {"ann", "cid"}
    assert world.members("born ahead P6DT1S") == {"ann", "cid"}


def test_dates_of_seconds(world: World) -> None:
    second = timedelta(seconds=1)
    for name, moment in {"ann": MONDAY, "bob": MONDAY - second, "cid": MONDAY + 60 * second}.items():
        world.apply(Assign(name, "renews", date=moment))
    world.clock.tick(microseconds=700_000)
    assert world.members("renews within PT1S") == {"ann"}
    assert world.members("renews within PT0.5S") == {"ann"}
    assert world.members("renews within PT2S") == {"ann", "bob"}
    assert world.members("renews within PT2S skip PT1S") == {"bob"}
    assert world.members("renews ahead PT1M") == {"ann"}
    assert world.members("renews ahead PT61S") == {"ann", "cid"}
    assert world.members('renews = "2026-11-02T12:00:00Z"') == {"ann"}
    assert world.members('renews = "2026-11-02T13:00:00+01:00"') == {"ann"}
    assert world.members('renews before "2026-11-02T12:00:00.5Z"') == {"ann", "bob"}
    assert world.members('renews after "2026-11-02T12:00:00.5Z"') == {"cid"}


def test_events_count_by_day(world: World) -> None:
    world.apply(
        Event("ann", "buys", "milk", MONDAY, 2),
        Event("ann", "buys", "milk", MONDAY - HOUR),
        Event("ann", "buys", "tea", MONDAY - 3 * DAY),
        Event("bob", "buys", "milk", MONDAY - 40 * DAY),
    )
    assert world.members('buys["milk"] times 3') == {"ann"}
    assert world.members('buys["milk"] times 4') == set()
    assert world.members('buys["milk", "tea"] times 4') == {"ann"}
    assert world.members("buys times 4 within P3D") == set()
    assert world.members("buys times 4 within P4D") == {"ann"}
    assert world.members("buys within P3D skip P1D") == set()
    assert world.members("buys within P4D skip P1D") == {"ann"}
    assert world.members("buys within P41D skip P40D") == {"bob"}
    assert world.members('buys before "2026-10-01"') == {"bob"}
    assert world.members('buys before "2026-10-31"') == {"bob", "ann"}
    assert world.members('buys after "2026-10-31"') == {"ann"}
    assert world.members('buys["tea"] after "2026-10-31"') == set()
    (milk, _) = world.view().tags_of("ann")
    assert (milk.value, milk.count, milk.last_at, milk.since) == ("milk", 3, MONDAY, MONDAY)


def test_events_may_have_no_value(world: World) -> None:
    world.apply(Event("ann", "buys"), Event("ann", "buys", "milk"))
    assert world.members("buys times 2") == {"ann"}
    assert world.members('buys["milk"] times 2') == set()
    world.apply(Remove("ann", "buys", "milk"))
    assert [(m.value, m.count) for m in world.view().tags_of("ann")] == [(None, 1)]


def test_an_event_count_has_a_limit(world: World) -> None:
    most = 2**32 - 1
    world.apply(Event("ann", "buys", "milk", count=most))
    assert refused(Invalid, lambda: world.apply(Event("ann", "buys", "milk"))).argument == "input.0.count"
    assert refused(Invalid, lambda: world.apply(Event("ann", "buys", count=0))).argument == "input.0.count"
    world.apply(Event("ann", "buys", "tea", count=most))
    assert world.members("buys times 2147483647") == {"ann"}
    assert sum(m.count or 0 for m in world.view().tags_of("ann")) == 2 * most


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Apia", "Pacific/Pago_Pago"])
def test_the_ends_of_the_calendar(empty_store: Path, tmp_path: Path, zone: str) -> None:
    """Of the store only: the oracle's days end where Python's do."""
    world = StoreWorld(copied(empty_store, tmp_path / "store"), StillClock(), zone)
    try:
        define_all(world)
        last = datetime.max.replace(tzinfo=UTC)
        world.apply(Event("ann", "buys", at=last), Event("bob", "buys"), Assign("ann", "renews", date=last))
        assert world.members('buys before "9999-12-31T23:59:59.999999Z"') == {"ann", "bob"}
        assert world.members('buys after "0001-01-01" before "9999-12-30"') == {"bob"}
        assert world.members('buys before "0001-01-01"') == set()
        assert world.members("buys within P36525D") == {"bob"}
        assert world.members('renews after "9999-12-31" before "9999-12-31T23:59:59.999999Z"') == {"ann"}
        assert [m.last_at for m in world.view().tags_of("ann")][-1:] == [last]
    finally:
        world.close()


@pytest.mark.parametrize(
    ("operation", "argument"),
    [
        (Assign("u", "vip", value="x"), "value"),
        (Assign("u", "city"), "value"),
        (Assign("u", "city", values=("x",)), "values"),
        (Assign("u", "likes", value="x", values=("y",)), "value"),
        (Assign("u", "spend", value="12"), "value"),
        (Assign("u", "born", number=Decimal(1)), "number"),
        (Assign("u", "buys", value="milk"), "tag"),
        (Event("u", "vip"), "tag"),
        (Remove("u", "vip", "x"), "value"),
        (Assign("u", "city", value=""), "value"),
        (Assign("u", "city", value="a\x00b"), "value"),
        (Assign("u", "city", value="x" * 513), "value"),
        (Assign("u", "likes", values=("a", "\ud800")), "values.1"),
        (Assign("u", "nope"), "tag!"),
        (Assign("", "vip"), "user"),
        (Assign("é" * 257, "vip"), "user"),
        (Assign("tab\t", "vip"), "user"),
    ],
)
def test_what_does_not_fit_is_refused(world: World, operation: Operation, argument: str) -> None:
    world.apply(Assign("u", "spend", number=Decimal(1)))
    error = refused(TagroarError, lambda: world.apply(operation))
    assert (error.code, error.argument) == (
        "NOT_FOUND" if argument == "tag!" else "INVALID",
        f"input.0.{argument}".rstrip("!"),
    )
    assert world.members("everyone") == {"u"}


# ---------------------------------------------------------------- questions


def test_three_values(world: World) -> None:
    """A user has the value, has another, or is unknown; `not` is everyone except."""
    world.apply(Assign("ann", "city", value="Oslo"), Assign("bob", "city", value="Rome"), Assign("cid", "vip"))
    assert world.members("city") == {"ann", "bob"}
    assert world.members('not city = "Oslo"') == {"bob", "cid"}
    assert world.members('city != "Oslo"') == {"bob"}
    assert world.members("not city") == {"cid"}
    assert world.view().breakdown("everyone", "city") == {"Oslo": 1, "Rome": 1}


def test_at_least_counts_each_operand(world: World) -> None:
    world.apply(Assign("ann", "vip"), Assign("bob", "vip"), Assign("bob", "city", value="Oslo"))
    assert world.members("2 of (vip, city, spend)") == {"bob"}
    assert world.members("2 of (vip, vip)") == {"ann", "bob"}
    assert world.members("2 of (vip, vip, city)") == {"ann", "bob"}
    assert world.members("3 of (vip, vip, city)") == {"bob"}
    assert world.members("3 of (everyone, not city, vip, not everyone)") == {"ann"}


def test_users_that_are_listed(world: World) -> None:
    world.apply(ProfileChange("ann", (Identifier("email", "a@x"),)), Assign("bob", "vip"))
    assert world.members('users("ann", "zoe")') == {"ann"}
    assert world.members('users email ("a@x", "bob")') == {"ann"}
    assert world.members('not users("ann")') == {"bob"}
    assert world.members('users device ("a@x")') == set()
    assert world.view().contains("everyone", ["zoe", "bob", "ann", "bob"]) == [False, True, True, True]


def test_parts_are_disjoint_and_stable(world: World) -> None:
    world.apply(*(Assign(f"u{i}", "vip") for i in range(300)))
    parts = [f'part("spring", {i / 4}, {(i + 1) / 4})' for i in range(4)]
    sets = [world.members(part) for part in parts]
    assert set().union(*sets) == world.members("everyone")
    assert sum(map(len, sets)) == 300
    assert all(40 < len(part) < 110 for part in sets)
    world.apply(*(Assign(f"v{i}", "vip") for i in range(50)))
    assert [
        world.members(part) & world.members('not users("x")') - {f"v{i}" for i in range(50)} for part in parts
    ] == sets
    assert world.members('part("autumn", 0, 0.25)') != world.members(parts[0])


def test_unknown_names_are_not_found_with_the_nearest(world: World) -> None:
    world.apply(Assign("ann", "city", value="Shanghai"))
    world.save_audience("regulars", "vip")
    assert refused(NotFound, lambda: world.size("vpi")).suggestions == ("vip",)
    assert refused(NotFound, lambda: world.size('city = "Shangai"')).suggestions == ("Shanghai",)
    assert refused(NotFound, lambda: world.size("vip and @regular")).suggestions == ("regulars",)
    refused(NotFound, lambda: world.size("vip or everyone or nope"))
    refused(NotFound, lambda: world.size("everyone", entity="accont"))


@pytest.mark.parametrize(
    "text",
    [
        "vip >= 1", 'vip = "x"', "city > 3", "likes times 2", "spend ahead P1D", 'spend = "x"', "buys score 0.5",
        "city ahead P1D", "born times 2", "vip times 1", 'born = "yesterday"', "born = 3",
    ],
)  # fmt: skip
def test_conditions_that_a_kind_does_not_have_are_invalid(store_world: StoreWorld, text: str) -> None:
    """Of the store only: the oracle answers well-formed questions."""
    define_all(store_world)
    error = refused(Invalid, lambda: store_world.size(text))
    assert (error.argument or "").startswith("where.tag.")


def test_values_are_compared_in_composed_form(world: World) -> None:
    world.apply(Assign("ann", "city", value="Cafe\u0301"))
    world.apply(Assign("bob", "city", value="Caf\u00e9"))
    assert world.members('city = "Cafe\u0301"') == world.members('city = "Caf\u00e9"') == {"ann", "bob"}
    assert [m.value for m in world.view().tags_of("ann")] == ["Caf\u00e9"]


def test_hierarchical_values_mean_what_is_below(world: World) -> None:
    define(world, "study", TagKind.CHOICES, hierarchical=True)
    world.apply(
        Assign("ann", "study", value="student/undergraduate/year-3"),
        Assign("bob", "study", value="student"),
        Assign("cid", "study", value="student-card"),
    )
    assert world.members('study = "student"') == {"ann", "bob"}
    assert world.members('study = "student/undergraduate"') == {"ann"}
    assert world.view().breakdown("everyone", "study") == {
        "student": 2, "student/undergraduate": 1, "student/undergraduate/year-3": 1, "student-card": 1
    }  # fmt: skip
    refused(Invalid, lambda: world.apply(Assign("ann", "study", value="student//year-3")))
    world.apply(Assign("ann", "city", value="CNTRL/STORE SUP"))
    refused(NotFound, lambda: world.size('city = "CNTRL"'))


def test_closed_values(world: World) -> None:
    define(world, "size", TagKind.CHOICE, values=("S", "M"))
    assert world.members('size = "M"') == set()
    error = refused(NotFound, lambda: world.apply(Assign("ann", "size", value="L")))
    assert error.argument == "input.0.value"
    world.update_tag("size", TagChange(add_values=("L",)))
    world.apply(Assign("ann", "size", value="L"))
    assert world.view().breakdown("everyone", "size") == {"S": 0, "M": 0, "L": 1}


def test_removing_is_checked_whoever_it_is_for(world: World) -> None:
    define(world, "size", TagKind.CHOICE, values=("S", "M"))
    assert refused(NotFound, lambda: world.apply(Remove("nobody", "size", "L"))).argument == "input.0.value"
    assert refused(Invalid, lambda: world.apply(Remove("nobody", "vip", "x"))).argument == "input.0.value"
    assert world.apply(Remove("nobody", "city", "Atlantis")) == WriteResult(0, 0, 0)
    refused(NotFound, lambda: world.size('city = "Atlantis"'))


# ---------------------------------------------------------------- what belongs to a membership


def test_assigning_the_same_again_keeps_since(world: World) -> None:
    world.apply(Assign("ann", "city", value="Oslo", score=0.5, source="form"))
    world.clock.tick(hours=1)
    world.apply(Assign("ann", "city", value="Oslo", source="import", expires_at=MONDAY + DAY))
    (oslo,) = world.view().tags_of("ann")
    assert (oslo.since, oslo.source, oslo.score, oslo.expires_at) == (MONDAY, "import", None, MONDAY + DAY)
    world.apply(Assign("ann", "city", value="Rome"))
    (rome,) = world.view().tags_of("ann")
    assert rome.since > MONDAY and rome.expires_at is None


def test_saying_the_very_same_again_makes_no_version(world: World) -> None:
    first = world.apply(Assign("ann", "vip", source="form"))
    world.clock.tick(hours=1)
    assert world.apply(Assign("ann", "vip", source="form")) == WriteResult(first.data_version, 0, 0)
    assert world.apply(Remove("ann", "city"), Remove("zoe", "vip")) == WriteResult(first.data_version, 0, 0)
    assert world.members("everyone") == {"ann"}


def test_a_batch_has_a_source(world: World) -> None:
    world.apply_batch(Batch("user", (Assign("ann", "vip"), Assign("bob", "vip", source="own")), source="crm"))
    assert world.view().tags_of("ann")[0].source == "crm"
    assert world.view().tags_of("bob")[0].source == "own"


def test_scores(world: World) -> None:
    world.apply(Assign("ann", "vip", score=0.5), Assign("bob", "vip"), Assign("cid", "vip", score=-1.0))
    assert world.members("vip score 0.5") == {"ann"}
    assert world.members("vip score -1") == {"ann", "cid"}
    assert world.members("vip score -2") == {"ann", "cid"}


def test_since_windows(world: World) -> None:
    world.apply(Assign("ann", "vip"))
    then = world.clock.tick(hours=1)
    world.apply(Assign("bob", "vip"))
    world.clock.tick(hours=1)
    assert world.members("vip within PT1H") == set()
    assert world.members("vip within PT1H0.000001S") == {"bob"}
    assert world.members("vip within PT2H0.000001S skip PT1H") == {"ann", "bob"}
    assert world.members("vip within PT2H0.000001S skip PT1H0.000001S") == {"ann"}
    assert world.members(f'vip after "{then.isoformat()}"') == {"bob"}
    assert world.members(f'vip before "{then.isoformat()}"') == {"ann"}


# ---------------------------------------------------------------- expiry


def test_expiry_at_the_very_microsecond(world: World) -> None:
    end = MONDAY + HOUR
    world.apply(Assign("ann", "vip", expires_at=end), Assign("bob", "vip"))
    world.clock.set(end - timedelta(microseconds=1))
    assert world.members("vip") == {"ann", "bob"}
    assert len(world.view().tags_of("ann")) == 1
    world.clock.set(end)
    assert world.members("vip") == {"bob"}
    assert world.members("not vip") == {"ann"}
    assert world.view().tags_of("ann") == []
    assert world.view().contains("vip", ["ann", "bob"]) == [False, True]
    assert world.members("vip", as_of=end - timedelta(microseconds=1)) == {"ann", "bob"}
    assert world.members(f'at "{(end - timedelta(microseconds=1)).isoformat()}" (vip) and not vip') == {"ann"}


def test_answers_move_with_the_moment_both_ways(world: World) -> None:
    """What is remembered of one moment is not taken for the answer of another."""
    for i in range(5):
        world.apply(Assign(f"u{i}", "vip", expires_at=MONDAY + (i + 1) * HOUR))
    world.clock.set(MONDAY + 5 * HOUR)
    for hour in (0, 4, 2, 4, 1, 3, 2):
        assert world.size("vip", as_of=MONDAY + hour * HOUR + timedelta(milliseconds=1)) == 5 - hour
    assert world.size("vip") == 0


def test_after_expiry_it_begins_anew(world: World) -> None:
    world.apply(Assign("ann", "vip", expires_at=MONDAY + HOUR))
    world.clock.tick(hours=2)
    result = world.apply(Assign("ann", "vip"))
    assert result.changed == 1
    (vip,) = world.view().tags_of("ann")
    assert vip.since == MONDAY + 2 * HOUR
    assert world.members("vip", as_of=MONDAY + HOUR) == set()
    assert world.members("vip", as_of=MONDAY + HOUR - timedelta(microseconds=1)) == {"ann"}


def test_what_has_ended_can_be_shown(world: World) -> None:
    world.apply(Assign("ann", "likes", value="tea", expires_at=MONDAY + HOUR), Assign("ann", "likes", value="go"))
    assert world.view().tags_of("ann", ended=True) == []
    world.clock.tick(hours=1)
    assert [m.value for m in world.view().tags_of("ann")] == ["go"]
    assert [(m.value, m.since) for m in world.view().tags_of("ann", ended=True)] == [("tea", MONDAY)]
    assert world.view().tags_of("ann", as_of=MONDAY, ended=True) == []


def test_what_has_ended_is_not_ended_again(world: World) -> None:
    world.apply(Assign("ann", "likes", value="tea", expires_at=MONDAY + HOUR))
    world.clock.tick(hours=2)
    version = world.view().version
    assert world.apply(Remove("ann", "likes")) == WriteResult(version, 0, 0)
    assert world.apply(Assign("ann", "likes", value="go")).changed == 1


def test_valid_for(world: World) -> None:
    define(world, "warm", TagKind.FLAG, valid_for=DAY)
    define(world, "visits", TagKind.EVENT, valid_for=2 * DAY)
    world.apply(
        Assign("ann", "warm"),
        Assign("bob", "warm", expires_at=MONDAY + 3 * DAY),
        Event("ann", "visits", at=MONDAY - DAY),
        Event("bob", "visits", at=MONDAY - 2 * DAY),
    )
    assert world.members("visits") == {"ann"}
    world.clock.tick(days=1)
    assert world.members("warm") == {"bob"}
    assert world.members("visits") == set()
    world.update_tag("warm", TagChange(valid_for=HOUR))
    assert world.members("warm") == {"bob"}


def test_events_of_a_day_that_ended_count_anew(world: World) -> None:
    define(world, "visits", TagKind.EVENT, valid_for=HOUR)
    world.apply(Event("ann", "visits", at=MONDAY))
    world.clock.tick(hours=1)
    world.apply(Event("ann", "visits"))
    assert [(m.count, m.since) for m in world.view().tags_of("ann")] == [(1, MONDAY + HOUR)]


# ---------------------------------------------------------------- history


def test_as_of(world: World) -> None:
    moments = []
    for city in ("Oslo", "Rome", "Lima"):
        world.apply(Assign("ann", "city", value=city), Assign(city, "vip"))
        moments.append(world.clock.now())
        world.clock.tick(days=1)
    for moment, city, size in zip(moments, ("Oslo", "Rome", "Lima"), (2, 3, 4), strict=True):
        assert world.members("city", as_of=moment) == {"ann"}
        assert [m.value for m in world.view().tags_of("ann", as_of=moment)] == [city]
        assert world.size("everyone", as_of=moment) == size
    assert world.size("everyone", as_of=MONDAY - timedelta(microseconds=1)) == 0
    assert world.members("not vip", as_of=moments[1]) == {"ann"}


def test_at_is_a_set_of_then_among_those_of_now(world: World) -> None:
    world.apply(Assign("ann", "vip"))
    monday = world.clock.now()
    world.clock.tick(days=1)
    world.apply(Remove("ann", "vip"), Assign("bob", "vip"))
    then = monday.isoformat()
    assert world.members(f'at "{then}" (vip) and not vip') == {"ann"}
    assert world.members(f'at "{then}" (everyone)') == {"ann"}
    assert world.members(f'not at "{then}" (everyone)') == {"bob"}
    assert world.members(f'at "{then}" (not vip)') == set()
    assert world.members(f'at "{then}" (vip within PT1S)') == {"ann"}
    later = world.clock.now().isoformat()
    assert world.members(f'at "{then}" (at "{later}" (vip))') == set()
    assert world.members(f'at "{later}" (at "{then}" (vip))') == {"ann"}


def test_how_far_back_as_of_reaches(world: World) -> None:
    world.apply(Assign("ann", "vip"))
    now = world.clock.tick(days=100)
    assert world.members("vip", as_of=now - RETENTION) == {"ann"}
    assert world.members("vip", as_of=now) == {"ann"}
    early = now - RETENTION - timedelta(microseconds=1)
    late = now + timedelta(microseconds=1)
    assert refused(Stale, lambda: world.members("vip", as_of=early)).argument == "asOf"
    assert refused(Invalid, lambda: world.members("vip", as_of=late)).argument == "asOf"
    refused(Stale, lambda: world.members(f'vip and at "{early.isoformat()}" (vip)'))
    refused(Invalid, lambda: world.members(f'vip and at "{late.isoformat()}" (vip)'))


def test_a_view_stays_what_it_is(world: World) -> None:
    world.apply(Assign("ann", "vip", expires_at=MONDAY + HOUR), Assign("ann", "spend", number=Decimal(3)))
    view = world.view()
    world.clock.tick(hours=2)
    world.apply(Assign("bob", "vip"), Remove("ann", "spend"), ProfileChange("ann", attributes=(("a", 1),)))
    assert view.members("vip") == {"ann"}
    assert view.members("everyone") == {"ann"}
    assert view.summary("everyone", "spend").sum == 300
    assert view.profile("ann") == (set(), {})
    assert view.profile("bob") is None
    assert len(view.tags_of("ann")) == 2
    assert world.view().version == view.version + 1


def test_moments_never_go_back(world: World) -> None:
    world.apply(Assign("ann", "vip"))
    world.clock.set(MONDAY - DAY)
    world.apply(Assign("bob", "vip"))
    view = world.view()
    assert view.moment >= MONDAY
    assert view.members("vip") == {"ann", "bob"}
    assert view.members("vip", as_of=MONDAY) == {"ann"}


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
    good = [
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
    assert sorted(outcome.already_applied for outcome in outcomes) == [False] + 9 * [True]
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


# ---------------------------------------------------------------- statistics


def test_summaries_are_exact(world: World) -> None:
    numbers = ["-3.50", "0", "0.01", "7", "7"]
    world.apply(*(Assign(f"u{i}", "spend", number=Decimal(n)) for i, n in enumerate(numbers)), Assign("other", "vip"))
    summary = world.view().summary("everyone", "spend", quantiles=(0, 0.2, 0.5, 0.8, 0.81, 1), bins=3)
    assert (summary.count, summary.sum, summary.min, summary.max) == (5, 1051, -350, 700)
    assert summary.median == 1
    assert summary.quantiles == (-350, -350, 1, 700, 700, 700)
    assert summary.bins == (1, 2, 2)
    none = world.view().summary("vip", "spend", quantiles=(0.5,), bins=3)
    assert (none.count, none.sum, none.min, none.quantiles) == (0, 0, None, (None,))


def test_big_sums_do_not_overflow(world: World) -> None:
    most = Decimal("9999999999999999.99")
    world.apply(*(Assign(f"u{i}", "spend", number=most) for i in range(20)))
    world.apply(Assign("v", "spend", number=most - Decimal("0.02")), Assign("w", "spend", number=-most))
    units = 999999999999999999
    summary = world.view().summary("everyone", "spend", quantiles=(0, 0.06, 0.5, 1), bins=2)
    assert summary.sum == 20 * units + units - 2 - units
    assert (summary.min, summary.max) == (-units, units)
    assert summary.quantiles == (-units, units - 2, units, units)
    assert summary.bins == (1, 21)


def test_summaries_leave_out_what_has_ended(world: World) -> None:
    world.apply(
        Assign("ann", "spend", number=Decimal(1), expires_at=MONDAY + HOUR), Assign("bob", "spend", number=Decimal(2))
    )
    assert world.view().summary("everyone", "spend").sum == 300
    world.clock.tick(hours=1)
    assert world.view().summary("everyone", "spend").sum == 200
    assert world.view().summary("everyone", "spend", as_of=MONDAY).sum == 300


def test_dates_can_be_summarised(world: World) -> None:
    world.apply(Assign("ann", "born", date=datetime(1969, 12, 31, 23, tzinfo=UTC)), Assign("bob", "born", date=MONDAY))
    summary = world.view().summary("everyone", "born")
    assert (summary.min, summary.count) == (-1, 2)


def test_breakdowns_leave_out_what_has_ended(world: World) -> None:
    world.apply(
        Assign("ann", "likes", values=("tea", "go")),
        Assign("bob", "likes", value="tea", expires_at=MONDAY + HOUR),
        Assign("ann", "vip"),
    )
    assert world.view().breakdown("vip", "likes") == {"tea": 1, "go": 1}
    assert world.view().breakdown("everyone", "likes") == {"tea": 2, "go": 1}
    world.clock.tick(hours=1)
    assert world.view().breakdown("everyone", "likes") == {"tea": 1, "go": 1}
