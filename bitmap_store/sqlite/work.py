"""Starting and watching child processes: each import runs in one that holds the job's lock, and so does upkeep.

An import says in the job's row how it goes; when it ends without having said so, its job has failed.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from bitmap_store.clock import Clock
from bitmap_store.errors import Unavailable
from bitmap_store.sqlite import jobs
from bitmap_store.sqlite.writer import Transaction, Writer
from bitmap_store.values import Job, JobState

ROOT = Path(__file__).parents[2]


class Workers:
    """The child processes of this process. settings: what a child is to open the store with."""

    def __init__(self, writer: Writer, directory: Path, settings: dict[str, object], clock: Clock) -> None:
        self._writer = writer
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._watching: set[asyncio.Task[None]] = set()
        self._processes: set[asyncio.subprocess.Process] = set()

    async def start(self, request: jobs.ImportRequest) -> Job:
        """The job that imports the file; the earlier one where the key was used for the same."""
        if request.kind not in jobs.KINDS:
            raise Unavailable(f"importing {request.kind} comes with a later version")
        fingerprint = await asyncio.to_thread(request.fingerprint)
        writer = self._writer

        def enlist_locked(transaction: Transaction) -> tuple[Job, bool, int | None]:
            job, new = jobs.enlist(transaction, request, fingerprint)
            return job, new, jobs.try_lock(jobs.lock_of(self._directory, job.id)) if new else None

        job, new, lock = await asyncio.wrap_future(writer.submit(enlist_locked))
        if not new:
            if request.owned:
                request.path.unlink(missing_ok=True)
            return replace(job, already_applied=True)
        assert lock is not None
        try:
            await self._spawn(job, lock)
        finally:
            os.close(lock)  # the child has its own copy, and with it the lock
        return job

    async def keep_up(self, retention: timedelta, stale_max: float) -> bool:
        """Folds and builds the cache in a child process; False when it failed, of which its log tells."""
        process = await self._child(
            "upkeep_process", {"retention": retention.total_seconds(), "stale": stale_max}, inherited=()
        )
        status = await process.wait()  # where this is cancelled, `close` ends the child
        self._processes.discard(process)
        return status == 0

    async def _child(
        self, module: str, settings: dict[str, object], inherited: Sequence[int]
    ) -> asyncio.subprocess.Process:
        every = self._settings | settings | {"now": self._clock.now().isoformat()}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"bitmap_store.sqlite.{module}",
            json.dumps(every),
            cwd=ROOT,
            pass_fds=inherited,
            stdin=asyncio.subprocess.DEVNULL,
        )
        self._processes.add(process)
        return process

    async def _spawn(self, job: Job, lock: int) -> None:
        process = await self._child("import_process", {"job": job.id, "parent": os.getpid()}, inherited=(lock,))
        task = asyncio.create_task(self._watch(job, process))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _watch(self, job: Job, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self._processes.discard(process)
        future = self._writer.submit(
            lambda transaction: jobs.end(transaction, job.id, JobState.FAILED, jobs.INTERRUPTED)
        )
        await asyncio.wrap_future(future)

    async def cancel(self, id_: str) -> Job:
        """Asks a job to stop, wherever it runs."""
        return await asyncio.wrap_future(self._writer.submit(lambda transaction: jobs.ask_to_stop(transaction, id_)))

    async def close(self) -> None:
        """Ends the child processes; what they had not made visible never will be."""
        ending = [process for process in self._processes if process.returncode is None]
        for process in ending:
            with suppress(ProcessLookupError):  # it has ended, and nobody has heard of it yet
                process.terminate()
        await asyncio.gather(*(process.wait() for process in ending))
        if self._watching:
            await asyncio.wait(self._watching)
