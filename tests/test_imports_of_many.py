"""Imports of many rows, which take other ways than few: each file against a dictionary that is told row by row."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitmap_store import rows as store_rows
from bitmap_store.definitions import TagDefinition
from bitmap_store.sqlite import jobs, spool
from bitmap_store.values import NEVER, Assign, Remove, TagKind, micros
from tests.importing import import_here
from tests.worlds import StillClock, StoreWorld, copied, start_ids_at

PEOPLE = 3_000
ENDS = datetime(2027, 5, 1, tzinfo=UTC)
VALUES = {
    "vip": [""],
    "city": ["x", "y", "z"],
    "likes": [f"l{i}" for i in range(9)],
    "spend": ["-1.25", "0", "7", "19.5"],
}
KINDS = {"vip": TagKind.FLAG, "city": TagKind.CHOICE, "likes": TagKind.CHOICES, "spend": TagKind.NUMBER}

Row = tuple[str, str, str, bool, float | None]
"""User, tag, what is said, whether it ends, and its score."""
Fact = tuple[int, int, float | None]
"""Since which write, when it ends, and its score."""


@dataclass
class Model:
    """What holds, by tag and user and what is said."""

    holds: dict[str, dict[str, dict[str, Fact]]] = field(default_factory=lambda: {tag: {} for tag in VALUES})
    writes: int = 0

    def assign(self, row: Row) -> None:
        """What assigning one row means."""
        user, tag, said, ends, score = row
        held = self.holds[tag].setdefault(user, {})
        since = held[said][0] if said in held else self.writes
        if tag != "likes":
            held.clear()
        held[said] = since, micros(ENDS) if ends else NEVER, score

    def read(self, rows: list[Row], first: int, replace: bool) -> dict[int, int]:
        """What importing a file means; the lines that repeat others, with those."""
        self.writes += 1
        old = {tag: {user: dict(held) for user, held in users.items()} for tag, users in self.holds.items()}
        named = {row[1] for row in rows}
        if replace:
            self.holds.update({tag: {} for tag in named})
        last: dict[tuple[str, ...], tuple[Row, int]] = {}
        repeats = {}
        for line, row in enumerate(rows, first):
            user, tag, said, *_ = row
            subject = (user, tag, said) if tag == "likes" else (user, tag)
            if subject in last and last[subject][0] == row:
                repeats[line] = last[subject][1]
            else:
                last[subject] = row, line
                self.assign(row)
        for row, _ in last.values():  # who has in the end what was there before has had it since then
            user, tag, said, *_ = row
            if said in old[tag].get(user, {}):
                self.holds[tag][user][said] = old[tag][user][said][0], *self.holds[tag][user][said][1:]
        return repeats


def drawn(chance: np.random.Generator, ordered: bool, repeats: bool) -> list[Row]:
    """Rows of random users; with repeats, some say again what was said, or something else of the same."""
    found: list[Row] = []
    tags = list(VALUES)
    facts_from = chance.choice([0, PEOPLE // 2, PEOPLE])  # the first of the users of whom more is said
    users = chance.permutation(PEOPLE)[: PEOPLE // 2]
    for user in users.tolist():
        facts = user >= facts_from
        for tag in tags:
            values = VALUES[tag]
            some = chance.permutation(len(values))[: chance.integers(0, 4) if tag == "likes" else chance.integers(0, 2)]
            for each in some.tolist():
                score = [None, 0.5, 2.0][chance.integers(0, 3)] if facts else None
                found.append((str(user), tag, values[each], bool(facts and chance.random() < 0.2), score))
    if repeats:
        for place in chance.integers(0, len(found), len(found) // 50).tolist():
            user, tag, _, *facts_said = found[place]
            again = (user, tag, VALUES[tag][-1], *facts_said) if chance.random() < 0.5 else found[place]
            found.append(again)
    if ordered:
        found.sort(key=lambda row: int(row[0]))
    elif repeats:
        found = [found[place] for place in chance.permutation(len(found)).tolist()]
    return found


def columns_of(rows: list[Row]) -> dict[str, pa.Array]:
    """A file of memberships as columns; users are numbers."""
    ends = ENDS.isoformat().replace("+00:00", "Z")
    return {
        "user": pa.array([int(user) for user, *_ in rows], pa.int64()),
        "tag": pa.array([tag for _, tag, *_ in rows], pa.string()),
        "value": pa.array([said if tag in ("city", "likes") else None for _, tag, said, *_ in rows], pa.string()),
        "number": pa.array([said if tag == "spend" else None for _, tag, said, *_ in rows], pa.string()),
        "score": pa.array([score for *_, score in rows], pa.float64()),
        "expires_at": pa.array([ends if end else None for *_, end, _ in rows], pa.string()),
    }


def csv_file(path: Path, rows: list[Row]) -> Path:
    columns = {name: column.cast(pa.string()).to_pylist() for name, column in columns_of(rows).items()}
    lines = (",".join(cell or "" for cell in cells) for cells in zip(*columns.values(), strict=True))
    path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return path


def parquet_file(path: Path, rows: list[Row]) -> Path:
    pq.write_table(pa.table(columns_of(rows)), path, row_group_size=max(1, len(rows) // 3))
    return path


def wide_file(path: Path, rows: list[Row]) -> tuple[Path, list[Row]]:
    """A table with a line a user, in order of first mention, and its cells as rows in order of lines and columns."""
    by_user: dict[str, dict[str, list[str]]] = {}
    for user, tag, said, *_ in rows:
        cells = by_user.setdefault(user, {}).setdefault(tag, [])
        if tag == "likes":
            cells.append(said)
        else:
            cells[:] = [said]
    held = {user: {tag: list(dict.fromkeys(cells)) for tag, cells in tags.items()} for user, tags in by_user.items()}
    one = {tag: [tags.get(tag, [None])[0] for tags in held.values()] for tag in ("city", "spend")}
    table = {
        "user": pa.array(map(int, held), pa.int64()),
        "vip": pa.array(["vip" in tags or None for tags in held.values()], pa.bool_()),
        "city": pa.array(one["city"], pa.string()).dictionary_encode(),
        "likes": pa.array([tags.get("likes") for tags in held.values()], pa.list_(pa.string())),
        "spend": pa.array([None if each is None else float(each) for each in one["spend"]], pa.float64()),
    }
    pq.write_table(pa.table(table), path, row_group_size=max(1, len(held) // 3))
    said = [
        (user, tag, each, False, None) for user, tags in held.items() for tag in VALUES for each in tags.get(tag, ())
    ]
    return path, said


class Both:
    """A store and the model of it."""

    def __init__(self, directory: Path) -> None:
        start_ids_at(directory, (1 << 20) - PEOPLE // 2)  # over the edge of a shard
        self.world = StoreWorld(directory, StillClock())
        self.model = Model()
        for key, kind in KINDS.items():
            self.world.define_tag(TagDefinition(key, kind=kind, scale=2 if kind is TagKind.NUMBER else 0))

    def apply(self, chance: np.random.Generator) -> None:
        """Writes to some users, as people do."""
        self.world.clock.tick(hours=1)
        self.model.writes += 1
        users = chance.integers(0, PEOPLE, 12).tolist()
        self.world.apply(
            *(Assign(str(user), "city", value="x") for user in users),
            *(Remove(str(user), "vip") for user in users[:6]),
            *(Assign(str(user), "likes", value="l0", score=1.5) for user in users[6:]),
        )
        for user in users:
            self.model.assign((str(user), "city", "x", False, None))
        for user in users[:6]:
            self.model.holds["vip"].pop(str(user), None)
        for user in users[6:]:
            self.model.assign((str(user), "likes", "l0", False, 1.5))

    def load(
        self, path: Path, rows: list[Row], kind: str, replace: bool, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """Imports the file, which says these rows, and holds what is rejected against the model."""
        self.world.clock.tick(hours=1)
        format = path.suffix[1:]
        mode = "replace" if replace else "merge"
        request = jobs.ImportRequest(kind, path, format, mode=mode, owned=False)  # type: ignore[arg-type]
        _, _, rejected = import_here(self.world, request, meanwhile)
        repeats = self.model.read(rows, 2 if format == "csv" else 1, replace)
        if kind == "memberships":
            assert {each.line: each.message for each in rejected} == {
                line: f"repeats line {first}" for line, first in repeats.items()
            }
        else:
            assert rejected == []

    def rows_at(self, version: int) -> str:
        """All rows of all tags at a version."""
        view = self.world.store.view()
        tags = [view.catalog.tag(key).id for key in KINDS]
        return str([self.world.store._memberships.rows(tag, version).tolist() for tag in (-1, *tags)])

    def compare(self) -> None:
        """All rows of all tags are those of the model."""
        view, model = self.world.store.view(), self.model
        for key in KINDS:
            tag = view.catalog.tag(key)
            rows = self.world.store._memberships.rows(tag.id, view.version).tolist()
            names = self.world.names([row[0] for row in rows])
            texts = {number: value for value, number in view.catalog.values(tag).names.items()}
            found: dict[tuple[str, str], tuple[int, float | None]] = {}
            for name, (_, value, units, _, ends, _, score, *_) in zip(names, rows, strict=True):
                said = texts[value] if value else "" if key == "vip" else f"{units / 100:g}"
                found[name, said] = ends, None if np.isnan(score) else score
            assert len(found) == len(rows)
            assert found == {
                (user, f"{float(said):g}" if key == "spend" else said): fact[1:]
                for user, held in model.holds[key].items()
                for said, fact in held.items()
            }, key
            self._compare_since(rows, names, key, texts, model)

    def _compare_since(self, rows: list, names: list[str], key: str, texts: dict[int, str], model: Model) -> None:  # type: ignore[type-arg]
        """Memberships that began with the same write began at the same hour, and others did not."""
        began: dict[int, set[int]] = {}
        for name, row in zip(names, rows, strict=True):
            held = model.holds[key][name]
            if row[1]:
                fact = held[texts[row[1]]]
            else:
                (fact,) = held.values()
            began.setdefault(fact[0], set()).add(row[3] // 3_600_000_000)
        hours = [hour for found in began.values() for hour in found]
        assert len(hours) == len(set(hours)) == len(began)


@pytest.fixture(scope="module")
def directories(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("many")
    numbers = count()
    yield lambda: copied(empty_store, base / str(next(numbers)))  # type: ignore[misc]


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from(["csv", "parquet", "wide"]),
    ordered=st.booleans(),
    repeats=st.booleans(),
    replace=st.booleans(),
    spooled=st.booleans(),
)
def test_a_file_of_many_means_what_its_rows_mean(
    directories: Callable[[], Path], seed: int, shape: str, ordered: bool, repeats: bool, replace: bool, spooled: bool
) -> None:
    chance = np.random.default_rng(seed)
    directory = directories()
    both = Both(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_rows, "MANY", 64)
        if spooled:
            patch.setattr(spool, "CHUNK_BYTES", 1 << 16)
            patch.setattr(spool.Spool.__init__, "__defaults__", (0,))
        try:
            past = {}
            for number in range(3):
                rows = drawn(chance, ordered, repeats)
                path = directory / f"{number}.{'csv' if shape == 'csv' else 'parquet'}"
                if shape == "wide":
                    path, rows = wide_file(path, rows)
                else:
                    (csv_file if shape == "csv" else parquet_file)(path, rows)
                kind = "table" if shape == "wide" else "memberships"
                meanwhile = (lambda: both.apply(chance)) if number else (lambda: None)
                both.load(path, rows, kind, replace and number == 2, meanwhile)
                both.compare()
                past[both.world.store.view().version] = both.rows_at(both.world.store.view().version)
            for _ in range(2):
                assert {version: both.rows_at(version) for version in past} == past
                both.world.reopen()
        finally:
            both.world.close()
