"""Expressions and plans put together of others: what is told of a part of an audience is an audience of its own."""

from collections.abc import Sequence

from bitmap_store.expression import And, Everyone, Expression, Not, Or
from bitmap_store.plan import AllOf, Plan
from resolvers.answers import Question


def conjunction(of: Sequence[Expression]) -> Expression:
    """Users in all of these; of an `and` its parts, each once, and without `everyone` where there is anything else."""
    flat = dict.fromkeys(part for each in of for part in (each.of if isinstance(each, And) else (each,)))
    narrowing = tuple(part for part in flat if part != Everyone()) or tuple(flat)
    return And(narrowing) if len(narrowing) > 1 else narrowing[0]


def union(of: Sequence[Expression]) -> Expression:
    """Users in any of these, at least one; of an `or` its parts."""
    flat = tuple(part for each in of for part in (each.of if isinstance(each, Or) else (each,)))
    return Or(flat) if len(flat) > 1 else flat[0]


def negation(of: Expression) -> Expression:
    """Everyone except these."""
    return of.of if isinstance(of, Not) else Not(of)


def narrowed(question: Question, by: Sequence[Expression], plan: Plan) -> Question:
    """Those of an audience who are in all of these, whose plan is given."""
    inside = Plan(plan.reading, AllOf((question.plan.node, plan.node)))
    return Question(conjunction([question.expression, *by]), question.entity, inside, question.as_of)
