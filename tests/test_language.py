"""The audience language: golden texts, round trips of every kind of expression, and hostile input."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.errors import Invalid, TagroarError, TooLarge
from bitmap_store.expression import (
    And,
    At,
    AtLeast,
    Everyone,
    Expression,
    InSnapshot,
    Lookalike,
    Match,
    Not,
    Operator,
    Or,
    Part,
    Quantifier,
    Related,
    Saved,
    Users,
    walk,
)
from bitmap_store.language import canonical, check, check_key, check_match, parse, render
from bitmap_store.literals import (
    RESERVED,
    duration_text,
    key_text,
    moment_text,
    number_text,
    parse_duration,
    parse_moment,
)
from demo.catalog import DEFINITIONS
from tests.expressions import BRANCHES, KINDS, LEAVES, any_expression, durations, keys, leaf, moments, numbers
from tests.pairs import Pair, golden_pairs, pairs

DOCS = Path(__file__).parent.parent / "docs" / "audience-language.md"


def answer(text: str) -> str:
    try:
        return render(parse(text))
    except TagroarError as error:
        return f"{'too large' if error.code == 'TOO_LARGE' else 'error'} {error.line}:{error.column}: {error.message}"


# ---------------------------------------------------------------- by example


@pytest.mark.parametrize("pair", golden_pairs("language.txt", answer), ids=lambda pair: pair.question or "nothing")
def test_golden(pair: Pair) -> None:
    assert answer(pair.question) == pair.answer


BLOCKS = re.findall(r"^```(audience[a-z-]*)\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", [line for kind, block in BLOCKS if kind == "audience" for line in block.splitlines()])
def test_every_example_of_the_docs_is_about_the_demo_data(text: str) -> None:
    tags = {tag.key: tag for tag in DEFINITIONS.tags}
    for _, node in walk(parse(text)):
        match node:
            case Match(key, values):
                allowed = tags[key].values
                assert values is None or allowed is None or set(values) <= set(allowed)
            case Saved(key):
                assert key in {audience.key for audience in DEFINITIONS.audiences}


@pytest.mark.parametrize(
    "pair", [pair for kind, block in BLOCKS if kind == "audience-pairs" for pair in pairs(block)[0]]
)
def test_every_answer_in_the_docs_is_right(pair: Pair) -> None:
    assert answer(pair.question) == pair.answer


def test_the_docs_name_every_reserved_word() -> None:
    listed = DOCS.read_text().split("## Reserved words")[1].split("\n## ")[0]
    assert set(re.findall(r"`([a-z]+)`", listed)) >= RESERVED


# ---------------------------------------------------------------- round trips


@given(any_expression())
def test_what_is_rendered_parses_back_to_the_canonical_expression(node: Expression) -> None:
    assert parse(render(node)) == canonical(node)


@given(any_expression())
def test_canonical_form_is_reached_at_once(node: Expression) -> None:
    once = canonical(node)
    assert canonical(once) == once
    assert render(once) == render(node)


@given(any_expression())
def test_what_was_parsed_is_canonical_and_valid(node: Expression) -> None:
    parsed = parse(render(node))
    assert canonical(parsed) == check(parsed) == parsed


@given(any_expression())
def test_a_check_keeps_the_shape(node: Expression) -> None:
    before, after = list(walk(node)), list(walk(check(node)))
    assert [(path, type(part)) for path, part in before] == [(path, type(part)) for path, part in after]


@given(any_expression(), any_expression())
def test_structure_is_kept_by_as_few_parentheses_as_can_be(a: Expression, b: Expression) -> None:
    for node in (And((And((a, b)), a)), And((a, Or((b, a)))), Or((a, And((b, a)))), Or((Or((a, b)), b)), Not(Not(a))):
        assert parse(render(node)) == canonical(node)
    x, y = Match("x"), Match("y")
    assert render(Or((And((x, y)), Not(x)))) == "x and y or not x"
    assert render(And((Or((x, y)), Not(And((x, y)))))) == "(x or y) and not (x and y)"


@given(keys())
def test_keys(key: str) -> None:
    checked = check_key(key)
    assert parse(key_text(checked)) == parse(f"known(`{checked}`)") == Match(checked)


@given(moments(), durations(), numbers())
def test_literals(moment: datetime, duration: timedelta, number: Decimal) -> None:
    assert parse_moment(moment_text(moment)) == moment
    assert parse_duration(duration_text(duration)) == parse_duration(duration_text(duration).lower()) == duration
    assert Decimal(number_text(number)) == number
    assert "E" not in number_text(number)


# ---------------------------------------------------------------- no kind of node is forgotten


def test_there_is_a_strategy_for_every_kind_of_node() -> None:
    assert set(LEAVES) | set(BRANCHES) == KINDS


@pytest.mark.parametrize("kind", sorted(KINDS, key=str))
def test_every_kind_of_node_goes_through_everything(kind: type[Expression]) -> None:
    made: Callable[[], st.SearchStrategy[Expression]] = LEAVES.get(kind) or (lambda: BRANCHES[kind](leaf()))

    @given(made())
    def goes(node: Expression) -> None:
        assert type(node) is kind
        assert parse(render(node)) == canonical(check(node))

    goes()


# ---------------------------------------------------------------- hostile input

PIECES = [*RESERVED, *"()[],@=<>!&", "!=", "<=", '"a"', '"2026-11-01"', '"\\ud800"', '"', "`a b`", "`", "P30D", "PT1H"]
PIECES += [
    "vip",
    "like",
    "size",
    "NaN",
    "Infinity",
    "0.5",
    "2",
    "-1",
    "1e9999",
    "9" * 5000,
    "1." + "0" * 50,
    "P1Y",
    "\0",
]
PIECES += ["\u202e", "\ufeff", "\ud800", "\n", "é", "e\u0301", "，", "Ⅷ", "½", "\u1fef", "\u3000"]


def is_an_expression_or_an_error_with_its_place(text: str) -> None:
    try:
        node = parse(text)
    except TagroarError as error:
        assert isinstance(error, Invalid | TooLarge)
        assert error.argument is None
        assert error.line is not None and error.column is not None
        lines = text.split("\n")
        assert 1 <= error.line <= len(lines) and 1 <= error.column <= len(lines[error.line - 1]) + 1
        assert error.message.isprintable()
    else:
        assert parse(render(node)) == canonical(node) == node


pieces = st.lists(st.sampled_from(PIECES), max_size=25)


@given(st.text() | pieces.map(" ".join) | pieces.map("".join))
def test_any_text_is_an_expression_or_an_error_with_its_place(text: str) -> None:
    is_an_expression_or_an_error_with_its_place(text)


@given(any_expression(max_leaves=4), st.data())
def test_so_is_a_damaged_text(node: Expression, data: st.DataObject) -> None:
    text = render(node)
    start, end = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=2)))
    is_an_expression_or_an_error_with_its_place(text[:start] + data.draw(st.sampled_from(PIECES)) + text[end:])


@pytest.mark.parametrize(
    "text",
    [
        "(" * 60_000,
        "not " * 16_000,
        "2 of (" * 10_000,
        'at "2026-11-01" (' * 3_000,
        "any a (" * 9_000,
        "a or " * 13_000 + "a",
        "a and " * 200 + "a",
        'a != "x" or ' * 100 + 'a != "x"',
        "a or (b and (" * 10 + "c" + "))" * 10,
        "é" * 40_000,
        "a" * 70_000,
        "users(" + '"u",' * 10_000 + '"u")',
        "a in (" + '"u",' * 10_000 + '"u")',
    ],
    ids=lambda text: text[:12],
)
def test_limits(text: str) -> None:
    with pytest.raises(TooLarge) as caught:
        parse(text)
    assert caught.value.line == 1 and caught.value.column


@pytest.mark.parametrize(
    "text", ["x within P" + "1" * 60_000 + "D", "x = " + "1" * 60_000, '"' + "\\" * 60_001, "`" * 60_001]
)
def test_long_pieces_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)


def test_what_the_service_wrote_may_be_longer_than_what_people_may_send() -> None:
    node = Users(tuple(f"user-{i:08}" for i in range(10_000)))
    with pytest.raises(TooLarge):
        parse(render(node))
    assert parse(render(node), bytes_max=1 << 20) == node


def test_limits_are_arguments() -> None:
    assert isinstance(parse("a or " * 400 + "a", leaves_max=1_000), Or)
    with pytest.raises(TooLarge):
        parse("not not a", depth_max=2)


# ---------------------------------------------------------------- checks of what was built elsewhere

A = Match("a")
NAIVE = datetime(2026, 11, 1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("match", "argument"),
    [
        (Match(""), "key"),
        (Match(" a"), "key"),
        (Match("a`"), "key"),
        (Match("a\u1fef"), "key"),  # a backtick once it is in NFC
        (Match("a\u202e"), "key"),
        (Match("a\ud800"), "key"),
        (Match("a" * 201), "key"),
        (Match("a", values=()), "in"),
        (Match("a", values=("x", "\udfff")), "in.1"),
        (Match("a", values=("x",), operator=Operator.EQ, number=Decimal(1)), "in"),
        (Match("a", operator=Operator.GTE), "gte"),
        (Match("a", operator=Operator.LT, number=Decimal("NaN")), "lt"),
        (Match("a", operator=Operator.LT, number=Decimal("Infinity")), "lt"),
        (Match("a", operator=Operator.LTE, number=Decimal("1E+999999")), "lte"),
        (Match("a", operator=Operator.GT, number=Decimal("1E-999999")), "gt"),
        (Match("a", number=Decimal(1)), "eq"),
        (Match("a", after=NAIVE), "after"),
        (Match("a", before=NAIVE), "before"),
        (Match("a", before=datetime(1, 1, 1, tzinfo=timezone(DAY / 2))), "before"),
        (Match("a", before=datetime(1, 1, 1, tzinfo=UTC)), None),
        (Match("a", within=timedelta()), "within"),
        (Match("a", ahead=-DAY), "ahead"),
        (Match("a", within=36_526 * DAY), "within"),
        (Match("a", skip=DAY), "skip"),
        (Match("a", within=DAY, skip=DAY), "skip"),
        (Match("a", times=0), "times"),
        (Match("a", times=2**31), "times"),
        (Match("a", times=2**31 - 1), None),
        (Match("a", min_score=float("nan")), "minScore"),
        (Match("a", min_score=float("inf")), "minScore"),
    ],
)
def test_a_match_names_the_field_at_fault(match: Match, argument: str | None) -> None:
    if argument is None:
        assert check_match(match) == match
        return
    with pytest.raises(Invalid) as caught:
        check_match(match)
    assert caught.value.argument == argument
    with pytest.raises(Invalid) as caught:
        check(Or((A, Not(match))))
    assert caught.value.argument == f"or.1.not.tag.{argument}"


@pytest.mark.parametrize(
    ("node", "argument"),
    [
        (And(()), "and"),
        (Or(()), "or"),
        (AtLeast(1, ()), "atLeast.of"),
        (AtLeast(0, (A,)), "atLeast.count"),
        (AtLeast(2, (A,)), "atLeast.count"),
        (Saved(""), "saved"),
        (Users(()), "users.ids"),
        (Users(("a", "\ud800")), "users.ids.1"),
        (Users(("a",), ""), "users.idKind"),
        (At(NAIVE, A), "at.asOf"),
        (Part("s", -0.1, 0.5), "part.from"),
        (Part("s", float("nan"), 0.5), "part.from"),
        (Part("s", 0.5, 0.5), "part.to"),
        (Part("s", 0.5, float("nan")), "part.to"),
        (Part("\ud800", 0, 1), "part.seed"),
        (InSnapshot(""), "snapshot"),
        (Related("`", Quantifier.ANY, A), "related.relation"),
        (Lookalike(A), "lookalike"),
        (Lookalike(A, size=1, threshold=0.5), "lookalike.threshold"),
        (Lookalike(A, size=0), "lookalike.size"),
        (Lookalike(A, threshold=float("inf")), "lookalike.threshold"),
        (Lookalike(A, size=1, exclude_tags=("b", "")), "lookalike.excludeTags.1"),
        (At(NAIVE.replace(tzinfo=UTC), And((A, Or(())))), "at.where.and.1.or"),
        (AtLeast(1, (A, Related("r", Quantifier.ALL, Not(Saved(""))))), "atLeast.of.1.related.where.not.saved"),
        (Lookalike(Lookalike(And(()), size=1), size=1), "lookalike.of.lookalike.of.and"),
    ],
)
def test_an_expression_names_the_node_at_fault(node: Expression, argument: str) -> None:
    with pytest.raises(Invalid) as caught:
        check(node)
    assert caught.value.argument == argument


def test_a_check_holds_the_limits() -> None:
    deep: Expression = A
    for _ in range(50_000):
        deep = Not(deep)
    for node in (deep, Or((A,) * 201), Users(("u",) * 10_001), replace(A, values=("v",) * 10_001)):
        with pytest.raises(TooLarge):
            check(node)
    assert check(Everyone(), leaves_max=1, depth_max=1) == Everyone()


def test_a_check_gives_names_in_the_form_in_which_they_are_compared() -> None:
    assert check(Not(Match("cafe\u0301", values=("e\u0301", "é")))) == Not(Match("café", values=("é",)))
