"""What a batch of operations does to memberships: the semantics of writing, for batches of any content.

Works on the rows of the touched users only, in plain Python, in the order of the operations. Imports,
which say the same for millions of rows, have their own form in `merge.py`; tests hold the two together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from pyroaring import BitMap

from bitmap_store.bind import local_day
from bitmap_store.errors import Invalid, NotFound
from bitmap_store.expression import nfc
from bitmap_store.rows import Row, Rows, in_order
from bitmap_store.sqlite.layers import Change
from bitmap_store.values import (
    NEVER,
    SINGLE_KINDS,
    VALUED_KINDS,
    Assign,
    Event,
    Operation,
    Remove,
    Tag,
    TagKind,
    date_units,
    micros,
    scaled,
)

COUNT_MAX = 2**32 - 1
NAN = float("nan")
Id = TypeVar("Id", int, int | None)

Key = tuple[int, int]  # value, units where they are part of the key
SINGLE_KEY: Key = (0, 0)

_VALUE, _UNITS, _SINCE, _EXPIRES, _SOURCE, _SCORE, _COUNT, _LAST = range(1, 9)


class TagEditor:
    """The rows of one tag under edit.

    value_id: the id of a value, declared if need be; known_id: without declaring it. Both raise NOT_FOUND.
    """

    def __init__(
        self,
        tag: Tag,
        before: Rows,
        moment: int,
        timezone: ZoneInfo,
        value_id: Callable[[str], int],
        known_id: Callable[[str], int | None],
        source_id: Callable[[str | None], int],
    ) -> None:
        self.tag = tag
        self._before = before
        self._moment = moment
        self._timezone = timezone
        self._value_id = value_id
        self._known_id = known_id
        self._source_id = source_id
        self._single = tag.kind in SINGLE_KINDS
        self._event = tag.kind is TagKind.EVENT
        self._ids: dict[str, int] = {}
        self._was: dict[int, dict[Key, Row]] = {}
        for row in before.tolist():
            if row[_EXPIRES] > moment:  # what has ended is gone: setting it again begins a new membership
                self._was.setdefault(row[0], {})[self._key(row)] = row
        self._rows = {user: dict(rows) for user, rows in self._was.items()}

    def _key(self, row: Row) -> Key:
        if self._single:
            return SINGLE_KEY
        return (row[_VALUE], row[_UNITS] if self._event else 0)

    def assign(self, user: int, operation: Assign, source: str | None = None) -> None:
        """Gives the user the tag as the operation says; see `values.Assign`. source: where the operation names none."""
        check_assignment(self.tag, operation)
        rows = self._rows.setdefault(user, {})
        units = 0
        if operation.number is not None:
            units = scaled(operation.number, self.tag.scale, argument="number")
        elif operation.date is not None:
            units = date_units(operation.date, self.tag.precision)
        if operation.values is not None:
            ids = [self._declared(value, f"values.{i}") for i, value in enumerate(operation.values)]
            for key in [key for key in rows if key[0] not in ids]:
                del rows[key]
        else:
            ids = [0 if operation.value is None else self._declared(operation.value, "value")]
        score = NAN if operation.score is None else operation.score
        source_id = self._source_id(source if operation.source is None else operation.source)
        ends = self._ends(operation.expires_at)
        for id_ in ids:
            self._put(rows, (user, id_, units, self._moment, ends, source_id, score, 0, 0))

    def _ends(self, given: datetime | None) -> int:
        if given is not None:
            return micros(given)
        return NEVER if self.tag.valid_for is None else self._moment + _micros_of(self.tag)

    def _put(self, rows: dict[Key, Row], row: Row) -> None:
        """Sets a row; one that says the same thing again keeps its `since`."""
        key = self._key(row)
        old = rows.get(key)
        if old is not None and (old[_VALUE], old[_UNITS]) == (row[_VALUE], row[_UNITS]):
            row = (*row[:_SINCE], old[_SINCE], *row[_EXPIRES:])
        rows[key] = row

    def remove(self, user: int | None, operation: Remove) -> None:
        """Takes the tag, or one value of it, from the user; what or who is not there is no error."""
        value: int | None = None
        if operation.value is not None:
            if self.tag.kind not in VALUED_KINDS:
                raise Invalid(f"{self.tag.key!r} is of kind {self.tag.kind} and has no values", argument="value")
            value = self._named(operation.value, "value", self._known_id)
        if user is None:
            return
        rows = self._rows.setdefault(user, {})
        if operation.value is None:
            rows.clear()
        for key in [key for key, row in rows.items() if row[_VALUE] == value]:
            del rows[key]

    def record(self, user: int, operation: Event) -> None:
        """Adds events to the day on which they happened."""
        if self.tag.kind is not TagKind.EVENT:
            raise Invalid(f"{self.tag.key!r} is of kind {self.tag.kind}; events go to EVENT tags", argument="tag")
        if not 1 <= operation.count <= COUNT_MAX:
            raise Invalid(f"a count lies within 1..{COUNT_MAX}", argument="count")
        value = 0 if operation.value is None else self._declared(operation.value, "value")
        at = self._moment if operation.at is None else micros(operation.at)
        rows = self._rows.setdefault(user, {})
        day = local_day(at, self._timezone)
        old = rows.get((value, day))
        since, count, last = (old[_SINCE], old[_COUNT], old[_LAST]) if old else (self._moment, 0, at)
        if count + operation.count > COUNT_MAX:
            raise Invalid(f"more than {COUNT_MAX} events of one user on one day", argument="count")
        last = max(last, at)
        ends = NEVER if self.tag.valid_for is None else last + _micros_of(self.tag)
        rows[(value, day)] = (
            user, value, day, since, ends, self._source_id(None), float("nan"), count + operation.count, last
        )  # fmt: skip

    def _declared(self, value: str, argument: str) -> int:
        known = self._ids.get(value)
        if known is None:
            known = self._ids[value] = self._named(value, argument, self._value_id)
        return known

    def _named(self, value: str, argument: str, id_of: Callable[[str], Id]) -> Id:
        try:
            return id_of(check_value(value, self.tag))
        except (Invalid, NotFound) as error:
            error.argument = argument
            raise

    def change(self) -> tuple[Change | None, int]:
        """What all edits together did, and how many memberships they added, altered or ended."""
        touched: list[int] = []
        after: list[Row] = []
        changed = 0
        for user, rows in self._rows.items():
            was = self._was.get(user, {})
            if was:
                different = sum(not _same(rows.get(key), was.get(key)) for key in rows.keys() | was.keys())
            else:
                different = len(rows)
            if different:
                touched.append(user)
                changed += different
                after.extend(rows.values())
        if not touched:
            return None, 0
        users = BitMap(touched)
        return Change(users, self._before.of(users), rows_from(after)), changed


def _same(a: Row | None, b: Row | None) -> bool:
    """Equality that takes one NaN for another."""
    if a is None or b is None:
        return a is b
    return a == b or all(x == y or (x != x and y != y) for x, y in zip(a, b, strict=True))


def _micros_of(tag: Tag) -> int:
    assert tag.valid_for is not None
    return int(tag.valid_for.total_seconds() * 1_000_000)


def rows_from(rows: Sequence[Row]) -> Rows:
    """Tuples as rows in canonical order."""
    return in_order(Rows.from_tuples(rows))


def check_value(value: str, tag: Tag) -> str:
    """A value in the form in which it is kept; INVALID when it cannot be one."""
    value = nfc(value)
    if not value or len(value.encode("utf-8", "surrogatepass")) > 512:
        raise Invalid("a value has 1 to 512 bytes")
    if not value.isprintable() and any(ord(char) < 32 or ord(char) == 127 or _is_surrogate(char) for char in value):
        raise Invalid("a value holds no control characters")
    if tag.hierarchical and not all(value.split("/")):
        raise Invalid(f"{value!r} has an empty level; levels stand between single slashes")
    return value


def check_user(name: str) -> str:
    """An outside name of a user; INVALID when it cannot be one. Compared byte by byte."""
    if not name or len(name.encode("utf-8", "surrogatepass")) > 512:
        raise Invalid("the name of a user has 1 to 512 bytes")
    if not name.isprintable() and any(ord(char) < 32 or ord(char) == 127 or _is_surrogate(char) for char in name):
        raise Invalid("the name of a user holds no control characters")
    return name


def _is_surrogate(char: str) -> bool:
    return "\ud800" <= char <= "\udfff"


_FITTING: Mapping[TagKind, tuple[str, ...]] = {
    TagKind.FLAG: (),
    TagKind.CHOICE: ("value",),
    TagKind.CHOICES: ("value", "values"),
    TagKind.NUMBER: ("number",),
    TagKind.DATE: ("date",),
}


def check_assignment(tag: Tag, operation: Assign) -> None:
    """INVALID unless the operation gives just what the kind of the tag takes."""
    if tag.kind is TagKind.EVENT:
        raise Invalid(f"{tag.key!r} is an EVENT tag; record events on it", argument="tag")
    if tag.is_rule:
        raise Invalid(f"{tag.key!r} follows from its rule and is not assigned", argument="tag")
    fitting = _FITTING[tag.kind]
    if len(fitting) == 1 and operation.score is None and _gives_only(fitting[0], operation):
        return
    given = [name for name in ("value", "values", "number", "date") if getattr(operation, name) is not None]
    for name in given:
        if name not in fitting:
            raise Invalid(f"{tag.key!r} is of kind {tag.kind} and takes no {name}", argument=name)
    if fitting and len(given) != 1:
        raise Invalid(f"{tag.key!r} is of kind {tag.kind}; give {' or '.join(fitting)}", argument=fitting[0])
    if operation.score is not None and not np.isfinite(operation.score):
        raise Invalid("a score is a finite number", argument="score")


def _gives_only(name: str, operation: Assign) -> bool:
    given = (operation.value, operation.values, operation.number, operation.date)
    return given.count(None) == len(given) - 1 and getattr(operation, name) is not None


def users_of(operations: Iterable[Operation]) -> list[str]:
    """The outside names that operations speak of, in order, each once."""
    return list(dict.fromkeys(operation.user for operation in operations))
