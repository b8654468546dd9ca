"""Look-alikes on every engine: who is in, whatever else an audience is asked, and what is refused."""

import asyncio
import random
from collections import Counter
from itertools import pairwise
from math import log
from threading import Event as Signal
from typing import Any

import pytest
from pyroaring import BitMap

from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import Conflict, NotFound
from bitmap_store.likeness import alike
from bitmap_store.plan import Alike
from bitmap_store.stopping import Stop
from bitmap_store.values import Assign, Event, Operation, Remove, Sensitivity, TagKind
from tests.suite import HOUR, define, define_all, refused
from tests.worlds import MONDAY, OracleWorld, StillClock, StoreWorld, World

SEEDS, ALIKE, OTHERS = range(20), range(20, 50), range(50, 120)


def planted() -> list[Operation]:
    """Seeds (vip) and their likes buy tea and like jazz more than others do; what city and what else is chance."""
    chance = random.Random(4)
    found: list[Operation] = []
    for number in range(120):
        user, is_kin = f"u{number}", number < ALIKE.stop
        found.append(Assign(user, "city", value=chance.choice(("Oslo", "Rome", "Lima"))))
        if chance.random() < (0.9 if is_kin else 0.1):
            found.append(Event(user, "buys", "tea", MONDAY))
        found.append(Assign(user, "likes", value="jazz" if chance.random() < (0.9 if is_kin else 0.1) else "rock"))
    return [*found, *(Assign(f"u{number}", "vip") for number in SEEDS)]


@pytest.fixture
def world(world: World) -> World:
    """A world with a few seeds, some like them, and others."""
    define_all(world)
    world.apply(*planted())
    return world


def users(numbers: range) -> set[str]:
    return {f"u{number}" for number in numbers}


def test_those_who_were_planted_come_first(world: World) -> None:
    found = world.members("like (vip) size 30")
    assert len(found) == 30
    assert len(found & users(ALIKE)) >= 24
    assert not found & users(SEEDS)
    assert found == world.members("like (vip) size 30")


def test_a_smaller_one_is_part_of_a_greater_one(world: World) -> None:
    sets = [world.members(f"like (vip) size {size}") for size in (1, 5, 29, 30, 99, 100, 101, 4294967296)]
    assert [len(each) for each in sets] == [1, 5, 29, 30, 99, 100, 100, 100]
    assert all(smaller <= greater for smaller, greater in pairwise(sets))
    assert sets[-1] == world.members("not vip")


def test_a_threshold_is_the_logarithm_of_a_ratio(world: World) -> None:
    """Of naive Bayes, worked out here from the counts; in hundredths, as weights are."""
    everyone, seeds = world.members("everyone"), world.members("vip")
    scores = {user: 0.0 for user in everyone - seeds}
    for text in ('buys["tea"]', 'likes = "jazz"', 'likes = "rock"'):
        having = world.members(text)
        p = (len(having & seeds) + 1) / (len(seeds) + 2)
        q = (len(having - seeds) + 1) / (len(everyone - seeds) + 2)
        for user in scores:
            scores[user] += log(p / q) if user in having else log((1 - p) / (1 - q))
    for threshold in (-3, -0.5, 0, 0.5, 2):
        expected = {user for user, score in scores.items() if score >= threshold}
        assert world.members(f"like (vip) threshold {threshold} except (vip)") == expected
        assert min(abs(score - threshold) for score in scores.values()) > 0.03


def test_it_is_an_audience_like_any_other(world: World) -> None:
    alike, oslo = world.members("like (vip) size 25"), world.members('city = "Oslo"')
    everyone, vip = world.members("everyone"), world.members("vip")
    assert world.members('like (vip) size 25 and city = "Oslo"') == alike & oslo
    assert world.members("like (vip) size 25 or vip") == alike | vip
    assert world.members("not like (vip) size 25") == everyone - alike
    assert world.members('city = "Oslo" and not like (vip) size 25') == oslo - alike
    assert world.members('2 of (like (vip) size 25, city = "Oslo", buys)') == {
        user for user in everyone if (user in alike) + (user in oslo) + (user in world.members("buys")) >= 2
    }
    assert world.size("like (vip) size 25") == 25
    assert world.view().contains("like (vip) size 25", ["u3", "u20", "nobody"]) == [False, "u20" in alike, False]
    assert sum(world.view().breakdown("like (vip) size 25", "city").values()) == 25


def test_seeds_may_be_anything(world: World) -> None:
    world.save_audience("best", "vip")
    define(world, "star", rule="vip and buys")
    plain = world.members("like (vip) size 10")
    assert world.members("like (@best) size 10") == plain
    named = world.members('like (users("u0", "u1", "u2", "u3", "u4", "u5", "u6")) size 10')
    assert len(named) == 10
    assert not named & users(range(7))
    assert world.members("like (star) size 10") == world.members("like (vip and buys) size 10")
    twice = world.members("like (like (vip) size 20) size 10")
    assert len(twice) == 10
    assert not twice & world.members("like (vip) size 20")
    world.save_audience("kin", "like (@best) size 10")
    assert world.members("@kin") == plain
    define(world, "kin", rule='like (vip) size 10 and not city = "Lima"')
    assert world.members("kin") == plain - world.members('city = "Lima"')


def test_tags_that_may_not_count(world: World) -> None:
    by_likes = world.members("like (vip) threshold 0 except (buys, vip)")
    assert by_likes == world.members('likes = "jazz" and not vip')
    assert world.members("like (vip) threshold 0 except (likes, vip)") == world.members("buys and not vip")
    assert world.members("like (vip) size 10 except (likes, buys, vip)") == set()
    refused(NotFound, lambda: world.size("like (vip) size 10 except (lykes)"))
    world.save_audience("kin", "like (buys) size 10 except (likes)")
    refused(NotFound, lambda: world.save_audience("kin", "like (buys) size 10 except (lykes)"))
    refused(Conflict, lambda: world.delete_tag("likes"))


def test_what_users_may_not_be_alike_by(world: World) -> None:
    definition = TagDefinition("secret", sensitivity=Sensitivity.RESTRICTED)
    world.define_tag(definition)
    define(world, "ruled", rule="vip")
    found = world.members("like (vip) size 50")
    marked = [f"u{number}" for number in range(119, 100, -1)]
    world.apply(*(Assign(user, "secret") for user in [*marked, *users(SEEDS)]))
    assert world.members("like (vip) size 50") == found
    define(world, "open")
    world.apply(*(Assign(user, "open") for user in [*marked, *users(SEEDS)]))
    assert set(marked) <= world.members("like (vip) size 50")


@pytest.mark.parametrize("seeds", ["not everyone", "everyone", 'users("nobody")', 'part("x", 0.1, 0.6)'])
def test_nobody_is_like_nobody_or_like_everyone_or_like_chance(world: World, seeds: str) -> None:
    assert world.members(f"like ({seeds}) size 10") == set()
    assert world.members(f"like ({seeds}) threshold -9") == set()
    assert world.members(f"not like ({seeds}) size 10") == world.members("everyone")


def test_it_is_as_of_its_moment(world: World) -> None:
    then, before = world.clock.now(), world.members("like (vip) size 30")
    world.clock.tick(hours=1)
    world.apply(*(Remove(user, "buys") for user in users(range(120))), *(Remove(f"u{n}", "vip") for n in range(10)))
    now = world.members("like (vip) size 30")
    assert now != before
    assert world.members("like (vip) size 30", as_of=then) == before
    assert world.members(f'at "{then.isoformat()}" (like (vip) size 30)') == before
    assert world.members(f'like (at "{then.isoformat()}" (vip)) size 30') == world.members(
        "like (users(" + ", ".join(f'"u{n}"' for n in SEEDS) + ")) size 30"
    )


def test_what_ends_counts_no_more(world: World) -> None:
    define(world, "open")
    marked = [f"u{number}" for number in range(119, 100, -1)]
    world.apply(*(Assign(user, "open", expires_at=MONDAY + HOUR) for user in [*marked, *users(SEEDS)]))
    assert world.members("like (vip) size 19 except (buys, likes, vip)") == set(marked)
    world.clock.tick(hours=1)
    assert world.members("like (vip) size 19 except (buys, likes, vip)") == set()


def test_windows_of_seeds_move_with_the_moment(world: World) -> None:
    world.apply(*(Event(f"u{number}", "buys", "milk", MONDAY) for number in range(30)))
    text = 'like (buys["milk"] within P1D) size 10'
    assert len(world.members(text)) == 10
    world.clock.tick(days=2)
    assert world.members(text) == set()
    assert len(world.members(text, as_of=MONDAY + HOUR)) == 10


def test_thresholds_far_away(world: World) -> None:
    assert world.members("like (vip) threshold 1e300") == set()
    assert world.members("like (vip) threshold -1e300") == world.members("not vip")


def test_a_tag_of_many_values_makes_nobody_alike(world: World) -> None:
    define(world, "receipt", TagKind.CHOICE)
    found = world.members("like (vip) size 30")
    world.apply(*(Assign(f"u{n % 120}", "receipt", value=f"r{n}") for n in range(1001)))
    assert world.members("like (vip) size 30") == found


@pytest.mark.parametrize("seed", range(6))
def test_engines_agree(store_world: StoreWorld, folding_world: StoreWorld, cached_world: StoreWorld, seed: int) -> None:
    """Worlds of random weights and random questions, the same on each engine as on the oracle."""
    chance = random.Random(seed)
    worlds: list[World] = [store_world, folding_world, cached_world, OracleWorld(StillClock())]
    batches = []
    for _ in range(2):
        batch: list[Operation] = []
        for number in range(60):
            kin, user = number % 3 == 0, f"u{number}"
            for key, values in (("city", "abcd"), ("likes", "abcdef")):
                weights = [2.0 ** (-i if kin else i) for i in range(len(values))]
                batch.append(Assign(user, key, value=chance.choices(values, weights)[0]))
            if chance.random() < (0.7 if kin else 0.2):
                batch.append(Event(user, "buys", chance.choice(("milk", "tea")), MONDAY))
            if chance.random() < (0.5 if kin else 0.1):
                batch.append(Assign(user, "vip", expires_at=chance.choice((None, MONDAY + HOUR))))
        batches.append(batch)
    asked = ["vip", 'city = "a"', "users(" + ", ".join(f'"u{n}"' for n in range(0, 60, 6)) + ")", "likes and not buys"]
    questions = [
        f"like ({of}) {bound}{but}"
        for of in asked
        for bound in ("size 3", "size 17", "threshold 0", "threshold -1.25", "threshold 0.5")
        for but in ("", " except (vip)", " except (city, likes)")
    ]
    for world in worlds:
        define_all(world)
        world.apply(*batches[0])
        world.clock.tick(hours=2)
        world.apply(*batches[1])
    for question in questions:
        for as_of in (None, MONDAY):
            *found, expected = [world.members(question, as_of=as_of) for world in worlds]
            assert found == [expected] * 3, question


# ---------------------------------------------------------------- scores


def test_users_by_the_weights_of_what_they_are_in(world: World) -> None:
    weights = [("buys", 5), ('city = "Oslo"', -7), ("vip", 3), ('likes = "jazz" and not buys', 1_000), ("buys", 1)]
    ranked = world.view().ranking("everyone", weights, 1_000)
    assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
    for user, score in ranked[::9]:
        having = world.view().contains
        assert score == sum(weight for each, weight in weights if having(each, [user])[0])
    for limit in (0, 1, 7, 60):
        assert world.view().ranking("everyone", weights, limit) == ranked[:limit]
    some = [each for each in ranked if each[0] in world.members("vip")]
    assert world.view().ranking("vip", weights, 9) == some[:9]
    assert [user for user, _ in world.view().ranking("vip", [], 3)] == ["u0", "u1", "u2"]
    assert world.view().ranking("not everyone", weights, 3) == []
    assert world.view().score_counts("vip", weights) == Counter(score for _, score in some)
    assert world.view().score_counts("not everyone", weights) == {}


# ---------------------------------------------------------------- of the store alone


@pytest.fixture
def scorings(monkeypatch: pytest.MonkeyPatch) -> list[Alike]:
    """The look-alikes that are made, one by one."""
    made: list[Alike] = []

    def counted(node: Alike, *rest: Any) -> BitMap:
        made.append(node)
        return alike(node, *rest)

    monkeypatch.setattr("bitmap_store.evaluate.alike", counted)
    return made


def test_it_is_scored_once_for_a_version(store_world: StoreWorld, scorings: list[Alike]) -> None:
    define_all(store_world)
    store_world.apply(*planted())
    text = "like (vip) size 30"
    assert store_world.size(text) == 30
    view = store_world.view()
    pages = view.pages(text, 7)
    assert sum(map(len, pages)) == view.size(f"{text} or not {text}") - 90
    view.breakdown(text, "city")
    view.contains(text, ["u1", "u30"])
    view.sizes([text, f"{text} and vip", f"not {text}"])
    assert len(scorings) == 1
    store_world.apply(Assign("u5", "city", value="Lima"))
    assert store_world.size(text) == 30
    assert len(scorings) == 2
    assert view.size(text) == 30
    assert len(scorings) == 2


def test_those_who_ask_at_once_wait_for_one(store_world: StoreWorld, scorings: list[Alike]) -> None:
    define_all(store_world)
    store_world.apply(*planted())
    plan = store_world.view().plan("like (vip) size 30")

    async def together() -> list[list[int]]:
        return await asyncio.gather(*(store_world.store.count([plan]) for _ in range(6)))

    assert store_world.run(together()) == [[30]] * 6
    assert len(scorings) == 1


def test_it_is_left_off_when_nobody_waits(store_world: StoreWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    define_all(store_world)
    store_world.apply(*planted())
    plan = store_world.view().plan("like (vip) size 30")
    begun, ended = Signal(), Signal()

    def slow(node: Alike, seeds: BitMap, everyone: BitMap, leaf: object, stop: Stop) -> BitMap:
        begun.set()
        try:
            while True:
                stop.check()
        finally:
            ended.set()

    monkeypatch.setattr("bitmap_store.evaluate.alike", slow)

    async def given_up() -> None:
        tasks = [asyncio.create_task(store_world.store.count([plan])) for _ in range(2)]
        assert await asyncio.to_thread(begun.wait, 10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    store_world.run(given_up())
    assert ended.wait(10)
    monkeypatch.undo()
    assert store_world.size("like (vip) size 30") == 30
