"""Statistics of NUMBER and DATE tags over an audience: exact sums, quantiles, histograms.

A DATE counts as a number of days or seconds since 1970, as is its precision.
"""

from collections.abc import Sequence

from bitmap_store.errors import Invalid, TooLarge
from bitmap_store.plan import Plan
from bitmap_store.values import Tag, TagKind
from resolvers.answers import Bin, Numbers, Question
from resolvers.context import Context, bounded

NUMBER_KINDS = frozenset({TagKind.NUMBER, TagKind.DATE})
"""Kinds that can be summed up."""


async def numbers(context: Context, question: Question, key: str) -> Numbers:
    """Statistics of a tag over the users of an audience who have it; INVALID for kinds without numbers."""
    context.viewer.require("count")
    tag = context.view.catalog.tag_of(question.entity, key, argument="tag")
    if tag.kind not in NUMBER_KINDS:
        raise Invalid(f"{tag.key!r} is of kind {tag.kind} and has no numbers", argument="tag")
    return await numbers_of(context, question.plan, tag)


async def numbers_of(context: Context, plan: Plan, tag: Tag, quantiles: Sequence[float] = ()) -> Numbers:
    """Statistics of a tag over the users of a plan who have it."""
    context.spend([plan])
    return Numbers(tag, plan, await context.store.summarise(plan, tag, quantiles))


async def quantiles(context: Context, found: Numbers, at: Sequence[float]) -> list[float | None]:
    """For each share the smallest value with at least that share of users at or below it; None of nobody."""
    if len(at) > context.limits.quantiles_max:
        raise TooLarge(f"a request asks for at most {context.limits.quantiles_max} quantiles", argument="at")
    wrong = next((i for i, share in enumerate(at) if not 0 <= share <= 1), None)
    if wrong is not None:
        raise Invalid("a quantile lies within 0..1", argument=f"at.{wrong}")
    summary = (await numbers_of(context, found.plan, found.tag, at)).summary
    return [None if units is None else float(found.exact(units)) for units in summary.quantiles]


async def histogram(context: Context, found: Numbers, bins: int) -> list[Bin]:
    """Bars of equal width between the smallest and the largest value; none of nobody."""
    bins = bounded(bins, context.limits.bins_max, "bins")
    if found.min is None or found.max is None:
        return []
    summary = await context.store.summarise(found.plan, found.tag, bins=bins)
    low, width = float(found.min), float(found.max - found.min) / bins
    edges = [low + width * i for i in range(bins)] + [float(found.max)]
    return [Bin(edges[i], edges[i + 1], size) for i, size in enumerate(summary.bins)]
