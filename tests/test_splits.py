"""Splits: without common users, whole together, of the sizes promised, the same by the same seed, and expressions."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitmap_store.expression import NOTHING, And, Expression, Or, Part
from bitmap_store.language import parse
from bitmap_store.slices import stable_hash
from bitmap_store.text import render
from bitmap_store.values import Assign
from resolvers import parts as pure
from tests.api import Api
from tests.crowds import crowd, drawn
from tests.worlds import copied

TABLE = drawn(6_000)
AUDIENCES = (
    "everyone",
    "vip",
    'city = "Lima"',
    "vip and spend > 500",
    "not city",
    "not everyone",
    'users("u5", "u77")',
)
SPLIT = """query ($where: AudienceWhere!, $parts: [SplitPart!]!, $seed: String!, $control: String, $exact: Boolean!,
                  $by: [BreakdownBy!]) {
  audience(where: $where) { size split(parts: $parts, seed: $seed, control: $control, exact: $exact, stratifyBy: $by) {
    name target control size share audience { text size } } } }"""


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = crowd(empty_store, tmp_path_factory.mktemp("splits") / "store", TABLE)
    yield found
    found.close()


def split(
    api: Api,
    text: str,
    shares: Sequence[float],
    seed: str = "s",
    control: str | None = None,
    exact: bool = False,
    by: list[dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """The parts p0, p1, …"""
    parts = [{"name": f"p{i}", "share": share} for i, share in enumerate(shares)]
    found = api.ask(SPLIT, where={"text": text}, parts=parts, seed=seed, control=control, exact=exact, by=by)
    rows: list[dict[str, Any]] = found["split"]
    for row in rows:
        assert row["size"] == row["audience"]["size"]
        assert row["share"] == (row["size"] / found["size"] if found["size"] else 0)
        assert render(parse(row["audience"]["text"])) == row["audience"]["text"]
    return rows


def members(api: Api, rows: Sequence[dict[str, Any]]) -> list[set[str]]:
    """Who is in each part, by the text that it prints."""
    return [api.world.members(row["audience"]["text"]) for row in rows]


SHARES = st.lists(st.integers(1, 20), min_size=1, max_size=6).flatmap(
    lambda whole: st.integers(sum(whole), sum(whole) + 10).map(lambda all_: [each / all_ for each in whole])
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(AUDIENCES), SHARES, st.sampled_from(["", "s", "种子", 'a"b']), st.booleans(), st.booleans())
def test_parts_have_no_user_in_common_and_are_the_whole(
    api: Api, text: str, shares: list[float], seed: str, exact: bool, stratified: bool
) -> None:
    left = 1 - sum(map(Fraction, shares))
    control = "control" if left > 1e-9 else None
    by = [{"tag": "city"}, {"tag": "spend", "bins": 3}] if stratified else None
    rows = split(api, text, shares, seed, control, exact, by)
    found, whole = members(api, rows), api.world.members(text)
    assert [row["size"] for row in rows] == [len(part) for part in found]
    assert all(not one & other for one, other in combinations(found, 2))
    assert set().union(*found) == whole
    if exact and not stratified:
        targets = [*shares, float(left)]
        assert all(abs(len(part) - len(whole) * share) < 1 for part, share in zip(found, targets, strict=False))
    assert rows == split(api, text, shares, seed, control, exact, by)


def test_sizes_are_within_four_standard_errors(api: Api) -> None:
    for seed in map(str, range(50)):
        for text, count in (("everyone", len(TABLE)), ("vip", int(TABLE.vip.sum()))):
            rows = split(api, text, [0.5, 0.3, 0.1], seed, "control")
            for row, share in zip(rows, [0.5, 0.3, 0.1, 0.1], strict=True):
                assert abs(row["size"] - count * share) <= 4 * (count * share * (1 - share)) ** 0.5
    assert [row["target"] for row in rows] == pytest.approx([0.5, 0.3, 0.1, 0.1])
    assert [row["control"] for row in rows] == [False, False, False, True]


def test_another_seed_is_another_split_that_has_nothing_to_do_with_the_first(api: Api) -> None:
    one, other = (members(api, split(api, "everyone", [0.5, 0.5], seed)) for seed in ("one", "other"))
    common = len(one[0] & other[0])
    assert abs(common - len(TABLE) / 4) <= 4 * (len(TABLE) * 3 / 16) ** 0.5


def test_a_user_stays_in_a_part_whatever_the_audience(api: Api) -> None:
    everyone, vips = (members(api, split(api, text, [0.25, 0.75])) for text in ("everyone", "vip"))
    assert [part & api.world.members("vip") for part in everyone] == vips


def test_parts_are_written_as_short_as_their_shares(api: Api) -> None:
    rows = split(api, "vip", [0.1, 0.2], control="control")
    assert [row["audience"]["text"] for row in rows] == [
        'vip and part("s", 0, 0.1)',
        'vip and part("s", 0.1, 0.3)',
        'vip and part("s", 0.3, 1)',
    ]
    assert split(api, "everyone", [1])[0]["audience"]["text"] == 'part("s", 0, 1)'
    thirds = split(api, "vip", [1 / 3, 1 / 3, 1 / 3])
    assert thirds[2]["audience"]["text"].endswith(", 1)")


def test_without_a_control_those_left_over_are_in_no_part(api: Api) -> None:
    rows = split(api, "everyone", [0.2, 0.3], exact=True)
    assert [row["size"] for row in rows] == [1200, 1800]


def test_exact_sizes_are_the_shares_by_largest_remainders(api: Api) -> None:
    vips = int(TABLE.vip.sum())
    for seed in map(str, range(20)):
        rows = split(api, "vip", [0.5, 0.3, 0.1], seed, "control", exact=True)
        sizes = [row["size"] for row in rows]
        assert sum(sizes) == vips
        assert sizes == hamilton(vips, [Fraction(5, 10), Fraction(3, 10), Fraction(1, 10), Fraction(1, 10)])


def hamilton(total: int, shares: Sequence[Fraction]) -> list[int]:
    """Largest remainders, one seat after the other."""
    seats = [int(total * share) for share in shares]
    while sum(seats) < total:
        behind = max(range(len(shares)), key=lambda i: total * shares[i] - seats[i])
        seats[behind] += 1
    return seats


def test_exact_parts_do_not_move_when_others_come(empty_store: Path, tmp_path: Path) -> None:
    table = drawn(800, 3)
    api = crowd(empty_store, tmp_path / "store", table.head(400))
    rows = split(api, "vip", [0.5, 0.5], exact=True)
    before = members(api, rows)
    api.assign(*({"user": user, "tag": "vip"} for user in table.user[400:][table.vip[400:]]))
    after = members(api, rows)
    assert all(old <= new for old, new in zip(before, after, strict=True))
    assert set().union(*after) == api.world.members("vip")
    api.close()


@pytest.mark.parametrize("text", ["{}", "vip or {}", "not {}", "everyone and not ({})"])
def test_a_look_alike_of_a_part_is_not_split_by_its_seed(api: Api, text: str) -> None:
    """Seeds are not in their look-alike, so that most of it lies where they do not."""
    where = {"text": text.format('like (vip and part("s", 0, 0.5)) size 150')}
    shares = [{"name": "a", "share": 0.5}]
    found = api.error(SPLIT, where=where, parts=shares, seed="s", exact=False)
    assert (found["code"], found["argument"]) == ("INVALID", "seed")
    assert api.ask(SPLIT, where=where, parts=shares, seed="another", exact=False)
    assert api.ask(SPLIT, where=where, parts=shares, seed="s", exact=True)


def test_an_exact_split_of_a_part_by_its_own_seed(api: Api) -> None:
    text = 'part("s", 0, 0.5)'
    assert api.error(SPLIT, where={"text": text}, parts=[{"name": "a", "share": 0.5}], seed="s", exact=False) | {
        "message": ""
    } == {"message": "", "path": ["audience", "split"], "code": "INVALID", "argument": "seed"}
    for nested in (f"vip and not {text}", f'at "2026-11-22T00:00:00Z" ({text})', f"2 of (vip, {text}, city)"):
        found = api.errors(SPLIT, where={"text": nested}, parts=[{"name": "a", "share": 0.5}], seed="s", exact=False)
        assert [each["code"] for each in found] == ["INVALID"] or "at" in nested
    rows = split(api, text, [0.5, 0.5], exact=True)
    assert abs(rows[0]["size"] - rows[1]["size"]) <= 1


# ---------------------------------------------------------------- strata


@pytest.mark.parametrize(
    "by",
    [
        [{"tag": "city"}],
        [{"tag": "vip"}],
        [{"tag": "spend", "bins": 5}],
        [{"tag": "spend", "edges": [100, 900]}],
        [{"tag": "vip"}, {"tag": "city"}],
        [{"tag": "vip"}, {"tag": "spend", "quantiles": 3}, {"tag": "city"}],
    ],
)
def test_each_stratum_has_its_shares(api: Api, by: list[dict[str, Any]]) -> None:
    shares, control = [0.5, 0.2], "control"
    rows = split(api, "everyone", shares, "x", control, by=by)
    table = TABLE.set_index("user")
    table["part"] = ""
    for row, part in zip(rows, members(api, rows), strict=True):
        table.loc[list(part), "part"] = row["name"]
    table["spend"] = ranges(table.spend, by)
    counted = table.groupby([each["tag"] for each in by] + ["part"]).size().unstack(fill_value=0)
    due = counted.sum(axis=1).to_numpy()[:, None] * np.array([0.3, 0.5, 0.2])
    assert sorted(counted.columns) == ["control", "p0", "p1"]
    assert (np.abs(counted[["control", "p0", "p1"]].to_numpy() - due) < 1).all()
    assert (np.abs(counted.sum(axis=0).to_numpy() - len(table) * np.array([0.3, 0.5, 0.2])) <= 1).all()


def ranges(spend: "pd.Series[int]", by: Sequence[dict[str, Any]]) -> "pd.Series[int]":
    """In which range of the split each number is, from the request alone; -1 where there is none."""
    (how,) = [each for each in by if each["tag"] == "spend"] or [{}]
    known = spend[spend >= 0]
    if "edges" in how:
        cuts = list(how["edges"])
    elif "bins" in how:
        width = known.max() - known.min() + 1
        cuts = [known.min() + width * i // how["bins"] for i in range(1, how["bins"])]
    elif "quantiles" in how:
        cuts = [
            int(np.quantile(known, i / how["quantiles"], method="inverted_cdf")) for i in range(1, how["quantiles"])
        ]
    else:
        return spend
    return pd.Series(np.where(spend < 0, -1, np.searchsorted(cuts, spend, side="right")), index=spend.index)


def test_small_strata_do_not_all_round_to_the_first_part() -> None:
    owed = [Fraction(0)] * 2
    found = [pure.apportioned(1, [Fraction(1, 2), Fraction(1, 2)], owed) for _ in range(100)]
    assert np.sum(found, axis=0).tolist() == [50, 50]


@given(st.lists(st.integers(0, 30), max_size=60), SHARES)
def test_what_rounding_takes_is_carried_on(totals: list[int], shares: list[float]) -> None:
    wanted = [Fraction(each) for each in shares]
    wanted = [*wanted, 1 - sum(wanted)] if sum(wanted) < 1 else wanted
    owed = [Fraction(0)] * len(wanted)
    rows = [pure.apportioned(total, wanted, owed) for total in totals]
    for total, row in zip(totals, rows, strict=True):
        assert sum(row) == total
        assert all(abs(count - total * share) < 1 for count, share in zip(row, wanted, strict=True))
    assert all(abs(each) <= len(wanted) / 2 + 1 for each in owed)


def test_whoever_comes_to_no_stratum_of_today_goes_by_the_same_ranges(empty_store: Path, tmp_path: Path) -> None:
    api = crowd(empty_store, tmp_path / "store", drawn(300))
    by = [{"tag": "city"}, {"tag": "spend", "bins": 2}]
    rows = split(api, "everyone", [0.5, 0.5], by=by)
    api.assign({"user": "new1", "tag": "spend", "number": 10**6}, {"user": "new2", "tag": "spend", "number": -5})
    api.assign({"user": "new3", "tag": "vip"})
    found = members(api, rows)
    assert set().union(*found) == api.world.members("everyone")
    assert not found[0] & found[1]
    api.close()


# ---------------------------------------------------------------- ties

TIED = ("253", 194, 1462)
"""A seed by which two dense ids have the same hash, and those."""


def test_users_with_the_same_hash_are_told_apart_by_another(empty_store: Path, tmp_path: Path) -> None:
    seed, one, other = TIED
    hashes = stable_hash(np.array([one, other], np.uint32), seed)
    assert hashes[0] == hashes[1]
    api = Api(copied(empty_store, tmp_path / "store"))
    api.define("vip")
    api.world.apply(*(Assign(f"u{i}", "vip") for i in range(1_500)))
    for text in (f'users("u{one}", "u{other}")', f'users("u{one}", "u{other}", "u3", "u4")', "vip"):
        size, below = api.size(text), api.size(f'{text} and part("{seed}", 0, {hashes[0] / 2**32})')
        share = (below + 1) / size  # so that the cut lies between the two
        rows = split(api, text, [share, 1 - share] if share < 1 else [1], seed, exact=True)
        found = members(api, rows)
        assert [len(part) for part in found] == [below + 1, size - below - 1]
        assert not found[0] & found[1] and f"u{one}" in found[0] ^ found[1]
        assert 'part("253~"' in rows[0]["audience"]["text"]
    api.close()


def test_ranges_between_cuts_with_ties() -> None:
    """Consecutive cuts, tied at the same place, at different ones, and not at all, against the order of two hashes."""
    users = np.arange(60, dtype=np.uint32)
    seed, one, other = TIED
    users = np.append(users, [one, other]).astype(np.uint32)
    key = [(int(a), int(b)) for a, b in zip(stable_hash(users, seed), stable_hash(users, seed + "~"), strict=True)]
    order = [int(users[i]) for i in sorted(range(len(users)), key=key.__getitem__)]
    counts = list(range(len(users) + 1))
    found = pure.cuts(users, seed, counts, [count / len(users) for count in counts])
    assert sum(cut.ties is not None for cut in found) == 1
    for low, high in combinations(range(len(counts)), 2):
        assert inside(users, pure.between(seed, found[low], found[high])) == set(order[low:high])
    assert pure.between(seed, found[3], found[3]) == NOTHING


def inside(users: np.ndarray[Any, np.dtype[np.uint32]], node: Expression) -> set[int]:
    """Who is in an expression of parts, by the definition of a part."""
    match node:
        case Part(seed, start, end):
            low, high = round(start * 2**32), round(end * 2**32)
            hashes = stable_hash(users, seed)
            return set(users[(hashes >= low) & (hashes < high)].tolist())
        case And(of):
            return set.intersection(*(inside(users, each) for each in of))
        case Or(of):
            return set.union(*(inside(users, each) for each in of))
    raise AssertionError(node)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "code", "argument"),
    [
        ({"parts": []}, "INVALID", "parts"),
        ({"parts": [{"name": "a", "share": 0}]}, "INVALID", "parts.0.share"),
        ({"parts": [{"name": "a", "share": 0.6}, {"name": "b", "share": 0.41}]}, "INVALID", "parts.1.share"),
        ({"parts": [{"name": "a", "share": 0.1}, {"name": "a", "share": 0.1}]}, "INVALID", "parts.1.name"),
        ({"parts": [{"name": " ", "share": 0.1}]}, "INVALID", "parts.0.name"),
        ({"parts": [{"name": "a", "share": 1}], "control": "b"}, "INVALID", "control"),
        ({"control": "a"}, "INVALID", "control"),
        ({"parts": [{"name": str(i), "share": 0.001} for i in range(101)]}, "TOO_LARGE", "parts"),
        ({"by": [{"tag": "goods"}]}, "INVALID", "stratifyBy.0"),
        ({"by": [{"tag": "cty"}]}, "NOT_FOUND", "stratifyBy.0.tag"),
        ({"by": [{"tag": "spend", "bins": 500}]}, "TOO_LARGE", "stratifyBy"),
        ({"by": [{"tag": "city"}] * 4}, "INVALID", "stratifyBy"),
    ],
)
def test_what_is_wrong_is_named(api: Api, change: dict[str, Any], code: str, argument: str) -> None:
    asked = {"where": {"text": "vip"}, "parts": [{"name": "a", "share": 0.5}], "seed": "s", "exact": False} | change
    found = api.error(SPLIT, **asked)
    assert (found["code"], found["argument"]) == (code, argument)


def test_three_tenths_and_seven_are_all(api: Api) -> None:
    assert sum(row["size"] for row in split(api, "vip", [0.1, 0.1, 0.1, 0.7])) == TABLE.vip.sum()
    assert sum(row["size"] for row in split(api, "vip", [0.1] * 10, exact=True)) == TABLE.vip.sum()
