"""Binding: from an expression to a plan, by a catalog and a reading.

Names become ids, saved audiences and rules are expanded (a cycle is refused by name), windows become
intervals counted back from the reading's moment, `not` under `and` becomes a difference.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

from bitmap_store.catalog import Catalog, kept_expression
from bitmap_store.errors import Invalid, TagroarError, TooLarge, Unavailable
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
    Related,
    Saved,
    Users,
    operands,
    walk,
)
from bitmap_store.features import features
from bitmap_store.likeness import hundredths
from bitmap_store.literals import parse_moment
from bitmap_store.plan import (
    ANY_SPAN,
    Alike,
    AllOf,
    AnyOf,
    AsOf,
    AtLeastOf,
    Happened,
    Leaf,
    Listed,
    Node,
    Nothing,
    Plan,
    Range,
    Reading,
    Slice,
    Span,
    Tagged,
    Universe,
)
from bitmap_store.simplify import simplify
from bitmap_store.values import (
    DAY_SECONDS,
    EXACT,
    MICROSECONDS,
    VALUED_KINDS,
    DatePrecision,
    Tag,
    TagKind,
    date_units,
    micros,
    moment_of,
)

HASH_SPACE = 1 << 32
NODES_MAX = 20_000
"""How far saved audiences and rules may expand one question."""
BOUND_MAX = 16_384
"""Matches of which a catalog remembers what they are bound to; of each a few hundred bytes."""
VALUES_KEPT_MAX = 16

_ARGUMENTS = {
    "operator": {Operator.EQ: "eq", Operator.GT: "gt", Operator.GTE: "gte", Operator.LT: "lt", Operator.LTE: "lte"}
}
_JOINED = (And, Or)
_LATER = {InSnapshot: "snapshot", Related: "related"}


def local_day(microseconds: int, timezone: ZoneInfo) -> int:
    """The number, since 1970, of the calendar day in `timezone` on which a moment falls."""
    try:
        return moment_of(microseconds).astimezone(timezone).date().toordinal() - _EPOCH
    except OverflowError:  # before the year 1 or after 9999, where no calendar tells of time zones
        return microseconds // (DAY_SECONDS * MICROSECONDS)


_EPOCH = date(1970, 1, 1).toordinal()


def event_day(moment: datetime, timezone: ZoneInfo, *, before: bool = False) -> int:
    """The first day of events at or after a moment, or the last day `before` it.

    A date alone, which is midnight UTC, means the day of that date wherever the days of events begin; so
    spans of dates line up without gap or overlap. Any other moment means the local day on which it falls.
    """
    days, rest = divmod(micros(moment), DAY_SECONDS * MICROSECONDS)
    if rest == 0:
        return days - before
    return local_day(micros(moment) - before, timezone)


def days_of(duration: timedelta) -> int:
    """Whole days that cover a duration; windows of events count in them."""
    return ceil(duration / timedelta(days=1))


def known_plan(catalog: Catalog, entity: str, expression: Expression, reading: Reading) -> Plan | None:
    """The plan of matches that all were bound before and are all different, joined by `and`, `or` and `and not`.

    Takes a microsecond a match, as nothing has to be checked and nothing is to be simplified; None for any other.
    """
    node = _known(expression, entity, catalog.bound, set())
    return None if node is None else Plan(reading, node)


def _known(expression: Expression, entity: str, bound: Mapping[Any, Node], met: set[Match]) -> Node | None:
    kind = type(expression)
    if isinstance(expression, Match):
        if expression in met:
            return None
        met.add(expression)
        return bound.get((entity, expression))
    if not isinstance(expression, _JOINED) or len(expression.of) < 2:
        return None
    found: list[Node] = []
    without: list[Node] = []
    for child in expression.of:
        into = found
        if type(child) is Not and kind is And:
            into, child = without, child.of
            if isinstance(child, _JOINED) and Not in map(type, child.of):
                return None  # by De Morgan's laws it may be less work
        elif type(child) is kind:
            return None
        node = _known(child, entity, bound, met)
        if node is None:
            return None
        into.append(node)
    if not found:
        return None
    return AllOf(tuple(found), tuple(without)) if kind is And else AnyOf(tuple(found))


class Binder:
    """Binds expressions of one entity kind.

    dense_of: dense ids of outside names, None where unknown. reading_at: the reading of the entity at a
    moment of the past. Errors carry the argument's path, which begins with `argument`.
    """

    def __init__(
        self,
        catalog: Catalog,
        entity: str,
        timezone: ZoneInfo,
        dense_of: Callable[[Sequence[str], str | None], list[int | None]],
        reading_at: Callable[[datetime], Reading],
    ) -> None:
        self._catalog = catalog
        self._entity = catalog.entity(entity).key
        self._timezone = timezone
        self._dense_of = dense_of
        self._reading_at = reading_at
        self._nodes = 0
        self.clocked = False
        """Whether a window was counted back from the moment, so that another moment has another plan."""

    def plan(self, expression: Expression, reading: Reading, argument: str = "where") -> Plan:
        """The plan of an expression. Everything named is checked, also where simplifying would drop it."""
        if not self._is_known(expression):
            self._check_names(expression, reading, argument)
        self._nodes = 0
        return Plan(reading, self._node(simplify(expression), reading, argument, ()))

    def _is_known(self, expression: Expression) -> bool:
        """Whether it names nothing but tags and values that were bound before."""
        pending = [expression]
        for node in pending:
            if isinstance(node, Match):
                if (self._entity, node) not in self._catalog.bound:
                    return False
            elif isinstance(node, And | Or | Not | AtLeast):
                pending += operands(node)
            elif not isinstance(node, Everyone):
                return False
        return True

    def _check_names(self, expression: Expression, reading: Reading, argument: str) -> None:
        for path, node in walk(expression):
            place = f"{argument}.{path}" if path else argument
            if type(node) in _LATER:
                name = _LATER[type(node)]
                raise Unavailable(f"audiences by {name!r} come with a later version", argument=f"{place}.{name}")
            if isinstance(node, Match | Saved | Users | Part):
                self._node(node, reading, place, ())
            if isinstance(node, At):
                self._then(node, place)
            if isinstance(node, Lookalike):
                self._features(node, place)

    def _node(self, node: Expression, reading: Reading, place: str, within: tuple[str, ...]) -> Node:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise TooLarge(f"the question expands to more than {NODES_MAX} nodes", argument=place)
        match node:
            case Everyone():
                return Universe()
            case Match():
                return self._match(node, reading, place, within)
            case And() | Not():
                return self._conjunction(node, reading, place, within)
            case Or(of):
                return AnyOf(tuple(self._node(child, reading, place, within) for child in of))
            case AtLeast(count, of):
                return AtLeastOf(count, tuple(self._node(child, reading, place, within) for child in of))
            case Saved(key):
                return self._saved(key, reading, place, within)
            case Users(ids, id_kind):
                try:
                    found = self._dense_of(ids, id_kind)
                except TagroarError as error:
                    raise error.within(f"{place}.users") from None
                return Listed(tuple(sorted({dense for dense in found if dense is not None})))
            case At(_, of):
                then = self._then(node, place)
                return AsOf(then, self._node(of, then, place, within))
            case Lookalike(of, size, threshold):
                seeds = self._node(of, reading, place, within)
                least = None if threshold is None else hundredths(threshold)
                return Alike(seeds, self._features(node, place), size, least)
            case Part(seed, start, end):
                return Slice(seed, round(start * HASH_SPACE), round(end * HASH_SPACE))
        raise Unavailable(f"{type(node).__name__} comes with a later version", argument=place)

    def _features(self, node: Lookalike, place: str) -> tuple[Leaf, ...]:
        keys = enumerate(node.exclude_tags)
        excluded = [
            self._catalog.tag_of(self._entity, key, argument=f"{place}.lookalike.excludeTags.{i}") for i, key in keys
        ]
        try:
            return features(self._catalog, self._entity, frozenset(tag.id for tag in excluded))
        except TagroarError as error:
            raise error.within(f"{place}.lookalike") from None

    def _then(self, node: At, place: str) -> Reading:
        try:
            return self._reading_at(node.as_of)
        except TagroarError as error:
            raise error.within(f"{place}.at") from None

    def _conjunction(self, node: And | Not, reading: Reading, place: str, within: tuple[str, ...]) -> Node:
        operands = node.of if isinstance(node, And) else (node,)
        positive = [self._node(child, reading, place, within) for child in operands if not isinstance(child, Not)]
        negative = [self._node(child.of, reading, place, within) for child in operands if isinstance(child, Not)]
        if any(isinstance(child, Universe) for child in negative):
            return Nothing()
        return AllOf(tuple(positive) or (Universe(),), tuple(negative))

    def _saved(self, key: str, reading: Reading, place: str, within: tuple[str, ...]) -> Node:
        audience = self._catalog.audience(key, argument=f"{place}.saved")
        if audience.entity != self._entity:
            raise Invalid(
                f"the saved audience {key!r} is of entity {audience.entity!r}, not {self._entity!r}",
                argument=f"{place}.saved",
            )
        return self._expanded(f"@{audience.key}", audience.text, reading, place, within)

    def _expanded(self, name: str, text: str, reading: Reading, place: str, within: tuple[str, ...]) -> Node:
        if name in within:
            circle = " -> ".join((*within[within.index(name) :], name))
            raise Invalid(f"the definition goes round in a circle: {circle}", argument=place)
        expression = kept_expression(text)
        for _, node in walk(expression):  # simplifying may drop what is wrong
            if isinstance(node, At):  # it was near enough when it was saved
                self._then(node, place)
            if isinstance(node, Users) and node.id_kind is not None:  # maybe nobody has such a name yet
                self._node(node, reading, place, within)
        return self._node(simplify(expression), reading, place, (*within, name))

    # ------------------------------------------------------------ one tag

    def _match(self, match: Match, reading: Reading, place: str, within: tuple[str, ...]) -> Node:
        found = self._catalog.bound.get((self._entity, match))
        if found is None:
            tag = self._catalog.tag_of(self._entity, match.key, argument=f"{place}.tag.key")
            found = self._match_of(match, tag, reading, place, within)
            if match.within is not None or match.ahead is not None:
                self.clocked = True
            elif not tag.is_rule:  # the same at every reading
                self._keep(match, found)
        return found

    def _keep(self, match: Match, node: Node) -> None:
        bound = self._catalog.bound
        if len(match.values or ()) <= VALUES_KEPT_MAX and len(getattr(node, "values", None) or ()) <= VALUES_KEPT_MAX:
            if len(bound) >= BOUND_MAX:
                bound.clear()
            bound[(self._entity, match)] = node

    def _match_of(self, match: Match, tag: Tag, reading: Reading, place: str, within: tuple[str, ...]) -> Node:
        self._check_conditions(match, tag, f"{place}.tag")
        if tag.is_rule:
            return self._rule(match, tag, reading, place, within)
        if tag.kind is TagKind.EVENT:
            return self._event(match, tag, reading, f"{place}.tag")
        if tag.kind is TagKind.DATE:
            return self._date(match, tag, reading, f"{place}.tag")
        span = self._span(match, reading)
        if tag.kind is TagKind.NUMBER and match.operator is not None and match.number is not None:
            return _range(tag, match.operator, match.number, span)
        return Tagged(tag.id, self._values(match, tag, f"{place}.tag"), span)

    def _check_conditions(self, match: Match, tag: Tag, place: str) -> None:
        """INVALID for a condition that the kind of the tag cannot have."""
        kind = tag.kind
        refused: list[tuple[object, bool, str, str]] = [
            (match.values, kind in VALUED_KINDS or kind is TagKind.DATE, "in", "values"),
            (match.operator, kind is TagKind.NUMBER, "", "comparisons with a number"),
            (match.times, kind is TagKind.EVENT, "times", "times"),
            (match.ahead, kind is TagKind.DATE, "ahead", "ahead"),
            (match.min_score, kind not in (TagKind.EVENT,), "minScore", "a score"),
        ]
        for given, allowed, argument, what in refused:
            if given is not None and not allowed:
                name = argument or _ARGUMENTS["operator"][match.operator or Operator.EQ]
                raise Invalid(f"{tag.key!r} is of kind {kind} and takes no {what}", argument=f"{place}.{name}")
        if tag.is_rule:
            windows = ("after", "before", "within", "skip", "ahead", "times", "min_score")
            for name in windows:
                if getattr(match, name) is not None:
                    raise Invalid(
                        f"{tag.key!r} follows from its rule when it is read, so it has no {name.replace('_', ' ')}",
                        argument=f"{place}.{'minScore' if name == 'min_score' else name}",
                    )

    def _values(self, match: Match, tag: Tag, place: str) -> tuple[int, ...] | None:
        if match.values is None:
            return None
        ids: set[int] = set()
        for i, value in enumerate(match.values):
            ids.update(self._catalog.value_ids(tag, value, argument=f"{place}.in.{i}"))
        return tuple(sorted(ids))

    def _rule(self, match: Match, tag: Tag, reading: Reading, place: str, within: tuple[str, ...]) -> Node:
        if tag.rule is not None:
            return self._expanded(tag.key, tag.rule, reading, place, within)
        wanted = None
        if match.values is not None:
            wanted = {
                self._catalog.values(tag).name_of(id_)
                for i, value in enumerate(match.values)
                for id_ in self._catalog.value_ids(tag, value, argument=f"{place}.tag.in.{i}")
            }
        found: list[Node] = []
        earlier: list[Node] = []
        for rule in tag.rules:  # of a CHOICE the first rule that holds decides
            node = self._expanded(tag.key, rule.text, reading, place, within)
            if wanted is None or rule.value in wanted:
                exclusive = tag.kind is TagKind.CHOICE and wanted is not None and earlier
                found.append(AllOf((node,), tuple(earlier)) if exclusive else node)
            earlier.append(node)
        return AnyOf(tuple(found)) if found else Nothing()

    def _span(self, match: Match, reading: Reading) -> Span:
        """Conditions on when a membership began and on its score. A window ends with its moment included."""
        low = micros(match.after) if match.after else None
        high = micros(match.before) if match.before else None
        if match.within:
            end = reading.moment - _micros(match.skip)
            low = _latest(low, reading.moment - _micros(match.within) + 1)
            high = _earliest(high, end + 1)
        return Span(low, high, match.min_score) if (low, high, match.min_score) != (None, None, None) else ANY_SPAN

    def _event(self, match: Match, tag: Tag, reading: Reading, place: str) -> Node:
        values = self._values(match, tag, place)
        first = event_day(match.after, self._timezone) if match.after else None
        last = event_day(match.before, self._timezone, before=True) if match.before else None
        if match.within:
            today = local_day(reading.moment, self._timezone)
            first = _latest(first, today - days_of(match.within) + 1)
            last = _earliest(last, today - days_of(match.skip or timedelta()))
        return Happened(tag.id, values, first, last, match.times or 1)

    def _date(self, match: Match, tag: Tag, reading: Reading, place: str) -> Node:
        unit = (DAY_SECONDS if tag.precision is DatePrecision.DAY else 1) * MICROSECONDS
        low = -(-micros(match.after) // unit) if match.after else None
        high = -(-micros(match.before) // unit) - 1 if match.before else None
        if match.within or match.ahead:
            if tag.precision is DatePrecision.DAY:
                now, length = local_day(reading.moment, self._timezone), days_of
            else:
                now, length = reading.moment // unit, lambda duration: -(-_micros(duration) // unit)
            if match.within:
                low = _latest(low, now - length(match.within) + 1)
                high = _earliest(high, now - length(match.skip or timedelta()))
            if match.ahead:
                low = _latest(low, now)
                high = _earliest(high, now + length(match.ahead) - 1)
        span = ANY_SPAN if match.min_score is None else Span(score_min=match.min_score)
        if match.values is None:
            return Tagged(tag.id, None, span) if low is None and high is None else Range(tag.id, low, high, span)
        found: list[Node] = []
        for i, text in enumerate(match.values):
            units = date_of_text(text, tag, argument=f"{place}.in.{i}")
            if (low is None or units >= low) and (high is None or units <= high):
                found.append(Range(tag.id, units, units, span))
        return AnyOf(tuple(found)) if found else Nothing()


def date_of_text(text: str, tag: Tag, *, argument: str | None = None) -> int:
    """A day or an RFC 3339 moment in the units of a DATE tag; INVALID for anything else."""
    try:
        return date_units(parse_moment(text), tag.precision)
    except Invalid as error:
        error.argument = argument
        raise


def _range(tag: Tag, operator: Operator, number: Decimal, span: Span) -> Node:
    """A comparison in whole units, exact for numbers with more decimals than the tag keeps."""
    shifted = number.scaleb(tag.scale, EXACT)
    floor = int(shifted.to_integral_value(ROUND_FLOOR, EXACT))
    ceiling = int(shifted.to_integral_value(ROUND_CEILING, EXACT))
    match operator:
        case Operator.EQ:
            return Range(tag.id, floor, floor, span) if floor == ceiling else Nothing()
        case Operator.LT:
            return Range(tag.id, None, ceiling - 1, span)
        case Operator.LTE:
            return Range(tag.id, None, floor, span)
        case Operator.GT:
            return Range(tag.id, floor + 1, None, span)
        case Operator.GTE:
            return Range(tag.id, ceiling, None, span)


def _micros(duration: timedelta | None) -> int:
    return 0 if duration is None else duration // timedelta(microseconds=1)


def _latest(a: int | None, b: int) -> int:
    return b if a is None else max(a, b)


def _earliest(a: int | None, b: int) -> int:
    return b if a is None else min(a, b)
