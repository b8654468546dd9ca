"""What makes users alike and what is typical of them, without naming anybody."""

import strawberry

from schema.shapes import shown
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
