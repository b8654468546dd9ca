"""A flipped bit, wherever it is, makes no answer wrong and no process crash. TAGROAR_FLIPS says how many are tried."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import Damaged
from bitmap_store.sqlite import soundness
from bitmap_store.sqlite.database import FILE
from bitmap_store.values import Assign
from tests import flipping
from tests.worlds import StoreWorld

ROOT = Path(__file__).parents[1]
FLIPS = int(os.environ.get("TAGROAR_FLIPS", "40"))


def test_every_answer_is_right_or_an_error(tmp_path: Path) -> None:
    flipping.make(tmp_path / "store")
    command = [sys.executable, "-m", "tests.flipping", str(tmp_path / "store"), str(FLIPS), "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-2000:]
    lines = done.stdout.splitlines()
    outcomes = json.loads(lines[-1])
    assert len(lines) == 2 * FLIPS + 1
    assert not outcomes.keys() - {"right", "not opened", "some errors"}, outcomes
    assert outcomes["right"] >= FLIPS  # those of the cache at least: it is made again
    assert outcomes.keys() > {"right"}  # or nothing was flipped that anybody looks at


def test_a_large_file_is_verified_beside(store_world: StoreWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """And from then on nothing is answered from it."""
    monkeypatch.setattr(soundness, "AT_ONCE_BYTES_MAX", 0)
    store_world.define_tag(TagDefinition("vip"))
    store_world.save_audience("known", "vip")
    for user in range(20):
        store_world.apply(Assign(f"u{user}", "vip"))
    store_world.run(store_world.store.close())
    file = store_world.directory / FILE
    data = file.read_bytes()
    store_world.reopen_closed()
    store_world.run(store_world.store.keep_up())
    assert store_world.size("vip") == 20
    store_world.run(store_world.store.close())
    ((root,),) = _rows(file, "SELECT rootpage FROM sqlite_schema WHERE name = 'audience_twice'")
    wrong = bytearray(data)
    wrong[data.index(b"known", (root - 1) * 4096)] ^= 2  # nobody looks there but to compare
    file.write_bytes(wrong)
    store_world.reopen_closed()
    store_world.size("everyone")
    store_world.run(store_world.store.keep_up())
    with pytest.raises(Damaged, match="restore a backup"):
        store_world.size("everyone")
    monkeypatch.undo()
    store_world.run(store_world.store.close())
    with pytest.raises(Damaged, match="restore a backup"):
        store_world.reopen_closed()
    file.write_bytes(data)
    store_world.reopen_closed()


def _rows(file: Path, sql: str) -> list[tuple[int]]:
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.execute(sql))
