"""Audiences beside each other, and the health of the catalog: both come with a later version."""

import strawberry

from schema.audience import Audience
from schema.insight import Differentiator
from schema.node import Node
from schema.scalars import BigInt
from schema.shapes import shown


@strawberry.type(description="Users who are in some audiences and in no other of those compared.")
class Region:
    """Comes with a later version."""

    in_audiences: list[int] = shown("The audiences they are in, as places in the list that was sent.")
    size: BigInt | None = shown("How many they are.")
    audience: Audience = shown("These users as an audience of their own.")


@strawberry.type(description="Audiences beside each other. Comes with a later version.")
class Comparison:
    """Comes with a later version."""

    sizes: list[BigInt | None] = shown("The size of each.")
    regions: list[Region] = shown("Every exclusive region of up to 8 audiences; they sum to the union.")
    jaccard: list[list[float | None]] = shown("How much each two have in common, as a share of their union.")
    differentiators: list[list[Differentiator]] = shown("What sets each apart from all others together.")


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
