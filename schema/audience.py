"""Audiences, profiles, saved audiences, and the rows of a breakdown: they know each other, so they live together."""

from datetime import datetime
from typing import Annotated, NoReturn

import strawberry

from bitmap_store import values as plain
from resolvers import (
    answers,
    association,
    audiences,
    breakdowns,
    catalog,
    differences,
    goals,
    lookalikes,
    partitions,
    parts,
    personas,
    profiles,
    saved,
    sentences,
    splits,
)
from resolvers.association import Rule
from resolvers.cells import By
from resolvers.differences import MIN_SIZE
from resolvers.later import later
from schema.alike import Likeness, LookalikeReason, TypicalValue
from schema.enums import DifferentiatorOrder, Language, RowKind
from schema.facts import CategoryKey, Facts
from schema.figures import Figures, IdKind
from schema.inputs import BreakdownBy, SplitPart
from schema.insight import (
    AssociationItem,
    Difference,
    Edit,
    InOrder,
    MinSize,
    NotTags,
    NumberDifference,
    NumberSummary,
    OnlyTags,
)
from schema.membership import In
from schema.node import Node, PageInfo
from schema.parting import PartitionInput
from schema.scalars import BigInt
from schema.shapes import Info, answer, argument, note, shown
from schema.tag import After, First, Most, Tag
from schema.where import Baseline

Top = Annotated[int, note("How many rows at most; the others are summed up in one.")]


# ---------------------------------------------------------------- profiles


@strawberry.type(description="A user, now or at a moment of the past; then the id names the moment too.")
class Profile(Facts):
    """Of an `answers.Profile`; what names no audience is in `facts.py`."""

    @answer("list[SavedAudience]", "The saved audiences the user is in, by key.")
    @staticmethod
    async def saved_audiences(
        root: strawberry.Parent[answers.Profile], info: Info, first: Most = 50
    ) -> list[plain.SavedAudience]:
        """See the description."""
        return await profiles.saved_audiences(info.context, root, first)

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
class Audience(Figures):
    """Of an `answers.Question`; what names no other audience is in `figures.py`."""

    @answer(MemberConnection, "Who is in. Pages that follow a cursor are of the version of its first page.")
    @staticmethod
    async def members(
        root: strawberry.Parent[answers.Question], info: Info, first: First = 50, after: After = None
    ) -> answers.Members:
        """See the description."""
        return await audiences.members(info.context, root, first, after)

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

    @answer(
        "list[Differentiator] | None",
        "What sets the audience apart from a baseline: values that more or fewer have, numbers that are higher or"
        " lower; significant ones first. The audience is compared with the baseline's members outside of it.",
    )
    @staticmethod
    async def differentiators(
        root: strawberry.Parent[answers.Question],
        info: Info,
        top: Annotated[int, note("How many at most.")] = 10,
        baseline: Baseline = None,
        category: CategoryKey = None,
        tags: OnlyTags = None,
        exclude_tags: NotTags = None,
        min_size: MinSize = MIN_SIZE,
        order: InOrder = DifferentiatorOrder.SCORE,
    ) -> list[differences.Differentiator]:
        """See the description."""
        choice = differences.Choice(tags, category, exclude_tags, min_size, order)
        return await differences.differentiators(info.context, root, top, baseline, choice)

    @answer(
        "list[Suggestion] | None",
        "How to come to about so many: which clause to drop, to relax or to tighten; the nearest first, of those the"
        " simplest. Only what comes nearer than the question itself; two edits where one comes nowhere near. Of a saved"
        " audience by itself its definition is edited.",
    )
    @staticmethod
    async def goal_seek(
        root: strawberry.Parent[answers.Question],
        info: Info,
        size: Annotated[int, argument(BigInt, "How many are wanted.")],
        top: Annotated[int, note("How many suggestions at most, from 1 to 50.")] = 5,
    ) -> list[goals.Suggestion]:
        """See the description."""
        return await goals.goal_seek(info.context, root, size, top)

    @answer(
        "list[Split] | None",
        "Parts of given shares that have no user in common, by a stable hash of each user: the same seed makes the same"
        " parts, whatever the audience. Their sizes are as chance has them unless `exact`.",
    )
    @staticmethod
    async def split(
        root: strawberry.Parent[answers.Question],
        info: Info,
        parts: Annotated[list[parts.Share], argument(list[SplitPart], "The parts, at most 100.")],
        seed: Annotated[str, note("The same seed makes the same parts.")],
        control: Annotated[str | None, note("The name of one part more, of all whom the shares leave.")] = None,
        exact: Annotated[bool, note("Whether the sizes are the shares, rounded, in this version of the data.")] = False,
        stratify_by: Annotated[
            list[By] | None,
            argument(list[BreakdownBy] | None, "One to three tags: in each cell of their values the sizes are exact."),
        ] = None,
    ) -> list[parts.PartOf]:
        """See the description."""
        return await splits.split(info.context, root, parts, seed, control, exact, stratify_by)

    @answer(
        "list[Split] | None",
        "Parts by what the members prefer or are: each is in the first that takes them, and whoever is in none in the"
        " last. They have no user in common, and are the audience together.",
    )
    @staticmethod
    async def partition(
        root: strawberry.Parent[answers.Question],
        info: Info,
        by: Annotated[partitions.PartitionBy, argument(PartitionInput, "What the parts are, in order of preference.")],
        rest: Annotated[str, note("The name of the last part.")] = "other",
    ) -> list[parts.PartOf]:
        """See the description."""
        return await partitions.partition(info.context, root, by, rest)

    @answer(
        "list[AssociationRule] | None",
        "What goes with what among the members: rules between values of these tags, the largest lift first. Numbers and"
        " dates are taken in ten ranges of equal width.",
    )
    @staticmethod
    async def association(
        root: strawberry.Parent[answers.Question],
        info: Info,
        tags: Annotated[list[str], note("The tags.")],
        min_support: Annotated[
            float, note("The share of the audience that has all values of a rule, at least.")
        ] = 0.01,
        min_confidence: Annotated[
            float, note("The share of those with what is given that has the rest, at least.")
        ] = 0,
        top: Annotated[int, note("How many rules at most.")] = 10,
        size: Annotated[int, note("How many values a rule has: 2 (A, then B) or 3 (A and B, then C).")] = 2,
    ) -> list[Rule]:
        """See the description."""
        return await association.association(info.context, root, tags, min_support, min_confidence, top, size)

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
    description=(
        "A value of a tag, or the numbers of one, and how an audience differs in it from a baseline. What compares is"
        " null where the baseline has nobody outside of the audience, and of fewer than 30 numbers."
    )
)
class Differentiator:
    """Of a `differences.Differentiator`."""

    tag: Tag = shown("The tag.")
    value: str | None = shown("The value; null of a FLAG, and of NUMBER and DATE, of which `numbers` tells.")
    size: BigInt | None = shown("How many of the audience have it, or have a number.")
    share: float | None = shown("Their share of the audience.")
    baseline_size: BigInt | None = shown("How many of the baseline have it.")
    baseline_share: float | None = shown("The share of the baseline who have it.")
    outside_share: float | None = shown("The share of the baseline's members outside of the audience who have it.")
    tgi: float | None = shown("The share as a percentage of the baseline's; null where the baseline has nobody.")
    difference: Difference | None = shown("The share less that of those outside (Newcombe); null of numbers.")
    z_score: float | None = shown("How far the shares, or the means, are apart, in standard errors.")
    p_value: float | None = shown("How likely so much or more is by chance; exact where few are to be expected.")
    adjusted_p_value: float | None = shown("The same, corrected for how much was asked at once (Benjamini, Hochberg).")
    significant: bool = shown("Whether that is 0.05 or less, and there are enough of them (`minSize`).")
    numbers: NumberDifference | None = shown("NUMBER, DATE: how the numbers differ, which is what is tested.")
    audience: Audience | None = shown("Those of the audience who have it.")


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

    @answer(str, "The figures in words: its largest values beside the baseline, and where its numbers lie.")
    @staticmethod
    def sentence(root: strawberry.Parent[answers.Portrait], info: Info, language: In = Language.EN) -> str:
        """See the description."""
        return sentences.portrait_sentence(info.context, root, language)


@strawberry.type(description="A way to come to about so many.")
class Suggestion:
    """Of a `goals.Suggestion`."""

    size: BigInt | None = shown("How many the audience has after the edits.")
    edits: list[Edit] = shown("The edits; of two the second is of the question as the first left it.")
    audience: Audience = shown("The audience after the edits.")


@strawberry.type(description="A part of an audience, which is an audience itself: it can be saved, joined and split.")
class Split:
    """Of a `parts.PartOf`."""

    name: str = shown("The name of the part.")
    target: float | None = shown("The share that was asked for; null where the part is not by a share.")
    control: bool = shown("Whether it is the control group.")
    audience: Audience = shown("Its users.")

    @answer(BigInt | None, "How many they are; exact.")
    @staticmethod
    async def size(root: strawberry.Parent[parts.PartOf], info: Info) -> int:
        """See the description."""
        return await parts.size(info.context, root)

    @answer(float | None, "Their share of the whole audience; 0 of nobody.")
    @staticmethod
    async def share(root: strawberry.Parent[parts.PartOf], info: Info) -> float:
        """See the description."""
        return await parts.share(info.context, root)


@strawberry.type(description="Whoever has what is given often has `then`, too. Sizes and shares are of the audience.")
class AssociationRule:
    """Of an `association.Rule`."""

    given: list[AssociationItem] = shown("What is given: one value, or two.")
    then: AssociationItem = shown("What goes with it.")
    size: BigInt | None = shown("How many have all of it.")
    given_size: BigInt | None = shown("How many have what is given.")
    then_size: BigInt | None = shown("How many have `then`.")
    support: float | None = shown("The share of the audience that has all of it.")
    confidence: float | None = shown("size / givenSize.")
    lift: float | None = shown("How many times as often as if the sides had nothing to do with each other.")
    audience: Audience = shown("Those who have all of it.")
    given_audience: Audience = shown("Those who have what is given.")
    then_audience: Audience = shown("Those who have `then`.")
    missing: Audience = shown("Those who have what is given, and not `then`: whom to offer it.")


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
class Lookalike(Likeness):
    """Of a `lookalikes.Lookalike`; what names no audience and nobody is in `alike.py`."""

    audience: Audience = shown("The users: of equally high scores those known longest, and as an audience `like (…)`.")

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

    @answer(list[Node], "The tags, saved audiences and experiments whose definition names it.")
    @staticmethod
    def used_by(
        root: strawberry.Parent[plain.SavedAudience], info: Info, first: Most = 50
    ) -> list[plain.Tag | plain.SavedAudience | plain.Experiment]:
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
