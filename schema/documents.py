"""Documents as they are sent, each prepared once: parsed, validated, and its operation found.

What is wrong with a document is kept as well, so that a wrong one costs no more the second time.
"""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    GraphQLError,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    ValidationContext,
    VariableDefinitionNode,
    execute,
    parse,
    specified_rules,
    validate,
)
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from bitmap_store.errors import Invalid, TagroarError
from resolvers.context import Context
from schema.coercion import Unusual
from schema.compiled import Compiled
from schema.document_rule import INTROSPECTION, DocumentLimits, check_document
from schema.errors import shown
from schema.lasting import is_lasting
from schema.served import SCHEMA

DOCUMENTS_MAX = 1_024
LONG = 1_000
"""Characters from which on a document that is new is made ready in a thread."""
DOCUMENTS_CHARACTERS_MAX = 1 << 20
"""A document of the largest size takes about 2 MB once it is parsed, so all together about 32 MB."""

Answer = dict[str, Any]
"""What is written for a request, as JSON: `data` where it was executed, `errors` where there are any."""
Variables = dict[str, Any]

_is_awaitable: Any = optimized_is_awaitable


@dataclass(frozen=True, slots=True)
class Refused:
    """What is answered to a document that cannot be executed."""

    answer: Answer


@dataclass(frozen=True)
class Prepared:
    """An operation that is ready to run, with any variables and any number of times."""

    kind: OperationType
    name: str | None
    document: DocumentNode
    compiled: Compiled | None = None
    introspective: bool = False
    """Whether it asks for the schema alone: it takes a while then, and waits for nothing."""

    @cached_property
    def lasting(self) -> bool:
        """Whether it is a query whose answer, once right, is so until something is written or comes to its end."""
        return self.kind is OperationType.QUERY and is_lasting(self.document)

    async def run(self, variables: Variables | None, context: Context) -> Answer:
        """Runs a query or a mutation once. What goes wrong stands in the answer."""
        answer = None if self.compiled is None else await self.compiled.run(variables or {}, context)
        if answer is None and self.introspective:
            answer = await asyncio.to_thread(_introspected, self, variables)
        elif answer is None:
            answer = await by_graphql_core(self, variables, context)
        return extended(answer, context)


def extended(answer: Answer, context: Context) -> Answer:
    """The answer, with what is to be told of its operation besides data and errors."""
    if context.tells_cost:
        context.extensions["cost"] = {"operations": context.work, "most": context.limits.work_max or None}
    if context.extensions:
        answer["extensions"], context.extensions = context.extensions, {}
    return answer


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
        return {"errors": shown([GraphQLError(str(error), original_error=error)])}
    if result.errors and result.data is None and not any(error.path for error in result.errors):
        return {"errors": shown(result.errors)}  # nothing was executed, so there are no data, not even null
    return {"data": result.data, "errors": shown(result.errors)} if result.errors else {"data": result.data}


def _introspected(prepared: Prepared, variables: Variables | None) -> Answer:
    result: Any = execute(SCHEMA._schema, prepared.document, variable_values=variables, operation_name=prepared.name)
    answer: Answer = {"errors": shown(result.errors)} if result.errors else {}
    return answer if result.errors and result.data is None else {"data": result.data} | answer


# ---------------------------------------------------------------- preparing


@dataclass(slots=True)
class _Kept:
    """A document, or why it is none, and those of its operations that were wanted."""

    parsed: DocumentNode | Refused
    operations: dict[str | None, Prepared] = field(default_factory=dict)
    valid: bool = False


class Documents:
    """The documents of a process, within bounds; the least recently used goes first."""

    def __init__(
        self,
        *,
        compiled: bool = True,
        limits: DocumentLimits | None = None,
        documents_max: int = DOCUMENTS_MAX,
        characters_max: int = DOCUMENTS_CHARACTERS_MAX,
    ) -> None:
        self._compiled = compiled
        self._limits = limits or DocumentLimits()
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
            kept = self._parsed(text)
            self._keep(text, kept)
        else:
            self._kept.move_to_end(text)
        return kept.operations.get(name) or self._prepare(kept, name, len(text))

    async def prepare(self, text: str, name: str | None) -> Prepared | Refused:
        """The same; what is long and was not there is made ready in a thread, as it would hold all others up."""
        if len(text) < LONG or text in self._kept:
            return self.prepared(text, name)

        def made() -> tuple[_Kept, Prepared | Refused]:
            kept = self._parsed(text)
            return kept, self._prepare(kept, name, len(text))

        kept, found = await asyncio.to_thread(made)
        if text not in self._kept:
            self._keep(text, kept)
        return found

    def _parsed(self, text: str) -> _Kept:
        """A document within the limits, which are looked at first: validation may take long for what is over them."""
        try:
            document = parse(text, max_tokens=self._limits.tokens)
            check_document(document, self._limits)
        except GraphQLError as error:
            return _Kept(Refused({"errors": shown([error])}))
        except TagroarError as error:
            return _Kept(Refused({"errors": [{"message": error.message, "extensions": error.extensions()}]}))
        return _Kept(document)

    def _keep(self, text: str, kept: _Kept) -> None:
        self._kept[text] = kept
        self._characters += len(text)
        while len(self._kept) > self._documents_max or self._characters > self._characters_max:
            dropped, _ = self._kept.popitem(last=False)
            self._characters -= len(dropped)

    def _prepare(self, kept: _Kept, name: str | None, characters: int) -> Prepared | Refused:
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
                kept.parsed = Refused({"errors": shown(errors)})
                return kept.parsed
            kept.valid = True
        compiled = _compiled(document, operation, characters) if self._compiled else None
        prepared = kept.operations[name] = Prepared(
            operation.operation, name, document, compiled, _is_introspective(operation)
        )
        return prepared


def _compiled(document: DocumentNode, operation: OperationDefinitionNode, characters: int) -> Compiled | None:
    """The operation compiled; None for one that is left to graphql-core."""
    try:
        return Compiled(document, operation, characters)
    except Unusual:
        return None


def _validated(document: DocumentNode) -> list[GraphQLError]:
    try:
        return validate(SCHEMA._schema, document, (*specified_rules, MaybeNullValidationRule, _OneOf))
    except RecursionError as error:
        return [GraphQLError(str(error), original_error=error)]


def _is_introspective(operation: OperationDefinitionNode) -> bool:
    return operation.operation is OperationType.QUERY and all(
        isinstance(node, FieldNode) and node.name.value in INTROSPECTION for node in operation.selection_set.selections
    )


class _OneOf(OneOfInputValidationRule):
    """Strawberry's rule, which knows the variables of an operation also in fragments that stand before it."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        operations = [each for each in context.document.definitions if isinstance(each, OperationDefinitionNode)]
        self.variable_definitions: dict[str, VariableDefinitionNode] = {
            node.variable.name.value: node for each in operations for node in each.variable_definitions or ()
        }

    def enter_operation_definition(self, node: ExecutableDefinitionNode, *_: Any) -> None:
        """Keeps what is known of all operations."""

    def enter_object_value(self, node: ObjectValueNode, *_: Any) -> None:
        """An undefined variable is told by another rule."""
        with suppress(KeyError):
            super().enter_object_value(node)


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
