"""Which tags moved when: whoever remembers how tags stand asks only about those that moved since."""


class Moves:
    """Counts moves of tags. The caller sees to it that one thread at a time is here."""

    __slots__ = ("_last", "count")

    def __init__(self) -> None:
        self.count = 0
        self._last: dict[int, int] = {}  # those that moved last stand last

    def add(self, tag: int) -> None:
        """A tag moves."""
        self.count += 1
        self._last.pop(tag, None)
        self._last[tag] = self.count

    def since(self, count: int) -> list[int]:
        """The tags that moved after the first `count` moves."""
        moved = []
        for tag in reversed(self._last):
            if self._last[tag] <= count:
                break
            moved.append(tag)
        return moved
