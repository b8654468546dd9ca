"""What the contract suite is written with: a tag of each kind, and errors that have to come."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import TagroarError
from bitmap_store.values import DatePrecision, Tag, TagKind
from tests.worlds import World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def define_all(world: World) -> World:
    """Defines a tag of each kind."""
    define(world, "vip")
    define(world, "city", TagKind.CHOICE)
    define(world, "likes", TagKind.CHOICES)
    define(world, "spend", TagKind.NUMBER, scale=2)
    define(world, "born", TagKind.DATE, precision=DatePrecision.DAY)
    define(world, "renews", TagKind.DATE)
    define(world, "buys", TagKind.EVENT)
    return world


def define(world: World, key: str, kind: TagKind = TagKind.FLAG, **rest: object) -> Tag:
    """Defines one tag."""
    return world.define_tag(TagDefinition(key, kind=kind, **rest))  # type: ignore[arg-type]


def refused(kind: type[TagroarError], act: Callable[[], object]) -> TagroarError:
    """The error of an act that has to fail."""
    with pytest.raises(kind) as caught:
        act()
    return caught.value
