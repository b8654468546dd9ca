"""The contract of a store, once for every engine: what each kind of tag keeps, and what questions mean.

See `BitmapStore`. Memberships in time are in `test_store_history.py`, writing in `test_store_writes.py`.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bitmap_store.definitions import TagChange
from bitmap_store.errors import Invalid, NotFound, TagroarError, TooLarge
from bitmap_store.store import Sums
from bitmap_store.values import (
    Assign,
    Event,
    Identifier,
    Operation,
    ProfileChange,
    Remove,
    TagKind,
    WriteResult,
)
from tests.suite import DAY, HOUR, define, define_all, refused
from tests.worlds import MONDAY, StillClock, StoreWorld, World, copied, start_ids_at


@pytest.fixture
def world(world: World) -> World:
    """A world with a tag of each kind, and nobody in it."""
    return define_all(world)


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


def test_the_end_of_the_id_space(empty_store: Path, tmp_path: Path) -> None:
    """Of the store only: the last ids are like any others, and then there are no more."""
    directory = copied(empty_store, tmp_path / "store")
    start_ids_at(directory, 2**32 - 4)
    world = StoreWorld(directory, StillClock())
    try:
        define_all(world)
        world.apply(Event("ann", "buys"), Event("ann", "buys"), Event("bob", "buys"))
        for _ in range(2):
            assert world.members("buys times 2") == {"ann"}
            assert world.members("not buys times 2") == {"bob"}
            world.run(world.store.fold(0))
        refused(TooLarge, lambda: world.apply(Assign("bob", "vip"), Assign("cid", "vip"), Assign("dan", "vip")))
        assert world.members("vip") == set()
        world.apply(Assign("cid", "vip"))
        assert world.view().pages("everyone", 2) == [["ann", "bob"], ["cid"]]
        refused(TooLarge, lambda: world.apply(Assign("dan", "vip")))
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
    world.apply(ProfileChange("bob", (Identifier("device", "d1"),)))
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
    world.apply(ProfileChange("ann", (Identifier("email", "a@x"),)))
    world.save_audience("regulars", "vip")
    assert refused(NotFound, lambda: world.size("vpi")).suggestions == ("vip",)
    assert refused(NotFound, lambda: world.size('city = "Shangai"')).suggestions == ("Shanghai",)
    assert refused(NotFound, lambda: world.size("vip and @regular")).suggestions == ("regulars",)
    refused(NotFound, lambda: world.size('users emial ("a@x")'))
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
    assert world.view().sums("everyone", "spend") == Sums(5, 1051, 350**2 + 1 + 2 * 700**2)
    assert world.view().sums("vip", "spend") == Sums(0, 0, 0)


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
    squares = 20 * units**2 + (units - 2) ** 2 + units**2
    assert world.view().sums("everyone", "spend") == Sums(22, summary.sum, squares)


def test_summaries_leave_out_what_has_ended(world: World) -> None:
    world.apply(
        Assign("ann", "spend", number=Decimal(1), expires_at=MONDAY + HOUR), Assign("bob", "spend", number=Decimal(2))
    )
    assert world.view().summary("everyone", "spend").sum == 300
    world.clock.tick(hours=1)
    assert world.view().summary("everyone", "spend").sum == 200
    assert world.view().summary("everyone", "spend", as_of=MONDAY).sum == 300
    assert world.view().sums("everyone", "spend") == Sums(1, 200, 200**2)
    assert world.view().sums("everyone", "spend", as_of=MONDAY) == Sums(2, 300, 100**2 + 200**2)


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
