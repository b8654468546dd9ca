"""`python -m benchmarks`: lists the benchmarks, runs them, and writes the table of the README."""

import argparse
import ast
import asyncio
import importlib
import signal
import sys
from itertools import product
from pathlib import Path

from benchmarks.figures import BEGIN, HEAD, ORDER, RESULTS, ROOT, Run, keep, machine, read, table, written_into
from benchmarks.files import directory
from benchmarks.world import TAGS, VALUES, World

README = ROOT / "README.md"
SUFFIXES = {"k": 1_000, "m": 1_000_000}


def number(text: str) -> int:
    """A number such as 300k or 10m."""
    factor = SUFFIXES.get(text[-1:].lower(), 1)
    return int(float(text[:-1] if factor > 1 else text) * factor)


def numbers(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [number(part) for part in text.split(",")]


def described(name: str) -> str:
    """The first line of what a benchmark says of itself."""
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text())
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def options() -> argparse.Namespace:
    """What is asked for."""
    listed = "\n".join(f"  {name:9} {described(name)}" for name in ORDER)
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Measures Tagroar beside its references.",
        epilog=f"benchmarks:\n{listed}\n  all       all of them\n  table     writes the table of the README anew\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("benchmarks", nargs="*", choices=[*ORDER, "all", "table", []], metavar="BENCHMARK")
    parser.add_argument("--users", type=numbers, default=[1_000_000], help="such as 300k, or 1m,10m; 1m unless given")
    parser.add_argument("--tags", type=int, default=TAGS)
    parser.add_argument("--values", type=int, default=VALUES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help=f"put the figures into {RESULTS.relative_to(ROOT)}")
    given = parser.parse_args()
    if not given.benchmarks:
        parser.print_help()
        sys.exit(0)
    return given


def rewrite_table() -> None:
    """The table of the README, from the figures that are kept."""
    page = README.read_text()
    if BEGIN not in page:
        sys.exit(f"{README.name} has no place for the table")
    README.write_text(written_into(page, table(read())))


def main() -> None:
    """Runs what is asked for, one after another."""
    given = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped, too
    names = ORDER if "all" in given.benchmarks else [name for name in given.benchmarks if name != "table"]
    if names:
        about = machine()
        print(f"{about}\n{directory()}", file=sys.stderr)
        print(HEAD, end="", flush=True)
    unusual = (given.tags, given.values) != (TAGS, VALUES)
    for name, users in product(names, given.users):
        world = World(users, given.tags, given.values, given.seed)
        run = Run(name, users, f"{given.values} values" if unusual else "", about)
        try:
            benchmark = importlib.import_module(f"benchmarks.{name}")
        except ModuleNotFoundError as error:
            run.say(f"{name} is left out, as {error.name} is not installed; `make bench` installs it")
            continue
        asyncio.run(benchmark.measure(run, world))
        if given.keep:
            keep([run])
    if "table" in given.benchmarks:
        rewrite_table()


if __name__ == "__main__":
    main()
