"""Small writes at random: what is sent as a mutation, and what it does to a world by brute force."""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np

from tests.acceptance.harness import Json, Server, rfc3339
from tests.acceptance.world import DAY, NEVER, NO_SCORE, ROW, World, seconds

Key = tuple[int, int]
Row = tuple[int, ...]
NOTHING: Row = (0,) * len(ROW.names or ())
CALLS = {
    "assignTags": "mutation($i: [TagAssignment!]!) { r: assignTags(input: $i) { changed created } }",
    "removeTags": "mutation($i: [TagRemoval!]!) { r: removeTags(input: $i) { changed created } }",
    "recordEvents": "mutation($i: [EventInput!]!) { r: recordEvents(input: $i) { changed created } }",
    "upsertProfiles": "mutation($i: [ProfileInput!]!) { r: upsertProfiles(input: $i) { changed created } }",
}


class Edits:
    """Operations one after the other on the rows of the users they touch; `finish` puts them into the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._now = world.moments[world.step]
        self._rows: dict[str, dict[int, dict[Key, Row]]] = {}
        self._created: set[int] = set()

    def _of(self, key: str, user: int) -> dict[Key, Row]:
        touched = self._rows.setdefault(key, {})
        if user not in touched:
            now = self._world.current(key)
            low, high = np.searchsorted(now["user"], [user, user + 1])
            mine = [tuple(row) for row in now[low:high].tolist()]
            touched[user] = {self._key(key, row[1], row[2]): row for row in mine if row[4] > self._now}
        return touched[user]

    def _key(self, key: str, value: int, units: int) -> Key:
        definition = self._world.tags[key]
        return (0, 0) if definition.single else (value, units if definition.kind == "EVENT" else 0)

    def assign(self, operation: Json) -> None:
        """As `assignTags`."""
        world, key = self._world, operation["tag"]
        definition, user = world.tags[key], world.number(operation["user"])
        mine = self._of(key, user)
        self._created.add(user)
        units = 0
        if "number" in operation:
            units = int(Decimal(str(operation["number"])).scaleb(definition.scale))
        elif "date" in operation:
            units = moment_units(operation["date"], definition.day)
        expires = NEVER if definition.valid_for is None else self._now + definition.valid_for
        if "expiresAt" in operation:
            expires = seconds(datetime.fromisoformat(operation["expiresAt"]))
        score = round(operation["score"] * 100) if "score" in operation else NO_SCORE
        named = operation.get("values", [operation["value"]] if "value" in operation else [])
        places = world.places(key, named)
        wanted = [places[value] for value in dict.fromkeys(named)] or [-1]
        if "values" in operation:
            for each in [each for each in mine if each[0] not in wanted]:
                del mine[each]
        for value in wanted:
            place = self._key(key, value, units)
            old = mine.get(place)
            same = old is not None and (old[1], old[2]) == (value, units)
            since = old[3] if old is not None and same else world.step
            mine[place] = (user, value, units, since, expires, score, 0)

    def remove(self, operation: Json) -> None:
        """As `removeTags`, which makes no users."""
        mine = self._of(operation["tag"], self._world.number(operation["user"]))
        value = operation.get("value")
        wanted = None if value is None else self._world.tags[operation["tag"]].values.index(value)
        for each in [each for each, row in mine.items() if wanted is None or row[1] == wanted]:
            del mine[each]

    def record(self, operation: Json) -> None:
        """As `recordEvents`."""
        world, key = self._world, operation["tag"]
        user = world.number(operation["user"])
        mine = self._of(key, user)
        self._created.add(user)
        value = -1 if "value" not in operation else world.places(key, [operation["value"]])[operation["value"]]
        at = seconds(datetime.fromisoformat(operation["at"]))
        old = mine.get((value, at // DAY), NOTHING)
        valid_for = world.tags[key].valid_for
        expires = NEVER if valid_for is None else max(at + valid_for, old[4])
        count = old[6] + operation.get("count", 1)
        mine[value, at // DAY] = (user, value, at // DAY, world.step, expires, NO_SCORE, count)

    def upsert(self, operation: Json) -> None:
        """As `upsertProfiles`, as far as sets can tell."""
        self._created.add(self._world.number(operation["userId"]))

    def finish(self) -> None:
        """Puts the touched users into the world."""
        self._world.create(np.array(sorted(self._created), np.int64))
        for key, touched in self._rows.items():
            now = self._world.current(key)
            new = np.array([row for mine in touched.values() for row in mine.values()], ROW)
            self._world.keep(key, np.concatenate([now[~np.isin(now["user"], list(touched))], new]))


def moment_units(text: str, day: bool) -> int:
    """A date in its unit."""
    moment = datetime.fromisoformat(text)
    return seconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC)) // (DAY if day else 1)


# ---------------------------------------------------------------- at random

Make = Callable[[random.Random, str], Json | None]


def write_some(server: Server, world: World, choose: random.Random, calls: int, make: Mapping[str, Make]) -> int:
    """Sends random mutations of one to twelve operations, and does the same to the world; how many operations.

    make: for each mutation, what gives an operation for a user (None: not for this one).
    """
    edits = Edits(world)
    ways = {"assignTags": edits.assign, "removeTags": edits.remove, "recordEvents": edits.record}
    ways["upsertProfiles"] = edits.upsert
    done = 0
    for _ in range(calls):
        call = choose.choices(list(make), [6 if name == "assignTags" else 2 for name in make])[0]
        users = [world.name(choose.randrange(world.count)) for _ in range(choose.randint(1, 4))]
        drafts = [make[call](choose, choose.choice(users)) for _ in range(choose.randint(1, 12))]
        operations = [draft for draft in drafts if draft is not None]
        if operations:
            server.ask(CALLS[call], i=operations)
            for operation in operations:
                ways[call](operation)
            done += len(operations)
    edits.finish()
    return done


def a_score(choose: random.Random, operation: Json, ends: Sequence[datetime]) -> Json:
    """The operation, sometimes with a score, sometimes with an end."""
    if choose.random() < 0.3:
        operation["score"] = choose.randrange(101) / 100
    if choose.random() < 0.3:
        operation["expiresAt"] = rfc3339(choose.choice(ends))
    return operation
