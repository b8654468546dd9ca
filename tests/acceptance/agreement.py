"""Several serving processes, the same tags: writes and reads at once, against sets in Python.

Each writer has users of its own and knows what they have; all write and read the same values. A read after an
acknowledgment that anybody got has to show it, whichever process answers.
"""

import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.acceptance.asking import names_in
from tests.acceptance.harness import Json, Report, Server, new_token, options, workplace

VALUES = ("a", "b", "c")
TAGS: list[Json] = [{"key": "shared", "kind": "CHOICES"}]
ADD = "mutation($i: [TagAssignment!]!) { assignTags(input: $i) { dataVersion } }"
REMOVE = "mutation($i: [TagRemoval!]!) { removeTags(input: $i) { dataVersion } }"
READ = "query($w: AudienceWhere!, $u: [String!]!) { audience(where: $w) { size dataVersion contains(users: $u) } }"
LOOKS = 25
"""Users that one read asks about."""


class Model:
    """Who has which value, as acknowledged, and how often each user and value was written; for any thread.

    While a write of a user is under way nobody knows what a read is to say of it.
    """

    def __init__(self, users: list[str]) -> None:
        self._lock = threading.Lock()
        self.sets: dict[str, set[str]] = {value: set() for value in VALUES}
        self._times = dict.fromkeys(users, 0)  # odd: a write is under way
        self._version = 0

    def begin(self, user: str) -> None:
        """A write of a user begins."""
        with self._lock:
            self._times[user] += 1

    def end(self, user: str, value: str, has: bool, version: int) -> None:
        """A write of a user was acknowledged."""
        with self._lock:
            (self.sets[value].add if has else self.sets[value].discard)(user)
            self._times[user] += 1
            self._version = max(self._version, version)

    def known(self, value: str, users: list[str]) -> tuple[int, dict[str, tuple[int, bool]]]:
        """The last version acknowledged, and who of the users has a value, of those whom nobody writes."""
        with self._lock:
            settled = [user for user in users if self._times[user] % 2 == 0]
            return self._version, {user: (self._times[user], user in self.sets[value]) for user in settled}

    def still(self, user: str, times: int) -> bool:
        """Whether a user was not written since."""
        with self._lock:
            return self._times[user] == times


class Trial:
    """Writers and readers on one server, for some seconds."""

    def __init__(self, server: Server, token: str, report: Report, writers: int, users: int) -> None:
        self._address = server.http.base_url
        self._token = token
        self._report = report
        self._of = [[f"u{writer}-{number}" for number in range(users)] for writer in range(writers)]
        self._everyone = [user for own in self._of for user in own]
        self._model = Model(self._everyone)
        self._until = 0.0
        self._lock = threading.Lock()
        self.done = [0, 0]

    def _ask(self, http: httpx.Client, query: str, **variables: object) -> Json:
        answer = http.post("/graphql", json={"query": query, "variables": variables}).json()
        if "errors" in answer:
            raise RuntimeError(f"refused: {answer['errors'][:2]}")
        data: Json = answer["data"]
        return data

    def _client(self) -> httpx.Client:
        """One that makes a new connection for each request, which either process may take."""
        limits = httpx.Limits(max_keepalive_connections=0)
        headers = {"Authorization": f"Bearer {self._token}"}
        return httpx.Client(base_url=self._address, headers=headers, timeout=60, limits=limits)

    def run(self, seconds: float, readers: int) -> None:
        """Writes and reads, then compares everything."""
        self._until = time.monotonic() + seconds
        with ThreadPoolExecutor(len(self._of) + readers) as pool:
            under_way = [pool.submit(self._write, number) for number in range(len(self._of))]
            under_way += [pool.submit(self._read, number) for number in range(readers)]
            for each in under_way:
                each.result()

    def _write(self, number: int) -> None:
        choose = random.Random(number)
        with self._client() as http:
            while time.monotonic() < self._until:
                user, value, has = choose.choice(self._of[number]), choose.choice(VALUES), choose.random() < 0.6
                item = {"user": user, "tag": "shared", "value": value}
                self._model.begin(user)
                (made,) = self._ask(http, ADD if has else REMOVE, i=[item]).values()
                self._model.end(user, value, has, made["dataVersion"])
                self._look(http, value, [user])
                with self._lock:
                    self.done[0] += 1

    def _read(self, number: int) -> None:
        choose = random.Random(1_000 + number)
        with self._client() as http:
            while time.monotonic() < self._until:
                self._look(http, choose.choice(VALUES), choose.sample(self._everyone, LOOKS))
                with self._lock:
                    self.done[1] += 1

    def _look(self, http: httpx.Client, value: str, users: list[str]) -> None:
        version, known = self._model.known(value, users)
        asked = list(known)
        where = {"tag": {"key": "shared", "in": [value]}}
        found = self._ask(http, READ, w=where, u=asked)["audience"]
        self._report.check(
            "a version that was acknowledged is in the next answer",
            found["dataVersion"] >= version,
            f"{found['dataVersion']} before {version}",
        )
        for user, said in zip(asked, found["contains"], strict=True):
            times, has = known[user]
            if self._model.still(user, times):
                what = "an acknowledged write is in the next answer" if has else "no ghost is in an answer"
                self._report.check(what, said == has, f"{user} {value}: {said}, not {has}")

    def compare(self, server: Server) -> None:
        """At the end, all of it: by size, by export, by each process."""
        for value in VALUES:
            wanted = self._model.sets[value]
            for _ in range(4):
                found = set(names_in(server.export({"text": f'shared["{value}"]'}, "csv"), "csv").to_pylist())
                self._report.check("no update is lost", found == wanted, f"{value}: {found ^ wanted}", len(wanted))
                self._report.equal("sizes", server.size(f'shared["{value}"]'), len(wanted), value)


def main() -> int:
    """The trial, with its numbers from the command line."""
    given = options(__doc__, seconds=60, writers=6, readers=3, users=40, workers=2)
    report = Report(f"{given.workers} processes, {given.seconds} s, {given.writers} writers, {given.readers} readers")
    with workplace(given.keep) as directory:
        token = new_token(directory / "store")
        with Server(directory / "store", token=token, workers=given.workers, keep_alive=False) as server:
            for tag in TAGS:
                server.ask("mutation($i: DefineTagInput!) { defineTag(input: $i) { key } }", i=tag)
            first = [{"user": "first", "tag": "shared", "value": value} for value in VALUES]
            server.ask(ADD, i=first)
            server.ask(REMOVE, i=first)
            trial = Trial(server, token, report, given.writers, given.users)
            trial.run(given.seconds, given.readers)
            trial.compare(server)
            report.figure("writes, reads", f"{trial.done[0]:,}, {trial.done[1]:,}")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
