"""What is odd about a question, against sets worked out apart; what always holds stays so whatever is written."""

import random
from collections.abc import Iterator
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from bitmap_store.expression import And, AtLeast, Expression, Match, Not, Operator, Or, Part, Saved, children, walk
from bitmap_store.text import render
from resolvers.audiences import without
from tests.api import CITIES, Api, shop

FIELDS = (
    """explain { findings { kind always path text size causes saved savedSize sentence zh: sentence(language: ZH) } }"""
)


@pytest.fixture
def api(empty_store: Path, tmp_path: Path) -> Iterator[Api]:
    found = shop(empty_store, tmp_path / "store")
    for key, text in (("vip-sh", 'city = "Shanghai" and vip'), ("spenders", "spend"), ("late", "spend > 220")):
        api_save = "mutation ($i: SaveAudienceInput!) { saveAudience(input: $i) { key } }"
        found.ask(api_save, i={"key": key, "where": {"text": text}})
    yield found
    found.close()


def findings(api: Api, text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.audience(text, FIELDS)["explain"]["findings"]
    return found


def short(found: list[dict[str, Any]]) -> list[tuple[str, bool, str]]:
    return [
        (each["kind"], each["always"], each["path"] + (f"@{each['saved']}" if each["saved"] else "")) for each in found
    ]


EXPECTED: list[tuple[str, list[tuple[str, bool, str]]]] = [
    ("vip and churn", [("CONTRADICTION", False, "")]),
    ("vip and not vip", [("CONTRADICTION", True, "")]),
    ('city = "Paris" and city = "Beijing"', [("CONTRADICTION", True, "")]),
    ("spend > 50 and spend <= 50", [("CONTRADICTION", True, "")]),
    ("buy times 3 and not buy times 2", [("CONTRADICTION", True, "")]),
    ("rich and spend < 100", [("CONTRADICTION", True, "")]),  # by its rule
    ("@best and not vip", [("CONTRADICTION", True, "")]),  # by its definition
    ('part("s", 0, 0.5) and part("s", 0.5, 1)', [("CONTRADICTION", True, "")]),
    ("city or not city", [("TAUTOLOGY", True, "")]),
    ("spend or not vip", [("TAUTOLOGY", False, "")]),
    ("spend >= 50 or spend < 60 or not spend", [("TAUTOLOGY", True, "")]),
    ('city in ("Shanghai", "Paris", "Beijing") or not city', [("TAUTOLOGY", True, "")]),  # there are no others
    ('likes in ("tea", "milk") or not likes', [("TAUTOLOGY", False, "")]),  # there may be more some day
    ('users("nobody-x")', [("CONTRADICTION", False, "")]),  # who may come into being
    ('users("u1") and users("u2")', [("CONTRADICTION", True, "")]),
    ("everyone", []),
    (
        "vip and spend and born",
        [
            ("REDUNDANT", False, "and.0"),
            ("REDUNDANT", False, "and.1"),
            ("EQUAL", True, "and.1@spenders"),
            ("CONTAINED", True, "@spenders"),
        ],
    ),
    (
        "spend > 50 and spend > 100",
        [
            ("REDUNDANT", True, "and.0"),
            ("CONTAINED", True, "@spenders"),
            ("CONTAINS", False, "@best"),
            ("CONTAINS", True, "@late"),
        ],
    ),
    (
        'vip and city in ("Shanghai")',
        [("EQUAL", True, "@vip-sh"), ("CONTAINED", False, "@spenders"), ("CONTAINS", False, "@best")],
    ),
    (
        '(vip and city = "Shanghai") or born',
        [
            ("EQUAL", True, "or.0@vip-sh"),
            ("CONTAINED", False, "@spenders"),
            ("CONTAINS", True, "@vip-sh"),
            ("CONTAINS", False, "@best"),
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), EXPECTED, ids=[text for text, _ in EXPECTED])
def test_what_is_odd(api: Api, text: str, expected: list[tuple[str, bool, str]]) -> None:
    assert short(findings(api, text)) == expected


def test_what_makes_it_empty(api: Api) -> None:
    causes = {
        "vip and city and churn and spend": ["and.0", "and.2"],
        'vip and spend and school = "teacher"': ["and.0", "and.2"],
        "vip and (churn and rich and born) and city": ["and.1.and.0", "and.1.and.2"],
        "vip and churn score 0.99 and city": ["and.1"],
        'vip and city = "Shanghai" and city = "Beijing" and churn': ["and.1", "and.2"],  # which can never be
        "not everyone": [""],
    }
    assert {text: findings(api, text)[0]["causes"] for text in causes} == causes
    three = 'likes = "tea" and city = "Shanghai" and spend > 20 and not likes = "milk"'
    [found] = findings(api, three)
    assert found["causes"] == ["and.0", "and.1", "and.3"]


def test_in_words(api: Api) -> None:
    [nobody] = findings(api, "vip and city and churn")
    assert nobody["sentence"] == "Nobody is in this audience, now: “vip” and “churn” have nobody in common."
    assert nobody["zh"] == "该受众目前没有任何人：“vip”与“churn”没有共同的人。"
    same = findings(api, 'vip and city in ("Shanghai")')[0]
    assert same["sentence"] == "You already have this: this audience is always the same as @vip-sh (3)."


OPERATORS = (Operator.GTE, Operator.LT, Operator.GT)
LEAVES: list[Expression] = [
    Match("vip"), Match("city"), *(Match("city", values=(city,)) for city in CITIES), Match("rich"), Saved("best"),
    Match("city", values=("Shanghai", "Paris")), Match("spend"), Match("buy", times=2), Match("buy"), Match("likes"),
    *(Match("spend", operator=how, number=Decimal(number)) for number in (50, 101) for how in OPERATORS),
    Match("likes", values=("tea",)), Match("likes", values=("tea", "milk")), Part("s", 0, 0.5), Part("s", 0.25, 1),
    Match("churn", min_score=0.8), Match("churn"),
]  # fmt: skip


def grown(chance: random.Random, depth: int) -> Expression:
    if depth == 0 or chance.random() < 0.2:
        return chance.choice(LEAVES)
    of = tuple(grown(chance, depth - 1) for _ in range(chance.randint(2, 3)))
    return chance.choice((And(of), And(of), Or(of), Not(of[0]), AtLeast(chance.randint(1, len(of)), of)))


def members(api: Api, expression: Expression) -> frozenset[str]:
    return frozenset(api.world.members(expression))


def test_findings_are_those_of_sets(api: Api) -> None:
    """Against sets of outside names; and of the same questions once more, on data that was written meanwhile."""
    chance = random.Random(11)
    questions = [grown(chance, 2) for _ in range(60)]
    always: list[tuple[Expression, str, str]] = []
    seen: set[str] = set()
    for question in questions:
        everyone = members(api, Not(And((Match("vip"), Not(Match("vip"))))))
        whole, nodes = members(api, question), dict(walk(question))
        found = findings(api, render(question))
        seen |= {each["kind"] for each in found}
        tops = {each["path"]: each for each in found if each["kind"] in ("CONTRADICTION", "TAUTOLOGY")}
        for path, node in nodes.items():
            inside = members(api, node)
            if any(path == top or path.startswith(f"{top}.") or not top for top in tops):
                continue
            assert inside and inside != everyone, path
        for path, each in tops.items():
            empty = each["kind"] == "CONTRADICTION"
            assert members(api, nodes[path]) == (frozenset() if empty else everyone)
            if empty:
                causes = [members(api, nodes[cause]) for cause in each["causes"]]
                assert not frozenset.intersection(*causes)
                for some in () if each["always"] else combinations(causes, len(causes) - 1):
                    assert not some or frozenset.intersection(*some)  # none of them could be left out
            if each["always"]:
                always.append((nodes[path], each["kind"], path))
        if whole and whole != everyone:
            clauses = [
                f"{path}.{step}".removeprefix(".")
                for path, node in nodes.items()
                if isinstance(node, And | Or | AtLeast)
                for step, _ in children(node)
            ]
            same = [path for path in clauses if (rest := without(question, path)) and members(api, rest) == whole]
            told = [each["path"] for each in found if each["kind"] == "REDUNDANT"]
            assert set(told) <= set(same)
            assert all(any(path == each or path.startswith(f"{each}.") for each in told) for path in same)
            for each in found:
                if each["saved"]:
                    saved, own = members(api, Saved(each["saved"])), members(api, nodes[each["path"]])
                    assert {"EQUAL": own == saved, "CONTAINED": own < saved, "CONTAINS": own > saved}[each["kind"]]
                if each["kind"] == "REDUNDANT" and each["always"]:
                    always.append((question, "REDUNDANT", each["path"]))
    assert {"CONTRADICTION", "TAUTOLOGY", "REDUNDANT", "CONTAINED", "CONTAINS"} <= seen and len(always) > 10
    for _ in range(4):
        for user in [f"u{i}" for i in range(40)]:
            api.assign({"user": user, "tag": "city", "value": chance.choice(CITIES)})
            api.assign({"user": user, "tag": "spend", "number": chance.randint(0, 300)})
            api.assign({"user": user, "tag": "likes", "values": chance.sample(["tea", "milk", "rum"], 2)})
            for tag in chance.sample(["vip", "churn"], 1):
                api.assign({"user": user, "tag": tag, "score": chance.random()})
        everyone = members(api, Not(And((Match("vip"), Not(Match("vip"))))))
        for node, kind, path in always:
            inside = members(api, node)
            if kind == "REDUNDANT":
                rest = without(node, path)
                assert rest is not None and members(api, rest) == inside
            else:
                assert inside == (frozenset() if kind == "CONTRADICTION" else everyone)
