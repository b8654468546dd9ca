"""What is told of an audience in numbers, without naming anybody: statistics, sizes at nodes, differences."""

from decimal import Decimal
from typing import Annotated

import strawberry

from resolvers import analysis, answers, audiences, differences, numbers
from schema.enums import DifferentiatorOrder, EditKind, FindingKind, Language
from schema.membership import In
from schema.scalars import BigInt
from schema.shapes import Info, answer, note, shown
from schema.tag import Tag

OnlyTags = Annotated[list[str] | None, note("Only these tags; all of the entity unless given.")]
NotTags = Annotated[list[str] | None, note("Not these tags, such as those that an audience is asked by.")]
MinSize = Annotated[
    int, note("So many of the audience have it, or would at the rate of the others, to be significant.")
]
InOrder = Annotated[DifferentiatorOrder, note("What comes first behind what is significant.")]


@strawberry.type(description="A bar of a histogram.")
class HistogramBin:
    """Of an `answers.Bin`."""

    low: float = shown("Where it begins.", "from")
    high: float = shown("Where it ends; only the last bar holds its end.", "to")
    size: BigInt | None = shown("How many lie in it.")


@strawberry.type(
    description=(
        "Statistics of a NUMBER tag over the users who have it. Of a DATE tag they are of days or seconds since"
        " 1970, as is its precision."
    )
)
class NumberSummary:
    """Of an `answers.Numbers`."""

    count: BigInt | None = shown("How many have a value.")
    sum: Decimal | None = shown("The exact sum.")
    mean: float | None = shown("The mean; null of nobody.")
    min: Decimal | None = shown("The smallest value; null of nobody.")
    max: Decimal | None = shown("The largest value; null of nobody.")
    median: float | None = shown("The middle value, or the mean of the two in the middle; null of nobody.")

    @answer(
        list[float | None] | None,
        "For each share the smallest value with at least that share of users at or below it (inverted CDF).",
    )
    @staticmethod
    async def quantiles(
        root: strawberry.Parent[answers.Numbers],
        info: Info,
        at: Annotated[list[float], note("Shares within 0..1, at most 100.")],
    ) -> list[float | None]:
        """See the description."""
        return await numbers.quantiles(info.context, root, at)

    @answer(list[HistogramBin] | None, "Bars of equal width from the smallest value to the largest.")
    @staticmethod
    async def histogram(
        root: strawberry.Parent[answers.Numbers],
        info: Info,
        bins: Annotated[int, note("How many bars, from 1 to 1,000.")] = 20,
    ) -> list[answers.Bin]:
        """See the description."""
        return await numbers.histogram(info.context, root, bins)


@strawberry.type(description="A node of a question, as it was asked.")
class ExplanationNode:
    """Of an `answers.ExplanationNode`."""

    path: str = shown('Where it stands, as in "and.1.not"; "" is the root.')
    text: str = shown("The node in the audience language.")
    size: BigInt | None = shown("How many the node has by itself.")

    @answer(
        BigInt | None,
        "The size of the whole question without this node; null where nothing of the question would be left.",
    )
    @staticmethod
    async def size_without(root: strawberry.Parent[answers.ExplanationNode], info: Info) -> int | None:
        """See the description."""
        return await audiences.size_without(info.context, root)


@strawberry.type(description="Something odd about a node of a question.")
class Finding:
    """Of an `analysis.Finding`."""

    kind: FindingKind = shown("What it is.")
    always: bool = shown(
        "Whether it holds whatever the data, by the form of the question; else it holds now, by sizes."
    )
    path: str = shown('Where the node stands; "" is the whole question.')
    text: str = shown("The node in the audience language.")
    size: BigInt | None = shown("How many the node has by itself.")
    causes: list[str] = shown("CONTRADICTION: the paths of the fewest clauses that have nobody in common.")
    saved: str | None = shown("The key of the saved audience that it is compared with.")
    saved_size: BigInt | None = shown("How many that has.")

    @answer(str, "The finding in words.")
    @staticmethod
    def sentence(root: strawberry.Parent[analysis.Finding], info: Info, language: In = Language.EN) -> str:
        """See the description."""
        return analysis.sentence(root, language)


@strawberry.type(description="The size of a question at every node.")
class Explanation:
    """Of an `answers.Explanation`."""

    milliseconds: float = shown("How long counting them took.")
    nodes: list[ExplanationNode] = shown("The nodes of the question as it was asked, in preorder.")

    @answer(
        list[Finding],
        "What is odd about the question: nobody can be in it, all are, a clause changes nothing, it is saved already.",
    )
    @staticmethod
    async def findings(root: strawberry.Parent[answers.Explanation], info: Info) -> list[analysis.Finding]:
        """See the description."""
        return await analysis.findings(info.context, root)


@strawberry.type(description="A change to a clause of a question.")
class Edit:
    """Of a `goals.Edit`."""

    kind: EditKind = shown("What is changed.")
    path: str = shown('Where the clause stands, as in "and.1".')
    before: str = shown("The clause as it was.")
    after: str | None = shown("The clause as it is then; null where it is dropped.")


@strawberry.type(description="How much more an audience has than those it is compared with.")
class Difference:
    """Of a `differences.Difference`."""

    value: float = shown("How much more; less where it is below 0.")
    low: float = shown("Where its 95 % confidence interval begins.")
    high: float = shown("Where it ends.")


@strawberry.type(description="The medians of an audience and of those it is compared with.")
class MedianDifference:
    """Of a `differences.Medians`."""

    median: float | None = shown("The median of the audience; null of nobody.")
    outside_median: float | None = shown("The median of those outside of it; null of nobody.")
    difference: float | None = shown("How much higher that of the audience is.")


@strawberry.type(
    description=(
        "The numbers of an audience beside those of the members of the baseline outside of it; of a DATE tag days or"
        " seconds since 1970."
    )
)
class NumberDifference:
    """Of a `differences.NumberDifference`."""

    mean: float | None = shown("The mean of the audience; null of nobody.")
    outside_mean: float | None = shown("The mean of those outside of it; null of nobody.")
    difference: Difference | None = shown("The difference of the means (Welch); null with fewer than two numbers.")
    effect_size: float | None = shown("The difference in standard deviations within the groups (Cohen's d).")

    @answer(MedianDifference | None, "The medians, which take longer.")
    @staticmethod
    async def medians(root: strawberry.Parent[differences.NumberDifference], info: Info) -> differences.Medians:
        """See the description."""
        return await differences.medians(info.context, root)


@strawberry.type(description="A step from an audience to those whom a message can reach. Comes with a later version.")
class ReachStep:
    """Comes with a later version."""

    name: str = shown("The step.")
    size: BigInt | None = shown("How many are left.")
    lost: BigInt | None = shown("How many it took away.")


@strawberry.type(description="One value of a tag, or one range of a number.")
class AssociationItem:
    """Of an `association.Item`."""

    tag: Tag = shown("The tag.")
    value: str | None = shown("The value; null of a FLAG.")
