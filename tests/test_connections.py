"""What is written to a connection: the head of an answer leaves with its body, and nothing is held back or lost."""

import asyncio
from typing import Any, cast

from web.connections import Together


class Wire:
    """A transport that notes what reaches it."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.seen.append(data)

    def close(self) -> None:
        self.seen.append(b"closed")

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 7

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


def played(act: Any) -> list[bytes]:
    """What reached the wire, once everything that was due has been done."""

    async def play() -> list[bytes]:
        wire = Wire()
        act(Together(cast(asyncio.Transport, wire)))
        await asyncio.sleep(0)
        return wire.seen

    return asyncio.run(play())


def test_a_head_and_its_body_are_one_piece() -> None:
    def act(together: Together) -> None:
        together.write(b"head ")
        together.write(b"body")
        together.write(b"next head ")
        together.write(b"next body")

    assert played(act) == [b"head body", b"next head next body"]


def test_a_head_alone_leaves_at_the_end_of_the_turn() -> None:
    assert played(lambda together: together.write(b"head")) == [b"head"]


def test_what_waits_is_sent_before_the_end() -> None:
    def act(together: Together) -> None:
        together.write(b"head")
        together.close()

    assert played(act) == [b"head", b"closed"]


def test_what_waits_counts_as_not_sent() -> None:
    sizes = []

    def act(together: Together) -> None:
        together.write(b"head")
        sizes.append(together.get_write_buffer_size())
        sizes.append(together.get_extra_info("peername"))

    played(act)
    assert sizes == [11, "the peername"]
