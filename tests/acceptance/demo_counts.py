"""The Complete Journey counts of the demo, against pandas group-bys on the raw files."""

import sys
from datetime import timedelta

import pandas as pd

from tests.acceptance.demo_world import CLOCK, DEMOGRAPHICS, cents, moments_of, raw
from tests.acceptance.harness import Report, Server, options, workplace
from tests.acceptance.questions import quoted
from tests.acceptance.world import DAY, seconds

VALUES = "query($k: String!) { tag(key: $k) { size values(first: 200) { edges { node { value size } } } } }"
BREAKDOWN = (
    "query($w: AudienceWhere!, $b: [BreakdownBy!]!) "
    "{ audience(where: $w) { breakdown(by: $b, top: 100) { kind values size } } }"
)


def demographics(server: Server, report: Report) -> None:
    """Every value of every demographic tag: by the catalog, by a question, and by a breakdown with the unknown."""
    table, households = raw("demographics"), raw("transactions")["household_id"].nunique()
    for name in DEMOGRAPHICS:
        counts = {str(value): int(count) for value, count in table.groupby(name, observed=True).size().items()}
        tag = server.ask(VALUES, k=name)["tag"]
        listed = {edge["node"]["value"]: edge["node"]["size"] for edge in tag["values"]["edges"]}
        for value, count in counts.items():
            report.equal("demographic values: catalog", listed.get(value), count, f"{name} = {value}")
            report.equal(
                "demographic values: size", server.size(f"{name} = {quoted(value)}"), count, f"{name} = {value}"
            )
        rows = server.ask(BREAKDOWN, w={"everyone": True}, b=[{"tag": name}])["audience"]["breakdown"]
        shown = {row["values"][0]: row["size"] for row in rows if row["kind"] == "VALUE" and row["size"]}
        unknown = sum(row["size"] for row in rows if row["kind"] == "UNKNOWN")
        report.equal("demographic values: breakdown", shown, counts, name)
        report.equal("demographic values: unknown", unknown, households - sum(counts.values()), name)
        report.equal("demographic values: known", tag["size"], int(table[name].notna().sum()), name)


def purchases(server: Server, report: Report, times: int, days: int) -> None:
    """Households with so many purchase lines in a department in the last days of the data."""
    lines = raw("transactions").merge(raw("products")[["product_id", "department"]], on="product_id", how="left")
    day = moments_of(lines["transaction_timestamp"]) // DAY
    last = seconds(CLOCK) // DAY
    recent = lines[(day > last - days) & (day <= last)]
    by_department = recent.groupby(["department", "household_id"]).size()
    enough = by_department[by_department >= times].groupby("department").size()
    departments = sorted(lines["department"].dropna().unique())
    for name in departments:
        found = server.size(f"purchase[{quoted(name)}] times {times} within P{days}D")
        report.equal(f"{times} lines in a department in {days} days", found, int(enough.get(name, 0)), name)
    ever = lines.groupby("department")["household_id"].nunique()
    for name in departments:
        report.equal("households of a department", server.size(f"departments[{quoted(name)}]"), int(ever[name]), name)
    anything = recent.groupby("household_id").size()
    for least in (1, times, 50):
        found = server.size(f"purchase times {least} within P{days}D")
        report.equal("lines in all departments", found, int((anything >= least).sum()), f"times {least}")


def money(server: Server, report: Report) -> None:
    """Sums that have to be exact to the cent."""
    lines = raw("transactions")
    spend = cents(lines["sales_value"]).groupby(lines["household_id"]).sum()
    summary = 'query($w: AudienceWhere!) { audience(where: $w) { numbers(tag: "spend") { count sum min max median } } }'
    found = server.ask(summary, w={"everyone": True})["audience"]["numbers"]
    exact = {name: round(float(found[name]) * 100) for name in ("sum", "min", "max")}
    report.equal(
        "spend: sum, least and most", exact, {"sum": int(spend.sum()), "min": int(spend.min()), "max": int(spend.max())}
    )
    report.equal("spend: households", found["count"], len(spend))
    report.check("spend: median", abs(found["median"] * 100 - float(spend.median())) < 1e-6, f"{found['median']}")
    for bound in (100, 1_000, 5_000):
        report.equal("spend: at least", server.size(f"spend >= {bound}"), int((spend >= bound * 100).sum()), f"{bound}")


def campaigns(server: Server, report: Report) -> None:
    """Households of each campaign and its redemptions."""
    received, redeemed = raw("campaigns"), raw("coupon_redemptions")
    for name, table, key in (("campaign", received, "campaign"), ("redeemed", redeemed, "redeemed")):
        counts: pd.Series = table.groupby("campaign_id")["household_id"].nunique()
        for campaign, count in counts.items():
            report.equal(f"households by {name}", server.size(f'{key}["{campaign}"]'), int(count), f"{campaign}")


def main() -> int:
    """Compares all of it."""
    given = options(__doc__, times=3, days=90)
    report = Report("The Complete Journey, counted by the service and by pandas")
    with workplace(given.keep) as directory, Server(directory / "store", verb="demo", now=CLOCK) as server:
        report.equal("everyone", server.size("everyone"), raw("transactions")["household_id"].nunique())
        demographics(server, report)
        purchases(server, report, given.times, given.days)
        money(server, report)
        campaigns(server, report)
        at = server.audience({"text": "everyone"}, "at")["at"]
        report.check("the clock is at the end of the data", at.startswith(f"{CLOCK:%Y-%m-%d}"), at)
        later = CLOCK + timedelta(hours=1)
        report.check("the clock ticks", at < later.isoformat(), at)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
