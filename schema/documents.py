"""Documents as they are sent, each prepared once: parsed, validated, and its operation found.

What is wrong with a document is kept as well, so that a wrong one costs no more the second time.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    execute,
    parse,
    specified_rules,
)
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import validate_document

from bitmap_store.errors import Invalid
from resolvers.context import Context
from schema.errors import describe
from schema.limits import TOKENS_MAX
from schema.served import SCHEMA

DOCUMENTS_MAX = 1_024
DOCUMENTS_CHARACTERS_MAX = 1 << 20
"""A document of the largest size takes about 2 MB once it is parsed, so all together about 32 MB."""

Answer = dict[str, Any]
"""What is written for a request: `data`, and `errors` where there are any, as JSON."""
Variables = dict[str, Any]

_is_awaitable: Any = optimized_is_awaitable


@dataclass(frozen=True, slots=True)
class Refused:
    """What is answered to a document that cannot be executed."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Prepared:
    """An operation that is ready to run, with any variables and any number of times."""

    kind: OperationType
    name: str | None
    document: DocumentNode

    async def run(self, variables: Variables | None, context: Context) -> Answer:
        """Runs a query or a mutation once. What goes wrong stands in the answer."""
        return await by_graphql_core(self, variables, context)


async def by_graphql_core(prepared: Prepared, variables: Variables | None, context: Context) -> Answer:
    """Runs an operation by the reference executor."""
    try:
        result: Any = execute(
            SCHEMA._schema,
            prepared.document,
            context_value=context,
            variable_values=variables,
            operation_name=prepared.name,
            is_awaitable=_is_awaitable,
            executor_class=SCHEMA.execution_context_class,
        )
        if _is_awaitable(result):
            result = await result
    except Exception as error:
        return {"data": None, "errors": shown([GraphQLError(str(error), original_error=error)])}
    return {"data": result.data, "errors": shown(result.errors)} if result.errors else {"data": result.data}


def shown(errors: list[GraphQLError]) -> list[dict[str, Any]]:
    """Errors in the one shape, as they are written."""
    for error in errors:
        describe(error)
    return [dict(error.formatted) for error in errors]


# ---------------------------------------------------------------- preparing


@dataclass(slots=True)
class _Kept:
    """A document, or why it is none, and those of its operations that were wanted."""

    parsed: DocumentNode | Refused
    operations: dict[str | None, Prepared] = field(default_factory=dict)
    valid: bool = False


class Documents:
    """The documents of a process, within bounds; the least recently used goes first."""

    def __init__(self, documents_max: int = DOCUMENTS_MAX, characters_max: int = DOCUMENTS_CHARACTERS_MAX) -> None:
        self._documents_max = documents_max
        self._characters_max = characters_max
        self._characters = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def prepared(self, text: str, name: str | None) -> Prepared | Refused:
        """The operation with this name, or the only one of a document; or what is wrong with the document."""
        kept = self._kept.get(text)
        if kept is None:
            kept = self._keep(text)
        else:
            self._kept.move_to_end(text)
        return kept.operations.get(name) or _prepare(kept, name)

    def _keep(self, text: str) -> _Kept:
        try:
            kept = _Kept(parse(text, max_tokens=TOKENS_MAX))
        except GraphQLError as error:
            kept = _Kept(Refused({"errors": shown([error])}))
        self._kept[text] = kept
        self._characters += len(text)
        while len(self._kept) > self._documents_max or self._characters > self._characters_max:
            dropped, _ = self._kept.popitem(last=False)
            self._characters -= len(dropped)
        return kept


def _prepare(kept: _Kept, name: str | None) -> Prepared | Refused:
    document = kept.parsed
    if isinstance(document, Refused):
        return document
    try:
        operation = _operation(document, name)
    except Invalid as error:  # not kept: there is no end of names that a document does not have
        return Refused({"errors": [{"message": error.message, "extensions": error.extensions()}]})
    if not kept.valid:
        errors = _validated(document)
        if errors:
            kept.parsed = Refused({"data": None, "errors": shown(errors)})
            return kept.parsed
        kept.valid = True
    prepared = kept.operations[name] = Prepared(operation.operation, name, document)
    return prepared


def _validated(document: DocumentNode) -> list[GraphQLError]:
    try:
        return validate_document(SCHEMA._schema, document, tuple(specified_rules))
    except RecursionError as error:
        return [GraphQLError(str(error), original_error=error)]


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation that is to run; INVALID where it cannot be told which one that is.

    Strawberry takes the first of several where none is named; the specification wants an error.
    """
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    if name is not None:
        operations = [each for each in operations if each.name is not None and each.name.value == name]
        if not operations:
            raise Invalid(f"there is no operation {name!r} in the document", argument="operationName")
    if not operations:
        raise Invalid("the document holds no operation", argument="query")
    if len(operations) > 1:
        raise Invalid("the document holds several operations; say which one", argument="operationName")
    return operations[0]
