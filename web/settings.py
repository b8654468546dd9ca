"""Settings: what the environment says, checked once, with its place in every error."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from bitmap_store import Clock, StoreSettings
from bitmap_store.errors import TagroarError
from bitmap_store.literals import parse_duration


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
    import_bytes: int = Field(64 << 30, ge=1, description="the largest file to import")

    def store(self) -> StoreSettings:
        """What the store is told."""
        return StoreSettings(
            directory=self.data, timezone=self.timezone, retention=self.retention, cache_bytes_max=self.cache_bytes
        )

    def clock(self, otherwise: datetime | None = None) -> Clock:
        """The service's clock: starting at `now`, else at `otherwise`, else the world's."""
        start = self.now or otherwise
        return Clock(start.astimezone(UTC) if start else None)
