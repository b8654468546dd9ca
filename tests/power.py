"""What a disk has when the power fails: every write and every sync of a program, recorded, and replayed to any moment.

`strace` records. What was written to a file is on the disk once a sync of that file that began afterwards has ended;
of the writes since then the disk may have any, or parts of them. That files come to be, go, and change names is taken
to be kept in order, as journaling file systems do; shared memory (`-shm`) is not kept at all.
"""

import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STRACE = shutil.which("strace")
CALLS = "write,pwrite64,ftruncate,fsync,fdatasync,unlink,unlinkat,rename,renameat,renameat2,openat"
SECTOR = 512
_LINE = re.compile(r"^(\d+) +(.*)$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"^(\d+)<([^>]*)>")


@dataclass(frozen=True, slots=True)
class Step:
    """A system call that succeeded. began: how many had ended when it began."""

    call: str
    arguments: str
    result: int
    began: int

    @property
    def path(self) -> str:
        """The file of the descriptor that it was given."""
        found = _DESCRIPTOR.match(self.arguments)
        return bytes.fromhex(found[2].replace("\\x", "")).decode() if found else ""

    @property
    def strings(self) -> list[bytes]:
        """What it was given as text or bytes."""
        return [bytes.fromhex(each.replace("\\x", "")) for each in _STRING.findall(self.arguments)]

    @property
    def number(self) -> int:
        """The last argument."""
        return int(self.arguments.rpartition(",")[2])


def recorded(command: Sequence[str], log: Path, cwd: Path) -> list[Step]:
    """Runs a program to its end; what it and its children did to files, in the order in which it ended."""
    assert STRACE is not None
    traced = [STRACE, "-f", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o", str(log)]
    subprocess.run([*traced, *command], cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return list(_steps(log))


def _steps(log: Path) -> Iterator[Step]:
    ended = 0
    under_way: dict[str, tuple[str, int]] = {}
    with log.open() as lines:
        for line in lines:
            found = _LINE.match(line)
            if found is None:
                continue
            thread, said = found[1], found[2]
            began = ended
            if said.endswith("<unfinished ...>"):
                under_way[thread] = said.removesuffix("<unfinished ...>"), ended
                continue
            if resumed := _RESUMED.match(said):
                said, began = under_way.pop(thread)
                said += resumed[2]
            call = _CALL.match(said)
            if call is not None and int(call[3]) >= 0:
                ended += 1
                yield Step(call[1], call[2], int(call[3]), began)


@dataclass(slots=True)
class _File:
    """A file: what is on the disk, and what was written since, each with when."""

    kept: bytearray = field(default_factory=bytearray)
    waiting: list[tuple[int, int, bytes | None]] = field(default_factory=list)

    def apply(self, offset: int, data: bytes | None) -> None:
        """Writes data, or without data ends the file there."""
        if len(self.kept) < offset:
            self.kept.extend(bytes(offset - len(self.kept)))
        if data is None:
            del self.kept[offset:]
        else:
            self.kept[offset : offset + len(data)] = data


class Disk:
    """The files of a directory as a replay has come to them."""

    def __init__(self, directory: Path, steps: Sequence[Step]) -> None:
        """directory: as it was before the program ran."""
        self._directory = directory
        self._steps = steps
        self._done = 0
        self._files = {
            str(path): _File(bytearray(path.read_bytes())) for path in directory.rglob("*") if path.is_file()
        }
        self._positions: dict[str, int] = {}

    def replay(self, until: int) -> None:
        """Goes on to before a step."""
        for number in range(self._done, until):
            self._replay(number, self._steps[number])
        self._done = until

    def _replay(self, number: int, step: Step) -> None:
        if step.call == "openat":
            if "O_CREAT" in step.arguments or "O_TRUNC" in step.arguments:
                path = str(self._directory / step.strings[0].decode())
                if path.startswith(str(self._directory)):
                    file = self._files.setdefault(path, _File())
                    self._positions[path] = 0
                    if "O_TRUNC" in step.arguments:
                        file.waiting.append((number, 0, None))
        elif step.call.startswith("unlink"):
            self._files.pop(str(self._directory / step.strings[0].decode()), None)
        elif step.call.startswith("rename"):
            before, after = (str(self._directory / name.decode()) for name in step.strings[:2])
            if before in self._files:
                self._files[after] = self._files.pop(before)
        elif (file_ := self._files.get(step.path)) is not None:
            self._write(number, step, file_)

    def _write(self, number: int, step: Step, file: _File) -> None:
        if step.call == "pwrite64":
            file.waiting.append((number, step.number, step.strings[0][: step.result]))
        elif step.call == "write":
            at = self._positions.get(step.path, 0)
            file.waiting.append((number, at, step.strings[0][: step.result]))
            self._positions[step.path] = at + step.result
        elif step.call == "ftruncate":
            file.waiting.append((number, step.number, None))
        else:  # a sync: of what had ended when it began
            for when, offset, data in file.waiting:
                if when < step.began:
                    file.apply(offset, data)
            file.waiting = [each for each in file.waiting if each[0] >= step.began]

    @property
    def waiting(self) -> int:
        """How many writes the disk may not have."""
        return sum(len(file.waiting) for path, file in self._files.items() if not path.endswith("-shm"))

    def after_power_loss(self, to: Path, choose: random.Random | None) -> None:
        """What the machine finds afterwards: nothing that was not synced, or any choice of it, some torn."""
        for path, file in self._files.items():
            if path.endswith("-shm"):
                continue
            left = _File(bytearray(file.kept))
            for _, offset, data in file.waiting if choose is not None else ():
                if choose is not None and choose.random() < 0.5:
                    if data is not None and choose.random() < 0.2:
                        data = data[: choose.randrange(0, len(data) + 1, SECTOR)]
                    left.apply(offset, data)
            into = to / Path(path).relative_to(self._directory)
            into.parent.mkdir(parents=True, exist_ok=True)
            into.write_bytes(left.kept)
