"""What users have, from the rows per user: their codes first, then only the values that these name.

A value of which every membership says the same is one object for all. Users whose rows of a tag are not in its
base any more, and tags whose base has moved on from the rows per user, are asked tag by tag.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise, repeat
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import ids_of, intersection
from bitmap_store.catalog import ValueTable
from bitmap_store.plan import Reading
from bitmap_store.rows import Rows, joined
from bitmap_store.sqlite.base import TagBase, ValueBase, places_of
from bitmap_store.sqlite.layers import Layer, covered, rows_in
from bitmap_store.sqlite.memberships import Memberships
from bitmap_store.sqlite.profiles import MEMBERSHIP, memberships, memberships_of
from bitmap_store.sqlite.sections import Unusable
from bitmap_store.sqlite.user_rows import UserRows
from bitmap_store.values import Membership, Tag, TagKind

SELECTIONS = 16
"""Choices of tags whose places are remembered, beside each file of rows per user."""
QUICK_USERS = 4
"""Of so many users it is answered at once what they have, where the rows per user say it."""
_ID = attrgetter("id")

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
    """For each code the place of its tag among some tags, -1 for other tags.

    ascending: codes are in their order. whole: there are no codes of other tags.
    """

    tags: Sequence[Tag]
    ids: tuple[int, ...]
    place_of: dict[int, int]
    places: NDArray[np.int32]
    ascending: bool
    whole: bool
    standings: _Standings | None = None


class _Own:
    """A code whose memberships differ from user to user, or end: told for each of them."""

    __slots__ = ("_columns", "_ends", "_made", "_name", "_one", "_tag", "_value")

    def __init__(self, asked: Asked, tag: Tag, value: ValueBase, one: Membership | None) -> None:
        """one: the membership of all users, where it is the same."""
        constants = value.constants()
        self._tag = tag
        self._value = value
        self._name = asked.values_of(tag).name_of(value.value) if value.value else None
        self._columns = [(each, constants.get(each)) for each in MEMBERSHIP]
        self._ends: int | None = constants.get("expires")
        self._one = one
        self._made: Callable[[int], Membership] | None = None
        varying = [each for each, constant in self._columns if constant is None]
        if varying == ["units"] and tag.kind in (TagKind.NUMBER, TagKind.DATE):  # as of most of these
            [like] = memberships(tag, [None], [[constant or 0] for _, constant in self._columns], asked.sources)
            said = (like.tag, None, like.since, like.expires_at, like.source, like.score)
            self._made = partial(Membership, *said)

    def of(self, asked: Asked, users: NDArray[np.uint32]) -> Sequence[Membership | None]:
        """The memberships of ascending users who have the code, as far as they hold, or have ended if that was asked
        for."""
        tag, moment, ended = self._tag, asked.reading.moment, asked.ended
        if tag.kind is TagKind.EVENT:
            rows = self._value.rows_of(users)
            rows = rows.take((rows["expires"] <= moment) == ended)
            found = dict(memberships_of(tag, rows, asked.values_of(tag), asked.sources))
            return [found.get(user) for user in users.tolist()]
        if self._ends is not None and (self._ends <= moment) != ended:
            return [None] * len(users)
        if self._one is not None:
            return [self._one] * len(users)
        places = places_of(self._value.users, users)
        if self._made is not None:
            return [*map(self._made, self._value.part("units", places).tolist())]
        columns: list[Any] = [
            repeat(constant) if constant is not None else self._value.part(each, places).tolist()
            for each, constant in self._columns
        ]
        made = memberships(tag, repeat(self._name, len(users)), columns, asked.sources)
        if self._ends is not None:
            return made
        return [each if (ends <= moment) == ended else None for each, ends in zip(made, columns[1], strict=True)]


@dataclass(slots=True)
class _Kept:
    """What is remembered beside a file of rows per user.

    told: what each code says, None where nobody looked yet. shared: which say the same of all their users, for good.
    """

    rows: UserRows
    told: list[Membership | _Own | None]
    shared: NDArray[np.bool_]
    selections: dict[tuple[int, ...], _Selection] = field(default_factory=dict)
    latest: _Selection | None = None

    @classmethod
    def of(cls, rows: UserRows) -> "_Kept":
        """Nothing yet."""
        codes = len(rows.values)
        return cls(rows, [None] * codes, np.zeros(codes, bool))

    def selection(self, tags: Sequence[Tag]) -> _Selection:
        """Where the codes of these tags stand."""
        latest = self.latest
        if latest is not None and latest.tags is tags:
            return latest
        key = tuple(map(_ID, tags))
        known = self.selections.get(key)
        if known is None:
            places = np.full(len(self.told), -1, np.int32)
            for place, tag in enumerate(tags):
                codes = self.rows.tags.get(tag.id)
                if codes is not None:
                    places[codes.first : codes.first + codes.count] = place
            chosen = places[places >= 0]
            ascending = bool((chosen[1:] >= chosen[:-1]).all())
            place_of = {tag: place for place, tag in enumerate(key)}
            known = _Selection(tags, key, place_of, places, ascending, len(chosen) == len(places))
            if len(self.selections) >= SELECTIONS:
                self.selections = {}
            self.selections[key] = known
        known.tags = tags
        self.latest = known
        return known

    def learn(self, asked: Asked, selection: _Selection, standings: _Standings, code: int) -> Membership | _Own:
        """Finds out what a code says: the same of all its users for good, or something of each."""
        place = int(selection.places[code])
        tag, base = asked.tags[place], standings.bases[place]
        assert base is not None  # a code of a tag whose base is not mapped is left out
        value = base.values[int(self.rows.values[code])]
        one: Membership | None = None
        if tag.kind is not TagKind.EVENT and not value.varying():
            constants = value.constants()
            name = asked.values_of(tag).name_of(value.value) if value.value else None
            [made] = memberships(tag, [name], [[constants[each]] for each in MEMBERSHIP], asked.sources)
            one = replace(made, is_shared=True)
        found = one if one is not None and one.expires_at is None else _Own(asked, tag, value, one)
        self.told[code] = found
        self.shared[code] = found is one
        return found


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
        universe = self._memberships.universe(asked.reading)
        wanted = BitMap([user for user in users if user in universe])
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
        left = standings.left
        layered = [
            (place, layers, intersection(touched, wanted))
            for place, (layers, touched) in standings.layers.items()
            if touched.intersect(wanted)
        ]
        ids = ids_of(wanted)
        try:
            codes, sizes = rows.codes_of(ids)
        except Unusable as problem:
            self._memberships.bases.drop_rows(asked.reading.entity, problem)
            return None
        owners = np.arange(len(ids)).repeat(sizes)
        if left or layered or not (selection.whole and selection.ascending):
            places = selection.places[codes]
            if left or layered or not selection.whole:
                chosen = places >= 0
                chosen &= ~_is_overlaid(places, owners, len(asked.tags), left, layered, ids)
                codes, places, owners = codes[chosen], places[chosen], owners[chosen]
            if not selection.ascending:  # of each owner, who stay in order
                codes = codes[(owners * len(asked.tags) + places).argsort(kind="stable")]
        told = _told(kept, selection, standings, asked, codes, ids[owners])
        late = self._look_up(asked, left, wanted)
        for place, layers, touched in layered:
            _add(asked, place, joined(rows_in(layers, touched)[0]), late)
        place_of = {tag.key: place for place, tag in enumerate(asked.tags)} if late else {}
        cuts = owners.searchsorted(np.arange(len(ids) + 1)).tolist()
        found: dict[int, list[Membership]] = {}
        for user, (start, end) in zip(wanted, pairwise(cuts), strict=True):
            mine = found[user] = [membership for membership in told[start:end] if membership is not None]
            if user in late:
                placed = [*((place_of[membership.tag], membership) for membership in mine), *late[user]]
                found[user] = [membership for _, membership in sorted(placed, key=_place_of)]
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


def _told(
    kept: _Kept,
    selection: _Selection,
    standings: _Standings,
    asked: Asked,
    codes: NDArray[Any],
    users: NDArray[np.uint32],
) -> list[Membership | None]:
    """The membership behind each code; None where it does not hold, or where those that ended were asked for."""
    found: list[Any] = [None] * len(codes) if asked.ended else [kept.told[code] for code in codes.tolist()]
    own: dict[_Own, list[int]] = {}
    for i in (~kept.shared[codes]).nonzero()[0].tolist():
        code = int(codes[i])
        said = kept.told[code] or kept.learn(asked, selection, standings, code)
        if type(said) is _Own:
            own.setdefault(said, []).append(i)
        elif not asked.ended:  # what is shared has not
            found[i] = said
    for each, at in own.items():
        for i, membership in zip(at, each.of(asked, users[at]), strict=True):
            found[i] = membership
    return found


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


def _place_of(each: tuple[int, Membership]) -> int:
    return each[0]
