"""Spans for OpenTelemetry, where it is installed and switched on: request, parse, bind, evaluate and commit.

Off it costs nothing: what is traced is a store and documents put around others. A span says how long what took, and of
which kind it was; it holds nothing of who asked, for whom, or about what.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, cast

from bitmap_store import Store
from bitmap_store.errors import Invalid, TagroarError
from schema.document_rule import DocumentLimits
from schema.documents import Documents, Prepared, Refused
from web.exchange import Exchange

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True

READS = (
    "count",
    "breakdown",
    "page",
    "contains",
    "summarise",
    "sums",
    "tags_of",
    "profiles",
    "export",
    "export_roaring",
)
WRITES = (
    "apply", "define_entity", "define_category", "define_tag", "update_tag", "delete_tag", "save_audience",
    "delete_audience",
)  # fmt: skip
SPANS = {"bind": "bind"} | dict.fromkeys(READS, "evaluate") | dict.fromkeys(WRITES, "commit")


class Tracing:
    """What makes spans: a tracer of OpenTelemetry."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    @classmethod
    def of_environment(cls) -> "Tracing":
        """Spans that are sent where the variables OTEL_EXPORTER_OTLP_… say; INVALID where that is not installed."""
        check_installed()
        provider = TracerProvider(resource=Resource.create({"service.name": "tagroar"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider.get_tracer("tagroar"))

    @contextmanager
    def span(self, name: str, **said: str) -> Iterator[Any]:
        """A span around what is done inside; of an error it tells the code, not the message."""
        options = {"record_exception": False, "set_status_on_exception": False}
        with self._tracer.start_as_current_span(name, attributes=said, **options) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("tagroar.outcome", _outcome(error))
                raise

    @contextmanager
    def request(self, exchange: Exchange) -> Iterator[None]:
        """The span of a whole request, with what is known of it in the end."""
        with self.span("request", **{"tagroar.request": exchange.id}) as span:
            try:
                yield
            finally:
                span.set_attribute("tagroar.kind", exchange.kind)
                span.set_attribute("tagroar.outcome", exchange.outcome)

    def store(self, store: Store) -> Store:
        """The store, with a span around each verb."""
        return cast(Store, _TracedStore(self, store))


class _TracedStore:
    """A store that passes everything on."""

    def __init__(self, tracing: Tracing, store: Store) -> None:
        self._tracing = tracing
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in SPANS:
            found = _traced(self._tracing, name, found)
            setattr(self, name, found)  # so it is made once
        return found


def _traced(tracing: Tracing, verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
    said = {"tagroar.verb": verb}
    if iscoroutinefunction(call):

        @wraps(call)
        async def later(*args: Any, **kwargs: Any) -> Any:
            with tracing.span(SPANS[verb], **said):
                return await call(*args, **kwargs)

        return later

    @wraps(call)
    def now(*args: Any, **kwargs: Any) -> Any:
        with tracing.span(SPANS[verb], **said):
            return call(*args, **kwargs)

    return now


class TracedDocuments(Documents):
    """Documents, with a span around preparing one: parsing and validating, where it was not sent before."""

    def __init__(self, tracing: Tracing, *, compiled: bool, limits: DocumentLimits) -> None:
        super().__init__(compiled=compiled, limits=limits)
        self._tracing = tracing

    async def prepare(self, text: str, name: str | None) -> Prepared | Refused:
        """See `Documents`."""
        with self._tracing.span("parse"):
            return await super().prepare(text, name)


def check_installed() -> None:
    """INVALID where OpenTelemetry is not installed."""
    if not IS_INSTALLED:
        raise Invalid("TAGROAR_TRACING needs OpenTelemetry: install requirements/tracing.txt, the extra `tracing`")


def _outcome(error: BaseException) -> str:
    return error.code.lower() if isinstance(error, TagroarError) else type(error).__name__
