"""The page on formats: its examples are read, its rejections come out as it says, and so does what it would define."""

import re
from datetime import UTC
from pathlib import Path

import pytest

from bitmap_store.errors import nearest
from bitmap_store.files import (
    EVENTS,
    MEMBERSHIPS,
    PROFILES,
    Block,
    Format,
    Target,
    events,
    infer,
    memberships,
    profiles,
    read_blocks,
    shape_of,
    table,
)
from bitmap_store.values import DatePrecision, Rejection, TagKind

PAGE = (Path(__file__).parent.parent / "docs" / "import-formats.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(csv|ndjson) (\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
REJECTED = re.findall(r"^\| `(.*?)` \| `(\w+)` \| (.*?) \|$", PAGE, re.MULTILINE)
TARGETS = {
    target.key: target
    for target in (
        Target("vip", TagKind.FLAG),
        Target("city", TagKind.CHOICE, allowed=frozenset({"Paris", "Rome"})),
        Target("likes", TagKind.CHOICES),
        Target("spend", TagKind.NUMBER, scale=2),
        Target("born", TagKind.DATE, precision=DatePrecision.DAY),
        Target("bought", TagKind.EVENT),
        Target("rich", TagKind.FLAG, is_rule=True),
    )
}
SHAPES = {"memberships": MEMBERSHIPS, "events": EVENTS, "profiles": PROFILES, "table": shape_of(TARGETS)}


def rejections(block: Block, route: str) -> list[Rejection]:
    match route:
        case "memberships":
            found = memberships(block, TARGETS.get, lambda key: nearest(key, TARGETS)).rejected
        case "events":
            found = events(block, TARGETS.get, lambda key: nearest(key, TARGETS), UTC).rejected
        case "table":
            found = table(block, TARGETS).rejected
        case _:
            found = profiles(block).rejected
    return [*block.rejected, *found]


def test_the_page_has_an_example_of_every_route() -> None:
    assert {route for _, route, _ in EXAMPLES} == set(SHAPES)
    assert len(REJECTED) >= 10


@pytest.mark.parametrize(("format", "route", "text"), EXAMPLES, ids=lambda given: given if given.isalpha() else "")
def test_examples_are_read_without_a_rejection(tmp_path: Path, format: Format, route: str, text: str) -> None:
    path = tmp_path / "example"
    path.write_text(text)
    blocks = list(read_blocks(path, format, SHAPES[route]))
    assert sum(len(block.lines) for block in blocks) == len(text.splitlines()) - (format == "csv")
    assert [rejection for block in blocks for rejection in rejections(block, route)] == []


@pytest.mark.parametrize(("line", "code", "reason"), REJECTED, ids=[line for line, _, _ in REJECTED])
def test_rejections_read_as_the_page_says(tmp_path: Path, line: str, code: str, reason: str) -> None:
    path = tmp_path / "example"
    path.write_text(f"user,tag,value,number\n{line}\n")
    [block] = read_blocks(path, "csv", MEMBERSHIPS)
    assert rejections(block, "memberships") == [Rejection(2, code, reason)]


def test_what_the_example_of_a_table_would_define(tmp_path: Path) -> None:
    [example] = [text for format, route, text in EXAMPLES if (format, route) == ("csv", "table")]
    path = tmp_path / "example"
    path.write_text(example)
    [shown] = re.findall(r"^```text define\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert [str(tag) for tag in infer(path, "csv", SHAPES["table"])] == shown.splitlines()
