"""What is known of one user: identifiers, attributes, and what they have of each tag."""

from datetime import datetime
from decimal import Decimal

import strawberry

from schema.scalars import BigInt, Json
from schema.shapes import answer, shown
from schema.tag import Tag


@strawberry.type(description="An outside name of a user.")
class Identifier:
    """Of a `values.Identifier`."""

    kind: str = shown("The kind, such as email or device.")
    value: str = shown("The name.")


@strawberry.type(description="A stored fact about a user that is not asked by.")
class AttributeValue:
    """Of a pair of key and value."""

    @answer(str, "The key.")
    @staticmethod
    def key(root: strawberry.Parent[tuple[str, object]]) -> str:
        """See the description."""
        return root[0]

    @answer(Json | None, "The value.")
    @staticmethod
    def value(root: strawberry.Parent[tuple[str, object]]) -> object:
        """See the description."""
        return root[1]


@strawberry.type(description="One value of one tag on one profile.")
class Membership:
    """Of a `values.Membership`."""

    value: str | None = shown("The value, of a kind that has values.")
    since: datetime = shown(
        "When it began; of a tag with a rule, when the rule was defined; of an EVENT, the first day."
    )
    expires_at: datetime | None = shown("When it ends.")
    source: str | None = shown("Which import, rule, form or model said so.")
    score: float | None = shown("How sure a model is.")
    count: BigInt | None = shown("EVENT: how often, in all.")
    last_at: datetime | None = shown("EVENT: when last.")


@strawberry.type(description="What a profile has of one tag.")
class TagOnProfile:
    """Of an `answers.TagOnProfile`."""

    tag: Tag = shown("The tag.")
    values: list[str] = shown("CHOICE, CHOICES, EVENT: the values.")
    number: Decimal | None = shown("NUMBER: the value.")
    date: datetime | None = shown("DATE: the value; a day where the tag has the precision DAY.")
    memberships: list[Membership] = shown("One for each value.")


@strawberry.type(description="A node of a question with what it says of one user. Comes with a later version.")
class Reason:
    """Comes with a later version."""

    path: str = shown('Where the node stands, as in "and.1.not"; "" is the root.')
    text: str = shown("The node in the audience language.")
    holds: bool = shown("Whether the user is in it.")
    membership: Membership | None = shown("What shows it.")
