"""Bulk in and out: what an import or an export is asked to do, from the strings that HTTP and the command line give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from bitmap_store import ExportColumn, Format, ImportRequest
from bitmap_store.errors import Invalid, NotFound, Unavailable, nearest
from bitmap_store.plan import Plan, Reading
from bitmap_store.values import Job, Rejection, Tag, TagKind
from resolvers.asked import Asked
from resolvers.audiences import ask
from resolvers.context import Context

IMPORT_KINDS = ("memberships", "table", "profiles", "events")
FORMATS: tuple[Format, ...] = ("csv", "ndjson", "parquet")
EXPORT_FORMATS = (*FORMATS, "roaring")
MODES = ("merge", "replace")
COLUMNS_MAX = 1_000
S = TypeVar("S", bound=str)


@dataclass(frozen=True, slots=True)
class Export:
    """An export that may begin: whose users, with which columns, in which format (None: Roaring)."""

    plan: Plan
    columns: tuple[ExportColumn, ...]
    format: Format | None


def import_request(context: Context, kind: str, path: Path, format_: str, options: Mapping[str, str]) -> ImportRequest:
    """The import that is asked for; INVALID for an option that does not exist or a value that it cannot have.

    Options: mode, entity, id_kind, define, key, source, title.
    """
    context.viewer.require("write")
    if kind == "relations":
        raise Unavailable("relations between entities come with a later version")
    if kind not in IMPORT_KINDS:
        raise NotFound.named("import", kind, IMPORT_KINDS)
    known = {"mode", "entity", "id_kind", "define", "key", "source", "title"}
    for name in options:
        if name not in known:
            raise Invalid(_unknown("option", name, known), argument=name)
    mode = one_of(options.get("mode", "merge"), MODES, "mode")
    if mode == "replace" and kind not in ("memberships", "table"):
        raise Invalid(
            f"importing {kind} adds to what is there; mode=replace is for memberships and tables", argument="mode"
        )
    define = truth(options.get("define", "0"), "define")
    if define:
        context.viewer.require("define")
        if kind == "profiles":
            raise Invalid("profiles hold no tags to define", argument="define")
    entity = context.view.catalog.entity(options.get("entity", "user"), argument="entity")
    key = options.get("key")
    if key is not None and not 1 <= len(key) <= 200:
        raise Invalid("an idempotency key has 1 to 200 characters", argument="Idempotency-Key")
    return ImportRequest(
        kind=kind,
        path=path,
        format=one_of(format_, FORMATS, "format"),
        entity=entity.key,
        id_kind=options.get("id_kind"),
        mode=mode,
        define=define,
        key=key,
        title=options.get("title", ""),
        source=options.get("source"),
    )


async def start_import(context: Context, request: ImportRequest) -> Job:
    """The job of an import; the one that is there already where its key was used for the same."""
    return await context.store.start_import(request)


async def wait(context: Context, job: Job) -> Job:
    """The job once it has ended."""
    return await context.store.wait_job(job.id)


async def rejections_after(context: Context, job: str, after_line: int, limit: int) -> list[Rejection]:
    """Rejected rows of a job by line, page by page; NOT_FOUND for no job."""
    context.viewer.require("write", "admin")
    if await context.store.job(job) is None:
        raise NotFound(f"there is no job {job!r}")
    return await context.store.rejections(job, after_line, limit)


def export(context: Context, asked: Asked, options: Mapping[str, str]) -> Export:
    """The export that is asked for. Options: format, columns, entity, id_kind, purpose, asOf."""
    context.viewer.require("members")
    known = {"format", "columns", "entity", "id_kind", "purpose", "asOf"}
    for name in options:
        if name not in known:
            raise Invalid(_unknown("parameter", name, known), argument=name)
    wanted = options.get("format", "csv")
    format_ = None if one_of(wanted, EXPORT_FORMATS, "format") == "roaring" else one_of(wanted, FORMATS, "format")
    entity = options.get("entity", "user")
    as_of = None if "asOf" not in options else moment(options["asOf"], "asOf")
    question = ask(context, asked, entity, as_of, options.get("purpose"))
    columns = export_columns(context, options, entity, question.plan.reading)
    if format_ is None and ("columns" in options or "id_kind" in options):
        raise Invalid("a Roaring export holds dense ids and nothing else", argument="columns")
    return Export(question.plan, tuple(columns), format_)


def export_columns(
    context: Context, options: Mapping[str, str], entity: str, reading: Reading
) -> Sequence[ExportColumn]:
    """The columns named: "user", "id:<kind>", "attribute:<key>" or a tag; without any, the user id or `id_kind`."""
    id_kind = options.get("id_kind")
    default = "user" if id_kind is None else f"id:{id_kind}"
    names = [name.strip() for name in options.get("columns", default).split(",")]
    if len(names) > COLUMNS_MAX:
        raise Invalid(f"an export has at most {COLUMNS_MAX} columns", argument="columns")
    if len(set(names)) != len(names):
        raise Invalid("a column is named twice", argument="columns")
    if id_kind is not None and f"id:{id_kind}" not in names:
        names.insert(0, f"id:{id_kind}")
    for name in names:
        if name.startswith("id:"):
            argument = "columns" if "columns" in options else "id_kind"
            context.store.check_id_kind(entity, name.removeprefix("id:"), argument=argument)
    return [_column(context, name, entity, reading) for name in names]


def _column(context: Context, name: str, entity: str, reading: Reading) -> ExportColumn:
    if name == "user":
        return ExportColumn(name)
    kind, _, key = name.partition(":")
    if kind == "id" and key:
        return ExportColumn(name, identifier=key)
    if kind == "attribute" and key:
        return ExportColumn(name, attribute=key)
    tag = context.view.catalog.tag_of(entity, name, argument="columns")
    return ExportColumn(tag.key, tag=tag, values=tuple(_rule_plans(context, tag, reading)))


def _rule_plans(context: Context, tag: Tag, reading: Reading) -> list[tuple[str, Plan]]:
    if not tag.is_rule:
        return []
    if tag.kind is TagKind.FLAG:
        return [("", context.store.plan_known(context.view, tag, reading))]
    values = list(context.view.catalog.values(tag))
    return list(zip(values, context.store.plans_of_values(context.view, tag, reading), strict=True))


def one_of(value: str, known: Sequence[S], argument: str) -> S:
    """The known value that is meant; INVALID with the known ones otherwise."""
    for each in known:
        if each == value:
            return each
    raise Invalid(f"{argument} is one of {', '.join(known)}, not {value!r}", argument=argument)


def truth(value: str, argument: str) -> bool:
    """Whether a parameter is set."""
    if value.lower() not in ("1", "true", "0", "false", ""):
        raise Invalid(f"{argument} is 1 or 0, not {value!r}", argument=argument)
    return value.lower() in ("1", "true")


def moment(text: str, argument: str) -> datetime:
    """An RFC 3339 moment in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text!r} is not a moment; write 2026-11-01T00:00:00Z", argument=argument) from None
    if found.tzinfo is None:
        raise Invalid(f"{text!r} names no time zone; end it with Z or an offset", argument=argument)
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise Invalid(f"{text!r} is out of range", argument=argument) from None


def _unknown(what: str, name: str, known: set[str]) -> str:
    close = nearest(name, known)
    return f"there is no {what} {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def kept(request: ImportRequest) -> ImportRequest:
    """The import of a file that is the caller's own and stays where it is."""
    return replace(request, owned=False)
