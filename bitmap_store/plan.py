"""Plans: expressions bound to a catalog, a version and a moment; what an engine is given.

Names have become keys and dense ids, saved audiences and rules are expanded, windows are intervals.
Nodes are values of plain integers, so equal questions are equal plans and caches can use them as keys.
Binding is in `bind.py`; evaluation is an engine's affair.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer is of: a version of an entity's data, and the moment (µs) that expiry and windows count from."""

    entity: int
    version: int
    moment: int


class Node:
    """A part of a plan."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Universe(Node):
    """Everyone who exists at the reading."""


@dataclass(frozen=True, slots=True)
class Nothing(Node):
    """Nobody."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which memberships count: since in [since_from, since_until), score at least `score_min`."""

    since_from: int | None = None
    since_until: int | None = None
    score_min: float | None = None


ANY_SPAN = Span()


@dataclass(frozen=True, slots=True)
class Tagged(Node):
    """Users with a membership of the tag, with one of `values` (value ids; None: any); not for EVENT."""

    tag: int
    values: tuple[int, ...] | None = None
    span: Span = ANY_SPAN


@dataclass(frozen=True, slots=True)
class Range(Node):
    """Users whose NUMBER or DATE lies in [low, high], in units of the tag; None is unbounded."""

    tag: int
    low: int | None
    high: int | None
    span: Span = ANY_SPAN


@dataclass(frozen=True, slots=True)
class Happened(Node):
    """Users with at least `times` events of `values` on days first_day..last_day, both included; None is unbounded."""

    tag: int
    values: tuple[int, ...] | None
    first_day: int | None
    last_day: int | None
    times: int = 1


Leaf = Tagged | Range | Happened
"""What is asked of one tag."""


@dataclass(frozen=True, slots=True)
class Listed(Node):
    """These dense ids, ascending, as far as they exist."""

    users: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """Users whose hash under `seed` lies in [start, end) of 2^32."""

    seed: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class AllOf(Node):
    """Users in all of `of` and in none of `without`; `of` is never empty."""

    of: tuple[Node, ...]
    without: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class AnyOf(Node):
    """Users in any of `of`."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AtLeastOf(Node):
    """Users in at least `count` of `of`, each counted as often as it is listed."""

    count: int
    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alike(Node):
    """Users who are not in `of` and most like those who are, by what they have of `features`; see `likeness.py`.

    Of the best scores `size`, ties by id; or all of `threshold` or more, in hundredths.
    """

    of: Node
    features: tuple["Leaf", ...]
    size: int | None = None
    threshold: int | None = None
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Made once, as there may be thousands of features."""
        object.__setattr__(self, "_hash", hash((self.of, self.features, self.size, self.threshold)))

    def __hash__(self) -> int:
        """The hash that was made once."""
        return self._hash


@dataclass(frozen=True, slots=True)
class AsOf(Node):
    """The users of `node` at another reading of the same entity."""

    reading: Reading
    node: Node


@dataclass(frozen=True, slots=True)
class Plan:
    """A node bound to a reading."""

    reading: Reading
    node: Node


def tags_of(node: Node, reading: Reading) -> Iterator[int]:
    """The tags that decide who is in a node, by id; those who exist are a tag too, one below zero for each entity."""
    pending = [node]
    for each in pending:
        match each:
            case Tagged(tag) | Range(tag) | Happened(tag):
                yield tag
            case AllOf(of, without):
                pending += of + without
            case AnyOf(of) | AtLeastOf(_, of):
                pending += of
            case AsOf(_, of):
                pending.append(of)
            case Alike(of, features):
                pending += (of, *features)
            case Nothing():
                continue
    yield -reading.entity


def is_scored(node: Node) -> bool:
    """Whether a part of a node is a look-alike, which takes a second where there are many users."""
    pending = [node]
    for each in pending:
        match each:
            case Alike():
                return True
            case AllOf(of, without):
                pending += of + without
            case AnyOf(of) | AtLeastOf(_, of):
                pending += of
            case AsOf(_, of):
                pending.append(of)
    return False
