"""Experiments with a name, and the input that defines one."""

from datetime import datetime
from typing import Annotated

import strawberry

from bitmap_store import values as plain
from resolvers import answers, experiments, parts
from resolvers.asked import Asked
from resolvers.effects import Effects as Measurement
from schema.audience import Audience, Split
from schema.effects import Effects
from schema.inputs import SplitPart, read_split_part
from schema.node import Node, PageInfo
from schema.scalars import BigInt
from schema.shapes import Info, Raw, answer, argument, note, shape, shown
from schema.where import AudienceWhere, read_where


@strawberry.type(
    description=(
        "An experiment with a name: an audience, parts of it that stay, and a control group. Experiments of one layer"
        " never have a user in common."
    )
)
class Experiment(Node):
    """Of a `values.Experiment`."""

    key: str = shown("The key.")
    name: str = shown("The name for people.")
    entity: str = shown("The entity kind.")
    layer: str | None = shown("The layer that it shares with others; null where it takes whom it wants.")
    share: float = shown("The share of the users of the layer that it has.")
    owner: str | None = shown("Who defined it.")
    defined_at: datetime = shown("When it was defined.")
    ended_at: datetime | None = shown("When it ended, and others could take its users; null while it goes on.")

    @answer(str, "Its audience in canonical form; where that lists users, for those who may see members.")
    @staticmethod
    def text(root: strawberry.Parent[plain.Experiment], info: Info) -> str:
        """See the description."""
        return experiments.text(info.context, root)

    @answer(Audience, "Who takes part, control group included: those of its audience in its range of the layer.")
    @staticmethod
    def audience(root: strawberry.Parent[plain.Experiment], info: Info) -> answers.Question:
        """See the description."""
        return experiments.audience(info.context, root)

    @answer(list[Split], "Its parts, and the control group as the last.")
    @staticmethod
    def parts(root: strawberry.Parent[plain.Experiment], info: Info) -> list[parts.PartOf]:
        """See the description."""
        return experiments.parts(info.context, root)

    @answer(Effects | None, "The rate of an outcome in each part, against that of the control group.")
    @staticmethod
    async def results(
        root: strawberry.Parent[plain.Experiment],
        info: Info,
        outcome: Annotated[Asked, argument(AudienceWhere, "Whoever did what was hoped for.")],
        as_of: Annotated[
            datetime | None, note("The moment to answer for, as far back as the retention reaches; now unless given.")
        ] = None,
    ) -> Measurement:
        """See the description."""
        return await experiments.results(info.context, root, outcome, as_of)

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """Whether a node is an experiment."""
        return isinstance(value, plain.Experiment)


@strawberry.type(description="An experiment on a page.")
class ExperimentEdge:
    """Of an `answers.Edge`."""

    cursor: str = shown("Where this experiment stands.")
    node: Experiment = shown("The experiment.")


@strawberry.type(description="A page of experiments, by key.")
class ExperimentConnection:
    """Of an `answers.Connection`."""

    edges: list[ExperimentEdge] = shown("The experiments of the page.")
    page_info: PageInfo = shown("Where the page stands.")
    total_count: BigInt = shown("How many there are on all pages.")


def _read_planned(raw: Raw, place: str) -> experiments.Planned:
    return experiments.Planned(
        raw["key"],
        raw.get("name"),
        read_where(raw["where"], f"{place}.where"),
        tuple(read_split_part(part) for part in raw["parts"]),
        raw["control"],
        raw.get("layer"),
        raw.get("share"),
        raw["entity"],
    )


@shape(
    "An experiment to be. It stays as it is: the same definition again gives it, another is CONFLICT.", _read_planned
)
class DefineExperimentInput:
    """Becomes an `experiments.Planned`."""

    key: str = shown("The key. Users are put into parts by it, so an experiment of the same key has the same parts.")
    name: str | None = shown("The name for people; the key unless given.")
    where: AudienceWhere = shown("Whom it is about.")
    parts: list[SplitPart] = shown("The parts with a treatment, and the share of the experiment that each gets.")
    control: str = strawberry.field(
        description="The name of the control group: all whom the shares leave.", default="control"
    )
    layer: str | None = shown(
        "Experiments of one layer have no user in common; another layer has nothing to do with it."
    )
    share: float | None = shown(
        "The share of the users of the layer; all unless given. CONFLICT where no such room is left."
    )
    entity: str = strawberry.field(description="The entity kind it is of.", default="user")
