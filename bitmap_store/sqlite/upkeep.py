"""What keeps a store quick while it serves: folds and files of the cache, made in a process of their own when due."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from bitmap_store.sqlite import cache, fold, jobs
from bitmap_store.sqlite.database import read_connection
from bitmap_store.sqlite.work import Workers
from bitmap_store.sqlite.writer import Writer


class Upkeep:
    """Looks now and then whether something is due, and has it done."""

    def __init__(
        self,
        directory: Path,
        connection: sqlite3.Connection,
        writer: Writer,
        workers: Workers,
        retention: timedelta,
    ) -> None:
        self._directory = directory
        self._connection = connection
        self._writer = writer
        self._workers = workers
        self._retention = retention
        self._seen_at = self._failed_at = -1

    async def keep_up(self) -> bool:
        """Folds and makes files of the cache where that is due; whether it was.

        Rows per user that are hardly stale wait until nothing is written between two looks. What failed is left
        until something was written.
        """
        earlier, self._seen_at = self._seen_at, self._writer.memberships.version
        stale_max = 0.0 if earlier == self._seen_at else cache.STALE_SHARE
        if self._failed_at == self._seen_at or not await asyncio.to_thread(self._is_due, stale_max):
            return False
        if not await self._workers.keep_up(self._retention, stale_max):
            self._failed_at = self._seen_at
        return True

    def _is_due(self, stale_max: float) -> bool:
        if jobs.is_locked(self._directory / "jobs" / "bulk.lock"):
            return False
        bases = self._writer.memberships.bases
        if bases.directory is not None:
            bases.look_again()  # for what other processes have made
            with closing(read_connection(self._directory)) as own:
                if cache.share_stale(self._directory, own, bases.user_rows) > stale_max:
                    return True
        return fold.is_due(self._connection, self._writer, self._retention)
