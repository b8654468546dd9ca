"""Sentences: golden ones in both languages to be read, and no two expressions that say the same."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.catalog import Catalog
from bitmap_store.expression import (
    NOTHING,
    And,
    AtLeast,
    Everyone,
    Expression,
    Match,
    Not,
    Or,
    Related,
    Saved,
    operands,
    with_children,
)
from bitmap_store.language import parse
from bitmap_store.text import canonical, render
from bitmap_store.values import EntityKind, SavedAudience, Tag, TagKind
from demo.catalog import DEFINITIONS
from resolvers.sentences import sentence_of
from resolvers.wording import Language
from tests.api import Api, shop
from tests.expressions import any_expression
from tests.pairs import Pair, golden_pairs

BOTH = tuple(Language)


def demo_catalog() -> Catalog:
    tags = {
        tag.key: Tag(i, tag.key, "user", tag.name, TagKind(tag.kind), hierarchical=tag.hierarchical, rule=tag.rule)
        for i, tag in enumerate(DEFINITIONS.tags)
    }
    audiences = {
        each.key: SavedAudience(i, each.key, each.name, "user", each.text, None, 1)
        for i, each in enumerate(DEFINITIONS.audiences)
    }
    entities = {key: EntityKind(i, key, key.title()) for i, key in enumerate(("user", "account"))}
    return Catalog(entities=entities, tags=tags, audiences=audiences)


DEMO = demo_catalog()


def both(text: str) -> str:
    return " ".join(sentence_of(parse(text), "user", DEMO, language) for language in BOTH)


@pytest.mark.parametrize("pair", golden_pairs("sentences.txt", both), ids=lambda pair: pair.question)
def test_golden_sentences(pair: Pair) -> None:
    assert both(pair.question) == pair.answer


# ---------------------------------------------------------------- no two say the same

ODD = ("Age", "Age", "has", "A and B", "“x”", "`a`", "x”", "", "Two  spaces", "a\\”", "Age, and has B", "年龄", "3")


def odd_catalog() -> Catalog:
    """Tags of every kind with names that could be taken for something else, some with keys of `any_expression`."""
    keys = ("vip", "City", "_x", "x-1.y", "账户", "हिन्दी", "2 of", "AND", "like", "Age", "x", "a", "caf\xe9")
    kinds = (None, *TagKind)
    tags = {
        key: Tag(i, key, "user", ODD[i], kind, hierarchical=i % 2 == 0)
        for i, key in enumerate(keys)
        if (kind := kinds[i % len(kinds)]) is not None
    }
    audiences = {key: SavedAudience(i, key, ODD[i], "user", "everyone", None, 1) for i, key in enumerate(keys[:8])}
    return Catalog(entities=DEMO.entities, tags=tags, audiences=audiences)


CATALOGS = (Catalog(entities=DEMO.entities), odd_catalog())
said: dict[tuple[int, Language, str], str] = {}


def check_own(node: Expression) -> None:
    """That what any expression before was said as was not this, unless it is the same."""
    for i, catalog in enumerate(CATALOGS):
        for language in BOTH:
            sentence = sentence_of(node, "user", catalog, language)
            assert "\n" not in sentence
            assert said.setdefault((i, language, sentence), render(node)) == render(node), sentence


def variants(node: Expression) -> Iterator[Expression]:
    """Expressions that differ little: joined otherwise, nested otherwise, with something left out or put in."""
    below = operands(node)
    yield Not(node)
    yield And((node, Saved("AND")))
    if isinstance(node, And | Or | AtLeast):
        yield And(below)
        yield Or(below)
        yield from (AtLeast(count, below) for count in range(1, len(below) + 1))
        if len(below) > 2:
            for join in (And, Or):
                yield type(node)((join(below[:2]), *below[2:])) if not isinstance(node, AtLeast) else join(below[1:])
                yield And((below[0], join(below[1:])))
    if isinstance(node, Match):
        yield Match(node.key)
        for name in ("values", "after", "before", "ahead", "times", "min_score", "skip"):
            yield replace(node, **{name: None})
        if node.values is not None:
            yield replace(node, values=(*node.values, "x"))
            yield replace(node, values=(" or ".join(node.values),))
            yield replace(node, values=("”或“".join(node.values),))
            yield replace(node, values=("” or “".join(node.values),))
        yield replace(node, within=None, skip=None)
    if isinstance(node, Related):
        yield replace(node, relation=node.relation + "x")
    for i, child in enumerate(below):
        yield child
        for changed in variants(child):
            yield with_children(node, (*below[:i], changed, *below[i + 1 :]))


@given(any_expression(), st.integers(0, 50))
def test_different_expressions_have_different_sentences(node: Expression, start: int) -> None:
    check_own(node)
    for i, variant in enumerate(variants(canonical(node))):
        if start <= i < start + 50 or i < 20:
            check_own(variant)


def test_everyone_and_nobody() -> None:
    told = {node: [sentence_of(node, "user", DEMO, each) for each in BOTH] for node in (Everyone(), NOTHING)}
    assert told == {Everyone(): ["Everyone.", "所有用户。"], NOTHING: ["Nobody.", "没有任何用户。"]}
    assert sentence_of(Match("age"), "account", DEMO, Language.EN) == "Every “Account” that has a known Age."
    assert sentence_of(Match("age"), "account", DEMO, Language.ZH) == "“Age”已知的“Account”。"


# ---------------------------------------------------------------- through GraphQL


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = shop(empty_store, tmp_path_factory.mktemp("sentences") / "store")
    yield found
    found.close()


def test_sentences_of_audiences(api: Api) -> None:
    found: Any = api.audience("vip and not (city or rich)", "en: sentence zh: sentence(language: ZH)")
    assert found == {
        "en": "Everyone who has vip and is not one who (has a known city or has rich).",
        "zh": "有“vip”标签，且不满足（“city”已知，或有“rich”标签）的用户。",
    }


def test_sentences_of_portraits(api: Api) -> None:
    fields = 'portrait(tags: ["city", "spend", "vip", "churn"]) { en: sentence zh: sentence(language: ZH) }'
    city, spend, vip, churn = api.audience("vip", fields)["portrait"]
    assert city == {
        "en": "city is known of 5: 60.0% have “Shanghai”, 1.8 times the 33.3% of the baseline;"
        " 40.0% have “Beijing”, 1.2 times the 33.3% of the baseline.",
        "zh": "“city”已知的有5人：60.0%为“Shanghai”，是基准33.3%的1.8倍；40.0%为“Beijing”，是基准33.3%的1.2倍。",
    }
    assert spend == {
        "en": "spend is known of 5: the values are from 0.50 to 100.50, half of them up to 50.50.",
        "zh": "“spend”已知的有5人：取值从0.50到100.50，一半不超过50.50。",
    }
    assert vip["en"] == "5 have vip: 100.0%, 2.4 times the 41.7% of the baseline."
    assert vip["zh"] == "有“vip”的有5人：100.0%，是基准41.7%的2.4倍。"
    assert churn == {"en": "churn is known of nobody.", "zh": "“churn”没有已知的人。"}
