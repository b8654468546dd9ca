"""Operations, compiled: a selection becomes closures once, one for each field, and running it calls them.

The answer is that of graphql-core, errors included; what is not known here is `Unusual`, and left to it. A
resolver is asynchronous if it is declared so: nothing else that it gives, and no attribute, is awaited.
"""

from collections.abc import Mapping
from types import CoroutineType
from typing import Any
from weakref import WeakKeyDictionary

from graphql import (
    BooleanValueNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    is_abstract_type,
    is_leaf_type,
    type_from_ast,
)

from resolvers.context import Context
from schema import closures
from schema.closures import NO_INFO, Complete, Path, Run
from schema.coercion import Needs, Unusual, variables_of
from schema.errors import shown
from schema.resolving import leaf_of, resolver_of
from schema.served import SCHEMA

CONDITIONS_MAX = 4
"""Variables of @skip and @include in a document: for each combination of their values it is compiled anew."""
FIELDS_MAX = 100
"""What a document compiles to is bounded by so many fields, and one more for each two of its characters."""
LEVELS_MAX = 50
FIELDS_KEPT_MAX = 50_000
"""Of all documents together; a field takes some 2 KB. Where there are more all are compiled anew when they are sent."""

_kept: "WeakKeyDictionary[Compiled, int]" = WeakKeyDictionary()
"""The operations of documents that are kept, with the fields that they have been compiled to."""


def _make_room(fields: int) -> None:
    """Lets go of what has been compiled, if so many more fields were too many."""
    if sum(_kept.values()) + fields > FIELDS_KEPT_MAX:
        for each in list(_kept):
            each.forget()
        _kept.clear()


class Compiled:
    """An operation that can be run any number of times. Unusual where it has to be left to graphql-core."""

    def __init__(self, document: DocumentNode, operation: OperationDefinitionNode, characters: int) -> None:
        self._document = document
        self._operation = operation
        self._needs = Needs()
        self._read = variables_of(operation, self._needs)
        self._conditions = _conditions(document)
        self._fields_max = self._fields_left = FIELDS_MAX + characters // 2
        self._variants: dict[tuple[Any, ...], Complete | None] = {}

    def forget(self) -> None:
        """Begins anew: it is compiled again when it is run again."""
        self._variants.clear()
        self._fields_left = self._fields_max

    async def run(self, sent: Mapping[str, Any], context: Context) -> dict[str, Any] | None:
        """The answer to these variables; None where they, or what they let in, are left to graphql-core."""
        try:
            variables = self._read(sent)
        except (Unusual, RecursionError):
            return None
        case = tuple([variables.get(name) for name in self._conditions])
        if case not in self._variants:
            self._variants[case] = self._compiled(dict(zip(self._conditions, case, strict=True)))
            return await self.run(sent, context)  # now it is known what is needed of the variables
        selected = self._variants[case]
        if selected is None:
            return None
        run = Run(context, variables)
        data = None
        try:
            done = selected(None, run, None)
            data = await done if type(done) is CoroutineType else done
        except GraphQLError as error:
            run.add(error, None)
        return {"data": data, "errors": shown(run.errors)} if run.errors else {"data": data}

    def _compiled(self, conditions: Mapping[str, Any]) -> Complete | None:
        if any(type(value) is not bool for value in conditions.values()):
            return None
        compiler = _Compiler(self._document, conditions, self._needs, self._fields_left)
        try:
            return compiler.root(self._operation)
        except (Unusual, RecursionError):
            return None
        finally:
            fields = self._fields_left - compiler.fields_left
            _make_room(fields)
            self._fields_left -= fields
            _kept[self] = _kept.get(self, 0) + fields


def _conditions(document: DocumentNode) -> tuple[str, ...]:
    """The variables that decide what is included; Unusual for other directives, and where there are too many."""
    found: dict[str, None] = {}
    pending: list[Any] = list(document.definitions)
    while pending:
        node = pending.pop()
        for directive in node.directives or ():
            if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode) or directive.name.value not in (
                "skip",
                "include",
            ):
                raise Unusual
            [argument] = directive.arguments
            if isinstance(argument.value, VariableNode):
                found[argument.value.name.value] = None
        selection_set = getattr(node, "selection_set", None)
        if selection_set is not None:
            pending.extend(selection_set.selections)
    if len(found) > CONDITIONS_MAX:
        raise Unusual
    return tuple(found)


class _Compiler:
    """Compiles an operation for one case of its conditions."""

    def __init__(self, document: DocumentNode, conditions: Mapping[str, bool], needs: Needs, fields_left: int) -> None:
        self._fragments = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._conditions = conditions
        self._needs = needs
        self._plain: set[Complete] = set()  # what depends on nothing but the value
        self.fields_left = fields_left

    def root(self, operation: OperationDefinitionNode) -> Complete:
        """Runs the operation, given nothing but the run."""
        type_ = SCHEMA._schema.get_root_type(operation.operation)
        assert type_ is not None
        fields = self._fields(type_, [operation.selection_set], 0)
        if operation.operation is OperationType.MUTATION:
            return closures.one_by_one(fields)
        return closures.selected(fields)[0]

    # ------------------------------------------------------------ selections

    def _fields(
        self, type_: GraphQLObjectType, selections: list[SelectionSetNode], level: int
    ) -> list[tuple[str, Complete, bool]]:
        if level > LEVELS_MAX:
            raise Unusual
        grouped: dict[str, list[FieldNode]] = {}
        visited: set[str] = set()
        for selection_set in selections:
            self._collect(type_, selection_set, grouped, visited)
        return [(key, *self._field(type_, key, nodes, level)) for key, nodes in grouped.items()]

    def _collect(
        self,
        type_: GraphQLObjectType,
        selection_set: SelectionSetNode,
        grouped: dict[str, list[FieldNode]],
        visited: set[str],
    ) -> None:
        """Groups the fields that are asked of a type by their keys in the answer."""
        for node in selection_set.selections:
            if not self._included(node):
                continue
            if isinstance(node, FieldNode):
                key = node.alias.value if node.alias else node.name.value
                grouped.setdefault(key, []).append(node)
                continue
            fragment: Any = node
            if isinstance(node, FragmentSpreadNode):
                if node.name.value in visited:
                    continue
                fragment = self._fragments[node.name.value]
            if _applies(fragment, type_):
                if fragment is not node:
                    visited.add(fragment.name.value)
                self._collect(type_, fragment.selection_set, grouped, visited)

    def _included(self, node: Any) -> bool:
        for directive in node.directives or ():
            value = directive.arguments[0].value
            holds = value.value if isinstance(value, BooleanValueNode) else self._conditions[value.name.value]
            if holds is (directive.name.value == "skip"):
                return False
        return True

    # ------------------------------------------------------------ fields

    def _field(self, parent: GraphQLObjectType, key: str, nodes: list[FieldNode], level: int) -> tuple[Complete, bool]:
        """A field, and whether it may have to be awaited."""
        self.fields_left -= 1
        if self.fields_left < 0:
            raise Unusual
        name = nodes[0].name.value
        if name == "__typename":
            return (lambda _source, _run, _path: parent.name), False
        definition = parent.fields.get(name)
        if definition is None:  # of introspection
            raise Unusual
        resolver = resolver_of(definition, nodes[0], self._needs)
        where = f"{parent.name}.{name}"
        bare: Any = definition.type.of_type if isinstance(definition.type, GraphQLNonNull) else definition.type
        if is_leaf_type(bare) and not resolver.is_asynchronous:
            null = closures.null_message(where) if bare is not definition.type else None
            field = closures.plain(key, resolver, leaf_of(bare), null, closures.failing(definition.type, nodes))
            if resolver.attribute is not None:
                self._plain.add(field)
            return field, False
        complete, awaits = self._completion(definition.type, nodes, where, level + 1)
        fail = closures.failing(definition.type, nodes)
        if resolver.is_asynchronous:
            return closures.asynchronous(key, resolver.call, complete, fail), True
        if awaits:
            return closures.awaiting(key, resolver.call, complete, fail), True
        field = closures.synchronous(key, resolver, complete, fail)
        if resolver.attribute is not None and complete in self._plain:
            self._plain.add(field)
        return field, False

    def _completion(
        self, type_: GraphQLOutputType, nodes: list[FieldNode], where: str, level: int
    ) -> tuple[Complete, bool]:
        """What makes an answer of a value of a type, and whether the answer may have to be awaited."""
        null: str | None = None
        if isinstance(type_, GraphQLNonNull):
            null, type_ = closures.null_message(where), type_.of_type
        if is_leaf_type(type_):
            return closures.leaf_completed(leaf_of(type_), null), False
        if isinstance(type_, GraphQLList):
            return self._list(type_.of_type, nodes, where, level, null)
        if isinstance(type_, GraphQLObjectType):
            return self._object(type_, nodes, level, null)
        if isinstance(type_, GraphQLInterfaceType):
            return self._interface(type_, nodes, where, level, null)
        raise Unusual

    def _list(
        self, type_: GraphQLOutputType, nodes: list[FieldNode], where: str, level: int, null: str | None
    ) -> tuple[Complete, bool]:
        complete, awaits = self._completion(type_, nodes, where, level)
        fail = closures.failing(type_, nodes)

        def completed(value: Any, run: Run, path: Path) -> Any:
            if value is None:
                return closures.nothing(null)
            if type(value) is not list and type(value) is not tuple:
                closures.check_iterable(value, where)
            found: list[Any] = []
            waiting: list[int] = []
            try:
                for index, item in enumerate(value):
                    try:
                        done = complete(item, run, (path, index))
                    except Exception as error:
                        done = fail(error, run, (path, index))
                    if awaits and type(done) is CoroutineType:
                        waiting.append(index)
                    found.append(done)
            except Exception:
                closures.settle(found[index] for index in waiting)
                raise
            return closures.awaited_items(found, waiting, fail, run, path) if waiting else found

        bare: Any = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        if isinstance(complete, closures.Remembered):
            return complete.items(completed, fail), False
        if not is_leaf_type(bare):
            if complete in self._plain:
                self._plain.add(completed)
            return completed, awaits
        leaves = closures.leaves(leaf_of(bare), completed)
        self._plain.add(leaves)
        return leaves, False

    def _object(
        self, type_: GraphQLObjectType, nodes: list[FieldNode], level: int, null: str | None
    ) -> tuple[Complete, bool]:
        known: set[type] = set()  # whether a value is of the type is told by its class
        fields = self._fields(type_, [node.selection_set for node in nodes if node.selection_set], level)
        selected, awaits = closures.selected(fields)
        is_plain = self._plain.issuperset(field for _, field, _ in fields)

        def completed(value: Any, run: Run, path: Path) -> Any:
            if value is None:
                return closures.nothing(null)
            if type(value) not in known:
                closures.check_type(value, type_, nodes)
                known.add(type(value))
            return selected(value, run, path)

        shared = is_plain and type_.name == "TagOnProfile"
        found: Complete = closures.Remembered(completed) if shared else completed
        if is_plain:
            self._plain.add(found)
        return found, awaits

    def _selection(self, type_: GraphQLObjectType, nodes: list[FieldNode], level: int) -> tuple[Complete, bool]:
        selections = [node.selection_set for node in nodes if node.selection_set]
        return closures.selected(self._fields(type_, selections, level))

    def _interface(
        self, type_: GraphQLInterfaceType, nodes: list[FieldNode], where: str, level: int, null: str | None
    ) -> tuple[Complete, bool]:
        possible = SCHEMA._schema.get_possible_types(type_)
        if any(each.is_type_of is None for each in possible):
            raise Unusual
        selections = {each: self._selection(each, nodes, level) for each in possible}
        known: dict[type, Complete] = {}

        def of_class(value: Any) -> Complete:
            if isinstance(value, Exception):
                raise value
            for each in possible:
                if each.is_type_of is not None and each.is_type_of(value, NO_INFO):
                    known[type(value)] = selections[each][0]
                    return selections[each][0]
            raise GraphQLError(
                f"Abstract type '{type_}' must resolve to an Object type at runtime for field '{where}'. Either the"
                f" '{type_}' type should provide a 'resolve_type' function or each possible type should provide an"
                " 'is_type_of' function.",
                nodes,
            )

        def completed(value: Any, run: Run, path: Path) -> Any:
            if value is None:
                return closures.nothing(null)
            return (known.get(type(value)) or of_class(value))(value, run, path)

        return completed, any(awaits for _, awaits in selections.values())


def _applies(fragment: Any, type_: GraphQLObjectType) -> bool:
    if fragment.type_condition is None:
        return True
    wanted: Any = type_from_ast(SCHEMA._schema, fragment.type_condition)
    return wanted is type_ or (is_abstract_type(wanted) and SCHEMA._schema.is_sub_type(wanted, type_))
