"""What makes an expression a valid one, before any catalog is asked.

The parser checks each node as it makes it; input that was built elsewhere goes through `check`. An
error names the argument at fault by its path in `AudienceWhere`, as in "and.1.tag.times".
"""

import math
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from bitmap_store.errors import Invalid, TagroarError, TooLarge
from bitmap_store.expression import (
    DEPTH_MAX,
    LEAVES_MAX,
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
    Related,
    Saved,
    Users,
    check_bounds,
    children,
    operands,
    with_children,
)
from bitmap_store.literals import check_duration, check_key, check_string, duration_text
from bitmap_store.text import normal, normal_match

USERS_MAX = 10_000
VALUES_MAX = 10_000
TIMES_MAX = 2**31 - 1
SIZE_MAX = 2**32
NUMBER_DIGITS_MAX = 38

COMPARISON_ARGUMENTS = {
    Operator.EQ: "eq",
    Operator.LT: "lt",
    Operator.LTE: "lte",
    Operator.GT: "gt",
    Operator.GTE: "gte",
}
"""The field of a tag match in which a number is compared so."""


def check(node: Expression, *, leaves_max: int = LEAVES_MAX, depth_max: int = DEPTH_MAX) -> Expression:
    """The expression, its shape untouched and each node `normal`; INVALID or TOO_LARGE at the first node at fault."""
    check_bounds(node, leaves_max, depth_max)
    return check_nodes(node)


def check_nodes(node: Expression) -> Expression:
    """`check` of an expression whose bounds were checked."""
    if type(node) is Match:
        try:
            return _checked(node) if _is_short(node) else check_match(node)
        except TagroarError as error:
            raise error.within("tag") from None
    below = operands(node)
    if not below or type(node) not in _JOINED:
        node = check_node(node)
        below = operands(node)
    found, changed = [], False
    for i, child in enumerate(below):
        try:
            checked = check_nodes(child)
        except TagroarError as error:
            step, _ = children(node)[i]
            raise error.within(step) from None
        changed = changed or checked is not child
        found.append(checked)
    return with_children(node, tuple(found)) if changed else node


_JOINED = frozenset({And, Or, Not})
"""Nodes that are right if they have operands."""


def check_node(node: Expression) -> Expression:
    """The node `normal` by itself; its operands are not looked into."""
    match node:
        case Everyone() | Not():
            pass
        case Match():
            try:
                return check_match(node)
            except TagroarError as error:
                raise error.within("tag") from None
        case And(of):
            _require(bool(of), "'and' needs at least one audience", "and")
        case Or(of):
            _require(bool(of), "'or' needs at least one audience", "or")
        case AtLeast(count, of):
            _require(bool(of), "'of' needs at least one audience", "atLeast.of")
            _require(1 <= count <= len(of), f"the count is from 1 to {len(of)}, as many as are listed", "atLeast.count")
        case Saved(key):
            check_key(key, "saved audience key", argument="saved")
        case Users(ids, id_kind):
            _require(bool(ids), "users need at least one id", "users.ids")
            _bound(len(ids), USERS_MAX, "user ids", "users.ids")
            for i, id_ in enumerate(ids):
                check_string(id_, f"users.ids.{i}")
            if id_kind is not None:
                check_key(id_kind, "kind of identifier", argument="users.idKind")
        case At(as_of):
            check_moment(as_of, "at.asOf")
        case Part(seed, start, end):
            check_string(seed, "part.seed")
            _require(0 <= start < 1, "a part begins at 0 or later, and before 1", "part.from")
            _require(start < end <= 1, "a part ends after it begins, and at 1 or earlier", "part.to")
        case InSnapshot(id_):
            _require(bool(id_), "a snapshot id cannot be empty", "snapshot")
            check_string(id_, "snapshot")
        case Related(relation):
            check_key(relation, "relation", argument="related.relation")
        case Lookalike():
            _check_lookalike(node)
        case _:
            raise TypeError(f"{type(node).__name__} has no rules")
    return normal(node)


def _check_lookalike(node: Lookalike) -> None:
    size, threshold = node.size, node.threshold
    if size is None and threshold is None:
        raise Invalid("a look-alike needs a size or a threshold", argument="lookalike")
    if size is not None and threshold is not None:
        raise Invalid("a look-alike has a size or a threshold, not both", argument="lookalike.threshold")
    if size is not None:
        _require(1 <= size <= SIZE_MAX, f"the size of a look-alike is from 1 to {SIZE_MAX}", "lookalike.size")
    if threshold is not None:
        _require(math.isfinite(threshold), "a threshold is a finite number", "lookalike.threshold")
    for i, key in enumerate(node.exclude_tags):
        check_key(key, "tag key", argument=f"lookalike.excludeTags.{i}")


MATCHES_MAX = 16_384
"""Matches that are known to be right; of each a few hundred bytes."""


def _is_short(match: Match) -> bool:
    """Whether to remember that a match is right. Equal ones have to be the same, as scores of 1 and 1.0 are not."""
    values = match.values
    return (
        len(match.key) <= 200
        and (values is None or (len(values) == 1 and len(values[0]) <= 200))
        and match.number is None
        and match.min_score is None
    )


@lru_cache(MATCHES_MAX)
def _checked(match: Match) -> Match:
    return check_match(match)


def check_match(match: Match) -> Match:
    """The match in normal form; what is wrong by itself is INVALID, with `argument` the field of TagMatch at fault."""
    check_key(match.key, "tag key", argument="key")
    if match.values is not None:
        _require(match.operator is None, "a tag has values or is compared with a number, not both", "in")
        _require(bool(match.values), "a list of values cannot be empty", "in")
        _bound(len(match.values), VALUES_MAX, "values", "in")
        for i, value in enumerate(match.values):
            check_string(value, f"in.{i}")
    if match.operator is not None:
        argument = COMPARISON_ARGUMENTS[match.operator]
        if match.number is None:
            raise Invalid("a comparison needs a number", argument=argument)
        check_number(match.number, argument)
    elif match.number is not None:
        raise Invalid("a number needs a comparison", argument="eq")
    for moment, argument in ((match.after, "after"), (match.before, "before")):
        if moment is not None:
            check_moment(moment, argument)
    _check_windows(match)
    if match.times is not None:
        _require(1 <= match.times <= TIMES_MAX, f"times is from 1 to {TIMES_MAX}", "times")
    if match.min_score is not None:
        _require(math.isfinite(match.min_score), "a score is a finite number", "minScore")
    return normal_match(match)


def _check_windows(match: Match) -> None:
    for window, argument in ((match.within, "within"), (match.skip, "skip"), (match.ahead, "ahead")):
        if window is not None:
            check_duration(window, argument=argument)
    if match.skip is None:
        return
    if match.within is None:
        raise Invalid("skip needs within: within P60D skip P30D is from 60 to 30 days ago", argument="skip")
    if match.skip >= match.within:
        # Most likely meant is the within that ended skip ago; answering "nobody" would hide that.
        within, skip = duration_text(match.within), duration_text(match.skip)
        raise Invalid(
            f"within {within} skip {skip} is empty, as both count back from now; the {within} that ended {skip} ago"
            f" are within {duration_text(match.within + match.skip)} skip {skip}",
            argument="skip",
        )


def check_number(number: Decimal, argument: str | None = None) -> Decimal:
    """The number; INVALID unless it is finite and takes at most 38 digits to write out."""
    _require(number.is_finite(), "a number is finite", argument)
    exponent = number.as_tuple().exponent
    decimals = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    # Asked of the exponent first, so that nobody writes out 1E+999999.
    _require(
        max(number.adjusted() + 1, 0) + decimals <= NUMBER_DIGITS_MAX,
        f"a number has at most {NUMBER_DIGITS_MAX} digits",
        argument,
    )
    return number


def check_moment(moment: datetime, argument: str | None = None) -> datetime:
    """The moment; INVALID when it has no time zone, or is outside the years 1 to 9999 in UTC."""
    _require(moment.tzinfo is not None, "a moment needs a time zone", argument)
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise Invalid("a moment is in the years 1 to 9999", argument=argument) from None
    return moment


def _require(holds: bool, sentence: str, argument: str | None) -> None:
    if not holds:
        raise Invalid(sentence, argument=argument)


def _bound(count: int, limit: int, what: str, argument: str) -> None:
    if count > limit:
        raise TooLarge(f"{count} {what} are more than the {limit} that one list may have", argument=argument)
