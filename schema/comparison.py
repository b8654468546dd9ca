"""Audiences beside each other; and the health of the catalog, which comes with a later version."""

from typing import Annotated

import strawberry

from resolvers import comparisons, differences
from resolvers.differences import MIN_SIZE
from schema.audience import Audience, Differentiator
from schema.enums import DifferentiatorOrder
from schema.facts import CategoryKey
from schema.insight import InOrder, MinSize, NotTags, OnlyTags
from schema.node import Node
from schema.scalars import BigInt
from schema.shapes import Info, answer, note, shown


@strawberry.type(description="Users who are in some audiences and in no other of those compared.")
class Region:
    """Of a `comparisons.Region`."""

    in_audiences: list[int] = shown("The audiences they are in, as places in the list that was sent.")
    size: BigInt | None = shown("How many they are.")
    audience: Audience = shown("These users as an audience of their own.")


@strawberry.type(description="Up to 8 audiences beside each other, all of one version and moment.")
class Comparison:
    """Of a `comparisons.Comparison`."""

    audiences: list[Audience] = shown("The audiences, as they were sent.")
    sizes: list[BigInt | None] = shown("The size of each.")
    union_size: BigInt | None = shown("How many are in any of them.")
    overlaps: list[list[BigInt | None]] = shown("For each two of them how many are in both.")
    jaccard: list[list[float | None]] = shown(
        "How much each two have in common, as a share of their union; null of two empty ones."
    )
    containment: list[list[float | None]] = shown(
        "How much of each (row) is in each other (column), as a share of the first; null of an empty one."
    )

    @answer(
        list[Region],
        "Every exclusive region: those in one audience alone first, then those in exactly two, and so on. They sum to"
        " the union.",
    )
    @staticmethod
    def regions(
        root: strawberry.Parent[comparisons.Comparison],
        empty: Annotated[bool, note("Whether to tell of those without members, too.")] = True,
    ) -> list[comparisons.Region]:
        """See the description."""
        return comparisons.regions(root, empty)

    @answer(list[list[Differentiator]], "What sets each apart from all others together.")
    @staticmethod
    async def differentiators(
        root: strawberry.Parent[comparisons.Comparison],
        info: Info,
        category: CategoryKey = None,
        tags: OnlyTags = None,
        exclude_tags: NotTags = None,
        min_size: MinSize = MIN_SIZE,
        order: InOrder = DifferentiatorOrder.SCORE,
    ) -> list[list[differences.Differentiator]]:
        """See the description."""
        choice = differences.Choice(tags, category, exclude_tags, min_size, order)
        return await comparisons.differentiators(info.context, root, choice)


@strawberry.type(description="Something in the catalog that somebody should look at. Comes with a later version.")
class HealthIssue:
    """Comes with a later version."""

    code: str = shown("What it is, for programs.")
    message: str = shown("What it is, in a sentence.")
    subject: Node | None = shown("What it is about.")


@strawberry.type(description="How well kept the catalog is. Comes with a later version.")
class CatalogHealth:
    """Comes with a later version."""

    score: float = shown("Within 0..1.")
    issues: list[HealthIssue] = shown("What to look at.")
