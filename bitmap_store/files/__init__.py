"""Files: bytes to cells for bulk import, batches to bytes for export. Pure functions; no SQL and no store.

An import runs `read_blocks`, then for each block `memberships`, `table`, `events` or `profiles`, and in the end
`reject_repeats`, or `repeated_rows` and `settle`, over the cells of the whole file.
"""

from bitmap_store.files.blocks import EVENTS, MEMBERSHIPS, PROFILES, Block, Shape
from bitmap_store.files.cells import Cells, Interpreted, Target
from bitmap_store.files.events import events
from bitmap_store.files.infer import Inferred, infer
from bitmap_store.files.memberships import memberships
from bitmap_store.files.profiles import ProfileRows, profiles
from bitmap_store.files.reader import Format, read_blocks
from bitmap_store.files.repeats import reject_repeats, repeated_rows, settle
from bitmap_store.files.table import WideRows, shape_of, table
from bitmap_store.files.writers import write

__all__ = [
    "EVENTS",
    "MEMBERSHIPS",
    "PROFILES",
    "Block",
    "Cells",
    "Format",
    "Inferred",
    "Interpreted",
    "ProfileRows",
    "Shape",
    "Target",
    "WideRows",
    "events",
    "infer",
    "memberships",
    "profiles",
    "read_blocks",
    "reject_repeats",
    "repeated_rows",
    "settle",
    "shape_of",
    "table",
    "write",
]
