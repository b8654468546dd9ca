"""A reference of the service: the same question to Strawberry as it comes, whose resolver answers a constant.

The schema is what somebody would write for this one question; nothing is cached, nothing is asked.
"""

import strawberry
from strawberry.asgi import GraphQL


@strawberry.input
class TagMatch:
    """A value of a tag."""

    key: str
    in_: list[str] | None = strawberry.field(name="in", default=None)


@strawberry.input(one_of=True)
class AudienceWhere:
    """Whom one means."""

    tag: TagMatch | None = strawberry.UNSET
    and_: list["AudienceWhere"] | None = strawberry.field(name="and", default=strawberry.UNSET)
    or_: list["AudienceWhere"] | None = strawberry.field(name="or", default=strawberry.UNSET)
    not_: "AudienceWhere | None" = strawberry.field(name="not", default=strawberry.UNSET)


@strawberry.type
class Audience:
    """An audience."""

    size: int


@strawberry.type
class Query:
    """The one question."""

    @strawberry.field
    async def audience(self, where: AudienceWhere) -> Audience:
        """Always of the same size."""
        return Audience(size=12_345)


application = GraphQL(strawberry.Schema(Query))
"""The application, as the documentation of Strawberry makes one."""
