"""The closures that operations are compiled to: how a field is resolved and completed, and what becomes of errors.

`compiled.py` puts them together.
"""

import asyncio
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    located_error,
)
from graphql.pyutils import gather_with_cancel, inspect, is_iterable
from orjson import Fragment, dumps

from resolvers.answers import TagOnProfile
from resolvers.context import Context
from schema.coercion import Coerced
from schema.resolving import Leaf, Resolve, Resolver

REMEMBERED_BYTES_MAX = 32 << 20
"""So much all selections together remember of what became of values."""
ENTRY_BYTES = 600
"""About what such a value takes besides what became of it."""

Path = tuple[Any, str | int] | None
"""Where a value stands in the answer: its key, after the path of what it stands in."""
Complete = Callable[[Any, "Run", Path], Any]
"""From a value and its path to what is answered, or to a coroutine that gives it. Raises what is wrong."""

NO_INFO: Any = None
"""Our types tell by the class of a value whether it is theirs, and ask for nothing else."""

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


def selected(fields: list[tuple[str, Complete, bool]]) -> tuple[Complete, bool]:
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
            settle(found[key] for key in waiting)
            raise
        return _awaited_fields(found, waiting) if waiting else found

    return selected, True


def one_by_one(fields: list[tuple[str, Complete, bool]]) -> Complete:
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


async def awaited_items(found: list[Any], waiting: list[int], fail: Fail, run: Run, path: Path) -> list[Any]:
    """The items of a list of which some have to be awaited, at these places."""

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


def settle(coroutines: Any) -> None:
    """Lets what was begun end, as nobody waits for it: what it stood in is null."""
    pending = list(coroutines)
    if pending:
        future = asyncio.gather(*pending, return_exceptions=True)
        _settling.add(future)
        future.add_done_callback(_settling.discard)


def failing(type_: GraphQLOutputType, nodes: list[FieldNode]) -> Fail:
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


class _Budget:
    """The memory of all that is remembered, in one event loop; where it is used up all is forgotten."""

    def __init__(self) -> None:
        self._bytes = 0
        self._taken: list[dict[TagOnProfile, Any]] = []

    def take(self, kept: dict[TagOnProfile, Any], size: int) -> None:
        """To be called before something of this size is added."""
        if self._bytes + size > REMEMBERED_BYTES_MAX:
            for each in self._taken:
                each.clear()
            self._taken.clear()
            self._bytes = 0
        if not kept:
            self._taken.append(kept)
        self._bytes += size


_budget = _Budget()


class Remembered:
    """What became of values that all users share is given again, encoded, as long as there is room.

    For what depends on the value alone, and where nothing was wrong with it.
    """

    def __init__(self, completed: Complete) -> None:
        self._completed = completed
        self._kept: dict[TagOnProfile, Any] = {}

    def __call__(self, value: Any, run: Run, path: Path) -> Any:
        """What becomes of a value."""
        known = self._kept.get(value)
        if known is not None:
            return known
        errors = len(run.errors)
        done = self._completed(value, run, path)
        if type(value) is TagOnProfile and value.is_common and len(run.errors) == errors:
            written = bytes(memoryview(dumps(done)))  # as it comes it takes 4 KB, however short it is
            _budget.take(self._kept, ENTRY_BYTES + len(written))
            done = self._kept[value] = Fragment(written)
        return done

    def items(self, completed: Complete, fail: Fail) -> Complete:
        """A list of such values, those that are remembered in one go; `completed` takes what is unusual."""
        known = self._kept.get

        def items(value: Any, run: Run, path: Path) -> Any:
            if type(value) is not tuple:
                return completed(value, run, path)
            found = [*map(known, value)]
            for index, done in enumerate(found):
                if done is None:
                    try:
                        found[index] = self(value[index], run, (path, index))
                    except Exception as error:
                        fail(error, run, (path, index))
            return found

        return items


def synchronous(key: str, resolver: Resolver, complete: Complete, fail: Fail) -> Complete:
    """A field whose value is at hand, and so is what becomes of it."""
    resolve, attribute = resolver.call, resolver.attribute

    def field(source: Any, run: Run, path: Path) -> Any:
        try:
            value = resolve(source, run) if attribute is None else attribute(source)
            return complete(value, run, (path, key))
        except Exception as error:
            return fail(error, run, (path, key))

    return field


def plain(key: str, resolver: Resolver, leaf: Leaf, null: str | None, fail: Fail) -> Complete:
    """A field of a leaf type, which most are: without a path as long as nothing goes wrong."""
    resolve, attribute = resolver.call, resolver.attribute
    exact, serialize = leaf.exact, leaf.serialize

    def field(source: Any, run: Run, path: Path) -> Any:
        try:
            value = resolve(source, run) if attribute is None else attribute(source)
            if type(value) is exact:
                return value
            if value is not None:
                return serialize(value)
            return None if null is None else nothing(null)
        except Exception as error:
            return fail(error, run, (path, key))

    return field


def awaiting(key: str, resolve: Resolve, complete: Complete, fail: Fail) -> Complete:
    """A field whose value is at hand, of which something may have to be awaited."""

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


def asynchronous(key: str, resolve: Resolve, complete: Complete, fail: Fail) -> Complete:
    """A field whose value has to be awaited."""

    async def field(source: Any, run: Run, path: Path) -> Any:
        here = (path, key)
        try:
            done = complete(await resolve(source, run), run, here)
            return await done if type(done) is CoroutineType else done
        except Exception as error:
            return fail(error, run, here)

    return field


def leaf_completed(leaf: Leaf, null: str | None) -> Complete:
    """A value of a leaf type, null where it may be; null: what is wrong where it may not."""
    exact, serialize = leaf.exact, leaf.serialize

    def complete(value: Any, _run: Run, _path: Path) -> Any:
        if type(value) is exact:
            return value
        return nothing(null) if value is None else serialize(value)

    return complete


def leaves(leaf: Leaf, completed: Complete) -> Complete:
    """A list of leaves, one after the other; `completed` takes what is unusual, and tells what is wrong with which."""
    exact, serialize = {leaf.exact}, leaf.serialize

    def leaves(value: Any, run: Run, path: Path) -> Any:
        if type(value) is not list and type(value) is not tuple:
            return completed(value, run, path)
        if not value or {*map(type, value)} == exact:
            return list(value)
        if None in value:
            return completed(value, run, path)
        try:
            return [serialize(item) for item in value]
        except Exception:
            return completed(value, run, path)

    return leaves


def null_message(where: str) -> str:
    """What is wrong with null at a field such as Audience.text."""
    return f"Cannot return null for non-nullable field {where}."


def nothing(null: str | None) -> None:
    """Null, where it may be."""
    if null is not None:
        raise TypeError(null)


def check_iterable(value: Any, where: str) -> None:
    """Raises what graphql-core does for what is no list."""
    if isinstance(value, Exception):
        raise value
    if not is_iterable(value):
        raise GraphQLError(f"Expected Iterable, but did not find one for field '{where}'.")


def check_type(value: Any, type_: GraphQLObjectType, nodes: list[FieldNode]) -> None:
    """Raises what graphql-core does for a value that is not of a type."""
    if isinstance(value, Exception):
        raise value
    if type_.is_type_of is not None and not type_.is_type_of(value, NO_INFO):
        raise GraphQLError(f"Expected value of type '{type_}' but got: {inspect(value)}.", nodes)
