"""What is told as it happens, over a WebSocket."""

from collections.abc import AsyncIterator
from typing import Annotated, NoReturn

import strawberry

from bitmap_store import values as plain
from resolvers import jobs
from resolvers.later import later
from schema.audience import Audience
from schema.job import Job
from schema.query import Entity, ForPurpose
from schema.scalars import BigInt
from schema.shapes import Info, live, note, shown
from schema.where import Where


@strawberry.type(description="Who entered and left an audience. Comes with a later version.")
class AudienceChange:
    """Comes with a later version."""

    cursor: str = shown("Where to resume after this.")
    complete: bool = shown("Whether this ends what happened in its version; else more of it follows.")
    data_version: BigInt = shown("The version it happened in.")
    entered: list[str] = shown("Who entered.")
    left: list[str] = shown("Who left.")
    size: BigInt | None = shown("How many are in now.")


@strawberry.type(description="What is told as it happens.")
class Subscription:
    """The roots of subscriptions."""

    @live(Audience, "An audience now, and on every change of its size. Comes with a later version.")
    @staticmethod
    def audience_size(info: Info, where: Where, entity: Entity = "user", purpose: ForPurpose = None) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "subscriptions to sizes", "count")

    @live(AudienceChange, "Who enters and leaves a saved audience. Comes with a later version.")
    @staticmethod
    def audience_changes(
        info: Info,
        key: Annotated[str, note("The key of the saved audience.")],
        after: Annotated[str | None, note("The cursor to resume after.")] = None,
    ) -> NoReturn:
        """See the description."""
        later(info.context.viewer, "subscriptions to members", "members")

    @live(Job, "A job now, and whenever it moves on, until it has ended.")
    @staticmethod
    async def job_progress(
        info: Info, id: Annotated[strawberry.ID, note("The id of the job.")]
    ) -> AsyncIterator[plain.Job]:
        """See the description."""
        return await jobs.job_progress(info.context, id)

    @live(BigInt, "The data version now, and each new one; of several at once, the last.")
    @staticmethod
    def data_version(info: Info) -> AsyncIterator[int]:
        """See the description."""
        return jobs.data_versions(info.context)
