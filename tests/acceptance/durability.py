"""kill -9 of the whole server at random points, during imports and during small writes: nothing acknowledged is lost.

Each import and each write says several things, which have to be there together or not at all; each is repeated with
its key until it is acknowledged, and then has applied once.
"""

import random
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.acceptance.asking import names_in
from tests.acceptance.harness import Json, Refused, Report, Server, new_token, options, workplace

TAGS: list[Json] = [
    {"key": "imported", "kind": "CHOICES"},
    {"key": "points", "kind": "NUMBER"},
    {"key": "happened", "kind": "EVENT"},
    {"key": "written", "kind": "CHOICES"},
    {"key": "number", "kind": "NUMBER"},
    {"key": "clicked", "kind": "EVENT"},
]
WRITERS = 4
WRITE = """mutation($a: [TagAssignment!]!, $k: String!) { assignTags(input: $a, idempotencyKey: $k) { dataVersion } }"""
RECORD = """mutation($e: [EventInput!]!, $k: String!) { recordEvents(input: $e, idempotencyKey: $k) { dataVersion } }"""
AT = "2026-01-01T00:00:00Z"


class Trial:
    """A store whose server is killed again and again."""

    def __init__(self, directory: Path, seed: int, report: Report) -> None:
        self._store = directory / "store"
        self._files = directory
        self._report = report
        self._choose = random.Random(seed)
        self._token = new_token(self._store)
        with self._server() as server:
            for tag in TAGS:
                server.ask("mutation($i: DefineTagInput!) { defineTag(input: $i) { key } }", i=tag)

    def _server(self) -> Server:
        return Server(self._store, token=self._token, workers=2)

    def _sizes(self, server: Server, *texts: str) -> tuple[int, ...]:
        try:
            return tuple(server.sizes([{"text": text} for text in texts]))
        except Refused as error:
            if error.code != "NOT_FOUND":  # a value that nothing has named yet
                raise
            return (0,) * len(texts)

    # ------------------------------------------------------------ imports

    def imports(self, count: int, rows: int) -> None:
        """Imports that are killed at random points of their way; the first is left alone, to see how long they take."""
        seconds = 0.0
        for number in range(count + 1):
            kind, path = self._file(number, rows)
            with self._server() as server:
                patience = None if number == 0 else self._choose.uniform(0, seconds)
                acknowledged, took = self._import_until(server, kind, path, str(number), patience)
                told = "left alone" if patience is None else f"killed after {patience:.2f} of {seconds:.2f} s"
                seconds = took if acknowledged else seconds
            with self._server() as server:
                self._check_import(server, number, rows, acknowledged)
                for _ in range(2):
                    job = server.upload(kind, path, str(number))
                    self._report.equal("imports: repeated until done", job["state"], "DONE", f"{number}: {job}")
                self._check_import(server, number, rows, acknowledged=True)
            self._report.say(f"import {number}, {told}: {'' if acknowledged else 'not '}acknowledged")
            path.unlink()

    def _file(self, number: int, rows: int) -> tuple[str, Path]:
        """Events, of which a second time would count; or memberships of two tags for half of the users each."""
        path = self._files / f"{number}.parquet"
        users = pa.array([f"i{user}" for user in range(rows)])
        if number % 2:
            columns = {"user": users, "tag": ["happened"] * rows, "value": [str(number)] * rows, "at": [AT] * rows}
            pq.write_table(pa.table(columns), path)
            return "events", path
        half = np.arange(rows) % 2 == 0
        columns = {
            "user": users,
            "tag": pa.array(np.where(half, "imported", "points")),
            "value": pa.array([str(number) if even else None for even in half.tolist()]),
            "number": pa.array([None if even else number for even in half.tolist()], pa.int64()),
        }
        pq.write_table(pa.table(columns), path)
        return "memberships", path

    def _import_until(
        self, server: Server, kind: str, path: Path, key: str, patience: float | None
    ) -> tuple[bool, float]:
        """Imports, and kills the server after so many seconds; whether the import was acknowledged before, and when."""
        started = time.monotonic()
        if patience is not None:
            threading.Timer(patience, server.kill).start()
        try:
            done = bool(server.upload(kind, path, key)["state"] == "DONE")
        except httpx.TransportError:
            done = False
        took = time.monotonic() - started
        if patience is not None:
            server.process.wait()
        return done, took

    def _check_import(self, server: Server, number: int, rows: int, acknowledged: bool) -> None:
        """All of it or nothing; all of it when it was acknowledged; never twice."""
        if number % 2:
            found = self._sizes(server, f'happened["{number}"]', f'happened["{number}"] times 2')
            whole = (rows, 0)
        else:
            found = self._sizes(server, f'imported["{number}"]', f"points = {number}")
            whole = (rows - rows // 2, rows // 2)
        self._report.check("imports: whole or not at all", found in (whole, (0, 0)), f"{number}: {found} of {whole}")
        if acknowledged:
            self._report.equal("imports: acknowledged is there, once", found, whole, f"{number}")

    # ------------------------------------------------------------ small writes

    def writes(self, count: int, kills: int) -> None:
        """Small writes by several writers, with a kill in each round; all are repeated until they are acknowledged."""
        rounds = [part.tolist() for part in np.array_split(np.arange(count), kills)]
        for round_, numbers in enumerate(rounds):
            acknowledged: set[int] = set()
            with self._server() as server:
                after = self._choose.randrange(len(numbers))
                self._write_all(server, numbers, acknowledged, after)
            with self._server() as server:
                self._check_writes(server, numbers, acknowledged)
                told = f"kill {round_}: {len(acknowledged)} of {len(numbers)} writes acknowledged before it"
                self._write_all(server, [number for number in numbers if number not in acknowledged], acknowledged)
                self._write_all(server, numbers[:20], acknowledged)
                self._check_writes(server, numbers, set(numbers))
            self._report.say(told)
        with self._server() as server:
            self._check_writes(server, range(count), set(range(count)))

    def _write_all(
        self, server: Server, numbers: list[int], acknowledged: set[int], kill_after: int | None = None
    ) -> None:
        """Each number is one write of three memberships, or of two events; all have a key."""
        lock = threading.Lock()

        def write(number: int) -> None:
            user = f"w{number}"
            with suppress(httpx.TransportError):
                if number % 2:
                    events = [{"user": user, "tag": "clicked", "value": each, "at": AT} for each in ("a", "b")]
                    server.ask(RECORD, e=events, k=f"write-{number}")
                else:
                    assigned = [{"user": user, "tag": "written", "value": each} for each in ("a", "b")]
                    server.ask(
                        WRITE, a=[*assigned, {"user": user, "tag": "number", "number": number}], k=f"write-{number}"
                    )
                with lock:
                    acknowledged.add(number)
                    kill = kill_after is not None and len(acknowledged) == kill_after + 1
                if kill:
                    server.kill()

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, numbers))

    def _check_writes(self, server: Server, numbers: Iterable[int], acknowledged: set[int]) -> None:
        """Every part of every acknowledged write is there, no write is there in part, and no event counts twice."""
        whole = {
            0: [self._users(server, text) for text in ('written["a"]', 'written["b"]', "number")],
            1: [self._users(server, text) for text in ('clicked["a"]', 'clicked["b"]')],
        }
        twice = self._users(server, 'clicked["a"] times 2') | self._users(server, 'clicked["b"] times 2')
        for number in numbers:
            parts = {f"w{number}" in users for users in whole[number % 2]}
            self._report.check("writes: whole or not at all", len(parts) == 1, f"write {number}")
            self._report.check("writes: never twice", f"w{number}" not in twice, f"write {number}")
            if number in acknowledged:
                self._report.check("writes: acknowledged is there", parts == {True}, f"write {number}")

    def _users(self, server: Server, text: str) -> set[str]:
        try:
            return set(names_in(server.export({"text": text}, "csv"), "csv").to_pylist())
        except Refused as error:
            if error.code != "NOT_FOUND":  # a value that no write has named yet
                raise
            return set()


def main() -> int:
    """Both trials."""
    given = options(__doc__, imports=20, rows=100_000, writes=6_000, kills=30, seed=5)
    report = Report(f"kill -9 during {given.imports} imports and {given.writes:,} small writes")
    with workplace(given.keep) as directory:
        trial = Trial(directory, given.seed, report)
        trial.writes(given.writes, given.kills)
        trial.imports(given.imports, given.rows)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
