"""Loads the demo into a store by the same doors as any other data: definitions, then imports."""

import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from pydantic import TypeAdapter

from bitmap_store import ImportRequest, Store, TagDefinition
from bitmap_store.errors import TagroarError, Unavailable
from bitmap_store.values import DatePrecision, Job, JobState, Sensitivity, TagKind, TagOrigin
from demo.catalog import DEFINITIONS, Tag
from demo.completejourney import CLOCK, write_files

MARK = "demo"
"""A file in the directory of a store that holds the demo: its clock starts at the end of the data."""

IMPORTED_AT = CLOCK - timedelta(hours=1)
"""The clock during the import, so that `asOf` has a moment before the demo's present to go back to."""

_DURATION = TypeAdapter(timedelta)
Progress = Callable[[str, float, int], None]
"""Told of each step: its title, how much of it is done within 0..1, its rows so far."""


def is_loaded(store: Store) -> bool:
    """Whether the whole demo is in the store: its audiences are saved last."""
    saved = store.view().catalog.audiences
    return all(audience.key in saved for audience in DEFINITIONS.audiences)


async def load(store: Store, progress: Progress) -> None:
    """Defines and imports the demo. Can be repeated: what was done is not done again."""
    store.clock.set(IMPORTED_AT)
    catalog = store.view().catalog
    for category in DEFINITIONS.categories:
        await store.define_category(category.key, category.name, category.parent)
    for tag in DEFINITIONS.tags:
        if tag.key not in catalog.tags:
            await store.define_tag(definition_of(tag))
    directory = Path(tempfile.mkdtemp(prefix="tagroar-demo-"))
    try:
        files = write_files(directory, lambda title, done, total: progress(title, done / max(total, 1), done))
        for file in files:
            request = ImportRequest(
                file.kind, file.path, "parquet", key=f"demo-{file.kind}", title=file.title, source="completejourney"
            )
            started = await store.start_import(request)
            ended = started
            async for job in store.job_changes(started.id):
                progress(file.title, job.progress or 0.0, job.rows_read)
                ended = job
            check(ended)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for audience in DEFINITIONS.audiences:
        if audience.key not in catalog.audiences:
            await store.save_audience(audience.key, audience.name, audience.text)
    (store.settings.directory / MARK).touch()
    store.clock.set(CLOCK)


def check(job: Job) -> None:
    """Raises what ended a job early, or that it rejected rows: the demo's files have none that are wrong."""
    if job.state is not JobState.DONE:
        raise Unavailable(f"the demo's {job.title} could not be imported: {job.error}")
    if job.rows_rejected:
        raise TagroarError(f"{job.rows_rejected} rows of the demo's {job.title} were rejected")


def definition_of(tag: Tag) -> TagDefinition:
    """The definition of a demo tag as the store takes it."""
    return TagDefinition(
        key=tag.key,
        name=tag.name,
        kind=TagKind(tag.kind),
        category=tag.category,
        values=tag.values,
        hierarchical=tag.hierarchical,
        scale=tag.scale,
        precision=DatePrecision(tag.precision),
        definition=tag.definition,
        rule=tag.rule,
        valid_for=None if tag.valid_for is None else _DURATION.validate_python(tag.valid_for),
        origin=None if tag.origin is None else TagOrigin(tag.origin),
        sensitivity=Sensitivity(tag.sensitivity),
        owner=tag.owner,
    )
