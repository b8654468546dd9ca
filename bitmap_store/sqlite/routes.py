"""What a file of each route means, by the catalog: the join of `files/`, which knows no catalog, and imports."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from bitmap_store.catalog import Catalog
from bitmap_store.errors import Unavailable, nearest
from bitmap_store.files.blocks import ANY_TABLE, EVENTS, MEMBERSHIPS, Block, Shape
from bitmap_store.files.cells import Interpreted, Target
from bitmap_store.files.events import events
from bitmap_store.files.infer import Inferred, infer
from bitmap_store.files.memberships import memberships
from bitmap_store.files.piles import Subjects, piled
from bitmap_store.files.reader import Format
from bitmap_store.files.table import shape_of, table
from bitmap_store.values import Tag

_SHAPES = {"memberships": MEMBERSHIPS, "table": ANY_TABLE, "events": EVENTS}


@dataclass(frozen=True, slots=True)
class ImportRoute:
    """The shape that a file has to have, and the meaning of its blocks."""

    shape: Shape
    interpret: Callable[[Block], Interpreted]


def route_of(kind: str, catalog: Catalog, entity: str, timezone: ZoneInfo) -> ImportRoute:
    """The route of memberships, a table or events over the tags of an entity."""
    targets = {tag.key: target_of(tag, catalog) for tag in catalog.tags.values() if tag.entity == entity}

    def close(key: str) -> list[str]:
        return nearest(key, targets)

    match kind:
        case "memberships":
            subjects = Subjects(targets.get)
            return ImportRoute(
                MEMBERSHIPS, lambda block: piled(block, subjects) or memberships(block, targets.get, close)
            )
        case "table":
            return ImportRoute(shape_of(targets), lambda block: table(block, targets))
        case "events":
            return ImportRoute(EVENTS, lambda block: events(block, targets.get, close, timezone))
    raise Unavailable(f"importing {kind} comes with a later version")


def tags_suggested(kind: str, path: Path, format_: Format) -> list[Inferred]:
    """The tags that a file names, and what its data suggests that they are."""
    return infer(path, format_, _SHAPES[kind])


def target_of(tag: Tag, catalog: Catalog) -> Target:
    """What an import has to know of a tag."""
    return Target(
        key=tag.key,
        kind=tag.kind,
        scale=tag.scale,
        precision=tag.precision,
        allowed=None if tag.open else frozenset(catalog.values(tag).names),
        hierarchical=tag.hierarchical,
        is_rule=tag.is_rule,
    )
