"""What is bound at once, because all of it was bound before, is bound as the binder does it."""

from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.bind import Binder, known_plan
from bitmap_store.catalog import Catalog
from bitmap_store.expression import And, Expression, Match, Not, Or
from bitmap_store.plan import AllOf, AnyOf, Plan, Reading, Tagged
from bitmap_store.values import EntityKind, Tag, TagKind
from tests.expressions import expressions

KEYS = "abcdefgh"
MATCHES = [Match(key) for key in KEYS]
A, B, C, D, E, *_ = MATCHES
READING = Reading(1, 1, 1)
CATALOG = Catalog(
    version=1,
    entities={"user": EntityKind(1, "user", "User")},
    tags={key: Tag(number, key, "user", key, TagKind.FLAG) for number, key in enumerate(KEYS)},
)


def bound(question: Expression) -> Plan:
    """The plan that the binder makes."""
    binder = Binder(CATALOG, "user", ZoneInfo("UTC"), lambda ids, kind: [], lambda moment: READING)
    return binder.plan(question, READING)


@given(question=expressions(st.sampled_from(MATCHES)))
def test_it_is_the_plan_that_the_binder_makes(question: Expression) -> None:
    for match in MATCHES:
        bound(match)
    known = known_plan(CATALOG, "user", question, READING)
    assert known is None or known == bound(question)


def test_matches_that_are_all_different_are_bound_at_once() -> None:
    a, b, c, d, e = (bound(match).node for match in (A, B, C, D, E))
    assert (a, b) == (Tagged(0), Tagged(1))
    for question, node in (
        (A, a),
        (And((A, Not(B))), AllOf((a,), (b,))),
        (And((Or((A, B)), Or((C, D)), Not(E))), AllOf((AnyOf((a, b)), AnyOf((c, d))), (e,))),
        (Or((And((A, B)), And((C, Not(Or((D, E))))))), AnyOf((AllOf((a, b)), AllOf((c,), (AnyOf((d, e)),))))),
    ):
        assert known_plan(CATALOG, "user", question, READING) == Plan(READING, node)
    for other in (Or((A, And((A, B)))), Or((A, Or((B, C)))), And((Not(A), Not(B))), And((A, Match("never"))), Not(A)):
        assert known_plan(CATALOG, "user", other, READING) is None
