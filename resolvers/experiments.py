"""Experiments with a name: parts and a control group that stay, and those of one layer never share a user.

Splits without a name are in `splits.py`; what an outcome says is worked out in `effects.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from bitmap_store.bind import HASH_SPACE
from bitmap_store.catalog import kept_expression
from bitmap_store.errors import Invalid, NotFound
from bitmap_store.expression import Part, check_bounds, nfc
from bitmap_store.values import Experiment, NewExperiment, WriteResult, place
from resolvers.answers import Connection, Question
from resolvers.asked import Asked, names_users
from resolvers.audiences import question_at
from resolvers.catalog import by_key
from resolvers.context import Context
from resolvers.definitions import text_of
from resolvers.effects import Effects, measured
from resolvers.parts import PartOf, Share, bounds_of, check_shares, joined
from resolvers.splits import check_fresh


@dataclass(frozen=True, slots=True)
class Planned:
    """What `defineExperiment` asks for. share: of the users of the layer."""

    key: str
    name: str | None
    where: Asked
    parts: tuple[Share, ...]
    control: str
    layer: str | None = None
    share: float | None = None
    entity: str = "user"


def experiment(context: Context, key: str) -> Experiment | None:
    """The experiment with this key, None where there is none."""
    context.viewer.require("count")
    try:
        return context.view.catalog.experiment(key)
    except NotFound:
        return None


def experiments(context: Context, first: int | None, after: str | None) -> Connection[Experiment]:
    """A page of the experiments, by key."""
    context.viewer.require("count")
    found = tuple(context.view.catalog.experiments.values())
    return by_key(context, "experiment", found, lambda each: each.key, first, after)


async def define_experiment(context: Context, planned: Planned) -> Experiment:
    """The experiment; CONFLICT where its layer has no room, and where there is another of its key."""
    context.viewer.require("define")
    context.view.catalog.entity(planned.entity, argument="input.entity")
    share = 1.0 if planned.share is None else planned.share
    if not 0 < share <= 1 or not round(share * HASH_SPACE):
        raise Invalid("a share lies within 0..1, and is more than 0", argument="input.share")
    if planned.share is not None and planned.layer is None:
        raise Invalid("a share is of a layer; without one everyone of the audience takes part", argument="input.share")
    try:
        check_shares(context, planned.parts, planned.control)
    except Invalid as error:
        raise error.within("input") from None
    text = text_of(context, planned.where, planned.entity)
    new = NewExperiment(
        planned.key,
        planned.name,
        text,
        tuple((part.name, part.share) for part in planned.parts),
        planned.control,
        planned.layer,
        share,
        planned.entity,
    )
    question = question_at(context, planned.where, planned.entity, context.reading(planned.entity), None)
    check_fresh(question, _seed(nfc(planned.key)), "input.where")
    if planned.layer is not None:
        check_fresh(question, _layer_seed(nfc(planned.layer)), "input.where")
    joined([planned.where.expression, Part("", 0, 1), Part("", 0, 1)])  # so that every part can be printed
    found = await context.store.define_experiment(new, context.viewer.name)
    context.refresh()
    return found


async def end_experiment(context: Context, key: str) -> Experiment:
    """The experiment, ended: others may take its users from now on, and its parts can still be asked for."""
    context.viewer.require("define")
    found = await context.store.end_experiment(key)
    context.refresh()
    return found


async def delete_experiment(context: Context, key: str) -> WriteResult:
    """Takes an experiment away."""
    context.viewer.require("define")
    result = await context.store.delete_experiment(key)
    context.refresh()
    return result


def text(context: Context, found: Experiment) -> str:
    """Its audience as text; FORBIDDEN where that names users, without the scope to see them."""
    if names_users(kept_expression(found.text)):
        context.viewer.require("members")
    return found.text


def audience(context: Context, found: Experiment, as_of: datetime | None = None) -> Question:
    """Who takes part: those of its audience, by the definitions of today, in its range of the layer."""
    context.viewer.require("count", "members")
    pieces = [] if found.layer is None else [Part(_layer_seed(found.layer), *_range(found))]
    return _asked(context, found, pieces, as_of)


def parts(context: Context, found: Experiment, as_of: datetime | None = None) -> list[PartOf]:
    """Its parts, and the control group as the last."""
    whole = audience(context, found, as_of)
    shares = _shares(found)
    starts = [0.0, *bounds_of([each.exact for each in shares])]
    pieces = [] if found.layer is None else [Part(_layer_seed(found.layer), *_range(found))]
    return [
        PartOf(
            each.name,
            whole,
            _asked(context, found, [*pieces, Part(_seed(found.key), start, end)], as_of),
            each.share,
            each.name == found.control,
        )
        for each, start, end in zip(shares, starts, starts[1:], strict=False)
    ]


async def results(context: Context, found: Experiment, outcome: Asked, as_of: datetime | None) -> Effects:
    """The outcome in each part, against the control group, and whether the parts have the sizes they should."""
    context.viewer.require("count")
    groups = [(each.name, each.audience) for each in parts(context, found, as_of)]
    reading = groups[0][1].plan.reading
    asked = question_at(context, outcome, found.entity, reading, as_of)
    return await measured(context, groups, found.control, asked, [each.share for each in _shares(found)])


def _asked(context: Context, found: Experiment, pieces: Sequence[Part], as_of: datetime | None) -> Question:
    expression = joined([kept_expression(found.text), *pieces])
    asked = Asked("key", expression, check_bounds(expression))
    return question_at(context, asked, found.entity, context.reading(found.entity, as_of), as_of)


def _shares(found: Experiment) -> list[Share]:
    shares = [Share(name, share) for name, share in found.parts]
    left = float(1 - sum((each.exact for each in shares), Fraction(0)))
    return [*shares, Share(found.control, left)]


def _range(found: Experiment) -> tuple[float, float]:
    """Its range of the layer within 0..1."""
    return place(found.start), place(found.end)


def _seed(key: str) -> str:
    return f"experiment {key}"


def _layer_seed(layer: str) -> str:
    return f"layer {layer}"
