"""What is documented is what is: pages, settings, limits, commands, decisions and the changelog against the code."""

import importlib
import pkgutil
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from graphql import GraphQLField, GraphQLInputObjectType, GraphQLObjectType
from pydantic.fields import FieldInfo
from typer.core import TyperArgument, TyperGroup, TyperOption

import bitmap_store
import resolvers
import schema
import web
from bitmap_store.literals import duration_text
from schema.served import SCHEMA
from server import cli
from web.settings import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md")), *DECISIONS, ROOT / "console/README.md"]
MAKEFILE = (ROOT / "Makefile").read_text()


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def rows_of(page: str, columns: int) -> list[list[str]]:
    """The rows of all tables of a page that have so many columns, without their heads."""
    lines = [line.strip().strip("|").split(" | ") for line in (DOCS / page).read_text().splitlines() if line[:1] == "|"]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [row for row in cells if len(row) == columns and row[-1][:1] not in ("", "-") and "`" in "".join(row)]


def code(cell: str) -> str:
    """The first piece of code of a cell; nothing where there is none."""
    found = re.search(r"`([^`]+)`", cell)
    return found[1] if found else ""


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors_of(linked), target


def anchors_of(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_linked() -> None:
    readme, architecture = (ROOT / "README.md").read_text(), (DOCS / "architecture.md").read_text()
    assert [named(page) for page in DOCS.glob("*.md") if f"]({named(page)})" not in readme] == []
    assert [page.name for page in DECISIONS if f"](decisions/{page.name})" not in architecture] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_is_named_is_there(page: Path) -> None:
    """Files, folders and targets of make."""
    text = page.read_text()
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", text):
        assert (ROOT / path).exists() or (page.parent / path).exists(), path
    for target in re.findall(r"`make (\w+)`|^make (\w+)$", text, re.MULTILINE):
        assert re.search(rf"^{''.join(target)}:", MAKEFILE, re.MULTILINE), target


def test_the_picture_is_one_and_not_large() -> None:
    picture = (DOCS / "console.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) < 300_000
    assert "](docs/console.png)" in (ROOT / "README.md").read_text()


def test_the_readme_lists_what_comes_later() -> None:
    """Each field and argument that says so in its description, and none that does not."""
    readme = (ROOT / "README.md").read_text()
    (listed,) = re.findall(r"it answers `UNAVAILABLE`:\n\n(.*?)\n\n", readme, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) == {name for name, said in described() if "with a later version" in said}


def described() -> Iterator[tuple[str, str]]:
    """Fields and arguments of the schema with their descriptions."""
    for type_ in SCHEMA._schema.type_map.values():
        if isinstance(type_, GraphQLObjectType | GraphQLInputObjectType):
            for name, field in type_.fields.items():
                yield name, field.description or ""
                if isinstance(field, GraphQLField):
                    yield from ((key, argument.description or "") for key, argument in field.args.items())


# ---------------------------------------------------------------- settings


def test_settings_are_in_the_table_with_their_defaults() -> None:
    listed = {code(name): code(default) for name, default, _ in rows_of("settings.md", 3)}
    assert listed == {f"TAGROAR_{name.upper()}": default_of(field) for name, field in Settings.model_fields.items()}


def default_of(field: FieldInfo) -> str:
    """A default as one would write it in the environment."""
    default = field.get_default(call_default_factory=True)
    return "" if default is None else duration_text(default) if isinstance(default, timedelta) else str(default)


def test_defaults_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TAGROAR_{name.upper()}", raising=False)
    untouched = Settings()
    for name, default, _ in rows_of("settings.md", 3):
        if code(default):
            monkeypatch.setenv(code(name), code(default))
    assert Settings() == untouched


# ---------------------------------------------------------------- limits

LIMITS = [(code(constant), at_most) for _, at_most, constant in rows_of("limits.md", 3)]


@pytest.mark.parametrize(("constant", "at_most"), LIMITS, ids=[constant for constant, _ in LIMITS])
def test_limits_are_those_of_the_code(constant: str, at_most: str) -> None:
    value = value_of(constant)
    assert f"{value.days if isinstance(value, timedelta) else value:,}" == at_most


def test_every_limit_is_in_the_table() -> None:
    named = {
        f"{module.__name__}.{name}"
        for module in modules()
        for name in re.findall(r"^([A-Z][A-Z_]*_MAX)\b.*=", source_of(module), re.MULTILINE)
    }
    for holder in ("resolvers.context.Limits", "web.bounds.Bounds", "schema.document_rule.DocumentLimits"):
        module, _, name = holder.rpartition(".")
        numbers = [each for each in fields(getattr(importlib.import_module(module), name)) if each.type is not bool]
        named |= {f"{holder}.{each.name}" for each in numbers}
    assert named - {constant for constant, _ in LIMITS} == set()


def modules() -> Iterator[ModuleType]:
    for package in (bitmap_store, resolvers, schema, web):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def source_of(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text()


def value_of(constant: str) -> Any:
    """What a dotted name stands for: a constant of a module, or the default of a field."""
    path, _, name = constant.rpartition(".")
    if path.rpartition(".")[2][:1].islower():
        return getattr(importlib.import_module(path), name)
    holder = getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2])
    if is_dataclass(holder):
        return next(field.default for field in fields(holder) if field.name == name)
    return holder.model_fields[name].default


# ---------------------------------------------------------------- the command line


def commands(command: Any, *above: str) -> Iterator[tuple[str, Any]]:
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from commands(below, *above, name)
    else:
        yield " ".join(above), command


COMMANDS = dict(commands(typer.main.get_command(cli)))
SECTIONS = {
    heading: text
    for heading, text in re.findall(
        r"^## `([\w ]+)`\n(.*?)(?=^## |\Z)", (DOCS / "command-line.md").read_text(), re.MULTILINE | re.DOTALL
    )
}


def test_every_command_has_a_section_and_an_example() -> None:
    assert SECTIONS.keys() == COMMANDS.keys()
    for name, text in SECTIONS.items():
        assert f"server.py {name}" in text, name


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_those_of_the_command(name: str) -> None:
    arguments = [each for each in COMMANDS[name].params if isinstance(each, TyperArgument)]
    options = {option: each for each in COMMANDS[name].params if isinstance(each, TyperOption) for option in each.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", SECTIONS[name])) == options.keys() - {"--help"}
    assert [each.name for each in arguments if not re.search(rf"\b{str(each.name).upper()}\b", SECTIONS[name])] == []
    for option, default, _ in rows_in(SECTIONS[name]):
        kept = "user" if code(option) == "--columns" else str(options[code(option)].default)
        assert code(default) in ("", kept), option


def rows_in(section: str) -> list[list[str]]:
    """The rows of the table of options."""
    return [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| `--")]


def command_lines() -> list[tuple[str, str]]:
    """Every call of the program on any page, lines that end in a backslash joined."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(named(page), line.partition("server.py ")[2]) for line in lines if " server.py " in line]
    return found


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_examples_are_commands(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example is understood; a file that it reads is taken to be there."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line.replace("~/", ""), comments=True)
    for word in words:
        if re.fullmatch(r"[\w.-]+\.(csv|ndjson|parquet)", word):
            Path(word).touch()
    name = next(name for name in COMMANDS if f"{' '.join(words)} ".startswith(f"{name} "))
    COMMANDS[name].make_context(name, words[len(name.split()) :])


# ---------------------------------------------------------------- decisions


def test_decisions_are_numbered() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("page", DECISIONS, ids=named)
def test_a_decision_says_why_and_what_holds_it(page: Path) -> None:
    text = page.read_text()
    assert re.match(
        rf"# {page.name[:4]}: .+\n\nStatus: (accepted|replaced by \d{{4}}) · Date: \d{{4}}-\d\d-\d\d\n", text
    )
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Decision", "Why", "What you must now do", "Held by"]
    assert len(text.splitlines()) <= 60, "one page"
    held_by = re.findall(r"`(tests/\w+\.py)(?:::(\w+))?`", text.partition("## Held by")[2])
    assert held_by
    for file, test in held_by:
        assert re.search(rf"^(async )?def {test}\b" if test else "", (ROOT / file).read_text(), re.MULTILINE), test


@pytest.mark.parametrize("name", ["run.txt", "dev.txt", "tracing.txt", "bench.txt"])
def test_every_pin_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert "://" not in text
    pins = re.split(r"\n(?=[a-zA-Z])", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    assert [pin for pin in pins if not re.match(r"[\w.\[\]-]+==\S+.*\\\n\s+--hash=sha256:[0-9a-f]{64}", pin)] == []


def test_pins_are_the_same_in_all_files() -> None:
    """They are installed into one environment, one upon the other."""
    pinned: dict[str, list[str]] = {}
    for name in ("run.txt", "dev.txt", "tracing.txt", "bench.txt"):
        lines = re.findall(r"^[\w.-]+.*==.*(?= \\$)", (ROOT / "requirements" / name).read_text(), re.MULTILINE)
        assert lines
        for package in {re.split("[^\\w.-]", line)[0] for line in lines}:
            pins = [line for line in lines if re.match(rf"{re.escape(package)}[^\w.-]", line)]
            assert pinned.setdefault(package, pins) == pins, name


# ---------------------------------------------------------------- changelog

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", CHANGELOG, re.MULTILINE)


def test_the_changelog_begins_with_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert RELEASES[0][0] == project["version"]


def test_the_changelog_keeps_its_form() -> None:
    headings = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert [heading for heading in headings if heading != "[Unreleased]"] == [f"[{v}] - {day}" for v, day in RELEASES]
    assert all(
        date.fromisoformat(later) >= date.fromisoformat(earlier) for (_, later), (_, earlier) in pairwise(RELEASES)
    )
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known gaps"}
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= kinds
