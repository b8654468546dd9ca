"""Documents: parsed once and kept, and the operation of one that is to run.

Strawberry takes the first of several operations where none is named; the specification wants an error.
"""

from collections.abc import Iterator
from functools import lru_cache

from graphql import DocumentNode, OperationDefinitionNode, OperationType, parse
from strawberry.extensions import SchemaExtension

from bitmap_store.errors import Invalid
from schema.limits import TOKENS_MAX

DOCUMENTS_CACHED = 128
"""A document of the largest size takes about 2 MB once it is parsed."""


@lru_cache(DOCUMENTS_CACHED)
def document(text: str) -> DocumentNode:
    """The parsed document; raises GraphQL's own syntax error, also for more tokens than the limit."""
    return parse(text, max_tokens=TOKENS_MAX)


def operation_of(text: str, name: str | None) -> OperationType:
    """What kind of operation is to run; INVALID where it cannot be told which one that is."""
    operations = [each for each in document(text).definitions if isinstance(each, OperationDefinitionNode)]
    if name is not None:
        operations = [each for each in operations if each.name is not None and each.name.value == name]
        if not operations:
            raise Invalid(f"there is no operation {name!r} in the document", argument="operationName")
    if not operations:
        raise Invalid("the document holds no operation", argument="query")
    if len(operations) > 1:
        raise Invalid("the document holds several operations; say which one", argument="operationName")
    return operations[0].operation


class KeptDocument(SchemaExtension):
    """Takes the document that is kept instead of parsing it again."""

    def on_parse(self) -> Iterator[None]:
        """Called by Strawberry around parsing."""
        if self.execution_context.query:
            self.execution_context.graphql_document = document(self.execution_context.query)
        yield
