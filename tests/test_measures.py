"""What is counted, by one process and by several, and what Prometheus reads of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bitmap_store import Condition
from tests.api import shop
from tests.test_access import Whole
from web.exchange import KINDS, OUTCOMES, Exchange
from web.measures import OWN, SECONDS, TOTALS, Measures

CONDITION = Condition(7, 3, {"DONE": 2}, 4096, 0)
Labels = tuple[tuple[str, str], ...]


def read(text: bytes) -> dict[tuple[str, Labels], float]:
    """Every sample by its name and labels, as Prometheus understands it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def exchange(kind: str, outcome: str = "ok") -> Exchange:
    found = Exchange("x", kind)
    found.outcome = outcome
    return found


def test_every_kind_and_outcome_has_its_cell() -> None:
    measures = Measures()
    for number, kind in enumerate(KINDS):
        for outcome in OUTCOMES:
            for _ in range(number + 1):
                measures.count(exchange(kind, outcome), None)
    for name in (*OWN, *TOTALS):
        measures.set(name, 5)
    found = read(measures.written(CONDITION))
    for number, kind in enumerate(KINDS):
        for outcome in OUTCOMES:
            assert found["tagroar_requests_total", (("kind", kind), ("outcome", outcome))] == number + 1
    assert all(found[f"tagroar_{name}", ()] == 5 for name in (*OWN, *TOTALS))
    assert (found["tagroar_data_version", ()], found["tagroar_jobs", (("state", "done"),)]) == (7, 2)


def test_latencies_are_in_their_buckets() -> None:
    measures = Measures()
    for seconds in (0.0, 0.0005, 0.0006, 3.0, 100.0):
        measures.count(exchange("query"), seconds)
    found = read(measures.written(CONDITION))
    below = {end: found["tagroar_request_seconds_bucket", (("kind", "query"), ("le", end))]
             for end in (*map(str, SECONDS), "+Inf")}  # fmt: skip
    assert (below["0.0005"], below["0.001"], below["2.5"], below["5.0"], below["+Inf"]) == (2, 3, 3, 4, 5)
    assert found["tagroar_request_seconds_count", (("kind", "query"),)] == 5
    assert found["tagroar_request_seconds_sum", (("kind", "query"),)] == pytest.approx(103.0011)


def test_several_processes_add_up(tmp_path: Path) -> None:
    """One that has ended keeps what it counted, so that no counter goes back, and has nothing now."""
    script = """
import sys
from pathlib import Path
from web.exchange import Exchange
from web.measures import Measures
measures = Measures(Path(sys.argv[1]))
measures.set("resident_bytes", 1000)
for _ in range(3):
    measures.count(Exchange("x", "query"), 0.1)
print("counted", flush=True)
sys.stdin.read()
"""
    mine = Measures(tmp_path)
    mine.set("resident_bytes", 1)
    mine.count(exchange("query"), 0.1)
    others = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for other in others:
        assert other.stdout is not None and other.stdout.readline() == "counted\n"
    query = (("kind", "query"), ("outcome", "ok"))
    found = read(mine.written(CONDITION))
    assert (found["tagroar_requests_total", query], found["tagroar_processes", ()]) == (7, 3)
    assert found["tagroar_resident_bytes", ()] == 2001
    others[0].communicate()
    found = read(mine.written(CONDITION))
    assert (found["tagroar_requests_total", query], found["tagroar_processes", ()]) == (7, 2)
    assert found["tagroar_resident_bytes", ()] == 1001
    others[1].communicate()
    (tmp_path / f"{os.getpid() + 10**6}.measures").write_bytes(b"short")
    assert read(mine.written(CONDITION))["tagroar_requests_total", query] == 7


@pytest.fixture
def whole(empty_store: Path, tmp_path: Path) -> Iterator[Whole]:
    found = Whole(shop(empty_store, tmp_path / "store"))
    yield found
    found.close()


def measured(whole: Whole) -> dict[tuple[str, Labels], float]:
    status, text = whole.http("GET", "/metrics", f"Bearer {whole.only['admin']}")
    assert status == 200
    return read(text)


def test_what_is_asked_is_counted(whole: Whole) -> None:
    token = f"Bearer {whole.only['count']}"
    before = measured(whole)
    for way in (whole.post, whole.by_get, whole.by_socket, whole.by_events):
        way("{ tags { totalCount } }", token)
    whole.post("{ tags { totalCount } }", token)
    whole.post("{ tags { totalCount } }", token)
    whole.post("{ jobs { totalCount } }", token)
    whole.post("{ nothing }", token)
    whole.in_an_array("{ tags { totalCount } }", token)
    whole.by_events("subscription { dataVersion }", token)
    whole.post('mutation { defineEntity(key: "x") { key } }', f"Bearer {whole.only['define']}")
    whole.http("GET", "/healthz", None)
    whole.http("GET", "/nowhere/else", None)
    after = measured(whole)
    assert {
        (*dict(labels).values(), after[name, labels] - before.get((name, labels), 0))
        for name, labels in after
        if name == "tagroar_requests_total" and after[name, labels] != before.get((name, labels), 0)
    } == {
        ("query", "ok", 6),
        ("query", "forbidden", 1),
        ("graphql", "invalid", 1),
        ("array", "ok", 1),
        ("subscription", "gone", 1),
        ("mutation", "ok", 1),
        ("probe", "ok", 2),
        ("page", "not_found", 1),
    }
    assert after["tagroar_answers_given_again_total", ()] - before["tagroar_answers_given_again_total", ()] == 2
    assert after["tagroar_live_connections", ()] == 0
    assert after["tagroar_catalog_version", ()] > before["tagroar_catalog_version", ()]
    assert after["tagroar_resident_bytes", ()] > 1 << 20
    assert {labels for name, labels in after if dict(labels).keys() - {"kind", "outcome", "le", "state"}} == set()


def test_a_store_that_cannot_be_read_is_not_ready(whole: Whole) -> None:
    file = whole.service.store.settings.directory / "tagroar.sqlite"
    assert whole.http("GET", "/readyz", None)[0] == 200
    file.rename(file.with_name("elsewhere"))
    assert whole.http("GET", "/readyz", None) == (503, b"not ready")
    assert whole.http("GET", "/healthz", None)[0] == 200
    status, answer = whole.http("GET", "/metrics", f"Bearer {whole.only['admin']}")
    assert (status, json.loads(answer)["errors"][0]["extensions"]["code"]) == (503, "UNAVAILABLE")
    file.with_name("elsewhere").rename(file)
    assert whole.http("GET", "/readyz", None)[0] == 200
