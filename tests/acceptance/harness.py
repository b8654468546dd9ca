"""Real servers on loopback, asked over HTTP and the command line; and the report of what was compared."""

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

ROOT = Path(__file__).parents[2]
READY_SECONDS = 120
SCOPES = ("count", "members", "write", "define", "admin")
TYPES = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
Json = dict[str, Any]


class Refused(Exception):
    """The service answered with an error; `code` is its code."""

    def __init__(self, status: int, body: Json) -> None:
        errors = body.get("errors") or [{}]
        self.code = errors[0].get("extensions", {}).get("code", "")
        super().__init__(f"{status} {json.dumps(errors[:2], ensure_ascii=False)[:600]}")


def rfc3339(moment: datetime) -> str:
    """A moment in UTC as the service takes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def environment(directory: Path, now: datetime | None = None, **settings: object) -> dict[str, str]:
    """The environment of a command: nothing of ours but these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAGROAR_")}
    named = {"data": directory, **settings} | ({} if now is None else {"now": rfc3339(now)})
    return kept | {f"TAGROAR_{name.upper()}": str(value) for name, value in named.items()}


def command(
    directory: Path, *arguments: str, now: datetime | None = None, **settings: object
) -> subprocess.CompletedProcess[str]:
    """Runs a command of `server.py` to its end; the caller looks at its status."""
    return subprocess.run(
        [sys.executable, str(ROOT / "server.py"), *arguments],
        env=environment(directory, now, **settings),
        capture_output=True,
        text=True,
        check=False,
    )


def new_token(directory: Path) -> str:
    """A token for everything; the last line of what the command prints."""
    scopes = [part for scope in SCOPES for part in ("--scope", scope)]
    done = command(directory, "token", "create", f"acceptance-{secrets.token_hex(4)}", *scopes)
    if done.returncode:
        raise RuntimeError(f"no token: {done.stderr}")
    return done.stdout.splitlines()[-1].strip()


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server in a process group of its own, ready when entered; `kill` is kill -9 of the whole group."""

    def __init__(
        self,
        directory: Path,
        *,
        verb: str = "serve",
        token: str | None = None,
        now: datetime | None = None,
        keep_alive: bool = True,
        **settings: object,
    ) -> None:
        self._verb = verb
        self._port = free_port()
        self._environment = environment(directory, now, port=self._port, **settings)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
        address = f"http://127.0.0.1:{self._port}"
        self.http = httpx.Client(base_url=address, headers=headers, timeout=None, limits=limits)
        self.log = directory.parent / f"{directory.name}-{self._port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "server.py"), self._verb],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._await_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()
        self.stop()

    def _await_ready(self) -> None:
        started = time.monotonic()
        while time.monotonic() - started < READY_SECONDS:
            if self.process.poll() is not None:
                break
            try:
                if self.http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the server did not get ready:\n{self.log.read_text()[-2000:]}")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that leads the group."""
        assert self._process is not None, "the server was not started"
        return self._process

    def kill(self) -> None:
        """Ends every process of the group at once, as a power cut of the program would."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> float:
        """Asks the server to end, as an operator would; how many seconds that took."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        return time.monotonic() - started

    # ------------------------------------------------------------ asking

    def ask(self, query: str, **variables: object) -> Json:
        """The data of a GraphQL answer; Refused when it has errors."""
        answer = self.http.post("/graphql", json={"query": query, "variables": variables})
        body: Json = answer.json()
        if "errors" in body:
            raise Refused(answer.status_code, body)
        data: Json = body["data"]
        return data

    def audience(self, where: Json, fields: str = "size", as_of: datetime | None = None) -> Json:
        """Fields of one audience."""
        query = f"query($w: AudienceWhere!, $t: DateTime) {{ audience(where: $w, asOf: $t) {{ {fields} }} }}"
        found: Json = self.ask(query, w=where, t=None if as_of is None else rfc3339(as_of))["audience"]
        return found

    def sizes(self, wheres: Sequence[Json], as_of: datetime | None = None) -> list[int]:
        """The sizes of many audiences, asked a few at a time."""
        query = "query($w: [AudienceWhere!]!, $t: DateTime) { audiences(where: $w, asOf: $t) { size } }"
        at = None if as_of is None else rfc3339(as_of)
        chunks = (list(wheres[start : start + 20]) for start in range(0, len(wheres), 20))
        return [found["size"] for chunk in chunks for found in self.ask(query, w=chunk, t=at)["audiences"]]

    def size(self, text: str) -> int:
        """The size of an audience in the audience language."""
        found: int = self.audience({"text": text})["size"]
        return found

    # ------------------------------------------------------------ bulk

    def upload(self, kind: str, path: Path, key: str | None = None, **options: object) -> Json:
        """Imports a file and waits for it; the job as the service answers it."""
        headers = {"Content-Type": TYPES[path.suffix[1:]]} | ({"Idempotency-Key": key} if key else {})
        parameters = {"wait": "1"} | {name: str(value) for name, value in options.items()}
        with path.open("rb") as file:
            answer = self.http.post(f"/import/{kind}", params=parameters, headers=headers, content=file)
        body: Json = answer.json()
        if answer.status_code not in (200, 202):
            raise Refused(answer.status_code, body)
        return body

    def imported(self, kind: str, path: Path, key: str | None = None, **options: object) -> Json:
        """The same for a file in which every row is good."""
        job = self.upload(kind, path, key, **options)
        if job["state"] != "DONE" or job["rowsRejected"]:
            raise RuntimeError(f"import of {path.name}: {job}")
        return job

    def rejections(self, job: str) -> list[Json]:
        """All rejected rows of a job."""
        answer = self.http.get(f"/jobs/{job}/rejections")
        if answer.status_code != 200:
            raise Refused(answer.status_code, answer.json())
        return [json.loads(line) for line in answer.text.splitlines()]

    def export(self, where: Json, format: str, as_of: datetime | None = None) -> bytes:
        """The file that an export gives."""
        body = {"format": format} | ({"asOf": rfc3339(as_of)} if as_of else {})
        body |= {"text": where["text"]} if "text" in where else {}
        answer = self.http.post("/export/audience", json=body if "text" in where else body | {"where": where})
        if answer.status_code != 200:
            raise Refused(answer.status_code, answer.json())
        return answer.content


# ---------------------------------------------------------------- the report


@dataclass
class Line:
    """How often one thing was compared, and how often it was wrong."""

    compared: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)


class Report:
    """What was compared with what came out; `finish` prints it and gives the status to exit with."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lines: dict[str, Line] = {}
        self._figures: list[tuple[str, str]] = []
        self._started = time.monotonic()

    def check(self, what: str, right: bool, example: Callable[[], str] | str = "", times: int = 1) -> bool:
        """Counts a comparison under its name; `example` tells of a difference."""
        line = self._lines.setdefault(what, Line())
        line.compared += times
        if not right:
            line.wrong += 1
            if len(line.examples) < 5:
                line.examples.append(example if isinstance(example, str) else example())
                self.say(f"DIFFERENT {what}: {line.examples[-1][:1500]}")
        return right

    def equal(self, what: str, found: object, expected: object, about: str = "") -> bool:
        """Counts a comparison of two values."""
        return self.check(what, found == expected, lambda: f"{about} found {found!r}, expected {expected!r}")

    def figure(self, name: str, text: str) -> None:
        """Keeps a figure for the table."""
        self._figures.append((name, text))
        self.say(f"{name}: {text}")

    def say(self, sentence: str) -> None:
        """Tells how far it is."""
        print(f"[{time.monotonic() - self._started:7.1f} s] {sentence}", file=sys.stderr, flush=True)

    def finish(self) -> int:
        """Prints the table; 1 when anything was different or nothing was compared."""
        print(f"\n{self._title} ({time.monotonic() - self._started:.0f} s)")
        width = max((len(name) for name in [*self._lines, *dict(self._figures)]), default=0)
        for name, text in self._figures:
            print(f"  {name:<{width}}  {text}")
        for name, line in self._lines.items():
            print(f"  {name:<{width}}  {line.compared:>9,} compared, {line.wrong:,} different")
        wrong = sum(line.wrong for line in self._lines.values())
        print("  all equal" if self._lines and not wrong else f"  {wrong} DIFFERENCES")
        return int(bool(wrong) or not self._lines)


# ---------------------------------------------------------------- running


def options(description: str | None, **defaults: int) -> argparse.Namespace:
    """The options of a program: a size each, and `--keep` to leave the directory where it is."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--keep", type=Path, help="work in this directory and leave it")
    return parser.parse_args()


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """A directory to work in."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="tagroar-acceptance-") as name:
        yield Path(name)


def days(count: float) -> timedelta:
    """So many days."""
    return timedelta(days=count)
