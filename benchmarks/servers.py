"""Servers on loopback, each in a process group of its own, and what they cost: processor seconds, memory."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.bare import ANSWERS_VARIABLE
from benchmarks.figures import ROOT

READY_SECONDS = 600
TICKS = os.sysconf("SC_CLK_TCK")
SETTINGS = {"cache_bytes": 2 << 30}


def environment(**named: object) -> dict[str, str]:
    """The environment of a command: nothing of ours but these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAGROAR_")}
    return kept | {name: str(value) for name, value in named.items()}


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server, ready when entered. `seconds`: how long that took."""

    def __init__(self, command: list[str], environment: Mapping[str, str], port: int, headers: str = "") -> None:
        self.port, self.headers = port, headers
        self._command, self._environment = command, environment
        self.seconds = 0.0

    @classmethod
    def tagroar(cls, directory: Path, token: str, **settings: object) -> "Server":
        """Tagroar on a store."""
        port = free_port()
        named = {f"TAGROAR_{name.upper()}": value for name, value in (SETTINGS | settings).items()}
        told = environment(TAGROAR_DATA=directory, TAGROAR_PORT=port, **named)
        return cls([sys.executable, "server.py", "serve"], told, port, f"Authorization: Bearer {token}\r\n")

    @classmethod
    def bare(cls, answers: Path) -> "Server":
        """The reference. answers: a directory with the constant of each route."""
        port = free_port()
        told = environment(**{ANSWERS_VARIABLE: answers})
        return cls([sys.executable, "-m", "benchmarks.bare", str(port)], told, port)

    def __enter__(self) -> Self:
        started = time.perf_counter()
        self.process = subprocess.Popen(
            self._command, cwd=ROOT, env=dict(self._environment), stdout=subprocess.DEVNULL, start_new_session=True
        )
        while not self._is_ready():
            if self.process.poll() is not None or time.perf_counter() - started > READY_SECONDS:
                self.stop()
                raise RuntimeError(f"{' '.join(self._command)} did not get ready")
            time.sleep(0.005)
        self.seconds = time.perf_counter() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Asks the group to end, and makes it after a while."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _is_ready(self) -> bool:
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """One request on a connection of its own: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_SECONDS)
        named = dict(line.split(": ", 1) for line in self.headers.splitlines()) | headers
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, query: str, **variables: object) -> Any:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        status, answer = self.request("POST", "/graphql", body, **{"Content-Type": "application/json"})
        found = json.loads(answer)
        if status != 200 or "errors" in found:
            raise RuntimeError(f"{status} {answer[:500]!r}")
        return found["data"]

    # ------------------------------------------------------------ what it costs

    def processes(self) -> list[int]:
        """The processes of the group."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.getpgid(int(entry.name)) == self.process.pid:
                        found.append(int(entry.name))
                except ProcessLookupError:
                    continue
        return found

    def processor_seconds(self) -> float:
        """Processor time of the group so far."""
        return sum(self.processor_times().values())

    def processor_times(self) -> dict[int, float]:
        """Processor seconds of each process of the group so far."""
        found = {}
        for process in self.processes():
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            found[process] = (int(fields[11]) + int(fields[12])) / TICKS
        return found

    def memory(self) -> int:
        """Bytes of the group, each shared page counted once in sum (PSS)."""
        total = 0
        for process in self.processes():
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total * 1024
