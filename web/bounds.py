"""Bounds of what one client may send, ask and hold: their numbers, and who has used how much of them.

Each serving process counts for itself. What an audience or a document may be is in `schema/` and `bitmap_store/`.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from bitmap_store.errors import RateLimited

CLIENTS_MAX = 10_000
"""Clients whose use is remembered; of more the one that has asked nothing for longest is forgotten."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers, each a setting. Of rates and of numbers side by side, 0 is no bound.

    body_bytes: of a body that is no file. document_characters: of all documents of a request. read_seconds: until a
    body is there, or between two pieces of a file. request_seconds: to answer. rate: requests a second of one client,
    at once up to `burst`. work_rate: container operations a second of one client, at once up to ten seconds' worth.
    at_once, all_at_once: requests under way, of one client and of all.
    """

    body_bytes: int = 1 << 20
    document_characters: int = 1 << 16
    json_depth: int = 100
    read_seconds: float = 10
    request_seconds: float = 10
    rate: float = 0
    burst: int = 100
    work_rate: float = 0
    at_once: int = 256
    all_at_once: int = 1_024


_TOO_MUCH = "a client asks for at most {:g} container operations a second"
WORK_SECONDS = 10
"""So many seconds of work that was not asked for may be asked for at once."""


class Client:
    """What one client uses: buckets that fill with time, and how many requests are under way."""

    __slots__ = ("_filled", "requests", "running", "work")

    def __init__(self, bounds: Bounds, now: float) -> None:
        self.requests = float(bounds.burst)
        self.work = bounds.work_rate * WORK_SECONDS
        self.running = 0
        self._filled = now

    def fill(self, bounds: Bounds, now: float) -> None:
        """Adds what has come since the last time."""
        passed, self._filled = now - self._filled, now
        self.requests = min(float(bounds.burst), self.requests + passed * bounds.rate)
        self.work = min(bounds.work_rate * WORK_SECONDS, self.work + passed * bounds.work_rate)


class Use:
    """Who uses how much. A request `begin`s, and `end`s however it ends."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._clients: OrderedDict[str, Client] = OrderedDict()
        self._limited = bounds.rate > 0 or bounds.work_rate > 0
        self.running = 0
        """Requests under way, of all clients."""

    def begin(self, name: str) -> Client:
        """Lets a request of a client begin; RATE_LIMITED where it has asked too often, or too much is under way."""
        bounds = self._bounds
        client = self._clients.get(name)
        if client is None:
            client = self._new(name)
        if self._limited:
            self._clients.move_to_end(name)
            self._take(client)
        if 0 < bounds.at_once <= client.running:
            raise RateLimited(f"a client has at most {bounds.at_once} requests under way at once", retry_after=1)
        if 0 < bounds.all_at_once <= self.running:
            raise RateLimited(f"the service has {bounds.all_at_once} requests under way, its most", retry_after=1)
        client.running += 1
        self.running += 1
        return client

    def charge(self, client: Client) -> Callable[[int], None] | None:
        """What is to be told of the work of a request, before it begins; None where there is no bound."""
        rate = self._bounds.work_rate

        def charge(operations: int) -> None:
            if client.work <= 0:
                raise RateLimited(_TOO_MUCH.format(rate), retry_after=(1 - client.work) / rate)
            client.work -= operations  # may become a debt: what is more than all that may be asked at once is asked so

        return charge if rate > 0 else None

    def end(self, client: Client) -> None:
        """A request that was let begin has ended."""
        client.running -= 1
        self.running -= 1

    def _take(self, client: Client) -> None:
        bounds = self._bounds
        client.fill(bounds, monotonic())
        if bounds.rate > 0:
            if client.requests < 1:
                wait = (1 - client.requests) / bounds.rate
                raise RateLimited(f"a client asks at most {bounds.rate:g} times a second", retry_after=wait)
            client.requests -= 1
        if bounds.work_rate > 0 and client.work <= 0:
            raise RateLimited(_TOO_MUCH.format(bounds.work_rate), retry_after=(1 - client.work) / bounds.work_rate)

    def _new(self, name: str) -> Client:
        if len(self._clients) >= CLIENTS_MAX:
            oldest = next((each for each, client in self._clients.items() if not client.running), None)
            if oldest is not None:
                del self._clients[oldest]
        client = self._clients[name] = Client(self._bounds, monotonic())
        return client
