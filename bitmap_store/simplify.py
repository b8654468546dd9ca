"""Rewriting: from an expression to one that means the same and is less work.

One function for each rule, its pairs in `tests/golden/simplify.txt`. A rule may drop a name that occurs,
so names and permissions are checked on the expression as it was asked; `explain` shows that one too.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from bitmap_store.expression import (
    NOTHING,
    And,
    AtLeast,
    Everyone,
    Expression,
    Match,
    Not,
    Or,
    Part,
    operands,
    with_children,
)

_EVERYONE = Everyone()


def simplify(node: Expression) -> Expression:
    """The expression with no rule of `RULES` left that changes it; nearly linear in its leaves.

    What is inside of At, Related and Lookalike is simplified by itself: everyone there is another
    everyone. Every set is taken to be part of everyone, which makes a double `not` no change.
    """
    below = operands(node)
    if not below:
        return constants(node)
    return _settled(with_children(node, tuple([simplify(child) for child in below])))


def _settled(node: Expression) -> Expression:
    """The node when its operands are simplified already. Each rule makes it smaller, so this ends."""
    if type(node) is And and _is_plain(node.of):
        return node
    before = None
    while node is not before:
        before = node
        for rule in RULES:
            node = rule(node)
    return node


def _is_plain(of: tuple[Expression, ...]) -> bool:
    """Whether no rule changes an `and` of these: several different matches."""
    return len(of) > 1 and {*map(type, of)} == {Match} and len({*of}) == len(of)


def double_negation(node: Expression) -> Expression:
    """Not not x is x."""
    match node:
        case Not(Not(of)):
            return of
    return node


def de_morgan(node: Expression) -> Expression:
    """A `not` goes inside where fewer are left then: not (not a or b) is a and not b.

    Only there: `not (a or b)` is one complement, `not a and not b` would be two, and an `and` with a
    single `not` is the difference that engines do best.
    """
    match node:
        case Not(And(of) | Or(of) as inner):
            negated = sum(isinstance(child, Not) for child in of)
            if len(of) - negated < 1 + negated:
                turned = tuple(_settled(Not(child)) for child in of)
                return Or(turned) if isinstance(inner, And) else And(turned)
    return node


def k_of(node: Expression) -> Expression:
    """What is certain leaves the count: 1 of is or, n of n is and, more than n is nobody."""
    match node:
        case AtLeast(count, of):
            count -= sum(child == _EVERYONE for child in of)
            open_ = tuple(child for child in of if child not in (_EVERYONE, NOTHING))
            if count <= 0:
                return _EVERYONE
            if count > len(open_):
                return NOTHING
            if count == 1:
                return Or(open_)
            if count == len(open_):
                return And(open_)
            return AtLeast(count, open_) if len(open_) < len(of) else node
    return node


def flatten(node: Expression) -> Expression:
    """An `and` inside of an `and` is part of it; so with `or`."""
    match node:
        case And(of) | Or(of) if any(type(child) is type(node) for child in of):
            return type(node)(tuple(part for child in of for part in _operands(child, type(node))))
    return node


def constants(node: Expression) -> Expression:
    """Everyone and nobody decide an `and` or `or`, or drop out of it; the whole of a part is everyone."""
    match node:
        case Part(_, 0, 1):
            return _EVERYONE
        case And(of) | Or(of):
            neutral, deciding = (_EVERYONE, NOTHING) if isinstance(node, And) else (NOTHING, _EVERYONE)
            if deciding in of:
                return deciding
            if neutral in of or not of:
                rest = tuple(child for child in of if child != neutral)
                return type(node)(rest) if rest else neutral
    return node


def duplicates(node: Expression) -> Expression:
    """What is listed twice in an `and` or `or` is listed once. Not in k of, where it counts twice."""
    match node:
        case And(of) | Or(of):
            once = tuple(dict.fromkeys(of))
            return type(node)(once) if len(once) < len(of) else node
    return node


def complement(node: Expression) -> Expression:
    """X and not x is nobody; x or not x is everyone. So are a and b and not (a and b), a and not (a or b)."""
    match node:
        case And(of) | Or(of) if any(isinstance(child, Not) for child in of):
            nobody_or_everyone, dual = (NOTHING, Or) if isinstance(node, And) else (_EVERYONE, And)
            present = set(of)
            for child in of:
                if isinstance(child, Not):
                    if present.issuperset(_operands(child.of, type(node))):
                        return nobody_or_everyone
                    if not present.isdisjoint(_operands(child.of, dual)):
                        return nobody_or_everyone
    return node


def absorption(node: Expression) -> Expression:
    """A or (a and b) is a; a and (a or b) is a.

    Each operand is a clause, the set of what it joins, and a clause is dropped when another is part of
    it. Only clauses that share the rarest member are compared, so that many unlike clauses cost little.
    """
    match node:
        case And(of) | Or(of):
            dual = Or if isinstance(node, And) else And
            if not any(isinstance(child, dual) for child in of):
                return node
            clauses = [frozenset(_operands(child, dual)) for child in of]
            having: dict[Expression, list[int]] = {}
            for i, clause in enumerate(clauses):
                for member in clause:
                    having.setdefault(member, []).append(i)
            dropped: set[int] = set()
            for i, clause in enumerate(clauses):
                for j in min((having[member] for member in clause), key=len):
                    if clause < clauses[j] or (clause == clauses[j] and i < j):
                        dropped.add(j)
            if dropped:
                return type(node)(tuple(child for i, child in enumerate(of) if i not in dropped))
    return node


def one_list_of_values(node: Expression) -> Expression:
    """X in ("a") or x in ("b") is x in ("a", "b") when the other conditions are the same.

    Not with `times`: in one list the counts of the values add up.
    """
    match node:
        case Or(of):
            questions = [_question(child) for child in of]
            counts = Counter(question for question in questions if question is not None)
            if any(count > 1 for count in counts.values()):
                lists: dict[Match, dict[str, None]] = {}
                for child, question in zip(of, questions, strict=True):
                    if question is not None and isinstance(child, Match):
                        lists.setdefault(question, {}).update(dict.fromkeys(child.values or ()))
                merged = (
                    child if question is None else replace(question, values=tuple(lists[question]))
                    for child, question in zip(of, questions, strict=True)
                )
                return Or(tuple(dict.fromkeys(merged)))
    return node


def _question(node: Expression) -> Match | None:
    """A match without its values, where lists of them may be joined."""
    joinable = isinstance(node, Match) and node.values is not None and node.times is None
    return replace(node, values=None) if isinstance(node, Match) and joinable else None


def singletons(node: Expression) -> Expression:
    """An `and` or `or` of one operand is that operand."""
    match node:
        case And((only,)) | Or((only,)):
            return only
    return node


def _operands(node: Expression, kind: type[Expression]) -> Iterable[Expression]:
    """What a node of this kind joins; any other node joins itself."""
    match node:
        case And(of) | Or(of) if type(node) is kind:
            return of
    return (node,)


RULES: tuple[Callable[[Expression], Expression], ...] = (
    double_negation,
    de_morgan,
    k_of,
    flatten,
    constants,
    duplicates,
    complement,
    absorption,
    one_list_of_values,
    singletons,
)
