"""What the oracle knows, and what a batch of writes does to it: plain dicts over outside names.

Moments are datetimes, numbers Decimals, days dates. Written from the contract, not from the engine, and
kept apart from it, so that each can be wrong alone. Questions are answered in `oracle.py`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import TypeVar
from zoneinfo import ZoneInfo

from bitmap_store.errors import Conflict, Invalid, NotFound, TagroarError
from bitmap_store.expression import nfc
from bitmap_store.values import (
    VALUED_KINDS,
    Assign,
    Batch,
    DatePrecision,
    Event,
    Identifier,
    Operation,
    ProfileChange,
    Remove,
    Tag,
    TagKind,
)

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
T = TypeVar("T")
COUNT_MAX = 2**32 - 1
DIGITS_MAX = 18

Key = tuple[str | None, date | None]
"""What tells the memberships of one user and tag apart: of CHOICES the value, of an EVENT that and the day."""


@dataclass(frozen=True)
class Row:
    """One membership, or the events of one value on one local day. fact: a NUMBER, or a DATE in its precision."""

    value: str | None
    since: datetime
    fact: Decimal | date | None = None
    expires_at: datetime | None = None
    source: str | None = None
    score: float | None = None
    day: date | None = None
    count: int = 0
    last_at: datetime = BEGINNING

    def alive(self, moment: datetime) -> bool:
        """Whether the membership has not ended."""
        return self.expires_at is None or self.expires_at > moment


Rows = dict[Key, Row]


@dataclass
class Facts:
    """Everything known of one entity at one version; rows by the id of the tag and the user."""

    users: dict[str, None] = field(default_factory=dict)
    rows: dict[int, dict[str, Rows]] = field(default_factory=dict)
    attributes: dict[str, dict[str, object]] = field(default_factory=dict)
    identifiers: dict[Identifier, str] = field(default_factory=dict)

    def copy(self) -> "Facts":
        """The same facts, to be changed apart."""
        return Facts(
            dict(self.users),
            {tag: {user: dict(rows) for user, rows in users.items()} for tag, users in self.rows.items()},
            {user: dict(attributes) for user, attributes in self.attributes.items()},
            dict(self.identifiers),
        )

    def rows_of(self, tag: Tag, user: str, moment: datetime) -> Rows:
        """The memberships of a user in a tag that have not ended."""
        rows = self.rows.get(tag.id, {}).get(user, {})
        return {key: row for key, row in rows.items() if row.alive(moment)}


class Draft:
    """Facts under a batch.

    tag_of and declare raise NOT_FOUND for a tag or a value that cannot be written; with False declare only
    asks whether it can.
    """

    def __init__(
        self,
        facts: Facts,
        moment: datetime,
        timezone: ZoneInfo,
        tag_of: Callable[[str], Tag],
        declare: Callable[[Tag, str, bool], None],
    ) -> None:
        self.facts = facts.copy()
        self.created = 0
        self.touched = 0
        self._before = facts
        self._moment = moment
        self._timezone = timezone
        self._tag_of = tag_of
        self._declare = declare
        self._edited: dict[tuple[int, str], Tag] = {}

    @property
    def changed(self) -> int:
        """Memberships that were added, altered or ended, and changes of profiles."""
        changed = self.touched
        for (_, user), tag in self._edited.items():
            before = self._before.rows_of(tag, user, self._moment)
            after = self.facts.rows.get(tag.id, {}).get(user, {})
            changed += sum(before.get(key) != after.get(key) for key in before.keys() | after.keys())
        return changed

    def apply(self, batch: Batch) -> None:
        """All operations in order, or the error of the first that cannot be."""
        for i, operation in enumerate(batch.operations):
            _named(f"input.{i}.user", _check_name, operation.user, "the name of a user")
        users = self._users(batch)
        for i, operation in enumerate(batch.operations):
            if not isinstance(operation, ProfileChange):
                tag = _named(f"input.{i}.tag", self._tag_of, operation.tag)
                if tag.is_rule:
                    raise Invalid(f"{tag.key!r} follows from its rule", argument=f"input.{i}.tag")
        for i, operation in enumerate(batch.operations):
            try:
                self._operate(users.get(operation.user), operation, batch.source)
            except TagroarError as error:
                raise error.within(f"input.{i}") from None

    def keep_only(self, said: Collection[tuple[str, str, str | None]]) -> None:
        """Ends all memberships of the tags named other than those said, by tag, user and value."""
        for key in {key for key, _, _ in said}:
            tag = self._tag_of(key)
            for user in self.facts.users:
                rows = self._rows(tag, user)
                for place in [place for place, row in rows.items() if (key, user, row.value) not in said]:
                    del rows[place]

    def _users(self, batch: Batch) -> dict[str, str]:
        """The user that each name means; those that anything is given to come into being."""
        found: dict[str, str] = {}
        for operation in batch.operations:
            name, gives = operation.user, not isinstance(operation, Remove)
            user: str | None = name
            if batch.id_kind is not None:
                identifier = Identifier(batch.id_kind, name)
                user = self.facts.identifiers.get(identifier)
                if user is None and gives:
                    if name in self._before.users:
                        raise Conflict(f"{name!r} is a user id already")
                    user = self.facts.identifiers[identifier] = name
            if user is not None and gives and user not in self.facts.users:
                self.facts.users[user] = None
                self.created += 1
            if user in self.facts.users:
                found[name] = user
        return found

    def _operate(self, user: str | None, operation: Operation, source: str | None) -> None:
        """Does one operation; nobody is whom nothing was ever given to, and so has nothing to be removed."""
        match operation:
            case Remove():
                self._remove(user, operation)
            case ProfileChange():
                self._profile(str(user), operation)
            case Assign():
                tag = self._tag_of(operation.tag)
                self._assign(tag, self._rows(tag, str(user)), operation, source)
            case Event():
                tag = self._tag_of(operation.tag)
                self._event(tag, self._rows(tag, str(user)), operation)

    def _remove(self, user: str | None, operation: Remove) -> None:
        tag, value = self._tag_of(operation.tag), None
        if operation.value is not None:
            if tag.kind not in VALUED_KINDS:
                raise Invalid(f"{tag.key!r} has no values", argument="value")
            value = self._value(tag, operation.value, "value", declare=False)
        rows = {} if user is None else self._rows(tag, user)
        for key in [key for key, row in rows.items() if operation.value is None or row.value == value]:
            del rows[key]

    def _rows(self, tag: Tag, user: str) -> Rows:
        """The rows of a user under edit: what has ended is gone."""
        if (tag.id, user) not in self._edited:
            self._edited[tag.id, user] = tag
            self.facts.rows.setdefault(tag.id, {})[user] = self._before.rows_of(tag, user, self._moment)
        return self.facts.rows[tag.id][user]

    def _value(self, tag: Tag, value: str, argument: str, *, declare: bool = True) -> str:
        text = nfc(value)
        _named(argument, _check_name, text, "a value")
        if tag.hierarchical and "" in text.split("/"):
            raise Invalid(f"{text!r} has an empty level", argument=argument)
        _named(argument, self._declare, tag, text, declare)
        return text

    # ------------------------------------------------------------ assigning

    def _assign(self, tag: Tag, rows: Rows, operation: Assign, source: str | None) -> None:
        source = operation.source if operation.source is not None else source
        _check_assignment(tag, operation)
        _check_facts(operation, source)
        ends = operation.expires_at
        if ends is None and tag.valid_for is not None:
            ends = self._moment + tag.valid_for
        row = Row(
            None,
            self._moment,
            fact=_fact(tag, operation),
            expires_at=ends,
            source=source,
            score=operation.score,
        )
        if operation.values is not None:
            values: list[str | None] = [
                self._value(tag, value, f"values.{i}") for i, value in enumerate(operation.values)
            ]
            for key in [key for key in rows if key[0] not in values]:
                del rows[key]
        elif operation.value is not None:
            values = [self._value(tag, operation.value, "value")]
        else:
            values = [None]
        for value in values:
            key = (value if tag.kind is TagKind.CHOICES else None, None)
            old = rows.get(key)
            same = old is not None and (old.value, old.fact) == (value, row.fact)
            rows[key] = replace(row, value=value, since=old.since if old is not None and same else row.since)

    # ------------------------------------------------------------ events and profiles

    def _event(self, tag: Tag, rows: Rows, operation: Event) -> None:
        if tag.kind is not TagKind.EVENT:
            raise Invalid(f"{tag.key!r} takes no events", argument="tag")
        if not 1 <= operation.count <= COUNT_MAX:
            raise Invalid("a count is out of range", argument="count")
        value = None if operation.value is None else self._value(tag, operation.value, "value")
        at = self._moment if operation.at is None else operation.at
        day = at.astimezone(self._timezone).date()
        old = rows.get((value, day), Row(value, self._moment, day=day))
        if old.count + operation.count > COUNT_MAX:
            raise Invalid("too many events on a day", argument="count")
        last = max(old.last_at, at)
        ends = None if tag.valid_for is None else last + tag.valid_for
        rows[value, day] = replace(old, count=old.count + operation.count, last_at=last, expires_at=ends)

    def _profile(self, user: str, change: ProfileChange) -> None:
        for i, identifier in enumerate(change.identifiers):
            _named(f"identifiers.{i}.kind", _check_name, identifier.kind, "a kind")
            _named(f"identifiers.{i}.value", _check_name, identifier.value, "an identifier")
            owner = self.facts.identifiers.get(identifier)
            if owner not in (None, user):
                raise Conflict(f"{identifier} belongs to another", argument=f"identifiers.{i}")
            self.facts.identifiers[identifier] = user
            self.touched += owner is None
        old = self.facts.attributes.get(user, {})
        new = {key: value for key, value in (old | dict(change.attributes)).items() if value is not None}
        if repr(sorted(new.items())) != repr(sorted(old.items())):
            self.facts.attributes[user] = new
            self.touched += 1


_TAKES = {
    TagKind.FLAG: [],
    TagKind.CHOICE: ["value"],
    TagKind.CHOICES: ["value", "values"],
    TagKind.NUMBER: ["number"],
    TagKind.DATE: ["date"],
}


def _check_assignment(tag: Tag, operation: Assign) -> None:
    """INVALID unless the operation gives the one thing that the kind takes."""
    if tag.kind is TagKind.EVENT:
        raise Invalid(f"{tag.key!r} takes events", argument="tag")
    takes = _TAKES[tag.kind]
    given = [name for name in ("value", "values", "number", "date") if getattr(operation, name) is not None]
    wrong = [name for name in given if name not in takes]
    if wrong or len(given) != min(len(takes), 1):
        raise Invalid(f"{tag.key!r} is a {tag.kind} tag", argument=[*wrong, *takes][0])


def _check_facts(operation: Assign, source: str | None) -> None:
    if operation.score is not None and not isfinite(operation.score):
        raise Invalid("a score is a finite number", argument="score")
    if source is not None and not 1 <= len(source) <= 200:
        raise Invalid("a source has 1 to 200 characters", argument="source")


def _fact(tag: Tag, operation: Assign) -> Decimal | date | None:
    """The number or the date as the tag keeps it."""
    if operation.number is not None:
        number = operation.number
        units = Fraction(number) * 10**tag.scale if number.is_finite() else None
        if units is None or units.denominator != 1 or abs(units) >= 10**DIGITS_MAX:
            raise Invalid(f"{number} does not fit", argument="number")
        return number
    if operation.date is not None:
        moment = operation.date.astimezone(UTC)
        return moment.date() if tag.precision is DatePrecision.DAY else moment.replace(microsecond=0)
    return None


def _check_name(text: str, what: str) -> None:
    if not 1 <= len(text.encode("utf-8", "surrogatepass")) <= 512:
        raise Invalid(f"{what} has 1 to 512 bytes")
    if any(ord(char) < 32 or ord(char) == 127 or "\ud800" <= char <= "\udfff" for char in text):
        raise Invalid(f"{what} holds control characters")


def _named(argument: str, check: Callable[..., T], *given: object) -> T:
    """What the check gives, its error with the argument at fault."""
    try:
        return check(*given)
    except (Invalid, NotFound) as error:
        error.argument = argument
        raise
