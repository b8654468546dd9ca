"""Backups: a consistent copy of the file while others write, verified and with a manifest; and the way back.

A backup is a directory. It gets its name when all of it is on the disk, so what has the name is whole. What a restore
puts in place was verified before; until the last moment, and whatever fails, what was there stays.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bitmap_store.errors import Conflict, Damaged, Invalid, TagroarError, Unavailable
from bitmap_store.sqlite.checks import Tell, check_file, silent
from bitmap_store.sqlite.database import BUSY_SECONDS, FILE, refuse_newer, revision_of
from bitmap_store.sqlite.occupancy import MARK, occupy, occupy_alone

MANIFEST = "manifest.json"
FORM = 1
CHUNK_BYTES = 1 << 20
LOOK_SECONDS = 0.2
DERIVED = ("cache", "incoming")
"""What stands beside the file and belongs to the data that a restore replaces: made of it, or on its way into it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of a backup as it was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself. revision: of the shape of its tables. made_at: when it began, in UTC."""

    data_version: int
    revision: str
    made_at: str
    files: dict[str, Kept]

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return sum(kept.bytes for kept in self.files.values())


# ---------------------------------------------------------------- there


def back_up(
    directory: Path, target: Path, *, beside: Sequence[str] = (), replace: bool = False, tell: Tell = silent
) -> Backup:
    """Writes a backup of a store, also while others serve it and write: all that was answered before is in it.

    beside: small files of the directory that belong to the data. replace: whether an earlier backup of the name may
    go. Readers and writers go on; the log of SQLite grows meanwhile. Costs a read and a write of all that is stored,
    and two reads more to verify it.

    INVALID without a store there, or for one of a newer program; CONFLICT for a name that is taken; Damaged where
    the store is.
    """
    _check_target(target, replace)
    if not (directory / FILE).exists():
        raise Invalid(f"there is no store in {directory}")
    draft = target.with_name(f"{target.name}.{os.getpid()}.partial")
    with _failures(f"the backup {target}"), closing(occupy(directory)):
        draft.mkdir(parents=True)
        try:
            made_at = datetime.now(UTC).isoformat(timespec="seconds")
            version, revision = _copied(directory / FILE, draft / FILE, tell)
            _verify(draft, tell)
            names = [FILE, *(name for name in beside if (directory / name).is_file())]
            for name in names[1:]:
                shutil.copyfile(directory / name, draft / name)
            done = Backup(version, revision, made_at, {name: _kept(draft / name, tell) for name in names})
            (draft / MANIFEST).write_text(json.dumps({"form": FORM, **asdict(done)}, indent=2) + "\n")
            for name in (*names, MANIFEST):
                _sync(draft / name)
            _sync(draft)
            _give_name(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return done


def _check_target(target: Path, replace: bool) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.is_dir() and (target / MANIFEST).exists():
        if not replace:
            raise Conflict(f"there is a backup at {target} already; say --replace to put the new one in its place")
    elif target.exists() or target.is_symlink():
        raise Conflict(f"{target} is there already and is no backup; give another name")


def _copied(source: Path, copy: Path, tell: Tell) -> tuple[int, str]:
    """Copies the file as it is at one moment; the data version and the revision of the copy."""
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as own:
        own.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        revision = revision_of(own)
        if revision is None:
            raise Damaged(f"{source} is no store")
        refuse_newer(revision, source.parent)
        pages, free, size = (
            own.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        with _told(tell, "copying", copy, (pages - free) * size):
            own.execute("VACUUM INTO ?", (str(copy),))
    with closing(sqlite3.connect(copy)) as made:
        (version,) = made.execute("SELECT version FROM store").fetchone()
        return int(version), str(revision_of(made))


@contextmanager
def _told(tell: Tell, title: str, path: Path, bytes_expected: int) -> Iterator[None]:
    """Tells how far a file has grown, while something is done that does not tell itself."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            if path.exists():
                tell(title, min(path.stat().st_size / max(bytes_expected, 1), 1.0))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()
    tell(title, 1.0)


def _verify(directory: Path, tell: Tell) -> None:
    """Damaged, with the first problems, where the file of a directory is."""
    problems = check_file(directory, tell)
    if problems:
        said = "; ".join(f"{problem.place}: {problem.said}" for problem in problems[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise Damaged(f"{said}{more}")


def _kept(path: Path, tell: Tell) -> Kept:
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            tell("computing checksums", done / max(size, 1))
    return Kept(done, digest.hexdigest())


def _give_name(draft: Path, target: Path) -> None:
    """Puts a whole backup where it belongs; an earlier one is there until the new one is."""
    earlier = draft.with_suffix(".earlier")
    if (target / MANIFEST).exists():
        target.rename(earlier)
    try:
        draft.rename(target)
    except OSError:
        if earlier.exists():
            earlier.rename(target)
        raise
    _sync(target.absolute().parent)
    shutil.rmtree(earlier, ignore_errors=True)


# ---------------------------------------------------------------- and back again


def read_manifest(source: Path, beside: Sequence[str] = ()) -> Backup:
    """What a backup says of itself. INVALID for what is no backup, or one of a newer program. beside: see `back_up`."""
    try:
        said = json.loads((source / MANIFEST).read_bytes())
        form = said["form"]
        if not isinstance(form, int) or form > FORM:
            raise Invalid(f"the backup {source} was made by a newer version of Tagroar; restore it with that")
        files = {str(name): Kept(int(kept["bytes"]), str(kept["sha256"])) for name, kept in said["files"].items()}
        found = Backup(int(said["data_version"]), str(said["revision"]), str(said["made_at"]), files)
    except FileNotFoundError:
        raise Invalid(f"{source} is no backup, or one that was not finished: it has no {MANIFEST}") from None
    except (NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        raise Invalid(f"{source} is no backup: its {MANIFEST} cannot be read") from None
    if FILE not in files or not files.keys() <= {FILE, *beside}:
        raise Invalid(f"{source} is no backup: its {MANIFEST} does not name what belongs to a store")
    refuse_newer(found.revision, source)
    return found


def restore(
    source: Path, directory: Path, *, beside: Sequence[str] = (), replace: bool = False, tell: Tell = silent
) -> Backup:
    """Makes the directory hold what a backup has. What it held goes, when `replace` allows that, at the very end.

    Nobody else may have the directory open. INVALID for what is no whole backup, or one of a newer program; CONFLICT
    where the directory is in use, or holds a store and `replace` is not said; Damaged where the backup is.
    """
    backup = read_manifest(source, beside)
    with _failures(f"restoring into {directory}"):
        directory.mkdir(parents=True, exist_ok=True)
        with closing(occupy_alone(directory)):
            if not replace and ((directory / FILE).exists() or (directory / MARK).exists()):
                raise Conflict(f"{directory} holds a store; say --replace to put the backup in its place")
            draft = directory / "restoring"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            try:
                for name, kept in backup.files.items():
                    _copy_verified(source / name, draft / name, kept, tell)
                _check_shape(draft, backup)
                _verify(draft, tell)
                _sync(draft)
                _put_in_place(draft, directory, list(backup.files), [*beside, *DERIVED])
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return backup


def _copy_verified(source: Path, copy: Path, kept: Kept, tell: Tell) -> None:
    digest, done = hashlib.sha256(), 0
    try:
        with source.open("rb") as file, copy.open("wb") as into:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                into.write(chunk)
                done += len(chunk)
                tell("copying", done / max(kept.bytes, 1))
            into.flush()
            os.fsync(into.fileno())
    except FileNotFoundError:
        raise Damaged(f"{source} is missing; take another backup") from None
    if (done, digest.hexdigest()) != (kept.bytes, kept.sha256):
        raise Damaged(f"{source} is not as it was written; take another backup")


def _check_shape(draft: Path, backup: Backup) -> None:
    with closing(sqlite3.connect(draft / FILE)) as own:
        revision = revision_of(own)
        refuse_newer(revision, draft / FILE)
        (version,) = own.execute("SELECT version FROM store").fetchone()
    if (revision, version) != (backup.revision, backup.data_version):
        raise Damaged(f"the {MANIFEST} is of another backup than {FILE}")


def _put_in_place(draft: Path, directory: Path, names: Sequence[str], gone: Sequence[str]) -> None:
    """Exchanges the files; of what else was there, what is named `gone` goes.

    Between the first step and the last one a mark keeps everybody from opening the directory, as neither store is
    whole; what fails is taken back.
    """
    old = directory / "replaced"
    shutil.rmtree(old, ignore_errors=True)
    old.mkdir()
    mark = directory / MARK
    unfinished = mark.exists()  # of an earlier attempt: what is there is not whole either
    mark.touch()
    _sync(mark)
    _sync(directory)
    moved: list[tuple[Path, Path]] = []
    try:
        for name in dict.fromkeys((f"{FILE}-wal", f"{FILE}-shm", *names, *gone)):
            if (directory / name).exists():
                moved.append((directory / name, old / name))
                (directory / name).rename(old / name)
        for name in names:
            moved.append((draft / name, directory / name))
            (draft / name).rename(directory / name)
        _sync(directory)
    except BaseException:
        for before, after in reversed(moved):
            if after.exists():
                after.rename(before)
        _sync(directory)
        if not unfinished:
            mark.unlink()
        raise
    mark.unlink()
    _sync(directory)
    shutil.rmtree(old, ignore_errors=True)


# ---------------------------------------------------------------- the disk


def _sync(path: Path) -> None:
    """Waits until a file, or what a directory lists, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """Says of a failure what failed."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        kind: Callable[[str], TagroarError] = Damaged if _is_damage(error) else Unavailable
        raise kind(f"{what} failed: {error}") from error
    except OSError as error:
        raise Unavailable(f"{what} failed: {error.filename or ''} {error.strerror or error}") from error
    except Damaged as error:
        raise Damaged(f"{what} failed: {error.message}") from error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
