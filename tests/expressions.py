"""Hypothesis strategies for expressions: `expressions` for set algebra, `any_expression` for every node.

A new kind of node is added to `LEAVES` or `BRANCHES`; a test asserts that none is missing.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from bitmap_store import expression
from bitmap_store.errors import Invalid
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
)
from bitmap_store.literals import DURATION_MAX, check_key

Inner = SearchStrategy[Expression]
MICROSECOND = timedelta(microseconds=1)
TYPICAL_KEYS = [
    "vip",
    "City",
    "_x",
    "x-1.y",
    "account.members",
    "账户",
    "cafe\u0301",
    "हिन्दी",
    "Ⅷ",
    "2 of",
    "AND",
    "like",
]


def keys() -> SearchStrategy[str]:
    """Keys as people choose them, reserved words, and whatever backticks can hold; not always in NFC."""
    odd = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"], exclude_characters="`"), max_size=12)
    return st.sampled_from(TYPICAL_KEYS) | odd.filter(_is_key)


def _is_key(text: str) -> bool:
    try:
        check_key(text)
    except Invalid:
        return False
    return True


def texts() -> SearchStrategy[str]:
    """Values, ids and seeds: any text there is, quotes, line breaks and NUL included."""
    return st.sampled_from(["a", "CNTRL/STORE SUP", '"', "\\", "cafe\u0301", ""]) | st.text(max_size=8)


def moments() -> SearchStrategy[datetime]:
    """Aware moments, most of them not in UTC."""
    zones = [UTC, timezone(timedelta(hours=8)), timezone(-timedelta(hours=9, minutes=30))]
    return st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.sampled_from(zones))


def durations(most: timedelta = DURATION_MAX) -> SearchStrategy[timedelta]:
    """Durations, down to a microsecond."""
    return st.timedeltas(MICROSECOND, most) | st.integers(1, max(1, most.days)).map(lambda n: min(timedelta(n), most))


def numbers() -> SearchStrategy[Decimal]:
    """Decimals in every notation that Decimal has, up to 38 digits."""
    written = st.builds(lambda n, scale: Decimal(f"{n}E{-scale}"), st.integers(-(10**18), 10**18), st.integers(-9, 9))
    return st.sampled_from([Decimal("-0.0"), Decimal("1E+2"), Decimal("9" * 38), Decimal("1.50")]) | written


@st.composite
def matches(draw: st.DrawFn) -> Match:
    """Matches with any conditions that may stand together."""
    values = draw(st.none() | st.lists(texts(), min_size=1, max_size=3).map(tuple))
    operator = draw(st.none() | st.sampled_from(Operator)) if values is None else None
    within = draw(st.none() | durations())
    can_skip = within is not None and within > MICROSECOND
    return Match(
        draw(keys()),
        values=values,
        operator=operator,
        number=draw(numbers()) if operator else None,
        after=draw(st.none() | moments()),
        before=draw(st.none() | moments()),
        within=within,
        skip=draw(st.none() | durations(within - MICROSECOND)) if within and can_skip else None,
        ahead=draw(st.none() | durations()),
        times=draw(st.none() | st.integers(1, 2**31 - 1)),
        min_score=draw(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
    )


def _parts() -> SearchStrategy[Part]:
    bounds = st.lists(st.floats(0, 1), min_size=2, max_size=2, unique_by=lambda bound: bound + 0.0).map(sorted)
    return st.builds(lambda seed, bounds: Part(seed, *bounds), texts(), bounds)


def _several(inner: Inner) -> SearchStrategy[tuple[Expression, ...]]:
    return st.lists(inner, min_size=1, max_size=4).map(tuple)


def _at_least(inner: Inner) -> SearchStrategy[AtLeast]:
    return _several(inner).flatmap(lambda of: st.builds(AtLeast, st.integers(1, len(of)), st.just(of)))


def _lookalikes(inner: Inner) -> SearchStrategy[Lookalike]:
    but = st.lists(keys(), max_size=2).map(tuple)
    by_size = st.builds(Lookalike, inner, size=st.integers(1, 2**32), exclude_tags=but)
    return by_size | st.builds(Lookalike, inner, threshold=st.floats(-9, 9), exclude_tags=but)


LEAVES: dict[type[Expression], Callable[[], Inner]] = {
    Everyone: lambda: st.just(Everyone()),
    Match: lambda: matches(),
    Saved: lambda: st.builds(Saved, keys()),
    Users: lambda: st.builds(Users, st.lists(texts(), min_size=1, max_size=3).map(tuple), st.none() | keys()),
    Part: lambda: _parts(),
    InSnapshot: lambda: st.builds(InSnapshot, texts().filter(bool)),
}
ALGEBRA: dict[type[Expression], Callable[[Inner], Inner]] = {
    And: lambda inner: st.builds(And, _several(inner)),
    Or: lambda inner: st.builds(Or, _several(inner)),
    Not: lambda inner: st.builds(Not, inner),
    AtLeast: lambda inner: _at_least(inner),
}
BRANCHES: dict[type[Expression], Callable[[Inner], Inner]] = ALGEBRA | {
    At: lambda inner: st.builds(At, moments(), inner),
    Related: lambda inner: st.builds(Related, keys(), st.sampled_from(Quantifier), inner),
    Lookalike: lambda inner: _lookalikes(inner),
}


KINDS: set[type[Expression]] = {getattr(expression, kind.__name__) for kind in Expression.__subclasses__()}
"""Every kind of node; by name, as a dataclass with slots leaves a second class behind."""


def leaf() -> Inner:
    """One leaf of any kind."""
    return st.one_of([strategy() for strategy in LEAVES.values()])


def expressions(leaves: Inner | None = None, max_leaves: int = 12) -> Inner:
    """Set algebra (and, or, not, k of) over these leaves; over three plain tags when none are given."""
    plain: Inner = st.sampled_from([Match("a"), Match("b"), Match("c")])
    return _grown(plain if leaves is None else leaves, ALGEBRA, max_leaves)


def any_expression(max_leaves: int = 8) -> Inner:
    """Valid expressions of every kind of node, far within the limits of leaves and depth."""
    return _grown(leaf(), BRANCHES, max_leaves)


def _grown(leaves: Inner, branches: dict[type[Expression], Callable[[Inner], Inner]], max_leaves: int) -> Inner:
    return st.recursive(
        leaves, lambda inner: st.one_of([branch(inner) for branch in branches.values()]), max_leaves=max_leaves
    )
