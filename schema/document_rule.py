"""How large a document is, told before anything looks at it that takes longer than reading it.

One pass over the nodes; what a fragment comes to is worked out once and added wherever it is spread, so that a bomb of
fragments is counted in as little time as it is read. Variables are not seen here: expressions bound themselves.
"""

from dataclasses import dataclass, replace

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

from bitmap_store.errors import Forbidden, Invalid, TooLarge

INTROSPECTION = frozenset({"__schema", "__type"})
INTROSPECTION_LISTS = frozenset({"fields", "inputFields", "interfaces", "possibleTypes"})
"""Of these one below another multiplies what introspection answers; no tool asks so."""
COUNT_MAX = 1 << 31
"""Counts end here: those of a bomb would be numbers of thousands of digits."""


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """How large a document may be, each operation with its fragments put in wherever they are spread.

    depth: fields below each other. introspection_depth: the same from `__schema` or `__type` on. roots: fields of the
    operation itself. introspection: whether the schema may be asked for.
    """

    tokens: int = 2_000
    depth: int = 12
    introspection_depth: int = 15
    aliases: int = 30
    fields: int = 2_000
    roots: int = 20
    directives: int = 50
    introspection: bool = True


@dataclass(slots=True)
class _Size:
    """What selections come to, fragments put in."""

    fields: int = 0
    roots: int = 0
    depth: int = 0
    aliases: int = 0
    directives: int = 0
    schemas: int = 0
    introspection_depth: int = 0
    """Of the parts that ask for the schema; 0 where none does."""
    lists: int = 0
    """Of `INTROSPECTION_LISTS`, below each other."""
    introspection_lists: int = 0
    introspection_aliases: int = 0

    def add(self, other: "_Size") -> None:
        """Takes selections beside these."""
        self.roots = min(COUNT_MAX, self.roots + other.roots)
        self._add_below(other)
        self.depth = max(self.depth, other.depth)
        self.lists = max(self.lists, other.lists)

    def add_field(self, node: FieldNode, below: "_Size") -> None:
        """Takes a field with what is selected of it."""
        name = node.name.value
        self.fields += 1
        self.roots += 1
        self.aliases += node.alias is not None
        self._add_below(below)
        if name in INTROSPECTION:
            self.schemas += name == "__schema"
            self.depth = max(self.depth, 1)
            self.introspection_depth = max(self.introspection_depth, 1 + below.depth)
            self.introspection_lists = max(self.introspection_lists, below.lists)
            self.introspection_aliases = min(COUNT_MAX, self.introspection_aliases + below.aliases)
        else:
            self.depth = max(self.depth, 1 + below.depth)
            self.lists = max(self.lists, below.lists + (name in INTROSPECTION_LISTS))

    def _add_below(self, other: "_Size") -> None:
        self.fields = min(COUNT_MAX, self.fields + other.fields)
        self.aliases = min(COUNT_MAX, self.aliases + other.aliases)
        self.directives = min(COUNT_MAX, self.directives + other.directives)
        self.schemas = min(COUNT_MAX, self.schemas + other.schemas)
        self.introspection_depth = max(self.introspection_depth, other.introspection_depth)
        self.introspection_lists = max(self.introspection_lists, other.introspection_lists)
        self.introspection_aliases = min(COUNT_MAX, self.introspection_aliases + other.introspection_aliases)


class _Sizes:
    """The sizes of the fragments of a document, each worked out when it is first spread."""

    def __init__(self, document: DocumentNode) -> None:
        self.fragments = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._known: dict[str, _Size | None] = {}

    def of(self, selections: SelectionSetNode | None) -> _Size:
        """The size of selections."""
        found = _Size()
        for node in () if selections is None else selections.selections:
            found.directives += len(node.directives or ())
            self._add(found, node)
        return found

    def _add(self, found: _Size, node: SelectionNode) -> None:
        if isinstance(node, FieldNode):
            found.add_field(node, self.of(node.selection_set))
        elif isinstance(node, FragmentSpreadNode):
            found.add(self.of_fragment(node.name.value))
        else:
            found.add(self.of(node.selection_set))  # type: ignore[attr-defined]

    def of_fragment(self, name: str) -> _Size:
        """The size of a fragment; nothing of one that is not there, which validation tells."""
        if name in self._known:
            known = self._known[name]
            if known is None:
                raise Invalid(f"the fragment {name!r} holds itself")
            return known
        node = self.fragments.get(name)
        self._known[name] = None
        found = _Size() if node is None else self.of(node.selection_set)
        if node is not None:
            found.directives += len(node.directives or ())
        self._known[name] = found
        return found


def check_document(document: DocumentNode, limits: DocumentLimits) -> None:
    """TOO_LARGE over the limits, INVALID for fragments in a circle, FORBIDDEN for introspection that is off.

    Linear in the nodes of the document. Every operation is judged, also those that are not to run, and so is every
    fragment: validation looks at them all. Their fields count together.
    """
    try:
        sizes = _Sizes(document)
        fields = 0
        for each in document.definitions:
            if isinstance(each, OperationDefinitionNode):
                size = sizes.of(each.selection_set)
                size.directives += len(each.directives or ())
                size.directives += sum(len(one.directives or ()) for one in each.variable_definitions or ())
                fields += size.fields
                _check(size, limits)
        for name, fragment in sizes.fragments.items():
            size = replace(sizes.of_fragment(name), roots=0)
            if fragment.type_condition.name.value.startswith("__"):  # of the schema: judged where it is spread
                size.depth = 0
            fields = max(fields, size.fields)
            _check(size, limits)
    except RecursionError:
        raise TooLarge("the request is nested too deeply") from None
    if fields > limits.fields:
        raise TooLarge(
            f"a document has at most {limits.fields} fields, those of fragments wherever they are spread; "
            f"this has {_shown(fields)}"
        )


def _check(size: _Size, limits: DocumentLimits) -> None:
    for count, most, what in (
        (size.depth, limits.depth, "levels of fields"),
        (size.roots, limits.roots, "fields at its root"),
        (size.aliases, limits.aliases, "aliases"),
        (size.directives, limits.directives, "directives"),
    ):
        if count > most:
            raise TooLarge(f"an operation has at most {most} {what}; this has {_shown(count)}")
    if not size.introspection_depth:
        return
    if not limits.introspection:
        raise Forbidden("introspection is off here; TAGROAR_INTROSPECTION=1 turns it on")
    if size.introspection_depth > limits.introspection_depth:
        raise TooLarge(f"introspection has at most {limits.introspection_depth} levels")
    if size.schemas > 1:
        raise TooLarge("an operation asks for __schema at most once")
    if size.introspection_lists > 1:
        raise TooLarge("introspection does not ask for the fields of types of fields")
    if size.introspection_aliases:
        raise TooLarge("introspection has no aliases below __schema and __type")


def _shown(count: int) -> str:
    return f"over {COUNT_MAX:,}" if count >= COUNT_MAX else f"{count:,}"
