"""Loaders of one request: what many fields ask for one by one is asked of the store in one call.

How calls are gathered is the caller's affair (`batched`); what a gathered call does is here.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import Protocol, TypeVar

from bitmap_store import Store, View
from bitmap_store.catalog import Selection
from bitmap_store.plan import Plan, Reading
from bitmap_store.store import ProfileFacts
from bitmap_store.values import Membership, Tag, TagKind
from resolvers.answers import TagOnProfile

K = TypeVar("K")
K_contra = TypeVar("K_contra", contravariant=True)
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
G = TypeVar("G", bound=Hashable)


class Loader(Protocol[K_contra, V_co]):
    """Answers for keys that are asked for one by one and loaded together."""

    def load(self, key: K_contra) -> Awaitable[V_co]:
        """The answer for one key."""

    def load_many(self, keys: Iterable[K_contra]) -> Awaitable[Sequence[V_co]]:
        """The answers for these keys, in order."""


class Batching(Protocol):
    """Makes a loader of a function that answers for many keys, in order."""

    def __call__(self, load: Callable[[list[K]], Awaitable[Sequence[V]]]) -> Loader[K, V]:
        """The loader."""


Spot = tuple[Reading, int]
"""A user at a reading."""


class Loaders:
    """The loaders of one view of the store."""

    def __init__(self, store: Store, view: View, batched: Batching) -> None:
        self._store = store
        self._view = view
        self._batched = batched

    async def size(self, plan: Plan) -> int:
        """How many users a plan has."""
        found = self._store.size_at_hand(plan)
        return await self._counted.load(plan) if found is None else found

    async def sizes(self, *plans: Plan) -> Sequence[int]:
        """How many users plans have."""
        found = [size for plan in plans if (size := self._store.size_at_hand(plan)) is not None]
        return found if len(found) == len(plans) else await self._counted.load_many(plans)

    @cached_property
    def _counted(self) -> Loader[Plan, int]:
        return self._batched(self._store.count)

    @cached_property
    def facts(self) -> Loader[Spot, ProfileFacts | None]:
        """Names, identifiers and attributes of users; None for whoever did not exist."""
        return self._batched(self._facts)

    @cached_property
    def tags(self) -> Loader[tuple[Spot, Selection], tuple[TagOnProfile, ...]]:
        """What users have of tags."""
        return self._batched(self._tags)

    async def tags_of(self, spot: Spot, selection: Selection) -> tuple[TagOnProfile, ...]:
        """What one user has of tags, without waiting for others who ask."""
        reading, user = spot
        [found] = await self._tags_of(reading, selection, [user], False)
        return found

    @cached_property
    def ended(self) -> Loader[tuple[Spot, Selection], tuple[TagOnProfile, ...]]:
        """What users had of tags until it ended."""
        return self._batched(partial(self._tags, ended=True))

    @cached_property
    def holds(self) -> Loader[tuple[Plan, int], bool]:
        """Whether users are in plans."""
        return self._batched(self._holds)

    async def _facts(self, spots: list[Spot]) -> list[ProfileFacts | None]:
        async def load(reading: Reading, group: list[Spot]) -> Sequence[ProfileFacts | None]:
            return await self._store.profiles(reading, [dense for _, dense in group])

        return await by_group(spots, lambda spot: spot[0], load)

    async def _tags(self, keys: list[tuple[Spot, Selection]], *, ended: bool = False) -> list[tuple[TagOnProfile, ...]]:
        async def load(
            group: tuple[Reading, Selection], members: list[tuple[Spot, Selection]]
        ) -> list[tuple[TagOnProfile, ...]]:
            return await self._tags_of(*group, [dense for (_, dense), _ in members], ended)

        return await by_group(keys, lambda key: (key[0][0], key[1]), load)

    async def _tags_of(
        self, reading: Reading, selection: Selection, users: list[int], ended: bool
    ) -> list[tuple[TagOnProfile, ...]]:
        found = await self._store.tags_of(reading, users, selection.stored, ended=ended)
        ruled = [
            (_by_rule(tag.key, value, tag.defined_at), plan)
            for tag in (() if ended else selection.ruled)  # what follows from a rule never ended: it does not hold
            for value, plan in self._rule_values(tag, reading)
        ]
        if ruled:
            places = selection.places
            held = await self._store.contains([plan for _, plan in ruled], users)
            found = [
                sorted(
                    [*row, *(membership for (membership, _), holds in zip(ruled, of_user, strict=True) if holds)],
                    key=lambda membership: places[membership.tag],
                )
                for row, of_user in zip(found, held, strict=True)
            ]
        return [_on_profile(selection.by_key, row) for row in found]

    def _rule_values(self, tag: Tag, reading: Reading) -> Iterable[tuple[str | None, Plan]]:
        if tag.kind is TagKind.FLAG:
            return [(None, self._store.plan_known(self._view, tag, reading))]
        names = tuple(self._view.catalog.values(tag))
        plans = self._store.plans_of_values(self._view, tag, reading, names)
        return zip(names, plans, strict=True)

    async def _holds(self, keys: list[tuple[Plan, int]]) -> list[bool]:
        plans = list(dict.fromkeys(plan for plan, _ in keys))
        users = list(dict.fromkeys(user for _, user in keys))
        if len(plans) * len(users) == len(keys):
            column = {plan: i for i, plan in enumerate(plans)}
            row = dict(zip(users, await self._store.contains(plans, users), strict=True))
            return [row[user][column[plan]] for plan, user in keys]

        async def load(plan: Plan, group: list[tuple[Plan, int]]) -> list[bool]:
            return [row[0] for row in await self._store.contains([plan], [user for _, user in group])]

        return await by_group(keys, lambda key: key[0], load)


_COMMON: dict[int, TagOnProfile] = {}  # by the identity of the membership, which is its own while it is kept here
COMMON_KEPT = 16_384
"""Memberships of which it is remembered what they are on a profile; all users of a value share one."""


@lru_cache(COMMON_KEPT)
def _by_rule(key: str, value: str | None, since: datetime) -> Membership:
    return Membership(key, value, since, source="rule", is_shared=True)


def _on_profile(tags: Mapping[str, Tag], memberships: Iterable[Membership]) -> tuple[TagOnProfile, ...]:
    """What a profile has of each tag, of memberships by tag; the same objects for all users who share a membership."""
    found: list[TagOnProfile] = []
    several: dict[int, list[Membership]] = {}
    before = None
    for membership in memberships:
        key = membership.tag
        if key == before:
            several.setdefault(len(found) - 1, [*found[-1].memberships]).append(membership)
            continue
        before = key
        known = _COMMON.get(id(membership))
        if known is None or known.tag is not tags[key]:
            known = TagOnProfile(tags[key], (membership,))
            if known.is_common:
                if len(_COMMON) >= COMMON_KEPT:
                    _COMMON.clear()
                _COMMON[id(membership)] = known
        found.append(known)
    for place, each in several.items():
        found[place] = TagOnProfile(found[place].tag, tuple(each))
    return tuple(found)


async def by_group(
    keys: Sequence[K], group_of: Callable[[K], G], load: Callable[[G, list[K]], Awaitable[Sequence[V]]]
) -> list[V]:
    """The answers for `keys`, in order, loaded with one call for each group of them."""
    if len(keys) == 1:
        return list(await load(group_of(keys[0]), list(keys)))
    places: dict[G, list[int]] = {}
    for i, key in enumerate(keys):
        places.setdefault(group_of(key), []).append(i)
    found: dict[int, V] = {}
    for group, indexes in places.items():
        found.update(zip(indexes, await load(group, [keys[i] for i in indexes]), strict=True))
    return [found[i] for i in range(len(keys))]
