"""Who asks."""

import strawberry

from resolvers import viewers
from schema.shapes import answer, shown


@strawberry.type(description="Who asks.")
class Viewer:
    """Of a `viewers.Viewer`."""

    name: str = shown("The name of the token.")

    @answer(list[str], "What they may do: count, members, write, define, admin.")
    @staticmethod
    def scopes(root: strawberry.Parent[viewers.Viewer]) -> list[str]:
        """See the description."""
        return [scope for scope in viewers.SCOPES if scope in root.scopes]
