"""Audiences, profiles, saved audiences, and the rows of a breakdown: they know each other, so they live together."""

from datetime import datetime
from typing import Annotated, NoReturn

import strawberry

from bitmap_store import values as plain
from resolvers import answers, audiences, breakdowns, catalog, lookalikes, numbers, personas, profiles, saved
from resolvers.cells import By
from resolvers.later import later
from schema.alike import LookalikeReason, TypicalValue
from schema.enums import Language, RowKind
from schema.inputs import BreakdownBy, SplitPart
from schema.insight import Differentiator, Explanation, NumberSummary, ReachStep
from schema.membership import AttributeValue, Identifier, Reason, TagOnProfile
from schema.node import Node, PageInfo
from schema.scalars import BigInt
from schema.shapes import Info, answer, argument, note, shown
from schema.tag import After, First, Most, Tag
from schema.where import Baseline, Where

Top = Annotated[int, note("How many rows at most; the others are summed up in one.")]
IdKind = Annotated[str | None, note("The kind of identifier that names the users; user ids unless given.")]
Users = Annotated[list[str], note("The users, at most 10,000.")]
CategoryKey = Annotated[str | None, note("The key of a category: only tags in it or below it.")]


# ---------------------------------------------------------------- profiles


@strawberry.type(description="A user, now or at a moment of the past; then the id names the moment too.")
class Profile(Node):
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

    @answer("list[SavedAudience]", "The saved audiences the user is in, by key.")
    @staticmethod
    async def saved_audiences(
        root: strawberry.Parent[answers.Profile], info: Info, first: Most = 50
    ) -> list[plain.SavedAudience]:
        """See the description."""
        return await profiles.saved_audiences(info.context, root, first)

    @answer(bool | None, "Whether the user is in an audience.")
    @staticmethod
    async def is_in(root: strawberry.Parent[answers.Profile], info: Info, where: Where) -> bool:
        """See the description."""
        return await profiles.is_in(info.context, root, where)

    @answer(list[Reason] | None, "Why the user is in an audience, or is not. Comes with a later version.")
    @staticmethod
    def why(root: strawberry.Parent[answers.Profile], info: Info, where: Where) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "reasons", "members")

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """Whether a node is a profile."""
        return isinstance(value, answers.Profile)


@strawberry.type(description="A member on a page.")
class MemberEdge:
    """Of an `answers.Edge`."""

    cursor: str = shown("Where this member stands; it belongs to a version of the data.")
    node: Profile = shown("The member.")


@strawberry.type(description="A page of members in a stable order. Its cursors fix the version and the moment.")
class MemberConnection:
    """Of an `answers.Members`."""

    edges: list[MemberEdge] = shown("The members of the page.")
    page_info: PageInfo = shown("Where the page stands.")

    @answer(BigInt | None, "How many members there are on all pages.")
    @staticmethod
    async def total_count(root: strawberry.Parent[answers.Members], info: Info) -> int:
        """See the description."""
        return await audiences.member_count(info.context, root)


# ---------------------------------------------------------------- audiences


@strawberry.type(description="A set of users, described by an expression. Its id holds the question itself.")
class Audience(Node):
    """Of an `answers.Question`."""

    entity: str = shown("The entity kind.")
    text: str = shown("The expression in canonical form; it parses back to the same.")
    data_version: BigInt = shown("The version of the data that this answer is of.")
    at: datetime = shown("The moment that this answer is of: expiry and windows are counted from it.")

    @answer(str, "The expression as a sentence. Comes with a later version.")
    @staticmethod
    def sentence(
        root: strawberry.Parent[answers.Question],
        info: Info,
        language: Annotated[Language, note("The language of the sentence.")] = Language.EN,
    ) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "sentences", "count", "members")

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

    @answer(MemberConnection, "Who is in. Pages that follow a cursor are of the version of its first page.")
    @staticmethod
    async def members(
        root: strawberry.Parent[answers.Question], info: Info, first: First = 50, after: After = None
    ) -> answers.Members:
        """See the description."""
        return await audiences.members(info.context, root, first, after)

    @answer(list[bool] | None, "For each of these users whether they are in; an unknown user is not.")
    @staticmethod
    async def contains(
        root: strawberry.Parent[answers.Question], info: Info, users: Users, id_kind: IdKind = None
    ) -> list[bool]:
        """See the description."""
        return await audiences.contains(info.context, root, users, id_kind)

    @answer("list[TagPortrait] | None", "The audience by the values of each of its tags.")
    @staticmethod
    async def portrait(
        root: strawberry.Parent[answers.Question],
        info: Info,
        tags: Annotated[list[str] | None, note("Only these tags; all of the entity unless given.")] = None,
        category: CategoryKey = None,
        top: Top = 15,
        baseline: Baseline = None,
    ) -> list[answers.Portrait]:
        """See the description."""
        return await breakdowns.portrait(info.context, root, tags, category, top, baseline)

    @answer(
        "list[BreakdownRow] | None",
        "The audience by the values of one to three tags: the largest rows (those of numbers and dates in their own"
        " order), then the others, if any, and those of whom a tag is not known.",
    )
    @staticmethod
    async def breakdown(
        root: strawberry.Parent[answers.Question],
        info: Info,
        by: Annotated[list[By], argument(list[BreakdownBy], "The tags, from one to three.")],
        top: Top = 15,
        baseline: Baseline = None,
    ) -> list[answers.Row]:
        """See the description."""
        return await breakdowns.breakdown(info.context, root, by, top, baseline)

    @answer(list[Differentiator] | None, "What sets the audience apart. Comes with a later version.")
    @staticmethod
    def differentiators(
        root: strawberry.Parent[answers.Question],
        info: Info,
        top: Top = 10,
        baseline: Baseline = None,
        category: CategoryKey = None,
    ) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "differentiators", "count")

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

    @answer("list[Split] | None", "Parts of fixed shares that do not overlap. Comes with a later version.")
    @staticmethod
    def split(
        root: strawberry.Parent[answers.Question],
        info: Info,
        parts: Annotated[list[object], argument(list[SplitPart], "The parts.")],
        seed: Annotated[str, note("The same seed makes the same parts.")],
    ) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "splits", "count")

    @answer("Lookalike | None", "The users most like these, who are the seeds and are not in it themselves.")
    @staticmethod
    def lookalike(
        root: strawberry.Parent[answers.Question],
        info: Info,
        size: Annotated[int, argument(BigInt, "How many are wanted.")],
        exclude_tags: Annotated[list[str] | None, note("Tags that may not count.")] = None,
    ) -> lookalikes.Lookalike:
        """See the description."""
        return lookalikes.lookalike(info.context, root, size, exclude_tags)

    @answer("Persona | None", "What a typical member is like.")
    @staticmethod
    async def persona(
        root: strawberry.Parent[answers.Question],
        info: Info,
        top: Annotated[int, note("How many values at most, those that tell most.")] = 10,
    ) -> personas.Persona:
        """See the description."""
        return await personas.persona(info.context, root, top)

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """Whether a node is an audience."""
        return isinstance(value, answers.Question)


@strawberry.type(
    description="A part of an audience. Shares are of the whole audience and the whole baseline, known or not."
)
class BreakdownRow:
    """Of an `answers.Row`."""

    kind: RowKind = shown("What the users of the row have in common.")
    values: list[str | None] = shown("The value of each tag, in the order of the tags; null where there is none.")
    size: BigInt | None = shown("How many they are.")
    share: float | None = shown("Their share of the audience; 0 of nobody.")
    baseline_share: float | None = shown("The share of the baseline who have the same values; 0 of nobody.")
    tgi: float | None = shown("share / baselineShare * 100; null where the baseline has nobody.")
    audience: Audience | None = shown("These users as an audience of their own.")


@strawberry.type(description="An audience by the values of one tag.")
class TagPortrait:
    """Of an `answers.Portrait`."""

    tag: Tag = shown("The tag.")
    known: BigInt | None = shown("How many of the audience have any value.")
    exclusive: bool = shown("Whether nobody has two values, so that the rows sum to the audience.")
    rows: list[BreakdownRow] = shown("As of a breakdown by this tag; numbers and dates in ten ranges of equal width.")
    numbers: NumberSummary | None = shown("NUMBER, DATE: statistics over those who have a value.")


@strawberry.type(description="A part of a split. Comes with a later version.")
class Split:
    """Comes with a later version."""

    name: str = shown("The name of the part.")
    audience: Audience = shown("Its users.")


@strawberry.type(description="How like the seeds a user is.")
class LookalikeScore:
    """Of a `lookalikes.Score`."""

    profile: Profile = shown("The user.")
    score: float = shown(
        "How many times likelier what the user has is among the seeds than among all others, as a natural logarithm:"
        " the base and the weights of the reasons. 0 is as likely among both."
    )
    reasons: list[LookalikeReason] = shown("Those that the user has, the heaviest first.")


@strawberry.type(description="The users most like an audience, the seeds.")
class Lookalike:
    """Of a `lookalikes.Lookalike`."""

    audience: Audience = shown("The users: of equally high scores those known longest, and as an audience `like (…)`.")

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

    @answer(list[LookalikeScore] | None, "Those of them with the highest scores, the highest first.")
    @staticmethod
    async def best(
        root: strawberry.Parent[lookalikes.Lookalike],
        info: Info,
        first: Annotated[int, note("How many, at most 1,000.")] = 10,
    ) -> list[lookalikes.Score]:
        """See the description."""
        return await lookalikes.best(info.context, root, first)

    @answer(list[LookalikeScore | None] | None, "How like the seeds each of these is, in or not; null if unknown.")
    @staticmethod
    async def scores(
        root: strawberry.Parent[lookalikes.Lookalike],
        info: Info,
        users: Annotated[list[str], note("The users, at most 1,000.")],
        id_kind: IdKind = None,
    ) -> list[lookalikes.Score | None]:
        """See the description."""
        return await lookalikes.scores(info.context, root, users, id_kind)


@strawberry.type(description="A member of an audience who comes near to a typical one.")
class Exemplar:
    """Of a `personas.Exemplar`."""

    profile: Profile = shown("The user.")
    values: list[TypicalValue] = shown("Those of the typical values that the user has.")


@strawberry.type(description="A typical member of an audience.")
class Persona:
    """Of a `personas.Persona`."""

    @answer(list[TypicalValue] | None, "What is typical of the members; what is least so of all others comes first.")
    @staticmethod
    def values(root: strawberry.Parent[personas.Persona], info: Info) -> tuple[personas.TypicalValue, ...]:
        """See the description."""
        return personas.values(info.context, root)

    @answer(
        list[Exemplar] | None, "Members with most of these values; of equal ones those with what is usual otherwise."
    )
    @staticmethod
    async def exemplars(
        root: strawberry.Parent[personas.Persona],
        info: Info,
        first: Annotated[int, note("How many, at most 1,000.")] = 3,
    ) -> list[personas.Exemplar]:
        """See the description."""
        return await personas.exemplars(info.context, root, first)


# ---------------------------------------------------------------- saved audiences


@strawberry.type(description="A frozen audience. Comes with a later version.")
class Snapshot(Node):
    """Comes with a later version."""

    at: datetime = shown("When it was frozen.")
    size: BigInt | None = shown("How many members it has.")
    text: str = shown("The expression it was frozen from.")
    sha256: str = shown("What proves its members.")
    erased_since: BigInt = shown("How many of its members were erased since.")
    audience: Audience = shown("Its members.")

    @classmethod
    def is_type_of(cls, _: object, __: object) -> bool:
        """Whether a node is a snapshot: there is none yet."""
        return False


@strawberry.type(description="A snapshot on a page. Comes with a later version.")
class SnapshotEdge:
    """Comes with a later version."""

    cursor: str = shown("Where this snapshot stands.")
    node: Snapshot = shown("The snapshot.")


@strawberry.type(description="A page of snapshots. Comes with a later version.")
class SnapshotConnection:
    """Comes with a later version."""

    edges: list[SnapshotEdge] = shown("The snapshots of the page.")
    page_info: PageInfo = shown("Where the page stands.")
    total_count: BigInt = shown("How many there are on all pages.")


@strawberry.type(description="An audience with a name. What is kept is its expression, read whenever it is used.")
class SavedAudience(Node):
    """Of a `values.SavedAudience`."""

    key: str = shown("The key by which it is used, as in @key.")
    name: str = shown("The name for people.")
    entity: str = shown("The entity kind.")
    owner: str | None = shown("Who saved it first.")
    version: int = shown("Counts the changes of the definition.")

    @answer(str, "The expression in canonical form; where it lists users, for those who may see members.")
    @staticmethod
    def text(root: strawberry.Parent[plain.SavedAudience], info: Info) -> str:
        """See the description."""
        return saved.text(info.context, root.text)

    @answer(Audience, "Its members by the definition of today.")
    @staticmethod
    def audience(root: strawberry.Parent[plain.SavedAudience], info: Info) -> answers.Question:
        """See the description."""
        return saved.audience(info.context, root)

    @answer(SnapshotConnection, "Its frozen states. Come with a later version.")
    @staticmethod
    def snapshots(
        root: strawberry.Parent[plain.SavedAudience], info: Info, first: First = 50, after: After = None
    ) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "snapshots", "count")

    @answer(list[Node], "The tags and saved audiences whose definition names it.")
    @staticmethod
    def used_by(
        root: strawberry.Parent[plain.SavedAudience], info: Info, first: Most = 50
    ) -> list[plain.Tag | plain.SavedAudience]:
        """See the description."""
        return catalog.used_by(info.context, root, first)

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """Whether a node is a saved audience."""
        return isinstance(value, plain.SavedAudience)


@strawberry.type(description="A saved audience on a page.")
class SavedAudienceEdge:
    """Of an `answers.Edge`."""

    cursor: str = shown("Where this saved audience stands.")
    node: SavedAudience = shown("The saved audience.")


@strawberry.type(description="A page of saved audiences, by key.")
class SavedAudienceConnection:
    """Of an `answers.Connection`."""

    edges: list[SavedAudienceEdge] = shown("The saved audiences of the page.")
    page_info: PageInfo = shown("Where the page stands.")
    total_count: BigInt = shown("How many there are on all pages.")
