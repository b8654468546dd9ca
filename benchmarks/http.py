"""The service over HTTP beside a bare Starlette route, served alike and asked by the same client, in turn.

The route parses the same body and answers a constant of the same size. Rounds of both alternate; what is compared
are medians of rounds.
"""

import json
import random
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, Run, median, undisturbed
from benchmarks.load import Answers, Round, played
from benchmarks.questions import Questions
from benchmarks.servers import Server
from benchmarks.stores import new_token, opened, store_of
from benchmarks.world import World
from bitmap_store.expression import And, Expression, Match, Not, Or
from bitmap_store.language import render

SIZE = "query Size($where: AudienceWhere!) { audience(where: $where) { size } }"
SIZES = "query Sizes($where: [AudienceWhere!]!) { audiences(where: $where) { size } }"
PROFILE = """query Profile($by: ProfileBy!) {
  profile(by: $by) { userId tags { tag { key } values number date } }
}"""
ROUNDS, SECONDS, CONNECTIONS = 5, 1.0, 8
DIFFERENT = 60_000
LISTED, FIFTIES = 50, 4_000
SMALL = 100_000
"""Up to so many users the rate of requests is promised, above it the time beside the engine's."""

ALONE = 400


def where_of(node: Expression) -> dict[str, object]:
    """The object that GraphQL takes for an expression."""
    match node:
        case Match(key, values):
            return {"tag": {"key": key} | ({"in": list(values)} if values else {})}
        case And(of):
            return {"and": [where_of(child) for child in of]}
        case Or(of):
            return {"or": [where_of(child) for child in of]}
        case Not(of):
            return {"not": where_of(of)}
    raise TypeError(f"{type(node).__name__} is not asked here")


def body(query: str, **variables: object) -> str:
    """A request on one line."""
    return json.dumps({"query": " ".join(query.split()), "variables": variables}, ensure_ascii=False)


async def measure(run: Run, world: World) -> None:
    """All figures over HTTP."""
    path = await store_of(world, run.told)
    with tempfile.TemporaryDirectory(prefix="tagroar-bench-http-") as name:
        bodies = Bodies(Path(name), world)
        token = await new_token(path)
        with Server.tagroar(path, token) as ours:
            bodies.answers(ours)
            with Server.bare(bodies.constants) as theirs:
                side = Sides(run, ours, theirs, bodies)
                side.sizes(world)
                side.profiles()
                beyond = side.alone()
        engine = await engine_seconds(path, bodies.alone)
    ours_alone, theirs_alone = beyond
    run.figure(
        Figure(
            "a size of two leaves, what is not engine time", "ms", max(ours_alone - engine, 0.0) * 1e3,
            theirs_alone * 1e3, "bare route, whole", "ratio", "≤", 2.0 if world.users > SMALL else None,
            f"request {ours_alone * 1e3:.2f} ms",
        )
    )  # fmt: skip


async def engine_seconds(path: Path, asked: list[Expression]) -> float:
    """The median of the same questions in the engine alone, each asked once, leaves known."""
    async with opened(path) as store:
        view, seconds = store.view(), []
        plans = [store.bind(view, question, "user") for question in asked]
        for node in {leaf for question in asked for leaf in _leaves(question)}:
            await store.count([store.bind(view, node, "user")])
        with undisturbed():
            for plan in plans:
                started = time.perf_counter()
                await store.count([plan])
                seconds.append(time.perf_counter() - started)
    return median(seconds)


def _leaves(node: Expression) -> Iterable[Match]:
    match node:
        case And(of) | Or(of):
            return [leaf for child in of for leaf in _leaves(child)]
        case Not(of):
            return _leaves(of)
        case Match():
            return [node]
    return []


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request: its bodies, and the route of the reference."""

    name: str
    bodies: Path
    lines: int


class Bodies:
    """The requests, as files that the client reads; and the answers whose sizes the reference takes."""

    def __init__(self, directory: Path, world: World) -> None:
        self._directory = directory
        self.constants = directory / "answers"
        self.constants.mkdir()
        questions = Questions(world, seed=3)
        self.leaves = [value.leaf for value in questions.pool]
        two = questions.two(DIFFERENT + LISTED * 400 + ALONE)
        different, listed, self.alone = two[:DIFFERENT], two[DIFFERENT:-ALONE], two[-ALONE:]
        self.size = self._kind("size", (body(SIZE, where=where_of(each)) for each in different))
        self.text = self._kind("text", (body(SIZE, where={"text": render(each)}) for each in reversed(different)))
        self.same = self._kind("same", (body(SIZE, where=where_of(each)) for each in different[:1]))
        fifties = random.Random(6)
        self.fifty = self._kind(
            "fifty",
            (body(SIZES, where=[where_of(each) for each in fifties.sample(listed, LISTED)]) for _ in range(FIFTIES)),
        )
        users = random.Random(4).choices(range(world.users), k=20_000)
        self.profile = self._kind("profile", (body(PROFILE, by={"userId": str(user)}) for user in users))
        self.one = self._kind("one", (body(SIZE, where=where_of(each)) for each in self.alone))
        self.kinds = (self.size, self.text, self.same, self.fifty, self.profile, self.one)

    def _kind(self, name: str, lines: Iterable[str]) -> Kind:
        path, count = self._directory / f"{name}.jsonl", 0
        with path.open("w") as file:
            for line in lines:
                file.write(f"{line}\n")
                count += 1
        return Kind(name, path, count)

    def answers(self, server: Server) -> None:
        """Warms the server, leaf by leaf, and keeps one answer of each kind."""
        for leaf in self.leaves:
            server.ask(SIZE, where=where_of(leaf))
        for kind in self.kinds:
            with kind.bodies.open("rb") as file:
                first = file.readline()
            status, answer = server.request("POST", "/graphql", first, **{"Content-Type": "application/json"})
            if status != 200 or b'"errors"' in answer:
                raise RuntimeError(f"{kind.name}: {status} {answer[:500]!r}")
            (self.constants / kind.name).write_bytes(answer)


class Sides:
    """Tagroar and the reference, both serving."""

    def __init__(self, run: Run, ours: Server, theirs: Server, bodies: Bodies) -> None:
        self._run, self._ours, self._theirs, self._bodies = run, ours, theirs, bodies
        self._sent: dict[str, int] = {}

    def _played(
        self, server: Server, kind: Kind, connections: int, count: int | None = None, reference: str = ""
    ) -> Answers:
        mine = server is self._ours
        first = self._sent.get(kind.name, 0) if mine else 0
        path = "/graphql" if mine else reference or f"/bare/{kind.name}"
        answers = played(
            Round(server.port, path, str(kind.bodies), server.headers, first, connections, SECONDS, count=count)
        )
        if mine:
            self._sent[kind.name] = first + len(answers.latencies)
            if kind.lines > 1 and self._sent[kind.name] > kind.lines:
                self._run.say(f"{kind.name}: some requests were sent twice")
        return answers

    def _rates(self, kind: Kind, reference: str = "") -> tuple[float, float, str]:
        """Answers a second of both, and the processor time of one answer of both, in words."""
        rates: dict[Server, list[float]] = {self._ours: [], self._theirs: []}
        processor: dict[Server, list[float]] = {self._ours: [], self._theirs: []}
        for server in rates:
            self._played(server, kind, CONNECTIONS, count=100, reference=reference)
        for _ in range(ROUNDS):
            for server in rates:
                before = server.processor_seconds()
                answers = self._played(server, kind, CONNECTIONS, reference=reference)
                rates[server].append(answers.rate)
                processor[server].append((server.processor_seconds() - before) / len(answers.latencies))
        spent = [median(seconds) * 1e6 for seconds in processor.values()]
        note = f"processor {spent[0]:.0f} against {spent[1]:.0f} µs"
        return median(rates[self._ours]), median(rates[self._theirs]), note

    def _figure(self, name: str, kind: Kind, bound: float | None) -> float:
        ours, theirs, note = self._rates(kind)
        sign = "≥" if bound is not None else ""
        self._run.figure(Figure(name, "req/s", ours, theirs, "bare route", "ratio", sign, bound, note))
        return ours

    def sizes(self, world: World) -> None:
        """Sizes: different ones, as objects and as texts; the same again; fifty in one request."""
        bound = 0.35 if world.users <= SMALL else None
        one = self._figure("sizes of two leaves, each different", self._bodies.size, bound)
        self._figure("the same, as texts", self._bodies.text, None)
        ours, theirs, note = self._rates(self._bodies.size, "/naive/")
        self._run.figure(
            Figure("the same, beside Strawberry", "req/s", ours, theirs, "as it comes", "ratio", note=note)
        )
        self._figure("a size that was asked before", self._bodies.same, 1.0)
        fifty, _, _ = self._rates(self._bodies.fifty)
        self._run.figure(
            Figure(
                "fifty sizes in one request", "ms", 1e3 / fifty, LISTED * 1e3 / one, "fifty requests", "ratio", "≤", 0.4
            )
        )

    def profiles(self) -> None:
        """Profiles with all their tags."""
        self._figure("a profile with all its tags", self._bodies.profile, 0.1)

    def alone(self) -> tuple[float, float]:
        """The median seconds of a request where nobody else asks: ours, theirs."""
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(4):
            ours += self._played(self._ours, self._bodies.one, 1, count=ALONE // 4).latencies
            theirs += self._played(self._theirs, self._bodies.one, 1, count=ALONE // 4).latencies
        return median(ours), median(theirs)
