"""Rows of a world as the files that are imported: long, wide and events; as Parquet, CSV and NDJSON."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from tests.acceptance.harness import rfc3339
from tests.acceptance.world import NEVER, Definition, Ints, Rows, World


def long_form(world: World, parts: dict[str, Rows]) -> pa.Table:
    """A row a membership."""
    tables = []
    for key, made in parts.items():
        never, unscored = pa.array(made["expires"] == NEVER), pa.array(made["score"] < 0)
        columns = {
            "user": world.names(made["user"]),
            "tag": pa.array([key]).take(pa.array(np.zeros(len(made), np.int32))),
            "score": pc.if_else(unscored, None, pa.array(made["score"] / 100)),
            "expires_at": pc.if_else(never, None, moments_of(made["expires"])),
        }
        tables.append(pa.table(columns | _content(world.tags[key], made)))
    return pa.concat_tables(tables, promote_options="default")


def wide_form(world: World, parts: dict[str, Rows], users: Ints) -> pa.Table:
    """A row a user, in this order, with a column for each tag."""
    place = np.zeros(world.count, np.int64)
    place[users] = np.arange(len(users))
    columns = {"user": world.names(users)}
    for key, made in parts.items():
        (said,) = _content(world.tags[key], made).values() or (pa.array(np.ones(len(made), bool)),)
        index = np.full(len(users), -1)
        index[place[made["user"]]] = np.arange(len(made))
        columns[key] = said.take(pa.array(index, mask=index < 0))
    return pa.table(columns)


def events_form(world: World, key: str, users: Ints, value: Ints, at: Ints, times: Ints) -> pa.Table:
    """A row an event."""
    return pa.table(
        {
            "user": world.names(users),
            "tag": pa.repeat(key, len(users)),
            "value": pa.array(world.tags[key].values).take(pa.array(value, mask=value < 0)),
            "at": moments_of(at),
            "count": pa.array(times),
        }
    )


def write(table: pa.Table, path: Path) -> None:
    """Writes a table in the format that the name says."""
    match path.suffix:
        case ".csv":
            pyarrow.csv.write_csv(table, path)
        case ".parquet":
            pq.write_table(table, path)
        case ".ndjson":
            _write_ndjson(table, path)
        case _:
            raise ValueError(path.name)


def _write_ndjson(table: pa.Table, path: Path) -> None:
    """One object a row; what is null is left out."""
    with path.open("w") as file:
        for batch in table.to_batches(50_000):
            for row in batch.to_pylist():
                row["expires_at"] = row["expires_at"] and rfc3339(row["expires_at"])
                said = {name: cell for name, cell in row.items() if cell is not None}
                file.write(json.dumps(said, ensure_ascii=False) + "\n")


def moments_of(numbers: Ints) -> pa.Array:
    """Seconds since 1970 as typed moments."""
    return pa.array(numbers.astype("datetime64[s]")).cast(pa.timestamp("s", "UTC"))


def _content(tag: Definition, made: Rows) -> dict[str, pa.Array]:
    """The column that says what of the tag, by its name in the long form; none for a FLAG."""
    match tag.kind:
        case "CHOICE" | "CHOICES":
            codes = pa.DictionaryArray.from_arrays(pa.array(made["value"].astype(np.int32)), pa.array(tag.values))
            return {"value": codes.cast(pa.string())}
        case "NUMBER":
            return {"number": pa.array(made["units"] / 10**tag.scale if tag.scale else made["units"])}
        case "DATE" if tag.day:
            return {"date": pa.array(made["units"].astype("datetime64[D]")).cast(pa.string())}
        case "DATE":
            return {"date": pc.strftime(moments_of(made["units"]), "%Y-%m-%dT%H:%M:%SZ")}
    return {}
