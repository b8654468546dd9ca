"""Names and dense ids: one name never has two ids, whoever gives them and whatever is damaged or lost."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import Damaged, Invalid
from bitmap_store.hashing import Hashed
from bitmap_store.sqlite import name_blocks, names
from bitmap_store.sqlite.database import FILE
from bitmap_store.sqlite.name_upkeep import renew_file
from bitmap_store.sqlite.names import Names, without_runs
from bitmap_store.sqlite.writer import Transaction
from bitmap_store.values import Assign, Batch, Identifier, ProfileChange
from tests.importing import csv_file, csv_request, import_here
from tests.worlds import StillClock, StoreWorld, copied, start_ids_at

ROOT = Path(__file__).parents[1]
USER = 1


@pytest.fixture
def small_tails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of names is worth it from three names on."""
    monkeypatch.setattr(names, "TAIL_FROM", 2)


@pytest.fixture
def known(store_world: StoreWorld) -> Iterator[Names]:
    """What another process knows of the names of the store."""
    found = Names(store_world.directory)
    yield found
    found.close()


def hashed(world: StoreWorld, column: list[str]) -> Hashed:
    """Names as columns of them are found and given."""
    return world.store.writer.names.hashed(USER, pa.array(column, pa.string()))


def given_names(world: StoreWorld, column: list[str]) -> list[int]:
    """Ids for a column of new names, in one transaction."""

    def give(transaction: Transaction) -> list[int]:
        ids: list[int] = transaction.naming.give_column(USER, hashed(world, column)).tolist()
        return ids

    return world.store.writer.submit(give).result()


def execute(directory: Path, sql: str, *parameters: object) -> list[tuple[int, ...]]:
    with sqlite3.connect(directory / FILE) as connection:
        found = connection.execute(sql, parameters).fetchall()
    connection.close()
    return found


# ---------------------------------------------------------------- looking up


@given(st.data())
def test_columns_mean_what_their_rows_mean(data: st.DataObject) -> None:
    """Runs, codes and whole numbers are looked up once each; nothing of that shows."""
    texts = st.sampled_from(["a", "b", "12", "-3", "x" * 9])
    runs = data.draw(st.lists(st.tuples(st.one_of(st.none(), texts), st.integers(1, 5)), max_size=9))
    column = [text for text, length in runs for _ in range(length)]
    expected = ["" if text is None else text for text in column]
    skipped = data.draw(st.integers(0, len(column)))
    for form in (pa.array(column, pa.string()), pa.array(column, pa.large_string()).dictionary_encode()):
        distinct, rows = without_runs(form.slice(skipped))
        said = ["" if text is None else text for text in distinct.to_pylist()]
        assert (said if rows is None else [said[row] for row in rows]) == expected[skipped:]
    numbers = [len(text) for text in expected]
    distinct, rows = without_runs(pa.chunked_array([pa.array(numbers, pa.int64())]))
    said = distinct.to_pylist()
    assert (said if rows is None else [said[row] for row in rows]) == list(map(str, numbers))


def test_few_and_many_and_numbers(store_world: StoreWorld, known: Names) -> None:
    column = [str(number) for number in range(5_000)]
    assert given_names(store_world, column) == list(range(5_000))
    asked = ["17", "none", "", "4999", "\ud800", "x" * 600]
    expected = [17, None, None, 4999, None, None]
    assert known.dense_of(USER, asked) == expected
    assert known.dense_of(USER, asked * 20) == expected * 20
    assert known.dense_of_integers(USER, np.array([3, 3, 3, 3, 5000, -1])).tolist() == [3, 3, 3, 3, -1, -1]
    assert known.resolve_column(USER, pa.array(["4", "4", "4", None, "x"])).tolist() == [4, 4, 4, -1, -1]
    for users in ([], [4999, 0], [5000, 7, 2**32 - 1], list(range(4_000, 6_000))):
        found = known.names_of(USER, np.array(users, np.uint32)).to_pylist()
        assert found == [str(user) if user < 5_000 else None for user in users]
    assert known.dense_of(2, ["17"]) == [None]


def test_a_column_may_name_somebody_twice(store_world: StoreWorld, known: Names) -> None:
    column = [f"u{i % 700}" for i in range(2_000)] + ["last"]
    ids = given_names(store_world, column)
    assert ids == [i % 700 for i in range(2_000)] + [700]
    assert known.resolve_column(USER, pa.array(column)).tolist() == ids
    assert execute(store_world.directory, "SELECT next_dense FROM entity WHERE id = 1") == [(701,)]


@pytest.mark.parametrize("name", ["", "x" * 513])
def test_what_can_be_no_name_gets_no_id(store_world: StoreWorld, name: str) -> None:
    with pytest.raises(Invalid):
        given_names(store_world, ["fine", name])
    assert given_names(store_world, ["fine"]) == [0]


# ---------------------------------------------------------------- transactions


def test_what_a_transaction_gave_it_knows_and_nobody_else(store_world: StoreWorld, known: Names) -> None:
    given_names(store_world, ["a", "b"])

    def give(transaction: Transaction) -> None:
        naming = transaction.naming
        assert naming.give(USER, ["c"]) == {"c": 2}
        assert naming.give_column(USER, hashed(store_world, [f"d{i}" for i in range(50)])).tolist() == list(
            range(3, 53)
        )
        assert naming.give(USER, ["e", "f"]) == {"e": 53, "f": 54}
        assert naming.give(USER, [f"g{i}" for i in range(99)])["g98"] == 153
        assert naming.dense_of(USER, ["a", "c", "d9", "e", "g0", "z"]) == {"a": 0, "c": 2, "d9": 12, "e": 53, "g0": 55}
        column = hashed(store_world, ["z", "a", "c", "d9", "e", "f"])
        assert naming.find(USER, column).tolist() == [-1, 0, 2, 12, 53, 54]
        assert naming.give(2, ["c"]) == {"c": 0}
        assert known.dense_of(USER, ["b", "c"]) == [1, None]

    store_world.define_entity("account")
    store_world.store.writer.submit(give).result()
    assert known.dense_of(USER, ["a", "c", "d9", "e", "g0", "z"]) == [0, 2, 12, 53, 55, None]
    assert known.dense_of(2, ["c", "e"]) == [0, None]
    assert known.names_of(USER, np.arange(154)).to_pylist()[50:56] == ["d47", "d48", "d49", "e", "f", "g0"]


def test_names_of_a_batch_that_fails_are_not_given(store_world: StoreWorld, known: Names) -> None:
    """Batches of one group: what one that fails had named is free for the next, under another id or the same."""
    writer = store_world.store.writer
    store_world.define_tag(TagDefinition("vip"))

    def failing(transaction: Transaction) -> None:
        transaction.naming.give(USER, ["lost"])
        transaction.naming.give_column(USER, hashed(store_world, [f"lost{i}" for i in range(99)]))
        raise Invalid("no")

    outcomes = [
        writer.submit(lambda transaction: transaction.apply(Batch("user", (Assign("a", "vip"),)))),
        writer.submit(failing),
        writer.submit(lambda transaction: transaction.apply(Batch("user", (Assign("b", "vip"), Assign("a", "vip"))))),
    ]
    assert [outcome.exception() is None for outcome in outcomes] == [True, False, True]
    assert known.dense_of(USER, ["a", "b", "lost", "lost0"]) == [0, 1, None, None]
    assert store_world.members("vip") == {"a", "b"}
    assert store_world.names([0, 1]) == ["a", "b"]


GIVES = """
import random, sys
from pathlib import Path
import pyarrow as pa
from bitmap_store import Store, StoreSettings

store, random = Store(StoreSettings(Path(sys.argv[1]))), random.Random(sys.argv[2])

def give(transaction, names):
    transaction.naming.find_or_give(1, store.writer.names.hashed(1, names))

for _ in range(60):
    names = pa.array({f"u{random.randrange(3_000)}" for _ in range(random.choice([1, 3, 200]))})
    store.writer.submit(lambda transaction: give(transaction, names)).result()
store.writer.close()
"""


def test_two_processes_never_give_one_name_two_ids(store_world: StoreWorld, known: Names) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", GIVES, str(store_world.directory), seed], cwd=ROOT) for seed in "12"
    ]
    while any(process.poll() is None for process in processes):
        known.dense_of(USER, ["u0", "nobody"])
    assert [process.returncode for process in processes] == [0, 0]
    [(count,)] = execute(store_world.directory, "SELECT next_dense FROM entity WHERE id = 1")
    column = known.names_of(USER, np.arange(count))
    assert len(set(column.to_pylist())) == count > 2_000
    assert known.resolve_column(USER, column).tolist() == list(range(count))


# ---------------------------------------------------------------- by identifier


@pytest.mark.parametrize("many", [1, 1_000_000], ids=["all", "each"])
def test_imports_by_identifier(
    store_world: StoreWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr("bitmap_store.sqlite.file_names.MANY", many)
    world = store_world
    world.define_tag(TagDefinition("vip"))
    world.define_tag(TagDefinition("warm"))
    world.apply(
        ProfileChange("ann", identifiers=(Identifier("email", "a@x"),)),
        ProfileChange("bob", identifiers=(Identifier("phone", "b@x"),)),
    )
    rows = ["a@x,vip", "bob,vip", "b@x,vip", "c@x,vip", "c@x,warm"]
    path = csv_file(tmp_path / "rows.csv", "user,tag", rows)
    _, _, rejected = import_here(world, csv_request("memberships", path, id_kind="email"))
    assert [(row.line, row.code) for row in rejected] == [(3, "CONFLICT")]
    assert world.members("vip") == {"ann", "b@x", "c@x"}
    path = csv_file(tmp_path / "more.csv", "user,tag", ["c@x,vip", "d@x,vip"])
    _, job, _ = import_here(world, csv_request("memberships", path, id_kind="email"))
    assert job.rows_rejected == 0
    assert world.members("vip") == {"ann", "b@x", "c@x", "d@x"}


def test_profiles_of_users_who_cannot_be_named_so(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    world.apply(ProfileChange("ann", identifiers=(Identifier("email", "a@x"),)))
    path = tmp_path / "p.ndjson"
    path.write_text("".join(f'{{"user":"{user}","n":1}}\n' for user in ("ann", "a@x", "new")))
    request = csv_request("profiles", path, id_kind="email")
    request = type(request)(**{name: getattr(request, name) for name in request.__slots__} | {"format": "ndjson"})
    _, _, rejected = import_here(world, request)
    assert [(row.line, row.code) for row in rejected] == [(1, "CONFLICT")]
    assert world.members("everyone") == {"ann", "new"}


# ---------------------------------------------------------------- blocks


def test_joining_blocks_changes_no_name(store_world: StoreWorld, known: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = store_world.directory
    for i in range(9):
        given_names(store_world, [f"u{i}.{j}" for j in range(i + 1)])
    half = Names(directory)
    assert half.dense_of(USER, ["u8.8"]) == [44]
    for i in range(9, 12):
        given_names(store_world, [f"u{i}.{j}" for j in range(i + 1)])
    expected = [f"u{i}.{j}" for i in range(12) for j in range(i + 1)]
    monkeypatch.setattr(name_blocks, "BLOCK_NAMES", 40)
    assert store_world.run(store_world.store.fold(3)) == 0
    counts = execute(directory, "SELECT count FROM name_block ORDER BY first_dense")
    assert counts == [(36,), (9 + 10 + 11,), (12,)] or sum(count for (count,) in counts) == 78
    assert len(counts) < 12
    assert known.names_of(USER, np.arange(78)).to_pylist() == expected
    assert half.dense_of(USER, ["u9.0", "u11.11"]) == [45, 77]
    half.close()
    store_world.reopen()
    assert store_world.names(range(78)) == expected


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE name_block SET body = CAST(replace(body, 'u1', 'v1') AS BLOB) WHERE first_dense = 0",
        "UPDATE name_block SET first_dense = 1 WHERE first_dense = 0",
        "UPDATE name_block SET count = 1 WHERE first_dense = 0",
        "DELETE FROM name_block WHERE first_dense = 0",
        "DELETE FROM name_block WHERE first_dense = 2",
        "DELETE FROM name_block",
    ],
)
def test_damaged_blocks_are_an_error_and_never_a_wrong_name(empty_store: Path, tmp_path: Path, damage: str) -> None:
    directory = copied(empty_store, tmp_path / "store")
    world = StoreWorld(directory, StillClock())
    world.define_tag(TagDefinition("vip"))
    for column in (["u0", "u1"], ["u2"], ["u3"]):
        given_names(world, column)
    execute(directory, damage)
    world.reopen()
    with pytest.raises(Damaged):
        world.run(world.store.resolve("user", ["u3"]))
    with pytest.raises(Damaged):
        world.apply(Assign("u3", "vip"))
    world.close()


# ---------------------------------------------------------------- files of names


def file_of(world: StoreWorld) -> Path:
    [path] = (world.directory / "cache" / "names").iterdir()
    return path


@pytest.mark.usefixtures("small_tails")
@pytest.mark.parametrize("first", [0, 2**32 - 100])
def test_files_of_names_change_no_answer(empty_store: Path, tmp_path: Path, first: int) -> None:
    directory = copied(empty_store, tmp_path / "store")
    start_ids_at(directory, first)
    world, other = StoreWorld(directory, StillClock()), Names(directory)
    seen: list[Path] = []
    everyone: list[str] = []
    for size in (5, 2, 7, 1, 40):
        given_names(world, fresh := [f"u{len(everyone) + i}" for i in range(size)])
        everyone += fresh
        expected = [*range(first, first + len(everyone)), None]
        assert world.run(world.store.resolve("user", [*everyone, "none"])) == expected
        world.run(world.store.fold())
        seen.append(file_of(world))
        fresh_eyes = Names(directory)
        for reader in (fresh_eyes, other, world.store._names):
            assert reader.dense_of(USER, [*everyone, "none"]) == expected
            assert [reader.dense_of(USER, [name]) for name in everyone[-3:]] == [[each] for each in expected[-4:-1]]
            ids = np.arange(first, first + len(everyone))[::-1]
            assert reader.names_of(USER, ids).to_pylist() == everyone[::-1]
            assert reader.names_of(USER, ids[:3]).to_pylist() == everyone[:-4:-1]
        fresh_eyes.close()
    assert len(set(seen)) == 3  # one or two names are not worth it
    other.close()
    world.close()


@pytest.mark.parametrize("far", [0, 1_000])
def test_names_of_another_process_are_known_at_once(
    store_world: StoreWorld, monkeypatch: pytest.MonkeyPatch, far: int
) -> None:
    """However many there are: very many are read beside the event loop."""
    monkeypatch.setattr(names, "FAR", far)
    other = StoreWorld(store_world.directory, StillClock())
    other.define_tag(TagDefinition("vip"))
    for i in range(3):
        other.apply(Assign(f"u{i}", "vip"))
        assert store_world.view().members("vip") == {f"u{j}" for j in range(i + 1)}
        assert store_world.run(store_world.store.resolve("user", [f"u{i}", f"u{i + 1}"])) == [i, None]
        assert store_world.view().profile(f"u{i}") == (set(), {})
    other.close()


@pytest.mark.usefixtures("small_tails")
def test_another_process_takes_to_the_file(store_world: StoreWorld, known: Names) -> None:
    given_names(store_world, [f"u{i}" for i in range(10)])
    assert known.dense_of(USER, ["u9"]) == [9]
    store_world.store._names.learn(USER)
    store_world.run(store_world.store.fold())
    given_names(store_world, ["v0", "v1", "v2"])
    assert known.dense_of(USER, ["v2", "u0"]) == [12, 0]
    assert [len(known.learn(USER).base), len(known.learn(USER).tail)] == [10, 3]


@pytest.mark.usefixtures("small_tails")
def test_an_import_leaves_a_file(store_world: StoreWorld, tmp_path: Path, known: Names) -> None:
    store_world.define_tag(TagDefinition("vip"))
    path = csv_file(tmp_path / "rows.csv", "user,tag", [f"u{i},vip" for i in range(50)])
    import_here(store_world, csv_request("memberships", path))
    assert len(known.learn(USER).base) == 50
    assert store_world.members("vip") == {f"u{i}" for i in range(50)}


@pytest.mark.usefixtures("small_tails")
def test_a_damaged_or_missing_file_is_made_again(store_world: StoreWorld) -> None:
    column = [f"u{i}" for i in range(9)]
    given_names(store_world, column)
    store_world.store._names.learn(USER)
    renew_file(store_world.store.writer, USER)
    path = file_of(store_world)
    whole = path.read_bytes()
    damaged = [whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :] for at in range(0, len(whole), 97)]
    for bad in [*damaged, whole[:-8], whole[:40], b"", None]:
        path.unlink()
        if bad is not None:
            path.write_bytes(bad)
        reader = Names(store_world.directory)
        assert reader.dense_of(USER, [*column, "u9"]) == [*range(9), None]
        assert len(reader.learn(USER).base) == 0
        reader.close()
        path.write_bytes(whole)
    path.unlink()
    store_world.reopen()
    assert store_world.run(store_world.store.resolve("user", column)) == list(range(9))
    store_world.run(store_world.store.fold())
    assert len(store_world.store._names.learn(USER).base) == 9
    assert file_of(store_world).stat().st_size == len(whole)


@pytest.mark.usefixtures("small_tails")
def test_a_file_of_another_age_of_the_store_is_not_believed(empty_store: Path, tmp_path: Path) -> None:
    """A backup of the database is put back beside files of names that were written after it was made."""
    directory = copied(empty_store, tmp_path / "store")
    world = StoreWorld(directory, StillClock())
    given_names(world, [f"u{i}" for i in range(5)])
    world.close()
    backup = (directory / FILE).read_bytes()
    world = StoreWorld(directory, StillClock())
    given_names(world, ["x", "y", "z"])
    world.store._names.learn(USER)
    renew_file(world.store.writer, USER)
    world.close()
    for path in directory.glob(f"{FILE}*"):
        path.unlink()
    (directory / FILE).write_bytes(backup)
    world = StoreWorld(directory, StillClock())
    given_names(world, ["z", "y", "w", "v"])
    assert world.run(world.store.resolve("user", ["u0", "w", "x", "z"])) == [0, 7, None, 5]
    assert len(world.store._names.learn(USER).base) == 0
    world.close()
