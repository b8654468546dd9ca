"""The engine beside pyroaring by hand, in one process on the same data: sizes, profiles, portraits, ranges.

Every question is asked once of each, in turn; who goes first alternates. Leaves have been asked for before, the
questions have not. What both count has to be the same, and what the world has.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from pyroaring import BitMap

from benchmarks import handwritten
from benchmarks.figures import Figure, Run, median, undisturbed
from benchmarks.questions import Questions, Value, values_of
from benchmarks.stores import copied, opened, store_of
from benchmarks.world import World
from bitmap_store import Store, View
from bitmap_store.expression import And, Expression, Match, Operator, Or
from bitmap_store.values import Assign, Batch

FIVE, TWENTY = 300, 90
WRITTEN, WRITTEN_AT_ONCE = 100_000, 1_000
PROFILES, PROFILES_AT_ONCE, ROUNDS = 500, 1_000, 7
RANGES = 40


class Different(Exception):
    """Tagroar and a reference, or the world, do not agree."""


@dataclass
class Pair:
    """Seconds of Tagroar and of the reference, question by question."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)


async def measure(run: Run, world: World) -> None:
    """All figures of the engine."""
    path = await store_of(world, run.told)
    questions = Questions(world, seed=2)
    numbers = {value.code: value for value in values_of(world)}
    run.say("drawing the reference")
    members = world.members(numbers, lambda done: run.told("drawing the reference", done))
    bitmaps = {value.leaf: members[code] for code, value in numbers.items()}
    async with opened(path) as store:
        engine = Engine(run, world, store, bitmaps)
        await engine.check_sizes(list(numbers.values()))
        await engine.warm(questions)
        asked = questions.five(FIVE), questions.twenty(TWENTY)
        before = await engine.sizes(*asked)
        await engine.ranges()
        await engine.profiles()
        await engine.portraits(list(numbers.values()))
    async with copied(path) as copy, opened(copy) as store:
        engine = Engine(run, world, store, bitmaps)
        await engine.warm(questions)
        written = await engine.write(questions)
        for _ in range(2):  # what was carried on is put in order when it is asked for again
            await engine.warm(questions)
        await engine.sizes_after(*asked, before, f"{written:,} users written since the last fold")


class Engine:
    """A store and the bitmaps that it is measured against."""

    def __init__(self, run: Run, world: World, store: Store, bitmaps: Mapping[Match, BitMap]) -> None:
        self._run, self._world, self._store, self._bitmaps = run, world, store, bitmaps
        self._random = random.Random(5)

    def _view(self) -> View:
        return self._store.view()

    async def _count(self, question: Expression) -> int:
        (found,) = await self._store.count([self._store.bind(self._view(), question, "user")])
        return found

    async def check_sizes(self, values: Sequence[Value]) -> None:
        """Every value of the world has the members that were drawn; so each is loaded, too."""
        view = self._view()
        plans = [self._store.bind(view, value.leaf, "user") for value in values]
        for value, found in zip(values, await self._store.count(plans), strict=True):
            if found != len(self._bitmaps[value.leaf]):
                raise Different(f"{value.leaf}: {found}, drawn were {len(self._bitmaps[value.leaf])}")

    async def warm(self, questions: Questions) -> None:
        """Asks for each leaf, alone and with others, so that what is kept of leaves is there."""
        for value in questions.pool:
            await self._count(value.leaf)
        for question in Questions(self._world, seed=99).five(50):
            await self._count(question)

    async def sizes(self, five: Sequence[Expression], twenty: Sequence[Expression]) -> tuple[float, float]:
        """Sizes of five and of twenty leaves; the median seconds of both."""
        found = []
        for name, asked, bound in (("size of five leaves", five, 1.1), ("size of twenty leaves, mixed", twenty, 0.6)):
            pair = await self._beside(asked)
            found.append(median(pair.ours))
            self._run.figure(
                Figure(
                    name, "ms", median(pair.ours) * 1e3, median(pair.theirs) * 1e3,
                    "pyroaring by hand", "ratio", "≤", bound,
                )
            )  # fmt: skip
        return found[0], found[1]

    async def sizes_after(
        self, five: Sequence[Expression], twenty: Sequence[Expression], before: tuple[float, float], what: str
    ) -> None:
        """The same beside what it was before something was done."""
        for name, asked, was in (("five leaves", five, before[0]), ("twenty", twenty, before[1])):
            pair = await self._beside(asked)
            self._run.figure(
                Figure(
                    f"{name}, {what}", "ms", median(pair.ours) * 1e3, was * 1e3, "without them", "ratio", "≤", 1.15,
                    f"{median(pair.ours) / median(pair.theirs):.2f} × pyroaring by hand",
                )
            )  # fmt: skip

    async def _beside(self, asked: Sequence[Expression]) -> Pair:
        pair, view = Pair(), self._view()
        plans = [self._store.bind(view, question, "user") for question in asked]
        counts = [handwritten.best(question, self._bitmaps) for question in asked]
        with undisturbed():
            for turn, (question, plan, count) in enumerate(zip(asked, plans, counts, strict=True)):
                theirs = self._timed(count, pair.theirs) if turn % 2 else None
                started = time.perf_counter()
                (ours,) = await self._store.count([plan])
                pair.ours.append(time.perf_counter() - started)
                theirs = self._timed(count, pair.theirs) if theirs is None else theirs
                if ours != theirs:
                    raise Different(f"{question}: {ours}, by hand {theirs}")
        return pair

    @staticmethod
    def _timed(count: handwritten.Count, seconds: list[float]) -> int:
        started = time.perf_counter()
        found = count()
        seconds.append(time.perf_counter() - started)
        return found

    # ------------------------------------------------------------ after writes

    async def write(self, questions: Questions) -> int:
        """Gives users values that are asked for, one each, and the reference alike; how many users."""
        users = self._random.sample(range(self._world.users), min(WRITTEN, self._world.users // 10))
        names = self._store.view().catalog
        for start in range(0, len(users), WRITTEN_AT_ONCE):
            operations = []
            for user in users[start : start + WRITTEN_AT_ONCE]:
                value = self._random.choice(questions.pool)
                said = value.leaf.values
                operations.append(Assign(str(user), value.leaf.key, value=said[0] if said else None))
                if value.shape.kind == "CHOICE":
                    for other in self._of_tag(value):
                        other.discard(user)
                self._bitmaps[value.leaf].add(user)
            await self._store.apply(Batch(names.entity("user").key, tuple(operations)))
            self._run.told("writing", min(1.0, (start + WRITTEN_AT_ONCE) / len(users)))
        return len(users)

    def _of_tag(self, value: Value) -> list[BitMap]:
        leaves = (Match(value.leaf.key, values=(name,)) for name in value.shape.values)
        return [self._bitmaps[leaf] for leaf in leaves if leaf in self._bitmaps]

    # ------------------------------------------------------------ ranges

    async def ranges(self) -> None:
        """How many have a number in a range, and how many of an audience; beside numpy on a column in order of ids."""
        shape = next(shape for shape in self._world.shapes if shape.kind == "NUMBER")
        users, units = self._world.measures(shape)
        everyone = np.full(self._world.users, np.iinfo(np.int64).min)
        everyone[np.array(users.to_array())] = units
        audience = Match(*next((leaf.key, leaf.values) for leaf, found in self._bitmaps.items()
                               if 0.01 <= len(found) / self._world.users <= 0.2))  # fmt: skip
        inside = np.array(self._bitmaps[audience].to_array())
        table = self._world.units(shape)
        for name, also in (("users in a range of numbers", None), ("those of an audience in a range", audience)):
            column = everyone if also is None else everyone[inside]
            pair, view = Pair(), self._view()
            for turn in range(RANGES):
                low, high = sorted(self._random.sample(range(len(table)), 2))
                bounds = [Decimal(int(table[at])).scaleb(-shape.scale) for at in (low, high)]
                asked: Expression = And(
                    (
                        Match(shape.key, operator=Operator.GTE, number=bounds[0]),
                        Match(shape.key, operator=Operator.LT, number=bounds[1]),
                        *(() if also is None else (also,)),
                    )
                )
                plan = self._store.bind(view, asked, "user")
                started = time.perf_counter()
                (ours,) = await self._store.count([plan])
                pair.ours.append(time.perf_counter() - started)
                started = time.perf_counter()
                gathered = everyone[inside] if also is not None else column
                theirs = int(np.count_nonzero((gathered >= table[low]) & (gathered < table[high])))
                pair.theirs.append(time.perf_counter() - started)
                if turn < 2:
                    pair.ours.pop(), pair.theirs.pop()  # the first ones load the tag
                if ours != theirs:
                    raise Different(f"{asked}: {ours}, by numpy {theirs}")
            self._run.figure(
                Figure(name, "ms", median(pair.ours) * 1e3, median(pair.theirs) * 1e3, "numpy, a column in order")
            )

    # ------------------------------------------------------------ profiles

    async def profiles(self, checked: bool = True) -> None:
        """All tags of one user, and of a thousand at once. checked: all bitmaps are there to compare with."""
        view = self._view()
        reading = view.reading("user")
        tags = [view.catalog.tags[shape.key] for shape in self._world.stored]
        sets = [(leaf, found) for leaf, found in self._bitmaps.items()]
        users = self._random.sample(range(self._world.users), min(PROFILES, self._world.users))
        dense = [user for user in await self._store.resolve("user", [str(user) for user in users]) if user is not None]
        await self._store.tags_of(reading, dense[:2], tags)
        measured = {shape.key for shape in self._world.measured}
        pair, held = Pair(), []
        with undisturbed():
            for user, id_ in zip(users, dense, strict=True):
                started = time.perf_counter()
                (memberships,) = await self._store.tags_of(reading, [id_], tags)
                pair.ours.append(time.perf_counter() - started)
                held.append(len(memberships))
                started = time.perf_counter()
                known = [leaf for leaf, found in sets if user in found]
                pair.theirs.append(time.perf_counter() - started)
                plain = [each for each in memberships if each.tag not in measured]
                if checked and len(plain) != len(known):
                    raise Different(f"user {user}: {len(plain)} memberships, in {len(known)} bitmaps")
        note = f"{np.mean(held):.0f} memberships"
        self._run.figure(
            Figure("all tags of a user", "ms", median(pair.ours) * 1e3, median(pair.theirs) * 1e3,
                   "in each bitmap", "ours", "≤", 1, note)
        )  # fmt: skip
        seconds = []
        for _ in range(ROUNDS):
            names = [str(user) for user in self._random.sample(range(self._world.users), PROFILES_AT_ONCE)]
            several = [user for user in await self._store.resolve("user", names) if user is not None]
            with undisturbed():
                started = time.perf_counter()
                await self._store.tags_of(reading, several, tags)
                seconds.append(time.perf_counter() - started)
        self._run.figure(Figure("all tags of 1,000 users", "ms", median(seconds) * 1e3, None, "", "ours", "≤", 20))

    # ------------------------------------------------------------ portraits

    async def portraits(self, values: Sequence[Value]) -> None:
        """One audience by every value of every tag, beside an intersection with each bitmap."""
        view = self._view()
        reading = view.reading("user")
        keys = [
            plan
            for shape in self._world.stored
            if shape.kind in ("FLAG", "CHOICE", "CHOICES")
            for plan in (
                self._store.plans_of_values(view, view.catalog.tags[shape.key], reading)
                if shape.values
                else [self._store.plan_known(view, view.catalog.tags[shape.key], reading)]
            )
        ]
        leaves = [
            Match(shape.key, values=(name,)) if name else Match(shape.key)
            for shape in self._world.stored
            if shape.kind in ("FLAG", "CHOICE", "CHOICES")
            for name in (shape.values or (None,))
        ]
        await self._store.breakdown(self._store.plan_everyone(reading), keys[:1])
        for share, bound in ((0.01, 200.0), (0.5, 500.0)):
            pair = Pair()
            for audience in self._audiences(share, values):
                plan = self._store.bind(view, Or(audience), "user")
                started = time.perf_counter()
                ours = await self._store.breakdown(plan, keys)
                pair.ours.append(time.perf_counter() - started)
                started = time.perf_counter()
                users = self._united(audience)
                theirs = [users.intersection_cardinality(self._bitmaps[leaf]) for leaf in leaves]
                pair.theirs.append(time.perf_counter() - started)
                if ours != theirs:
                    raise Different(f"portrait of {audience}")
            self._run.figure(
                Figure(
                    f"portrait over {len(keys):,} values, an audience of {share:.0%}", "ms",
                    median(pair.ours) * 1e3, median(pair.theirs) * 1e3, "each bitmap in turn", "ours", "≤", bound,
                )
            )  # fmt: skip

    def _united(self, audience: Sequence[Match]) -> BitMap:
        return BitMap.union(*(self._bitmaps[leaf] for leaf in audience))

    def _audiences(self, share: float, values: Sequence[Value]) -> list[tuple[Match, ...]]:
        """Different audiences of about that share of everyone: unions of three values, the closest of many."""
        usual = [value.leaf for value in values if share / 6 <= value.share <= share]
        drawn = [tuple(self._random.sample(usual, 3)) for _ in range(60)]

        def distance(audience: tuple[Match, ...]) -> float:
            return abs(len(self._united(audience)) / self._world.users - share)

        return sorted(drawn, key=distance)[:ROUNDS]
