"""The clients that front ends use, from their registries, against a server on loopback; and the audits of graphql-http.

`make test` installs them (`tests/clients`). Where there is no Node.js the tests are skipped, but never in CI.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gql import Client, GraphQLRequest, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from tests.acceptance.harness import Server, new_token

CLIENTS = Path(__file__).parent / "clients"
AUDITS = 61
SECONDS_MAX = 60


def run(command: list[str], server: Server | None = None, folder: Path = CLIENTS) -> str:
    """What a command prints; it has to end well."""
    whom = {} if server is None else {"ADDRESS": str(server.http.base_url), "TOKEN": token_of(server)}
    found = subprocess.run(
        command, cwd=folder, env=os.environ | whom, capture_output=True, text=True, timeout=SECONDS_MAX
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
    with Server(directory, token=token, introspection=True) as found:
        found.ask(
            'mutation { vip: defineTag(input: {key: "vip"}) { key } used: defineTag(input: {key: "used"}) { key } }'
        )
        users = [{"user": f"u{i:02}", "tag": "vip"} for i in range(12)]
        found.ask("mutation ($input: [TagAssignment!]!) { assignTags(input: $input) { changed } }", input=users)
        yield found


def test_all_audits_of_graphql_http_are_ok(server: Server) -> None:
    audits: list[dict[str, Any]] = [json.loads(line) for line in run(["node", "audits.mjs"], server).splitlines()]
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len({audit["id"] for audit in audits}) == len(audits) == AUDITS
    print(f"graphql-http: {len(audits)} of {AUDITS} audits are ok")


# ---------------------------------------------------------------- clients

USERS = [f"u{i:02}" for i in range(12)]


def check(found: dict[str, Any]) -> None:
    """A query, a mutation, all pages of a connection, a subscription and an error, as a client read them."""
    before, after = found["subscription"]
    assert after > before >= 1
    assert found["error"] == {"code": "NOT_FOUND", "argument": found["error"]["argument"], "suggestions": ["vip"]} | {
        key: found["error"][key] for key in ("line", "column") if key in found["error"]
    }
    assert (found["query"], found["mutation"], found["pages"]) == (12, 1, USERS)


def test_apollo_client(server: Server) -> None:
    found = json.loads(run(["node", "apollo.mjs"], server))
    check(found)
    # A hash goes by GET, that of a mutation by POST; the document follows by POST where the hash is not known yet.
    assert found["sent"] == ["GET", "POST", "POST", "POST", "GET", "POST", "GET", "GET", "POST", "GET"]


def test_urql(server: Server) -> None:
    found = json.loads(run(["node", "urql.mjs"], server))
    check(found)
    types = ("application/graphql-response+json; charset=utf-8", "text/event-stream; charset=utf-8")
    assert found["told"] == [f"true {each}" for each in types]


@pytest.fixture(scope="module")
def guarded(server: Server) -> Iterator[Server]:
    """A server on the same store that answers only what Relay's compiler and GraphQL Code Generator wrote down."""
    made = CLIENTS / "generated"
    shutil.rmtree(made, ignore_errors=True)
    trusted = made / "trusted"
    trusted.mkdir(parents=True)
    (trusted / "relay.json").write_text("{}")
    (made / "relay").mkdir()
    (made / "relay" / "package.json").write_text('{"type": "commonjs"}')
    run(["../node_modules/.bin/relay-compiler", "relay.config.json"], folder=CLIENTS / "relay")
    run(["node_modules/.bin/graphql-codegen", "--config", "codegen/codegen.mjs"], server)
    shutil.copy(made / "codegen" / "persisted-documents.json", trusted / "codegen.json")
    run(["node_modules/.bin/tsc", "--project", "codegen"])
    directory = Path(server._environment["TAGROAR_DATA"])
    with Server(directory, token=token_of(server), trusted_documents=trusted, only_trusted=1) as found:
        yield found
    shutil.rmtree(made)


def test_relay(guarded: Server) -> None:
    check(json.loads(run(["node", "relay/main.mjs"], guarded)))


def test_graphql_code_generator(guarded: Server) -> None:
    check(json.loads(run(["node", "generated/js/codegen/main.js"], guarded)))


def test_what_those_clients_did_not_write_is_refused(guarded: Server) -> None:
    answer = guarded.http.post("/graphql", json={"query": "{ viewer { name scopes } }"}).json()
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


# ---------------------------------------------------------------- gql

USE = gql('mutation ($user: String!) { assignTags(input: [{user: $user, tag: "used"}]) { changed } }')
SIZE = gql("query ($text: String!) { audience(where: {text: $text}) { size } }")
MEMBERS = gql(
    """query ($after: String) { audience(where: {text: "vip"}) {
      members(first: 5, after: $after) { edges { node { userId } } pageInfo { hasNextPage endCursor } } } }"""
)


def asked(document: GraphQLRequest, **variables: object) -> GraphQLRequest:
    return GraphQLRequest(document, variable_values=variables)


async def by_gql(server: Server) -> dict[str, Any]:
    """What gql reads; it knows the schema, and checks documents before it sends them."""
    address, headers = f"{server.http.base_url}/graphql", {"Authorization": f"Bearer {token_of(server)}"}
    found: dict[str, Any] = {"pages": [], "subscription": []}
    http = HTTPXAsyncTransport(address, headers=headers)
    live = WebsocketsTransport(address.replace("http", "ws"), init_payload=headers)
    async with Client(transport=http, fetch_schema_from_transport=True) as client:
        found["query"] = (await client.execute(asked(SIZE, text="vip")))["audience"]["size"]
        found["mutation"] = (await client.execute(asked(USE, user="gql")))["assignTags"]["changed"]
        page: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
        while page["hasNextPage"]:
            members = (await client.execute(asked(MEMBERS, after=page["endCursor"])))["audience"]["members"]
            found["pages"] += [edge["node"]["userId"] for edge in members["edges"]]
            page = members["pageInfo"]
        with pytest.raises(TransportQueryError) as wrong:
            await client.execute(asked(SIZE, text="vipp"))
        assert wrong.value.errors
        found["error"] = wrong.value.errors[0]["extensions"]
        async with Client(transport=live, schema=client.client.schema) as subscriber:
            async for told in subscriber.subscribe(gql("subscription { dataVersion }")):
                found["subscription"].append(told["dataVersion"])
                if len(found["subscription"]) == 2:
                    break
                await client.execute(asked(USE, user="gql-2"))
    return found


def test_gql(server: Server) -> None:
    check(asyncio.run(by_gql(server)))
