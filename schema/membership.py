"""What is known of one user: identifiers, attributes, and what they have of each tag."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from resolvers import changes, reasons
from schema.enums import ChangeKind, Language
from schema.scalars import BigInt, Json
from schema.shapes import Info, answer, note, shown
from schema.tag import Tag

In = Annotated[Language, note("The language of the sentence.")]


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


@strawberry.type(
    description="A node of a question with what it says of one user, and of a leaf what shows it: where `has` is null"
    " nothing is known, so the user is in no set by this tag."
)
class Reason:
    """Of a `reasons.Reason`."""

    path: str = shown('Where the node stands, as in "and.1.not"; "" is the root.')
    text: str = shown("The node in the audience language.")
    holds: bool = shown("Whether the user is in it.")
    membership: Membership | None = shown("What shows it, or what the user has of the tag instead.")
    has: TagOnProfile | None = shown("All that the user has of the tag; null where nothing is known.")
    ended: TagOnProfile | None = shown("What the user had of the tag until it ended.")
    times: BigInt | None = shown("EVENT: how often it happened, of these values and in this window.")

    @answer("list[Reason] | None", "What a saved audience or a tag with a rule stands for: its tree, of the same user.")
    @staticmethod
    async def definition(root: strawberry.Parent[reasons.Reason], info: Info) -> list[reasons.Reason] | None:
        """See the description."""
        return await reasons.definition(info.context, root)

    @answer(str, "The node in words.")
    @staticmethod
    def sentence(root: strawberry.Parent[reasons.Reason], info: Info, language: In = Language.EN) -> str:
        """See the description."""
        return reasons.sentence(info.context, root, language)


@strawberry.type(description="One write that is part of a way into an audience, or out of it.")
class Change:
    """Of a `changes.Change`."""

    kind: ChangeKind = shown("What is written.")
    tag: Tag = shown("Of which tag.")
    value: str | None = shown("The value that is given or taken, or to which it happened.")
    number: Decimal | None = shown("NUMBER: the number that is given.")
    date: datetime | None = shown("DATE: what is given.")
    score: float | None = shown("The score that is given with it, where one is asked for.")
    count: BigInt | None = shown("EVENT: how often more it has to happen.")
    at: datetime | None = shown("EVENT: when.")

    @answer(str, "The change in words.")
    @staticmethod
    def sentence(root: strawberry.Parent[changes.Change], info: Info, language: In = Language.EN) -> str:
        """See the description."""
        return changes.sentence(info.context, root, language)


@strawberry.type(description="Changes that together put a user into an audience, or out of it.")
class Flip:
    """Of a `flips.Flip`."""

    holds: bool = shown("Whether the user is in then.")
    changes: list[Change] = shown("What to write, in this order.")
