"""A hundred sizes a second, whatever happens, while an import, an export and portraits go on.

Open loop: requests are sent when they are due, and their time counts from then, so that one that waits for another
counts all of its waiting. First alone, then beside the others.
"""

import http.client
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from benchmarks.figures import Figure, Run, percentile
from benchmarks.files import File, made
from benchmarks.http import SIZE, body, where_of
from benchmarks.load import Answers, Round, begun, ended
from benchmarks.questions import Questions
from benchmarks.servers import Server
from benchmarks.stores import copied, new_token, store_of
from benchmarks.world import World

RATE, SECONDS, ALONE_SECONDS, CONNECTIONS = 100.0, 60.0, 15.0, 64
IMPORTED_USERS = 300_000
PORTRAIT_TAGS = 50
EXPORT_COLUMNS = 5
PORTRAIT = """query($where: AudienceWhere!, $tags: [String!]) {
  audience(where: $where) { portrait(tags: $tags) { rows { values size } } }
}"""


async def measure(run: Run, world: World) -> None:
    """The times of the same questions alone and beside the others."""
    path = await store_of(world, run.told)
    other = World(min(world.users, IMPORTED_USERS), world.tag_count, world.value_count, world.seed + 1)
    file = made(other, File("long"), run.told)
    async with copied(path) as copy:
        token = await new_token(copy)
        with Server.tagroar(copy, token) as server, tempfile.TemporaryDirectory(prefix="tagroar-bench-open-") as name:
            questions = Questions(world, seed=12)
            for value in questions.pool:
                server.ask(SIZE, where=where_of(value.leaf))
            bodies = Path(name) / "sizes.jsonl"
            asked = questions.five(int(RATE * (SECONDS + ALONE_SECONDS)))
            bodies.write_text("\n".join(body(SIZE, where=where_of(question)) for question in asked))
            alone = _open_loop(server, bodies, 0, ALONE_SECONDS)
            others = Others(server, world, file)
            client = begun(_round(server, bodies, int(RATE * ALONE_SECONDS), SECONDS))
            others.start()
            try:
                beside = ended(client)
            finally:
                others.stop()
    note = ", ".join(f"{count} {what}" for what, count in others.done.items())
    for share, bound in ((0.5, None), (0.99, 50.0)):
        run.figure(
            Figure(
                f"{RATE:.0f} sizes a second beside an import, an export, portraits: p{share * 100:.0f}", "ms",
                percentile(beside.latencies, share) * 1e3, percentile(alone.latencies, share) * 1e3, "alone",
                "ours", "<" if bound else "", bound, note if bound else "",
            )
        )  # fmt: skip


def _round(server: Server, bodies: Path, first: int, seconds: float) -> Round:
    return Round(server.port, "/graphql", str(bodies), server.headers, first, CONNECTIONS, seconds, RATE)


def _open_loop(server: Server, bodies: Path, first: int, seconds: float) -> Answers:
    return ended(begun(_round(server, bodies, first, seconds)))


class Others:
    """What goes on beside: each again and again in a thread of its own. `done`: how often each was begun."""

    def __init__(self, server: Server, world: World, file: Path) -> None:
        self._server, self._file = server, file
        self._tags = [shape.key for shape in world.stored if shape.kind in ("CHOICE", "CHOICES")]
        self._columns = ",".join(["user", *self._tags[:EXPORT_COLUMNS]])
        self._audience = next(value.leaf for value in Questions(world).pool if value.share >= 0.1)
        self._stopped = threading.Event()
        self._failed: list[Exception] = []
        self.done = {"imports": 0, "exports": 0, "portraits": 0}
        self._threads = [
            threading.Thread(target=self._again, args=(name, work))
            for name, work in (("imports", self._import), ("exports", self._export), ("portraits", self._portrait))
        ]

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends after what is under way; an error of any of it is raised."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self._failed:
            raise self._failed[0]

    def _again(self, name: str, work: Callable[[], None]) -> None:
        try:
            while not self._stopped.is_set():
                self.done[name] += 1
                work()
        except Exception as error:
            self._failed.append(error)

    def _import(self) -> None:
        type_ = {"Content-Type": "application/vnd.apache.parquet"}
        with self._file.open("rb") as file, self._asked("POST", "/import/memberships?wait=1", file, type_) as answer:
            found = answer.read()
        if answer.status != 200 or b'"DONE"' not in found:
            raise RuntimeError(f"import: {answer.status} {found[:500]!r}")

    def _export(self) -> None:
        path = f"/export/audience?text={self._audience.key}&columns={self._columns}"
        with self._asked("GET", path) as answer:
            while answer.read(1 << 20) and not self._stopped.is_set():
                pass
        if answer.status != 200:
            raise RuntimeError(f"export: {answer.status}")

    def _portrait(self) -> None:
        start = self.done["portraits"] * PORTRAIT_TAGS % len(self._tags)
        self._server.ask(PORTRAIT, where=where_of(self._audience), tags=self._tags[start : start + PORTRAIT_TAGS])

    @contextmanager
    def _asked(
        self, method: str, path: str, body: BinaryIO | None = None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[http.client.HTTPResponse]:
        with closing(http.client.HTTPConnection("127.0.0.1", self._server.port)) as connection:
            named = dict(line.split(": ", 1) for line in self._server.headers.splitlines())
            connection.request(method, path, body, named | dict(headers))
            yield connection.getresponse()
