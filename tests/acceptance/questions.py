"""Audiences as these programs mean them, with their two forms on the wire: text and `AudienceWhere`.

Nothing here is the service's own: the tree, both renderings and the random generator are written for comparison.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.acceptance.harness import Json, rfc3339

RESERVED = {
    "or",
    "and",
    "not",
    "everyone",
    "users",
    "known",
    "part",
    "snapshot",
    "at",
    "of",
    "any",
    "all",
    "none",
    "in",
}
SYMBOLS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Node:
    """A set of users."""


@dataclass(frozen=True)
class Everyone(Node):
    """Every user."""


@dataclass(frozen=True)
class Tag(Node):
    """Users by one tag; the fields are those of `TagMatch`, numbers as the text that is written."""

    key: str
    values: tuple[str, ...] | None = None
    compare: tuple[str, str] | None = None
    after: datetime | None = None
    before: datetime | None = None
    within: timedelta | None = None
    skip: timedelta | None = None
    ahead: timedelta | None = None
    times: int | None = None
    score: str | None = None


@dataclass(frozen=True)
class Users(Node):
    """These users, by name."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Saved(Node):
    """A saved audience."""

    key: str


@dataclass(frozen=True)
class Part(Node):
    """A slice of everyone by a hash that only the service knows."""

    seed: str
    start: str
    end: str


@dataclass(frozen=True)
class Not(Node):
    """Everyone except these."""

    of: Node


@dataclass(frozen=True)
class And(Node):
    """In all of these."""

    of: tuple[Node, ...]


@dataclass(frozen=True)
class Or(Node):
    """In any of these."""

    of: tuple[Node, ...]


@dataclass(frozen=True)
class AtLeast(Node):
    """In at least so many of these."""

    count: int
    of: tuple[Node, ...]


@dataclass(frozen=True)
class At(Node):
    """As it was known then."""

    moment: datetime
    of: Node


def children(node: Node) -> tuple[Node, ...]:
    """The operands."""
    match node:
        case And(of) | Or(of) | AtLeast(_, of):
            return of
        case Not(of) | At(_, of):
            return (of,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """Every node in preorder."""
    yield node
    for child in children(node):
        yield from walk(child)


def leaves(node: Node) -> int:
    """How many leaves there are."""
    return sum(not children(each) for each in walk(node))


# ---------------------------------------------------------------- on the wire


def duration(length: timedelta) -> str:
    """ISO 8601, in days or in hours."""
    seconds = int(length.total_seconds())
    return f"P{seconds // 86_400}D" if seconds % 86_400 == 0 else f"PT{seconds // 3600}H{seconds % 3600 // 60}M"


def quoted(text: str) -> str:
    """A JSON string."""
    return json.dumps(text, ensure_ascii=False)


def text(node: Node, choose: random.Random) -> str:
    """The node in the audience language; `choose` picks among the ways to write the same."""
    match node:
        case Everyone():
            return choose.choice(("everyone", "EVERYONE"))
        case Tag():
            return _tag_text(node, choose)
        case Users(names):
            return f"users({', '.join(map(quoted, names))})"
        case Saved(key):
            return f"@{_key(key)}"
        case Part(seed, start, end):
            return f"part({quoted(seed)}, {start}, {end})"
        case Not(of):
            return f"not ({text(of, choose)})"
        case And(of):
            return " and ".join(f"({text(child, choose)})" for child in of)
        case Or(of):
            return " or ".join(f"({text(child, choose)})" for child in of)
        case AtLeast(count, of):
            return f"{count} of ({', '.join(text(child, choose) for child in of)})"
        case At(moment, of):
            return f"at {quoted(rfc3339(moment))} ({text(of, choose)})"
    raise TypeError(type(node).__name__)


def _key(key: str) -> str:
    plain = all(char.isalnum() or char in "_-." for char in key) and not key[0].isdigit()
    return key if plain and key.lower() not in RESERVED else f"`{key}`"


def _tag_text(tag: Tag, choose: random.Random) -> str:
    parts = [_key(tag.key)]
    if tag.values is not None:
        listed = ", ".join(map(quoted, tag.values))
        ways = [f" in ({listed})", f"[{listed}]"] + [f" = {listed}"] * (len(tag.values) == 1)
        parts.append(choose.choice(ways))
    elif tag.compare is not None:
        parts.append(f" {SYMBOLS[tag.compare[0]]} {tag.compare[1]}")
    conditions = [f" times {tag.times}"] if tag.times is not None else []
    conditions += [f" score {tag.score}"] if tag.score is not None else []
    conditions += [
        f" {name} {quoted(rfc3339(moment))}"
        for name, moment in (("after", tag.after), ("before", tag.before))
        if moment
    ]
    conditions += [
        f" {name} {duration(length)}"
        for name, length in (("within", tag.within), ("skip", tag.skip), ("ahead", tag.ahead))
        if length
    ]
    choose.shuffle(conditions)
    if len(parts) == 1 and not conditions and choose.random() < 0.3:
        return f"known({parts[0]})"
    return "".join(parts + conditions)


def where(node: Node) -> Json:
    """The node as `AudienceWhere`."""
    match node:
        case Everyone():
            return {"everyone": True}
        case Tag():
            return {"tag": _tag_match(node)}
        case Users(names):
            return {"users": {"ids": list(names)}}
        case Saved(key):
            return {"saved": key}
        case Part(seed, start, end):
            return {"part": {"seed": seed, "from": float(start), "to": float(end)}}
        case Not(of):
            return {"not": where(of)}
        case And(of):
            return {"and": [where(child) for child in of]}
        case Or(of):
            return {"or": [where(child) for child in of]}
        case AtLeast(count, of):
            return {"atLeast": {"count": count, "of": [where(child) for child in of]}}
        case At(moment, of):
            return {"at": {"asOf": rfc3339(moment), "where": where(of)}}
    raise TypeError(type(node).__name__)


def _tag_match(tag: Tag) -> Json:
    found: Json = {"key": tag.key}
    if tag.values is not None:
        found["in"] = list(tag.values)
    if tag.compare is not None:
        found[tag.compare[0]] = tag.compare[1]
    for name, moment in (("after", tag.after), ("before", tag.before)):
        if moment is not None:
            found[name] = rfc3339(moment)
    for name, length in (("within", tag.within), ("skip", tag.skip), ("ahead", tag.ahead)):
        if length is not None:
            found[name] = duration(length)
    if tag.times is not None:
        found["times"] = tag.times
    if tag.score is not None:
        found["minScore"] = float(tag.score)
    return found


# ---------------------------------------------------------------- at random

Leaf = Callable[[random.Random], Node]


def some(choose: random.Random, leaf: Leaf, moments: list[datetime], depth: int = 5) -> Node:
    """A random expression of at most this depth."""
    if depth == 1 or choose.random() < 0.12:
        return leaf(choose)

    def operands(low: int, high: int) -> tuple[Node, ...]:
        return tuple(some(choose, leaf, moments, depth - 1) for _ in range(choose.randint(low, high)))

    match choose.choices(("and", "or", "not", "atLeast", "at", "minus"), (30, 22, 10, 12, 6, 20))[0]:
        case "and":
            return And(operands(2, 3))
        case "or":
            return Or(operands(2, 3))
        case "not":
            return Not(*operands(1, 1))
        case "atLeast":
            of = operands(2, 4)
            return AtLeast(choose.randint(1, len(of)), of)
        case "at":
            return At(choose.choice(moments), *operands(1, 1))
        case _:
            first, second = operands(2, 2)
            return And((first, Not(second)))
