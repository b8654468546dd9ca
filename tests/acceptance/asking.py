"""Random questions about a world, and the comparison of the service's answers with those of brute force."""

import io
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from tests.acceptance.harness import Json, Refused, Report, Server
from tests.acceptance.questions import Everyone, Node, Part, Saved, Tag, Users, some, text, where
from tests.acceptance.world import DAY, Bits, Definition, Ints, World

PAGE = 1_000
PAGED_ENTIRELY = 20_000
ASKED_USERS = 50
EXPORT_FORMATS = ("ndjson", "csv")


class Asking:
    """Random questions: a pool of leaves drawn from what the world holds, and trees over them.

    moments: for `at`. windows, hours: lengths in days and hours for which no row is near a boundary.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        moments: Sequence[datetime],
        windows: Sequence[int],
        hours: Sequence[int],
        leaves: int = 250,
    ) -> None:
        self.choose = random.Random(seed)
        self._world = world
        self._moments = list(moments)
        self._windows, self._hours = windows, hours
        self._used = {key: world.used(key) for key in world.tags}
        self._leaves = [self._leaf() for _ in range(leaves)]

    def question(self, depth: int = 5) -> Node:
        """A random expression."""
        return some(self.choose, lambda choose: choose.choice(self._leaves), self._moments, depth)

    def sent(self, node: Node) -> Json:
        """The question as it is sent: as text, or as nested objects."""
        return {"text": text(node, self.choose)} if self.choose.random() < 0.5 else where(node)

    def names(self, members: Bits) -> tuple[list[str], list[bool]]:
        """Fifty names, half of them members where there are some, one of nobody; and who of them is in."""
        users = [self.choose.randrange(self._world.count) for _ in range(ASKED_USERS // 2)]
        inside = self._world.members(members)
        if len(inside):
            users += [int(inside[self.choose.randrange(len(inside))]) for _ in range(ASKED_USERS // 2 - 1)]
        mask = np.unpackbits(members, count=self._world.count)
        return [*(self._world.name(user) for user in users), "nobody at all"], [*map(bool, mask[users]), False]

    # ------------------------------------------------------------ leaves

    def _leaf(self) -> Node:
        choose, world = self.choose, self._world
        kinds = ["tag"] * 40 + ["users", "everyone"] + ["saved"] * bool(world.saved) + ["part"] * bool(world.parts)
        match choose.choice(kinds):
            case "users":
                names = [world.name(choose.randrange(world.count)) for _ in range(choose.randint(1, 200))]
                return Users(tuple(dict.fromkeys([*names, "nobody"])))
            case "everyone":
                return Everyone()
            case "saved":
                return Saved(choose.choice(list(world.saved)))
            case "part":
                return choose.choice(list(world.parts))
        key = choose.choice(list(world.tags))
        tag = world.tags[key]
        match tag.kind:
            case _ if tag.rule is not None or tag.rules:
                return Tag(key, values=self._values(tag, key) if tag.rules and choose.random() < 0.7 else None)
            case "EVENT":
                values = self._values(tag, key) if choose.random() < 0.6 else None
                times = choose.choice((None, None, 2, 3, 5))
                return Tag(key, values=values, times=times, **self._window(0.7))
            case "DATE":
                return self._date(key, tag)
            case "NUMBER" if choose.random() < 0.85:
                return Tag(key, compare=self._comparison(key, tag), **self._window(0.2))
            case "CHOICE" | "CHOICES" if choose.random() < 0.8:
                return Tag(key, values=self._values(tag, key), score=self._score(), **self._window(0.25))
        return Tag(key, score=self._score(), **self._window(0.3))

    def _values(self, tag: Definition, key: str) -> tuple[str, ...]:
        known = list(self._used[key])
        if tag.hierarchical:
            known += ["/".join(value.split("/")[:depth]) for value in known for depth in range(1, value.count("/") + 1)]
        # What comes first is frequent, so small numbers give large sets.
        count = min(len(known), self.choose.choice((1, 1, 1, 2, 3)))
        places = [min(int(self.choose.expovariate(5 / len(known))), len(known) - 1) for _ in range(count)]
        return tuple(dict.fromkeys(known[place] for place in places))

    def _score(self) -> str | None:
        return f"{self.choose.randrange(101) / 100}" if self.choose.random() < 0.15 else None

    def _comparison(self, key: str, tag: Definition) -> tuple[str, str]:
        held = self._world.current(key)["units"]
        units = Decimal(int(held[self.choose.randrange(len(held))])) if len(held) else Decimal(0)
        between = Decimal(self.choose.choice((0, 0, 0, 1))) / 2
        number = (units + between).scaleb(-tag.scale)
        return self.choose.choice(("eq", "gt", "gte", "lt", "lte")), f"{number:f}"

    def _length(self) -> timedelta:
        if self._hours and self.choose.random() < 0.2:
            return timedelta(hours=self.choose.choice(self._hours))
        return timedelta(days=self.choose.choice(self._windows))

    def _window(self, chance: float) -> dict[str, Any]:
        """Conditions on time: a window back from now, or bounds at midnight or late at night."""
        if self.choose.random() >= chance:
            return {}
        way = self.choose.choice(("within", "skip", "after", "before", "both"))
        if way in ("within", "skip"):
            lengths = sorted({self._length(), self._length()})
            if way == "within" or len(lengths) == 1:
                return {"within": lengths[-1]}
            return {"within": lengths[1], "skip": lengths[0]}
        bounds = sorted({self._bound(), self._bound()})
        if way == "both" and len(bounds) == 2:
            return {"after": bounds[0], "before": bounds[1]}
        return {"before" if way == "before" else "after": bounds[0]}

    def _bound(self) -> datetime:
        day = self.choose.choice(self._moments).replace(hour=0, minute=0, second=0, microsecond=0)
        return day - timedelta(days=self.choose.randrange(20), hours=self.choose.choice((0, 0, 2)))

    def _date(self, key: str, tag: Definition) -> Tag:
        match self.choose.choice(("any", "ahead", "values", "window", "window")):
            case "ahead":
                return Tag(key, ahead=self._length())
            case "values" if tag.day:
                held = self._world.current(key)["units"]
                picked = {int(held[self.choose.randrange(len(held))]) for _ in range(self.choose.randint(1, 4))}
                values = [f"{datetime.fromtimestamp(each * DAY, UTC):%Y-%m-%d}" for each in sorted(picked)]
                return Tag(key, values=tuple(values))
            case "any":
                return Tag(key)
        return Tag(key, **self._window(1))


class Comparison:
    """Asks the service and brute force the same, and reports what differs."""

    def __init__(self, server: Server, world: World, report: Report) -> None:
        self._server = server
        self._world = world
        self._report = report

    def whole(self, asking: Asking, node: Node, moment: datetime, name: str, as_of: datetime | None = None) -> None:
        """Size, contains, the export, and the members in pages."""
        try:
            self._whole(asking, node, moment, name, as_of)
        except Refused as error:
            self._report.check(f"{name}: answered", False, f"{error} as of {as_of}: {json.dumps(where(node))}")

    def _whole(self, asking: Asking, node: Node, moment: datetime, name: str, as_of: datetime | None) -> None:
        expected = self._world.bits(node, moment)
        size, sent = self._world.size(expected), asking.sent(node)
        names, inside = asking.names(expected)
        told = f"{name} {json.dumps(sent, ensure_ascii=False)}"
        query = (
            "query($w: AudienceWhere!, $t: DateTime, $u: [String!]!) "
            "{ audience(where: $w, asOf: $t) { size contains(users: $u) members(first: 1) { totalCount } } }"
        )
        at = None if as_of is None else as_of.isoformat()
        found = self._server.ask(query, w=sent, t=at, u=names)["audience"]
        self._report.equal(f"{name}: size", found["size"], size, told)
        self._report.equal(f"{name}: size", found["members"]["totalCount"], size, told)
        wrong = [user for user, x, y in zip(names, found["contains"], inside, strict=True) if x != y]
        self._report.check(
            f"{name}: contains",
            not wrong,
            f"{told}: {len(wrong)} of {len(names)} users, such as {wrong[:3]}",
            len(names),
        )
        order = self.export(asking, sent, expected, told, name, as_of)
        self._members(sent, order, told, name, as_of)

    def export(
        self, asking: Asking, sent: Json, expected: Bits, told: str, name: str, as_of: datetime | None = None
    ) -> Ints:
        """Compares an export with the expected users; the users in the order of the export."""
        format_ = asking.choose.choice(EXPORT_FORMATS)
        users = self._world.numbers(names_in(self._server.export(sent, format_, as_of), format_))
        members = self._world.members(expected)
        same = len(users) == len(members) and np.array_equal(np.sort(users), members)
        self._report.check(
            f"{name}: export", same, lambda: f"{told}: {format_} {differences(users, members, self._world)}"
        )
        return users

    def _members(self, sent: Json, order: Ints, told: str, name: str, as_of: datetime | None) -> None:
        """All pages of a small audience, else the first three and one more; in the order of the export."""
        query = (
            "query($w: AudienceWhere!, $t: DateTime, $n: Int, $a: String) { audience(where: $w, asOf: $t) "
            "{ members(first: $n, after: $a) { edges { node { userId } } pageInfo { hasNextPage endCursor } } } }"
        )
        entire = len(order) <= PAGED_ENTIRELY
        at = None if as_of is None else as_of.isoformat()
        seen: list[str] = []
        cursor, more, pages = None, True, 0
        while more and (entire or pages < 4):
            page = self._server.ask(query, w=sent, t=at, n=PAGE, a=cursor)["audience"]["members"]
            seen += [edge["node"]["userId"] for edge in page["edges"]]
            cursor, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
            pages += 1
        wanted = order if entire else order[: 4 * PAGE]
        same = np.array_equal(self._world.numbers(pa.array(seen, pa.string())), wanted) and more == (not entire)
        self._report.check(f"{name}: members", same, f"{told}: {len(seen)} on {pages} pages, not {len(wanted)}", pages)

    def sizes(self, asking: Asking, nodes: Sequence[Node], moment: datetime, name: str, as_of: datetime | None) -> None:
        """The sizes of many audiences, a few in each request."""
        sent = [asking.sent(node) for node in nodes]
        for node, asked, found in zip(nodes, sent, self._server.sizes(sent, as_of), strict=True):
            expected = self._world.size(self._world.bits(node, moment))
            told = f"{as_of or ''} {json.dumps(asked, ensure_ascii=False)}"
            self._report.equal(name, found, expected, told)

    def learn_parts(self, parts: Sequence[Part], moment: datetime) -> None:
        """Learns who is in each slice of everyone; slices that follow each other must divide everyone."""
        everyone = self._world.bits(Everyone(), moment)
        for part in parts:
            content = self._server.export({"text": text(part, random.Random(0))}, "csv")
            users = self._world.numbers(names_in(content, "csv"))
            self._world.parts[part] = self._world.pack(users)
            share = len(users) / self._world.size(everyone)
            wide = float(part.end) - float(part.start)
            self._report.check("part: about its share", abs(share - wide) < 0.05, f"{part}: {share}")
        for seed in {part.seed for part in parts}:
            sets = [bits for part, bits in self._world.parts.items() if part.seed == seed]
            total = sum(self._world.size(bits) for bits in sets)
            union = np.bitwise_or.reduce(sets)
            self._report.equal("part: slices are disjoint", total, self._world.size(union), seed)
            self._report.check("part: slices are everyone", np.array_equal(union, everyone), seed)


def names_in(content: bytes, format_: str) -> pa.Array:
    """The names in an export of CSV or NDJSON."""
    if not content:
        return pa.array([], pa.string())
    source, block = io.BytesIO(content), len(content) + 1
    if format_ == "ndjson":
        table = pyarrow.json.read_json(
            source,
            pyarrow.json.ReadOptions(use_threads=False, block_size=block),
            pyarrow.json.ParseOptions(explicit_schema=pa.schema([("user", pa.string())])),
        )
    else:
        table = pyarrow.csv.read_csv(
            source,
            pyarrow.csv.ReadOptions(use_threads=False, block_size=block),
            convert_options=pyarrow.csv.ConvertOptions(column_types={"user": pa.string()}, strings_can_be_null=False),
        )
    return table["user"].combine_chunks()


def differences(found: Ints, expected: Ints, world: World) -> str:
    """What is missing, what is too much, what comes twice."""
    missing, extra = np.setdiff1d(expected, found), np.setdiff1d(found, expected)
    some_of = [world.name(int(user)) for user in [*missing[:3], *extra[:3]] if user >= 0]
    repeated = len(found) - len(np.unique(found))
    return f"{len(missing)} missing, {len(extra)} too many, {repeated} twice, such as {some_of}"
