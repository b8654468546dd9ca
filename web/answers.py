"""Answers as they were written, kept for whoever asks the same and may see the same, as long as they are right."""

from collections import OrderedDict
from dataclasses import dataclass

from bitmap_store import View

ENTRY_BYTES = 400
"""About what an entry takes besides the request and the answer."""
ASKED_MAX = 8_192
"""Requests that are remembered as asked once: only what is asked again is kept."""

Key = tuple[bytes, frozenset[str]]
"""A request as it was sent, and the scopes of who asks."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer, the state of the store that it is of, and the moments (µs) from and up to which it is right."""

    body: bytes
    version: int
    catalog: int
    since: int
    until: int


class Answers:
    """Answers within a budget of bytes, the least recently used out first; no budget keeps none."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[Key, KeptAnswer] = OrderedDict()
        self._asked: OrderedDict[int, None] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """About what is kept takes."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key, view: View) -> bytes | None:
        """The answer to a request if it is still right at a view."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found.version != view.version or found.catalog != view.catalog.version:
            self._drop(key)  # versions only grow
            return None
        if not found.since <= view.micros < found.until:
            return None
        self._kept.move_to_end(key)
        return found.body

    def is_wanted(self, key: Key) -> bool:
        """Whether to keep the answer to a request: if it was asked before, which is noted."""
        if not self._bytes_max or len(key[0]) > self._bytes_max // 8:
            return False
        mark = hash(key)
        if mark in self._asked:
            return True
        self._asked[mark] = None
        if len(self._asked) > ASKED_MAX:
            self._asked.popitem(last=False)
        return False

    def keep(self, key: Key, body: bytes, view: View, until: int) -> None:
        """Keeps the answer that was given at a view and is right until a moment (µs), unless it is too large."""
        body = bytes(memoryview(body))  # as orjson gives it, it takes 4 KB however short it is
        answer = KeptAnswer(body, view.version, view.catalog.version, view.micros, until)
        size = _size(key, answer)
        if until <= answer.since or size > self._bytes_max // 8:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = answer
        self._bytes += size
        while self._bytes > self._bytes_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        self._bytes -= _size(key, self._kept.pop(key))


def _size(key: Key, answer: KeptAnswer) -> int:
    return ENTRY_BYTES + len(key[0]) + len(answer.body)
