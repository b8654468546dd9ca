"""What a treatment did: rates of an outcome in treated parts against a control, with intervals, p-values and a warning
where the parts do not have the sizes they should. Planning the sizes is here too; the formulas are in `trials.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import isfinite

from bitmap_store.errors import Invalid
from bitmap_store.plan import AllOf, AnyOf, Plan
from resolvers.answers import Question
from resolvers.asked import Asked
from resolvers.audiences import question_at, ratio
from resolvers.context import Context, bounded
from resolvers.parts import ROUNDING, check_name
from resolvers.statistics import (
    DISCOVERY_RATE,
    Interval,
    adjusted,
    difference_interval,
    ratio_interval,
    share_interval,
    share_p_values,
    z_scores,
)
from resolvers.trials import chi_squared, chi_squared_p_value, detectable, power_of, sample_sizes

MISMATCH = 0.001
"""Below this p-value sizes are taken to be wrong, as is usual of sample ratios (Fabijan and others 2019)."""
GROUP_MAX = 2**53
RATE_LEAST = 1e-9
"""Planned rates and their differences are no nearer than this to 0, nor rates to 1: beyond, floats cannot tell them."""
ALPHA_LEAST, ALPHA_MOST = 1e-12, 0.5
"""Of levels of tests: beyond, floats cannot tell 1 - alpha / 2 from 1; above, chance is more likely than not."""
POWER_MOST = 1 - 1e-12


@dataclass(frozen=True, slots=True)
class Measured:
    """A part whose outcome is asked for. share: what it should have, for the check of sizes."""

    name: str
    where: Asked
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """An interval; an end is None where nothing can be said."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Effect:
    """The outcome in one part, beside that of the control; of the control itself nothing stands beside.

    Of nobody there is no rate, and nothing is compared with it.
    """

    name: str
    audience: Question
    size: int
    converted: int
    rate: float | None
    rate_interval: Span
    difference: float | None = None
    difference_interval: Span | None = None
    lift: float | None = None
    lift_interval: Span | None = None
    z_score: float | None = None
    p_value: float | None = None
    significant: bool = False


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Whether sizes are what shares say: how far they are, how likely by chance, and whether that is too unlikely."""

    chi_squared: float
    p_value: float

    @property
    def mismatch(self) -> bool:
        """Whether something other than chance is to be looked for before any result is believed."""
        return self.p_value < MISMATCH


@dataclass(frozen=True, slots=True)
class Effects:
    """The control, the parts beside it, and whether their sizes are right, where that was asked."""

    control: Effect
    parts: tuple[Effect, ...]
    sample_ratio: SampleRatio | None


async def effects(
    context: Context,
    parts: Sequence[Measured],
    control: str,
    outcome: Asked,
    entity: str,
    as_of: datetime | None = None,
) -> Effects:
    """The rate of the outcome in each part against that in the part called `control`; INVALID where two share users."""
    context.viewer.require("count")
    bounded(len(parts), context.limits.parts_max, "parts")
    names: set[str] = set()
    left = Fraction(1)
    for i, part in enumerate(parts):
        check_name(part.name, names, f"parts.{i}.name")
        if part.share is None:
            continue
        if not 0 < part.share <= 1:
            raise Invalid("a share lies within 0..1, and is more than 0", argument=f"parts.{i}.share")
        left -= Fraction(repr(part.share))
        if left < -ROUNDING:
            raise Invalid("the shares are more than 1 in sum", argument=f"parts.{i}.share")
    if control not in names:
        raise Invalid(f"no part is called {control!r}", argument="control")
    if len(parts) < 2:
        raise Invalid("a control is compared with another part at least", argument="parts")
    given = [part.share for part in parts if part.share is not None]
    if given and len(given) < len(parts):
        raise Invalid("all parts have a share, or none has", argument="parts")
    reading = context.reading(entity, as_of)
    groups = [(part.name, question_at(context, part.where, entity, reading, as_of)) for part in parts]
    asked = question_at(context, outcome, entity, reading, as_of)
    return await measured(context, groups, control, asked, given or None)


async def measured(
    context: Context,
    groups: Sequence[tuple[str, Question]],
    control: str,
    outcome: Question,
    shares: Sequence[float] | None,
) -> Effects:
    """`effects` of parts that are audiences of one reading already. Costs two sizes for each part."""
    reading = outcome.plan.reading
    wholes = [group.plan for _, group in groups]
    inside = [Plan(reading, AllOf((plan.node, outcome.plan.node))) for plan in wholes]
    together = Plan(reading, AnyOf(tuple(plan.node for plan in wholes)))
    context.spend([*wholes, *inside, together])
    sizes = await context.store.count([*wholes, *inside, together])
    whole, converted, all_ = sizes[: len(groups)], sizes[len(groups) : -1], sizes[-1]
    if sum(whole) != all_:
        raise Invalid(
            f"the parts have users in common ({sum(whole) - all_} too many in sum), so they cannot be compared",
            argument="parts",
        )
    place = [name for name, _ in groups].index(control)
    treated = [i for i in range(len(groups)) if i != place]
    base, base_converted = whole[place], converted[place]
    scores = z_scores(
        [converted[i] for i in treated],
        [whole[i] for i in treated],
        [base_converted] * len(treated),
        [base] * len(treated),
    ).tolist()
    chances = [float(share_p_values([converted[i]], whole[i], [base_converted], base)[0]) for i in treated]
    compared = [i for i in treated if whole[i] and base]  # parts of nobody are no findings among which some are chance
    corrected = adjusted([p for i, p in zip(treated, chances, strict=True) if i in compared]).tolist()
    significant = {i for i, q in zip(compared, corrected, strict=True) if q <= DISCOVERY_RATE}
    found = [
        _effect(groups[i], whole[i], converted[i], base, base_converted, z, p, i in significant)
        for i, z, p in zip(treated, scores, chances, strict=True)
    ]
    name, audience = groups[place]
    rate = ratio(base_converted, base) if base else None
    beside = Effect(name, audience, base, base_converted, rate, _span(share_interval(base_converted, base)))
    return Effects(beside, tuple(found), None if shares is None else sample_ratio(whole, shares))


def _effect(
    group: tuple[str, Question],
    size: int,
    converted: int,
    base: int,
    base_converted: int,
    z: float,
    p: float,
    significant: bool,
) -> Effect:
    name, audience = group
    rate, base_rate = ratio(converted, size), ratio(base_converted, base)
    known = bool(size and base)
    factor = ratio_interval(converted, size, base_converted, base)
    return Effect(
        name,
        audience,
        size,
        converted,
        rate if size else None,
        _span(share_interval(converted, size)),
        rate - base_rate if known else None,
        _span(difference_interval(converted, size, base_converted, base)),
        rate / base_rate - 1 if known and base_rate else None,
        _span(Interval(factor.low - 1, factor.high - 1)),
        z if known else None,
        p if known else None,
        significant,
    )


def _span(interval: Interval) -> Span:
    low, high = (end if isfinite(end) else None for end in (interval.low, interval.high))
    return Span(low, high)


def sample_ratio(sizes: Sequence[int], shares: Sequence[float]) -> SampleRatio:
    """Whether the sizes of parts are as their shares say (Pearson's chi-squared)."""
    found = chi_squared(sizes, shares)
    return SampleRatio(found, chi_squared_p_value(found, len(sizes) - 1))


# ---------------------------------------------------------------- planning


@dataclass(frozen=True, slots=True)
class SampleSize:
    """How many users it takes to find an effect; the power that these sizes have, a little above the one wanted."""

    control: int
    treated: int
    power: float

    @property
    def total(self) -> int:
        """Both together."""
        return self.control + self.treated


@dataclass(frozen=True, slots=True)
class DetectableEffect:
    """The smallest differences of rates that groups of given sizes find; None where none is large enough."""

    baseline: float
    increase: float | None
    decrease: float | None

    @property
    def relative_increase(self) -> float | None:
        """The increase as a part of the baseline."""
        return None if self.increase is None else self.increase / self.baseline

    @property
    def relative_decrease(self) -> float | None:
        """The decrease as a part of the baseline."""
        return None if self.decrease is None else self.decrease / self.baseline


def sample_size(
    context: Context, baseline: float, effect: float, alpha: float, power: float, ratio_: float
) -> SampleSize:
    """How many users find a change of the rate `baseline` by `effect` (a difference, below 0 a decrease)."""
    context.viewer.require("count")
    _check_rates(baseline, alpha, power)
    if abs(effect) < RATE_LEAST or not _tellable(baseline + effect):
        raise Invalid(
            "an effect is a difference of 1e-9 at least, up or down, and the rate with it lies within 1e-9..1 - 1e-9",
            argument="effect",
        )
    if not 0.001 <= ratio_ <= 1000:
        raise Invalid("the ratio lies within 0.001..1000", argument="ratio")
    control, treated = sample_sizes(baseline, baseline + effect, alpha, power, ratio_)
    if max(control, treated) > GROUP_MAX:
        raise Invalid("so small an effect takes more users than there can be", argument="effect")
    return SampleSize(control, treated, power_of(baseline, control, baseline + effect, treated, alpha))


def minimum_detectable_effect(
    context: Context, baseline: float, control: int, treated: int, alpha: float, power: float
) -> DetectableEffect:
    """The smallest changes of the rate `baseline` that groups of these sizes find."""
    context.viewer.require("count")
    _check_rates(baseline, alpha, power)
    for name, size in (("control", control), ("treated", treated)):
        if size < 1:
            raise Invalid("a group has a user at least", argument=name)
    more = detectable(baseline, control, treated, alpha, power)
    less = detectable(baseline, control, treated, alpha, power, up=False)
    return DetectableEffect(
        baseline, None if more is None else more - baseline, None if less is None else baseline - less
    )


def _check_rates(baseline: float, alpha: float, power: float) -> None:
    if not _tellable(baseline):
        raise Invalid("the baseline is a rate within 1e-9..1 - 1e-9", argument="baseline")
    if not ALPHA_LEAST <= alpha <= ALPHA_MOST:
        raise Invalid("alpha lies within 1e-12..0.5", argument="alpha")
    if not alpha / 2 < power <= POWER_MOST:
        raise Invalid(
            "the power is more than chance alone has, which is half of alpha, and 1 - 1e-12 at most", argument="power"
        )


def _tellable(rate: float) -> bool:
    return RATE_LEAST <= rate <= 1 - RATE_LEAST
