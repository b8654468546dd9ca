"""The benchmarks measure what they say: worlds, files, references and the table; and each runs, on a tiny world.

What needs ClickHouse and DuckDB is skipped where they are not installed, as where only `.venv/dev` is.
"""

import asyncio
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pyroaring import BitMap

from benchmarks import alike, apart, engine, handwritten, http, imports, openloop, start, writes
from benchmarks.__main__ import number
from benchmarks.figures import BEGIN, END, ORDER, RESULTS, Figure, Run, keep, percentile, read, table, written_into
from benchmarks.files import DIRECTORY_VARIABLE, File, made, names_of
from benchmarks.questions import Questions, leaves_of, values_of
from benchmarks.stores import define, import_file, opened
from benchmarks.world import BLOCK, World, bitmap_of
from bitmap_store.expression import And, Expression, Match, Not, Or

ROOT = Path(__file__).parents[1]
TINY = World(2_000, tags=60, values=300)
FULL = World(BLOCK * 3 + 5_000)


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where files and stores of these tests are."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("bench")
        patch.setenv(DIRECTORY_VARIABLE, str(directory))
        yield directory


# ---------------------------------------------------------------- worlds


@pytest.fixture(scope="module")
def sizes() -> np.ndarray:
    return FULL.sizes()


def test_a_world_has_the_tags_and_values_that_are_asked_for() -> None:
    kinds = Counter(shape.kind for shape in FULL.shapes)
    assert sum(kinds.values()) == 600
    assert (kinds["NUMBER"], kinds["DATE"], kinds["EVENT"]) == (5, 3, 2)
    assert min(kinds["FLAG"], kinds["CHOICE"], kinds["CHOICES"]) > 100
    assert len({shape.key for shape in FULL.shapes}) == 600
    assert len(list(values_of(FULL))) == 3_000
    assert len(list(values_of(TINY))) == 300


def test_a_user_has_about_74_memberships_and_shares_fall_off(sizes: np.ndarray) -> None:
    assert 72 < sizes.sum() / FULL.users < 76
    shares = np.sort([sizes[value.code] / FULL.users for value in values_of(FULL)])[::-1]
    assert 0.55 < shares[0] < 0.65
    assert shares[100] > 0.1 and 0.001 < shares[1_000] < 0.02 and shares[-1] < 5e-5
    assert (shares == 0).sum() < 300, "of the rarest values one expects two users"


def test_shares_are_those_that_were_meant(sizes: np.ndarray) -> None:
    for value in values_of(FULL):
        (draw,) = [draw for draw in value.shape.draws if value.code in draw.codes]
        if draw.cell == 1:
            expected, found = value.share * FULL.users, sizes[value.code]
            assert abs(found - expected) < 6 * np.sqrt(expected) + 0.01 * expected + 3, value


def test_some_values_are_clustered_and_others_scattered() -> None:
    clustered = [value for value in values_of(FULL) if value.share > 0.05 and value.shape.draws[0].cell >= 1_024]
    scattered = [value for value in values_of(FULL) if value.share > 0.05 and value.shape.draws[0].cell == 1]
    assert clustered and scattered
    runs = {
        code: np.count_nonzero(np.diff(np.array(members.to_array(), np.int64)) > 1) / len(members)
        for code, members in FULL.members([clustered[0].code, scattered[0].code]).items()
    }
    assert runs[clustered[0].code] < 0.35 < runs[scattered[0].code]


def test_the_same_seed_is_the_same_world_and_another_is_not() -> None:
    again, other = World(FULL.users), World(FULL.users, seed=2)
    for block in (2, 0):  # in any order
        one, two, three = (world.rows(block) for world in (FULL, again, other))
        assert np.array_equal(one.places, two.places) and np.array_equal(one.codes, two.codes)
        assert not np.array_equal(one.places, three.places)
    assert other.shapes == FULL.shapes, "tags are the same, so a second world can be imported on top"


def test_rows_and_sets_say_the_same(sizes: np.ndarray) -> None:
    codes = [value.code for value in list(values_of(FULL))[::97]]
    members = FULL.members(codes)
    assert [len(members[code]) for code in codes] == sizes[codes].tolist()
    rows = FULL.rows(3)
    assert len(rows.places) == len(set(zip(rows.places.tolist(), rows.codes.tolist(), strict=True)))
    assert np.all(np.diff(rows.places.astype(int)) >= 0) and rows.places.max() < FULL.length(3)
    for code in codes:
        there = bitmap_of(rows.places[rows.codes == code].astype(np.uint32) + np.uint32(3 * BLOCK))
        assert there == members[code] & BitMap(range(3 * BLOCK, 4 * BLOCK))


def test_a_user_has_one_value_of_a_choice() -> None:
    for shape in FULL.shapes:
        places = FULL.of_tag(shape, 0).places
        if shape.kind == "CHOICES" and len(places) > BLOCK / 4:
            assert len(np.unique(places)) < len(places)
        elif shape.kind != "CHOICES":
            assert len(np.unique(places)) == len(places)


# ---------------------------------------------------------------- files


def rows_in(path: Path) -> list[dict[str, object]]:
    found = pa.csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    return found.to_pylist()


@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_a_shuffled_file_has_the_rows_of_the_ordered_one(format_: str) -> None:
    ordered, shuffled = (
        [tuple(row.values()) for row in rows_in(made(TINY, File("long", format_, names=True, shuffled=flag)))]
        for flag in (False, True)
    )
    assert ordered != shuffled
    assert sorted(map(str, ordered)) == sorted(map(str, shuffled))
    assert [row[0] for row in ordered] == sorted(row[0] for row in ordered)


def test_a_wide_file_says_what_the_long_one_says() -> None:
    said = Counter(row["tag"] for row in rows_in(made(TINY, File("long"))))
    wide = rows_in(made(TINY, File("wide", shuffled=True)))
    assert len(wide) == TINY.users == len({row["user"] for row in wide})
    for shape in TINY.stored:
        cells = [row[shape.key] for row in wide]
        held = sum(len(cell) for cell in cells) if shape.kind == "CHOICES" else len(cells) - cells.count(None)
        assert held == said[shape.key], shape.key


def test_names_are_made_digit_by_digit() -> None:
    assert names_of(np.array([0, 42, 123_456_789])).to_pylist() == ["u-000000000", "u-000000042", "u-123456789"]


@pytest.mark.parametrize(
    "file",
    [
        File("long", shuffled=True),
        File("long", "csv", names=True),
        File("wide", names=True),
        File("wide", shuffled=True),
    ],
    ids=lambda file: f"{file}-{file.format}",
)
def test_files_can_be_imported(file: File, tmp_path: Path) -> None:
    sizes = TINY.sizes()

    async def imported() -> list[int]:
        async with opened(tmp_path / "store") as store:
            await define(store, TINY.shapes)
            await import_file(store, "table" if file.form == "wide" else "memberships", made(TINY, file))
            if file.form == "wide":
                await import_file(store, "events", made(TINY, File("events", names=file.names)))
            view = store.view()
            return await store.count([store.bind(view, value.leaf, "user") for value in values_of(TINY)])

    assert asyncio.run(imported()) == [sizes[value.code] for value in values_of(TINY)]


# ---------------------------------------------------------------- questions


def test_questions_are_different_and_ask_for_the_pool() -> None:
    questions = Questions(FULL, seed=3)
    asked = [*questions.two(50), *questions.five(50), *questions.twenty(12)]
    assert len(set(asked)) == len(asked) == 112
    assert {len(leaves_of(question)) for question in asked} == {2, 5, 20}
    assert {leaf for question in asked for leaf in leaves_of(question)} <= questions.code_of.keys()
    assert Questions(FULL, seed=3).five(5) == Questions(FULL, seed=3).five(5) != Questions(FULL, seed=4).five(5)


def brute(node: Expression, sets: dict[Match, set[int]]) -> set[int]:
    match node:
        case Match():
            return sets[node]
        case Or(of):
            return set.union(*(brute(child, sets) for child in of))
        case And(of):
            kept = set.intersection(*(brute(child, sets) for child in of if not isinstance(child, Not)))
            return kept.difference(*(brute(child.of, sets) for child in of if isinstance(child, Not)))
    raise AssertionError(node)


def test_every_way_of_writing_by_hand_counts_the_same_and_changes_nothing() -> None:
    questions = Questions(TINY, seed=5)
    bitmaps = {value.leaf: members for value in questions.pool for members in [TINY.members([value.code])[value.code]]}
    sets = {leaf: set(members) for leaf, members in bitmaps.items()}
    for question in [*questions.two(9), *questions.five(25), *questions.twenty(9)]:
        expected = len(brute(question, sets))
        assert handwritten.count(question, bitmaps) == handwritten.best(question, bitmaps)() == expected
    assert {leaf: set(members) for leaf, members in bitmaps.items()} == sets


# ---------------------------------------------------------------- figures


def test_a_promise_is_kept_or_not() -> None:
    assert Figure("a", "ms", 1.0, 1.0, "b", "ratio", "≤", 1.1).kept is True
    assert Figure("a", "ms", 1.2, 1.0, "b", "ratio", "≤", 1.1).kept is False
    assert Figure("a", "ms", 1.0, 40.0, "b", "faster", "≥", 30).kept is True
    assert Figure("a", "ms", 2.0, 40.0, "b", "faster", "≥", 30).kept is False
    assert Figure("a", "/s", 7e6, None, "", "ours", "≥", 6e6).kept is True
    assert Figure("a", "ms", 50.0, 1.0, "alone", "ours", "<", 50).kept is False
    assert Figure("a", "ms", 1.0, 2.0, "b").kept is None
    assert Figure("a", "ms", 1.0, None, "b", "ratio", "≤", 1.1).kept is None


def test_the_table_says_it_on_one_line_a_figure(tmp_path: Path) -> None:
    machine = {"cores": 2, "processor": "P", "memory GiB": 24, "system": "Linux", "versions": {"python": "3.11"}}
    run = Run("engine", 10_000_000, machine=machine)
    run.figure(Figure("five leaves", "ms", 0.98765, 1.0, "by hand", "ratio", "≤", 1.1))
    run.figure(Figure("peer", "ms", 1.0, 26.0, "ClickHouse", "faster", "≥", 30))
    other = Run("imports", 100_000, "300 values", machine)
    other.figure(Figure("rows", "/s", 6_543_210.0, None, "", "ours", "≥", 6e6, "12 M in 2 s"))
    keep([run], tmp_path / "results.json")
    keep([other], tmp_path / "results.json")
    assert table(read(tmp_path / "results.json")).splitlines() == [
        "| figure | users | Tagroar | reference | ratio | promise | |",
        "|---|---:|---:|---:|---:|---:|---|",
        "| five leaves | 10 M | 0.988 ms | 1 ms (by hand) | 0.988 × | ≤ 1.1 × | met |",
        "| peer | 10 M | 1 ms | 26 ms (ClickHouse) | 26 × faster | ≥ 30 × faster | **missed** |",
        "| rows (12 M in 2 s) | 100 k, 300 values | 6.54 M /s |  |  | ≥ 6 M /s | met |",
        "",
        "Measured on 2 cores (P) with 24 GiB, Linux; python 3.11.",
    ]
    run.figures.pop()
    keep([run], tmp_path / "results.json")
    assert [len(each.figures) for each in read(tmp_path / "results.json")] == [1, 1], "the same run is replaced"


def test_percentiles_are_figures_that_were_measured() -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert percentile([1.0], 0.99) == 1.0


def test_the_readme_has_the_table_of_the_results() -> None:
    readme = (ROOT / "README.md").read_text()
    assert written_into(readme, table(read(RESULTS))) == readme
    assert readme.count(BEGIN) == readme.count(END) == 1


def test_the_page_tells_of_every_benchmark() -> None:
    page = (ROOT / "docs/benchmarks.md").read_text()
    assert re.findall(r"^## `(\w+)`", page, re.MULTILINE) == list(ORDER)


def test_numbers_of_users() -> None:
    assert [number(text) for text in ("300k", "10M", "1.5m", "42")] == [300_000, 10_000_000, 1_500_000, 42]


# ---------------------------------------------------------------- each benchmark, on a tiny world


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, constants in {
        engine: {"FIVE": 10, "TWENTY": 6, "PROFILES": 5, "PROFILES_AT_ONCE": 50, "ROUNDS": 1, "RANGES": 4},
        apart: {"ROUNDS": 1, "COMPARISONS": 2},
        alike: {"ROUNDS": 2, "ALL_ROUNDS": 1},
        http: {"ROUNDS": 1, "SECONDS": 0.1, "DIFFERENT": 500, "ALONE": 20},
        imports: {"CASES": imports.CASES[:1] + imports.CASES[-1:]},
        writes: {"ROUNDS": 1, "SECONDS": 0.2, "CLIENTS": 8, "CHECKED": 20, "SQLITE_SECONDS": 0.1, "PREPARED": 2_000},
        start: {"WARM": 1, "WORKERS": 2, "EACH": 1, "PARTS": 2},
        openloop: {"SECONDS": 1.0, "ALONE_SECONDS": 0.2},
    }.items():
        for name, value in constants.items():
            monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("name", [name for name in ORDER if name != "peers"])
def test_a_benchmark_runs(name: str, quick: None) -> None:
    run = Run(name, TINY.users)
    asyncio.run(importlib.import_module(f"benchmarks.{name}").measure(run, TINY))
    assert run.figures and all(figure.ours >= 0 for figure in run.figures)


def test_peers_count_the_same() -> None:
    for module in ("chdb", "duckdb", "redis"):
        pytest.importorskip(module, reason="`make bench` installs it")
    run = Run("peers", TINY.users)
    asyncio.run(importlib.import_module("benchmarks.peers").measure(run, TINY))
    assert len(run.figures) >= 4
