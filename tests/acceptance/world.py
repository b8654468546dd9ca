"""A world by brute force: every membership as a row, every answer a pass over rows; nothing is the service's own.

Users are numbered from 0 and named prefix + number, but for a few special names. Each step of the
history is one moment of the clock; questions are asked at moments that no step is near.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tests.acceptance.questions import And, At, AtLeast, Everyone, Node, Not, Or, Part, Saved, Tag, Users, children

NEVER = 2**31 - 1
NO_SCORE = -1
UNBORN = 127
DAY = 86_400
ROW = np.dtype(
    [
        ("user", "i4"),
        ("value", "i2"),  # place in the tag's values; -1: none
        ("units", "i4"),  # a NUMBER scaled, a DATE in days or seconds, the day of an EVENT
        ("since", "i1"),  # a step
        ("expires", "i4"),  # seconds
        ("score", "i1"),  # percent
        ("count", "i8"),
    ]
)
Rows = NDArray[Any]
Bits = NDArray[np.uint8]
Ints = NDArray[np.integer[Any]]


@dataclass
class Definition:
    """A tag. `values` grow as they are named where the tag is open."""

    kind: str
    values: list[str] = field(default_factory=list)
    scale: int = 0
    day: bool = False
    hierarchical: bool = False
    valid_for: int | None = None
    open: bool = True
    rule: Node | None = None
    rules: tuple[tuple[str, Node], ...] = ()

    @property
    def single(self) -> bool:
        """Whether a user has at most one."""
        return self.kind in ("FLAG", "CHOICE", "NUMBER", "DATE")


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970, rounded down."""
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1))


def rows(users: Ints, step: int, **columns: object) -> Rows:
    """Rows of these users, with what is not named at its default."""
    made = np.zeros(len(users), ROW)
    made["user"], made["since"], made["value"], made["expires"], made["score"] = users, step, -1, NEVER, NO_SCORE
    for name, column in columns.items():
        made[name] = column
    return made


class World:
    """Users, tags, and the rows of each tag after each step that changed it."""

    def __init__(self, count: int, prefix: str, special: Mapping[int, str], tags: dict[str, Definition]) -> None:
        self.count = count
        self.tags = tags
        self.saved: dict[str, Node] = {}
        self.parts: dict[Part, Bits] = {}
        self.moments: list[int] = []
        self.created = np.full(count, UNBORN, np.int8)
        self._prefix = prefix
        self._special = dict(special)
        self._numbers = {name: number for number, name in special.items()}
        self._history: dict[str, list[tuple[int, Rows]]] = {key: [(-1, np.zeros(0, ROW))] for key in tags}
        self._known: dict[tuple[Node, datetime], Bits] = {}

    # ------------------------------------------------------------ names

    def name(self, user: int) -> str:
        """The name of a user."""
        return self._special.get(user, f"{self._prefix}{user}")

    def number(self, name: str) -> int:
        """The user of a name that there is."""
        return int(self.numbers(pa.array([name]))[0])

    def names(self, users: Ints) -> pa.Array:
        """The names of many users."""
        plain = pc.binary_join_element_wise(self._prefix, pa.array(users).cast(pa.string()), "")
        places = np.flatnonzero(np.isin(users, list(self._special)))
        if not len(places):
            return plain
        mask = np.zeros(len(users), bool)
        mask[places] = True
        return pc.replace_with_mask(plain, pa.array(mask), pa.array([self._special[int(users[i])] for i in places]))

    def numbers(self, names: pa.Array) -> Ints:
        """The users of these names; -1 where there is none."""
        regular = pc.match_substring_regex(names, f"^{self._prefix}(0|[1-9][0-9]{{0,8}})$")
        digits = pc.if_else(regular, names, f"{self._prefix}0")
        plain = pc.utf8_slice_codeunits(digits, len(self._prefix)).cast(pa.int64())
        found: Ints = plain.to_numpy(zero_copy_only=False).copy()
        odd = np.flatnonzero(~regular.to_numpy(zero_copy_only=False))
        found[odd] = [self._numbers.get(name, -1) for name in names.take(pa.array(odd)).to_pylist()]
        found[found >= self.count] = -1
        return found

    # ------------------------------------------------------------ writing

    def begin(self, moment: datetime) -> int:
        """A new step at this moment; what is written next belongs to it."""
        self.moments.append(seconds(moment))
        return len(self.moments) - 1

    @property
    def step(self) -> int:
        """The step that is being written."""
        return len(self.moments) - 1

    def create(self, users: Ints) -> None:
        """These users exist from now on."""
        self.created[users] = np.minimum(self.created[users], self.step)

    def current(self, key: str) -> Rows:
        """The rows of a tag as they are now, those that have ended included."""
        return self._history[key][-1][1]

    def keep(self, key: str, after: Rows) -> None:
        """The rows of a tag from this step on."""
        history = self._history[key]
        if history[-1][0] == self.step:
            history.pop()
        history.append((self.step, after[np.lexsort((after["units"], after["value"], after["user"]))]))

    def places(self, key: str, values: Iterable[str]) -> dict[str, int]:
        """The place of each value, new ones added."""
        known = self.tags[key].values
        for value in dict.fromkeys(values):
            if value not in known:
                known.append(value)
        return {value: place for place, value in enumerate(known)}

    def used(self, key: str) -> list[str]:
        """The values of a tag that any row ever had, the declared ones where it takes no others."""
        definition = self.tags[key]
        if not definition.open or definition.rules:
            return list(definition.values)
        places = np.unique(np.concatenate([np.unique(kept["value"]) for _, kept in self._history[key]]))
        return [definition.values[place] for place in places if place >= 0]

    def merge(self, key: str, new: Rows, replace: bool = False) -> None:
        """An import of rows that do not repeat: what the file says is added, or replaces all there was."""
        definition, now = self.tags[key], self.moments[self.step]
        self.create(new["user"])
        if definition.valid_for is not None and definition.kind != "EVENT":
            new["expires"][new["expires"] == NEVER] = now + definition.valid_for
        old = self.current(key)
        old = old[old["expires"] > now]
        keys_old, keys_new = _keys(old), _keys(new)
        order = np.argsort(keys_old)
        at = np.searchsorted(keys_old[order], keys_new)
        same = at < len(order)
        same[same] = keys_old[order[at[same]]] == keys_new[same]
        twin = order[at[same]]
        new["since"][same] = old["since"][twin]
        if definition.kind == "EVENT" and not replace:
            new["count"][same] += old["count"][twin]
            new["expires"][same] = np.maximum(new["expires"][same], old["expires"][twin])
        if replace:
            left = old[:0]
        elif definition.single:
            left = old[~np.isin(old["user"], new["user"])]
        else:
            kept = np.ones(len(old), bool)
            kept[twin] = False
            left = old[kept]
        self.keep(key, np.concatenate([left, new]))

    # ------------------------------------------------------------ answering

    def at(self, moment: datetime) -> int:
        """The last step at or before a moment; -1 before the first."""
        return bisect_right(self.moments, seconds(moment)) - 1

    def forget(self) -> None:
        """Drops the leaves that were worked out so far."""
        self._known.clear()

    def pack(self, users: Ints) -> Bits:
        """A set of users as bits."""
        mask = np.zeros(self.count, bool)
        mask[users] = True
        return np.packbits(mask)

    def members(self, bits: Bits) -> Ints:
        """The users of a set, ascending."""
        return np.flatnonzero(np.unpackbits(bits, count=self.count))

    def size(self, bits: Bits) -> int:
        """How many users are in a set."""
        return int(np.bitwise_count(bits).sum())

    def bits(self, node: Node, moment: datetime) -> Bits:
        """The users of an audience at a moment."""
        if children(node):
            return self._answer(node, moment)
        key = (node, moment)
        if key not in self._known:
            self._known[key] = self._answer(node, moment)
        return self._known[key]

    def _answer(self, node: Node, moment: datetime) -> Bits:
        match node:
            case Everyone():
                return np.packbits(self.created <= self.at(moment))
            case Tag():
                return self._tag(node, moment)
            case Users(names):
                found = self.numbers(pa.array(names))
                return self.pack(found[found >= 0]) & self.bits(Everyone(), moment)
            case Saved(key):
                return self.bits(self.saved[key], moment)
            case Part():
                return self.parts[node] & self.bits(Everyone(), moment)
            case Not(of):
                return self.bits(Everyone(), moment) & ~self.bits(of, moment)
            case And(of):
                return reduce(np.bitwise_and, (self.bits(child, moment) for child in of))
            case Or(of):
                return reduce(np.bitwise_or, (self.bits(child, moment) for child in of))
            case AtLeast(count, of):
                total = np.zeros(self.count, np.uint8)
                for child in of:
                    total += np.unpackbits(self.bits(child, moment), count=self.count)
                return np.packbits(total >= count)
            case At(then, of):
                return self.bits(of, then) & self.bits(Everyone(), moment)
        raise TypeError(type(node).__name__)

    def _tag(self, tag: Tag, moment: datetime) -> Bits:
        definition = self.tags[tag.key]
        if definition.rule is not None:
            return self.bits(definition.rule, moment)
        if definition.rules:
            return self._by_rules(definition, tag.values, moment)
        found = self.rows_at(tag.key, moment)
        if tag.values is not None and definition.kind != "DATE":
            found = found[np.isin(found["value"], self._value_places(definition, tag.values))]
        if definition.kind == "EVENT":
            return self._event(tag, found, moment)
        if definition.kind == "NUMBER" and tag.compare is not None:
            found = found[_compared(found["units"], tag.compare, definition.scale)]
        if tag.score is not None:
            found = found[found["score"] >= int(Decimal(tag.score) * 100)]
        if definition.kind == "DATE":
            found = found[_dated(tag, definition, found["units"].astype(np.int64), seconds(moment))]
        else:
            since = np.array([*self.moments, 0], np.int64)[found["since"]]
            found = found[_since(tag, since, seconds(moment))]
        return self.pack(found["user"])

    def rows_at(self, key: str, moment: datetime) -> Rows:
        """The rows of a tag that hold at a moment."""
        step = self.at(moment)
        found = next(kept for made, kept in reversed(self._history[key]) if made <= step)
        return found[found["expires"] > seconds(moment)]

    def _value_places(self, definition: Definition, values: Sequence[str]) -> list[int]:
        def covers(wanted: str, value: str) -> bool:
            return value == wanted or (definition.hierarchical and value.startswith(f"{wanted}/"))

        return [i for i, value in enumerate(definition.values) if any(covers(wanted, value) for wanted in values)]

    def _by_rules(self, definition: Definition, values: tuple[str, ...] | None, moment: datetime) -> Bits:
        found = earlier = self.pack(np.zeros(0, np.int64))
        for value, rule in definition.rules:
            here = self.bits(rule, moment)
            if values is None or value in values:
                found = found | (here & ~earlier if definition.kind == "CHOICE" else here)
            earlier = earlier | here
        return found

    def _event(self, tag: Tag, found: Rows, moment: datetime) -> Bits:
        today = seconds(moment) // DAY
        first, last = -(2**40), 2**40
        if tag.after is not None:
            first = max(first, seconds(tag.after) // DAY)
        if tag.before is not None:
            last = min(last, -(-seconds(tag.before) // DAY) - 1)
        if tag.within is not None:
            first = max(first, today - ceil(tag.within / timedelta(days=1)) + 1)
            last = min(last, today - ceil((tag.skip or timedelta()) / timedelta(days=1)))
        found = found[(found["units"] >= first) & (found["units"] <= last)]
        totals = np.bincount(found["user"], found["count"], self.count)
        return np.packbits(totals >= (tag.times or 1))


def _keys(found: Rows) -> Ints:
    """One number for what a row is about: its user and its value, number or day. Days take 17 bits, a user 22."""
    content = found["units"].astype(np.int64) + 2**31 + (found["value"].astype(np.int64) + 1 << 17)
    keys: Ints = (found["user"].astype(np.int64) << 34) + content
    return keys


def _compared(units: Ints, compare: tuple[str, str], scale: int) -> NDArray[np.bool_]:
    """Exact: the number is brought to whole units above or below it."""
    exact = Decimal(compare[1]).scaleb(scale)
    low, high = int(exact.to_integral_value("ROUND_FLOOR")), int(exact.to_integral_value("ROUND_CEILING"))
    ways: dict[str, NDArray[np.bool_]] = {
        "eq": (units == low) & (low == high),
        "gt": units > low,
        "gte": units >= high,
        "lt": units < high,
        "lte": units <= low,
    }
    return ways[compare[0]]


def _dated(tag: Tag, definition: Definition, units: Ints, now: int) -> NDArray[np.bool_]:
    """By the value of a DATE, in its own unit."""
    unit = DAY if definition.day else 1
    held = np.ones(len(units), bool)
    if tag.values is not None:
        held &= np.isin(
            units, [seconds(datetime.fromisoformat(f"{value}T00:00:00+00:00")) // unit for value in tag.values]
        )
    if tag.after is not None:
        held &= units * unit >= seconds(tag.after)
    if tag.before is not None:
        held &= units * unit < seconds(tag.before)
    today = now // unit

    def length(of: timedelta | None) -> int:
        return ceil((of or timedelta()) / timedelta(seconds=unit))

    if tag.within is not None:
        held &= (units > today - length(tag.within)) & (units <= today - length(tag.skip))
    if tag.ahead is not None:
        held &= (units >= today) & (units < today + length(tag.ahead))
    return held


def _since(tag: Tag, since: Ints, now: int) -> NDArray[np.bool_]:
    """By when the membership began."""
    held = np.ones(len(since), bool)
    if tag.after is not None:
        held &= since >= seconds(tag.after)
    if tag.before is not None:
        held &= since < seconds(tag.before)
    if tag.within is not None:
        skip = int((tag.skip or timedelta()).total_seconds())
        held &= (since > now - int(tag.within.total_seconds())) & (since <= now - skip)
    return held
