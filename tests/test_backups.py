"""A backup has all that was acknowledged before it, and comes back whole or not at all."""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import Conflict, Damaged, Invalid, TagroarError, Unavailable
from bitmap_store.sqlite import backups
from bitmap_store.sqlite.backups import MANIFEST, back_up, restore
from bitmap_store.sqlite.checks import check
from bitmap_store.sqlite.database import FILE, newest_revision
from bitmap_store.sqlite.occupancy import MARK, occupy
from bitmap_store.values import Assign, TagKind
from server import cli
from tests.importing import csv_file, csv_request
from tests.test_migrations import revise
from tests.worlds import StillClock, StoreWorld, copied

ROOT = Path(__file__).parents[1]


@pytest.fixture
def written(store_world: StoreWorld) -> StoreWorld:
    """A store with some of everything: a base, a log, files of the cache, a profile."""
    store_world.define_tag(TagDefinition("vip"))
    store_world.define_tag(TagDefinition("city", kind=TagKind.CHOICE))
    write(store_world, range(50))
    store_world.run(store_world.store.fold(0))
    store_world.run(store_world.store.build_cache())
    write(store_world, range(50, 60))
    return store_world


def write(world: StoreWorld, users: range) -> None:
    for user in users:
        world.apply(Assign(f"u{user}", "vip"), Assign(f"u{user}", "city", value="xyz"[user % 3]))


def said_by(directory: Path) -> list[object]:
    """What a store says, and that nothing is wrong with it."""
    world = StoreWorld(directory, StillClock())
    try:
        view = world.view()
        answers = [view.members(question) for question in ("everyone", "vip", 'city = "x"', 'city = "y"')]
        return [view.version, *answers, view.tags_of_all(["u1", "u55"])]
    finally:
        world.close()
        assert check(directory) == []


def tree(directory: Path) -> dict[str, bytes]:
    """All files of a directory, without locks and what SQLite keeps for itself."""
    found = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.endswith((".lock", "-shm"))}


def test_what_was_written_comes_back(written: StoreWorld, tmp_path: Path) -> None:
    (written.directory / "demo").touch()
    done = back_up(written.directory, tmp_path / "backup", beside=("demo", "other"))
    before = said_by(written.directory)
    write(written, range(60, 70))
    assert done.data_version == before[0]
    assert {path.name for path in (tmp_path / "backup").iterdir()} == {FILE, MANIFEST, "demo"}
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    again = restore(tmp_path / "backup", tmp_path / "elsewhere" / "store", beside=("demo", "other"))
    assert again == done
    assert said_by(tmp_path / "elsewhere" / "store") == before
    assert (tmp_path / "elsewhere" / "store" / "demo").exists()


def test_a_store_is_replaced_only_where_that_is_said(written: StoreWorld, tmp_path: Path) -> None:
    back_up(written.directory, tmp_path / "backup")
    before = said_by(written.directory)
    write(written, range(60, 70))
    (written.directory / "demo").touch()
    (written.directory / "incoming").mkdir()
    (written.directory / "incoming" / "upload").touch()
    written.run(written.store.close())
    with pytest.raises(Conflict, match="--replace"):
        restore(tmp_path / "backup", written.directory)
    restore(tmp_path / "backup", written.directory, beside=("demo",), replace=True)
    assert said_by(written.directory) == before
    left = {path.name for path in written.directory.iterdir()}
    assert left <= {FILE, f"{FILE}-wal", f"{FILE}-shm", "jobs", "cache"}
    written.reopen_closed()


def test_an_import_under_way_is_left_behind(written: StoreWorld, tmp_path: Path) -> None:
    """Its job is in the backup; restored, it was interrupted, and can be repeated with its key."""
    path = csv_file(tmp_path / "rows.csv", "user,tag,value", [f"n{i},city,x" for i in range(5_000)])
    job = written.run(written.store.start_import(csv_request("memberships", path, key="k")))
    back_up(written.directory, tmp_path / "backup")
    written.run(written.store.wait_job(job.id))
    restore(tmp_path / "backup", tmp_path / "restored")
    world = StoreWorld(tmp_path / "restored", StillClock())
    try:
        found = world.run(world.store.job(job.id))
        assert found is not None and found.ended_at is not None
        if found.state.value != "DONE":
            assert world.size('city = "x"') == 20
            again = world.run(world.store.start_import(csv_request("memberships", path, key="k")))
            assert world.run(world.store.wait_job(again.id)).state.value == "DONE"
        assert world.size('city = "x"') == 5_020
    finally:
        world.close()


def test_backups_beside_writers_hold_what_was_acknowledged_before(written: StoreWorld, tmp_path: Path) -> None:
    """And of each write all or nothing."""
    ended = threading.Event()
    acknowledged = [59]
    other = StoreWorld(written.directory, StillClock())

    def go_on() -> None:
        while not ended.is_set():
            write(other, range(acknowledged[0] + 1, acknowledged[0] + 2))
            acknowledged[0] += 1

    writing = threading.Thread(target=go_on)
    writing.start()
    try:
        for number in range(4):
            known = acknowledged[0]
            back_up(written.directory, tmp_path / f"backup-{number}")
            restore(tmp_path / f"backup-{number}", tmp_path / "restored", replace=bool(number))
            world = StoreWorld(tmp_path / "restored", StillClock())
            members = world.members("vip")
            assert members >= {f"u{user}" for user in range(known + 1)}
            assert members == world.members("city") == world.members("everyone")
            assert members == {f"u{user}" for user in range(len(members))}
            world.close()
    finally:
        ended.set()
        writing.join()
        other.close()


# ---------------------------------------------------------------- names that are taken


def test_nothing_is_overwritten_unasked(written: StoreWorld, tmp_path: Path) -> None:
    back_up(written.directory, tmp_path / "backup")
    write(written, range(60, 61))
    with pytest.raises(Conflict, match="--replace"):
        back_up(written.directory, tmp_path / "backup")
    newer = back_up(written.directory, tmp_path / "backup", replace=True)
    assert json.loads((tmp_path / "backup" / MANIFEST).read_text())["data_version"] == newer.data_version
    (tmp_path / "empty").mkdir()
    back_up(written.directory, tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    for taken in ("file", "mine"):
        with pytest.raises(Conflict, match="no backup"):
            back_up(written.directory, tmp_path / taken, replace=True)
    assert (tmp_path / "file").read_text() == (tmp_path / "mine" / "file").read_text() == "mine"
    with pytest.raises(Invalid, match="no store"):
        back_up(tmp_path / "nowhere", tmp_path / "other")
    assert not (tmp_path / "nowhere").exists() and not (tmp_path / "other").exists()


def test_a_backup_that_breaks_off_is_none(written: StoreWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    back_up(written.directory, tmp_path / "backup")
    whole = tree(tmp_path / "backup")
    for step in ("_copied", "_verify", "_sync"):
        with monkeypatch.context() as patched:
            patched.setattr(backups, step, fails)
            with pytest.raises(Unavailable, match="No space left"):
                back_up(written.directory, tmp_path / "backup", replace=True)
        assert tree(tmp_path / "backup") == whole
    assert {path.name for path in tmp_path.iterdir()} == {"backup", "store"}


def test_a_backup_that_is_killed_is_none(written: StoreWorld, tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from bitmap_store.sqlite import backups
def killed(*arguments): os.kill(os.getpid(), signal.SIGKILL)
setattr(backups, sys.argv[3], killed)
backups.back_up(Path(sys.argv[1]), Path(sys.argv[2]))
"""
    for step in ("_verify", "_kept", "_give_name"):
        command = [sys.executable, "-c", program, str(written.directory), str(tmp_path / "backup"), step]
        assert subprocess.run(command, cwd=ROOT).returncode == -9
        assert not (tmp_path / "backup").exists()
    left = [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]
    assert len(left) == 3
    unfinished = [path for path in left if not (path / "manifest.json").exists()]
    assert len(unfinished) == 2  # the third was whole, and had no name yet
    for path in unfinished:
        with pytest.raises(Invalid, match="not finished"):
            restore(path, tmp_path / "restored")
    back_up(written.directory, tmp_path / "backup")


# ---------------------------------------------------------------- restoring


@pytest.fixture
def backup(written: StoreWorld, tmp_path: Path) -> Path:
    """A backup; the store has gone on since."""
    back_up(written.directory, tmp_path / "backup")
    write(written, range(60, 70))
    return tmp_path / "backup"


def test_nothing_is_restored_under_a_server(written: StoreWorld, backup: Path) -> None:
    with pytest.raises(Conflict, match="stop it first"):
        restore(backup, written.directory, replace=True)
    assert written.size("vip") == 70


def test_nobody_opens_what_is_being_restored(
    written: StoreWorld, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = backups._put_in_place

    def tried(*arguments: object) -> None:
        with pytest.raises(Unavailable, match="being restored"):
            StoreWorld(tmp_path / "restored", StillClock())
        put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(backups, "_put_in_place", tried)
    restore(backup, tmp_path / "restored")
    assert len(said_by(tmp_path / "restored")[2]) == 60  # type: ignore[arg-type]


def damaged(backup: Path) -> Iterator[str]:
    """A backup damaged in one way after the other, with what is said of it."""
    whole = backup.with_name("whole")
    shutil.copytree(backup, whole)

    def anew() -> sqlite3.Connection:
        shutil.rmtree(backup)
        shutil.copytree(whole, backup)
        return sqlite3.connect(backup / FILE, isolation_level=None)

    def sealed() -> None:
        said = json.loads((backup / MANIFEST).read_text())
        kept = backups._kept(backup / FILE, lambda *_: None)
        said["files"][FILE] = {"bytes": kept.bytes, "sha256": kept.sha256}
        (backup / MANIFEST).write_text(json.dumps(said))

    data = (backup / FILE).read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    (backup / FILE).write_bytes(flipped)
    yield "not as it was written"
    (backup / FILE).write_bytes(data[:-4096])
    yield "not as it was written"
    (backup / FILE).unlink()
    yield "is missing"
    anew().close()
    (backup / MANIFEST).unlink()
    yield "not finished"
    anew().close()
    (backup / MANIFEST).write_text("{")
    yield "cannot be read"
    anew().close()
    (backup / MANIFEST).write_text((backup / MANIFEST).read_text().replace('"form": 1', '"form": 2'))
    yield "newer version"
    anew().close()
    (backup / MANIFEST).write_text((backup / MANIFEST).read_text().replace(newest_revision(), "9999"))
    yield "newer version"
    anew().close()
    (backup / MANIFEST).write_text((backup / MANIFEST).read_text().replace(f'"{FILE}"', '"../sqlite"'))
    yield "does not name"
    connection = anew()
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    sealed()
    yield "newer version"
    connection = anew()
    connection.execute("UPDATE store SET version = 7")
    connection.close()
    sealed()
    yield "another backup"
    connection = anew()
    connection.execute("UPDATE fragment SET users = zeroblob(length(users)) WHERE id = 1")
    connection.close()
    sealed()
    yield "members of"


def test_what_is_damaged_or_newer_replaces_nothing(written: StoreWorld, backup: Path, tmp_path: Path) -> None:
    written.run(written.store.close())
    before = tree(written.directory)
    for said in damaged(backup):
        with pytest.raises(TagroarError, match=said):
            restore(backup, written.directory, replace=True)
        assert tree(written.directory) == before
        with pytest.raises(TagroarError, match=said):
            restore(backup, tmp_path / "new")
        assert tree(tmp_path / "new") == {}
    written.reopen_closed()


def test_a_restore_that_fails_leaves_what_was_there(
    written: StoreWorld, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.run(written.store.close())
    before = tree(written.directory)
    renamed = Path.rename
    for step in range(4):
        count = [step]

        def rename(path: Path, target: Path, count: list[int] = count) -> Path:
            count[0] -= 1
            if count[0] == -1:
                raise OSError(5, "Input/output error")
            return renamed(path, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", rename)
            if step < 3:
                with pytest.raises(Unavailable, match="Input/output"):
                    restore(backup, written.directory, replace=True)
                assert tree(written.directory) == before
    written.reopen_closed()
    assert written.size("vip") == 70


def test_a_restore_that_is_killed_is_noticed_and_repeated(written: StoreWorld, backup: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from bitmap_store.sqlite.backups import restore
renamed, left = Path.rename, int(sys.argv[3])
def rename(path, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return renamed(path, target)
Path.rename = rename
restore(Path(sys.argv[1]), Path(sys.argv[2]), replace=True)
"""
    written.run(written.store.close())
    directory = written.directory
    for step in (0, 1, 0):
        command = [sys.executable, "-c", program, str(backup), str(directory), str(step)]
        assert subprocess.run(command, cwd=ROOT).returncode == -9
        with pytest.raises(Unavailable, match="did not come to its end"):
            occupy(directory)
        with pytest.raises(Conflict, match="--replace"):
            restore(backup, directory)
    restore(backup, directory, replace=True)
    assert not (directory / MARK).exists()
    written.reopen_closed()
    assert written.size("vip") == 60


def test_an_older_store_is_backed_up_as_it_is(tmp_path: Path) -> None:
    """And brought to the shape of today when it is opened."""
    (tmp_path / "old").mkdir()
    revise(tmp_path / "old", "0003")
    assert back_up(tmp_path / "old", tmp_path / "backup").revision == "0003"
    restore(tmp_path / "backup", tmp_path / "new")
    StoreWorld(tmp_path / "new", StillClock()).close()
    assert back_up(tmp_path / "new", tmp_path / "today").revision == newest_revision()
    assert check(tmp_path / "new") == []


# ---------------------------------------------------------------- the commands


def invoked(directory: Path, *arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(cli, arguments, env={"TAGROAR_DATA": str(directory), "COLUMNS": "300"})
    return found.exit_code, found.output


def test_from_the_command_line(written: StoreWorld, tmp_path: Path) -> None:
    written.run(written.store.close())
    directory = written.directory
    assert invoked(directory, "check") == (0, f"{directory} is whole\n") or "is whole" in invoked(directory, "check")[1]
    status, said = invoked(directory, "backup", str(tmp_path / "backup"))
    assert (status, "Backup of data version 60" in said) == (0, True)
    status, said = invoked(directory, "backup", str(tmp_path / "backup"))
    assert (status, "CONFLICT" in said) == (1, True)
    status, said = invoked(directory, "restore", str(tmp_path / "backup"))
    assert (status, "--replace" in said) == (1, True)
    assert invoked(directory, "restore", str(tmp_path / "backup"), "--replace")[0] == 0
    assert invoked(tmp_path / "new", "restore", str(tmp_path / "backup"))[0] == 0
    assert invoked(tmp_path / "nowhere", "check")[0] == 1
    newer = copied(directory, tmp_path / "newer")
    connection = sqlite3.connect(newer / FILE)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    for command in (["check"], ["backup", str(tmp_path / "other")], ["migrate"], ["token", "list"]):
        status, said = invoked(newer, *command)
        assert (status, "newer version" in said) == (1, True), command
    written.reopen_closed()


def test_damage_is_an_error_of_the_backup(written: StoreWorld, tmp_path: Path) -> None:
    written.run(written.store.close())
    connection = sqlite3.connect(written.directory / FILE)
    connection.execute("UPDATE fragment SET checksum = checksum + 1 WHERE id = 1")
    connection.commit()
    connection.close()
    with pytest.raises(Damaged, match="does not match its checksum"):
        back_up(written.directory, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    written.reopen_closed()
