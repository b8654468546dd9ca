"""A `where` as it was sent: the expression it means, or the error it is, and where each part of it stood.

Reading the GraphQL form is in `schema/where.py`; the text form is read here.
"""

from dataclasses import dataclass

from bitmap_store.errors import TagroarError
from bitmap_store.expression import Expression, Lookalike, Match, Saved, Users, check_bounds, nfc, operands, walk
from bitmap_store.language import TEXT_BYTES_MAX, parse
from bitmap_store.lexer import Kind, located, tokens


def names_users(expression: Expression) -> bool:
    """Whether an expression lists users itself, so that its text says who they are."""
    pending = [expression]
    for node in pending:
        if isinstance(node, Users):
            return True
        pending += operands(node)
    return False


@dataclass(frozen=True, slots=True)
class Detour:
    """A part of the expression whose path is not the path it was sent at; `text` holds it if it was a text."""

    path: str
    sent_at: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """An audience that was asked for under the name `argument` ("where", "in.3", "input.rule")."""

    argument: str
    found: Expression | TagroarError
    leaves: int = 0
    detours: tuple[Detour, ...] = ()

    @property
    def expression(self) -> Expression:
        """What was asked; raises what was wrong with it."""
        if isinstance(self.found, TagroarError):
            raise self.found
        return self.found

    @property
    def names_users(self) -> bool:
        """Whether it lists users, so that its size says who is in."""
        return names_users(self.expression)

    def place(self, error: TagroarError) -> TagroarError:
        """The error of a part of the expression, with its argument as it was sent, and its place in a text."""
        for detour in self.detours:
            bound_at = f"{self.argument}.{detour.path}".removesuffix(".")
            given = error.argument or ""
            if given == bound_at or given.startswith(f"{bound_at}."):
                below = given[len(bound_at) :]
                if detour.text is not None:
                    error = self._located(error, detour.text, given.removeprefix(f"{self.argument}."))
                    below = ""
                error.argument = f"{self.argument}.{detour.sent_at}".removesuffix(".") + below
                break
        return error

    def _located(self, error: TagroarError, text: str, path: str) -> TagroarError:
        """The error with the line and column at which the text first names what is at fault."""
        nodes = [(at, node) for at, node in walk(self.expression) if not at or path.startswith(f"{at}.")]
        node = max(nodes, key=lambda each: len(each[0]))[1]
        wanted = node.key if isinstance(node, Match | Saved) else None
        if isinstance(node, Lookalike) and (place := path.rpartition("excludeTags.")[2]).isdecimal():
            wanted = node.exclude_tags[int(place)]
        value = f".{path}".rpartition(".tag.in.")[2]
        if isinstance(node, Match) and node.values and value.isdecimal():
            wanted = node.values[int(value)]
        names = (token.start for token in tokens(text) if token.kind is not Kind.FIXED and nfc(token.value) == wanted)
        return located(error, text, next(names, 0))

    @classmethod
    def of_text(cls, text: str, argument: str, bytes_max: int = TEXT_BYTES_MAX) -> "Asked":
        """What a text of the audience language asks."""
        try:
            expression = parse(text, bytes_max=bytes_max)
        except TagroarError as error:
            return cls(argument, error.within(argument))
        return cls(argument, expression, check_bounds(expression), (Detour("", "", text),))
