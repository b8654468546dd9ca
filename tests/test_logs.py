"""Logs: what a line holds, whose id it has, and that nothing of anybody is ever in one."""

import io
import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bitmap_store.errors import TagroarError
from tests.api import shop
from tests.test_access import Whole
from web import logs
from web.exchange import Exchange, Ids, begin

MARK = "s3cr3t"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged, from everything on; the ways of pytest are put back."""
    root, ours = logging.getLogger(), logging.getLogger("tagroar")
    before = root.handlers, root.level, ours.level
    found = io.StringIO()
    logs.configure("debug", "json", found)
    yield found
    root.handlers = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def whole(empty_store: Path, tmp_path: Path) -> Iterator[Whole]:
    found = Whole(shop(empty_store, tmp_path / "store"))
    yield found
    found.close()


def test_a_request_is_a_line(whole: Whole, stream: io.StringIO) -> None:
    query = {"query": "query Size { viewer { name } }", "operationName": "Size"}
    token = f"Bearer {whole.only['count']}"
    whole.http("POST", "/graphql", token, json.dumps(query), ("x-request-id", "abc-1"))
    whole.http("POST", "/graphql", None, json.dumps(query))
    whole.http("GET", "/export/audience?text=vip", token)
    whole.by_socket("{ jobs { totalCount } }", token)
    whole.by_events("subscription { dataVersion }", token)
    whole.in_an_array("{ jobs { totalCount } }", token)
    found = [line for line in lines(stream) if line["logger"] == "tagroar.requests"]
    assert [(line["kind"], line["outcome"], line.get("status")) for line in found] == [
        ("query", "ok", 200),
        ("graphql", "unauthenticated", 401),
        ("export", "forbidden", 403),
        ("query", "forbidden", None),
        ("subscription", "gone", 200),
        ("array", "forbidden", 200),
    ]
    assert (found[0]["request"], found[0]["operation"]) == ("abc-1", "Size")
    assert re.fullmatch("[0-9a-f]{16}", found[0]["document"])
    assert len({line["request"] for line in found}) == len(found)
    assert all(line["ms"] >= 0 and line["level"] == "info" for line in found)


@pytest.mark.parametrize("sent", [b"", b"a" * 65, b"a b", b"a\nb", "ä".encode(), b'"'])
def test_an_odd_id_is_replaced(sent: bytes) -> None:
    ids = Ids()
    assert (
        re.fullmatch("[0-9a-f]{16}", ids.id_of([(b"x-request-id", sent)]))
        and len({ids.id_of([]) for _ in range(9)}) == 9
    )
    assert ids.id_of([(b"x-request-id", b"A.b_c-1")]) == "A.b_c-1"


def test_nothing_of_anybody_is_logged(whole: Whole, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked secrets go into every place that a client can fill, with what goes well and with what fails inside."""
    store = whole.service.store
    token = whole.token(f"name-{MARK}", ["count", "members", "write", "define", "admin"])

    def everything() -> None:
        for authorization in (f"Bearer {token}", f"Bearer {MARK}", f"Basic {MARK}", f"Bearer {MARK}.b.c", None):
            for document in (
                f'{{ profile(by: {{userId: "u-{MARK}"}}) {{ userId tags {{ tag {{ key }} }} }} }}',
                f'{{ {MARK}: audience(where: {{text: "{MARK} and users(\\"{MARK}\\")"}}) {{ size }} }}',
                f'mutation {{ assignTags(input: [{{user: "{MARK}", tag: "vip", source: "{MARK}"}}]) {{ changed }} }}',
                f'mutation {{ upsertProfiles(input: [{{userId: "{MARK}", attributes: {{a: "{MARK}"}}}}]) {{ created }} }}',  # noqa: E501
                f'mutation {{ defineTag(input: {{key: "{MARK}", definition: "{MARK}"}}) {{ key }} }}',
                f"{{ {MARK} }}",
                f"{{ {MARK}",
                f'subscription {{ jobProgress(id: "{MARK}") {{ id }} }}',
            ):
                for way in (whole.post, whole.by_get, whole.by_socket, whole.by_events, whole.in_an_array):
                    with suppress(AssertionError):  # what the test breaks is 500
                        way(document, authorization)
            for method, url, body in (
                (
                    "POST",
                    f"/import/memberships?wait=1&source={MARK}&title={MARK}",
                    f"user,tag\n{MARK},vip\n{MARK},{MARK}\n",
                ),
                ("POST", f"/import/{MARK}?{MARK}={MARK}", MARK),
                ("GET", f"/export/audience?text={MARK}&columns={MARK}", None),
                ("POST", "/export/audience", f'{{"text": "users(\\"{MARK}\\")"}}'),
                ("POST", "/graphql", f'{{"query": 3, "variables": {{"a": "{MARK}"}}'),
                ("GET", f"/jobs/{MARK}/rejections", None),
                ("GET", f"/{MARK}?{MARK}", None),
            ):
                with suppress(ValueError, RuntimeError):  # what the test breaks
                    whole.http(method, url, authorization, body, ("x-request-id", f"{MARK} x"), ("cookie", MARK))

    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError(f"{MARK} is in the message")

    everything()
    for verb in ("bind", "apply", "start_import", "export", "job", "token", "view"):
        with monkeypatch.context() as patch:
            patch.setattr(store, verb, broken)
            everything()
    told = stream.getvalue()
    assert MARK not in told.replace("test_nothing_of_anybody", "")
    found = lines(stream)
    assert {"ValueError"} <= {name for line in found for name in line.get("error", [])}
    assert {"ok", "invalid", "not_found", "unauthenticated", "internal"} <= {line.get("outcome") for line in found}


def test_a_failure_is_told_by_its_class_and_places(stream: io.StringIO) -> None:
    begin(Exchange("the-id", "query"))
    try:
        try:
            raise sqlite3.OperationalError("disk I/O error")
        except sqlite3.Error as error:
            raise TagroarError(MARK) from error
    except TagroarError:
        logging.getLogger("tagroar").exception("it failed")
    try:
        raise OSError(28, "No space left on device", f"/{MARK}")
    except OSError:
        logging.getLogger("elsewhere").exception("it failed too")
    first, second = lines(stream)
    assert (first["request"], first["message"], first["level"]) == ("the-id", "it failed", "error")
    assert first["error"] == ["TagroarError", "OperationalError: disk I/O error"]
    assert first["trace"][0].endswith("test_a_failure_is_told_by_its_class_and_places")
    assert second["error"] == ["OSError: No space left on device"]
    assert MARK not in stream.getvalue()


def test_text_is_one_line(stream: io.StringIO) -> None:
    logs.configure("warning", "text", stream)
    logging.getLogger("tagroar").info("not told")
    logging.getLogger("tagroar").warning("two\nlines")
    (line,) = stream.getvalue().splitlines()
    assert " warning tagroar: two lines request=" in line
