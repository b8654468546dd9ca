"""What an import remembers comes back as it was, wherever it was kept."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from bitmap_store.errors import Unavailable
from bitmap_store.rows import is_constant, rows_of
from bitmap_store.sqlite import spool
from bitmap_store.sqlite.spool import Spool


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "CHUNK_BYTES", 1 << 14)


@pytest.mark.parametrize("bytes_max", [0, 5000, 1 << 20])
def test_arrays_come_back(tmp_path: Path, bytes_max: int) -> None:
    kept_in = Spool(tmp_path, bytes_max)
    given = [np.arange(count, dtype=kind) for count in (0, 1, 700, 3000, 90_000) for kind in ("u4", "i2", "i8", "f8")]
    kept = [kept_in.kept(array) for array in given]
    kept_in.close()
    for array, found in zip(given, kept, strict=True):
        assert found.dtype == array.dtype
        assert found.tolist() == array.tolist()
    own = sum(found.nbytes for array, found in zip(given, kept, strict=True) if found is array)
    assert own <= bytes_max + len(given) * spool.SMALL_BYTES
    assert list(tmp_path.iterdir()) == [], "the file has no name"


def test_constant_columns_stay_constant(tmp_path: Path) -> None:
    rows = rows_of(5000)
    rows["user"] = np.arange(5000)
    kept = Spool(tmp_path, 0).kept_rows(rows)
    assert kept["user"].tolist() == list(range(5000))
    assert is_constant(kept["since"])


def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _offset: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Unavailable, match="no room on the disk"):
        Spool(tmp_path, 0).kept(np.zeros(10_000))
