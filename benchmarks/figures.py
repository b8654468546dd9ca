"""Figures: what was measured beside what it was measured against, how they are kept, and the table that they make."""

import gc
import json
import operator
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
PACKAGES = ("pyroaring", "numpy", "pyarrow", "strawberry-graphql", "starlette", "uvicorn", "chdb-core", "duckdb")
HEAD = "| figure | users | Tagroar | reference | ratio | promise | |\n|---|---:|---:|---:|---:|---:|---|\n"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    ours, theirs: medians in `unit`. reference: what was measured beside Tagroar, if anything was.
    compares: what the promise is about: "ours", the "ratio" of ours to theirs, or how many times "faster" we are.
    sign, bound: the promise, such as ≤ 1.1; none where nothing is promised.
    """

    name: str
    unit: str
    ours: float
    theirs: float | None = None
    reference: str = ""
    compares: str = "ratio"
    sign: str = ""
    bound: float | None = None
    note: str = ""

    @property
    def compared(self) -> float | None:
        """What the promise is about; None without a reference where one is needed."""
        if self.compares == "ours":
            return self.ours
        if not self.theirs or not self.ours:
            return None
        return self.ours / self.theirs if self.compares == "ratio" else self.theirs / self.ours

    @property
    def kept(self) -> bool | None:
        """Whether the promise is met; None where nothing is promised."""
        if self.bound is None or self.compared is None:
            return None
        compared = {"≤": operator.le, "<": operator.lt, "≥": operator.ge}[self.sign]
        return bool(compared(self.compared, self.bound))

    @property
    def promise(self) -> str:
        """The promise in words."""
        if self.bound is None:
            return ""
        what = {"ours": f" {self.unit}", "ratio": " ×", "faster": " × faster"}[self.compares]
        return f"{self.sign} {short(self.bound)}{what}"

    def row(self, where: str) -> str:
        """The line of the table. where: the users that it was measured among."""
        theirs = f"{short(self.theirs)} {self.unit} ({self.reference})" if self.theirs is not None else self.reference
        compared = self.compared if self.compares != "ours" else self.ours / self.theirs if self.theirs else None
        ratio = "" if compared is None else f"{short(compared)} ×" + (" faster" if self.compares == "faster" else "")
        met = {True: "met", False: "**missed**", None: ""}[self.kept]
        name = f"{self.name} ({self.note})" if self.note else self.name
        cells = (name, where, f"{short(self.ours)} {self.unit}", theirs, ratio, self.promise, met)
        return f"| {' | '.join(cells)} |\n"


def short(number: float) -> str:
    """A number with three digits that matter."""
    size = abs(number)
    if size >= 1_000_000:
        return f"{number / 1e6:.3g} M"
    return f"{number:,.0f}" if size >= 100 else f"{number:.3g}"


def people(users: int) -> str:
    """A number of users, such as 10 M."""
    return f"{users // 1_000_000} M" if users and users % 1_000_000 == 0 else f"{users / 1000:g} k" if users else ""


@dataclass
class Run:
    """One benchmark on one world: where its figures go. They are shown as they come. world: what is unusual in it."""

    benchmark: str
    users: int
    world: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def figure(self, figure: Figure) -> None:
        """Keeps a figure, and shows it."""
        self.figures.append(figure)
        print(figure.row(self.where), end="", flush=True)

    @property
    def identity(self) -> tuple[str, int, str]:
        """What tells it from other runs."""
        return self.benchmark, self.users, self.world

    @property
    def where(self) -> str:
        """How many users there are, and what is unusual in the world."""
        return f"{people(self.users)}, {self.world}" if self.world else people(self.users)

    def told(self, what: str, done: float) -> None:
        """Shows how far something is."""
        end = "\r" if sys.stderr.isatty() and done < 1 else "\n"
        if end == "\r" or done in (0.0, 1.0):
            seconds = time.monotonic() - self.started
            print(f"[{seconds:7.1f} s] {what}: {done:4.0%}", end=end, file=sys.stderr, flush=True)

    def say(self, sentence: str) -> None:
        """Says a sentence beside the table."""
        print(f"[{time.monotonic() - self.started:7.1f} s] {sentence}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- measuring


@contextmanager
def undisturbed() -> Iterator[None]:
    """No collection of garbage in the middle of what is measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def median(seconds: Sequence[float]) -> float:
    """The median."""
    return statistics.median(seconds)


def percentile(seconds: Sequence[float], share: float) -> float:
    """The smallest figure with at least that share at or below it."""
    ordered = sorted(seconds)
    return ordered[max(0, -(-int(share * 10_000) * len(ordered) // 10_000) - 1)]


def machine() -> dict[str, Any]:
    """What everything ran on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.+)", text)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "cores": os.cpu_count(),
        "processor": model[1] if model else platform.processor(),
        "memory GiB": round(memory),
        "system": f"{platform.system()} {platform.release()}",
        "commit": commit.stdout.strip(),
        "versions": versions,
    }


# ---------------------------------------------------------------- keeping


def keep(runs: Sequence[Run], path: Path = RESULTS) -> None:
    """Puts runs into the file of results; each takes the place of an earlier one of the same benchmark and size."""
    there = read(path)
    for run in runs:
        there = [other for other in there if other.identity != run.identity] + [run]
    there.sort(key=lambda run: (ORDER.index(run.benchmark) if run.benchmark in ORDER else len(ORDER), run.users))
    found = [
        {
            "benchmark": run.benchmark,
            "users": run.users,
            "world": run.world,
            "machine": run.machine,
            "figures": list(map(_json, run.figures)),
        }
        for run in there
    ]
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def read(path: Path = RESULTS) -> list[Run]:
    """The runs that are kept."""
    if not path.exists():
        return []
    return [
        Run(
            run["benchmark"],
            run["users"],
            run["world"],
            run["machine"],
            [Figure(**figure) for figure in run["figures"]],
        )
        for run in json.loads(path.read_text())
    ]


def _json(figure: Figure) -> dict[str, Any]:
    """A figure without what is as usual, its numbers to four digits."""
    usual = Figure("", "", 0.0)
    found = {key: value for key, value in asdict(figure).items() if key == "ours" or value != getattr(usual, key)}
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in found.items()}


ORDER = ("engine", "apart", "alike", "peers", "http", "imports", "writes", "start", "openloop", "sizes")


def table(runs: Sequence[Run]) -> str:
    """The table of the README, with the machine below it."""
    lines = [figure.row(run.where) for run in runs for figure in run.figures]
    machines = list(dict.fromkeys(_machine_text(run.machine) for run in runs))
    return f"{HEAD}{''.join(lines)}\n{' '.join(machines)}\n"


def _machine_text(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in found.get("versions", {}).items())
    return (
        f"Measured on {found.get('cores')} cores ({found.get('processor')}) with {found.get('memory GiB')} GiB, "
        f"{found.get('system')}; {versions}."
    )


def written_into(page: str, text: str) -> str:
    """A page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}{END}{after}"
