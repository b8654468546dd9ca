"""Backups under load, restored elsewhere; SIGTERM under load; flipped bits: nothing is lost, and no answer is wrong.

The backups and the flips are made by the commands and by `tests/flipping.py`; what was acknowledged is known from the
answers alone.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests import flipping
from tests.acceptance.asking import names_in
from tests.acceptance.harness import ROOT, Json, Report, Server, command, new_token, options, workplace
from tests.test_shutdown import processes_of

TAG: Json = {"key": "written"}
ADD = "mutation($i: [TagAssignment!]!) { assignTags(input: $i) { dataVersion } }"
WRITERS = 6
SECONDS_MAX = 5.0


class Load:
    """Writers that go on until the server is gone, or they are told to end."""

    def __init__(self, server: Server, token: str, round_: int) -> None:
        self._address = server.http.base_url
        self._token = token
        self._round = round_
        self._ended = threading.Event()
        self.acknowledged: list[str] = []
        self.refused: list[str] = []

    @contextmanager
    def going_on(self, after: int) -> Iterator[None]:
        """Begins when so many writes were acknowledged."""
        with ThreadPoolExecutor(WRITERS) as pool:
            for writer in range(WRITERS):
                pool.submit(self._write, writer)
            while len(self.acknowledged) < after and not self.refused:
                time.sleep(0.01)
            try:
                yield
            finally:
                self._ended.set()

    def _write(self, writer: int) -> None:
        with httpx.Client(
            base_url=self._address, headers={"Authorization": f"Bearer {self._token}"}, timeout=60
        ) as http:
            number = 0
            while not self._ended.is_set():
                user = f"r{self._round}-{writer}-{number}"
                variables = {"i": [{"user": user, "tag": "written"}]}
                try:
                    answer = http.post("/graphql", json={"query": ADD, "variables": variables})
                except httpx.TransportError:
                    return
                if answer.status_code != 200 or "errors" in answer.json():
                    self.refused.append(answer.text)
                    return
                self.acknowledged.append(user)
                number += 1


def members(server: Server) -> set[str]:
    """Who was written."""
    return set(names_in(server.export({"text": "written"}, "csv"), "csv").to_pylist())


def backups(directory: Path, report: Report, rounds: int) -> None:
    """Each is begun while writers go on, and restored to a directory of its own."""
    store = directory / "backed-up"
    token = new_token(store)
    with Server(store, token=token, workers=2) as server:
        server.ask("mutation($i: DefineTagInput!) { defineTag(input: $i) { key } }", i=TAG)
        everything: set[str] = set()
        for round_ in range(rounds):
            load = Load(server, token, round_)
            with load.going_on(after=50):
                before = everything | set(load.acknowledged)
                made = command(store, "backup", str(directory / f"backup-{round_}"))
            report.equal("backup", made.returncode, 0, made.stderr)
            report.check("writers beside a backup are answered", not load.refused, str(load.refused))
            everything |= set(load.acknowledged)
            elsewhere = directory / f"restored-{round_}"
            put = command(elsewhere, "restore", str(directory / f"backup-{round_}"))
            report.equal("restore", put.returncode, 0, put.stderr)
            report.equal("check of what was restored", command(elsewhere, "check").returncode, 0)
            with Server(elsewhere, token=token) as other:
                found = members(other)
            report.check(
                "acknowledged before a backup is in it", before <= found, f"{before - found}", times=len(before)
            )
            report.check("nothing else is", found <= everything, f"{found - everything}", times=len(found))
        held = command(store, "restore", str(directory / "backup-0"), "--replace")
        report.equal("no restore beneath a server", held.returncode, 1)
        report.check("and it goes on", members(server) >= everything)


def stops(directory: Path, report: Report, rounds: int) -> None:
    """SIGTERM to the process that leads, while writers go on."""
    for workers in (1, 2):
        store = directory / f"stopped-{workers}"
        token = new_token(store)
        everything: set[str] = set()
        longest = 0.0
        for round_ in range(rounds):
            with Server(store, token=token, workers=workers) as server:
                if not round_:
                    server.ask("mutation($i: DefineTagInput!) { defineTag(input: $i) { key } }", i=TAG)
                load = Load(server, token, round_)
                with load.going_on(after=100):
                    began = time.monotonic()
                    os.kill(server.process.pid, signal.SIGTERM)
                    server.process.wait(60)
                    longest = max(longest, time.monotonic() - began)
                report.equal("processes left", processes_of(server.process.pid), [])
                report.check("what is under way is answered", not load.refused, str(load.refused))
                everything |= set(load.acknowledged)
            with Server(store, token=token, workers=workers) as server:
                lost = everything - members(server)
                report.check("acknowledged before SIGTERM is there", not lost, f"{lost}", times=len(everything))
        report.figure(f"longest until it ended, {workers} processes", f"{longest:.2f} s")
        report.check("it ends within five seconds", longest < SECONDS_MAX, f"{longest}")


def flips(directory: Path, report: Report, count: int, seed: int) -> None:
    """So many flipped bits of the database, and so many of the cache."""
    flipping.make(directory / "flipped")
    told = [sys.executable, "-m", "tests.flipping", str(directory / "flipped"), str(count), str(seed)]
    done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, check=False)
    report.equal("no process crashed", done.returncode, 0, done.stdout[-300:] + done.stderr[-1000:])
    outcomes = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    for name, times in outcomes.items():
        report.figure(f"flipped bits: {name}", f"{times}")
    wrong = outcomes.get("wrong", 0) + outcomes.get("errors of the cache", 0)
    report.check("every answer is right or an error", not wrong, f"{wrong}", times=2 * count)


def main() -> int:
    """All three."""
    given = options(__doc__, backups=5, stops=5, flips=200, seed=4)
    report = Report(f"{given.backups} backups, 2 × {given.stops} SIGTERM, 2 × {given.flips} flipped bits")
    with workplace(given.keep) as directory:
        backups(directory, report, given.backups)
        stops(directory, report, given.stops)
        flips(directory, report, given.flips, given.seed)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
