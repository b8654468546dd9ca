"""The normal form of expressions and their canonical text.

`render` here and `parse` in `language.py` are inverse on canonical expressions. Keys, moments,
durations and numbers are written by `literals.py`.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from typing import Any

from bitmap_store.expression import (
    And,
    At,
    AtLeast,
    Everyone,
    Expression,
    InSnapshot,
    Lookalike,
    Match,
    Not,
    Or,
    Part,
    Related,
    Saved,
    Users,
    children,
    nfc,
    with_children,
)
from bitmap_store.literals import duration_text, float_text, key_text, moment_text, number_text


def render(node: Expression) -> str:
    """The canonical text of an expression: as few parentheses as keep its structure, and one way to say each thing."""
    return _text(canonical(node))


def canonical(node: Expression) -> Expression:
    """The expression that `parse(render(node))` gives: the same structure and meaning in normal form.

    And and Or of one operand are that operand; keys and values are in NFC, moments in UTC, numbers
    without idle zeros; what is listed twice in one list of values, ids or keys is there once.
    """
    node = normal(with_children(node, tuple(canonical(child) for _, child in children(node))))
    return node.of[0] if isinstance(node, And | Or) and len(node.of) == 1 else node


def normal(node: Expression) -> Expression:
    """The node with its own names, moments and numbers in normal form; its operands are left alone."""
    match node:
        case Match():
            return normal_match(node)
        case Saved(key):
            return Saved(nfc(key))
        case Users(ids, id_kind):
            return Users(_once(ids), None if id_kind is None else nfc(id_kind))
        case At(as_of, of):
            return At(as_of.astimezone(UTC), of)
        case Related(relation):
            return replace(node, relation=nfc(relation))
        case Lookalike(exclude_tags=tags):
            return replace(node, exclude_tags=_once(map(nfc, tags)))
        case _:
            return node


def normal_match(match: Match) -> Match:
    """`normal` of a match; the same object when it is so already, as most are."""
    changes: dict[str, Any] = {}
    if not match.key.isascii():
        changes["key"] = nfc(match.key)
    if match.values is not None and (values := _once(map(nfc, match.values))) != match.values:
        changes["values"] = values
    if match.number is not None:
        changes["number"] = Decimal(number_text(match.number))
    if match.after is not None:
        changes["after"] = match.after.astimezone(UTC)
    if match.before is not None:
        changes["before"] = match.before.astimezone(UTC)
    return replace(match, **changes) if changes else match


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


# ---------------------------------------------------------------- text of nodes


def _text(node: Expression) -> str:
    match node:
        case Everyone():
            return "everyone"
        case Match():
            return _match_text(node)
        case And(of):
            return " and ".join(_operand(child, And, Or) for child in of)
        case Or(of):
            return " or ".join(_operand(child, Or) for child in of)
        case Not(of):
            return f"not {_operand(of, And, Or)}"
        case AtLeast(count, of):
            return f"{count} of ({', '.join(map(_text, of))})"
        case Saved(key):
            return f"@{key_text(key)}"
        case Users(ids, id_kind):
            return f"users{'' if id_kind is None else f' {key_text(id_kind)} '}({_strings(ids)})"
        case At(as_of, of):
            return f"at {_string(moment_text(as_of))} ({_text(of)})"
        case Part(seed, start, end):
            return f"part({_string(seed)}, {float_text(start)}, {float_text(end)})"
        case InSnapshot(id_):
            return f"snapshot({_string(id_)})"
        case Related(relation, quantifier, of):
            return f"{quantifier.lower()} {key_text(relation)} ({_text(of)})"
        case Lookalike(of, size, threshold, tags):
            bound = f"size {size}" if threshold is None else f"threshold {float_text(threshold)}"
            but = f" except ({', '.join(map(key_text, tags))})" if tags else ""
            return f"like ({_text(of)}) {bound}{but}"
    raise TypeError(f"{type(node).__name__} has no text")


def _operand(node: Expression, *looser: type[Expression]) -> str:
    return f"({_text(node)})" if isinstance(node, looser) else _text(node)


def _match_text(match: Match) -> str:
    parts = [key_text(match.key)]
    if match.values is not None and match.times is not None:
        parts = [f"{parts[0]}[{_strings(match.values)}]"]  # reads as a thing that happens: purchase["milk"] times 3
    elif match.values is not None:
        parts.append(f"in ({_strings(match.values)})")
    elif match.operator is not None and match.number is not None:
        parts.append(f"{match.operator} {number_text(match.number)}")
    if match.times is not None:
        parts.append(f"times {match.times}")
    if match.min_score is not None:
        parts.append(f"score {float_text(match.min_score)}")
    if match.after is not None:
        parts.append(f"after {_string(moment_text(match.after))}")
    if match.before is not None:
        parts.append(f"before {_string(moment_text(match.before))}")
    if match.within is not None:
        parts.append(f"within {duration_text(match.within)}")
    if match.skip is not None:
        parts.append(f"skip {duration_text(match.skip)}")
    if match.ahead is not None:
        parts.append(f"ahead {duration_text(match.ahead)}")
    return " ".join(parts)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _strings(texts: Iterable[str]) -> str:
    return ", ".join(map(_string, texts))
