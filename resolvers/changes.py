"""What could be written of a tag so that one of its leaves turns: values, numbers, dates, events, given or taken.

Which of it puts a user into an audience is found by `flips.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import pairwise

from bitmap_store.literals import float_text
from bitmap_store.plan import Happened, Range, Tagged
from bitmap_store.values import (
    DatePrecision,
    Tag,
    TagKind,
    date_of_units,
    date_units,
    micros,
    moment_of,
    unscaled,
)
from resolvers.context import Context
from resolvers.sentences import SCORED, change_sentence
from resolvers.wording import Language

HOUR = 3600
"""Seconds for which a date that is told holds at least, in windows of ten hours or more."""
VALUES_TRIED = 3
"""Of a list of values."""


class ChangeKind(Enum):
    """What is written of a tag."""

    GIVE = "GIVE"
    TAKE = "TAKE"
    RECORD = "RECORD"


@dataclass(frozen=True, slots=True)
class Change:
    """One write. TAKE without a value takes all of the tag. RECORD: `count` events at `at`."""

    kind: ChangeKind
    tag: Tag
    value: str | None = None
    units: int | None = None
    score: float | None = None
    count: int | None = None
    at: datetime | None = None

    @property
    def number(self) -> Decimal | None:
        """The number that a NUMBER is given."""
        return (
            unscaled(self.units, self.tag.scale) if self.units is not None and self.tag.kind is TagKind.NUMBER else None
        )

    @property
    def date(self) -> date | datetime | None:
        """What a DATE is given: a day or a moment, as is its precision."""
        if self.units is None or self.tag.kind is not TagKind.DATE:
            return None
        moment = date_of_units(self.units, self.tag.precision)
        return moment.date() if self.tag.precision is DatePrecision.DAY else moment


def sentence(context: Context, change: Change, language: Language) -> str:
    """The change in words."""
    tag, at = change.tag, None if change.at is None else change.at.date()
    amount = change.number if change.number is not None else change.date
    catalog = context.view.catalog
    said = change_sentence(catalog, change.kind.name, tag, change.value, amount, change.count, at, language)
    return said if change.score is None else f"{said}{SCORED[language].format(float_text(change.score))}"


# ---------------------------------------------------------------- what is there, and could be


@dataclass(frozen=True, slots=True)
class Had:
    """One membership, as leaves see it. value: the id, 0 of kinds without. units: of an EVENT how often."""

    value: int
    units: int
    since: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Option:
    """What could be written of a unit. had: what is there then, None for nothing. events: so many on a day."""

    changes: tuple[Change, ...]
    had: Had | None = None
    events: int = 0
    day: int = 0
    far: float = 0.0


Counts = Mapping[tuple[Happened, int | None], int]
"""How often it happened in a leaf: in all, and of each value that it may count."""
Unit = tuple[int, int | None]
"""What is written as one: a tag of which there is one membership, or one value of a tag; None: all of the tag."""


def fulfills(node: Tagged | Range, had: Had) -> bool:
    """Whether a membership is what a leaf asks for."""
    span = node.span
    is_since = (span.since_from is None or had.since >= span.since_from) and (
        span.since_until is None or had.since < span.since_until
    )
    if not is_since or (span.score_min is not None and (had.score is None or had.score < span.score_min)):
        return False
    if isinstance(node, Tagged):
        return node.values is None or had.value in node.values
    return (node.low is None or had.units >= node.low) and (node.high is None or had.units <= node.high)


# ---------------------------------------------------------------- what could be written


class Writing:
    """What could be written of a tag so that one of its leaves turns."""

    def __init__(self, context: Context, moment: int, today: int, fixed: Collection[Range]) -> None:
        """fixed: the ranges that are the same at another moment; windows of dates that move are none of them."""
        self._context = context
        self._moment = moment
        self._today = today
        self._fixed = fixed

    def options(
        self, tag: Tag, leaves: Sequence[Tagged | Range | Happened], has: Sequence[Had], counts: Counts
    ) -> dict[Unit, list[Option]]:
        """By what is written as one. has: what there is of the tag."""
        if tag.kind is TagKind.EVENT:
            return self._events(tag, [each for each in leaves if isinstance(each, Happened)], counts)
        several, measured = tag.kind is TagKind.CHOICES, tag.kind in _MEASURED
        names = self._names(tag)
        spans = [each.span for each in leaves if not isinstance(each, Happened)]
        score = max((span.score_min for span in spans if span.score_min is not None), default=None)
        is_dated = any(span.since_from is not None or span.since_until is not None for span in spans)
        asked = self._wanted(tag, leaves, has)
        wanted = dict.fromkeys(
            [*asked, *((had.value, had.units) for had in has if had.value in dict(asked) or measured)]
        )
        found: dict[Unit, list[Option]] = {}

        def add(value: int, option: Option) -> None:
            found.setdefault((tag.id, value if several else None), []).append(option)

        for value, units in wanted:
            old = next((each for each in has if (each.value, each.units) == (value, units)), None)
            take = Change(ChangeKind.TAKE, tag, names.get(value) if several else None)
            for given in dict.fromkeys((score, None)):
                give = Change(ChangeKind.GIVE, tag, names.get(value), units if measured else None, given)
                if old is None or given != old.score:
                    since = self._moment if old is None else old.since
                    far = _near(abs(units - has[0].units)) if has and measured else 0.0
                    add(value, Option((give,), Had(value, units, since, given), far=far))
                if old is not None and is_dated:
                    add(value, Option((take, give), Had(value, units, self._moment, given)))
            if old is not None:  # another number is nearer than none at all
                add(value, Option((take,), far=1.0 if measured else 0.0))
        if several and len(has) > 1:
            found[(tag.id, None)] = [Option((Change(ChangeKind.TAKE, tag),), far=1.0)]
        return found

    def _names(self, tag: Tag) -> dict[int, str]:
        return {id_: name for name, id_ in self._context.view.catalog.values(tag).names.items()}

    def _wanted(
        self, tag: Tag, leaves: Sequence[Tagged | Range | Happened], has: Sequence[Had]
    ) -> list[tuple[int, int]]:
        """Values (as ids) and units that would make a difference to a leaf."""
        ranges = [leaf for leaf in leaves if isinstance(leaf, Range)]
        is_moving = tag.kind is TagKind.DATE and any(each not in self._fixed for each in ranges)
        found: dict[tuple[int, int], None] = {(0, each): None for each in self._lasting(tag, ranges) if is_moving}
        for leaf in leaves:
            if isinstance(leaf, Range):
                if is_moving:
                    continue
                for bound, beyond in ((leaf.low, -1), (leaf.high, 1)):
                    if bound is not None:
                        found |= {(0, bound): None, (0, bound + beyond): None}
            elif isinstance(leaf, Tagged) and tag.kind in _VALUED:
                mine = [had.value for had in has if leaf.values is None or had.value in leaf.values]
                others = leaf.values or list(self._context.view.catalog.values(tag).names.values())
                found |= {(value, 0): None for value in [*mine, *others[:VALUES_TRIED]]}
            elif isinstance(leaf, Tagged) and tag.kind is TagKind.DATE:
                found[(0, date_units(moment_of(self._moment), tag.precision))] = None
            elif isinstance(leaf, Tagged):
                found[(0, 0)] = None
        return [each for each in found if tag.kind not in _MEASURED or _can_be(tag, each[1])]

    def _lasting(self, tag: Tag, ranges: Sequence[Range]) -> list[int]:
        """A date before, between and after the bounds of windows of which some move on, so that it stays there a while.

        Bounds move up only: what is below one stays so. Now, where it is far enough above the bound below it.
        """
        bounds = {each.low for each in ranges} | {None if each.high is None else each.high + 1 for each in ranges}
        edges = sorted(bound for bound in bounds if bound is not None)
        is_day = tag.precision is DatePrecision.DAY
        now, hour = (self._today, 1) if is_day else (date_units(moment_of(self._moment), tag.precision), HOUR)
        found = [edges[0] - 1] if edges else []
        for low, beyond in pairwise(edges):
            far = max(1, min(hour, (beyond - low) // 10))
            found.append(now if low + far <= now < beyond else (low + beyond) // 2)
        if edges and any(each.high is None for each in ranges):
            found.append(max(edges[-1] + hour, now))
        return found

    def _events(self, tag: Tag, leaves: Sequence[Happened], counts: Counts) -> dict[Unit, list[Option]]:
        found: dict[Unit, list[Option]] = {}
        names = self._names(tag)
        for leaf in leaves:
            missing = leaf.times - counts[leaf, None]
            day = self._today
            if leaf.last_day is not None:
                day = min(day, leaf.last_day)
            if leaf.first_day is not None:
                day = max(day, leaf.first_day)
            values: Sequence[int] = leaf.values or list(names)[:1] or (0,)
            for value in values[:VALUES_TRIED] if missing > 0 and self._is_kept(tag, day) else ():
                change = Change(ChangeKind.RECORD, tag, names.get(value), count=missing, at=self._moment_of(day))
                option = Option((change,), events=missing, day=day, far=_near(missing))
                found.setdefault((tag.id, value), []).append(option)
            for value in leaf.values or ():
                if counts.get((leaf, value)):
                    taken = Option((Change(ChangeKind.TAKE, tag, names.get(value)),), far=0.5)
                    options = found.setdefault((tag.id, value), [])
                    options += [taken] if taken not in options else []
        if any(counts[leaf, None] for leaf in leaves):
            found[(tag.id, None)] = [Option((Change(ChangeKind.TAKE, tag),), far=1.0)]
        return found

    def _moment_of(self, day: int) -> datetime:
        if day == self._today:
            return moment_of(self._moment)
        zone = self._context.store.settings.timezone
        return datetime.combine(date(1970, 1, 1) + timedelta(days=day), time(12), zone)

    def _is_kept(self, tag: Tag, day: int) -> bool:
        """Whether an event of that day has not ended by now."""
        if tag.valid_for is None:
            return True
        return micros(self._moment_of(day) + tag.valid_for) > self._moment


_MEASURED = (TagKind.NUMBER, TagKind.DATE)
_VALUED = (TagKind.CHOICE, TagKind.CHOICES)


def _near(far: float) -> float:
    """A distance within 0..1, so that it decides between ways of as many changes only."""
    return far / (1.0 + far)


def _can_be(tag: Tag, units: int) -> bool:
    """Whether a tag can have this number or date."""
    if tag.kind is TagKind.NUMBER:
        return abs(units) < 10**18
    seconds = units * (86_400 if tag.precision is DatePrecision.DAY else 1)
    return -62_135_596_800 <= seconds < 253_402_300_800  # the years 1 to 9999
