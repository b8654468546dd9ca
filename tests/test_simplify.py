"""`simplify`: golden pairs for each rule, and that no rule changes what an expression means."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store import simplify as module
from bitmap_store.expression import And, At, AtLeast, Everyone, Expression, Match, Not, Or, Part, children, walk
from bitmap_store.language import canonical, check, parse, render
from bitmap_store.simplify import RULES, simplify
from tests.expressions import any_expression, expressions
from tests.pairs import Pair, golden_pairs


def answer(text: str) -> str:
    return render(simplify(parse(text)))


PAIRS = golden_pairs("simplify.txt", answer)
RULE_NAMES = [rule.__name__ for rule in RULES]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.question)
def test_golden(pair: Pair) -> None:
    assert answer(pair.question) == pair.answer


def test_every_rule_has_its_section() -> None:
    assert {pair.section for pair in PAIRS} == {*RULE_NAMES, "inside"}


@pytest.mark.parametrize("name", RULE_NAMES)
def test_a_section_fails_without_its_rule(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RULES", tuple(rule for rule in RULES if rule.__name__ != name))
    assert any(answer(pair.question) != pair.answer for pair in PAIRS if pair.section == name)


# ---------------------------------------------------------------- meaning, against Python sets


@dataclass(frozen=True)
class Fact:
    """A membership: this user has this value of this tag, so often and so surely."""

    user: int
    key: str
    value: str
    count: int
    score: float


@dataclass(frozen=True)
class World:
    """A tiny world: who there is, and what is known of them."""

    everyone: frozenset[int]
    facts: frozenset[Fact]
    then: "World | None" = None


THEN = datetime(2026, 11, 1, tzinfo=UTC)


def members(node: Expression, world: World) -> frozenset[int]:
    """What an expression means, word by word."""
    sets = [members(child, world) for _, child in children(node)] if not isinstance(node, At) else []
    match node:
        case Everyone():
            return world.everyone
        case Match():
            return frozenset(user for user in world.everyone if _holds(node, user, world))
        case And():
            return world.everyone.intersection(*sets)
        case Or():
            return frozenset[int]().union(*sets)
        case Not():
            return world.everyone - sets[0]
        case AtLeast(count):
            return frozenset(user for user in world.everyone if sum(user in of for of in sets) >= count)
        case At(_, of):
            assert world.then is not None
            return members(of, world.then)
        case Part(_, start, end):
            return frozenset(user for user in world.everyone if start <= user / 10 < end)
    raise AssertionError(node)


def _holds(match: Match, user: int, world: World) -> bool:
    counts = [
        fact.count
        for fact in world.facts
        if (fact.user, fact.key) == (user, match.key)
        and (match.values is None or fact.value in match.values)
        and (match.min_score is None or fact.score >= match.min_score)
    ]
    return bool(counts) and sum(counts) >= (match.times or 1)


facts = st.frozensets(
    st.builds(Fact, st.integers(0, 9), *map(st.sampled_from, ("xy", "ab", (1, 2), (0.25, 0.75)))), max_size=25
)
worlds = st.builds(
    lambda everyone, facts, then, before: World(everyone, facts, World(everyone & then, before)),
    st.frozensets(st.integers(0, 9), min_size=1),
    facts,
    st.frozensets(st.integers(0, 9)),
    facts,
)
matches = st.builds(
    Match,
    st.sampled_from("xy"),
    values=st.sampled_from([None, ("a",), ("b",), ("a", "b"), ("b", "a")]),
    times=st.sampled_from([None, None, 1, 2]),
    min_score=st.sampled_from([None, None, 0.5]),
)
others = st.sampled_from([Everyone(), Not(Everyone()), Part("s", 0, 1), Part("s", 0.2, 0.6)])
now = expressions(matches | others, max_leaves=6)
in_time = expressions(matches | matches | others | st.builds(At, st.just(THEN), now), max_leaves=16)


@given(in_time, worlds)
def test_the_meaning_stays(node: Expression, world: World) -> None:
    assert members(simplify(node), world) == members(node, world)


@given(in_time)
def test_a_second_time_changes_nothing(node: Expression) -> None:
    once = simplify(node)
    assert simplify(once) == once


@given(any_expression())
def test_it_never_grows_and_stays_valid(node: Expression) -> None:
    simpler = simplify(node)
    assert sum(1 for _ in walk(simpler)) <= sum(1 for _ in walk(node))
    assert parse(render(simpler)) == canonical(check(simpler))


# ---------------------------------------------------------------- cost

LARGE: Mapping[str, str] = {
    "flat": " or ".join(f"t{i}" for i in range(200)),
    "values": " or ".join(f'city in ("v{i}")' for i in range(200)),
    "clauses": " or ".join(f"(a and t{i})" for i in range(100)),
    "deep": "a and (b or (" * 8 + " and ".join(f"t{i}" for i in range(180)) + "))" * 8,
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE.keys())
def test_two_hundred_leaves_are_compared_about_once_each(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: how often a leaf is hashed or compared, which is what the rules spend their time on."""
    node = parse(text)
    seen = 0
    plain_hash = Match.__hash__

    def counted(match: Match) -> int:
        nonlocal seen
        seen += 1
        return plain_hash(match)

    monkeypatch.setattr(Match, "__hash__", counted)
    simplify(node)
    leaves = sum(isinstance(part, Match) for _, part in walk(node))
    assert seen <= 100 * leaves


def test_empty_lists_are_simplified_by_their_mathematics() -> None:
    assert simplify(Or((And(()), Match("a")))) == Everyone()
    assert simplify(And((Or(()), Match("a")))) == Not(Everyone())
    assert simplify(AtLeast(0, (Match("a"),))) == Everyone()
