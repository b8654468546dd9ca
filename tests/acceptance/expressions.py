"""500 random expressions, through HTTP, against brute force, over the demo and a made world; now and as of moments.

Compared are size, contains, the export and the members of each; as of twenty moments the sizes, and some exports.
"""

import sys
from datetime import datetime, timedelta

from tests.acceptance.asking import Asking, Comparison
from tests.acceptance.demo_world import DemoWorld
from tests.acceptance.harness import Report, Server, options, workplace
from tests.acceptance.made_world import HOURS, PRESENT, START, WINDOWS, MadeWorld
from tests.acceptance.questions import Part
from tests.acceptance.world import World

PARTS = [
    Part("spring", "0", "0.1"),
    Part("spring", "0.1", "0.5"),
    Part("spring", "0.5", "1"),
    Part("a/b", "0", "0.25"),
    Part("a/b", "0.25", "1"),
]
AS_OF_EXPORTS = 3
BATCH = 100


def compare(
    server: Server,
    world: World,
    report: Report,
    asking: Asking,
    expressions: int,
    present: datetime,
    moments: list[datetime],
    name: str,
) -> None:
    """The same expressions now, in full, and as of each moment, by size."""
    comparison = Comparison(server, world, report)
    nodes = [asking.question() for _ in range(expressions)]
    for number, node in enumerate(nodes, 1):
        comparison.whole(asking, node, present, name)
        if number % BATCH == 0:
            report.say(f"{name}: {number} of {expressions} expressions")
            world.forget()
    for moment in moments:
        world.forget()
        comparison.sizes(asking, nodes, moment, f"{name} as of {len(moments)} moments: size", moment)
        for node in asking.choose.sample(nodes, min(AS_OF_EXPORTS, len(nodes))):
            comparison.whole(asking, node, moment, f"{name} as of {len(moments)} moments", moment)
        report.say(f"{name}: as of {moment}")


def made_moments(count: int) -> list[datetime]:
    """Moments over the history of the made world, to the microsecond around where things end."""
    span = (PRESENT - START) // count
    found = []
    for number in range(count):
        day = (START + timedelta(days=1) + span * number).replace(hour=22, minute=0)
        nudge = (timedelta(), -timedelta(microseconds=1), timedelta(hours=6.5), timedelta(seconds=1))[number % 4]
        found.append(min(day + nudge, PRESENT - timedelta(hours=4)))
    return found


def main() -> int:
    """Runs the comparison."""
    given = options(__doc__, users=3_000_000, expressions=500, moments=20, seed=1, demo=1, made=1)
    report = Report(f"{given.expressions} random expressions against brute force")
    with workplace(given.keep) as directory:
        if given.demo:
            demo = DemoWorld(directory / "demo", given.seed, report)
            demo.build()
            with demo.server() as server:
                Comparison(server, demo.world, report).learn_parts(PARTS, demo.present)
                asking = Asking(demo.world, given.seed, demo.moments(3), demo.WINDOWS, ())
                moments = demo.moments(given.moments)
                compare(server, demo.world, report, asking, given.expressions, demo.present, moments, "demo")
        if given.made:
            made = MadeWorld(directory / "made", given.users, given.seed, report)
            made.build()
            with made.server() as server:
                Comparison(server, made.world, report).learn_parts(PARTS, PRESENT)
                moments = made_moments(given.moments)
                asking = Asking(made.world, given.seed, moments[::5], WINDOWS, HOURS)
                name = f"{given.users:,} users"
                compare(server, made.world, report, asking, given.expressions, PRESENT, moments, name)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
