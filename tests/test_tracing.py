"""Spans for OpenTelemetry: which there are, in which order, and that they hold nothing of anybody."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bitmap_store import Store
from tests.api import shop
from tests.test_access import Whole
from web.tracing import SPANS, Tracing

MARK = "s3cr3t"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def whole(empty_store: Path, tmp_path: Path, exporter: InMemorySpanExporter) -> Iterator[Whole]:
    """The application with spans around everything."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider.get_tracer("tagroar"))
    found = Whole(
        shop(empty_store, tmp_path / "store"),
        lambda service: replace(service, store=tracing.store(service.store), tracing=tracing),
    )
    exporter.clear()
    yield found
    found.close()


def names(spans: tuple[ReadableSpan, ...]) -> list[str]:
    return [span.name for span in spans]


def test_a_question_is_parsed_bound_and_evaluated(whole: Whole, exporter: InMemorySpanExporter) -> None:
    token = f"Bearer {whole.only['count']}"
    assert whole.post('{ audience(where: {text: "vip"}) { breakdown(by: [{tag: "city"}]) { size } } }', token) == set()
    spans = exporter.get_finished_spans()
    assert names(spans)[:2] == ["parse", "bind"] and names(spans)[-2:] == ["evaluate", "request"]
    request = spans[-1]
    assert request.attributes is not None and request.context is not None
    assert (request.attributes["tagroar.kind"], request.attributes["tagroar.outcome"]) == ("query", "ok")
    assert {span.parent.span_id for span in spans[:-1] if span.parent} == {request.context.span_id}


def test_a_write_is_committed(whole: Whole, exporter: InMemorySpanExporter) -> None:
    token = f"Bearer {whole.only['write']}"
    whole.post('mutation { assignTags(input: [{user: "u1", tag: "vip"}]) { changed } }', token)
    assert names(exporter.get_finished_spans()) == ["parse", "commit", "request"]


def test_spans_hold_nothing_of_anybody(whole: Whole, exporter: InMemorySpanExporter) -> None:
    token = f"Bearer {whole.token(MARK, ['count', 'members', 'write', 'define'])}"
    for document in (
        f'{{ audience(where: {{text: "{MARK}"}}) {{ size }} }}',
        f'{{ {MARK}: profile(by: {{userId: "{MARK}"}}) {{ userId }} }}',
        f'mutation {{ assignTags(input: [{{user: "{MARK}", tag: "{MARK}"}}]) {{ changed }} }}',
        f"{{ {MARK}",
    ):
        whole.post(document, token)
        whole.post(document, f"Bearer {MARK}")
    spans = exporter.get_finished_spans()
    assert {"not_found", "unauthenticated", "invalid"} <= {
        str(span.attributes["tagroar.outcome"]) for span in spans if span.attributes and span.name == "request"
    }
    assert MARK not in "".join(span.to_json() for span in spans)


def test_what_is_traced_are_verbs_of_the_store() -> None:
    assert [verb for verb in SPANS if not callable(getattr(Store, verb, None))] == []
