"""The plain values of the catalog and of answers: what every layer may hold and none can harm.

Frozen, comparable, free of any session. Tables are in `tables.py`, questions in `expression.py`.
Moments are aware datetimes in UTC at this boundary; below it they are microseconds since 1970.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from enum import StrEnum

from bitmap_store.errors import Invalid


class TagKind(StrEnum):
    """What a tag can say of a user."""

    FLAG = "FLAG"
    CHOICE = "CHOICE"
    CHOICES = "CHOICES"
    NUMBER = "NUMBER"
    DATE = "DATE"
    EVENT = "EVENT"


class TagOrigin(StrEnum):
    """Where the values of a tag come from."""

    DECLARED = "DECLARED"
    STATISTICAL = "STATISTICAL"
    RULE = "RULE"
    MINED = "MINED"


class TagState(StrEnum):
    """The stage of a tag in its life cycle."""

    DRAFT = "DRAFT"
    TESTING = "TESTING"
    IN_REVIEW = "IN_REVIEW"
    ACTIVE = "ACTIVE"
    DEPRECATED = "DEPRECATED"
    RETIRED = "RETIRED"


class Sensitivity(StrEnum):
    """Who may learn a tag."""

    PUBLIC = "PUBLIC"
    INTERNAL = "INTERNAL"
    PERSONAL = "PERSONAL"
    RESTRICTED = "RESTRICTED"


class DatePrecision(StrEnum):
    """The unit of a DATE tag."""

    DAY = "DAY"
    SECOND = "SECOND"


class JobState(StrEnum):
    """The stage of a piece of long work."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


VALUED_KINDS = frozenset({TagKind.CHOICE, TagKind.CHOICES, TagKind.EVENT})
"""Kinds whose memberships carry one of the tag's values."""

SINGLE_KINDS = frozenset({TagKind.FLAG, TagKind.CHOICE, TagKind.NUMBER, TagKind.DATE})
"""Kinds of which a user has at most one membership."""

MICROSECONDS = 1_000_000
DAY_SECONDS = 86_400
NEVER = 2**63 - 1
"""The expiry, in microseconds, of a membership that does not end."""

EXACT = Context(prec=100)
"""Shifting a decimal rounds to the context's precision; the usual 28 digits are fewer than a text may have."""

DECIMAL_DIGITS_MAX = 18
SCALE_MAX = 9


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime; exact."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    """The aware datetime in UTC of microseconds since 1970; exact."""
    return _EPOCH + timedelta(microseconds=microseconds)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def scaled(number: Decimal, scale: int, *, argument: str | None = None) -> int:
    """A number as an integer of units of 10^-scale; INVALID with more decimals or digits than a tag keeps."""
    if not number.is_finite():
        raise Invalid(f"{number} is not a number", argument=argument)
    if number and number.adjusted() > DECIMAL_DIGITS_MAX:
        raise Invalid(f"a number keeps at most {DECIMAL_DIGITS_MAX} digits", argument=argument)
    shifted = number.scaleb(scale, EXACT)
    if shifted != shifted.to_integral_value(context=EXACT):
        raise Invalid(f"{number} has more than the {scale} decimals the tag keeps", argument=argument)
    if abs(shifted) >= 10**DECIMAL_DIGITS_MAX:
        raise Invalid(f"{number} has more than {DECIMAL_DIGITS_MAX} digits at scale {scale}", argument=argument)
    return int(shifted)


def unscaled(units: int, scale: int) -> Decimal:
    """The number that `scaled` took."""
    return Decimal(units).scaleb(-scale, EXACT)


def date_units(moment: datetime | date, precision: DatePrecision) -> int:
    """A moment in the unit of a DATE tag, rounded down: days or seconds since 1970."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    seconds = micros(moment) // MICROSECONDS
    return seconds // DAY_SECONDS if precision is DatePrecision.DAY else seconds


def date_of_units(units: int, precision: DatePrecision) -> datetime:
    """The moment that `date_units` took, at the start of its unit."""
    return moment_of(units * (DAY_SECONDS if precision is DatePrecision.DAY else 1) * MICROSECONDS)


@dataclass(frozen=True, slots=True)
class EntityKind:
    """What a space of ids counts: `user`, `account`, …"""

    id: int
    key: str
    name: str


@dataclass(frozen=True, slots=True)
class Category:
    """A shelf in the tag catalog; depth counts from 1 at the top."""

    id: int
    key: str
    name: str
    parent: str | None
    depth: int


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Which users have one value of a RULE tag; `text` is in the audience language."""

    value: str
    text: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A named question about the users of an entity. `scale` is of NUMBER, `precision` of DATE tags.

    In words: definition (what it means), method (how it comes about), scope (of whom it is told), unit.
    """

    id: int
    key: str
    entity: str
    name: str
    kind: TagKind
    origin: TagOrigin = TagOrigin.DECLARED
    state: TagState = TagState.ACTIVE
    sensitivity: Sensitivity = Sensitivity.INTERNAL
    category: str | None = None
    definition: str | None = None
    rule: str | None = None
    rules: tuple[ValueRule, ...] = ()
    valid_for: timedelta | None = None
    open: bool = True
    hierarchical: bool = False
    scale: int = 0
    precision: DatePrecision = DatePrecision.SECOND
    owner: str | None = None
    method: str | None = None
    scope: str | None = None
    unit: str | None = None
    version: int = 1
    defined_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    @property
    def is_rule(self) -> bool:
        """Whether memberships follow from a rule when they are read, and are never stored."""
        return self.rule is not None or bool(self.rules)


@dataclass(frozen=True, slots=True)
class SavedAudience:
    """An audience with a name; `text` is its expression in canonical form."""

    id: int
    key: str
    name: str
    entity: str
    text: str
    owner: str | None
    version: int


@dataclass(frozen=True, slots=True)
class Membership:
    """One value of one tag on one user. `value` is None for FLAG, NUMBER and DATE; see `units` for those.

    units: the scaled NUMBER or the DATE in its unit. count, last_at: of an EVENT, in all. is_shared: all users of the
    value have this very object, whoever asks.
    """

    tag: str
    value: str | None
    since: datetime
    expires_at: datetime | None = None
    source: str | None = None
    score: float | None = None
    units: int | None = None
    count: int | None = None
    last_at: datetime | None = None
    is_shared: bool = field(default=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Identifier:
    """Another outside name of a user."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a batch did: the version it made, memberships and profiles that changed, users it created.

    already_applied: an earlier request with the same key did it.
    """

    data_version: int
    changed: int
    created: int
    already_applied: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Work that takes a while, and how far it is; `progress` within 0..1 or None where it cannot be known."""

    id: str
    kind: str
    state: JobState
    progress: float | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    rows_read: int = 0
    rows_applied: int = 0
    rows_rejected: int = 0
    error: str | None = None
    title: str = ""
    already_applied: bool = False


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row of an import that was not applied: its line (from 1, the header is line 1), code and reason."""

    line: int
    code: str
    message: str


# ---------------------------------------------------------------- one batch of writes


@dataclass(frozen=True, slots=True)
class Assign:
    """Gives a user a tag. `value` adds (CHOICE: replaces), `values` replaces; EVENT takes no assignments."""

    user: str
    tag: str
    value: str | None = None
    values: tuple[str, ...] | None = None
    number: Decimal | None = None
    date: datetime | None = None
    score: float | None = None
    expires_at: datetime | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Takes a tag, or one value of it, from a user."""

    user: str
    tag: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened `count` times at `at` (None: at the moment of the batch)."""

    user: str
    tag: str
    value: str | None = None
    at: datetime | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """Creates or changes a profile: attributes merge (None removes one), identifiers are linked."""

    user: str
    identifiers: tuple[Identifier, ...] = ()
    attributes: tuple[tuple[str, object], ...] = ()


Operation = Assign | Remove | Event | ProfileChange


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations of one entity that apply all or none, in order, as one version.

    `id_kind`: the users are named by this kind of identifier. `idempotency_key`: applies once; the same
    key with other operations is CONFLICT. `source` is put on memberships that name none.
    """

    entity: str
    operations: tuple[Operation, ...]
    id_kind: str | None = None
    idempotency_key: str | None = None
    source: str | None = field(default=None)
