"""Every byte: the algebra, the planner, the engines, the catalog, the tables.

What lies above uses the names below and the values of `values.py`, `expression.py` and `plan.py`.
`store.py` says what an engine has to give; `sqlite/` is the engine that needs nothing installed.
"""

from bitmap_store.clock import Clock
from bitmap_store.definitions import TagChange, TagDefinition
from bitmap_store.files.reader import Format
from bitmap_store.sqlite.backups import back_up, restore
from bitmap_store.sqlite.checks import check
from bitmap_store.sqlite.condition import Condition, condition_of
from bitmap_store.sqlite.engine import SqliteStore as Store
from bitmap_store.sqlite.exports import ExportColumn, schema_of
from bitmap_store.sqlite.jobs import ImportRequest
from bitmap_store.sqlite.routes import tags_suggested
from bitmap_store.sqlite.settings import StoreSettings
from bitmap_store.sqlite.tokens import TokenInfo
from bitmap_store.sqlite.views import View

__all__ = [
    "Clock",
    "Condition",
    "ExportColumn",
    "Format",
    "ImportRequest",
    "Store",
    "StoreSettings",
    "TagChange",
    "TagDefinition",
    "TokenInfo",
    "View",
    "back_up",
    "check",
    "condition_of",
    "restore",
    "schema_of",
    "tags_suggested",
]
