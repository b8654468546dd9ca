"""Bulk routes: files in, users out, both streamed; decisions are in `resolvers/bulk.py`."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bitmap_store import schema_of
from bitmap_store.errors import Invalid, TooLarge
from bitmap_store.files.writers import write
from bitmap_store.literals import moment_text
from bitmap_store.values import Job, moment_of
from resolvers import bulk
from resolvers.asked import Asked
from resolvers.context import Context
from schema.served import where_of_json
from web.asking import exact_json
from web.service import Guarded, Service, answered_within, json_object, pieces

CONTENT_TYPES = {
    "text/csv": "csv",
    "application/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
}
ANSWER_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "roaring": "application/octet-stream",
}
REJECTIONS_CHUNK = 10_000
PIECE_BYTES = 1 << 17
"""Of a body that is streamed, handed to the server at a time: what is written at once holds the event loop."""


def options_of(request: Request) -> dict[str, str]:
    """The parameters of the query string; INVALID for one that is given twice."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise Invalid(f"{name} is given twice", argument=name)
        given[name] = value
    return given


class BulkRoutes:
    """The routes under /import, /export and /jobs."""

    def __init__(self, service: Callable[[], Service]) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """What to serve."""
        return [
            Route("/import/{kind}", Guarded(self._service, self.import_file), methods=["POST"]),
            Route("/export/audience", Guarded(self._service, self.export_audience), methods=["GET", "POST"]),
            Route("/export/ids", Guarded(self._service, self.export_ids), methods=["GET"]),
            Route("/jobs/{id}/rejections", Guarded(self._service, self.rejections), methods=["GET"]),
        ]

    # ------------------------------------------------------------ in

    async def import_file(self, request: Request, context: Context) -> Response:
        """Takes a file and starts its import: 202 and the job, or with ?wait=1 200 and the job that has ended."""
        options = options_of(request)
        wait = bulk.truth(options.pop("wait", "0"), "wait")
        format_ = options.pop("format", None) or _format_of(request)
        if key := request.headers.get("idempotency-key"):
            options["key"] = key
        kind = request.path_params["kind"]
        path = self._service().incoming / secrets.token_hex(12)
        asked = bulk.import_request(context, kind, path, format_, options)
        try:
            await self._receive(request, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        try:
            job = await bulk.start_import(context, asked)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        ended = await bulk.wait(context, job) if wait else job
        return JSONResponse(job_json(ended) | {"alreadyApplied": job.already_applied}, 200 if wait else 202)

    async def _receive(self, request: Request, path: Path) -> None:
        """Writes the body to a file as it comes, up to the limit."""
        path.parent.mkdir(parents=True, exist_ok=True)
        received, most, seconds = 0, self._service().import_bytes_max, self._service().bounds.read_seconds
        with path.open("wb") as file:
            try:
                async for chunk in pieces(request, seconds, each=True):
                    received += len(chunk)
                    if received > most:
                        raise TooLarge(f"a file to import has at most {most} bytes")
                    await run_in_threadpool(file.write, chunk)
            except ClientDisconnect:
                raise Invalid("the file broke off before its end; nothing was imported") from None

    async def rejections(self, request: Request, context: Context) -> Response:
        """All rows that a job rejected, as NDJSON."""
        job = request.path_params["id"]
        first = await bulk.rejections_after(context, job, 0, REJECTIONS_CHUNK)

        async def lines() -> AsyncIterator[bytes]:
            found = first
            while found:
                yield b"".join(
                    orjson.dumps({"line": row.line, "code": row.code, "message": row.message}) + b"\n" for row in found
                )
                found = await bulk.rejections_after(context, job, found[-1].line, REJECTIONS_CHUNK)

        return StreamingResponse(lines(), media_type=ANSWER_TYPES["ndjson"])

    # ------------------------------------------------------------ out

    async def export_audience(self, request: Request, context: Context) -> Response:
        """Streams the users of an audience; how many they are stands in a header before the first of them."""
        options = options_of(request)
        where: object = options.pop("where", None)
        if request.method == "POST":
            body = await json_object(request, self._service().bounds)
            where = body.pop("where", where)
            options |= _texts(body)
        asked = _asked(options.pop("text", None), where)
        export = bulk.export(context, asked, options)
        reading = export.plan.reading
        headers = {
            "Tagroar-Data-Version": str(reading.version),
            "Tagroar-At": moment_text(moment_of(reading.moment)),
        }
        seconds = self._service().bounds.request_seconds
        if export.format is None:
            data = await answered_within(seconds, context.store.export_roaring(export.plan))
            return Response(data, media_type=ANSWER_TYPES["roaring"], headers=headers)
        count, batches = await answered_within(seconds, context.store.export(export.plan, export.columns))
        headers["Tagroar-Count"] = str(count)
        chunks = write(export.format, schema_of(export.columns), batches)
        return _streamed(chunks, ANSWER_TYPES[export.format], headers)

    async def export_ids(self, request: Request, context: Context) -> Response:
        """Streams dense id and user id of everyone: what a Roaring export is to be read with."""
        context.viewer.require("members")
        options = options_of(request)
        format_ = bulk.one_of(options.get("format", "csv"), bulk.FORMATS, "format")
        for name in options.keys() - {"format", "entity", "asOf"}:
            raise Invalid(f"there is no parameter {name!r}", argument=name)
        as_of = bulk.moment(options["asOf"], "asOf") if "asOf" in options else None
        reading = context.reading(options.get("entity", "user"), as_of)
        schema = pa.schema([("id", pa.uint32()), ("user", pa.large_string())])
        chunks: Iterator[bytes] = write(format_, schema, context.store.export_ids(reading))
        return _streamed(chunks, ANSWER_TYPES[format_])


def _streamed(chunks: Iterator[bytes], media_type: str, headers: dict[str, str] | None = None) -> Response:
    """The chunks as they are made, in pieces that the event loop hands on in little time."""
    small = (chunk[start : start + PIECE_BYTES] for chunk in chunks for start in range(0, len(chunk), PIECE_BYTES))
    return StreamingResponse(iterate_in_threadpool(small), media_type=media_type, headers=headers)


def job_json(job: Job) -> dict[str, object]:
    """A job as the bulk routes answer it."""
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state.value,
        "rowsRead": job.rows_read,
        "rowsApplied": job.rows_applied,
        "rowsRejected": job.rows_rejected,
        "error": job.error,
    }


def _format_of(request: Request) -> str:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in CONTENT_TYPES:
        raise Invalid(
            f"the format cannot be told from the content type {content_type!r}; send text/csv, application/x-ndjson "
            "or application/vnd.apache.parquet, or say ?format=csv, ndjson or parquet",
            argument="format",
        )
    return CONTENT_TYPES[content_type]


def _texts(body: dict[str, object]) -> dict[str, str]:
    for name, value in body.items():
        if not isinstance(value, str):
            raise Invalid(f"{name} is a string", argument=name)
    return {name: str(value) for name, value in body.items()}


def _asked(text: str | None, where: object) -> Asked:
    if (text is None) == (where is None):
        raise Invalid("give either text, in the audience language, or where, as JSON", argument="text")
    if text is not None:
        return Asked.of_text(text, "text")
    if isinstance(where, str):
        try:
            where = exact_json(where.encode())
        except Invalid:
            raise Invalid("where is not JSON", argument="where") from None
    if not isinstance(where, dict):
        raise Invalid("where is an object, as AudienceWhere has it", argument="where")
    return where_of_json(where)
