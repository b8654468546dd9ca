"""A made world of any size: every kind of tag, written at ten moments by import, command line and mutation.

The clock of each step is set by TAGROAR_NOW to ten in the morning; questions are asked in the afternoon or
at night, and what ends or is dated never falls between, so that minutes of running time decide nothing.
"""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.random import Generator

from tests.acceptance import writes
from tests.acceptance.files import events_form, long_form, wide_form, write
from tests.acceptance.harness import Json, Report, Server, command, new_token
from tests.acceptance.questions import And, Node, Not, Or, Saved, Tag, text
from tests.acceptance.world import DAY, Definition, Ints, Rows, World, rows, seconds

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
PRESENT = datetime(2026, 3, 24, 16, tzinfo=UTC)
CLOCK_TIMES = (0, 19_049, 28_799, 41_400, 79_200, 79_201, 86_399)
"""Seconds of the day at which things end or are dated: none from the morning's writes to the evening's questions."""
WINDOWS = (1, 2, 3, 5, 8, 13, 20, 30)
HOURS = (50, 100)
SETTINGS: Json = {"retention": "P200D"}
SPECIAL = (
    "a,b",
    'say "hi"',
    " lead",
    "tail ",
    "用户七",
    "é",
    "NULL",
    "0x1F",
    "-",
    "u-1",
    "naïve;x",
    "\\n",
    "'",
    "u007",
)
CITIES = ("Shanghai", "北京", 'O"Hare', "São Paulo", "a/b", "London, UK", *(f"city-{i}" for i in range(34)))
LEVELS = tuple(
    "/".join(path)
    for who in ("student", "teacher", "guest")
    for path in [
        (who,),
        *((who, f"field-{i}") for i in range(6)),
        *((who, f"field-{i % 6}", f"year-{i}") for i in range(18)),
    ]
)


def definitions() -> dict[str, Definition]:
    """The tags."""
    rich = And((Tag("spend", compare=("gte", "150.00")), Or((Tag("vip"), Tag("会员等级", values=("gold", "black"))))))
    return {
        "vip": Definition("FLAG"),
        "mail list": Definition("FLAG"),
        "trial": Definition("FLAG", valid_for=10 * DAY),
        "city": Definition("CHOICE", values=list(CITIES), open=False),
        "会员等级": Definition("CHOICE"),
        "interest": Definition("CHOICES"),
        "course": Definition("CHOICES", hierarchical=True),
        "spend": Definition("NUMBER", scale=2),
        "visits": Definition("NUMBER"),
        "renewal": Definition("DATE", day=True),
        "last_seen": Definition("DATE"),
        "purchase": Definition("EVENT"),
        "visit": Definition("EVENT", valid_for=20 * DAY),
        "rich": Definition("FLAG", rule=rich),
        "band": Definition(
            "CHOICE",
            values=["high", "middle", "low"],
            rules=(
                ("high", Tag("spend", compare=("gte", "500"))),
                ("middle", Tag("spend", compare=("gt", "99.995"))),
                ("low", Tag("spend")),
            ),
        ),
    }


SAVED: Mapping[str, Node] = {
    "recent": Tag("purchase", within=timedelta(days=13)),
    "quiet-rich": And((Tag("rich"), Not(Saved("recent")))),
}


DEFINE = "mutation($i: DefineTagInput!) { defineTag(input: $i) { key } }"
SAVE = "mutation($i: SaveAudienceInput!) { saveAudience(input: $i) { key } }"


class MadeWorld:
    """Makes the world step by step, in the service and by brute force alike. `size`: users in the end."""

    def __init__(self, directory: Path, size: int, seed: int, report: Report) -> None:
        self.store = directory / "store"
        self._files = directory / "files"
        self._files.mkdir(parents=True, exist_ok=True)
        self._draw: Generator = np.random.default_rng(seed)
        self._choose = random.Random(seed)
        self._report = report
        special = {int(n): name for n, name in zip(self._draw.permutation(size), SPECIAL, strict=False)}
        self.world = World(size, "u", special, definitions())
        self.token = new_token(self.store)

    def server(self, now: datetime = PRESENT) -> Server:
        """A server on the store whose clock starts at a moment."""
        return Server(self.store, token=self.token, now=now, **SETTINGS)

    def build(self) -> None:
        """All steps."""
        steps: list[tuple[int, Callable[[Server], str]]] = [
            (0, self._define),
            (1, self._first_memberships),
            (2, self._first_table),
            (4, self._first_events),
            (7, lambda server: self._small_writes(server, 60)),
            (9, self._more_memberships),
            (11, self._replaced),
            (13, self._more_events),
            (14, lambda server: self._small_writes(server, 60)),
            (17, self._changed_table),
            (19, lambda server: self._small_writes(server, 60)),
        ]
        for day, step in steps:
            moment = START + timedelta(days=day)
            self.world.begin(moment)
            with self.server(moment) as server:
                told = step(server)
            self._report.say(f"{moment:%B %d}: {told}")
        for key, node in SAVED.items():
            self.world.saved[key] = node

    # ------------------------------------------------------------ steps

    def _define(self, server: Server) -> str:
        for key, tag in self.world.tags.items():
            if tag.rule is None and not tag.rules:
                asked: Json = {"key": key, "kind": tag.kind, "scale": tag.scale, "hierarchical": tag.hierarchical}
                asked |= {} if tag.open else {"values": tag.values}
                asked |= {"precision": "DAY"} if tag.day else {}
                asked |= {"validFor": f"P{tag.valid_for // DAY}D"} if tag.valid_for else {}
                server.ask(DEFINE, i=asked)
        return f"{len(self.world.tags)} tags"

    def _define_rules(self, server: Server) -> None:
        """After the values that they name are there."""
        for key, tag in self.world.tags.items():
            if tag.rule is not None:
                server.ask(DEFINE, i={"key": key, "rule": {"text": text(tag.rule, self._choose)}})
            if tag.rules:
                each = [{"value": value, "where": {"text": text(node, self._choose)}} for value, node in tag.rules]
                server.ask(DEFINE, i={"key": key, "kind": tag.kind, "rules": each})
        for key, node in SAVED.items():
            server.ask(SAVE, i={"key": key, "where": {"text": text(node, self._choose)}})

    def _first_memberships(self, server: Server) -> str:
        parts = {
            "vip": self._rows("vip", 0, 0.6, 0.05),
            "mail list": self._rows("mail list", 0, 0.6, 0.5),
            "trial": self._rows("trial", 0, 0.6, 0.1),
            "会员等级": self._rows(
                "会员等级", 0, 0.6, 0.7, names=("bronze", "silver", "gold", "platinum", "black"), ends=True
            ),
            "interest": self._rows("interest", 0, 0.6, 3.0, names=[f"interest-{i}" for i in range(200)], ends=True),
            "course": self._rows("course", 0, 0.6, 1.2, names=LEVELS),
        }
        return self._import(server, parts, "memberships.parquet")

    def _first_table(self, server: Server) -> str:
        parts = {
            "city": self._rows("city", 0.2, 0.9, 0.9, names=CITIES),
            "spend": self._rows("spend", 0.2, 0.9, 0.8, units=self._money),
            "visits": self._rows("visits", 0.2, 0.9, 0.6, units=lambda n: self._draw.geometric(0.1, n) - 1),
            "renewal": self._rows("renewal", 0.2, 0.9, 0.5, units=self._day),
            "last_seen": self._rows("last_seen", 0.2, 0.9, 0.7, units=self._second),
        }
        told = self._import_wide(server, parts, "table.csv")
        self._define_rules(server)
        return told

    def _first_events(self, server: Server) -> str:
        return self._import_events(server, 0.1, 0.7, "events.parquet")

    def _more_memberships(self, server: Server) -> str:
        server.stop()
        parts = {
            "vip": self._rows("vip", 0.4, 1, 0.05),
            "trial": self._rows("trial", 0.4, 1, 0.1, ends=True),
            "会员等级": self._rows("会员等级", 0.4, 1, 0.4, names=("bronze", "silver", "gold", "iron"), ends=True),
            "interest": self._rows("interest", 0.4, 1, 2.0, names=[f"interest-{i}" for i in range(220)], ends=True),
            "course": self._rows("course", 0.4, 1, 0.5, names=LEVELS),
            "spend": self._rows("spend", 0.4, 1, 0.1, units=self._money),
            "renewal": self._rows("renewal", 0.4, 1, 0.1, units=self._day),
        }
        return self._import(None, parts, "more.parquet")

    def _replaced(self, server: Server) -> str:
        parts = {
            "mail list": self._rows("mail list", 0.1, 0.8, 0.3),
            "会员等级": self._rows("会员等级", 0.2, 1, 0.5, names=("bronze", "silver", "gold", "iron"), ends=True),
        }
        return self._import(server, parts, "replaced.ndjson", mode="replace")

    def _more_events(self, server: Server) -> str:
        return self._import_events(server, 0.3, 1, "events.csv")

    def _changed_table(self, server: Server) -> str:
        parts = {
            "city": self._rows("city", 0, 1, 0.05, names=CITIES[:8]),
            "spend": self._rows("spend", 0, 1, 0.1, units=self._money),
            "last_seen": self._rows("last_seen", 0, 1, 0.1, units=self._second),
            "vip": self._rows("vip", 0, 1, 0.01),
        }
        return self._import_wide(server, parts, "changed.parquet")

    def _small_writes(self, server: Server, calls: int) -> str:
        make: dict[str, writes.Make] = {
            "assignTags": self._an_assignment,
            "removeTags": self._a_removal,
            "recordEvents": self._an_event,
            "upsertProfiles": lambda _, user: {"userId": user, "attributes": {"note": "seen"}},
        }
        return f"{writes.write_some(server, self.world, self._choose, calls, make)} small operations"

    # ------------------------------------------------------------ drawing

    def _rows(
        self,
        key: str,
        low: float,
        high: float,
        each: float,
        names: tuple[str, ...] | list[str] = (),
        units: Callable[[int], Ints] | None = None,
        ends: bool = False,
    ) -> Rows:
        """Rows of `each` a user on average, among the users from `low` to `high` of all; nothing repeats."""
        first, last = int(low * self.world.count), int(high * self.world.count)
        drawn = self._draw.integers(first, last, int(each * (last - first)))
        values = np.full(len(drawn), -1)
        if names:
            places = self.world.places(key, names)
            weights = 1 / np.arange(1, len(names) + 1)
            picked = self._draw.choice(len(names), len(drawn), p=weights / weights.sum())
            values = np.array([places[name] for name in names])[picked]
        content = drawn if self.world.tags[key].single else drawn * 2**16 + values
        _, kept = np.unique(content, return_index=True)
        self._draw.shuffle(kept)
        made = rows(drawn[kept], self.world.step, value=values[kept])
        if units is not None:
            made["units"] = units(len(made))
        if ends:
            ending = self._draw.random(len(made)) < 0.4
            made["expires"][ending] = self._moments(int(ending.sum()), -1, 40)
            scored = self._draw.random(len(made)) < 0.5
            made["score"][scored] = self._draw.integers(0, 101, int(scored.sum()))
        return made

    def _moments(self, count: int, low: int, high: int) -> Ints:
        """Seconds on days from `low` to `high` after the start, at the times of day that are safe."""
        days = self._draw.integers(low, high, count) + seconds(START) // DAY
        found: Ints = days * DAY + np.array(CLOCK_TIMES)[self._draw.integers(0, len(CLOCK_TIMES), count)]
        return found

    def _money(self, count: int) -> Ints:
        return np.minimum(self._draw.lognormal(9, 1.2, count), 2e9).astype(np.int64) - 1_000

    def _day(self, count: int) -> Ints:
        return self._draw.integers(-60, 120, count) + seconds(START) // DAY

    def _second(self, count: int) -> Ints:
        return self._moments(count, -40, 40)

    # ------------------------------------------------------------ importing

    def _import(self, server: Server | None, parts: dict[str, Rows], name: str, mode: str = "merge") -> str:
        """The long form, by HTTP, or without a server by the command line."""
        path = self._files / name
        table = long_form(self.world, parts)
        write(table, path)
        if server is not None:
            server.imported("memberships", path, mode=mode)
        else:
            done = command(self.store, "import", "memberships", str(path), "--mode", mode, now=self._now, **SETTINGS)
            if done.returncode or "+ 0 rejected" not in done.stdout:
                raise RuntimeError(f"{done.stdout}\n{done.stderr}")
        path.unlink()
        for key, made in parts.items():
            self.world.merge(key, made, replace=mode == "replace")
        return f"{table.num_rows:,} memberships from {name}" + (" by the command line" if server is None else "")

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.world.moments[-1], UTC)

    def _import_wide(self, server: Server, parts: dict[str, Rows], name: str) -> str:
        path = self._files / name
        users = np.unique(np.concatenate([made["user"] for made in parts.values()]))
        self._draw.shuffle(users)
        write(wide_form(self.world, parts, users), path)
        server.imported("table", path)
        path.unlink()
        for key, made in parts.items():
            self.world.merge(key, made)
        return f"{len(users):,} wide rows from {name}"

    def _import_events(self, server: Server, low: float, high: float, name: str) -> str:
        path, tables = self._files / name, []
        for key, values, each in (("purchase", [f"dept-{i}" for i in range(12)], 2.0), ("visit", ["web", "app"], 0.8)):
            count = int(each * (high - low) * self.world.count)
            users = self._draw.integers(int(low * self.world.count), int(high * self.world.count), count)
            places = list(self.world.places(key, values).values())
            picked = np.minimum(self._draw.geometric(0.3, count) - 1, len(values) - 1)
            value = np.where(self._draw.random(count) < 0.05, -1, np.array(places)[picked])
            at = self._moments(count, -90, self.world.moments[-1] // DAY - seconds(START) // DAY)
            times = self._draw.geometric(0.7, count)
            tables.append(events_form(self.world, key, users, value, at, times))
            self.world.merge(key, self._by_day(key, users, value, at, times))
        table = pa.concat_tables(tables)
        write(table, path)
        server.imported("events", path)
        path.unlink()
        return f"{table.num_rows:,} events from {name}"

    def _by_day(self, key: str, users: Ints, value: Ints, at: Ints, times: Ints) -> Rows:
        """Events of one user, value and day as one row."""
        made = rows(users, self.world.step, value=value, units=at // DAY, count=times)
        valid_for = self.world.tags[key].valid_for
        if valid_for is not None:
            made["expires"] = at + valid_for
        made = made[np.lexsort((made["units"], made["value"], made["user"]))]
        content = made[["user", "value", "units"]]
        starts = np.flatnonzero(np.append(True, content[1:] != content[:-1]))
        found = made[starts]
        found["count"] = np.add.reduceat(made["count"], starts)
        found["expires"] = np.maximum.reduceat(made["expires"], starts)
        return found

    # ------------------------------------------------------------ small writes

    def _an_assignment(self, choose: random.Random, user: str) -> Json:
        key = choose.choice(
            [key for key, tag in self.world.tags.items() if tag.kind != "EVENT" and not tag.rule and not tag.rules]
        )
        tag = self.world.tags[key]
        operation: Json = {"user": user, "tag": key}
        ends = [START + timedelta(days=choose.randrange(20, 60), hours=choose.choice((-9, 13)))]
        if tag.kind == "CHOICES" and choose.random() < 0.3:
            operation["values"] = choose.sample(tag.values, choose.randint(1, 3))
        elif tag.kind in ("CHOICE", "CHOICES"):
            operation["value"] = choose.choice(tag.values)
        elif tag.kind == "NUMBER":
            operation["number"] = f"{choose.randrange(-500, 90_000) / 100:.{tag.scale}f}"
        elif tag.kind == "DATE":
            day = START + timedelta(days=choose.randrange(-60, 90))
            operation["date"] = f"{day:%Y-%m-%d}" if tag.day else f"{day:%Y-%m-%d}T05:17:29Z"
        return writes.a_score(choose, operation, ends)

    def _a_removal(self, choose: random.Random, user: str) -> Json:
        key = choose.choice([key for key, tag in self.world.tags.items() if not tag.rule and not tag.rules])
        values = self.world.used(key)
        return {"user": user, "tag": key} | (
            {"value": choose.choice(values)} if values and choose.random() < 0.6 else {}
        )

    def _an_event(self, choose: random.Random, user: str) -> Json:
        key = choose.choice(("purchase", "visit"))
        day = self._now - timedelta(days=choose.randrange(1, 30))
        operation: Json = {"user": user, "tag": key, "at": f"{day:%Y-%m-%d}T05:17:29Z"}
        operation |= {"value": choose.choice(self.world.tags[key].values)} if choose.random() < 0.8 else {}
        return operation | ({"count": choose.randint(1, 5)} if choose.random() < 0.5 else {})
