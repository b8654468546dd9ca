"""A crowd of users with tags by a seeded draw, beside a table of the same, to be asked through GraphQL."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from bitmap_store.values import Assign, ProfileChange
from tests.api import Api
from tests.worlds import copied

CITIES = ("Shanghai", "Beijing", "Paris", "Lima")
GOODS = ("milk powder", "tea", "diapers", "vitamins", "rice")


def drawn(count: int, seed: int = 7) -> pd.DataFrame:
    """Users u0…: vip, city (some unknown), spend (some unknown), goods (lists); milk powder goes with vitamins."""
    rng = np.random.default_rng(seed)
    milk = rng.random(count) < 0.1
    bought = {
        "milk powder": milk,
        "tea": rng.random(count) < 0.4,
        "diapers": rng.random(count) < 0.08,
        "vitamins": np.where(milk, rng.random(count) < 0.8, rng.random(count) < 0.05),
        "rice": rng.random(count) < 0.6,
    }
    return pd.DataFrame(
        {
            "user": [f"u{i}" for i in range(count)],
            "vip": rng.random(count) < 0.3,
            "city": rng.choice([*CITIES, ""], count, p=[0.4, 0.3, 0.15, 0.05, 0.1]),
            "spend": np.where(rng.random(count) < 0.9, rng.integers(0, 1000, count), -1),
            **bought,
        }
    )


def crowd(empty_store: Path, directory: Path, table: pd.DataFrame) -> Api:
    """The service over a store that holds the table."""
    api = Api(copied(empty_store, directory))
    api.define("vip")
    api.define("city", kind="CHOICE", values=list(CITIES))
    api.define("spend", kind="NUMBER")
    api.define("goods", kind="CHOICES", values=list(GOODS))
    api.world.apply(
        *map(ProfileChange, table.user),
        *(Assign(user, "vip") for user in table.user[table.vip]),
        *(Assign(row.user, "city", value=row.city) for row in table[table.city != ""].itertuples()),
        *(Assign(row.user, "spend", number=Decimal(row.spend)) for row in table[table.spend >= 0].itertuples()),
        *(Assign(user, "goods", value=each) for each in GOODS for user in table.user[table[each]]),
    )
    return api
