"""The README and `docs/insight.md` say what happens: each block is run, in order, against a demo server of its own.

What was said has to be what comes out. In it `…` stands for anything: within a line for a part of it, alone on a
line for any number of lines, in JSON for a part of a string. Numbers of JSON are said to as many decimals as are shown.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.harness import Server

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
ADDRESS = "http://127.0.0.1:8000"
ASKING, SAYING = ("sh", "graphql"), ("json", "text", "csv")


class Block(NamedTuple):
    language: str
    text: str
    line: int


class Step(NamedTuple):
    """What a reader does, and what the README says comes of it."""

    asked: Block
    said: Block

    @property
    def is_make(self) -> bool:
        return self.asked.text.startswith("make ")


def blocks_of(text: str) -> list[Block]:
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(found[1], found[2], text.count("\n", 0, found.start()) + 1) for found in fences]


BLOCKS = blocks_of(README)
STEPS = [Step(*pair) for pair in zip(BLOCKS[::2], BLOCKS[1::2], strict=False)]
NAMES = [f"line-{step.asked.line}-{step.asked.language}" for step in STEPS]
INSIGHT = blocks_of((ROOT / "docs" / "insight.md").read_text())
INSIGHT_STEPS = [Step(*pair) for pair in pairwise(INSIGHT) if pair[0].language == "graphql"]


def matches(said: str, found: str) -> bool:
    """Whether a text is what was said, `…` standing for anything."""
    lines = (r"(?:.*\n)*?" if line == "…" else _pattern(line) + r"\n" for line in said.splitlines())
    return re.fullmatch("".join(lines), found if found.endswith("\n") else f"{found}\n") is not None


def _pattern(text: str) -> str:
    return ".*?".join(map(re.escape, text.split("…")))


def same(said: Any, found: Any) -> bool:
    """The same of JSON values."""
    match said, found:
        case dict(), dict():
            return said.keys() == found.keys() and all(same(said[key], found[key]) for key in said)
        case list(), list():
            return len(said) == len(found) and all(map(same, said, found))
        case str(), str():
            return re.fullmatch(_pattern(said), found) is not None
        case float(), float():
            return round(found, len(repr(said).partition(".")[2])) == said
    return type(said) is type(found) and bool(said == found)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo, as `make serve` starts it, on a data directory of its own and a free port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "160")  # as wide as what is said
        with Server(tmp_path_factory.mktemp("readme") / "store", verb="demo") as server:
            yield server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader is; files of one block are there in the next."""
    return tmp_path_factory.mktemp("home")


def address_of(server: Server) -> str:
    return str(server.http.base_url).rstrip("/")


def run(script: str, server: Server, home: Path) -> str:
    """What a block of commands prints, errors included."""
    script = script.replace(".venv/bin/python server.py", f"'{sys.executable}' '{ROOT / 'server.py'}'")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAGROAR_")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace(ADDRESS, address_of(server))],
        cwd=home,
        env=kept | {"HOME": str(home), "COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_block_asks_or_says() -> None:
    assert len(BLOCKS) == README.count("\n```") / 2
    assert [block.language in ASKING for block in BLOCKS] == [True, False] * len(STEPS)
    assert [block.language in SAYING for block in BLOCKS] == [False, True] * len(STEPS)


@pytest.mark.parametrize("step", [step for step in STEPS if step.is_make], ids=lambda step: step.asked.text.strip())
def test_the_commands_are_targets_of_the_makefile(step: Step) -> None:
    target = step.asked.text.split()[1]
    assert step.asked.text == f"make {target}\n"
    assert re.search(rf"^{target}:.*\n\t@\$\(BIN\)/python (server\.py demo|-m pytest)$", MAKEFILE, re.MULTILINE)


def test_make_serve_prints_what_it_says(demo: Server) -> None:
    (said,) = [step.said.text for step in STEPS if step.asked.text == "make serve\n"]
    setting_up = [line for line in dict.fromkeys(re.findall(r'echo "([^"]+)"', MAKEFILE)) if f"{line}\n" in said]
    assert said.startswith("\n".join(setting_up)), "the first lines come from the Makefile"
    served = demo.log.read_text().replace(address_of(demo), ADDRESS)
    assert matches(said.partition(f"{setting_up[-1]}\n")[2], served.rstrip()), served


@pytest.mark.parametrize("step", [step for step in STEPS if not step.is_make], ids=[
    name for name, step in zip(NAMES, STEPS, strict=True) if not step.is_make
])  # fmt: skip
def test_what_is_said_comes_out(step: Step, demo: Server, home: Path) -> None:
    """In the order of the README: what a block writes is there for the next."""
    asked, said = step
    if asked.language == "graphql":
        found = demo.http.post("/graphql", json={"query": asked.text}).text
    else:
        found = run(asked.text, demo, home)
    if said.language == "json":
        assert same(json.loads(said.text), json.loads(found)), found
    else:
        assert matches(said.text, found), found


@pytest.mark.parametrize("step", INSIGHT_STEPS, ids=lambda step: f"line-{step.asked.line}")
def test_the_page_of_insight_tells_what_comes_out(step: Step, demo: Server) -> None:
    found = demo.http.post("/graphql", json={"query": step.asked.text}).json()
    assert step.said.language == "json", "each question has its answer"
    assert same({"data": json.loads(step.said.text)}, found), json.dumps(found, indent=2, ensure_ascii=False)


@pytest.mark.parametrize(
    ("said", "found", "is_so"),
    [
        ("a\n…\nd\n", "a\nb\nc\nd\n", True),
        ("a\n…\nd\n", "a\nd\n", True),
        ("a\n…\nd\n", "a\nb\n", False),
        ("in … s\n", "in 3.1 s", True),
        ("in … s\n", "in 3.1 s\nmore\n", False),
        ("a.b\n", "aab\n", False),
    ],
)
def test_dots_stand_for_anything(said: str, found: str, is_so: bool) -> None:
    assert matches(said, found) is is_so


@pytest.mark.parametrize(
    ("said", "found", "is_so"),
    [
        ({"id": "…", "n": 1}, {"id": "x", "n": 1}, True),
        ({"id": "…", "n": 1}, {"id": "x", "n": 1, "m": 2}, False),
        ({"n": 1}, {"n": True}, False),
        ({"n": 1.25}, {"n": 1.2468}, True),
        ({"n": 1.25}, {"n": 1.2442}, False),
        ([1, 2], [2, 1], False),
        ("a…", "ab", True),
        ("…", None, False),
    ],
)
def test_json_is_the_same_or_not(said: object, found: object, is_so: bool) -> None:
    assert same(said, found) is is_so
