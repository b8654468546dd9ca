"""Jobs: work that takes a while. Starting one is an affair of the bulk routes and the command line."""

from collections.abc import AsyncIterator

from bitmap_store.errors import Invalid, NotFound
from bitmap_store.values import Job, Rejection
from resolvers import ids
from resolvers.answers import Connection
from resolvers.context import Context, bounded


async def job(context: Context, id_: str) -> Job | None:
    """The job with this id, None where there is none."""
    context.viewer.require("write", "admin")
    return await context.store.job(id_)


async def jobs(context: Context, first: int | None, after: str | None) -> Connection[Job]:
    """A page of the jobs, the newest first."""
    context.viewer.require("write", "admin")
    limit = context.page_size(first)
    found = await context.store.jobs(None if after is None else _cursor(after), limit + 1)
    page = found[:limit]
    return Connection.of(
        page,
        [ids.encode("job", each.id) for each in page],
        before=after is not None,
        after=len(found) > limit,
        total=await context.store.job_count(),
    )


def _cursor(after: str) -> str:
    match ids.decode(after, argument="after"):
        case ("job", str(id_)):
            return id_
    raise Invalid("this is not a cursor of jobs", argument="after")


async def rejections(context: Context, job: Job, first: int) -> list[Rejection]:
    """The first rows that a job did not apply, by line."""
    context.viewer.require("write", "admin")
    return await context.store.rejections(job.id, limit=bounded(first, context.limits.page_max, "first"))


async def cancel_job(context: Context, id_: str) -> Job:
    """The job, asked to stop; what it had done is taken back."""
    context.viewer.require("write", "admin")
    if await context.store.job(id_) is None:
        raise NotFound("there is no job with this id", argument="id")
    found = await context.store.cancel_job(id_)
    context.refresh()
    return found


async def job_progress(context: Context, id_: str) -> AsyncIterator[Job]:
    """Gives the job now and whenever it moves on, until it has ended; NOT_FOUND where there is none."""
    if await job(context, id_) is None:
        raise NotFound("there is no job with this id", argument="id")
    return context.store.job_changes(id_)


def data_versions(context: Context) -> AsyncIterator[int]:
    """The data version now, and each new one; several writes at once may show as one."""
    context.viewer.require("count", "members", "write")
    return context.store.changes()
