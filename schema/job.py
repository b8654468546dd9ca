"""Jobs: work that takes a while."""

from datetime import datetime

import strawberry

from bitmap_store import values as plain
from resolvers import jobs
from schema.enums import JobState
from schema.node import Node, PageInfo
from schema.scalars import BigInt
from schema.shapes import Info, answer, shown
from schema.tag import Most


@strawberry.type(description="A row of an import that was not applied.")
class Rejection:
    """Of a `values.Rejection`."""

    line: BigInt = shown("The line of the file, from 1; of a file without lines, the row.")
    code: str = shown("An error code, such as INVALID or NOT_FOUND.")
    message: str = shown("What was wrong, in a sentence.")


@strawberry.type(description="Work that takes a while, such as an import. rowsRead = rowsApplied + rowsRejected.")
class Job(Node):
    """Of a `values.Job`."""

    kind: str = shown("What it does.")
    state: JobState = shown("The stage it is in.")
    progress: float | None = shown("How far it is, within 0..1, where that can be known.")
    started_at: datetime | None = shown("When it began.")
    ended_at: datetime | None = shown("When it ended.")
    rows_read: BigInt = shown("Rows read.")
    rows_applied: BigInt = shown("Rows applied.")
    rows_rejected: BigInt = shown("Rows not applied, each with a reason.")
    error: str | None = shown("Why it failed.")

    @answer(list[Rejection], "The first rows that were not applied; all of them: GET /jobs/<id>/rejections.")
    @staticmethod
    async def rejections(root: strawberry.Parent[plain.Job], info: Info, first: Most = 50) -> list[plain.Rejection]:
        """See the description."""
        return await jobs.rejections(info.context, root, first)

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """Whether a node is a job."""
        return isinstance(value, plain.Job)


@strawberry.type(description="A job on a page.")
class JobEdge:
    """Of an `answers.Edge`."""

    cursor: str = shown("Where this job stands.")
    node: Job = shown("The job.")


@strawberry.type(description="A page of jobs, the newest first.")
class JobConnection:
    """Of an `answers.Connection`."""

    edges: list[JobEdge] = shown("The jobs of the page.")
    page_info: PageInfo = shown("Where the page stands.")
    total_count: BigInt = shown("How many there are on all pages.")
