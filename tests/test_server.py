"""The command line, as somebody types it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from server import cli

ROOT = Path(__file__).parents[1]
NOW = "2026-11-02T12:00:00Z"


def run(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command on a store, to its end."""
    return subprocess.run(
        [sys.executable, "server.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"TAGROAR_DATA": str(directory), "TAGROAR_NOW": NOW, "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server process of `server.py serve`, until it is stopped."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "server.py", "serve"],
            cwd=ROOT,
            env=os.environ
            | {"TAGROAR_DATA": str(directory), "TAGROAR_PORT": str(self.port), "TAGROAR_NOW": NOW}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        for _ in range(600):
            try:
                if self.client.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)  # until the port is open there is nothing to wait on
        raise AssertionError("the server did not become ready")

    def begun(self, token: str, size: int) -> socket.socket:
        """A connection on which a request to GraphQL is under way, whose body of so many bytes is still to come."""
        asking = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        asking.sendall(
            f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {size}\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert asking.recv(1000).startswith(b"HTTP/1.1 100 Continue")
        return asking

    def stop(self) -> str:
        """Stops it as a terminal would; what it printed."""
        os.killpg(self.process.pid, signal.SIGTERM)
        printed, _ = self.process.communicate(timeout=20)
        self.client.close()
        return printed


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "store", TAGROAR_CONSOLE="1")
    yield server
    if server.process.poll() is None:
        server.stop()


def test_garbage_is_looked_for_once_all_is_imported() -> None:
    """Each document that is dropped is garbage with cycles; nothing else frees what a year of them takes."""
    asked = "import gc, server; print(gc.isenabled())"
    found = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert found.stdout == "True\n"


def test_in_and_out_again(tmp_path: Path) -> None:
    store = tmp_path / "store"
    table = tmp_path / "people.csv"
    table.write_text("user,vip,city,spend\nu1,true,x,1.50\nu2,,y,2\nu3,maybe,x,3\n")
    imported = run(store, "import", "table", str(table), "--define", "--key", "k1")
    # A cell that is no truth value makes the column a choice, so nothing is rejected.
    assert imported.returncode == 0, imported.stderr
    assert "3 rows read = 3 applied + 0 rejected" in imported.stdout
    for kind in ("city: CHOICE", "spend: NUMBER with 2 decimals"):
        assert re.search(kind.replace(": ", r"\W+"), imported.stderr), imported.stderr
    again = run(store, "import", "table", str(table), "--define", "--key", "k1")
    assert again.returncode == 0
    for name, columns in (("out.csv", None), ("out.ndjson", "user,city"), ("out.parquet", None), ("out.roaring", None)):
        options = [] if columns is None else ["--columns", columns]
        exported = run(store, "export", 'city = "x" and spend >= 3', str(tmp_path / name), *options)
        assert exported.returncode == 0, exported.stderr
        assert "1 users exported" in exported.stdout
    assert (tmp_path / "out.csv").read_text() == "user\nu3\n"
    assert (tmp_path / "out.ndjson").read_text() == '{"user":"u3","city":"x"}\n'
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [{"user": "u3"}]


def test_rejected_rows_are_shown(tmp_path: Path) -> None:
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"user": ["u1", None], "tag": ["vip", "vip"]}), rows)
    run(tmp_path / "store", "import", "memberships", str(rows), "--define")
    found = run(tmp_path / "store", "import", "memberships", str(rows))
    assert found.returncode == 0
    assert "line 2: INVALID" in found.stderr
    assert "2 rows read = 1 applied + 1 rejected" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["export", "vip and", "out.csv"], {}, "INVALID"),
        (["export", "vip", "out.csv"], {}, "NOT_FOUND: there is no tag 'vip'"),
        (["export", "everyone", "out.xml"], {}, "--format"),
        (["import", "nonsense", "README.md", "--format", "csv"], {}, "NOT_FOUND"),
        (["token", "create", "me", "--scope", "everything"], {}, "there is no scope 'everything'"),
        (["token", "revoke", "nobody"], {}, "NOT_FOUND"),
        (["token", "list"], {"TAGROAR_PORT": "99999"}, "TAGROAR_PORT"),
        (["token", "list"], {"TAGROAR_TIMEZONE": "Mars/Olympus"}, "TAGROAR_TIMEZONE"),
        (["token", "list"], {"TAGROAR_NOW": "soon"}, "TAGROAR_NOW"),
        (["token", "list"], {"TAGROAR_RETENTION": "long"}, "TAGROAR_RETENTION"),
        (["token", "list"], {"TAGROAR_DATA": "README.md"}, "README.md"),
        (["demo"], {"TAGROAR_HOST": "0.0.0.0"}, "loopback"),
        (["token", "create", "me", "--scope", "count", "--expires", "soon"], {}, "no duration"),
        (["token", "list"], {"TAGROAR_OIDC_ALGORITHMS": "HS256"}, "TAGROAR_OIDC_ALGORITHMS"),
        (["token", "list"], {"TAGROAR_OIDC_SCOPES": "x = all"}, "TAGROAR_OIDC_SCOPES: Value error, there is no scope"),
        (["token", "list"], {"TAGROAR_OIDC_KEYS": "http://login.example/keys"}, "TAGROAR_OIDC_KEYS"),
        (["token", "list"], {"TAGROAR_LOG_LEVEL": "loud"}, "TAGROAR_LOG_LEVEL"),
        (["serve"], {"TAGROAR_OIDC_ISSUER": "https://login.example"}, "TAGROAR_OIDC_AUDIENCE and TAGROAR_OIDC_KEYS"),
    ],
)
def test_nonsense_is_answered_with_a_sentence(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    there = {"TAGROAR_DATA": str(tmp_path / "store"), "TAGROAR_NOW": NOW, "COLUMNS": "300"}
    found = CliRunner().invoke(cli, arguments, env=there | environment)
    assert found.exit_code in (1, 2)
    assert isinstance(found.exception, SystemExit)
    assert sentence in found.stderr


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "tagroar.sqlite").write_bytes(b"not a database, but longer than a header of one would have to be" * 20)
    found = CliRunner().invoke(cli, ["token", "list"], env={"TAGROAR_DATA": str(tmp_path), "COLUMNS": "300"})
    assert (found.exit_code, "tagroar.sqlite is damaged" in found.stderr) == (1, True)


def test_a_variable_that_is_no_setting_is_told(tmp_path: Path) -> None:
    listed = run(tmp_path / "store", "token", "list", TAGROAR_PROT="1", TAGROAR_BENCH_DIR="x", TAGROAR_NONSENSE="1")
    assert (listed.returncode, listed.stderr.count("\n")) == (0, 2)
    assert "TAGROAR_PROT is no setting and changes nothing; did you mean TAGROAR_PORT?" in listed.stderr


def test_a_token_is_listed_with_its_end(tmp_path: Path) -> None:
    run(tmp_path / "store", "token", "create", "a", "--scope", "count", "--expires", "P1D")
    run(tmp_path / "store", "token", "create", "b", "--scope", "count", "--expires", "PT0.000001S")
    a, b = (line.split("\t") for line in run(tmp_path / "store", "token", "list").stdout.splitlines())
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert (a[:3], a[3][:10]) == (["a", "count", NOW], tomorrow[:10]) or tomorrow[11:16] == "00:00"
    assert b[3].startswith("expired 20")


def test_several_processes_count_and_log_together(tmp_path: Path) -> None:
    store = tmp_path / "store"
    token = run(store, "token", "create", "watch", "--scope", "admin").stdout.splitlines()[-1]
    server = Server(store, TAGROAR_WORKERS="2", TAGROAR_LOG_LEVEL="info")
    try:
        address, headers = server.client.base_url, {"Authorization": f"Bearer {token}"}

        def measured(name: str) -> float:
            text = httpx.get(f"{address}/metrics", headers=headers).text
            return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

        while measured("tagroar_processes ") < 2:
            pass  # one of them still imports
        before = measured("tagroar_requests_total")
        for number in range(20):
            answer = httpx.get(f"{address}/export/audience", headers={"X-Request-Id": f"id-{number}"})
            assert (answer.status_code, answer.headers["x-request-id"]) == (401, f"id-{number}")
        assert measured("tagroar_requests_total") - before == 21  # with the one that asked how many there were
        assert measured("tagroar_resident_bytes") > 2 * (50 << 20)
        assert server.client.get("/metrics").status_code == 401
    finally:
        printed = server.stop()
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert {f"id-{number}" for number in range(20)} <= {line["request"] for line in lines}
    assert token not in printed


def test_tokens_are_shown_once_and_end_at_once(tmp_path: Path, served: Server) -> None:
    store = tmp_path / "store"
    token = run(store, "token", "create", "campaigns", "--scope", "count", "--scope", "write").stdout.splitlines()[-1]
    assert run(store, "token", "list").stdout == "campaigns\tcount write\t2026-11-02T12:00:00Z\tnever\n"
    assert token.encode() not in (store / "tagroar.sqlite").read_bytes()
    headers = {"Authorization": f"Bearer {token}"}
    question = {"query": '{ viewer { name scopes } audience(where: {text: "everyone"}) { size } }'}
    assert served.client.post("/graphql", json=question).status_code == 401
    answer = served.client.post("/graphql", json=question, headers=headers).json()
    assert answer == {"data": {"viewer": {"name": "campaigns", "scopes": ["count", "write"]}, "audience": {"size": 0}}}
    run(store, "token", "revoke", "campaigns")
    assert served.client.post("/graphql", json=question, headers=headers).status_code == 401
    assert served.client.post("/graphql", json=question, headers={"Authorization": "Basic eA=="}).status_code == 401


def test_what_the_command_line_imports_is_served_at_once(tmp_path: Path, served: Server) -> None:
    store = tmp_path / "store"
    token = run(store, "token", "create", "all", "--scope", "members", "--scope", "write").stdout.splitlines()[-1]
    headers = {"Authorization": f"Bearer {token}"}
    rows = tmp_path / "rows.csv"
    rows.write_text("user,tag\nu1,vip\nu2,vip\n")
    assert run(store, "import", "memberships", str(rows), "--define").returncode == 0
    answer = served.client.get("/export/audience", params={"text": "vip"}, headers=headers)
    assert answer.text == "user\nu1\nu2\n"
    assert served.process.poll() is None


def test_pages_load_nothing_from_elsewhere(served: Server) -> None:
    for path, accept in (("/", "*/*"), ("/graphql", "text/html")):
        page = served.client.get(path, headers={"Accept": accept})
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        sources = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
        assert sources
        for source in sources:
            assert source.startswith(("/", "data:")) and not source.startswith("//"), source
            assert not source.startswith("/static") or served.client.get(source).status_code == 200
    assert served.client.get("/healthz").text == "alive"
    lost = served.client.get("/nowhere")
    assert (lost.status_code, lost.json()["errors"][0]["extensions"]["code"]) == (404, "NOT_FOUND")
    assert served.client.get("/demo/queries.graphql").status_code == 204


def test_it_stops_within_seconds(served: Server) -> None:
    began = time.monotonic()
    printed = served.stop()
    assert time.monotonic() - began < 10
    assert "Traceback" not in printed


def test_it_stops_with_streams_open(tmp_path: Path, served: Server) -> None:
    token = run(tmp_path / "store", "token", "create", "live", "--scope", "count").stdout.splitlines()[-1]
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    question = {"query": "subscription { dataVersion }"}
    with served.client.stream("POST", "/graphql", json=question, headers=headers) as stream:
        lines = stream.iter_lines()
        while next(lines) != 'data: {"data":{"dataVersion":0}}':
            pass
        served.process.send_signal(signal.SIGTERM)
        assert "event: complete" not in list(lines)  # a client that reads on knows to ask again
    printed, _ = served.process.communicate(timeout=20)
    served.client.close()
    assert (served.process.returncode, "ERROR" in printed, "Traceback" in printed) == (-signal.SIGTERM, False, False)
