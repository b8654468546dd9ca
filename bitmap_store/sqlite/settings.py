"""What a store can be told when it is opened; where it is told so is the affair of whoever opens it."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from bitmap_store.sqlite.memberships import TAIL_MAX


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What a store can be told. retention: how far back asOf reaches. cache_bytes_max: of evaluated leaves.

    tail_max: changes of a tag that stay by themselves; more are made into a layer. mapped: whether bases are read
    from files of the cache, which all processes share.
    """

    directory: Path
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    retention: timedelta = timedelta(days=30)
    cache_bytes_max: int = 512 << 20
    import_bytes_max: int = 64 << 30
    tail_max: int = TAIL_MAX
    mapped: bool = True
