"""`explain` of random expressions: sizes at the nodes agree with each other, the whole, and brute force."""

import sys
from datetime import datetime
from typing import Any

from tests.acceptance.asking import Asking, Comparison
from tests.acceptance.demo_world import DemoWorld
from tests.acceptance.expressions import PARTS, made_moments
from tests.acceptance.harness import Json, Report, Server, options, workplace
from tests.acceptance.made_world import HOURS, PRESENT, WINDOWS, MadeWorld
from tests.acceptance.questions import And, At, AtLeast, Everyone, Node, Not, Or, children, where
from tests.acceptance.world import World

STEPS = {And: "and.{}", Or: "or.{}", Not: "not", AtLeast: "atLeast.of.{}", At: "at.where"}
Placed = tuple[str, Node, datetime | None]


def placed(node: Node, path: str = "", then: datetime | None = None) -> list[Placed]:
    """Every node in preorder with its path, and the moment of the `at` that it stands below."""
    found: list[Placed] = [(path, node, then)]
    for number, child in enumerate(children(node)):
        step = STEPS[type(node)].format(number)
        found += placed(child, f"{path}.{step}".removeprefix("."), node.moment if isinstance(node, At) else then)
    return found


def relations(
    server: Server, node: Node, sizes: list[int], everyone: int, then: datetime | None
) -> list[tuple[int, int]]:
    """What has to be equal at one node, its own size first: counted by other questions about its operands.

    or: |A| + |B| - |A and B|, and so on, by inclusion and exclusion. and: the same with the union.
    at least k: the sum over k.. of those in exactly so many, from the sizes of all intersections.
    """
    own, below = sizes[0], sizes[1:]

    def size(asked: Node) -> int:
        return server.sizes([where(asked)], then)[0]

    match node:
        case Not():
            return [(own, everyone - below[0])]
        case And(of) if len(of) == 2:
            return [(own, below[0] + below[1] - size(Or(of)))]
        case Or(of) if len(of) == 2:
            return [(own, below[0] + below[1] - size(And(of)))]
        case And(of):
            return [(own, everyone - size(Or(tuple(Not(child) for child in of))))]
        case Or(of):
            return [(own, everyone - size(And(tuple(Not(child) for child in of))))]
        case AtLeast(count, of):
            # Sum of sizes = sum over k of "in at least k", so the levels together say what each operand says.
            levels = [size(AtLeast(k, of)) for k in range(1, len(of) + 1)]
            return [
                (own, levels[count - 1]),
                (sum(levels), sum(below)),
                (levels[0], size(Or(of))),
                (levels[-1], size(And(of))),
            ]
    return []


def compare(
    server: Server, world: World, report: Report, asking: Asking, expressions: int, present: datetime, name: str
) -> None:
    """Explains random expressions."""
    for _ in range(expressions):
        node = asking.question()
        sent = asking.sent(node)
        found = server.audience(sent, "text size explain { milliseconds nodes { path text size sizeWithout } }")
        told: list[Json] = found["explain"]["nodes"]
        report.equal(f"{name}: the root is the whole", told[0]["size"], found["size"], str(sent))
        report.equal(f"{name}: the root's text is the question's", told[0]["text"], found["text"], str(sent))
        report.equal(f"{name}: paths in preorder", [each["path"] for each in told], [each[0] for each in placed(node)])
        if len(told) == len(placed(node)):
            agree(server, world, report, node, told, present, name)


def agree(
    server: Server, world: World, report: Report, node: Node, told: list[Json], present: datetime, name: str
) -> None:
    """Holds the sizes at the nodes of one question against each other, the service itself, and brute force."""
    places = placed(node)
    at: dict[str, int] = {each["path"]: each["size"] for each in told}
    for (path, part, then), each in zip(places, told, strict=True):
        about = f"{path!r} {each['text']}"
        expected = world.size(world.bits(part, then or present))
        report.equal(f"{name}: a node by brute force", each["size"], expected, about)
        asked = server.sizes([{"text": each["text"]}], then)[0]
        report.equal(f"{name}: a node's text asked alone", asked, each["size"], about)
        below = [f"{path}.{STEPS[type(part)].format(n)}".removeprefix(".") for n in range(len(children(part)))]
        everyone = server.sizes([where(Everyone())], then)[0] if below else 0
        for own, counted in relations(server, part, [each["size"], *(at[child] for child in below)], everyone, then):
            report.equal(f"{name}: {type(part).__name__} of its operands", own, counted, about)
    check_without(world, report, node, told, present, name)


def check_without(world: World, report: Report, node: Node, told: list[Json], present: datetime, name: str) -> None:
    """`sizeWithout` at the operands of an `and` at the root: the others."""
    by_path: dict[str, Any] = {each["path"]: each["sizeWithout"] for each in told}
    report.equal(f"{name}: without the root nothing is left", by_path[""], None)
    if isinstance(node, And):
        for number in range(len(node.of)):
            rest = And(node.of[:number] + node.of[number + 1 :])
            expected = world.size(world.bits(rest, present))
            report.equal(f"{name}: without an operand", by_path[f"and.{number}"], expected, str(where(node)))


def main() -> int:
    """Runs the comparison on both worlds."""
    given = options(__doc__, users=100_000, expressions=200, seed=2)
    report = Report(f"explain of {given.expressions} random expressions")
    with workplace(given.keep) as directory:
        demo = DemoWorld(directory / "demo", given.seed, report)
        demo.build()
        with demo.server() as server:
            Comparison(server, demo.world, report).learn_parts(PARTS, demo.present)
            asking = Asking(demo.world, given.seed, demo.moments(3), demo.WINDOWS, ())
            compare(server, demo.world, report, asking, given.expressions // 2, demo.present, "demo")
        made = MadeWorld(directory / "made", given.users, given.seed, report)
        made.build()
        with made.server() as server:
            Comparison(server, made.world, report).learn_parts(PARTS, PRESENT)
            asking = Asking(made.world, given.seed, made_moments(4), WINDOWS, HOURS)
            compare(server, made.world, report, asking, given.expressions // 2, PRESENT, "made")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
