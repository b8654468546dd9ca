"""Documents that are named instead of sent: trusted ones of a file, and those that clients have sent."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bitmap_store.errors import Invalid, TagroarError
from server import cli
from tests.api import Api
from tests.worlds import copied
from web.known import Known, trusted_documents

NAME = "query Name { viewer { name } }"
SCOPES = "query Scopes { viewer { scopes } }"
ANSWER = {"data": {"viewer": {"name": "demo"}}}
RESPONSE = {"Accept": "application/graphql-response+json"}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def persisted(text: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": sha256(text)}}


@pytest.fixture
def api(empty_store: Path, tmp_path: Path) -> Iterator[Api]:
    found = Api(copied(empty_store, tmp_path / "store"))
    yield found
    found.close()


def knows(api: Api, known: Known) -> Api:
    api.service = replace(api.service, known=known)
    return api


def code(api: Api, **sent: Any) -> str:
    (error,) = api.request(json=sent).json()["errors"]
    return str(error["extensions"]["code"])


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "written",
    [
        {"a1": NAME, "b2": SCOPES},
        {
            "format": "apollo-persisted-query-manifest",
            "version": 1,
            "operations": [
                {"id": "a1", "name": "Name", "type": "query", "body": NAME},
                {"id": "b2", "name": "Scopes", "type": "query", "body": SCOPES},
            ],
        },
    ],
    ids=["by id", "Apollo's manifest"],
)
def test_the_forms_that_are_read(tmp_path: Path, written: Any) -> None:
    file = tmp_path / "documents.json"
    file.write_text(json.dumps(written))
    assert trusted_documents(file) == {"a1": NAME, "b2": SCOPES}
    (tmp_path / "more.json").write_text(json.dumps({"c3": "{ tags { totalCount } }", "a1": NAME}))
    assert trusted_documents(tmp_path) == {"a1": NAME, "b2": SCOPES, "c3": "{ tags { totalCount } }"}


DAMAGED: list[tuple[bytes, str]] = [
    (b"", "is not a file of trusted documents"),
    (b"\xff\xfe", "is not a file of trusted documents"),
    (b"[" * 100_000, "is not a file of trusted documents"),
    (b"{}", "holds no document"),
    (b'{"a": "{ viewer { name } }"', "is not a file of trusted documents"),
    (b'["{ viewer { name } }"]', "no object of documents by id"),
    (b'{"a": 3}', "'a' is not a GraphQL document"),
    (b'{"a": " "}', "'a' is not a GraphQL document"),
    (b'{"a": "{ viewer { name } "}', "'a' is not a GraphQL document"),
    (b'{"": "{ viewer { name } }"}', "an id of 1 to 512 characters"),
    (b'{"a": "{ viewer { name } }", "a": "{ viewer { scopes } }"}', "a name stands twice"),
    (b'{"format": "other", "operations": []}', "only version 1 of Apollo's"),
    (b'{"format": "apollo-persisted-query-manifest", "version": 2, "operations": []}', "only version 1 of Apollo's"),
    (b'{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [3]}', "is not an object"),
    (b'{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": "a"}]}', "'a' is not a Gra"),
]


@pytest.mark.parametrize(("content", "sentence"), DAMAGED, ids=[str(content[:60]) for content, _ in DAMAGED])
def test_damaged_files_are_told_at_the_start(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "documents.json"
    file.write_bytes(content)
    with pytest.raises(Invalid) as wrong:
        trusted_documents(file)
    assert sentence in wrong.value.message
    assert str(file) in wrong.value.message


def test_two_files_that_disagree(tmp_path: Path) -> None:
    for name, text in (("a.json", NAME), ("b.json", SCOPES)):
        (tmp_path / name).write_text(json.dumps({"a1": text}))
    with pytest.raises(Invalid, match="'a1' names two documents"):
        trusted_documents(tmp_path)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"TAGROAR_TRUSTED_DOCUMENTS": "nowhere.json"}, "nowhere.json: No such file or directory"),
        ({"TAGROAR_TRUSTED_DOCUMENTS": "README.md"}, "README.md is not a file of trusted documents"),
        ({"TAGROAR_TRUSTED_DOCUMENTS": "docs/decisions"}, "docs/decisions holds no document"),
        ({"TAGROAR_ONLY_TRUSTED": "1"}, "TAGROAR_ONLY_TRUSTED needs TAGROAR_TRUSTED_DOCUMENTS"),
    ],
)
def test_serving_does_not_begin(tmp_path: Path, settings: dict[str, str], sentence: str) -> None:
    there = {"TAGROAR_DATA": str(tmp_path / "store"), "COLUMNS": "300", "TAGROAR_PORT": "0"}
    found = CliRunner().invoke(cli, ["serve"], env=there | settings)
    assert (found.exit_code, sentence in found.stderr) == (1, True), found.stderr


# ---------------------------------------------------------------- trusted documents


def test_documents_are_named(api: Api) -> None:
    knows(api, Known({"a1": NAME}))
    for id_ in ("a1", f"sha256:{sha256(NAME)}"):
        assert api.request(json={"documentId": id_}).json() == ANSWER
        assert api.request("GET", params={"documentId": id_}).json() == ANSWER
    assert api.request(json={"query": NAME}).json() == ANSWER
    for nothing in (None, ""):
        assert api.request(json={"query": nothing, "documentId": "a1"}).json() == ANSWER
    assert api.request(json={"documentId": "a1", "operationName": "Name"}).json() == ANSWER
    refused = api.request(json={"documentId": "zz"}, headers=RESPONSE)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["extensions"] == {"code": "NOT_FOUND", "argument": "documentId"}
    assert code(api, documentId="x" * 513) == code(api, documentId=3) == code(api, documentId="") == "INVALID"
    assert code(api, documentId="a1", query=NAME) == "INVALID"


def test_only_trusted_documents_are_answered(api: Api) -> None:
    knows(api, Known({"a1": NAME, sha256(SCOPES): SCOPES}, only=True))
    assert api.request(json={"documentId": "a1"}).json() == ANSWER
    assert "errors" not in api.request(json={"extensions": persisted(SCOPES)}).json()
    assert api.request(json={"query": NAME}).json() == ANSWER  # which is a trusted one
    other = "{ viewer { name } }"
    assert code(api, query=other) == "FORBIDDEN"
    assert code(api, query=other, extensions=persisted(other)) == "FORBIDDEN"
    assert code(api, query="{ __schema { queryType { name } } }") == "FORBIDDEN"
    assert code(api, extensions=persisted(other)) == "NOT_FOUND"
    assert code(api, documentId="zz") == "NOT_FOUND"
    answers = api.request(json=[{"query": other}, {"documentId": "a1"}]).json()
    assert [answers[0]["errors"][0]["extensions"]["code"], answers[1]] == ["FORBIDDEN", ANSWER]
    assert len(api.service.known) == 0
    assert api.request("GET", params={"query": other}).json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"


# ---------------------------------------------------------------- what clients have sent


def test_hashes_stand_for_documents_that_were_sent(api: Api) -> None:
    unknown = api.request(json={"extensions": persisted(NAME)})
    (error,) = unknown.json()["errors"]
    assert (unknown.status_code, error["message"]) == (200, "PersistedQueryNotFound")
    assert error["extensions"] == {"code": "PERSISTED_QUERY_NOT_FOUND"}
    assert api.request(json={"query": NAME, "extensions": persisted(NAME)}).json() == ANSWER
    assert api.request(json={"extensions": persisted(NAME)}).json() == ANSWER
    assert api.request("GET", params={"extensions": json.dumps(persisted(NAME))}).json() == ANSWER
    (error,) = api.request(json={"query": SCOPES, "extensions": persisted(NAME)}).json()["errors"]
    assert (error["extensions"]["code"], "hash" in error["message"]) == ("INVALID", True)
    assert api.request(json={"extensions": persisted(NAME)}).json() == ANSWER


@pytest.mark.parametrize(
    "given",
    [3, {}, {"version": 1}, {"version": 2, "sha256Hash": "0" * 64}, {"sha256Hash": 3}, {"sha256Hash": "0" * 63}, []],
    ids=str,
)
def test_hashes_that_are_none(api: Api, given: Any) -> None:
    found = api.request(json={"query": NAME, "extensions": {"persistedQuery": given}})
    assert (found.status_code, found.json()["errors"][0]["extensions"]["code"]) == (400, "INVALID")


def test_few_are_remembered() -> None:
    known = Known(persisted_max=2)
    texts = [f"{{ a{i}: viewer {{ name }} }}" for i in range(3)]
    for text in texts:
        assert known.document({"query": text, "extensions": persisted(text)}) == text
    assert [_refused(known, text) for text in texts] == ["PERSISTED_QUERY_NOT_FOUND", None, None]
    assert len(known) == 2
    known.document({"extensions": persisted(texts[1])})
    known.document({"query": texts[0], "extensions": persisted(texts[0])})
    assert [_refused(known, text) for text in texts] == [None, None, "PERSISTED_QUERY_NOT_FOUND"]


def test_long_documents_are_few() -> None:
    known = Known(persisted_max=10_000)
    for i in range(200):
        text = f"{{ a{i}: viewer {{ name }} }} #{'x' * 60_000}"
        known.document({"query": text, "extensions": persisted(text)})
    assert 60 < len(known) < 71
    text = "#" + "x" * 70_000
    known.document({"query": text, "extensions": persisted(text)})
    assert _refused(known, text) == "PERSISTED_QUERY_NOT_FOUND"


def test_none_are_remembered() -> None:
    known = Known(persisted_max=0)
    assert _refused(known, NAME) == "PERSISTED_QUERY_NOT_SUPPORTED"
    assert known.document({"query": NAME, "extensions": persisted(NAME)}) == NAME
    assert _refused(known, NAME) == "PERSISTED_QUERY_NOT_SUPPORTED"


def _refused(known: Known, text: str) -> str | None:
    try:
        known.document({"extensions": persisted(text)})
    except TagroarError as error:
        return error.code
    return None
