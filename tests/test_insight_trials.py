"""Splits and association on the demo data, with pandas."""

import json
from collections.abc import Iterator
from itertools import permutations

import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from tests.api import Api
from tests.demos import demo


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = demo(tmp_path_factory.mktemp("demo") / "store")
    yield found
    found.close()


def test_parts_are_as_old_and_as_rich_as_each_other(api: Api) -> None:
    """A split of the demo in strata of age and income, counted by pandas from who is in each part."""
    query = """{ audience(where: {text: "everyone"}) { split(parts: [{name: "a", share: 0.4}, {name: "b", share: 0.4}],
        control: "c", seed: "x", stratifyBy: [{tag: "income"}, {tag: "age"}]) { name audience { text } } } }"""
    table = pd.DataFrame(index=sorted(api.world.members("everyone")), columns=["age", "income", "part"], data="")
    for tag in ("age", "income"):
        for value in api.world.view().catalog.values(api.world.view().catalog.tag(tag)):
            table.loc[sorted(api.world.members(f"{tag} = {json.dumps(value)}")), tag] = value
    for row in api.ask(query)["split"]:
        table.loc[sorted(api.world.members(row["audience"]["text"])), "part"] = row["name"]
    counts = table.groupby(["age", "income", "part"]).size().unstack(fill_value=0)
    due = counts.sum(axis=1).to_numpy()[:, None] * [0.4, 0.4, 0.2]
    assert list(counts.columns) == ["a", "b", "c"] and len(counts) > 50
    assert (abs(counts.to_numpy() - due) < 1).all()
    assert (abs(counts.sum().to_numpy() - len(table) * pd.Series([0.4, 0.4, 0.2])) <= 1.5).all()
    by_chance = chi2_contingency(pd.crosstab(table.age, table.part)).pvalue
    assert by_chance > 0.99  # more even than chance would be


def test_association_of_departments_is_that_of_pandas(api: Api) -> None:
    """Every household by department, from the answers to who bought there."""
    departments = [edge["node"]["value"] for edge in api.ask(
        '{ tag(key: "purchase") { values(first: 100) { edges { node { value } } } } }')["values"]["edges"]]  # fmt: skip
    bought = pd.DataFrame(
        {each: pd.Series(True, sorted(api.world.members(f"purchase in ({json.dumps(each)})"))) for each in departments},
        index=sorted(api.world.members("everyone")),
    )
    bought = bought.notna() & bought.fillna(False).astype(bool)
    counts = bought.astype(int).T @ bought.astype(int)
    expected = {
        (a, b): counts.loc[a, b] / counts.loc[a, a] / (counts.loc[b, b] / len(bought))
        for a, b in permutations(departments, 2)
        if counts.loc[a, b] >= 0.05 * len(bought)
    }
    query = """{ audience(where: {text: "everyone"}) { association(tags: ["purchase"], minSupport: 0.05, top: 1000) {
        given { value } then { value } lift } } }"""
    rows = api.ask(query)["association"]
    told = {(row["given"][0]["value"], row["then"]["value"]): row["lift"] for row in rows}
    assert told == pytest.approx(expected) and len(told) == len(rows) > 100
