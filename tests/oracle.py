"""The third engine: a store on plain dicts, every version of which keeps its whole state.

Slow and literal. It shares with the service its values, its parser, its catalog and the checks of
definitions, and the hash of `part`; all that concerns data is said a second time: writing in `facts.py`,
asking in `meaning.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil
from zoneinfo import ZoneInfo

from bitmap_store.catalog import Catalog, ValueTable
from bitmap_store.clock import Clock
from bitmap_store.definitions import (
    TagChange,
    TagDefinition,
    canonical_text,
    check_definition,
    check_names,
    check_rules,
    checked_key,
)
from bitmap_store.errors import Conflict, Invalid, NotFound, Stale
from bitmap_store.expression import (
    Expression,
    nfc,
)
from bitmap_store.language import parse
from bitmap_store.store import Summary, Sums
from bitmap_store.values import (
    VALUED_KINDS,
    Assign,
    Batch,
    EntityKind,
    Event,
    Identifier,
    Membership,
    Operation,
    SavedAudience,
    Tag,
    TagKind,
    TagOrigin,
    WriteResult,
)
from tests.facts import BEGINNING, Draft, Facts, Row
from tests.meaning import MICROSECOND, SECOND, Meaning, Reading


@dataclass(frozen=True)
class Version:
    """The facts of every entity from a moment on."""

    moment: datetime
    facts: dict[str, Facts]

    def of(self, entity: str) -> Facts:
        """The facts of one entity."""
        return self.facts.get(entity, Facts())


class Oracle:
    """A store in memory. dense: the dense id of a user, which `part` hashes; else in the order of creation."""

    def __init__(
        self,
        clock: Clock,
        timezone: ZoneInfo = ZoneInfo("UTC"),
        retention: timedelta = timedelta(days=30),
        dense: Callable[[str, str], int] | None = None,
    ) -> None:
        self.clock = clock
        self.timezone = timezone
        self.retention = retention
        self.versions = [Version(BEGINNING, {})]
        self.catalog = Catalog(entities={"user": EntityKind(1, "user", "user")})
        self.dense = dense or (lambda entity, user: list(self.versions[-1].of(entity).users).index(user))
        self._applied: dict[str, tuple[Batch, WriteResult]] = {}
        self._tags = 0

    # ------------------------------------------------------------ writing

    def apply(self, batch: Batch) -> WriteResult:
        """See `BitmapStore.apply`."""
        entity = self.catalog.entity(batch.entity, argument="entity").key
        if batch.idempotency_key in self._applied:
            earlier, result = self._applied[batch.idempotency_key]
            if earlier != batch:
                raise Conflict("the key was used for something else", argument="idempotencyKey")
            return replace(result, already_applied=True)
        catalog, latest = self.catalog, self.versions[-1]
        moment = max(self.clock.now(), latest.moment + MICROSECOND)
        draft = Draft(
            latest.of(entity),
            moment,
            self.timezone,
            lambda key: self.catalog.tag_of(entity, key),
            self._declare,
        )
        try:
            draft.apply(batch)
        except BaseException:
            self.catalog = catalog
            raise
        if draft.changed or draft.created or draft.touched:
            self.versions.append(Version(moment, latest.facts | {entity: draft.facts}))
        result = WriteResult(len(self.versions) - 1, draft.changed, draft.created)
        if batch.idempotency_key is not None:
            self._applied[batch.idempotency_key] = (batch, result)
        return result

    def import_rows(self, rows: Sequence[Operation], *, replace: bool = False) -> WriteResult:
        """What an import of these rows from a source "file" does: one version. replace: their tags hold no more."""
        latest, now = self.versions[-1], self.clock.now()
        draft = Draft(latest.of("user"), now, self.timezone, self.catalog.tag, self._declare)
        draft.apply(Batch("user", tuple(rows), source="file"))
        if replace:
            draft.keep_only({(row.tag, row.user, row.value) for row in rows if isinstance(row, Assign | Event)})
        if draft.changed or draft.created:
            self.versions.append(Version(max(now, latest.moment + MICROSECOND), latest.facts | {"user": draft.facts}))
        return WriteResult(len(self.versions) - 1, draft.changed, draft.created)

    def _declare(self, tag: Tag, value: str, declare: bool) -> None:
        """Lets a tag have a value, unless that is only asked; of a closed tag NOT_FOUND unless it has."""
        if value not in self.catalog.values(tag).names and not tag.open:
            raise NotFound.named(f"value of {tag.key!r}", value, self.catalog.values(tag))
        if declare:
            self._add_values(tag, [value])

    def _add_values(self, tag: Tag, values: Iterable[str]) -> None:
        names = list(self.catalog.values(tag))
        for value in map(nfc, values):
            levels = value.split("/") if tag.hierarchical else [value]
            above = ["/".join(levels[: depth + 1]) for depth in range(len(levels))]
            names += [name for name in above if name not in names]
        table = ValueTable({name: i + 1 for i, name in enumerate(names)})
        self._redefine(value_tables={**self.catalog.value_tables, tag.id: table})

    # ------------------------------------------------------------ definitions

    def _redefine(self, **changes: object) -> None:
        self.catalog = replace(self.catalog, version=self.catalog.version + 1, **changes)  # type: ignore[arg-type]

    def define_entity(self, key: str, name: str | None = None) -> EntityKind:
        """An entity kind, new or renamed."""
        key = checked_key(key, "entity kind", "key")
        known = self.catalog.entities.get(key)
        kind = EntityKind(
            known.id if known else len(self.catalog.entities) + 1, key, name or (known.name if known else key)
        )
        self._redefine(entities={**self.catalog.entities, key: kind})
        return kind

    def define_tag(self, definition: TagDefinition) -> Tag:
        """A new tag; the same definition again gives the one that is there."""
        key = checked_key(definition.key, "tag", "input.key")
        check_definition(definition, self.catalog)
        rules = tuple(replace(rule, text=canonical_text(rule.text)) for rule in definition.rules)
        values = definition.values if definition.values is not None else tuple(rule.value for rule in rules)
        is_rule = definition.rule is not None or bool(rules)
        shared = {field.name for field in fields(Tag)} & {field.name for field in fields(TagDefinition)}
        told = {name: getattr(definition, name) for name in shared - {"rule", "rules", "name", "key", "origin"}}
        tag = Tag(
            id=self._tags + 1,
            key=key,
            name=definition.name or key,
            origin=definition.origin or (TagOrigin.RULE if is_rule else TagOrigin.DECLARED),
            rule=None if definition.rule is None else canonical_text(definition.rule),
            rules=rules,
            open=definition.kind in VALUED_KINDS and definition.values is None and not rules,
            **told,
        )
        known = self.catalog.tags.get(key)
        if known is not None:
            same = replace(tag, id=known.id, version=known.version, defined_at=known.defined_at) == known
            if not same or (not known.open and not set(values) <= set(self.catalog.values(known))):
                raise Conflict(f"there is a tag {key!r} with another definition", argument="input.key")
            return known
        self._tags += 1
        self._keep_tag(tag)
        self._add_values(tag, values)
        return tag

    def _keep_tag(self, tag: Tag) -> None:
        tags = {**self.catalog.tags, tag.key: tag}
        self._redefine(tags=tags, tags_by_id={known.id: known for known in tags.values()})

    def update_tag(self, key: str, change: TagChange, if_version: int | None = None) -> Tag:
        """The tag with the change applied."""
        tag = self.catalog.tag(key, argument="key")
        _check_version(tag.version, if_version)
        if change.rule is not None or change.rules is not None:
            check_rules(tag.key, tag.entity, tag.kind, change.rule, change.rules or (), self.catalog)
        told = {f.name: getattr(change, f.name) for f in fields(TagChange) if f.name != "add_values"}
        tag = replace(tag, version=tag.version + 1, **{name: new for name, new in told.items() if new is not None})
        self._keep_tag(tag)
        self._add_values(tag, [*(change.add_values or ()), *(rule.value for rule in change.rules or ())])
        return tag

    def delete_tag(self, key: str) -> WriteResult:
        """Takes a tag out of the catalog; its rows stay behind, under an id that nothing names any more."""
        tag = self.catalog.tag(key, argument="key")
        if self.catalog.used_by("tag", tag.key):
            raise Conflict(f"{key!r} is used", argument="key")
        tags = {other.key: other for other in self.catalog.tags.values() if other.id != tag.id}
        self._redefine(tags=tags, tags_by_id={known.id: known for known in tags.values()})
        latest = self.versions[-1]
        facts = latest.of(tag.entity).copy()
        rows = facts.rows.pop(tag.id, {})
        changed = sum(map(len, rows.values()))
        if changed:
            moment = max(self.clock.now(), latest.moment + MICROSECOND)
            self.versions.append(Version(moment, latest.facts | {tag.entity: facts}))
        return WriteResult(len(self.versions) - 1, changed, 0)

    def save_audience(
        self,
        key: str,
        name: str | None,
        text: str,
        entity: str = "user",
        owner: str | None = None,
        if_version: int | None = None,
    ) -> SavedAudience:
        """The saved audience, new or with a new definition."""
        key = checked_key(key, "saved audience", "input.key")
        entity = self.catalog.entity(entity, argument="input.entity").key
        check_names(parse(text), entity, self.catalog, "input.where", own_audience=key)
        known = self.catalog.audiences.get(key)
        _check_version(known.version if known else 0, if_version)
        if known is not None and known.entity != entity:
            raise Conflict(f"@{key} is of another entity", argument="input.entity")
        if known is None:
            saved = SavedAudience(
                len(self.catalog.audiences) + 1, key, name or key, entity, canonical_text(text), owner, 1
            )
        else:
            saved = replace(known, name=name or known.name, text=canonical_text(text), version=known.version + 1)
        self._redefine(audiences={**self.catalog.audiences, key: saved})
        return saved

    def delete_audience(self, key: str) -> WriteResult:
        """Takes a saved audience out of the catalog."""
        audience = self.catalog.audience(key, argument="key")
        if self.catalog.used_by("audience", audience.key):
            raise Conflict(f"@{key} is used", argument="key")
        left = {other.key: other for other in self.catalog.audiences.values() if other.key != audience.key}
        self._redefine(audiences=left)
        return WriteResult(len(self.versions) - 1, 1, 0)

    # ------------------------------------------------------------ reading

    def view(self) -> "Sight":
        """What is known now."""
        version = len(self.versions) - 1
        return Sight(self, self.catalog, version, max(self.clock.now(), self.versions[version].moment))


def _check_version(version: int, if_version: int | None) -> None:
    if if_version not in (None, version):
        raise Conflict(f"the version is {version}", argument="ifVersion")


class Sight:
    """What one request sees: a version, a moment, a catalog."""

    def __init__(self, oracle: Oracle, catalog: Catalog, version: int, moment: datetime) -> None:
        self.version = version
        self.moment = moment
        self.catalog = catalog
        self._oracle = oracle
        self._meaning = Meaning(
            catalog,
            oracle.timezone,
            self.reading,
            lambda entity: oracle.versions[-1].of(entity).identifiers,
            lambda entity, user: oracle.dense(entity, user),
        )

    def reading(self, entity: str, as_of: datetime | None = None) -> Reading:
        """The facts of an entity now or then."""
        entity = self.catalog.entity(entity, argument="entity").key
        versions = self._oracle.versions[: self.version + 1]
        if as_of is None:
            return Reading(entity, versions[-1].of(entity), self.moment)
        if as_of > self.moment:
            raise Invalid("that is in the future", argument="asOf")
        if as_of < self.moment - self._oracle.retention:
            raise Stale("that is no longer kept", argument="asOf")
        known = [version for version in versions if version.moment <= as_of]
        return Reading(entity, known[-1].of(entity), as_of)

    # ------------------------------------------------------------ answers

    def members(self, asked: Expression, entity: str = "user", as_of: datetime | None = None) -> set[str]:
        """The users of an audience."""
        return self._meaning.members(asked, self.reading(entity, as_of))

    def ranking(self, asked: Expression, weights: Sequence[tuple[Expression, int]]) -> list[tuple[str, int]]:
        """The users of an audience with the sum of the weights of those that they are in, the highest first."""
        sets = [(self.members(each), weight) for each, weight in weights]
        scores = {user: sum(w for users, w in sets if user in users) for user in self.members(asked)}
        return sorted(scores.items(), key=lambda each: (-each[1], self._oracle.dense("user", each[0])))

    def tags_of(
        self, user: str, entity: str = "user", as_of: datetime | None = None, *, ended: bool = False
    ) -> list[Membership]:
        """The memberships of a user, by tag and value in the order of the catalog; or those that have ended."""
        reading = self.reading(entity, as_of)
        found: list[Membership] = []
        for tag in self.catalog.tags.values():
            if tag.entity == reading.entity:
                every = reading.facts.rows.get(tag.id, {}).get(user, {})
                rows = [row for row in every.values() if row.alive(reading.moment) is not ended]
                order = [None, *self.catalog.values(tag)]
                rows.sort(key=lambda row: order.index(row.value))
                found += (
                    _event_memberships(tag, rows) if tag.kind is TagKind.EVENT else [_membership(tag, r) for r in rows]
                )
        return found

    def profile(
        self, user: str, entity: str = "user", as_of: datetime | None = None
    ) -> tuple[set[Identifier], dict[str, object]] | None:
        """Identifiers and attributes; None for whoever did not exist."""
        facts = self.reading(entity, as_of).facts
        if user not in facts.users:
            return None
        return {i for i, owner in facts.identifiers.items() if owner == user}, facts.attributes.get(user, {})

    def summary(
        self,
        asked: Expression,
        tag: str,
        quantiles: Sequence[float] = (),
        bins: int = 0,
        entity: str = "user",
        as_of: datetime | None = None,
    ) -> Summary:
        """Statistics of a NUMBER or DATE over an audience, in units, exactly."""
        reading, kind = self.reading(entity, as_of), self.catalog.tag(tag)
        units = sorted(
            _units(kind, row)
            for user in self._meaning.members(asked, reading)
            for row in reading.facts.rows_of(kind, user, reading.moment).values()
        )
        if not units:
            return Summary(0, 0, None, None, None, tuple(None for _ in quantiles), ())
        count, low, high = len(units), units[0], units[-1]
        histogram = [0] * bins
        for unit in units if bins else ():
            at = Fraction(unit - low, high - low) * bins if high > low else Fraction(0)
            histogram[min(int(at), bins - 1)] += 1
        return Summary(
            count=count,
            sum=sum(units),
            min=low,
            max=high,
            median=(units[(count - 1) // 2] + units[count // 2]) / 2,
            quantiles=tuple(units[max(ceil(q * count), 1) - 1] for q in quantiles),
            bins=tuple(histogram),
        )

    def sums(self, asked: Expression, tag: str, entity: str = "user", as_of: datetime | None = None) -> Sums:
        """How many numbers or dates an audience has, their sum and that of their squares, in units."""
        reading, kind = self.reading(entity, as_of), self.catalog.tag(tag)
        units = [
            _units(kind, row)
            for user in self._meaning.members(asked, reading)
            for row in reading.facts.rows_of(kind, user, reading.moment).values()
        ]
        return Sums(len(units), sum(units), sum(each**2 for each in units))


def _units(tag: Tag, row: Row) -> int:
    """A number or a date as the integer that the store's answers speak of."""
    match row.fact:
        case Decimal():
            return int(Fraction(row.fact) * 10**tag.scale)
        case datetime():
            return (row.fact - datetime(1970, 1, 1, tzinfo=UTC)) // SECOND
        case date():
            return (row.fact - date(1970, 1, 1)).days
    raise AssertionError(f"{row} has no number")


def _membership(tag: Tag, row: Row) -> Membership:
    units = _units(tag, row) if tag.kind in (TagKind.NUMBER, TagKind.DATE) else None
    return Membership(tag.key, row.value, row.since, row.expires_at, row.source, row.score, units)


def _event_memberships(tag: Tag, rows: Iterable[Row]) -> list[Membership]:
    by_value: dict[str | None, list[Row]] = {}
    for row in rows:
        by_value.setdefault(row.value, []).append(row)
    return [
        Membership(
            tag.key,
            value,
            since=min(row.since for row in days),
            count=sum(row.count for row in days),
            last_at=max(row.last_at for row in days),
        )
        for value, days in by_value.items()
    ]
