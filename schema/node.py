"""`Node`, and what the pages of every list have in common."""

import strawberry

from resolvers.ids import id_of
from schema.shapes import answer, shown


@strawberry.interface(description="A thing with a global id, by which `node` finds it again.")
class Node:
    """The interface of things with an id."""

    @answer(strawberry.ID, "The global id; opaque.")
    @staticmethod
    def id(root: strawberry.Parent[object]) -> str:
        """See the description."""
        return id_of(root)


@strawberry.type(description="Where a page stands among the others.")
class PageInfo:
    """Of an `answers.PageInfo`."""

    has_next_page: bool = shown("Whether more come after this page.")
    has_previous_page: bool = shown("Whether the page began after a cursor.")
    start_cursor: str | None = shown("The cursor of the first edge.")
    end_cursor: str | None = shown("The cursor of the last edge: `after` it begins the next page.")
