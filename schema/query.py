"""Reads."""

from datetime import datetime
from typing import Annotated, NoReturn

import strawberry

from bitmap_store import values as plain
from bitmap_store.errors import TagroarError
from resolvers import answers, audiences, catalog, comparisons, effects, experiments, jobs, nodes, profiles, saved
from resolvers.asked import Asked
from resolvers.catalog import TagFilter as Wanted
from resolvers.effects import DetectableEffect as Detectable
from resolvers.effects import Effects as Measurement
from resolvers.effects import Measured
from resolvers.effects import SampleSize as Size
from resolvers.later import later
from resolvers.trials import ALPHA, POWER
from resolvers.viewers import Viewer as Asking
from schema.audience import Audience, Profile, SavedAudience, SavedAudienceConnection
from schema.comparison import CatalogHealth, Comparison
from schema.effects import DetectableEffect, Effects, SampleSize
from schema.experiment import Experiment, ExperimentConnection
from schema.figures import IdKind, Users
from schema.inputs import ProfileBy, Purpose, TagFilter
from schema.job import Job, JobConnection
from schema.node import Node
from schema.parting import MeasuredPart
from schema.scalars import BigInt
from schema.shapes import Info, answer, argument, note
from schema.tag import After, Category, EntityKind, First, Tag, TagConnection
from schema.viewer import Viewer
from schema.where import AudienceWhere, Where, Wheres

Entity = Annotated[str, note("The key of the entity kind.")]
AsOf = Annotated[
    datetime | None, note("The moment to answer for, as far back as the retention reaches; now unless given.")
]
ForPurpose = Annotated[
    object | None,
    argument(Purpose | None, "Only those who agreed, as of now whatever asOf says. Comes with a later version."),
]
Compared = Annotated[list[Asked], argument(list[AudienceWhere], "The audiences, from one to 8.")]

Alpha = Annotated[float, note("How likely a difference is found where there is none, within 1e-12..0.5.")]
Power = Annotated[float, note("How likely the difference is found: more than alpha / 2, and 1 - 1e-12 at most.")]


@strawberry.type(description="Reads. A request sees one version of the data and one moment.")
class Query:
    """The roots of reads."""

    @answer(Node | None, "The thing with this id; null where it is gone.")
    @staticmethod
    async def node(info: Info, id: Annotated[strawberry.ID, note("A global id.")]) -> nodes.Thing | None:
        """See the description."""
        return await nodes.node(info.context, id)

    @answer(Viewer, "Who asks.")
    @staticmethod
    def viewer(info: Info) -> Asking:
        """See the description."""
        return info.context.viewer

    @answer(list[EntityKind], "The entity kinds.")
    @staticmethod
    def entities(info: Info) -> list[plain.EntityKind]:
        """See the description."""
        return catalog.entities(info.context)

    @answer(Profile | None, "A profile; null where there is none.")
    @staticmethod
    async def profile(
        info: Info,
        by: Annotated[profiles.By, argument(ProfileBy, "The outside name.")],
        entity: Entity = "user",
        as_of: AsOf = None,
    ) -> answers.Profile | None:
        """See the description."""
        return await profiles.profile(info.context, by, entity, as_of)

    @answer(list[Profile | None], "Profiles in the order of their outside names; null where there is none.")
    @staticmethod
    async def profiles(
        info: Info,
        by: Annotated[list[profiles.By], argument(list[ProfileBy], "The outside names, at most 10,000.")],
        entity: Entity = "user",
        as_of: AsOf = None,
    ) -> list[answers.Profile | None]:
        """See the description."""
        return await profiles.profiles(info.context, by, entity, as_of)

    @answer(Tag | None, "A tag; null where there is none.")
    @staticmethod
    def tag(info: Info, key: Annotated[str, note("The key of the tag.")]) -> plain.Tag | None:
        """See the description."""
        return catalog.tag(info.context, key)

    @answer(TagConnection, "The tags, by key.")
    @staticmethod
    def tags(
        info: Info,
        filter: Annotated[Wanted | None, argument(TagFilter | None, "Which tags are wanted.")] = None,
        first: First = 50,
        after: After = None,
    ) -> answers.Connection[plain.Tag]:
        """See the description."""
        return catalog.tags(info.context, filter, first, after)

    @answer(list[Category], "The categories, parents before their children.")
    @staticmethod
    def categories(info: Info) -> list[plain.Category]:
        """See the description."""
        return catalog.categories(info.context)

    @answer(Audience | None, "An audience: exactly who is in, and how many, at this moment.")
    @staticmethod
    def audience(
        info: Info, where: Where, entity: Entity = "user", purpose: ForPurpose = None, as_of: AsOf = None
    ) -> answers.Question:
        """See the description."""
        return audiences.ask(info.context, where, entity, as_of, purpose)

    @answer(list[Audience | None], "Audiences in the order they were asked; null and an error where one is wrong.")
    @staticmethod
    def audiences(
        info: Info, where: Wheres, entity: Entity = "user", purpose: ForPurpose = None, as_of: AsOf = None
    ) -> list[answers.Question | TagroarError]:
        """See the description."""
        return audiences.ask_each(info.context, where, entity, as_of, purpose)

    @answer(SavedAudience | None, "A saved audience; null where there is none.")
    @staticmethod
    def saved_audience(
        info: Info, key: Annotated[str, note("The key of the saved audience.")]
    ) -> plain.SavedAudience | None:
        """See the description."""
        return saved.saved_audience(info.context, key)

    @answer(SavedAudienceConnection, "The saved audiences, by key.")
    @staticmethod
    def saved_audiences(info: Info, first: First = 50, after: After = None) -> answers.Connection[plain.SavedAudience]:
        """See the description."""
        return saved.saved_audiences(info.context, first, after)

    @answer(list[list[bool]] | None, "For each user (row) and audience (column), whether the user is in.")
    @staticmethod
    async def memberships(
        info: Info,
        users: Users,
        in_: Annotated[list[Asked], argument(list[AudienceWhere], "The audiences, at most 200.", "in")],
        id_kind: IdKind = None,
        entity: Entity = "user",
        purpose: ForPurpose = None,
        as_of: AsOf = None,
    ) -> list[list[bool]]:
        """See the description."""
        return await audiences.memberships(info.context, users, in_, id_kind, entity, as_of, purpose)

    @answer(Comparison | None, "Audiences beside each other: what they have in common, and what sets each apart.")
    @staticmethod
    async def compare(
        info: Info,
        audiences: Compared,
        entity: Entity = "user",
        purpose: ForPurpose = None,
        as_of: AsOf = None,
        top: Annotated[int, note("How many differentiators of each.")] = 10,
    ) -> comparisons.Comparison:
        """See the description."""
        return await comparisons.compare(info.context, audiences, entity, as_of, top, purpose)

    @answer(
        Effects | None,
        "What a treatment did: the rate of an outcome in each part, against that of a control group. The parts have no"
        " user in common.",
    )
    @staticmethod
    async def effects(
        info: Info,
        parts: Annotated[list[Measured], argument(list[MeasuredPart], "The parts, with the control group.")],
        control: Annotated[str, note("The name of the control group among them.")],
        outcome: Annotated[Asked, argument(AudienceWhere, "Whoever did what was hoped for.")],
        entity: Entity = "user",
        as_of: AsOf = None,
    ) -> Measurement:
        """See the description."""
        return await effects.effects(info.context, parts, control, outcome, entity, as_of)

    @answer(Experiment | None, "An experiment; null where there is none.")
    @staticmethod
    def experiment(info: Info, key: Annotated[str, note("The key of the experiment.")]) -> plain.Experiment | None:
        """See the description."""
        return experiments.experiment(info.context, key)

    @answer(ExperimentConnection, "The experiments, by key.")
    @staticmethod
    def experiments(info: Info, first: First = 50, after: After = None) -> answers.Connection[plain.Experiment]:
        """See the description."""
        return experiments.experiments(info.context, first, after)

    @answer(SampleSize | None, "How many users it takes to find that a rate has changed (a two-sided test).")
    @staticmethod
    def sample_size(
        info: Info,
        baseline: Annotated[float, note("The rate without the treatment, within 1e-9..1 - 1e-9.")],
        effect: Annotated[float, note("The difference to be found, 1e-9 at least: 0.01 from 5% to 6%, -0.01 to 4%.")],
        alpha: Alpha = ALPHA,
        power: Power = POWER,
        ratio: Annotated[float, note("How many are treated for each in the control group.")] = 1,
    ) -> Size:
        """See the description."""
        return effects.sample_size(info.context, baseline, effect, alpha, power, ratio)

    @answer(DetectableEffect | None, "The smallest change of a rate that groups of these sizes find.")
    @staticmethod
    def minimum_detectable_effect(
        info: Info,
        baseline: Annotated[float, note("The rate without the treatment, within 1e-9..1 - 1e-9.")],
        control: Annotated[int, argument(BigInt, "Users in the control group.")],
        treated: Annotated[int, argument(BigInt, "Users in the treated part.")],
        alpha: Alpha = ALPHA,
        power: Power = POWER,
    ) -> Detectable:
        """See the description."""
        return effects.minimum_detectable_effect(info.context, baseline, control, treated, alpha, power)

    @answer(Job | None, "A job; null where there is none.")
    @staticmethod
    async def job(info: Info, id: Annotated[strawberry.ID, note("The id of the job.")]) -> plain.Job | None:
        """See the description."""
        return await jobs.job(info.context, id)

    @answer(JobConnection, "The jobs, the newest first.")
    @staticmethod
    async def jobs(info: Info, first: First = 50, after: After = None) -> answers.Connection[plain.Job]:
        """See the description."""
        return await jobs.jobs(info.context, first, after)

    @answer(CatalogHealth | None, "How well kept the catalog is. Comes with a later version.")
    @staticmethod
    def catalog_health(info: Info) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "reports on the health of the catalog", "count")
