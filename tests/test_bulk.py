"""The bulk routes as an integration uses them, with imports in their real process."""

import asyncio
import csv
import fcntl
import io
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyroaring import BitMap
from starlette.applications import Starlette

from bitmap_store.definitions import TagDefinition
from bitmap_store.values import Assign, Batch, DatePrecision, Event, Identifier, ProfileChange, TagKind
from tests.worlds import StillClock, StoreWorld, copied
from web.bulk import BulkRoutes
from web.service import Service

pytestmark = pytest.mark.anyio
CSV = {"Content-Type": "text/csv"}


class Bulk:
    """A client of the bulk routes over a store of its own event loop."""

    def __init__(self, directory: Path, *, open_to_anyone: bool = True) -> None:
        self.world = StoreWorld(directory, StillClock())
        self.service = Service(self.world.store, open_to_anyone, directory / "incoming", import_bytes_max=1 << 20)
        app = Starlette(routes=BulkRoutes(lambda: self.service).routes())
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://tagroar")

    async def send(self, path: str, body: bytes | str, **options: Any) -> tuple[int, Any]:
        """Status and JSON of an upload."""
        answer = await self.client.post(path, content=body, headers=CSV | options.pop("headers", {}), **options)
        return answer.status_code, answer.json()

    async def export(self, **parameters: str) -> httpx.Response:
        """An export."""
        return await self.client.get("/export/audience", params=parameters)


@pytest.fixture
async def bulk(empty_store: Path, tmp_path: Path) -> Any:
    found = Bulk(copied(empty_store, tmp_path / "store"))
    store = found.world.store
    for definition in (
        TagDefinition("vip"),
        TagDefinition("city", kind=TagKind.CHOICE),
        TagDefinition("likes", kind=TagKind.CHOICES),
        TagDefinition("spend", kind=TagKind.NUMBER, scale=2),
        TagDefinition("born", kind=TagKind.DATE, precision=DatePrecision.DAY),
        TagDefinition("buy", kind=TagKind.EVENT),
        TagDefinition("rich", rule="spend >= 100"),
    ):
        await store.define_tag(definition)
    yield found
    await found.client.aclose()
    await store.close()
    found.world._runner.close()


async def size(bulk: Bulk, text: str) -> int:
    answer = await bulk.export(text=text)
    assert answer.status_code == 200, answer.text
    return int(answer.headers["Tagroar-Count"])


async def test_an_import_is_a_job_with_its_totals(bulk: Bulk) -> None:
    body = "user,tag,value\nu1,city,x\nu2,city,y\nu3,nope,\nu4,vip,\n"
    status, job = await bulk.send("/import/memberships?wait=1", body)
    assert status == 200
    assert (job["state"], job["rowsRead"], job["rowsApplied"], job["rowsRejected"]) == ("DONE", 4, 3, 1)
    rejections = (await bulk.client.get(f"/jobs/{job['id']}/rejections")).text
    assert [json.loads(line) for line in rejections.splitlines()] == [
        {"line": 4, "code": "NOT_FOUND", "message": "there is no tag 'nope'"}
    ]
    assert await size(bulk, "everyone") == 3
    assert await size(bulk, 'city = "x"') == 1
    await asyncio.gather(*bulk.service.store._workers._watching)  # the child tidies up when all is visible already
    assert not list(bulk.service.incoming.iterdir())


async def test_without_waiting_the_job_is_answered_at_once(bulk: Bulk) -> None:
    status, job = await bulk.send("/import/memberships", "user,tag\nu1,vip\n")
    assert (status, job["state"]) == (202, "QUEUED")
    ended = await bulk.world.store.wait_job(job["id"])
    assert ended.rows_applied == 1


async def test_a_key_applies_once_and_only_for_one_file(bulk: Bulk) -> None:
    key = {"headers": {"Idempotency-Key": "monday"}}
    body = "user,tag,at\nu1,buy,2026-11-01T00:00:00Z\n"
    _, first = await bulk.send("/import/events?wait=1", body, **key)
    status, second = await bulk.send("/import/events?wait=1", body, headers={"Idempotency-Key": "monday"})
    assert (status, second["id"]) == (200, first["id"])
    assert await size(bulk, "buy times 2") == 0
    status, refused = await bulk.send(
        "/import/events?wait=1", body.replace("u1", "u2"), headers={"Idempotency-Key": "monday"}
    )
    assert (status, refused["errors"][0]["extensions"]["code"]) == (409, "CONFLICT")
    assert await size(bulk, "everyone") == 1


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        ("/import/nonsense", "user\n", {}, 404, "NOT_FOUND"),
        ("/import/relations", "relation,from,to\n", {}, 503, "UNAVAILABLE"),
        ("/import/memberships?mode=upsert", "user,tag\n", {}, 400, "INVALID"),
        ("/import/memberships?mod=merge", "user,tag\n", {}, 400, "INVALID"),
        ("/import/events?mode=replace", "user,tag,at\n", {}, 400, "INVALID"),
        ("/import/memberships?define=maybe", "user,tag\n", {}, 400, "INVALID"),
        ("/import/memberships?entity=fund", "user,tag\n", {}, 404, "NOT_FOUND"),
        ("/import/memberships", "user,tag\n", {"Content-Type": "text/plain"}, 400, "INVALID"),
        ("/import/memberships", b"x" * (1 << 20) + b"x", {}, 413, "TOO_LARGE"),
        ("/import/memberships", "user,tag\n", {"Authorization": "Bearer nonsense"}, 401, "UNAUTHENTICATED"),
    ],
)
async def test_what_is_no_import_is_refused(
    bulk: Bulk, path: str, body: bytes | str, headers: dict[str, str], status: int, code: str
) -> None:
    found, answer = await bulk.send(path, body, headers=headers)
    assert (found, answer["errors"][0]["extensions"]["code"]) == (status, code)
    assert not bulk.service.incoming.exists() or not list(bulk.service.incoming.iterdir())
    assert await size(bulk, "everyone") == 0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "empty"),
        ("user\nu1\n", "needs a column 'tag'"),
        ("user,tag,colour\nu1,vip,red\n", "'colour'"),
        ("user,tag,tag\nu1,vip,vip\n", "twice"),
    ],
)
async def test_a_file_that_is_wrong_as_a_whole_fails_its_job(bulk: Bulk, body: str, sentence: str) -> None:
    _, job = await bulk.send("/import/memberships?wait=1", body)
    assert job["state"] == "FAILED"
    assert sentence in job["error"]


async def test_a_cancelled_import_leaves_nothing(bulk: Bulk) -> None:
    # While another import holds the turn, this one waits, and can be cancelled.
    from_jobs = bulk.world.settings.directory / "jobs" / "bulk.lock"
    from_jobs.parent.mkdir(exist_ok=True)
    with from_jobs.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        _, job = await bulk.send("/import/memberships", "user,tag\nu1,vip\n")
        await bulk.world.store.cancel_job(job["id"])
        ended = await bulk.world.store.wait_job(job["id"])
    assert (ended.state.value, ended.rows_applied) == ("CANCELLED", 0)
    assert await size(bulk, "everyone") == 0


async def seeded(bulk: Bulk) -> None:
    clock = bulk.world.clock
    day = clock.now()
    operations = (
        ProfileChange("u1", (Identifier("email", "a@x"),), (("plan", "gold"), ("n", 3))),
        Assign("u1", "vip"),
        Assign("u1", "city", value='Say "x", y'),
        Assign("u1", "likes", values=("a", "b")),
        Assign("u1", "spend", number=Decimal("-1234.50")),
        Assign("u1", "born", date=day),
        Event("u1", "buy", "m", day, 3),
        Event("u1", "buy", "m", day - timedelta(days=3), 4),
        Assign("u2", "spend", number=Decimal("100")),
    )
    await bulk.world.store.apply(Batch("user", operations))


COLUMNS = "user,id:email,attribute:plan,attribute:n,vip,city,likes,spend,born,buy,rich"


async def test_an_export_has_the_columns_that_are_asked_for(bulk: Bulk) -> None:
    await seeded(bulk)
    text = (await bulk.export(text="everyone", columns=COLUMNS)).text
    table = list(csv.DictReader(io.StringIO(text)))
    assert table[0] == {
        "user": "u1",
        "id:email": "a@x",
        "attribute:plan": "gold",
        "attribute:n": "3",
        "vip": "true",
        "city": 'Say "x", y',
        "likes": '["a","b"]',
        "spend": "-1234.50",
        "born": "2026-11-02",
        "buy": "7",
        "rich": "",
    }
    assert table[1]["rich"] == "true"
    lines = (await bulk.export(text="vip", columns=COLUMNS, format="ndjson")).text.splitlines()
    assert json.loads(lines[0])["likes"] == ["a", "b"]
    assert json.loads(lines[0])["rich"] is None
    data = (await bulk.export(text="everyone", columns=COLUMNS, format="parquet")).content
    parquet = pq.read_table(pa.BufferReader(data)).to_pylist()
    assert str(parquet[0]["spend"]) == "-1234.50"
    assert parquet[0]["likes"] == ["a", "b"]
    assert parquet[1]["vip"] is None


async def test_roaring_and_names_are_the_same_users(bulk: Bulk) -> None:
    await seeded(bulk)
    members = BitMap.deserialize((await bulk.export(text="spend >= 100", format="roaring")).content)
    ids = csv.DictReader(io.StringIO((await bulk.client.get("/export/ids")).text))
    names = {int(row["id"]): row["user"] for row in ids}
    assert {names[dense] for dense in members} == {"u2"}
    assert sorted(names.values()) == ["u1", "u2"]


async def test_an_export_by_json_and_as_of_a_moment(bulk: Bulk) -> None:
    clock = bulk.world.clock
    await seeded(bulk)
    monday = clock.now()
    clock.tick(days=1)
    await bulk.world.store.apply(Batch("user", (Assign("u2", "vip"), Assign("u3", "vip"))))
    where = {"and": [{"everyone": True}, {"not": {"tag": {"key": "spend", "lt": 0}}}]}
    answer = await bulk.client.post("/export/audience", json={"where": where})
    assert answer.text.split() == ["user", "u2", "u3"]
    answer = await bulk.client.post("/export/audience", json={"where": where, "asOf": monday.isoformat()})
    assert answer.text.split() == ["user", "u2"]
    answer = await bulk.client.post("/export/audience", json={"text": "vip", "id_kind": "email"})
    assert answer.text.splitlines() == ["id:email", "a@x", '""', '""']  # a blank line would be no row


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({}, 400, "INVALID"),
        ({"text": "vip", "where": "{}"}, 400, "INVALID"),
        ({"text": "vip and"}, 400, "INVALID"),
        ({"text": "vipp"}, 404, "NOT_FOUND"),
        ({"text": "vip", "format": "xml"}, 400, "INVALID"),
        ({"text": "vip", "columns": "user,nope"}, 404, "NOT_FOUND"),
        ({"text": "vip", "columns": "user,user"}, 400, "INVALID"),
        ({"text": "vip", "asOf": "yesterday"}, 400, "INVALID"),
        ({"text": "vip", "asOf": "2020-01-01T00:00:00Z"}, 410, "STALE"),
        ({"text": "vip", "purpose": "mail"}, 503, "UNAVAILABLE"),
        ({"text": "vip", "colums": "user"}, 400, "INVALID"),
        ({"text": "vip", "entity": "fund"}, 404, "NOT_FOUND"),
        ({"where": '{"tag": {"key": "vip", "in": 3}}'}, 400, "INVALID"),
        ({"where": "not json"}, 400, "INVALID"),
    ],
)
async def test_what_is_no_export_is_refused(bulk: Bulk, parameters: dict[str, str], status: int, code: str) -> None:
    answer = await bulk.export(**parameters)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (status, code)


async def test_scopes_hold_on_bulk_routes(bulk: Bulk) -> None:
    store = bulk.world.store
    bulk.service = Service(store, False, bulk.service.incoming)
    counter = {"Authorization": f"Bearer {await store.create_token('counter', ['count'])}"}
    writer = {"Authorization": f"Bearer {await store.create_token('writer', ['write'])}"}
    answer = await bulk.client.get("/export/audience", params={"text": "everyone"})
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (401, "UNAUTHENTICATED")
    for path in ("/export/audience?text=everyone", "/export/ids"):
        assert (await bulk.client.get(path, headers=counter)).status_code == 403
        assert (await bulk.client.get(path, headers=writer)).status_code == 403
    status, _ = await bulk.send("/import/memberships", "user,tag\n", headers=counter)
    assert status == 403
    status, _ = await bulk.send("/import/memberships?define=1", "user,tag\n", headers=writer)
    assert status == 403
    await store.revoke_token("writer")
    status, _ = await bulk.send("/import/memberships", "user,tag\n", headers=writer)
    assert status == 401
