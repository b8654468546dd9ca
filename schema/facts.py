"""What a profile says of a user, without an audience as its answer. `audience.py` has the rest of it."""

from typing import Annotated

import strawberry

from bitmap_store import values as plain
from resolvers import answers, flips, profiles, reasons
from schema.membership import AttributeValue, Flip, Identifier, Reason, TagOnProfile
from schema.node import Node
from schema.shapes import Info, answer, note, shown
from schema.where import Where

CategoryKey = Annotated[str | None, note("The key of a category: only tags in it or below it.")]


@strawberry.type
class Facts(Node):
    """Of an `answers.Profile`."""

    entity: str = shown("The entity kind.")
    user_id: str = shown("The outside name.")

    @answer(list[Identifier], "The other outside names.")
    @staticmethod
    async def identifiers(root: strawberry.Parent[answers.Profile], info: Info) -> list[plain.Identifier]:
        """See the description."""
        return await profiles.identifiers(info.context, root)

    @answer(list[AttributeValue], "Stored facts that are not asked by.")
    @staticmethod
    async def attributes(
        root: strawberry.Parent[answers.Profile],
        info: Info,
        keys: Annotated[list[str] | None, note("Only these, in this order, as far as they are there.")] = None,
    ) -> list[tuple[str, object]]:
        """See the description."""
        return await profiles.attributes(info.context, root, keys)

    @answer(list[TagOnProfile], "What the user has of each tag; a tag they have nothing of is left out.")
    @staticmethod
    async def tags(
        root: strawberry.Parent[answers.Profile],
        info: Info,
        keys: Annotated[list[str] | None, note("Only these tags, in this order.")] = None,
        category: CategoryKey = None,
    ) -> tuple[answers.TagOnProfile, ...]:
        """See the description."""
        return await profiles.tags(info.context, root, keys, category)

    @answer(list[TagOnProfile], "What the user had until it ended: `expiresAt` says when. Counts in no audience.")
    @staticmethod
    async def expired_tags(root: strawberry.Parent[answers.Profile], info: Info) -> tuple[answers.TagOnProfile, ...]:
        """See the description."""
        return await profiles.expired_tags(info.context, root)

    @answer(bool | None, "Whether the user is in an audience.")
    @staticmethod
    async def is_in(root: strawberry.Parent[answers.Profile], info: Info, where: Where) -> bool:
        """See the description."""
        return await profiles.is_in(info.context, root, where)

    @answer(
        list[Reason] | None,
        "Why the user is in an audience, or is not: the tree in preorder, what holds at each node, and its evidence.",
    )
    @staticmethod
    async def why(root: strawberry.Parent[answers.Profile], info: Info, where: Where) -> list[reasons.Reason]:
        """See the description."""
        return await reasons.why(info.context, root, where)

    @answer(
        list[Flip] | None,
        "The nearest changes that would put the user into an audience, or out of it: the fewest first.",
    )
    @staticmethod
    async def nearest(
        root: strawberry.Parent[answers.Profile],
        info: Info,
        where: Where,
        top: Annotated[int, note("How many ways at most, from 1 to 50.")] = 5,
    ) -> list[flips.Flip]:
        """See the description."""
        return await flips.nearest(info.context, root, where, top)
