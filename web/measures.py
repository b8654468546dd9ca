"""What is counted while serving, and how it is written for Prometheus.

Each process counts in cells of its own, in a file that the others map too: whichever is asked adds them all up.
A label is one of a few names that stand in the code; nothing that anybody sends becomes one.
"""

import mmap
import os
import resource
import sys
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from bitmap_store import Condition
from web.exchange import KINDS, OUTCOMES, Exchange

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the buckets of latencies."""
OWN = {
    "processes": "Serving processes.",
    "live_connections": "WebSockets and streams of events that are open.",
    "writes_waiting": "Writes that wait for the next commit.",
    "leaf_cache_bytes": "Memory for evaluated parts of audiences and for layers.",
    "answer_cache_bytes": "Memory for answers that may be given again.",
    "resident_bytes": "Memory that processes hold, what they share counted for each.",
    "open_files": "Open files and connections.",
}
"""Numbers of one process as it is now; those of all are added up."""
TOTALS = {
    "answers_given_again_total": "Answers that were taken from memory.",
    "processor_seconds_total": "Processor time.",
}
"""Numbers of one process that only grow, besides those of requests."""

_WIDTH = len(OUTCOMES) + len(SECONDS) + 2
_BLOCKS = {kind: _WIDTH * place for place, kind in enumerate(KINDS)}
_OUTCOMES = {outcome: place for place, outcome in enumerate(OUTCOMES)}
_NAMED = {name: _WIDTH * len(KINDS) + place for place, name in enumerate((*OWN, *TOTALS))}
_CELLS = _WIDTH * len(KINDS) + len(_NAMED)
_SUFFIX = ".measures"


class Measures:
    """The cells of this process. directory: where the other processes have theirs; None where there are none."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        if directory is None:
            self._cells = memoryview(bytearray(_CELLS * 8)).cast("d")
        else:
            with (directory / f"{os.getpid()}{_SUFFIX}").open("w+b") as file:
                file.truncate(_CELLS * 8)
                self._cells = memoryview(mmap.mmap(file.fileno(), _CELLS * 8)).cast("d")
        self.set("processes", 1)

    def count(self, exchange: Exchange, seconds: float | None) -> None:
        """Counts an exchange that is over; seconds: how long it took, None where that says nothing."""
        cells, block = self._cells, _BLOCKS[exchange.kind]
        cells[block + _OUTCOMES[exchange.outcome]] += 1
        if seconds is not None:
            block += len(OUTCOMES)
            cells[block + bisect_left(SECONDS, seconds)] += 1
            cells[block + len(SECONDS) + 1] += seconds

    def add(self, name: str, number: float) -> None:
        """Adds to a number of this process."""
        self._cells[_NAMED[name]] += number

    def set(self, name: str, number: float) -> None:
        """Sets a number of this process."""
        self._cells[_NAMED[name]] = number

    @contextmanager
    def live(self) -> Iterator[None]:
        """While this is open there is a live connection more."""
        self.add("live_connections", 1)
        try:
            yield
        finally:
            self.add("live_connections", -1)

    def look_at_process(self) -> None:
        """Takes down what the system says of this process."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.set("processor_seconds_total", used.ru_utime + used.ru_stime)
        if sys.platform == "linux":
            resident = int(Path("/proc/self/statm").read_bytes().split()[1])
            self.set("resident_bytes", resident * resource.getpagesize())
            self.set("open_files", len(os.listdir("/proc/self/fd")))

    def totals(self) -> list[float]:
        """All cells, added up over the processes: of those that ended only what they counted."""
        if self._directory is None:
            return list(map(float, self._cells))
        found = [0.0] * _CELLS
        now = {_NAMED[name] for name in OWN}
        for file in sorted(self._directory.glob(f"*{_SUFFIX}")):
            ended = not _is_running(int(file.stem))
            data = file.read_bytes()
            if len(data) == _CELLS * 8:
                for place, number in enumerate(memoryview(data).cast("d")):
                    found[place] += 0.0 if ended and place in now else number
        return found

    def written(self, condition: Condition) -> bytes:
        """Everything in the text format of Prometheus."""
        registry = CollectorRegistry()
        registry.register(_Shown(self.totals(), condition))
        return generate_latest(registry)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _Shown(Collector):
    """Totals and the condition of the store, by name."""

    def __init__(self, totals: list[float], condition: Condition) -> None:
        self._totals = totals
        self._condition = condition

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        requests = CounterMetricFamily("tagroar_requests", "Requests that ended.", labels=("kind", "outcome"))
        times = HistogramMetricFamily("tagroar_request_seconds", "How long requests took.", labels=("kind",))
        for kind, block in _BLOCKS.items():
            for outcome, place in _OUTCOMES.items():
                if self._totals[block + place]:
                    requests.add_metric((kind, outcome), self._totals[block + place])
            start, below, buckets = block + len(OUTCOMES), 0.0, []
            for place, end in enumerate((*map(str, SECONDS), "+Inf")):
                below += self._totals[start + place]
                buckets.append((end, below))
            if below:
                times.add_metric((kind,), buckets, self._totals[start + len(SECONDS) + 1])
        yield requests
        yield times
        for name, described in OWN.items():
            yield GaugeMetricFamily(f"tagroar_{name}", described, self._totals[_NAMED[name]])
        for name, described in TOTALS.items():
            yield CounterMetricFamily(f"tagroar_{name}", described, self._totals[_NAMED[name]])
        found = self._condition
        yield GaugeMetricFamily("tagroar_data_version", "The data version of the store.", found.version)
        yield GaugeMetricFamily("tagroar_catalog_version", "The version of its catalog.", found.catalog)
        yield GaugeMetricFamily("tagroar_store_bytes", "The size of its file.", found.file_bytes)
        yield GaugeMetricFamily("tagroar_log_bytes", "The size of the log before that file (WAL).", found.log_bytes)
        jobs = GaugeMetricFamily("tagroar_jobs", "Jobs by their state.", labels=("state",))
        for state, number in sorted(found.jobs.items()):
            jobs.add_metric((state.lower(),), number)
        yield jobs
