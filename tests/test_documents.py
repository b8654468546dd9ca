"""Documents are prepared once, and kept within bounds."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from schema import documents
from schema.documents import Documents, Prepared, Refused

VIEWER = "{ viewer { name } }"
TWO = "query A { viewer { name } } query B { viewer { scopes } }"


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often documents were parsed and validated."""
    counts: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Any]:
        found = getattr(documents, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return found(*args, **kwargs)

        return call

    for name in ("parse", "validate"):
        monkeypatch.setattr(documents, name, counted(name))
    return counts


@pytest.mark.parametrize(
    ("text", "name", "parsed", "validated"),
    [
        (VIEWER, None, 1, 1),
        (TWO, "A", 1, 1),
        ("{", None, 1, 0),
        ("{ nothing }", None, 1, 1),
        ("fragment F on Query { viewer { name } }", None, 1, 0),
    ],
)
def test_a_document_is_prepared_once(
    work: Counter[str], text: str, name: str | None, parsed: int, validated: int
) -> None:
    kept = Documents()
    first = kept.prepared(text, name)
    assert kept.prepared(text, name) == first
    assert work == Counter(parse=parsed, validate=validated) + Counter()


def test_operations_of_one_document_share_it(work: Counter[str]) -> None:
    kept = Documents()
    names = [kept.prepared(TWO, name) for name in ("A", "B")]
    assert [each.name for each in names if isinstance(each, Prepared)] == ["A", "B"]
    assert isinstance(kept.prepared(TWO, None), Refused)
    assert isinstance(kept.prepared(TWO, "C"), Refused)
    assert (len(kept), work["parse"], work["validate"]) == (1, 1, 1)


def test_the_least_recently_used_goes_first(work: Counter[str]) -> None:
    kept = Documents(documents_max=2)
    for text in (VIEWER, "{ a }", VIEWER, "{ b }", VIEWER):
        kept.prepared(text, None)
    assert (len(kept), work["parse"]) == (2, 3)
    kept.prepared("{ a }", None)
    assert work["parse"] == 4


def test_long_documents_make_room(work: Counter[str]) -> None:
    kept = Documents(characters_max=100)
    for i in range(10):
        kept.prepared(f"{{ viewer {{ name }} }} # {i} {'x' * 20}", None)
    assert len(kept) == 2


@pytest.mark.parametrize("text", ["fragment F on Query { audience(where: {text: $t}) { size } }"])
@pytest.mark.parametrize(
    ("operation", "valid"),
    [
        ("query ($t: String!) { ...F }", True),
        ("query ($t: String) { ...F }", False),
        ("{ ...F }", False),
    ],
)
def test_a_fragment_may_stand_before_its_operation(text: str, operation: str, valid: bool) -> None:
    for document in (f"{text} {operation}", f"{operation} {text}"):
        assert isinstance(Documents().prepared(document, None), Prepared) is valid
