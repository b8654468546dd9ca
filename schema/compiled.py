"""Operations, compiled: a selection becomes closures once, one for each field, and running it calls them.

The answer is that of graphql-core, errors included; what is not known here is `Unusual`, and left to it. A
resolver is asynchronous if it is declared so: nothing else that it gives, and no attribute, is awaited.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from types import CoroutineType
from typing import Any

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
    located_error,
    type_from_ast,
)
from graphql.pyutils import gather_with_cancel, inspect, is_iterable

from resolvers.context import Context
from schema.coercion import Coerced, Needs, Unusual, variables_of
from schema.errors import shown
from schema.resolving import Resolve, attribute_of, leaf_of, resolve_of
from schema.served import SCHEMA

CONDITIONS_MAX = 4
"""Variables of @skip and @include in a document: for each combination of their values it is compiled anew."""
FIELDS_MAX = 100
"""What a document compiles to is bounded by so many fields, and one more for each two of its characters."""
LEVELS_MAX = 50

Path = tuple[Any, str | int] | None
"""Where a value stands in the answer: its key, after the path of what it stands in."""
Complete = Callable[[Any, "Run", Path], Any]
"""From a value and its path to what is answered, or to a coroutine that gives it. Raises what is wrong."""

_settling: set[asyncio.Future[Any]] = set()


class Run:
    """One run of an operation; it is the `info` that resolvers are given, who ask it for `context` only."""

    __slots__ = ("_nulled", "context", "errors", "variables")

    def __init__(self, context: Context, variables: Coerced) -> None:
        self.context = context
        self.variables = variables
        self.errors: list[GraphQLError] = []
        self._nulled: set[Path] = set()

    def add(self, error: GraphQLError, path: Path) -> None:
        """Notes an error that made null what stands at a path, unless it stands in what is null already."""
        above = path
        while above is not None:
            if above in self._nulled:
                return
            above = above[0]
        if None not in self._nulled:
            self._nulled.add(path)
            self.errors.append(error)


class Compiled:
    """An operation that can be run any number of times. Unusual where it has to be left to graphql-core."""

    def __init__(self, document: DocumentNode, operation: OperationDefinitionNode, characters: int) -> None:
        self._document = document
        self._operation = operation
        self._needs = Needs()
        self._read = variables_of(operation, self._needs)
        self._conditions = _conditions(document)
        self._fields_left = FIELDS_MAX + characters // 2
        self._variants: dict[tuple[Any, ...], Complete | None] = {}

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
            self._fields_left = compiler.fields_left


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
        self.fields_left = fields_left

    def root(self, operation: OperationDefinitionNode) -> Complete:
        """Runs the operation, given nothing but the run."""
        type_ = SCHEMA._schema.get_root_type(operation.operation)
        assert type_ is not None
        fields = self._fields(type_, [operation.selection_set], 0)
        if operation.operation is OperationType.MUTATION:
            return _one_by_one(fields)
        return _selected(fields)[0]

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
        resolve, asynchronous = resolve_of(definition, nodes[0], self._needs)
        where = f"{parent.name}.{name}"
        bare: Any = definition.type.of_type if isinstance(definition.type, GraphQLNonNull) else definition.type
        if is_leaf_type(bare) and not asynchronous:
            null = _null_message(where) if bare is not definition.type else None
            attribute, fail = attribute_of(definition), _failing(definition.type, nodes)
            if attribute is not None:
                return _attribute(key, attribute, leaf_of(bare), null, fail), False
            return _plain(key, resolve, leaf_of(bare), null, fail), False
        complete, awaits = self._completion(definition.type, nodes, where, level + 1)
        fail = _failing(definition.type, nodes)
        if asynchronous:
            return _asynchronous(key, resolve, complete, fail), True
        if awaits:
            return _awaiting(key, resolve, complete, fail), True
        return _synchronous(key, resolve, complete, fail), False

    def _completion(
        self, type_: GraphQLOutputType, nodes: list[FieldNode], where: str, level: int
    ) -> tuple[Complete, bool]:
        """What makes an answer of a value of a type, and whether the answer may have to be awaited."""
        null: str | None = None
        if isinstance(type_, GraphQLNonNull):
            null, type_ = _null_message(where), type_.of_type
        if is_leaf_type(type_):
            return _leaf(leaf_of(type_), null), False
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
        fail = _failing(type_, nodes)

        def completed(value: Any, run: Run, path: Path) -> Any:
            if value is None:
                return _nothing(null)
            if type(value) is not list and type(value) is not tuple:
                _check_iterable(value, where)
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
                _settle(found[index] for index in waiting)
                raise
            return _awaited_items(found, waiting, fail, run, path) if waiting else found

        bare: Any = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        return (_leaves(leaf_of(bare), completed), False) if is_leaf_type(bare) else (completed, awaits)

    def _object(
        self, type_: GraphQLObjectType, nodes: list[FieldNode], level: int, null: str | None
    ) -> tuple[Complete, bool]:
        known: set[type] = set()  # whether a value is of the type is told by its class
        fields = self._fields(type_, [node.selection_set for node in nodes if node.selection_set], level)
        selected, awaits = _selected(fields)

        def completed(value: Any, run: Run, path: Path) -> Any:
            if value is None:
                return _nothing(null)
            if type(value) not in known:
                _check_type(value, type_, nodes)
                known.add(type(value))
            return selected(value, run, path)

        if awaits:
            return completed, True
        plain = [(key, field) for key, field, _ in fields]

        def completed_at_once(value: Any, run: Run, path: Path) -> Any:
            if value is None:
                return _nothing(null)
            if type(value) not in known:
                _check_type(value, type_, nodes)
                known.add(type(value))
            return {key: field(value, run, path) for key, field in plain}

        return completed_at_once, False

    def _selection(self, type_: GraphQLObjectType, nodes: list[FieldNode], level: int) -> tuple[Complete, bool]:
        selections = [node.selection_set for node in nodes if node.selection_set]
        return _selected(self._fields(type_, selections, level))

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
                if each.is_type_of is not None and each.is_type_of(value, _NO_INFO):
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
                return _nothing(null)
            return (known.get(type(value)) or of_class(value))(value, run, path)

        return completed, any(awaits for _, awaits in selections.values())


_NO_INFO: Any = None
"""Our types tell by the class of a value whether it is theirs, and ask for nothing else."""


def _applies(fragment: Any, type_: GraphQLObjectType) -> bool:
    if fragment.type_condition is None:
        return True
    wanted: Any = type_from_ast(SCHEMA._schema, fragment.type_condition)
    return wanted is type_ or (is_abstract_type(wanted) and SCHEMA._schema.is_sub_type(wanted, type_))


# ---------------------------------------------------------------- closures


def _selected(fields: list[tuple[str, Complete, bool]]) -> tuple[Complete, bool]:
    """The fields of an object, all begun before any is awaited; and whether any may have to be."""
    plain = [(key, field) for key, field, _ in fields]
    if not any(awaits for _, _, awaits in fields):
        return (lambda source, run, path: {key: field(source, run, path) for key, field in plain}), False

    def selected(source: Any, run: Run, path: Path) -> Any:
        found: dict[str, Any] = {}
        waiting: list[str] = []
        try:
            for key, field in plain:
                done = found[key] = field(source, run, path)
                if type(done) is CoroutineType:
                    waiting.append(key)
        except Exception:
            _settle(found[key] for key in waiting)
            raise
        return _awaited_fields(found, waiting) if waiting else found

    return selected, True


def _one_by_one(fields: list[tuple[str, Complete, bool]]) -> Complete:
    """The fields of a mutation, each begun when the one before has ended."""

    async def selected(source: Any, run: Run, path: Path) -> dict[str, Any]:
        found = {}
        for key, field, _ in fields:
            done = field(source, run, path)
            found[key] = await done if type(done) is CoroutineType else done
        return found

    return selected


async def _awaited_fields(found: dict[str, Any], waiting: list[str]) -> dict[str, Any]:
    if len(waiting) == 1:
        found[waiting[0]] = await found[waiting[0]]
    else:
        found.update(zip(waiting, await gather_with_cancel(*[found[key] for key in waiting]), strict=True))
    return found


Fail = Callable[[Exception, Run, Path], None]


async def _awaited_items(found: list[Any], waiting: list[int], fail: Fail, run: Run, path: Path) -> list[Any]:
    async def item(index: int) -> Any:
        try:
            return await found[index]
        except Exception as error:
            return fail(error, run, (path, index))

    if len(waiting) == 1:
        found[waiting[0]] = await item(waiting[0])
    else:
        for index, done in zip(waiting, await gather_with_cancel(*map(item, waiting)), strict=True):
            found[index] = done
    return found


def _settle(coroutines: Any) -> None:
    """Lets what was begun end, as nobody waits for it: what it stood in is null."""
    pending = list(coroutines)
    if pending:
        future = asyncio.gather(*pending, return_exceptions=True)
        _settling.add(future)
        future.add_done_callback(_settling.discard)


def _failing(type_: GraphQLOutputType, nodes: list[FieldNode]) -> Fail:
    """Notes what went wrong with a value; what must not be null passes it on to what it stands in."""
    required = isinstance(type_, GraphQLNonNull)

    def fail(error: Exception, run: Run, path: Path) -> None:
        located = located_error(error, nodes, _keys(path))
        if required:
            raise located
        run.add(located, path)

    return fail


def _keys(path: Path) -> list[str | int]:
    found = []
    while path is not None:
        path, key = path
        found.append(key)
    return found[::-1]


def _synchronous(key: str, resolve: Resolve, complete: Complete, fail: Fail) -> Complete:
    def field(source: Any, run: Run, path: Path) -> Any:
        try:
            return complete(resolve(source, run), run, (path, key))
        except Exception as error:
            return fail(error, run, (path, key))

    return field


def _plain(key: str, resolve: Resolve, serialize: Callable[[Any], Any], null: str | None, fail: Fail) -> Complete:
    """A field of a leaf type, which most are: without a path as long as nothing goes wrong."""

    def field(source: Any, run: Run, path: Path) -> Any:
        try:
            value = resolve(source, run)
            return _nothing(null) if value is None else serialize(value)
        except Exception as error:
            return fail(error, run, (path, key))

    return field


def _attribute(
    key: str, attribute: Callable[[Any], Any], serialize: Callable[[Any], Any], null: str | None, fail: Fail
) -> Complete:
    """The same, of what is an attribute of the value."""

    def field(source: Any, run: Run, path: Path) -> Any:
        try:
            value = attribute(source)
            return _nothing(null) if value is None else serialize(value)
        except Exception as error:
            return fail(error, run, (path, key))

    return field


def _awaiting(key: str, resolve: Resolve, complete: Complete, fail: Fail) -> Complete:
    async def awaited(pending: Coroutine[Any, Any, Any], run: Run, path: Path) -> Any:
        try:
            return await pending
        except Exception as error:
            return fail(error, run, path)

    def field(source: Any, run: Run, path: Path) -> Any:
        here = (path, key)
        try:
            done = complete(resolve(source, run), run, here)
        except Exception as error:
            return fail(error, run, here)
        return awaited(done, run, here) if type(done) is CoroutineType else done

    return field


def _asynchronous(key: str, resolve: Resolve, complete: Complete, fail: Fail) -> Complete:
    async def field(source: Any, run: Run, path: Path) -> Any:
        here = (path, key)
        try:
            done = complete(await resolve(source, run), run, here)
            return await done if type(done) is CoroutineType else done
        except Exception as error:
            return fail(error, run, here)

    return field


def _leaf(serialize: Callable[[Any], Any], null: str | None) -> Complete:
    if null is None:
        return lambda value, _run, _path: None if value is None else serialize(value)
    return lambda value, _run, _path: _nothing(null) if value is None else serialize(value)


def _leaves(serialize: Callable[[Any], Any], completed: Complete) -> Complete:
    """A list of leaves, one after the other; `completed` takes what is unusual, and tells what is wrong with which."""

    def leaves(value: Any, run: Run, path: Path) -> Any:
        if (type(value) is not list and type(value) is not tuple) or None in value:
            return completed(value, run, path)
        try:
            return [serialize(item) for item in value]
        except Exception:
            return completed(value, run, path)

    return leaves


def _null_message(where: str) -> str:
    return f"Cannot return null for non-nullable field {where}."


def _nothing(null: str | None) -> None:
    """Null, where it may be."""
    if null is not None:
        raise TypeError(null)


def _check_iterable(value: Any, where: str) -> None:
    if isinstance(value, Exception):
        raise value
    if not is_iterable(value):
        raise GraphQLError(f"Expected Iterable, but did not find one for field '{where}'.")


def _check_type(value: Any, type_: GraphQLObjectType, nodes: list[FieldNode]) -> None:
    if isinstance(value, Exception):
        raise value
    if type_.is_type_of is not None and not type_.is_type_of(value, _NO_INFO):
        raise GraphQLError(f"Expected value of type '{type_}' but got: {inspect(value)}.", nodes)
