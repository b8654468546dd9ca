"""What users have, from the rows per user: their codes first, then only the values that these name.

A value of which every membership says the same is one object for all. Users whose rows of a tag are not in its
base any more, and tags whose base has moved on from the rows per user, are asked tag by tag.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, repeat
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import ids_of
from bitmap_store.catalog import ValueTable
from bitmap_store.plan import Reading
from bitmap_store.rows import Rows, joined
from bitmap_store.sqlite.base import TagBase, ValueBase, places_of
from bitmap_store.sqlite.layers import Layer, covered, rows_in
from bitmap_store.sqlite.memberships import Memberships
from bitmap_store.sqlite.profiles import MEMBERSHIP, memberships, memberships_of
from bitmap_store.sqlite.sections import Unusable
from bitmap_store.sqlite.user_rows import UserRows
from bitmap_store.values import NEVER, Membership, Tag, TagKind

SELECTIONS = 16
"""Choices of tags whose places are remembered, beside each file of rows per user."""
QUICK_USERS = 4
"""Of so many users it is answered at once what they have, where the rows per user say it."""
_ID = attrgetter("id")
_UNKNOWN, _SHARED, _OWN = range(3)

Placed = dict[int, list[tuple[int, Membership]]]
"""By user: memberships, each with the place of its tag among those that were asked for."""


@dataclass(slots=True)
class Asked:
    """A question, and what it is answered with."""

    reading: Reading
    tags: Sequence[Tag]
    ended: bool
    values_of: Callable[[Tag], ValueTable]
    sources: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class _Standings:
    """How some tags stand at the newest version, up to a number of moves; replaced as a whole.

    bases: mapped ones. layers: where there are any over the base, with whom they touch. left: places of tags that
    the rows per user do not know as they are.
    """

    moves: int
    bases: list[TagBase | None]
    layers: dict[int, tuple[list[Layer], BitMap]]
    left: frozenset[int]


@dataclass(slots=True)
class _Selection:
    """For each code the place of its tag among some tags, -1 for other tags. ascending: codes are in their order."""

    tags: Sequence[Tag]
    ids: tuple[int, ...]
    place_of: dict[int, int]
    places: NDArray[np.int32]
    ascending: bool
    standings: _Standings | None = None


@dataclass(slots=True)
class _Kept:
    """What is remembered beside a file of rows per user; a code's object is there before its kind says so."""

    rows: UserRows
    kinds: NDArray[np.uint8]
    shared: NDArray[Any]
    selections: dict[tuple[int, ...], _Selection] = field(default_factory=dict)
    latest: _Selection | None = None

    @classmethod
    def of(cls, rows: UserRows) -> "_Kept":
        """Nothing yet."""
        codes = len(rows.values)
        return cls(rows, np.zeros(codes, np.uint8), np.full(codes, None, object))

    def selection(self, tags: Sequence[Tag]) -> _Selection:
        """Where the codes of these tags stand."""
        latest = self.latest
        if latest is not None and latest.tags is tags:
            return latest
        key = tuple(map(_ID, tags))
        known = self.selections.get(key)
        if known is None:
            places = np.full(len(self.kinds), -1, np.int32)
            for place, tag in enumerate(tags):
                codes = self.rows.tags.get(tag.id)
                if codes is not None:
                    places[codes.first : codes.first + codes.count] = place
            chosen = places[places >= 0]
            ascending = bool((chosen[1:] >= chosen[:-1]).all())
            known = _Selection(tags, key, {tag: place for place, tag in enumerate(key)}, places, ascending)
            if len(self.selections) >= SELECTIONS:
                self.selections = {}
            self.selections[key] = known
        known.tags = tags
        self.latest = known
        return known

    def learn(self, asked: Asked, base: TagBase, code: int, place: int) -> None:
        """Finds out whether all memberships of a code are the same."""
        tag = asked.tags[place]
        value = base.values[int(self.rows.values[code])]
        constants = value.constants()
        if tag.kind is TagKind.EVENT or value.varying() or constants["expires"] != NEVER:
            self.kinds[code] = _OWN
            return
        name = asked.values_of(tag).name_of(value.value) if value.value else None
        [self.shared[code]] = memberships(tag, [name], [[constants[each]] for each in MEMBERSHIP], asked.sources)
        self.kinds[code] = _SHARED


class UserTags:
    """Answers `tags_of`; remembers what users share."""

    def __init__(self, memberships: Memberships) -> None:
        self._memberships = memberships
        self._kept: dict[int, _Kept] = {}

    def is_quick(self, asked: Asked, users: Sequence[int]) -> bool:
        """Whether the rows per user say it all, so that it takes some tens of microseconds a user."""
        if len(users) > QUICK_USERS:
            return False
        kept = self._kept.get(asked.reading.entity)
        standings = kept.latest.standings if kept and kept.latest and kept.latest.tags is asked.tags else None
        if kept is None or standings is None or standings.left:
            return False
        newest, _, moved = self._memberships.moved_since(standings.moves)
        rows = self._memberships.bases.user_rows(asked.reading.entity)
        return kept.rows is rows and asked.reading.version == newest and not moved

    def tags_of(self, asked: Asked, users: Sequence[int]) -> list[list[Membership]]:
        """For each user the memberships of the tags, in their order; see `BitmapStore.tags_of`."""
        wanted = BitMap(users) & self._memberships.universe(asked.reading)
        rows = self._memberships.bases.user_rows(asked.reading.entity) if wanted else None
        found = None if rows is None else self._gather(rows, asked, wanted)
        if found is None:
            late = self._look_up(asked, range(len(asked.tags)), wanted)
            found = {user: [membership for _, membership in of_user] for user, of_user in late.items()}
        return [found.get(user, []) for user in users]

    def _look_up(self, asked: Asked, places: Iterable[int], wanted: BitMap) -> Placed:
        """What users have of the tags at these places, by the bitmaps of each."""
        found: Placed = {}
        for place in places:
            rows = self._memberships.rows(asked.tags[place].id, asked.reading.version, wanted)
            _add(asked, place, rows, found)
        return found

    # ------------------------------------------------------------ by rows per user

    def _gather(self, rows: UserRows, asked: Asked, wanted: BitMap) -> dict[int, list[Membership]] | None:
        """What the users have; None when the rows per user have turned out to be damaged."""
        kept = self._kept.get(asked.reading.entity)
        if kept is None or kept.rows is not rows:
            kept = self._kept[asked.reading.entity] = _Kept.of(rows)
        selection = kept.selection(asked.tags)
        standings = self._standings(rows, selection, asked.reading.version)
        bases, left = standings.bases, standings.left
        layered = [
            (place, layers, touched & wanted)
            for place, (layers, touched) in standings.layers.items()
            if touched.intersect(wanted)
        ]
        ids = ids_of(wanted)
        try:
            codes, sizes = rows.codes_of(ids)
        except Unusable as problem:
            self._memberships.bases.drop_rows(asked.reading.entity, problem)
            return None
        places = selection.places[codes]
        owners = np.repeat(np.arange(len(ids)), sizes)
        chosen = places >= 0
        if left or layered:
            chosen &= ~_is_overlaid(places, owners, len(asked.tags), left, layered, ids)
        if not chosen.all():
            codes, places, owners = codes[chosen], places[chosen], owners[chosen]
        if not selection.ascending:
            order = np.lexsort((places, owners))
            codes, places, owners = codes[order], places[order], owners[order]
        facts = _facts(kept, asked, bases, codes, places, ids[owners])
        cuts = np.searchsorted(owners, np.arange(len(ids) + 1)).tolist()
        late = self._look_up(asked, left, wanted)
        for place, layers, touched in layered:
            _add(asked, place, joined(rows_in(layers, touched)[0]), late)
        found: dict[int, list[Membership]] = {}
        for user, (start, end) in zip(ids.tolist(), pairwise(cuts), strict=True):
            mine = facts[start:end]
            if user in late:
                placed = [*zip(places[start:end].tolist(), mine, strict=True), *late[user]]
                mine = [membership for _, membership in sorted(placed, key=_place_of)]
            found[user] = [membership for membership in mine if membership is not None]
        return found

    def _standings(self, rows: UserRows, selection: _Selection, version: int) -> _Standings:
        """How the tags stand at a version. Costs what has moved at the newest version, else a look at each tag."""
        known = selection.standings
        newest, moves, moved = self._memberships.moved_since(known.moves if known else -1)
        if known is not None and version == newest:
            if not moved:
                return known
            places = [selection.place_of[tag] for tag in moved if tag in selection.place_of]
        else:
            known, places = None, list(range(len(selection.ids)))
        bases: list[TagBase | None] = list(known.bases) if known else [None] * len(selection.ids)
        layered, left = (dict(known.layers), set(known.left)) if known else ({}, set())
        tags = [selection.ids[place] for place in places]
        for place, (base, layers) in zip(places, self._memberships.over_bases(tags, version), strict=True):
            layered.pop(place, None)
            left.discard(place)
            codes = rows.tags.get(selection.ids[place])
            mapped = bases[place] = None if base.private_bytes else base
            if mapped is None or (base.stamp != codes.stamp if codes else base.values):
                left.add(place)
            elif layers:
                layered[place] = layers, covered(layers)
        found = _Standings(moves, bases, layered, frozenset(left))
        if version == newest:
            selection.standings = found
        return found


def _add(asked: Asked, place: int, rows: Rows, found: Placed) -> None:
    """Adds what rows of one tag say."""
    if len(rows):
        tag = asked.tags[place]
        rows = rows.take((rows["expires"] <= asked.reading.moment) == asked.ended)
        for user, membership in memberships_of(tag, rows, asked.values_of(tag), asked.sources):
            found.setdefault(user, []).append((place, membership))


def _facts(
    kept: _Kept,
    asked: Asked,
    bases: Sequence[TagBase | None],
    codes: NDArray[Any],
    places: NDArray[np.int32],
    users: NDArray[np.uint32],
) -> list[Membership | None]:
    """The membership behind each code; None where it does not hold, or where those that ended were asked for."""
    kinds = kept.kinds[codes]
    if not kinds.all():
        unknown = kinds == _UNKNOWN
        fresh, first = np.unique(codes[unknown], return_index=True)
        for code, place in zip(fresh.tolist(), places[unknown][first].tolist(), strict=True):
            kept.learn(asked, _there(bases[place]), code, place)
        kinds = kept.kinds[codes]
    facts: list[Membership | None] = [None] * len(codes) if asked.ended else kept.shared[codes].tolist()
    own = np.flatnonzero(kinds == _OWN)
    if len(own):
        own = own[np.argsort(codes[own], kind="stable")]  # by code, and of each the users ascend
        cuts = [0, *(np.flatnonzero(np.diff(codes[own])) + 1).tolist(), len(own)]
        for start, end in pairwise(cuts):
            at = own[start:end]
            place = int(places[at[0]])
            value = _there(bases[place]).values[int(kept.rows.values[codes[at[0]]])]
            for i, membership in zip(at.tolist(), _own(asked, place, value, users[at]), strict=True):
                facts[i] = membership
    return facts


def _there(base: TagBase | None) -> TagBase:
    assert base is not None  # a code of a tag whose base is not mapped is left out
    return base


def _own(asked: Asked, place: int, value: ValueBase, users: NDArray[np.uint32]) -> list[Membership | None]:
    """The memberships of users in a value, as far as they hold, or have ended if that was asked for."""
    tag, moment = asked.tags[place], asked.reading.moment
    if tag.kind is TagKind.EVENT:
        rows = value.rows_of(users)
        rows = rows.take((rows["expires"] <= moment) == asked.ended)
        found = dict(memberships_of(tag, rows, asked.values_of(tag), asked.sources))
        return [found.get(user) for user in users.tolist()]
    name = asked.values_of(tag).name_of(value.value) if value.value else None
    constants, places = value.constants(), places_of(value.users, users)
    columns = [
        repeat(constants[each]) if each in constants else value.part(each, places).tolist() for each in MEMBERSHIP
    ]
    made = memberships(tag, repeat(name, len(users)), columns, asked.sources)
    if "expires" in constants:
        holds = (constants["expires"] <= moment) == asked.ended
        return list(made) if holds else [None] * len(users)
    return [each if (ends <= moment) == asked.ended else None for each, ends in zip(made, columns[1], strict=True)]


def _is_overlaid(
    places: NDArray[np.int32],
    owners: NDArray[np.integer[Any]],
    tags: int,
    left: Iterable[int],
    layered: Sequence[tuple[int, list[Layer], BitMap]],
    ids: NDArray[np.uint32],
) -> NDArray[np.bool_]:
    """Which codes are of a tag that is left to be looked up, or of a user whose rows of the tag are in its layers."""
    other = np.zeros(tags + 1, np.bool_)  # the last is for codes of tags that nobody asked for
    other[list(left)] = True
    overlaid: NDArray[np.bool_] = other[places]
    if layered:
        pairs = np.concatenate(
            [np.searchsorted(ids, ids_of(touched)) * np.int64(tags) + place for place, _, touched in layered]
        )
        overlaid |= np.isin(owners * np.int64(tags) + places, pairs)
    return overlaid


def _place_of(each: tuple[int, Membership | None]) -> int:
    return each[0]
