"""The SQLite file: connections with the settings that make it safe, and migration to this version's shape.

One write connection (BEGIN IMMEDIATE, WAL, synchronous=FULL: what is answered is on disk), one plain
read connection for the hot path, and an asynchronous engine for the rest.
"""

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from bitmap_store.errors import Damaged, Invalid
from bitmap_store.sqlite.commits import Announcing, Commits

FILE = "tagroar.sqlite"
BUSY_SECONDS = 30
MIGRATIONS = Path(__file__).parents[2] / "migrations"


def read_connection(directory: Path) -> sqlite3.Connection:
    """A plain connection that cannot write, for any thread that takes turns; its look-ups cost microseconds."""
    path = directory / FILE
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, check_same_thread=False, isolation_level=None
    )
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA mmap_size=1073741824")
    return connection


def write_engine(directory: Path) -> Engine:
    """The engine of the one writer of a process: each transaction takes the write lock when it begins."""
    told = {"timeout": BUSY_SECONDS, "check_same_thread": False, "factory": Announcing}
    engine = create_engine(f"sqlite:///{directory / FILE}", connect_args=told)

    commits = Commits(directory)

    @event.listens_for(engine, "connect")
    def configure(connection: Announcing, _record: ConnectionPoolEntry) -> None:
        connection.commits = commits
        connection.isolation_level = None  # the driver's own BEGIN is deferred, which loses updates
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def async_engine(directory: Path) -> AsyncEngine:
    """Reads that may wait: jobs, profiles, tokens."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{directory / FILE}", connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
        connection.execute("PRAGMA query_only=ON")

    return engine


def migrate(directory: Path, engine: Engine) -> None:
    """Brings the file to the newest revision, all revisions in one transaction: a crash leaves it as it was.

    Damaged for a file that is no database. INVALID for a file of a newer program: this one would not know
    what it may not lose.
    """
    config, script = _revisions()
    try:
        with engine.begin() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            refuse_newer(current, directory)
            if current != script.get_current_head():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except (DatabaseError, UnicodeDecodeError) as error:
        raise Damaged(f"{directory / FILE} cannot be opened as a store: {error}") from error


def refuse_newer(revision: str | None, what: Path) -> None:
    """INVALID for what a newer program wrote."""
    script = _revisions()[1]
    if revision is not None and revision not in {known.revision for known in script.walk_revisions()}:
        raise Invalid(
            f"{what} was written by a newer version of Tagroar (revision {revision}); "
            f"this one knows up to {script.get_current_head()}"
        )


def revision_of(connection: sqlite3.Connection) -> str | None:
    """The revision that a file has; None for one that no program of ours wrote."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if found is None else str(found[0])


def newest_revision() -> str | None:
    """The revision that this program brings files to."""
    return _revisions()[1].get_current_head()


def _revisions() -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config, ScriptDirectory.from_config(config)
