"""Several serving processes: together they are one server, and hold one copy of the program."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import server
from tests.test_server import ROOT, Server, free_port, run
from web.settings import Settings
from web.workers import CAN_FORK

forked = pytest.mark.skipif(not CAN_FORK, reason="serving processes are forked on Linux only")
QUESTION = b'{"query": "{ audience(where: {text: \\"everyone\\"}) { size } }"}'
ANSWER = b'{"data":{"audience":{"size":2}}}'
BROKEN = """
import sys, uvicorn
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from web.workers import serve_forked

@asynccontextmanager
async def lifespan(app):
    raise OSError("no store here")
    yield

serve_forked(uvicorn.Config(Starlette(lifespan=lifespan), port=int(sys.argv[1]), workers=2, log_level="critical"))
"""


def until(found: Callable[[], bool]) -> None:
    """Waits for what other processes do."""
    for _ in range(400):
        if found():
            return
        time.sleep(0.05)  # there is nothing of another's child to wait on
    raise AssertionError("it did not come about")


def children(process: int) -> set[int]:
    """The child processes of a process that have not ended, whether or not it has noticed."""
    found = {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}
    return {child for child in found if is_running(child)}


def is_running(process: int) -> bool:
    """Whether a process has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def kilobytes(process: int) -> dict[str, int]:
    """What a process holds in memory, by kind of page."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return {kind: int(amount) for kind, amount in re.findall(r"^(\w+): +(\d+) kB$", rollup, re.MULTILINE)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store of two users, and a token for it."""
    path = tmp_path_factory.mktemp("workers") / "store"
    rows = path.with_name("rows.csv")
    rows.write_text("user,tag\nu1,vip\nu2,vip\n")
    assert run(path, "import", "memberships", str(rows), "--define").returncode == 0
    made = run(path, "token", "create", "all", "--scope", "count", "--scope", "write")
    return path, made.stdout.splitlines()[-1]


@pytest.fixture
def pair(store: tuple[Path, str]) -> Iterator[Server]:
    """Two serving processes."""
    served = Server(store[0], TAGROAR_WORKERS="2")
    served.client.headers["Authorization"] = f"Bearer {store[1]}"
    yield served
    if served.process.poll() is None:
        served.stop()
    served.client.close()


def asked(served: Server) -> bytes:
    """The answer to the question, on a connection of its own."""
    with httpx.Client(base_url=served.client.base_url, headers=served.client.headers, timeout=30) as client:
        return client.post("/graphql", content=QUESTION, headers={"Content-Type": "application/json"}).content


@forked
def test_they_share_what_is_imported_and_answer_alike(pair: Server) -> None:
    workers = children(pair.process.pid)
    assert len(workers) == 2
    assert [asked(pair) for _ in range(20)] == [ANSWER] * 20
    for worker in workers:
        held = kilobytes(worker)
        assert held["Shared_Dirty"] > held["Private_Dirty"]


@forked
def test_one_that_is_killed_is_replaced(pair: Server) -> None:
    before = children(pair.process.pid)
    for killed in before:
        os.kill(killed, signal.SIGKILL)
        until(lambda gone=killed: gone not in (now := children(pair.process.pid)) and len(now) == 2)
    assert asked(pair) == ANSWER
    printed = pair.stop()
    for killed in before:
        assert f"serving process {killed} ended with -9; another starts" in printed
    assert pair.process.returncode == 0


@forked
def test_what_is_under_way_is_finished(store: tuple[Path, str], pair: Server) -> None:
    with pair.begun(store[1], len(QUESTION)) as asking:
        pair.process.terminate()  # only this one: it has to tell the others
        until(lambda: len(children(pair.process.pid)) == 1)  # who was idle is gone
        asking.sendall(QUESTION)
        with asking.makefile("rb") as answer:
            assert answer.read().endswith(ANSWER)
    printed, _ = pair.process.communicate(timeout=20)
    assert (pair.process.returncode, "Traceback" in printed) == (0, False)


@forked
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nobody_is_left(pair: Server, how: signal.Signals) -> None:
    os.kill(pair.process.pid, how)
    printed, _ = pair.process.communicate(timeout=20)  # ends when the last of them has let go of the output
    assert "Traceback" not in printed
    with pytest.raises(httpx.ConnectError):
        pair.client.get("/healthz")


@forked
def test_a_terminal_stops_all_of_them(pair: Server) -> None:
    os.killpg(pair.process.pid, signal.SIGINT)
    printed, _ = pair.process.communicate(timeout=20)
    assert (pair.process.returncode, "Traceback" in printed) == (0, False)


@forked
def test_an_upload_is_imported_by_a_child_of_one(pair: Server) -> None:
    sent = pair.client.post("/import/memberships?format=csv&wait=1", content="user,tag\nu1,vip\n")
    assert (sent.status_code, sent.json()["state"]) == (200, "DONE"), sent.text
    assert asked(pair) == ANSWER


@forked
def test_none_that_starts_ends_all() -> None:
    command = [sys.executable, "-c", BROKEN, str(free_port())]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert ended.returncode == 3


@pytest.mark.parametrize(("workers", "can_fork"), [(1, True), (2, False)])
def test_one_alone_and_other_systems_are_uvicorn_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, can_fork: bool
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(server, "CAN_FORK", can_fork)
    monkeypatch.setattr(server.uvicorn, "run", lambda application, **options: told.append(options["workers"]))
    server.run_server(Settings(data=tmp_path, workers=workers))
    assert told == [workers]
