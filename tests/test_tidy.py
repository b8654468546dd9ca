"""The rules of `docs/style.md` that a machine can hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from bitmap_store import tables
from bitmap_store.sqlite.database import write_engine
from tests.worlds import copied

ROOT = Path(__file__).parents[1]
LAYERS = ("bitmap_store", "resolvers", "schema", "web", "demo", "benchmarks", "migrations")
LINES_MAX = 560
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()
]  # fmt: skip
MODULES = [path for path in TRACKED if path.suffix == ".py" and path.exists()]
OURS = [path for path in MODULES if path.relative_to(ROOT).parts[0] in (*LAYERS, "server.py")]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


NAMED_ELSEWHERE = {"get_write_buffer_size", "process_errors", "handle_websocket_upgrade"}
"""Names of strawberry, uvicorn and asyncio for what is overridden."""


@pytest.mark.parametrize("path", OURS, ids=named)
def test_a_module_says_what_lives_in_it(path: Path) -> None:
    tree = ast.parse(path.read_text())
    docstring = ast.get_docstring(tree)
    assert docstring, "no docstring"
    assert len(docstring.splitlines()) <= 6 or path.name == "errors.py"  # which draws the hierarchy
    assert len(path.read_text().splitlines()) <= LINES_MAX, "too long: look for a second noun"


@pytest.mark.parametrize("path", OURS, ids=named)
def test_imports_stand_at_the_top(path: Path) -> None:
    text = path.read_text()
    for word in ("TYPE_CHECKING", "strawberry.lazy"):
        assert word not in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = [below for below in ast.walk(node) if isinstance(below, ast.Import | ast.ImportFrom)]
            assert not inside, f"{node.name} imports"


@pytest.mark.parametrize("path", OURS, ids=named)
def test_names_say_what_a_thing_is(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in NAMED_ELSEWHERE:
            assert not re.match(r"_?(get|handle|process|do|manage)_", node.name), node.name
        if isinstance(node, ast.ClassDef):
            assert not re.search(r"(Manager|Helper)$", node.name), node.name


@pytest.mark.parametrize("path", [path for path in OURS if path.parent.name == "schema"], ids=named)
def test_the_schema_decides_nothing(path: Path) -> None:
    for each in ast.walk(ast.parse(path.read_text())):
        if isinstance(each, ast.ClassDef) and any("strawberry." in ast.unparse(how) for how in each.decorator_list):
            for method in each.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                    statements = [
                        s for s in method.body if not isinstance(s, ast.Expr) or isinstance(s.value, ast.Call)
                    ]
                    assert len(statements) <= 3, f"{each.name}.{method.name}"


def test_no_top_level_name_hides_one_of_the_standard_library() -> None:
    tops = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in MODULES}
    assert not tops & set(sys.stdlib_module_names)


def test_the_migrations_make_the_tables(empty_store: Path, tmp_path: Path) -> None:
    assert tables
    engine = write_engine(copied(empty_store, tmp_path / "store"))
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
    engine.dispose()


def test_no_file_names_a_place_that_only_one_machine_knows() -> None:
    hosts = "|".join(
        ("pypi" + r"\.org", "files" + r"\.pythonhosted", "registry" + r"\.npmjs", "registry" + r"\.yarnpkg")
    )
    paths = "|".join(("/ro" + "ot/", "/wo" + "rk/", "/home/[a-z]+/", "/tmp/pro" + "be"))
    for path in TRACKED:
        if path.exists() and path.suffix not in (".png", ".woff2") and "THIRD-PARTY" not in path.name:
            if path == Path(__file__):
                continue
            text = path.read_text(errors="ignore")
            if path.suffix == ".js" and path.parent.name == "static" and len(text) > 200_000:
                continue  # bundled code of others
            assert not re.search(hosts, text), named(path)
            assert not re.search(paths, text), named(path)
