"""What an expression means, on plain sets of outside names: the half of the oracle that answers questions.

It walks the expression as it was asked, with no plan and no simplifying, and looks at every user. What is
known is in `facts.py`; versions and definitions are in `oracle.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil
from zoneinfo import ZoneInfo

import numpy as np

from bitmap_store.catalog import Catalog
from bitmap_store.errors import Invalid, NotFound
from bitmap_store.expression import (
    And,
    At,
    AtLeast,
    Everyone,
    Expression,
    Lookalike,
    Match,
    Not,
    Operator,
    Or,
    Part,
    Saved,
    Users,
)
from bitmap_store.language import parse
from bitmap_store.literals import parse_moment
from bitmap_store.slices import stable_hash
from bitmap_store.values import DatePrecision, Identifier, Sensitivity, Tag, TagKind, TagState
from tests.facts import Facts, Row
from tests.likeness import told_apart

MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Reading:
    """Whose facts, as they were known when, are asked about."""

    entity: str
    facts: Facts
    moment: datetime


class Meaning:
    """The members of expressions, by the definitions of one catalog.

    reading_at: the facts of an entity at a moment gone by. identifiers: whose each is today.
    dense: the dense id of a user of an entity, which `part` hashes.
    """

    def __init__(
        self,
        catalog: Catalog,
        timezone: ZoneInfo,
        reading_at: Callable[[str, datetime], Reading],
        identifiers: Callable[[str], Mapping[Identifier, str]],
        dense: Callable[[str, str], int],
    ) -> None:
        self._catalog = catalog
        self._timezone = timezone
        self._reading_at = reading_at
        self._identifiers = identifiers
        self._dense = dense

    def members(self, node: Expression, reading: Reading) -> set[str]:
        """The users of an expression, as it was asked."""
        everyone = set(reading.facts.users)
        match node:
            case Everyone():
                return everyone
            case Match():
                tag = self._catalog.tag_of(reading.entity, node.key)
                return self._by_rule(node, tag, reading) if tag.is_rule else self._by_rows(node, tag, reading)
            case And(of):
                return everyone.intersection(*(self.members(child, reading) for child in of))
            case Or(of):
                return set().union(*(self.members(child, reading) for child in of))
            case Not(of):
                return everyone - self.members(of, reading)
            case AtLeast(count, of):
                sets = [self.members(child, reading) for child in of]
                return {user for user in everyone if sum(user in members for members in sets) >= count}
            case Saved(key):
                audience = self._catalog.audience(key)
                if audience.entity != reading.entity:
                    raise Invalid(f"@{key} is of another entity")
                return self.members(parse(audience.text), reading)
            case Users(ids, None):
                return everyone & set(ids)
            case Users(ids, id_kind):
                identifiers = self._identifiers(reading.entity)
                if id_kind not in {identifier.kind for identifier in identifiers}:
                    raise NotFound.named("kind of identifier", str(id_kind), ())
                return everyone & {identifiers.get(Identifier(str(id_kind), name), "") for name in ids}
            case At(as_of, of):
                return everyone & self.members(of, self._reading_at(reading.entity, as_of))
            case Part(seed, start, end):
                return {
                    user
                    for user in everyone
                    if round(start * 2**32) <= self._hash(reading, user, seed) < round(end * 2**32)
                }
            case Lookalike():
                return self._alike(node, reading)
        raise AssertionError(f"the oracle does not know {node}")

    def _alike(self, node: Lookalike, reading: Reading) -> set[str]:
        seeds = self.members(node.of, reading)
        others = set(reading.facts.users) - seeds
        excluded = {self._catalog.tag_of(reading.entity, key).key for key in node.exclude_tags}
        sets = [self.members(feature, reading) for feature in self._features(reading.entity, excluded)]
        base, weights = told_apart(seeds, others, sets)
        if not weights:
            return set()
        scores = {user: base + sum(w for i, w in weights.items() if user in sets[i]) for user in others}
        if node.threshold is not None:
            return {user for user in others if scores[user] >= Fraction(repr(node.threshold)) * 100}
        return set(sorted(others, key=lambda user: (-scores[user], self._dense(reading.entity, user)))[: node.size])

    def _features(self, entity: str, excluded: set[str]) -> Iterator[Match]:
        for tag in sorted(self._catalog.tags.values(), key=lambda tag: tag.key):
            values = list(self._catalog.values(tag))
            if (
                tag.entity == entity
                and tag.key not in excluded
                and tag.kind in (TagKind.FLAG, TagKind.CHOICE, TagKind.CHOICES, TagKind.EVENT)
                and not tag.is_rule
                and tag.sensitivity is not Sensitivity.RESTRICTED
                and tag.state is not TagState.RETIRED
                and len(values) <= 1000
            ):
                yield from (Match(tag.key, values=(value,)) for value in values) if values else [Match(tag.key)]

    def _hash(self, reading: Reading, user: str, seed: str) -> int:
        return int(stable_hash(np.array([self._dense(reading.entity, user)], np.uint32), seed)[0])

    def _wanted(self, match: Match, tag: Tag) -> set[str | None]:
        """The values that a match speaks of: those listed, and of a hierarchical tag all below them."""
        wanted: set[str | None] = set()
        for value in match.values or ():
            below = [
                v for v in self._catalog.values(tag) if v == value or (tag.hierarchical and v.startswith(f"{value}/"))
            ]
            if not below:
                raise NotFound.named("value", value, self._catalog.values(tag))
            wanted.update(below)
        return wanted

    def _by_rule(self, match: Match, tag: Tag, reading: Reading) -> set[str]:
        if tag.rule is not None:
            return self.members(parse(tag.rule), reading)
        sets = [(rule.value, self.members(parse(rule.text), reading)) for rule in tag.rules]
        wanted = self._wanted(match, tag) if match.values is not None else {value for value, _ in sets}
        found: set[str] = set()
        for user in reading.facts.users:
            values = [value for value, members in sets if user in members]
            if tag.kind is TagKind.CHOICE:
                values = values[:1]
            if not wanted.isdisjoint(values):
                found.add(user)
        return found

    def _by_rows(self, match: Match, tag: Tag, reading: Reading) -> set[str]:
        condition = self._condition(match, tag, reading)
        found: set[str] = set()
        for user in reading.facts.users:
            rows = [row for row in reading.facts.rows_of(tag, user, reading.moment).values() if condition(row)]
            if sum(row.count for row in rows) >= match.times if match.times is not None else rows:
                found.add(user)
        return found

    def _condition(self, match: Match, tag: Tag, reading: Reading) -> Callable[[Row], bool]:
        """Whether one membership is what a match speaks of."""
        window = self._window(match, tag, reading.moment)
        if tag.kind is TagKind.DATE:
            dates = {_as_kept(parse_moment(text), tag) for text in match.values or ()}
            named: Callable[[Row], bool] = lambda row: row.fact in dates  # noqa: E731
        else:
            values = self._wanted(match, tag)
            named = lambda row: row.value in values  # noqa: E731

        def holds(row: Row) -> bool:
            return (
                (match.values is None or named(row))
                and (match.operator is None or _compared(row.fact, match.operator, match.number))
                and (match.min_score is None or (row.score is not None and row.score >= match.min_score))
                and window(row)
            )

        return holds

    def _window(self, match: Match, tag: Tag, moment: datetime) -> Callable[[Row], bool]:
        """The windows of a match: on days of events, on the value of a date, else on when it began."""
        if tag.kind is TagKind.EVENT:
            return self._event_window(match, moment)
        if tag.kind is TagKind.DATE:
            return self._date_window(match, tag, moment)

        def inside(row: Row) -> bool:
            ago = moment - row.since
            return (
                (match.after is None or row.since >= match.after)
                and (match.before is None or row.since < match.before)
                and (match.within is None or (match.skip or timedelta()) <= ago < match.within)
            )

        return inside

    def _event_window(self, match: Match, moment: datetime) -> Callable[[Row], bool]:
        def dated(when: datetime, otherwise: date) -> date:
            """A date alone is midnight UTC, and means that day anywhere."""
            return when.date() if when.timetz() == time(tzinfo=UTC) else otherwise

        def local(when: datetime) -> date:
            return when.astimezone(self._timezone).date()

        def inside(row: Row) -> bool:
            assert row.day is not None
            ago = local(moment) - row.day
            return (
                (match.after is None or row.day >= dated(match.after, local(match.after)))
                and (match.before is None or row.day < dated(match.before, local(match.before - MICROSECOND) + DAY))
                and (match.within is None or _whole(match.skip, DAY) * DAY <= ago < _whole(match.within, DAY) * DAY)
            )

        return inside

    def _date_window(self, match: Match, tag: Tag, moment: datetime) -> Callable[[Row], bool]:
        """Counted in the unit of the tag; a day is a day in the store's time zone when it is compared with now."""
        unit = DAY if tag.precision is DatePrecision.DAY else SECOND
        now = moment.astimezone(self._timezone).date() if unit is DAY else moment.replace(microsecond=0)

        def inside(row: Row) -> bool:
            assert isinstance(row.fact, date)
            begins = row.fact if isinstance(row.fact, datetime) else datetime.combine(row.fact, time(), UTC)
            ago = (now - row.fact) // unit
            return (
                (match.after is None or begins >= match.after)
                and (match.before is None or begins < match.before)
                and (match.within is None or _whole(match.skip, unit) <= ago < _whole(match.within, unit))
                and (match.ahead is None or 0 <= -ago < _whole(match.ahead, unit))
            )

        return inside


def _whole(duration: timedelta | None, unit: timedelta) -> int:
    """How many units cover a duration."""
    return 0 if duration is None else ceil(duration / unit)


def _as_kept(moment: datetime, tag: Tag) -> date:
    return moment.date() if tag.precision is DatePrecision.DAY else moment.replace(microsecond=0)


def _compared(fact: object, operator: Operator, number: Decimal | None) -> bool:
    assert isinstance(fact, Decimal) and number is not None
    match operator:
        case Operator.EQ:
            return fact == number
        case Operator.LT:
            return fact < number
        case Operator.LTE:
            return fact <= number
        case Operator.GT:
            return fact > number
        case Operator.GTE:
            return fact >= number
