"""What a treatment did, and what it takes to find out."""

import strawberry

from schema.audience import Audience
from schema.scalars import BigInt
from schema.shapes import shown


@strawberry.type(description="A confidence interval, of 95%. An end is null where nothing can be said.")
class ConfidenceInterval:
    """Of an `effects.Span`."""

    low: float | None = shown("Where it begins.")
    high: float | None = shown("Where it ends.")


@strawberry.type(
    description=(
        "The outcome in a part, beside that of the control group. Sizes and rates are exact; differences are of this"
        " part less the control, and null in the control itself."
    )
)
class Effect:
    """Of an `effects.Effect`."""

    name: str = shown("The name of the part.")
    audience: Audience = shown("Its users.")
    size: BigInt | None = shown("How many they are.")
    converted: BigInt | None = shown("How many of them are in the outcome.")
    rate: float | None = shown("converted / size; null of nobody.")
    rate_interval: ConfidenceInterval | None = shown("Where the rate lies (Wilson).")
    difference: float | None = shown("The rate less that of the control.")
    difference_interval: ConfidenceInterval | None = shown("Where the difference lies (Newcombe).")
    lift: float | None = shown("The difference as a part of the rate of the control; 0.1 is a tenth more.")
    lift_interval: ConfidenceInterval | None = shown(
        "Where the lift lies (Katz); without ends where all of both are converted."
    )
    z_score: float | None = shown("How far apart the rates are, in standard errors of no difference.")
    p_value: float | None = shown(
        "How likely chance alone takes them so far apart, either way; exact where few are to be expected (Fisher)."
    )
    significant: bool = shown(
        "Whether it is more than chance: at a false-discovery rate of 5% over all parts that have users (Benjamini,"
        " Hochberg)."
    )


@strawberry.type(
    description=(
        "Whether the sizes of the parts are what their shares say. Where they are not, something took users out of one"
        " part and not of another, and no effect can be believed before that is found."
    )
)
class SampleRatio:
    """Of an `effects.SampleRatio`."""

    chi_squared: float = shown("How far the sizes are from the shares (Pearson).")
    p_value: float = shown("How likely chance alone takes them so far.")
    mismatch: bool = shown("Whether that is less than 0.001.")


@strawberry.type(description="The outcome in the parts of an experiment, beside that of the control group.")
class Effects:
    """Of an `effects.Effects`."""

    control: Effect = shown("The control group.")
    parts: list[Effect] = shown("The other parts, in their order.")
    sample_ratio: SampleRatio | None = shown("Whether the sizes are right; null where no shares were given.")


@strawberry.type(description="How many users it takes to find an effect.")
class SampleSize:
    """Of an `effects.SampleSize`."""

    control: BigInt = shown("Users in the control group.")
    treated: BigInt = shown("Users in the treated part.")
    total: BigInt = shown("Both together.")
    power: float = shown("How likely these find the effect; rounded up, so a little more than was asked for.")


@strawberry.type(
    description="The smallest changes of a rate that groups of given sizes find; null where not even all or none would."
)
class DetectableEffect:
    """Of an `effects.DetectableEffect`."""

    increase: float | None = shown("The smallest increase, as a difference of rates.")
    decrease: float | None = shown("The smallest decrease, as a difference of rates; more than 0.")
    relative_increase: float | None = shown("The increase as a part of the baseline.")
    relative_decrease: float | None = shown("The decrease as a part of the baseline.")
