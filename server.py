"""Tagroar from the command line: serving, the demo, bulk in and out, tokens. Composition only."""

import gc

gc.disable()  # until all is imported: it stays, and looking for garbage in it takes a sixth of the time

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NoReturn

import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from starlette.applications import Starlette

from bitmap_store import Clock, ImportRequest, Store, back_up, check, restore, schema_of, tags_suggested
from bitmap_store.errors import Invalid, TagroarError
from bitmap_store.files.writers import write
from bitmap_store.literals import parse_duration
from bitmap_store.no_pandas import keep_pandas_out
from bitmap_store.values import Job, JobState
from demo.completejourney import CLOCK
from demo.load import MARK, is_loaded, load
from resolvers import bulk
from resolvers.asked import Asked
from resolvers.viewers import SCOPES
from web.app import create_app
from web.connections import connections
from web.graphql import context_of
from web.known import Known, trusted_documents
from web.logs import configure
from web.measures import Measures
from web.service import Service
from web.settings import Settings, unknown_variables
from web.tracing import Tracing, check_installed
from web.workers import CAN_FORK, serve_forked

gc.freeze()
gc.enable()

DEMO_VARIABLE = "TAGROAR_DEMO"
MEASURES_VARIABLE = "TAGROAR_MEASURES"
SHUTDOWN_SECONDS = 4
SWITCH_SECONDS = 5e-4
"""So long a thread of an export or a portrait keeps the event loop from the interpreter; 5 ms is what Python has."""
BESIDE = (MARK,)
"""What stands beside the file of a store and belongs to its data."""
EXIT_CODES = {"DONE": 0, "FAILED": 1, "CANCELLED": 130}

cli = typer.Typer(
    help="Who is in an audience, and how many: exactly, now.", no_args_is_help=True, pretty_exceptions_enable=False
)
tokens = typer.Typer(help="Access tokens.", no_args_is_help=True)
cli.add_typer(tokens, name="token")
out, err = Console(), Console(stderr=True)


def settings() -> Settings:
    """The settings from the environment; ends the program with a sentence when one is wrong."""
    for sentence in unknown_variables():
        err.print(sentence, style="yellow", markup=False, soft_wrap=True)
    try:
        return Settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "TAGROAR_" + "_".join(str(part) for part in problem["loc"]).upper()
            err.print(f"{name}: {problem['msg']}", style="red", markup=False)
        raise typer.Exit(2) from None


def open_service(config: Settings, store: Store, *, demo: bool) -> Service:
    """The service on a store."""
    wall = Clock()
    tracing = Tracing.of_environment() if config.tracing else None
    return Service(
        store=tracing.store(store) if tracing else store,
        open_to_anyone=demo,
        incoming=config.data / "incoming",
        import_bytes_max=config.import_bytes,
        compiled_documents=config.compiled_documents,
        answer_cache_bytes_max=config.answer_cache_bytes,
        batch_max=config.batch,
        known=known_documents(config),
        issuer=config.issuer(wall),
        clock=wall,
        tracing=tracing,
        measures=Measures(Path(shared) if (shared := os.environ.get(MEASURES_VARIABLE)) else None),
        document_limits=config.document_limits(demo=demo),
        bounds=config.bounds(),
        limits=config.limits(),
    )


def known_documents(config: Settings) -> Known:
    """The documents that may be named; INVALID where their file is not as it has to be."""
    if config.trusted_documents is None:
        if config.only_trusted:
            raise Invalid("TAGROAR_ONLY_TRUSTED needs TAGROAR_TRUSTED_DOCUMENTS, the file that says which they are")
        return Known(persisted_max=config.persisted_documents)
    trusted = trusted_documents(config.trusted_documents)
    return Known(trusted, only=config.only_trusted, persisted_max=config.persisted_documents)


def application() -> Starlette:
    """The application as the environment asks for it; what each serving process calls."""
    sys.setswitchinterval(SWITCH_SECONDS)
    keep_pandas_out()
    config = Settings()
    configure(config.log_level, config.log_format)
    demo = os.environ.get(DEMO_VARIABLE) == "1"

    def opened() -> Service:
        service = open_service(config, open_store(config), demo=demo)
        gc.freeze()  # modules and definitions stay; to look through them again and again takes 150 ms each time
        return service

    return create_app(opened, demo=demo, pages=config.shows_pages(demo=demo))


def open_store(config: Settings, start: datetime | None = None) -> Store:
    """The store. Where it holds the demo its clock starts at the end of the demo's data, for every command."""
    holds_demo = (config.data / MARK).exists()
    return Store(config.store(), config.clock(CLOCK if holds_demo else start))


def run_server(config: Settings) -> None:
    """Serves until it is told to stop, then finishes what is under way."""
    try:
        known_documents(config)  # a process that serves would tell it less well
        config.issuer(Clock())
        if config.tracing:
            check_installed()
    except TagroarError as error:
        fail(error)
    configure(config.log_level, config.log_format)
    http, socket = connections(config.read_seconds, config.write_seconds)
    options: dict[str, Any] = {
        "factory": True,
        "host": config.host,
        "port": config.port,
        "workers": config.workers,
        "http": http,
        "loop": "auto",
        "ws": socket,
        "ws_max_size": 256 << 10,
        "log_config": None,
        "log_level": "warning",
        "access_log": False,
        "proxy_headers": False,  # nothing here depends on what a proxy says of the client
        "server_header": False,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
    }
    with TemporaryDirectory(prefix="tagroar-") as measures:  # what the serving processes count, for each other
        os.environ[MEASURES_VARIABLE] = measures
        if config.workers > 1 and CAN_FORK:
            serve_forked(uvicorn.Config("server:application", **options))
        else:
            uvicorn.run("server:application", **options)


def with_store(
    config: Settings, work: Callable[[Store], Coroutine[Any, Any, Any]], start: datetime | None = None
) -> Any:
    """Runs something on the store and closes it; a failure ends the program with its sentence."""

    async def run() -> Any:
        store = open_store(config, start)
        try:
            return await work(store)
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except TagroarError as error:
        fail(error)
    except OSError as error:
        fail(Invalid(f"{error.filename}: {error.strerror}" if error.filename else str(error)))


def fail(error: TagroarError) -> NoReturn:
    """Ends the program with the sentence of an error."""
    place = f" (line {error.line}, column {error.column})" if error.line else ""
    err.print(f"{error.code}: {error.message}{place}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1)


def bar(*, rows: bool = True) -> Progress:
    """A progress bar with rows, rate and time left; where there is no terminal its last state is printed."""
    counted = TextColumn("{task.fields[rows]:>12,} rows"), TextColumn("{task.fields[rate]:>10,.0f}/s")
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        *(counted if rows else ()),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
    )


class Steps:
    """Shows steps on a bar, one line each, as they are told."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def __call__(self, title: str, done: float, rows: int) -> None:
        """Shows how much of a step is done, within 0..1."""
        if title not in self._tasks:
            self._tasks[title] = self._progress.add_task(title, total=1.0, rows=0, rate=0.0)
        task = self._progress.tasks[self._tasks[title]]
        self._progress.update(task.id, completed=done, rows=rows, rate=rows / max(task.elapsed or 0.0, 0.1))

    def tell(self, title: str, done: float) -> None:
        """The same for a step that has no rows."""
        self(title, done, 0)


# ---------------------------------------------------------------- serving


@cli.command()
def serve() -> None:
    """Serve what TAGROAR_DATA holds; an empty store if it is new. Needs tokens."""
    config = settings()
    if not with_store(config, lambda store: store.tokens()):
        err.print(
            "No token exists yet; make one with: python server.py token create NAME --scope count", style="yellow"
        )
    os.environ.pop(DEMO_VARIABLE, None)  # only the demo is open to anyone
    out.print(f"Tagroar serves {config.data} on http://{config.host}:{config.port}", markup=False, soft_wrap=True)
    run_server(config)


@cli.command()
def demo() -> None:
    """Import the demo data if it is not there, then serve it to anyone on this machine."""
    config = settings()
    if config.host not in ("127.0.0.1", "localhost", "::1"):
        fail(Invalid(f"the demo is open to anyone, so it is served on loopback only, not on {config.host}"))

    async def prepare(store: Store) -> None:
        if not is_loaded(store):
            err.print("Importing the Complete Journey retail data: 2,469 households and 1.47 million purchase lines")
            with bar() as progress:
                await load(store, Steps(progress))

    with_store(config, prepare, CLOCK)
    address = f"http://{config.host}:{config.port}"
    question = '{ audience(where: {text: "purchase[\\"GROCERY\\"] times 3 within P30D"}) { size share } }'
    body = '{"query": "' + question.replace("\\", "\\\\").replace('"', '\\"') + '"}'
    out.print(
        f"\nTagroar is ready: {address} (ready-made queries), {address}/graphql (GraphiQL). Try:\n\n"
        f"curl -s {address}/graphql -H 'Content-Type: application/json' -d '{body}'\n",
        markup=False,
        soft_wrap=True,
        highlight=False,
    )
    os.environ[DEMO_VARIABLE] = "1"
    run_server(config)


@cli.command()
def migrate() -> None:
    """Bring the store to this version's shape; serving does so too."""

    async def version(store: Store) -> int:
        return store.view().version

    found = with_store(settings(), version)
    out.print(f"The store has the shape of this version; its data version is {found}.")


# ---------------------------------------------------------------- keeping it


@cli.command()
def backup(
    target: Annotated[Path, typer.Argument(help="the directory to be made; in an existing one that is empty, itself")],
    replace: Annotated[bool, typer.Option("--replace", help="put it in the place of an earlier backup")] = False,
) -> None:
    """Write a verified backup of the store; it may be served meanwhile."""
    with on_the_disk() as steps:
        done = back_up(settings().data, target, beside=BESIDE, replace=replace, tell=steps.tell)
    out.print(f"Backup of data version {done.data_version}: {target}, {done.size:,} bytes", soft_wrap=True)


@cli.command("restore")
def restore_backup(
    source: Annotated[Path, typer.Argument(help="a backup")],
    replace: Annotated[bool, typer.Option("--replace", help="put it in the place of the store that is there")] = False,
) -> None:
    """Restore a backup into TAGROAR_DATA; nothing is touched before the backup is found whole."""
    data = settings().data
    with on_the_disk() as steps:
        done = restore(source, data, beside=BESIDE, replace=replace, tell=steps.tell)
    out.print(f"{data} holds data version {done.data_version}, of the backup of {done.made_at}", soft_wrap=True)


@cli.command("check")
def check_store() -> None:
    """Go through all that is stored, and name what is damaged; it may be served meanwhile."""
    data = settings().data
    with on_the_disk() as steps:
        problems = check(data, steps.tell)
    for problem in problems:
        print(f"{problem.code}: {problem.place}: {problem.said}; to do: {problem.remedy}")
    if problems:
        raise typer.Exit(1)
    out.print(f"{data} is whole", soft_wrap=True)


@contextmanager
def on_the_disk() -> Iterator["Steps"]:
    """Shows how far work on the files is; a failure ends the program with its sentence."""
    try:
        with bar(rows=False) as progress:
            yield Steps(progress)
    except TagroarError as error:
        fail(error)


# ---------------------------------------------------------------- bulk


@cli.command("import")
def import_file(
    kind: Annotated[str, typer.Argument(help="memberships, table, profiles, events or relations")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    mode: Annotated[
        str, typer.Option(help="merge, or replace: each tag named holds exactly what the file says")
    ] = "merge",
    define: Annotated[bool, typer.Option("--define", help="define unknown tags as the file suggests")] = False,
    entity: Annotated[str, typer.Option(help="the entity kind of the users")] = "user",
    id_kind: Annotated[str | None, typer.Option(help="the users are named by this kind of identifier")] = None,
    key: Annotated[str | None, typer.Option(help="idempotency key: the same twice applies once")] = None,
    format: Annotated[str | None, typer.Option(help="csv, ndjson or parquet; by default from the name")] = None,
) -> None:
    """Import a file of memberships, wide rows, profiles or events."""
    config = settings()
    named = {"mode": mode, "define": "1" if define else "0", "entity": entity, "title": file.name}
    named |= {name: value for name, value in (("id_kind", id_kind), ("key", key)) if value is not None}

    async def run(store: Store) -> Job:
        context = context_of(store)
        request = bulk.import_request(context, kind, file.absolute(), format or format_of(file), named)
        request = bulk.kept(request)
        if define:
            show_inferred(request, set(context.view.catalog.tags))
        job = await bulk.start_import(context, request)
        with bar() as progress:
            steps = Steps(progress)
            async for now in store.job_changes(job.id):
                steps(file.name, 1.0 if now.state is JobState.DONE else now.progress or 0.0, now.rows_read)
                job = replace(now, already_applied=job.already_applied)
        for row in await store.rejections(job.id, limit=20):
            err.print(f"line {row.line}: {row.code}: {row.message}", markup=False, soft_wrap=True, highlight=False)
        if job.rows_rejected > 20:
            err.print(f"… and {job.rows_rejected - 20:,} more")
        return job

    job = with_store(config, run)
    rows = f"{job.rows_read:,} rows read = {job.rows_applied:,} applied + {job.rows_rejected:,} rejected"
    sentence = rows if job.state is JobState.DONE else job.error
    before = " (already applied before, with this key)" if job.already_applied else ""
    out.print(f"{job.state.value}: {sentence}{before}", markup=False, soft_wrap=True, highlight=False)
    raise typer.Exit(EXIT_CODES[job.state.value])


def format_of(file: Path) -> str:
    """The format that the name of a file says."""
    formats = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet", ".roaring": "roaring"}
    if file.suffix.lower() not in formats:
        fail(Invalid(f"the format of {file.name!r} cannot be told from its name; give --format"))
    return formats[file.suffix.lower()]


def show_inferred(request: ImportRequest, known: set[str]) -> None:
    """Shows which tags an import is going to define, and what the data suggests that they are."""
    found = [guess for guess in tags_suggested(request.kind, request.path, request.format) if guess.key not in known]
    err.print("Tags to be defined:" if found else "All tags are defined already.")
    for guess in found:
        err.print(f"  {guess}", markup=False, highlight=False, soft_wrap=True)


@cli.command("export")
def export_file(
    text: Annotated[str, typer.Argument(help="the audience, in the audience language")],
    file: Annotated[Path, typer.Argument(dir_okay=False, writable=True)],
    entity: Annotated[str, typer.Option(help="the entity kind")] = "user",
    id_kind: Annotated[str | None, typer.Option(help="name the users by this kind of identifier")] = None,
    columns: Annotated[str | None, typer.Option(help="user, id:<kind>, attribute:<key> or tags, with commas")] = None,
    format: Annotated[
        str | None, typer.Option(help="csv, ndjson, parquet or roaring; by default from the name")
    ] = None,
) -> None:
    """Export the users of an audience to a file."""
    named = {"entity": entity, "format": format or format_of(file)}
    named |= {name: value for name, value in (("id_kind", id_kind), ("columns", columns)) if value is not None}

    async def run(store: Store) -> int:
        asked = bulk.export(context_of(store), Asked.of_text(text, "text"), named)
        partial = file.with_name(f"{file.name}.partial")
        if asked.format is None:
            partial.write_bytes(await store.export_roaring(asked.plan))
            (count,) = await store.count([asked.plan])
        else:
            count, batches = await store.export(asked.plan, asked.columns)
            with partial.open("wb") as sink, bar() as progress:
                steps, done = Steps(progress), 0

                def counted() -> Any:
                    nonlocal done
                    for batch in batches:
                        yield batch
                        done += len(batch)
                        steps(file.name, done / max(count, 1), done)

                sink.writelines(write(asked.format, schema_of(asked.columns), counted()))
        partial.replace(file)
        return count

    out.print(f"{with_store(settings(), run):,} users exported to {file}", markup=False, soft_wrap=True)


# ---------------------------------------------------------------- tokens


@tokens.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="who the token is for")],
    scope: Annotated[list[str], typer.Option(help=f"may be given several times: {', '.join(SCOPES)}")],
    expires: Annotated[str | None, typer.Option(help="a duration such as P90D, after which it is not valid")] = None,
) -> None:
    """Make a token and print it, once, on the last line."""
    wrong = [each for each in scope if each not in SCOPES]
    if wrong:
        fail(Invalid(f"there is no scope {wrong[0]!r}; there are {', '.join(SCOPES)}"))
    try:
        ends = None if expires is None else Clock().now() + parse_duration(expires)
    except TagroarError as error:
        fail(error)
    print(with_store(settings(), lambda store: store.create_token(name, scope, ends)))


@tokens.command("list")
def list_tokens() -> None:
    """List the tokens, with their scopes, when they were made and when they end."""
    now = Clock().now()
    for token in with_store(settings(), lambda store: store.tokens()):
        ends = "" if token.expires_at is None else token.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        ended = "expired " if token.expires_at is not None and token.expires_at <= now else ""
        made = token.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        print(f"{token.name}\t{' '.join(sorted(token.scopes))}\t{made}\t{ended}{ends or 'never'}")


@tokens.command("revoke")
def revoke_token(name: Annotated[str, typer.Argument(help="whose token")]) -> None:
    """End a token at once."""
    with_store(settings(), lambda store: store.revoke_token(name))


if __name__ == "__main__":
    cli(prog_name=f"python {Path(sys.argv[0]).name}")
