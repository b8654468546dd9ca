"""Tags, their values, categories and entity kinds."""

from datetime import timedelta
from typing import Annotated

import strawberry

from bitmap_store import values as plain
from resolvers import answers, catalog, saved
from schema.enums import DatePrecision, Sensitivity, TagKind, TagOrigin, TagState
from schema.node import Node, PageInfo
from schema.scalars import BigInt
from schema.shapes import Info, answer, note, shown

First = Annotated[int | None, note("How many at most, from 1 to 1,000.")]
After = Annotated[str | None, note("The cursor after which to begin.")]
Most = Annotated[int, note("How many at most, from 1 to 1,000.")]


@strawberry.type(description="What a space of ids counts: users by default; accounts, products, … by definition.")
class EntityKind:
    """Of a `values.EntityKind`."""

    key: str = shown("The key.")
    name: str = shown("The name for people.")

    @answer(BigInt | None, "How many there are.")
    @staticmethod
    async def count(root: strawberry.Parent[plain.EntityKind], info: Info) -> int:
        """See the description."""
        return await catalog.entity_count(info.context, root)


@strawberry.type(description="A shelf of the tag catalog, of which there are two to three levels.")
class Category(Node):
    """Of a `values.Category`."""

    key: str = shown("The key.")
    name: str = shown("The name for people.")
    depth: int = shown("The level, from 1 at the top.")

    @answer("Category | None", "The category above.")
    @staticmethod
    def parent(root: strawberry.Parent[plain.Category], info: Info) -> plain.Category | None:
        """See the description."""
        return catalog.parent(info.context, root)

    @answer("list[Category]", "The categories right below, by key.")
    @staticmethod
    def children(root: strawberry.Parent[plain.Category], info: Info) -> list[plain.Category]:
        """See the description."""
        return catalog.children(info.context, root)

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """Whether a node is a category."""
        return isinstance(value, plain.Category)


@strawberry.type(description="One answer that a tag can give.")
class TagValue:
    """Of an `answers.TagValue`."""

    value: str = shown("The value.")
    name: str = shown("The value for people: of a hierarchical one its last level.")
    parent: str | None = shown("The value above, of a hierarchical one.")

    @answer(BigInt | None, "How many have it, or a value below it.")
    @staticmethod
    async def size(root: strawberry.Parent[answers.TagValue], info: Info) -> int:
        """See the description."""
        return await catalog.value_size(info.context, root)


@strawberry.type(description="A value on a page.")
class TagValueEdge:
    """Of an `answers.Edge`."""

    cursor: str = shown("Where this value stands.")
    node: TagValue = shown("The value.")


@strawberry.type(description="A page of values, in the order in which they were declared.")
class TagValueConnection:
    """Of an `answers.Connection`."""

    edges: list[TagValueEdge] = shown("The values of the page.")
    page_info: PageInfo = shown("Where the page stands.")
    total_count: BigInt = shown("How many there are on all pages.")


@strawberry.type(description="A named question about the users of an entity; its answers are kept as sets of users.")
class Tag(Node):
    """Of a `values.Tag`."""

    key: str = shown("The key; one name space for all entities.")
    entity: str = shown("The entity kind it is of.")
    name: str = shown("The name for people.")
    kind: TagKind = shown("What it can say of a user.")
    origin: TagOrigin = shown("Where its values come from.")
    state: TagState = shown("The stage in its life cycle.")
    sensitivity: Sensitivity = shown("Who may learn it.")
    definition: str | None = shown("What it means, in words.")
    valid_for: timedelta | None = shown("How long a membership lasts.")
    open: bool = shown("Whether it takes values that were not declared.")
    hierarchical: bool = shown('Whether "/" in a value makes it a child.')
    owner: str | None = shown("Who answers for it.")
    method: str | None = shown("How it comes about, in words.")
    scope: str | None = shown("Of whom it is told, in words.")
    unit: str | None = shown("What a number or a count of it counts.")
    version: int = shown("Counts the changes of the definition.")

    @answer(str | None, "FLAG of origin RULE: who has it, in the audience language.")
    @staticmethod
    def rule(root: strawberry.Parent[plain.Tag], info: Info) -> str | None:
        """See the description."""
        return None if root.rule is None else saved.text(info.context, root.rule)

    @answer(str, "An audience by this tag, in the audience language, ready to be asked.")
    @staticmethod
    def example(root: strawberry.Parent[plain.Tag], info: Info) -> str:
        """See the description."""
        return catalog.example(info.context, root)

    @answer(int | None, "NUMBER: the decimals it keeps.")
    @staticmethod
    def scale(root: strawberry.Parent[plain.Tag]) -> int | None:
        """See the description."""
        return root.scale if root.kind is plain.TagKind.NUMBER else None

    @answer(DatePrecision | None, "DATE: days or seconds.")
    @staticmethod
    def precision(root: strawberry.Parent[plain.Tag]) -> plain.DatePrecision | None:
        """See the description."""
        return root.precision if root.kind is plain.TagKind.DATE else None

    @answer(Category | None, "The category it is in.")
    @staticmethod
    def category(root: strawberry.Parent[plain.Tag], info: Info) -> plain.Category | None:
        """See the description."""
        return catalog.category_of(info.context, root)

    @answer("list[TagRule]", "CHOICE and CHOICES of origin RULE: who has each value, in the audience language.")
    @staticmethod
    def rules(root: strawberry.Parent[plain.Tag]) -> tuple[plain.ValueRule, ...]:
        """See the description."""
        return root.rules

    @answer(TagValueConnection, "Its values in the order in which they were declared.")
    @staticmethod
    def values(
        root: strawberry.Parent[plain.Tag],
        info: Info,
        first: First = 50,
        after: After = None,
        search: Annotated[str | None, note("A part of the values wanted, in any case.")] = None,
    ) -> answers.Connection[answers.TagValue]:
        """See the description."""
        return catalog.values(info.context, root, first, after, search)

    @answer(float | None, "The share of the entity with any value.")
    @staticmethod
    async def coverage(root: strawberry.Parent[plain.Tag], info: Info) -> float:
        """See the description."""
        return await catalog.coverage(info.context, root)

    @answer(BigInt | None, "How many have any value.")
    @staticmethod
    async def size(root: strawberry.Parent[plain.Tag], info: Info) -> int:
        """See the description."""
        return await catalog.tag_size(info.context, root)

    @answer(list[Node], "The tags, saved audiences and experiments whose definition names it.")
    @staticmethod
    def used_by(
        root: strawberry.Parent[plain.Tag], info: Info, first: Most = 50
    ) -> list[plain.Tag | plain.SavedAudience | plain.Experiment]:
        """See the description."""
        return catalog.used_by(info.context, root, first)

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """Whether a node is a tag."""
        return isinstance(value, plain.Tag)


@strawberry.type(description="Who has one value of a tag, by a rule.")
class TagRule:
    """Of a `values.ValueRule`."""

    value: str = shown("The value.")
    text: str = shown("Who has it, in the audience language.")


@strawberry.type(description="A tag on a page.")
class TagEdge:
    """Of an `answers.Edge`."""

    cursor: str = shown("Where this tag stands.")
    node: Tag = shown("The tag.")


@strawberry.type(description="A page of tags, by key.")
class TagConnection:
    """Of an `answers.Connection`."""

    edges: list[TagEdge] = shown("The tags of the page.")
    page_info: PageInfo = shown("Where the page stands.")
    total_count: BigInt = shown("How many there are on all pages.")
