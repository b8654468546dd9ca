"""Random questions of one rich world: by every verb the store answers what the oracle does.

The world lies across the edge of a container (2^16 users) or of a shard (2^20), part of it in fragments
and part in the log, with memberships that end and days that pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.expression import And, At, AtLeast, Everyone, Expression, Match, Not, Or, children, walk
from bitmap_store.language import parse, render
from bitmap_store.values import Assign, Event, Identifier, Operation, ProfileChange, Remove
from tests.histories import CHOICES, DAY, EVENTS, FLAGS, HOUR, PRODUCTS, define, moved_question, questions
from tests.worlds import MONDAY, OracleWorld, StillClock, StoreWorld, copied, start_ids_at

USERS = [f"u{i}" for i in range(48)]
DAYS = 7
TIMEZONE = "America/New_York"
QUESTIONS = questions()


@dataclass
class Worlds:
    """The same history twice, and the moments at which it was written."""

    store: StoreWorld
    oracle: OracleWorld
    moments: list[datetime]

    def ask(self, text: str) -> Expression:
        """The question at the end of the history."""
        return moved_question(text, self.store.clock.now(), self.moments)


@pytest.fixture(scope="module", params=[2**16 - 24, 2**20 - 24], ids=["container", "shard"])
def worlds(
    request: pytest.FixtureRequest, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worlds]:
    directory = copied(empty_store, tmp_path_factory.mktemp("rich") / "store")
    start_ids_at(directory, request.param)
    clock = StillClock()
    store, oracle = StoreWorld(directory, clock, TIMEZONE), OracleWorld(clock, TIMEZONE)
    moments = []
    for world in (store, oracle):
        define(world)
    random = Random(request.param)
    for day in range(DAYS):
        for hour in (0, 5):
            clock.set(MONDAY + day * DAY + hour * HOUR)
            moments.append(clock.now())
            written = [operation for _ in range(60) for operation in some(random, clock.now())]
            for world in (store, oracle):
                world.apply(*written)
        if day == DAYS // 2:
            store.run(store.store.fold(entries_max=0))
            if request.param == 2**16 - 24:
                store.run(store.store.build_cache())
    dense = dict(zip(USERS, store.run(store.store.resolve("user", USERS)), strict=True))
    oracle.oracle.dense = lambda entity, user: int(dense[user] or 0)
    assert [dense[user] for user in oracle.oracle.versions[-1].of("user").users] == list(
        range(request.param, request.param + 48)
    )
    yield Worlds(store, oracle, moments)
    store.close()


def some(random: Random, now: datetime) -> list[Operation]:
    """A few operations on one user."""
    user = random.choice(USERS)
    ends = random.choice([None, None, now + random.randint(1, 72) * HOUR])
    key, values = random.choice(list(CHOICES.items()))
    event, product = random.choice(EVENTS), random.choice([None, *PRODUCTS])
    return random.choice(
        [
            [Assign(user, random.choice(FLAGS), score=random.choice([None, 0.25, 0.75]), expires_at=ends)],
            [Assign(user, key, value=random.choice(values), expires_at=ends), Remove(random.choice(USERS), key)],
            [Assign(user, "spend", number=Decimal(random.randint(-2000, 2000)) / 100, expires_at=ends)],
            [Assign(user, random.choice(["born", "renews"]), date=now + random.randint(-99, 99) * HOUR)],
            [Event(user, event, product, now - random.randint(0, 72) * HOUR, random.randint(1, 3))],
            [ProfileChange(user, (Identifier("email", f"{user}@x"),)), Remove(user, "vip")],
        ]
    )


@given(text=QUESTIONS)
def test_size_and_members(worlds: Worlds, text: str) -> None:
    question = worlds.ask(text)
    expected = worlds.oracle.members(question)
    assert worlds.store.members(question) == expected
    assert worlds.store.size(question) == len(expected)


@given(text=QUESTIONS, at=st.integers(0, 2 * DAYS - 1), offset=st.sampled_from([timedelta(), HOUR, -HOUR]))
def test_as_of(worlds: Worlds, text: str, at: int, offset: timedelta) -> None:
    question, as_of = worlds.ask(text), min(worlds.moments[at] + offset, worlds.moments[-1])
    assert worlds.store.members(question, as_of=as_of) == worlds.oracle.members(question, as_of=as_of)


@given(text=QUESTIONS, limit=st.integers(1, 50))
def test_pages_are_complete_and_in_one_order(worlds: Worlds, text: str, limit: int) -> None:
    question, view = worlds.ask(text), worlds.store.view()
    pages = view.pages(question, limit)
    assert all(len(page) == limit for page in pages[:-1])
    everyone = list(worlds.oracle.oracle.versions[-1].of("user").users)
    members = worlds.oracle.members(question)
    assert [user for page in pages for user in page] == [user for user in everyone if user in members]


@given(text=QUESTIONS, users=st.lists(st.sampled_from([*USERS, "nobody"]), max_size=10))
def test_contains(worlds: Worlds, text: str, users: list[str]) -> None:
    question = worlds.ask(text)
    assert worlds.store.view().contains(question, users) == worlds.oracle.view().contains(question, users)


@given(text=QUESTIONS, by=st.sampled_from([*CHOICES, *EVENTS, "tier", "moods"]))
def test_breakdowns(worlds: Worlds, text: str, by: str) -> None:
    question = worlds.ask(text)
    assert worlds.store.view().breakdown(question, by) == worlds.oracle.view().breakdown(question, by)


@given(text=QUESTIONS, tag=st.sampled_from(["spend", "born", "renews"]), bins=st.integers(0, 5))
def test_summaries(worlds: Worlds, text: str, tag: str, bins: int) -> None:
    question, quantiles = worlds.ask(text), (0, 0.1, 0.25, 0.5, 0.99, 1)
    expected = worlds.oracle.view().summary(question, tag, quantiles, bins)
    assert worlds.store.view().summary(question, tag, quantiles, bins) == expected
    assert worlds.store.view().sums(question, tag) == worlds.oracle.view().sums(question, tag)


@given(text=QUESTIONS)
def test_sizes_of_nodes_agree(worlds: Worlds, text: str) -> None:
    """The numbers that `explain` shows: no part of an `and` is smaller than it, no part of an `or` larger."""
    view = worlds.store.view()
    everyone = view.size(Everyone())
    inside_at = {id(below) for _, node in walk(worlds.ask(text)) if isinstance(node, At) for _, below in walk(node.of)}
    for _, node in walk(worlds.ask(text)):
        if id(node) in inside_at:
            continue
        size, parts = view.size(node), [view.size(child) for _, child in children(node)]
        match node:
            case And():
                assert size <= min(parts)
            case Or():
                assert max(parts) <= size <= sum(parts)
            case Not():
                assert size == everyone - parts[0]
            case AtLeast(count):
                assert size * count <= sum(parts)


@given(text=QUESTIONS)
def test_the_text_asks_the_same(worlds: Worlds, text: str) -> None:
    question = worlds.ask(text)
    assert worlds.store.members(render(question)) == worlds.store.members(question)
    assert worlds.store.members(
        f"not not ({render(question)})" if depth(question) < 18 else question
    ) == worlds.store.members(question)


def depth(node: Expression) -> int:
    return 1 + max((depth(child) for _, child in children(node)), default=0)


def test_tags_of_everyone(worlds: Worlds) -> None:
    for as_of in (None, *worlds.moments[::4]):
        for user in USERS[::2]:
            expected = worlds.oracle.view().tags_of(user, as_of=as_of)
            assert worlds.store.view().tags_of(user, as_of=as_of) == expected, user


def test_the_questions_are_worth_asking(worlds: Worlds) -> None:
    """Each kind of tag says something of some and not of others; else all this would prove little."""
    everyone = worlds.oracle.members("everyone")
    keys = [tag.key for tag in worlds.oracle.oracle.catalog.tags.values()]
    for key in keys:
        assert 0 < worlds.oracle.size(Match(key)) < len(everyone), key
    windowed = "warm", "likes within P1D", "visits within P2D", "buys times 3 within P5D", "renews ahead P2D"
    for text in windowed:
        assert 0 < worlds.oracle.size(parse(text)) < len(everyone), text
