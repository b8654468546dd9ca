"""The catalog: definitions of entities, categories, tags, values and saved audiences, as one immutable snapshot.

A request holds one snapshot, so what a tag means cannot change under it. Changing definitions is in
`definitions.py`; what refers to what is answered here because deleting has to ask it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from bitmap_store.errors import NotFound
from bitmap_store.expression import Expression, Lookalike, Match, Saved, nfc, walk
from bitmap_store.language import parse
from bitmap_store.plan import Leaf, Node
from bitmap_store.values import Category, EntityKind, Experiment, SavedAudience, Tag

KEPT_TEXT_BYTES_MAX = 16 << 20
"""A saved list of 10,000 users is longer than what a person may send as text."""


@lru_cache(4_096)
def kept_expression(text: str) -> Expression:
    """The expression of a rule or a saved audience, whose text is canonical and was checked when it was kept."""
    return parse(text, bytes_max=KEPT_TEXT_BYTES_MAX)


class ValueTable:
    """The values of one tag, in declared order, with the ids that memberships carry."""

    def __init__(self, names: Mapping[str, int]) -> None:
        self.names = dict(names)
        self._by_id = {id_: name for name, id_ in self.names.items()}

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def name_of(self, id_: int) -> str:
        """The value with this id."""
        return self._by_id[id_]

    @staticmethod
    def display(value: str) -> str:
        """A value for people: the last level of a hierarchical one."""
        return value.rsplit("/", 1)[-1] or value

    def below(self, value: str) -> tuple[int, ...]:
        """The ids of a value and of all its descendants ("a" has "a/b"), ascending."""
        prefix = f"{value}/"
        return tuple(sorted(id_ for name, id_ in self.names.items() if name == value or name.startswith(prefix)))


NO_VALUES = ValueTable({})


@dataclass(frozen=True, eq=False)
class Selection:
    """Some tags of an entity, in an order; kept, so that what is known of a choice of tags is found again by it."""

    tags: tuple[Tag, ...]

    @cached_property
    def stored(self) -> tuple[Tag, ...]:
        """The tags whose memberships are data."""
        return tuple(tag for tag in self.tags if not tag.is_rule)

    @cached_property
    def ruled(self) -> tuple[Tag, ...]:
        """The tags whose memberships follow from a rule."""
        return tuple(tag for tag in self.tags if tag.is_rule)

    @cached_property
    def by_key(self) -> Mapping[str, Tag]:
        """The tags by their keys."""
        return {tag.key: tag for tag in self.tags}

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The place of each tag, by its key."""
        return {tag.key: place for place, tag in enumerate(self.tags)}


@dataclass(frozen=True)
class Catalog:
    """All definitions at one moment; every look-up raises NOT_FOUND with the nearest names.

    bound, features: what binding worked out of these definitions, for as long as they stand.
    """

    version: int = 0
    entities: Mapping[str, EntityKind] = field(default_factory=dict)
    categories: Mapping[str, Category] = field(default_factory=dict)
    tags: Mapping[str, Tag] = field(default_factory=dict)
    audiences: Mapping[str, SavedAudience] = field(default_factory=dict)
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    value_tables: Mapping[int, ValueTable] = field(default_factory=dict)
    tags_by_id: Mapping[int, Tag] = field(default_factory=dict)
    bound: dict[tuple[str, Match], Node] = field(default_factory=dict, compare=False, repr=False)
    features: dict[tuple[str, frozenset[int]], tuple[Leaf, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def entity(self, key: str, *, argument: str | None = None) -> EntityKind:
        """The entity kind with this key."""
        found = self.entities.get(nfc(key))
        if found is None:
            raise NotFound.named("entity kind", key, self.entities, argument=argument)
        return found

    @cached_property
    def by_entity(self) -> Mapping[str, Selection]:
        """All tags of each entity kind, by key."""
        found: dict[str, list[Tag]] = {key: [] for key in self.entities}
        for tag in sorted(self.tags.values(), key=lambda tag: tag.key):
            found[tag.entity].append(tag)
        return {key: Selection(tuple(tags)) for key, tags in found.items()}

    def category(self, key: str, *, argument: str | None = None) -> Category:
        """The category with this key."""
        found = self.categories.get(nfc(key))
        if found is None:
            raise NotFound.named("category", key, self.categories, argument=argument)
        return found

    def tag(self, key: str, *, argument: str | None = None) -> Tag:
        """The tag with this key, of any entity."""
        found = self.tags.get(nfc(key))
        if found is None:
            raise NotFound.named("tag", key, self.tags, argument=argument)
        return found

    def tag_of(self, entity: str, key: str, *, argument: str | None = None) -> Tag:
        """The tag with this key if it is of this entity."""
        found = self.tags.get(nfc(key))
        if found is None or found.entity != entity:
            of_entity = [tag.key for tag in self.tags.values() if tag.entity == entity]
            what = "tag" if found is None else f"tag of entity {entity!r}"
            raise NotFound.named(what, key, of_entity, argument=argument)
        return found

    def audience(self, key: str, *, argument: str | None = None) -> SavedAudience:
        """The saved audience with this key."""
        found = self.audiences.get(nfc(key))
        if found is None:
            raise NotFound.named("saved audience", key, self.audiences, argument=argument)
        return found

    def experiment(self, key: str, *, argument: str | None = None) -> Experiment:
        """The experiment with this key."""
        found = self.experiments.get(nfc(key))
        if found is None:
            raise NotFound.named("experiment", key, self.experiments, argument=argument)
        return found

    def values(self, tag: Tag) -> ValueTable:
        """The values of a tag; empty for kinds without."""
        return self.value_tables.get(tag.id, NO_VALUES)

    def value_ids(self, tag: Tag, value: str, *, argument: str | None = None) -> tuple[int, ...]:
        """The ids that a value stands for: itself, and its descendants where the tag is hierarchical.

        A declared value is required unless the tag is open: then an unknown value stands for nobody, yet
        NOT_FOUND is the more useful answer to a typo, so it is raised there too.
        """
        table = self.values(tag)
        ids = table.below(value) if tag.hierarchical else tuple(filter(None, [table.names.get(value)]))
        if not ids:
            raise NotFound.named(f"value of {tag.key!r}", value, table, argument=argument)
        return ids

    def used_by(self, kind: str, key: str) -> list[Tag | SavedAudience | Experiment]:
        """The tags, saved audiences and experiments whose own text names this "tag" or "audience"."""
        wanted = Match if kind == "tag" else Saved
        key = nfc(key)
        found: list[Tag | SavedAudience | Experiment] = []
        for tag in self.tags.values():
            texts = [tag.rule] if tag.rule else [rule.text for rule in tag.rules]
            if any(_names(text, wanted, key) for text in texts):
                found.append(tag)
        found += [audience for audience in self.audiences.values() if _names(audience.text, wanted, key)]
        found += [experiment for experiment in self.experiments.values() if _names(experiment.text, wanted, key)]
        return found


def _names(text: str, wanted: type[Match] | type[Saved], key: str) -> bool:
    for _, node in walk(kept_expression(text)):
        if isinstance(node, wanted) and nfc(node.key) == key:
            return True
        if wanted is Match and isinstance(node, Lookalike) and key in map(nfc, node.exclude_tags):
            return True
    return False
