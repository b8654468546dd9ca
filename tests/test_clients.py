"""The clients that front ends use, from their registries, against a server on loopback; and the audits of graphql-http.

`make test` installs them (`tests/clients`). Where there is no Node.js the tests are skipped, but never in CI.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import Server, new_token

CLIENTS = Path(__file__).parent / "clients"
AUDITS = 61
SECONDS_MAX = 60


def node(script: str, server: Server, **environment: str) -> str:
    """What a script of `tests/clients` prints; it has to end well."""
    found = subprocess.run(
        ["node", script],
        cwd=CLIENTS,
        env=os.environ | {"ADDRESS": str(server.http.base_url), "TOKEN": token_of(server)} | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    assert found.returncode == 0, found.stderr + found.stdout
    return found.stdout


def token_of(server: Server) -> str:
    return str(server.http.headers["Authorization"]).removeprefix("Bearer ")


@pytest.fixture(scope="module")
def installed() -> None:
    """Skips what needs Node.js where it is not; in CI that is a failure."""
    missing = "Node.js" if shutil.which("node") is None else ""
    if not missing and not (CLIENTS / "node_modules" / "graphql-http").exists():
        missing = "tests/clients/node_modules; run `make test`"
    if missing and os.environ.get("CI"):
        pytest.fail(f"THE CLIENTS WERE NOT TRIED: there is no {missing}")
    if missing:
        pytest.skip(f"THE CLIENTS WERE NOT TRIED: there is no {missing}")


@pytest.fixture(scope="module")
def server(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with twelve users who are vip."""
    directory = tmp_path_factory.mktemp("clients") / "store"
    token = new_token(directory)
    with Server(directory, token=token) as found:
        found.ask(
            'mutation { vip: defineTag(input: {key: "vip"}) { key } used: defineTag(input: {key: "used"}) { key } }'
        )
        users = [{"user": f"u{i:02}", "tag": "vip"} for i in range(12)]
        found.ask("mutation ($input: [TagAssignment!]!) { assignTags(input: $input) { changed } }", input=users)
        yield found


def test_all_audits_of_graphql_http_are_ok(server: Server) -> None:
    audits: list[dict[str, Any]] = [json.loads(line) for line in node("audits.mjs", server).splitlines()]
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len({audit["id"] for audit in audits}) == len(audits) == AUDITS
    print(f"graphql-http: {len(audits)} of {AUDITS} audits are ok")
