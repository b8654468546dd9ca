"""What makes users alike and what is typical of them, without naming anybody."""

from typing import Annotated

import strawberry

from resolvers import lookalikes
from schema.shapes import Info, answer, note, shown
from schema.tag import Tag


@strawberry.type(description="A value that tells an audience from all others, or that makes a user like it.")
class LookalikeReason:
    """Of a `lookalikes.Reason`."""

    tag: Tag = shown("The tag.")
    value: str | None = shown("The value; null of a tag without.")
    weight: float = shown(
        "What it adds to the score: its log-odds among the seeds less those among all others; below 0 where the seeds"
        " have it less often."
    )
    share: float | None = shown("The share of the seeds who have it.")
    other_share: float | None = shown("The share of all others who have it.")
    leaks: bool = shown("Whether nine in ten who have it are seeds: it says who they are, not what they are like.")


@strawberry.type(description="A value that a typical member of an audience has.")
class TypicalValue:
    """Of a `personas.TypicalValue`."""

    tag: Tag = shown("The tag.")
    value: str | None = shown("The value; null of a tag without.")
    share: float | None = shown("The share of the members who have it.")
    other_share: float | None = shown("The share of all others who have it.")


@strawberry.type
class Likeness:
    """Of a `lookalikes.Lookalike`: what makes users alike."""

    @answer(list[LookalikeReason], "What makes them alike, at most 100 values; what tells most comes first.")
    @staticmethod
    async def reasons(
        root: strawberry.Parent[lookalikes.Lookalike],
        info: Info,
        first: Annotated[int, note("How many at most.")] = 100,
    ) -> tuple[lookalikes.Reason, ...]:
        """See the description."""
        return await lookalikes.reasons(info.context, root, first)

    @answer(float | None, "The score of a user who has none of these values.")
    @staticmethod
    async def base(root: strawberry.Parent[lookalikes.Lookalike], info: Info) -> float:
        """See the description."""
        return await lookalikes.base(info.context, root)

    @answer(
        float | None,
        "How often a seed scores above somebody else (AUC; ties as half), on a fifth of all users held back; 0.5 is"
        " chance.",
    )
    @staticmethod
    async def auc(root: strawberry.Parent[lookalikes.Lookalike], info: Info) -> float | None:
        """See the description."""
        return await lookalikes.area(info.context, root)

    @answer(
        list[str], "What there is to know before it is used: values that say who is a seed, seeds that tell nothing."
    )
    @staticmethod
    async def notes(root: strawberry.Parent[lookalikes.Lookalike], info: Info) -> list[str]:
        """See the description."""
        return await lookalikes.notes(info.context, root)
