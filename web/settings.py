"""Settings: what the environment says, checked once, with its place in every error."""

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from bitmap_store import Clock, StoreSettings
from bitmap_store.errors import Invalid, TagroarError, nearest
from bitmap_store.literals import parse_duration
from resolvers.context import Limits
from schema.document_rule import DocumentLimits
from web.bounds import Bounds
from web.issuer import Issuer, Rules, algorithms_of, mapped_of
from web.keys import Keys, check_place

NO_SETTINGS = ("TAGROAR_DEMO", "TAGROAR_MEASURES", "TAGROAR_BENCH_", "TAGROAR_UPDATE_GOLDEN")
"""Variables by which the program, its measurements and its tests tell their own processes something."""


def _timezone(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{value!r} is not a time zone; write one such as UTC or Asia/Shanghai") from None


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except TagroarError as error:
        raise ValueError(error.message) from None


def _checked(check: Callable[[str], Any]) -> AfterValidator:
    """A text that has to pass a check, and is kept as it was written."""

    def checked(value: str | None) -> str | None:
        try:
            if value is not None:
                check(value)
        except TagroarError as error:
            raise ValueError(error.message) from None
        return value

    return AfterValidator(checked)


def unknown_variables(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A sentence for each variable that looks like a setting and is none."""
    known = {f"TAGROAR_{name.upper()}" for name in Settings.model_fields}
    for name in sorted(environment):
        if name.startswith("TAGROAR_") and not name.startswith(NO_SETTINGS) and name not in known:
            close = nearest(name, known, 1)
            yield f"{name} is no setting and changes nothing" + (f"; did you mean {close[0]}?" if close else "")


class Settings(BaseSettings):
    """The service's settings; each is read from TAGROAR_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="TAGROAR_", env_ignore_empty=True, extra="ignore", arbitrary_types_allowed=True
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    data: Path = Field(Path("data"), description="directory of the store")
    workers: int = Field(1, ge=1, le=64, description="serving processes; they share the store")
    timezone: Annotated[ZoneInfo, BeforeValidator(_timezone)] = Field(
        default_factory=lambda: ZoneInfo("UTC"), description="the days of events and of DAY dates"
    )
    now: AwareDatetime | None = Field(None, description="the moment at which the service's clock starts")
    retention: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(days=30), gt=timedelta(0), description="how far back asOf reaches"
    )
    cache_bytes: int = Field(512 << 20, ge=0, description="memory for evaluated parts of audiences, each process")
    answer_cache_bytes: int = Field(16 << 20, ge=0, description="memory for whole answers, each process; 0 keeps none")
    compiled_documents: bool = Field(True, description="run GraphQL by closures made once for each document")
    batch: int = Field(10, ge=0, le=1000, description="requests in one array; 0 or 1 takes no arrays")
    trusted_documents: Path | None = Field(None, description="file of documents that may be named by id")
    only_trusted: bool = Field(False, description="answer no other documents than those")
    persisted_documents: int = Field(
        1_024, ge=0, description="documents that clients sent and may then name by hash, each process; 0 is none"
    )
    oidc_issuer: str | None = Field(None, description="issuer (iss) whose tokens are taken besides our own")
    oidc_audience: str | None = Field(None, description="audience (aud) that its tokens have to be for")
    oidc_keys: Annotated[str | None, _checked(check_place)] = Field(
        None, description="file or https address of its public keys (JWKS)"
    )
    oidc_algorithms: Annotated[str, _checked(algorithms_of)] = Field(
        "RS256 ES256", description="algorithms its tokens may be signed by; asymmetric ones only"
    )
    oidc_claim: str = Field("scope", min_length=1, description="claim that says what a token allows")
    oidc_scopes: Annotated[str, _checked(mapped_of)] = Field(
        "", description="scopes of each value of that claim; without it the values are scopes"
    )
    oidc_leeway: Annotated[timedelta, BeforeValidator(_duration)] = Field(
        timedelta(seconds=30), ge=timedelta(0), le=timedelta(minutes=10), description="how far clocks may differ"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="what is logged from; info has a line for each request"
    )
    log_format: Literal["json", "text"] = Field("json", description="how a line of the log is written")
    tracing: bool = Field(False, description="spans for OpenTelemetry, sent where OTEL_EXPORTER_OTLP_ENDPOINT says")
    body_bytes: int = Field(1 << 20, ge=1_000, description="the largest body that is no file")
    json_depth: int = Field(100, ge=20, le=1_000, description="levels of objects and lists in JSON")
    read_seconds: float = Field(10.0, gt=0, description="time for a request to come in")
    request_seconds: float = Field(10.0, gt=0, description="time to answer a request")
    write_seconds: float = Field(30.0, gt=0, description="time for a client to take what is written to it")
    document_characters: int = Field(1 << 16, ge=100, description="characters of the documents of a request")
    document_tokens: int = Field(2_000, ge=10, description="tokens of a document")
    document_depth: int = Field(12, ge=1, description="fields below each other")
    document_aliases: int = Field(30, ge=0, description="aliases of an operation")
    document_fields: int = Field(2_000, ge=1, description="fields of a document, its fragments put in")
    document_roots: int = Field(20, ge=1, description="fields at the root of an operation")
    document_directives: int = Field(50, ge=0, description="directives of an operation")
    introspection_depth: int = Field(15, ge=1, description="fields below each other from __schema on")
    introspection: bool | None = Field(None, description="whether the schema may be asked for; as the demo may")
    console: bool | None = Field(None, description="whether pages for people are served; as the demo's are")
    rate: float = Field(0.0, ge=0, description="requests a second of one token, each process; 0 is no bound")
    burst: int = Field(100, ge=1, description="requests of one token at once, where there is a rate")
    at_once: int = Field(256, ge=0, description="requests of one token under way, each process; 0 is no bound")
    all_at_once: int = Field(1_024, ge=0, description="requests under way, each process; 0 is no bound")
    work: int = Field(5_000_000, ge=0, description="container operations of one request; 0 is no bound")
    work_rate: float = Field(0.0, ge=0, description="container operations a second of one token; 0 is no bound")
    import_bytes: int = Field(64 << 30, ge=1, description="the largest file to import")

    def store(self) -> StoreSettings:
        """What the store is told."""
        return StoreSettings(
            directory=self.data, timezone=self.timezone, retention=self.retention, cache_bytes_max=self.cache_bytes
        )

    def bounds(self) -> Bounds:
        """What one client may send, ask and hold."""
        return Bounds(
            body_bytes=self.body_bytes,
            document_characters=self.document_characters,
            json_depth=self.json_depth,
            read_seconds=self.read_seconds,
            request_seconds=self.request_seconds,
            rate=self.rate,
            burst=self.burst,
            work_rate=self.work_rate,
            at_once=self.at_once,
            all_at_once=self.all_at_once,
        )

    def document_limits(self, *, demo: bool) -> DocumentLimits:
        """How large a document may be; the schema may be asked for in the demo, elsewhere where it is said."""
        return DocumentLimits(
            tokens=self.document_tokens,
            depth=self.document_depth,
            introspection_depth=self.introspection_depth,
            aliases=self.document_aliases,
            fields=self.document_fields,
            roots=self.document_roots,
            directives=self.document_directives,
            introspection=demo if self.introspection is None else self.introspection,
        )

    def limits(self) -> Limits:
        """How much one request may ask for."""
        return Limits(work_max=self.work)

    def shows_pages(self, *, demo: bool) -> bool:
        """Whether pages for people are served."""
        return demo if self.console is None else self.console

    def clock(self, otherwise: datetime | None = None) -> Clock:
        """The service's clock: starting at `now`, else at `otherwise`, else the world's."""
        start = self.now or otherwise
        return Clock(start.astimezone(UTC) if start else None)

    def issuer(self, clock: Clock) -> Issuer | None:
        """Whose tokens are taken besides our own, if anybody's; INVALID where only a part of that is set."""
        named = {"OIDC_ISSUER": self.oidc_issuer, "OIDC_AUDIENCE": self.oidc_audience, "OIDC_KEYS": self.oidc_keys}
        missing = [f"TAGROAR_{name}" for name, value in named.items() if value is None]
        if len(missing) == len(named):
            return None
        if self.oidc_issuer is None or self.oidc_audience is None or self.oidc_keys is None:
            raise Invalid(f"tokens of an issuer need {' and '.join(missing)} too")
        rules = Rules(
            self.oidc_issuer,
            self.oidc_audience,
            algorithms_of(self.oidc_algorithms),
            self.oidc_claim,
            mapped_of(self.oidc_scopes),
            self.oidc_leeway,
        )
        return Issuer(rules, Keys(self.oidc_keys, clock), clock)
