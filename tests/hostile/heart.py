"""Somebody else, who asks all the while: a process that tells how long its slowest answer took."""

import http.client
import json
import multiprocessing
import time
from multiprocessing.connection import Connection

PAUSE_SECONDS = 0.002


class Heart:
    """Asks one question again and again on a connection of its own."""

    def __init__(self, port: int, token: str, query: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._mine, theirs = context.Pipe()
        self._process = context.Process(target=_beat, args=(theirs, port, token, query), daemon=True)
        self._process.start()
        self.begin()

    def begin(self) -> None:
        """From now on the slowest is remembered."""
        self.slowest()

    def slowest(self) -> tuple[float, int]:
        """Seconds of the slowest answer since it began, after the one under way; and how many there were."""
        self._mine.send(None)
        found: tuple[float, int] = self._mine.recv()
        return found

    def stop(self) -> None:
        """Ends it."""
        self._mine.close()
        self._process.join(10)


def _beat(told: Connection, port: int, token: str, query: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    slowest, beats = 0.0, 0
    while True:
        began = time.perf_counter()
        # A comment that changes keeps it from being answered from memory.
        body = json.dumps({"query": query, "variables": {"n": beats % 1_000}})
        connection.request("POST", "/graphql", body, headers)
        answer = json.loads(connection.getresponse().read())
        assert "errors" not in answer, answer
        slowest, beats = max(slowest, time.perf_counter() - began), beats + 1
        try:
            if told.poll(PAUSE_SECONDS):
                told.recv()
                told.send((slowest, beats))
                slowest, beats = 0.0, 0
        except (EOFError, BrokenPipeError):
            return
