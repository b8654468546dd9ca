"""What an audience says of itself in text and numbers, without another audience. `audience.py` has the rest of it."""

from datetime import datetime
from typing import Annotated, NoReturn

import strawberry

from resolvers import answers, audiences, numbers, sentences
from resolvers.later import later
from schema.enums import Language
from schema.insight import Explanation, NumberSummary, ReachStep
from schema.membership import In
from schema.node import Node
from schema.scalars import BigInt
from schema.shapes import Info, answer, note, shown

IdKind = Annotated[str | None, note("The kind of identifier that names the users; user ids unless given.")]
Users = Annotated[list[str], note("The users, at most 10,000.")]


@strawberry.type
class Figures(Node):
    """Of an `answers.Question`."""

    entity: str = shown("The entity kind.")
    text: str = shown("The expression in canonical form; it parses back to the same.")
    data_version: BigInt = shown("The version of the data that this answer is of.")
    at: datetime = shown("The moment that this answer is of: expiry and windows are counted from it.")

    @answer(
        str,
        "The expression in words, with the names of the catalog: for reading. Different expressions have different"
        " sentences; what is parsed back is `text`.",
    )
    @staticmethod
    def sentence(root: strawberry.Parent[answers.Question], info: Info, language: In = Language.EN) -> str:
        """See the description."""
        return sentences.sentence(info.context, root, language)

    @answer(BigInt | None, "How many users are in; exact. null where it is withheld.")
    @staticmethod
    async def size(root: strawberry.Parent[answers.Question], info: Info) -> int:
        """See the description."""
        return await audiences.size(info.context, root)

    @answer(float | None, "The share of the entity that is in, within 0..1; 0 where the entity has nobody.")
    @staticmethod
    async def share(root: strawberry.Parent[answers.Question], info: Info) -> float:
        """See the description."""
        return await audiences.share(info.context, root)

    @answer(list[bool] | None, "For each of these users whether they are in; an unknown user is not.")
    @staticmethod
    async def contains(
        root: strawberry.Parent[answers.Question], info: Info, users: Users, id_kind: IdKind = None
    ) -> list[bool]:
        """See the description."""
        return await audiences.contains(info.context, root, users, id_kind)

    @answer(NumberSummary | None, "Statistics of a NUMBER or DATE tag over those of the audience who have it.")
    @staticmethod
    async def numbers(
        root: strawberry.Parent[answers.Question], info: Info, tag: Annotated[str, note("The key of the tag.")]
    ) -> answers.Numbers:
        """See the description."""
        return await numbers.numbers(info.context, root, tag)

    @answer(Explanation, "The size at every node of the question.")
    @staticmethod
    async def explain(root: strawberry.Parent[answers.Question], info: Info) -> answers.Explanation:
        """See the description."""
        return await audiences.explain(info.context, root)

    @answer(list[ReachStep] | None, "Whom a message can reach. Comes with a later version.")
    @staticmethod
    def reach(root: strawberry.Parent[answers.Question], info: Info) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "reach steps", "count")
