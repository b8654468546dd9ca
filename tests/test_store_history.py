"""The contract of a store, once for every engine: memberships, when they end, and what was known when."""

from datetime import timedelta
from decimal import Decimal

import pytest

from bitmap_store.definitions import TagChange
from bitmap_store.errors import Invalid, Stale
from bitmap_store.values import (
    Assign,
    Batch,
    Event,
    ProfileChange,
    Remove,
    TagKind,
    WriteResult,
)
from tests.suite import DAY, HOUR, define, define_all, refused
from tests.worlds import MONDAY, RETENTION, World


@pytest.fixture
def world(world: World) -> World:
    """A world with a tag of each kind, and nobody in it."""
    return define_all(world)


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
    refused(Stale, lambda: world.members(f'everyone or at "{early.isoformat()}" (vip)'))
    world.save_audience("early", f'everyone or at "{early.isoformat()}" (vip)')
    refused(Stale, lambda: world.members("@early"))


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
