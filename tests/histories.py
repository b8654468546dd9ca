"""Strategies for random worlds: what is written to them, and what is asked of them.

All is about the tags that `define` makes and around MONDAY; `moved` takes it to another moment. So what is
asked often has an answer that is neither nobody nor everybody. The set algebra is of `expressions.py`.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from bitmap_store.definitions import TagChange, TagDefinition
from bitmap_store.expression import (
    At,
    Everyone,
    Expression,
    Lookalike,
    Match,
    Operator,
    Part,
    Saved,
    Users,
    children,
    with_children,
)
from bitmap_store.language import canonical, parse, render
from bitmap_store.literals import moment_text, parse_moment
from bitmap_store.values import (
    Assign,
    DatePrecision,
    Event,
    Identifier,
    Operation,
    ProfileChange,
    Remove,
    TagKind,
    ValueRule,
)
from tests.expressions import expressions
from tests.worlds import MONDAY, World

USERS = [f"u{i}" for i in range(6)]
EMAILS = [Identifier("email", f"{user}@x") for user in USERS[:4]]
DAY, HOUR, MICROSECOND = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)

FLAGS = ["vip", "warm"]
CHOICES = {
    "city": ["Oslo", "Rome", "CNTRL/STORE SUP"],
    "size": ["S", "M"],
    "likes": ["tea", "go", "jazz"],
    "study": ["student/year-1", "student/year-2", "student", "student-card"],
}
DATES = ["born", "renews"]
EVENTS = ["buys", "visits"]
PRODUCTS = ["milk", "tea"]
SINGLE = [*FLAGS, "spend", *DATES]
RULES = {"big": None, "tier": ["high", "mid", "none"], "moods": ["up", "down"]}

DEFINITIONS = [
    TagDefinition("vip"),
    TagDefinition("warm", valid_for=DAY),
    TagDefinition("city", kind=TagKind.CHOICE),
    TagDefinition("size", kind=TagKind.CHOICE, values=("S", "M"), valid_for=3 * DAY),
    TagDefinition("likes", kind=TagKind.CHOICES),
    TagDefinition("study", kind=TagKind.CHOICES, hierarchical=True),
    TagDefinition("spend", kind=TagKind.NUMBER, scale=2),
    TagDefinition("born", kind=TagKind.DATE, precision=DatePrecision.DAY),
    TagDefinition("renews", kind=TagKind.DATE),
    TagDefinition("buys", kind=TagKind.EVENT),
    TagDefinition("visits", kind=TagKind.EVENT, valid_for=2 * DAY),
    TagDefinition("big", rule="spend >= 10 and not vip"),
    TagDefinition(
        "tier",
        kind=TagKind.CHOICE,
        rules=(ValueRule("high", "spend >= 10"), ValueRule("mid", "spend >= 0 or vip"), ValueRule("none", "not city")),
    ),
    TagDefinition(
        "moods",
        kind=TagKind.CHOICES,
        rules=(ValueRule("up", "likes or buys within P3D"), ValueRule("down", "not big and not known(warm)")),
    ),
]


def define(world: World) -> None:
    """The tags and one saved audience; every value is declared, so that asking for it is no error."""
    for definition in DEFINITIONS:
        world.define_tag(definition)
    for key in ("city", "likes", "study"):
        world.update_tag(key, TagChange(add_values=tuple(CHOICES[key])))
    for key in EVENTS:
        world.update_tag(key, TagChange(add_values=tuple(PRODUCTS)))
    world.save_audience("saved", "vip or likes")


# ---------------------------------------------------------------- writing


def moments() -> SearchStrategy[datetime]:
    """Now, soon, and on days around."""
    offsets = st.sampled_from([timedelta(), HOUR, 13 * HOUR]) | st.integers(-4, 4).map(lambda days: days * DAY)
    return offsets.map(lambda offset: MONDAY + offset)


def numbers() -> SearchStrategy[Decimal]:
    """Numbers that a scale of two keeps."""
    return st.sampled_from([Decimal("10"), Decimal("-0.01"), Decimal(0), Decimal("9999999999999999.99")]) | st.decimals(
        -20, 20, places=2
    )


def assignments() -> SearchStrategy[Assign]:
    """Assignments that fit the tags; some end soon, a few have ended already."""
    rest: dict[str, Any] = {
        "expires_at": st.none() | st.none() | moments(),
        "score": st.sampled_from([None, None, 0.25, 0.5, -1.0]),
        "source": st.sampled_from([None, "form", "crm"]),
    }
    user = st.sampled_from(USERS)
    several = [key for key in CHOICES if key in ("likes", "study")]
    return st.one_of(
        st.builds(Assign, user, st.sampled_from(FLAGS), **rest),
        st.sampled_from(list(CHOICES)).flatmap(
            lambda key: st.builds(Assign, user, st.just(key), value=st.sampled_from(CHOICES[key]), **rest)
        ),
        st.sampled_from(several).flatmap(
            lambda key: st.builds(
                Assign,
                user,
                st.just(key),
                values=st.lists(st.sampled_from(CHOICES[key]), max_size=3).map(tuple),
                **rest,
            )
        ),
        st.builds(Assign, user, st.just("spend"), number=numbers(), **rest),
        st.builds(Assign, user, st.sampled_from(DATES), date=moments(), **rest),
    )


def events() -> SearchStrategy[Event]:
    """Events of the last days, and a few to come."""
    at = st.none() | moments()
    value = st.sampled_from([None, *PRODUCTS])
    return st.builds(Event, st.sampled_from(USERS), st.sampled_from(EVENTS), value, at, st.integers(1, 3))


def removals() -> SearchStrategy[Remove]:
    """Removals of a tag, or of one value."""
    user = st.sampled_from(USERS)
    valued = CHOICES | dict.fromkeys(EVENTS, PRODUCTS)
    one_value = st.sampled_from(list(valued)).flatmap(
        lambda key: st.builds(Remove, user, st.just(key), st.sampled_from(valued[key]))
    )
    return one_value | st.builds(Remove, user, st.sampled_from([*SINGLE, *valued]))


def profile_changes() -> SearchStrategy[ProfileChange]:
    """Attributes, and identifiers that may well be somebody else's."""
    attributes = st.dictionaries(
        st.sampled_from("ab"), st.sampled_from([None, 1, True, "x", [1, {"k": None}]]), max_size=2
    )
    identifiers = st.lists(st.sampled_from(EMAILS), max_size=1).map(tuple)
    return st.builds(
        ProfileChange, st.sampled_from(USERS), identifiers, attributes.map(lambda found: tuple(found.items()))
    )


def operations() -> SearchStrategy[Operation]:
    """Any operation."""
    return st.one_of(assignments(), assignments(), events(), removals(), profile_changes())


def batches(most: int = 6) -> SearchStrategy[tuple[Operation, ...]]:
    """The operations of a batch."""
    return st.lists(operations(), min_size=1, max_size=most).map(tuple)


def said_of(key: str) -> SearchStrategy[list[Assign]]:
    """What a file may say of a FLAG, CHOICE or CHOICES tag: each thing once."""
    row = st.builds(Assign, st.sampled_from(USERS), st.just(key), st.sampled_from(CHOICES.get(key, [None])))
    return st.lists(
        row, min_size=2, max_size=6, unique_by=lambda each: (each.user, each.value) if key == "likes" else each.user
    )


def late_writes(key: str) -> SearchStrategy[tuple[Operation, ...]]:
    """Writes to the tag that a file is about."""
    user = st.sampled_from(USERS)
    values: list[str | None] = [*CHOICES.get(key, [None])]
    write = st.builds(Assign, user, st.just(key), st.sampled_from(values), source=st.just("late"))
    remove = st.builds(Remove, user, st.just(key))
    return st.lists(write | remove, min_size=1, max_size=4).map(tuple)


BAD_OPERATIONS: list[Operation] = [
    Assign("u0", "vip", value="x"),
    Assign("u0", "city", value="line\nbreak"),
    Assign("u0", "size", value="XXL"),
    Assign("u0", "study", value="student//x"),
    Assign("u0", "spend", number=Decimal("0.001")),
    Assign("u0", "big"),
    Assign("u0", "nothing"),
    Assign("", "vip"),
    Assign("u0", "vip", score=float("inf")),
    Assign("u0", "vip", source=""),
    Event("u0", "vip"),
    Event("u0", "buys", "milk", count=0),
    Remove("u1", "spend", "x"),
    ProfileChange("u0", (Identifier("email", "\x00"),)),
]
"""Each of these takes its whole batch down."""


def bad_batches() -> SearchStrategy[tuple[Operation, ...]]:
    """Batches with one operation that takes them down."""
    return st.builds(
        lambda good, bad, at: (*good[:at], bad, *good[at:]),
        batches(3),
        st.sampled_from(BAD_OPERATIONS),
        st.integers(0, 3),
    )


# ---------------------------------------------------------------- asking


def windows(*, ahead: bool = False) -> SearchStrategy[dict[str, Any]]:
    """Conditions on time: none, a last so long, from one moment to another."""
    durations = st.sampled_from([MICROSECOND, HOUR, DAY, DAY + HOUR, 3 * DAY, 10 * DAY])
    moment = moments()
    last = st.builds(lambda within: {"within": within}, durations)
    skipped = st.sampled_from([(2 * DAY, DAY), (10 * DAY, 2 * DAY), (DAY, HOUR), (2 * HOUR, MICROSECOND)]).map(
        lambda pair: {"within": pair[0], "skip": pair[1]}
    )
    some = [last, skipped, st.builds(lambda a: {"after": a}, moment), st.builds(lambda b: {"before": b}, moment)]
    some.append(st.builds(lambda a, b: {"after": a, "before": b}, moment, moment))
    if ahead:
        some.append(st.builds(lambda duration: {"ahead": duration}, durations))
        some.append(st.builds(lambda a, within: {"after": a, "within": within}, moment, durations))
    return st.just({}) | st.one_of(some)


def matches() -> SearchStrategy[Match]:
    """Questions about one tag that its kind can answer."""

    def some(values: Sequence[str]) -> SearchStrategy[tuple[str, ...] | None]:
        return st.none() | st.lists(st.sampled_from(values), min_size=1, max_size=3).map(tuple)

    scores = st.sampled_from([None, None, None, 0.5, -1.0])

    def built(
        key: str, window: SearchStrategy[dict[str, Any]], **conditions: SearchStrategy[Any]
    ) -> SearchStrategy[Match]:
        return st.builds(lambda found, window: Match(key, **found, **window), st.fixed_dictionaries(conditions), window)

    plain = [built(key, windows(), min_score=scores) for key in FLAGS]
    chosen = [built(key, windows(), min_score=scores, values=some(values)) for key, values in CHOICES.items()]
    compared = st.builds(
        lambda operator, number, window: Match("spend", operator=operator, number=number, **window),
        st.sampled_from(Operator),
        numbers() | st.decimals(-20, 20, places=4),
        windows(),
    )
    days = moments().map(lambda moment: moment.strftime("%Y-%m-%d"))
    seconds = moments().map(moment_text)
    dates = [
        built(
            key,
            windows(ahead=True),
            min_score=scores,
            values=st.none() | st.lists(text, min_size=1, max_size=2).map(tuple),
        )
        for key, text in (("born", days), ("renews", seconds | days))
    ]
    times = st.sampled_from([None, None, 1, 2, 3, 5])
    happened = [built(key, windows(), values=some(PRODUCTS), times=times) for key in EVENTS]
    ruled = [
        st.builds(Match, st.just(key), values=some(values) if values else st.none()) for key, values in RULES.items()
    ]
    return st.one_of(*plain, *chosen, *[compared] * 2, built("spend", windows()), *dates, *happened, *ruled)


def rare_leaves() -> SearchStrategy[Expression]:
    """Leaves that are about no tag."""
    bounds = st.sampled_from([(0.0, 0.5), (0.25, 0.75), (0.1, 0.11), (0.0, 1.0)])
    names = st.lists(st.sampled_from([*USERS, "nobody"]), min_size=1, max_size=3).map(tuple)
    emails = st.lists(st.sampled_from(EMAILS), min_size=1, max_size=2).map(
        lambda found: Users(tuple(each.value for each in found), "email")
    )
    return st.one_of(
        st.just(Everyone()),
        st.just(Saved("saved")),
        st.builds(Users, names),
        emails,
        st.builds(lambda seed, pair: Part(seed, *pair), st.sampled_from(["spring", ""]), bounds),
    )


_LEAVES: SearchStrategy[Expression] = st.one_of(*[matches()] * 4, rare_leaves())


@st.composite
def leaf(draw: st.DrawFn) -> Expression:
    """One leaf of a question. Composite, because Hypothesis writes out any other strategy, and that is long."""
    return draw(_LEAVES)


@st.composite
def then(draw: st.DrawFn) -> Expression:
    """A question of an earlier moment, by its number: see `moved_question`."""
    return At(MONDAY + draw(st.integers(0, 9)) * MICROSECOND, draw(_SHORT))


@st.composite
def alike(draw: st.DrawFn) -> Expression:
    """Who is like a few."""
    but = draw(st.sampled_from([(), ("likes",), ("vip", "city")]))
    if draw(st.booleans()):
        return Lookalike(draw(_SHORT), size=draw(st.integers(1, 5)), exclude_tags=but)
    return Lookalike(draw(_SHORT), threshold=draw(st.sampled_from([-1.5, 0.0, 0.7])), exclude_tags=but)


_SHORT = expressions(leaf(), max_leaves=3)


@st.composite
def questions(draw: st.DrawFn, max_leaves: int = 6) -> str:
    """Whole questions as text, some of them in part of earlier moments."""
    return render(draw(_questions(max_leaves)))


@cache
def _questions(max_leaves: int) -> SearchStrategy[Expression]:
    whole = expressions(leaf(), max_leaves=max_leaves)
    return whole | expressions(st.one_of(leaf(), leaf(), leaf(), then(), alike()), max_leaves=max_leaves)


# ---------------------------------------------------------------- to another moment


def moved_question(text: str, to: datetime, earlier: Sequence[datetime]) -> Expression:
    """The question as of `to` instead of MONDAY; each `at` is one of the earlier moments, or `to` if there is none."""
    return canonical(_moved_node(parse(text), to, earlier))


def _moved_node(node: Expression, to: datetime, earlier: Sequence[datetime]) -> Expression:
    by = to - MONDAY
    match node:
        case At(as_of, of):
            number = (as_of - MONDAY) // MICROSECOND
            return At(earlier[number % len(earlier)] if earlier else to, _moved_node(of, to, earlier))
        case Match():
            values = node.values
            if values is not None and node.key in DATES:
                values = tuple(_moved_text(text, by) for text in values)
            return replace(node, values=values, after=_moved(node.after, by), before=_moved(node.before, by))
    return with_children(node, tuple(_moved_node(child, to, earlier) for _, child in children(node)))


def moved_operations(operations: Sequence[Operation], to: datetime) -> tuple[Operation, ...]:
    """The operations as of `to` instead of MONDAY."""
    by = to - MONDAY
    found: list[Operation] = []
    for operation in operations:
        match operation:
            case Assign():
                ends, date = _moved(operation.expires_at, by), _moved(operation.date, by)
                operation = replace(operation, expires_at=ends, date=date)
            case Event():
                operation = replace(operation, at=_moved(operation.at, by))
        found.append(operation)
    return tuple(found)


def _moved(moment: datetime | None, by: timedelta) -> datetime | None:
    return None if moment is None else moment + by


def _moved_text(text: str, by: timedelta) -> str:
    moment = parse_moment(text) + by
    return moment.strftime("%Y-%m-%d") if "T" not in text else moment_text(moment.replace(microsecond=0))
