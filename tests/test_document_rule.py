"""How large a document is: what is counted, what is refused, and that counting takes no time on what is hostile."""

from time import process_time

import pytest
from graphql import get_introspection_query, parse

from bitmap_store.errors import Forbidden, Invalid, TagroarError, TooLarge
from schema.document_rule import DocumentLimits, check_document

NONE = DocumentLimits(depth=0, aliases=0, fields=0, roots=0, directives=0, introspection_depth=0)


def bomb(levels: int, width: int = 2) -> str:
    """Fragments that each spread the next several times."""
    each = [f"fragment f{i} on Query {{ {f'...f{i + 1} ' * width} }}" for i in range(levels)]
    return "{ ...f0 } " + " ".join(each) + f" fragment f{levels} on Query {{ viewer {{ name }} }}"


def nested(levels: int) -> str:
    return "{ " + "a { " * (levels - 1) + "a" + " }" * levels


AT_MOST = [
    ("depth", nested(5), 5),
    ("depth", "{ a { ...f } } fragment f on A { b { c } }", 3),
    ("depth", "{ a { ... { ... on A { b } } } }", 2),
    ("depth", "query a { a } query b { a { b { c } } }", 3),
    ("aliases", "{ a: x b: x { c: y } }", 3),
    ("aliases", "{ ...f ...f } fragment f on Query { a: x { b: y } }", 4),
    ("aliases", "query a { a: x b: x } query b { a: x }", 2),
    ("fields", "{ a b { c d } }", 4),
    ("fields", "{ ...f ...f } fragment f on Query { a { b } }", 4),
    ("fields", "query a { a } query b { a b }", 3),
    ("fields", bomb(4), 32),
    ("fields", "{ a } fragment unused on A { a b c }", 3),
    ("roots", "{ a b { c } ... { d } ...f } fragment f on Query { e f }", 5),
    ("roots", bomb(3), 8),
    ("roots", "query a { a b } query b { a }", 2),
    ("directives", "query ($v: Int @a) @b { a @c ... @d { x @e } ...f @g } fragment f on A @h { y @i }", 8),
    ("directives", "{ ...f ...f } fragment f on A { a @x @y }", 4),
    ("introspection_depth", "{ __type(name: \"A\") { fields { name } } }", 3),
    ("introspection_depth", "{ __schema { ...f } } fragment f on S { types { name } }", 3),
]  # fmt: skip


@pytest.mark.parametrize(("bound", "text", "count"), AT_MOST)
def test_what_is_counted(bound: str, text: str, count: int) -> None:
    document = parse(text)
    check_document(document, DocumentLimits(**{bound: count}))  # type: ignore[arg-type]
    with pytest.raises(TooLarge, match=f"at most {count - 1} "):
        check_document(document, DocumentLimits(**{bound: count - 1}))  # type: ignore[arg-type]


def test_the_standard_introspection_is_within_the_limits() -> None:
    document = parse(get_introspection_query(directive_is_repeatable=True, input_value_deprecation=True))
    check_document(document, DocumentLimits())
    with pytest.raises(Forbidden):
        check_document(document, DocumentLimits(introspection=False))
    with pytest.raises(TooLarge):
        check_document(document, DocumentLimits(introspection_depth=14))


INTROSPECTIONS = [
    "{ __schema { types { fields { type { fields { name } } } } } }",
    "{ __schema { types { possibleTypes { interfaces { name } } } } }",
    '{ __type(name: "A") { fields { type { ...f } } } } fragment f on T { fields { name } }',
    "{ a: __schema { types { name } } b: __schema { types { name } } }",
    "{ __schema { types { a: name } } }",
    "{ ...f } fragment f on Query { __schema { types { a: name } } }",
]


@pytest.mark.parametrize("text", INTROSPECTIONS)
def test_introspection_does_not_multiply(text: str) -> None:
    with pytest.raises(TooLarge):
        check_document(parse(text), DocumentLimits())


CIRCLES = [
    "{ ...f } fragment f on Query { ...f }",
    "{ ...f } fragment f on Query { a { ...g } } fragment g on A { ...h } fragment h on A { b { ...f } }",
    "{ a } fragment f on Query { ...g } fragment g on Query { ...f }",
]


@pytest.mark.parametrize("text", CIRCLES)
def test_circles_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="holds itself"):
        check_document(parse(text), DocumentLimits())


def test_a_fragment_that_is_not_there_is_left_to_validation() -> None:
    check_document(parse("{ a ...nowhere }"), DocumentLimits())


@pytest.mark.parametrize("text", [bomb(200), bomb(60, 20), bomb(1, 900), nested(190)], ids=len)
def test_bombs_are_counted_in_the_time_that_they_are_read(text: str) -> None:
    """Twice as many levels would be the square of the steps: of 2^200 there is no waiting for the end."""
    document = parse(text)
    began = process_time()
    with pytest.raises(TagroarError) as error:
        check_document(document, DocumentLimits())
    assert error.value.code == "TOO_LARGE"
    assert process_time() - began < 5
