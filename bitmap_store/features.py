"""What a look-alike may go by: the values of the stored tags of an entity, each as a leaf.

Which of them count, and how much, follows from who has them: `likeness.py`.
"""

from collections.abc import Iterator

from bitmap_store.catalog import Catalog
from bitmap_store.errors import TooLarge
from bitmap_store.plan import Happened, Leaf, Tagged
from bitmap_store.values import Sensitivity, Tag, TagKind, TagState

VALUES_MAX = 1_000
"""Values of a tag above which it is one of names and numbers, and nobody is alike by it."""
CANDIDATES_MAX = 10_000
KEPT_MAX = 64
"""Choices of tags of which a catalog remembers the features."""


def is_eligible(catalog: Catalog, tag: Tag) -> bool:
    """Whether users may be alike by a tag: it has values, not too many, is no rule, not RESTRICTED, not RETIRED."""
    return (
        tag.kind not in (TagKind.NUMBER, TagKind.DATE)
        and not tag.is_rule
        and tag.sensitivity is not Sensitivity.RESTRICTED
        and tag.state is not TagState.RETIRED
        and len(catalog.values(tag)) <= VALUES_MAX
    )


def named_features(catalog: Catalog, entity: str, excluded: frozenset[int]) -> Iterator[tuple[Tag, str | None]]:
    """The tag and value of each feature, in the order of `features`; no value: that there is any."""
    for tag in catalog.by_entity[entity].tags:
        if tag.id not in excluded and is_eligible(catalog, tag):
            for value in catalog.values(tag) or (None,):
                yield tag, value


def features(catalog: Catalog, entity: str, excluded: frozenset[int]) -> tuple[Leaf, ...]:
    """The leaves of all values of the eligible tags but the excluded ones, by key of the tag and order of the values.

    A value of a hierarchical tag is there with all below it; an event counts whenever it happened. TOO_LARGE above
    `CANDIDATES_MAX`.
    """
    key = (entity, excluded)
    found = catalog.features.get(key)
    if found is None:
        found = tuple(_leaf(catalog, tag, value) for tag, value in named_features(catalog, entity, excluded))
        if len(found) > CANDIDATES_MAX:
            raise TooLarge(
                f"a look-alike goes by at most {CANDIDATES_MAX:,} values, not {len(found):,}; exclude some tags",
                argument="excludeTags",
            )
        if len(catalog.features) >= KEPT_MAX:
            catalog.features.clear()
        catalog.features[key] = found
    return found


def _leaf(catalog: Catalog, tag: Tag, value: str | None) -> Leaf:
    ids = None if value is None else catalog.value_ids(tag, value)
    return Happened(tag.id, ids, None, None) if tag.kind is TagKind.EVENT else Tagged(tag.id, ids)
