"""The reference of the engine: each question written out by hand for pyroaring, as well as it can be.

Operands by cardinality, in place, the cardinality at the root without making the result. Where two ways of writing
it are sound, all are written and the fastest is taken, for each question anew.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

from pyroaring import BitMap

from bitmap_store.expression import And, Expression, Match, Not, Or

Count = Callable[[], int]
TRIALS = 3


@dataclass(frozen=True, slots=True)
class Way:
    """A way of writing. push: intersections go into the unions beside them; at_once: unions are made of all operands
    in one call, else one by one; removed_at_once: what is left out is united first."""

    push: bool
    at_once: bool
    removed_at_once: bool


def best(question: Expression, bitmaps: Mapping[Match, BitMap]) -> Count:
    """The fastest function that counts the users of a question over these bitmaps."""
    written = dict(_Writer(bitmaps, way).function(question) for way in WAYS)

    def seconds(count: Count) -> float:
        found = []
        for _ in range(TRIALS):
            started = time.perf_counter()
            count()
            found.append(time.perf_counter() - started)
        return min(found)

    return min(written.values(), key=seconds) if len(written) > 1 else next(iter(written.values()))


def count(question: Expression, bitmaps: Mapping[Match, BitMap]) -> int:
    """How many users a question has, without any thought of speed."""
    return len(members(question, bitmaps))


def members(node: Expression, bitmaps: Mapping[Match, BitMap]) -> BitMap:
    """The users of a question; not to be changed, as they may be those of a leaf."""
    match node:
        case Match():
            return bitmaps[node]
        case Or(of):
            return BitMap.union(*(members(child, bitmaps) for child in of))
        case And(of):
            found = BitMap.intersection(*(members(child, bitmaps) for child in of if not isinstance(child, Not)))
            return found.difference(*(members(child.of, bitmaps) for child in of if isinstance(child, Not)))
    raise TypeError(f"{type(node).__name__} is not asked here")


WAYS = tuple(Way(*flags) for flags in product((False, True), repeat=3))


class _Writer:
    """Writes one function, statement by statement. A name that begins with `b` is a leaf and is not changed."""

    def __init__(self, bitmaps: Mapping[Match, BitMap], way: Way) -> None:
        self._bitmaps, self._way = bitmaps, way
        self._lines: list[str] = []
        self._leaves: dict[Match, str] = {}
        self._sizes: dict[Expression, int] = {}
        self._made = 0

    def function(self, question: Expression) -> tuple[str, Count]:
        """The source of the function, and the function."""
        last = self._root(question)
        body = "".join(f"    {line}\n" for line in [*self._lines, f"return {last}"])
        arguments = ", ".join(f"{name}={name}" for name in self._leaves.values())
        source = f"def count({arguments}):\n{body}"
        names: dict[str, object] = {name: self._bitmaps[leaf] for leaf, name in self._leaves.items()}
        names |= {"union": BitMap.union}
        exec(source, names)
        return source, names["count"]  # type: ignore[return-value]

    def _size(self, node: Expression) -> int:
        if node not in self._sizes:
            self._sizes[node] = count(node, self._bitmaps)
        return self._sizes[node]

    def _leaf(self, leaf: Match) -> str:
        return self._leaves.setdefault(leaf, f"b{len(self._leaves)}")

    def _assign(self, value: str) -> str:
        self._made += 1
        self._lines.append(f"r{self._made} = {value}")
        return f"r{self._made}"

    def _changed(self, name: str, operator: str, other: str) -> str:
        """A name for the result; in place where `name` is nobody's leaf."""
        if name.startswith("b"):
            return self._assign(f"{name} {operator} {other}")
        self._lines.append(f"{name} {operator}= {other}")
        return name

    def _root(self, node: Expression) -> str:
        match node:
            case And():
                steps = self._steps(node)
                result = self._run(steps[:-1])
                operator, other = steps[-1]
                method = "intersection_cardinality" if operator == "&" else "difference_cardinality"
                if operator == "&" and isinstance(other, Or) and self._way.push:
                    return self._union_size([self._assign(f"{result} & {self._name(child)}") for child in other.of])
                return f"{result}.{method}({self._name(other)})"
            case Or(of):
                return self._union_size([self._name(child) for child in sorted(of, key=self._size)])
            case _:
                return f"len({self._name(node)})"

    def _union_size(self, names: list[str]) -> str:
        """The largest comes last, so that what is made before stays small."""
        return f"{self._united(names[:-1])}.union_cardinality({names[-1]})"

    def _name(self, node: Expression) -> str:
        match node:
            case Match():
                return self._leaf(node)
            case Or(of):
                return self._united([self._name(child) for child in sorted(of, key=self._size)])
            case And():
                return self._run(self._steps(node))
        raise TypeError(f"{type(node).__name__} is not written here")

    def _steps(self, node: And) -> list[tuple[str, Expression]]:
        """What is intersected, the smallest first, then what is taken away, the largest first."""
        kept = sorted((child for child in node.of if not isinstance(child, Not)), key=self._size)
        if self._way.push:  # leaves first, so that they make the unions small
            kept.sort(key=lambda child: isinstance(child, Or))
        removed: list[Expression] = []
        for child in node.of:
            if isinstance(child, Not):
                split = isinstance(child.of, Or) and not self._way.removed_at_once
                removed += child.of.of if split and isinstance(child.of, Or) else (child.of,)
        removed.sort(key=self._size, reverse=True)
        return [("&", child) for child in kept] + [("-", child) for child in removed]

    def _run(self, steps: list[tuple[str, Expression]]) -> str:
        result = self._name(steps[0][1])
        for operator, child in steps[1:]:
            if operator == "&" and isinstance(child, Or) and self._way.push:
                result = self._united([self._assign(f"{result} & {self._name(each)}") for each in child.of])
            else:
                result = self._changed(result, operator, self._name(child))
        return result

    def _united(self, names: list[str]) -> str:
        if len(names) == 1:
            return names[0]
        if self._way.at_once and len(names) > 2:
            return self._assign(f"union({', '.join(names)})")
        result = next((name for name in names if name.startswith("r")), names[0])
        others = list(names)
        others.remove(result)
        for other in others:
            result = self._changed(result, "|", other)
        return result
