"""SIGTERM under load: what is under way is answered, what was acknowledged is there, and no process is left."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bitmap_store.sqlite import jobs
from bitmap_store.sqlite.checks import check
from tests.test_server import Server, run

WRITE = "mutation($i: [TagAssignment!]!) { assignTags(input: $i) { dataVersion } }"
QUESTION = b'{"query": "{ audience(where: {text: \\"vip\\"}) { size } }"}'
WRITERS = 4
TAKES_MAX = 10.0
"""Seconds; five where nothing else runs on the machine."""


@pytest.fixture(params=["1", "2"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A server of one process and of two, with a token."""
    store = tmp_path / "store"
    rows = tmp_path / "rows.csv"
    rows.write_text("user,tag\nu1,vip\n")
    assert run(store, "import", "memberships", str(rows), "--define").returncode == 0
    scopes = [part for scope in ("count", "members", "write") for part in ("--scope", scope)]
    token = run(store, "token", "create", "all", *scopes).stdout.splitlines()[-1]
    served = Server(store, TAGROAR_WORKERS=request.param)
    yield served, token
    if served.process.poll() is None:
        served.stop()
    served.client.close()


def processes_of(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are listed in /proc on Linux only")
def test_it_ends_in_order_under_load(loaded: tuple[Server, str], tmp_path: Path) -> None:
    served, token = loaded
    store = tmp_path / "store"
    headers = {"Authorization": f"Bearer {token}"}
    acknowledged: list[str] = []
    refused: list[object] = []
    many = threading.Event()

    def write(writer: int) -> None:
        with httpx.Client(base_url=served.client.base_url, headers=headers, timeout=30) as http:
            for number in range(100_000):
                user = f"w{writer}-{number}"
                body = {"query": WRITE, "variables": {"i": [{"user": user, "tag": "vip"}]}}
                try:
                    answer = http.post("/graphql", json=body)
                except httpx.TransportError:
                    return
                if answer.status_code != 200 or "errors" in answer.json():
                    refused.append(answer.text)
                    return
                acknowledged.append(user)
                if len(acknowledged) > 100:
                    many.set()

    turn = jobs.try_lock(store / "jobs" / "bulk.lock")  # so that the import is still there when it ends
    assert turn is not None
    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for each in writers:
        each.start()
    sent = served.client.post("/import/memberships?format=csv", content="user,tag\nu9,vip\n", headers=headers)
    assert sent.status_code == 202, sent.text
    assert many.wait(60)
    with served.begun(token, len(QUESTION)) as asking:
        began = time.monotonic()
        os.kill(served.process.pid, signal.SIGTERM)
        asking.sendall(QUESTION)
        with asking.makefile("rb") as answer:
            assert b'{"data":{"audience":{"size":' in answer.read()
    printed, _ = served.process.communicate(timeout=30)
    took = time.monotonic() - began
    for each in writers:
        each.join()
    os.close(turn)
    assert served.process.returncode in (0, -signal.SIGTERM), printed
    assert "Traceback" not in printed
    assert took < TAKES_MAX
    assert processes_of(served.process.pid) == []
    assert not refused, refused
    exported = run(store, "export", "vip", str(tmp_path / "vip.csv"))
    assert exported.returncode == 0, exported.stderr
    members = set((tmp_path / "vip.csv").read_text().split()[1:])
    assert members >= {"u1", *acknowledged} and "u9" not in members
    assert len(members) <= 1 + len(acknowledged) + WRITERS  # written, and not acknowledged any more
    assert check(store) == []
