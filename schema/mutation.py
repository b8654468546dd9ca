"""Writes: all or nothing, durable when answered, visible to the next read."""

from typing import Annotated, NoReturn

import strawberry

from bitmap_store import TagChange, TagDefinition
from bitmap_store import values as plain
from resolvers import answers, definitions, experiments, jobs, writes
from resolvers.later import later
from schema.audience import Profile, SavedAudience, Snapshot
from schema.defining import DefineTagInput, SaveAudienceInput, UpdateTagInput
from schema.enums import TagState
from schema.experiment import DefineExperimentInput, Experiment
from schema.figures import IdKind
from schema.inputs import EventInput, IdentifierInput, ProfileInput, TagAssignment, TagRemoval
from schema.job import Job
from schema.node import Node
from schema.query import Entity
from schema.scalars import BigInt
from schema.shapes import Info, answer, argument, note, shown
from schema.tag import Category, EntityKind, Tag

Key = Annotated[str, note("The key.")]
Name = Annotated[str | None, note("The name for people; the key unless given.")]
IfVersion = Annotated[int | None, note("CONFLICT unless it has this version; 0: it must not exist yet.")]
IdempotencyKey = Annotated[
    str | None, note("The same key twice applies once; the same key with another body is CONFLICT.")
]


@strawberry.type(description="What a write did.")
class WriteResult:
    """Of a `values.WriteResult`."""

    data_version: BigInt = shown("The version it made; where nothing changed, the version that holds it.")
    changed: BigInt = shown("How many memberships and profiles changed.")
    created: BigInt = shown("How many users it created.")
    already_applied: bool = shown("Whether an earlier request with the same key did it.")


@strawberry.type(description="Two profiles made one. Comes with a later version.")
class Merge(Node):
    """Comes with a later version."""

    profile: Profile = shown("The profile.")
    data_version: BigInt = shown("The version that the merge made.")

    @classmethod
    def is_type_of(cls, _: object, __: object) -> bool:
        """Whether a node is a merge: there is none yet."""
        return False


@strawberry.type(description="Writes. Each is one batch: all or nothing, durable when answered.")
class Mutation:
    """The roots of writes."""

    @answer(EntityKind | None, "Defines an entity kind, or renames it.")
    @staticmethod
    async def define_entity(info: Info, key: Key, name: Name = None) -> plain.EntityKind:
        """See the description."""
        return await definitions.define_entity(info.context, key, name)

    @answer(Category | None, "Defines a category, or changes it; at most three levels deep.")
    @staticmethod
    async def define_category(
        info: Info,
        key: Key,
        name: Name = None,
        parent: Annotated[str | None, note("The key of the category above.")] = None,
    ) -> plain.Category:
        """See the description."""
        return await definitions.define_category(info.context, key, name, parent)

    @answer(bool | None, "Defines a relation between entities. Comes with a later version.")
    @staticmethod
    def define_relation(
        info: Info,
        key: Key,
        from_: Annotated[str, note("The entity kind that has others.", "from")],
        to: Annotated[str, note("The entity kind of the others.")],
        name: Name = None,
    ) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "relations", "define")

    @answer(Tag | None, "Defines a tag; the same definition again gives the tag, another of its key is CONFLICT.")
    @staticmethod
    async def define_tag(
        info: Info, input: Annotated[tuple[TagDefinition, definitions.Rules], argument(DefineTagInput, "The tag.")]
    ) -> plain.Tag:
        """See the description."""
        return await definitions.define_tag(info.context, *input)

    @answer(Tag | None, "Changes the definition of a tag.")
    @staticmethod
    async def update_tag(
        info: Info,
        key: Key,
        input: Annotated[tuple[TagChange, definitions.Rules], argument(UpdateTagInput, "What is to change.")],
        if_version: IfVersion = None,
    ) -> plain.Tag:
        """See the description."""
        return await definitions.update_tag(info.context, key, *input, if_version)

    @answer(WriteResult | None, "Deletes a tag and its memberships; CONFLICT, naming them, while others use it.")
    @staticmethod
    async def delete_tag(info: Info, key: Key) -> plain.WriteResult:
        """See the description."""
        return await definitions.delete_tag(info.context, key)

    @answer(Tag | None, "Moves a tag along its life cycle. Comes with a later version.")
    @staticmethod
    def change_tag_state(
        info: Info,
        key: Key,
        to: Annotated[TagState, note("The new state.")],
        note_: Annotated[str | None, note("Why.", "note")] = None,
    ) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "changes of state", "define")

    @answer(WriteResult | None, "Gives users tags.")
    @staticmethod
    async def assign_tags(
        info: Info,
        input: Annotated[list[plain.Assign], argument(list[TagAssignment], "The assignments, applied in order.")],
        entity: Entity = "user",
        id_kind: IdKind = None,
        idempotency_key: IdempotencyKey = None,
    ) -> plain.WriteResult:
        """See the description."""
        return await writes.assign_tags(info.context, input, entity, id_kind, idempotency_key)

    @answer(WriteResult | None, "Takes tags from users.")
    @staticmethod
    async def remove_tags(
        info: Info,
        input: Annotated[list[plain.Remove], argument(list[TagRemoval], "The removals, applied in order.")],
        entity: Entity = "user",
        id_kind: IdKind = None,
        idempotency_key: IdempotencyKey = None,
    ) -> plain.WriteResult:
        """See the description."""
        return await writes.remove_tags(info.context, input, entity, id_kind, idempotency_key)

    @answer(WriteResult | None, "Creates profiles, or changes their identifiers and attributes.")
    @staticmethod
    async def upsert_profiles(
        info: Info,
        input: Annotated[list[plain.ProfileChange], argument(list[ProfileInput], "The profiles, applied in order.")],
        entity: Entity = "user",
        idempotency_key: IdempotencyKey = None,
    ) -> plain.WriteResult:
        """See the description."""
        return await writes.upsert_profiles(info.context, input, entity, idempotency_key)

    @answer(WriteResult | None, "Records things that happened.")
    @staticmethod
    async def record_events(
        info: Info,
        input: Annotated[list[plain.Event], argument(list[EventInput], "The events.")],
        entity: Entity = "user",
        id_kind: IdKind = None,
        idempotency_key: IdempotencyKey = None,
    ) -> plain.WriteResult:
        """See the description."""
        return await writes.record_events(info.context, input, entity, id_kind, idempotency_key)

    @answer(SavedAudience | None, "Saves an audience under a key, or changes its definition.")
    @staticmethod
    async def save_audience(
        info: Info,
        input: Annotated[definitions.NewAudience, argument(SaveAudienceInput, "The audience.")],
        if_version: IfVersion = None,
    ) -> plain.SavedAudience:
        """See the description."""
        return await definitions.save_audience(info.context, input, if_version)

    @answer(WriteResult | None, "Deletes a saved audience; CONFLICT, naming them, while others use it.")
    @staticmethod
    async def delete_audience(info: Info, key: Key) -> plain.WriteResult:
        """See the description."""
        return await definitions.delete_audience(info.context, key)

    @answer(Experiment | None, "Defines an experiment; CONFLICT where its layer has no room for it.")
    @staticmethod
    async def define_experiment(
        info: Info, input: Annotated[experiments.Planned, argument(DefineExperimentInput, "The experiment.")]
    ) -> plain.Experiment:
        """See the description."""
        return await experiments.define_experiment(info.context, input)

    @answer(
        Experiment | None, "Ends an experiment: others of its layer may take its users. Its parts can still be asked."
    )
    @staticmethod
    async def end_experiment(info: Info, key: Key) -> plain.Experiment:
        """See the description."""
        return await experiments.end_experiment(info.context, key)

    @answer(WriteResult | None, "Deletes an experiment; audiences that were saved of its parts go on.")
    @staticmethod
    async def delete_experiment(info: Info, key: Key) -> plain.WriteResult:
        """See the description."""
        return await experiments.delete_experiment(info.context, key)

    @answer(Snapshot | None, "Freezes a saved audience. Comes with a later version.")
    @staticmethod
    def snapshot_audience(info: Info, key: Key) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "snapshots", "define")

    @answer(Profile | None, "Makes a user known by another outside name; CONFLICT when it is somebody else's.")
    @staticmethod
    async def link_identifier(
        info: Info,
        user_id: Annotated[str, note("The user id; an unknown one is created.")],
        identifier: Annotated[plain.Identifier, argument(IdentifierInput, "The outside name.")],
        entity: Entity = "user",
    ) -> answers.Profile:
        """See the description."""
        return await writes.link_identifier(info.context, user_id, identifier, entity)

    @answer(Merge | None, "Makes two profiles one. Comes with a later version.")
    @staticmethod
    def merge_profiles(
        info: Info,
        from_: Annotated[str, note("The user id that goes.", "from")],
        into: Annotated[str, note("The user id that stays.")],
        entity: Entity = "user",
    ) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "merges", "write")

    @answer(WriteResult | None, "Takes a merge back. Comes with a later version.")
    @staticmethod
    def undo_merge(info: Info, id: Annotated[strawberry.ID, note("The id of the merge.")]) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "merges", "write")

    @answer(WriteResult | None, "Erases users, history included. Comes with a later version.")
    @staticmethod
    def erase_profiles(
        info: Info, users: Annotated[list[str], note("The user ids.")], entity: Entity = "user"
    ) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "erasures", "admin")

    @answer(Job | None, "Stops a job; what it had done is taken back.")
    @staticmethod
    async def cancel_job(info: Info, id: Annotated[strawberry.ID, note("The id of the job.")]) -> plain.Job:
        """See the description."""
        return await jobs.cancel_job(info.context, id)
