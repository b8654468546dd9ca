"""What sets audiences apart, and audiences beside each other: planted facts, chance, and sets counted by Python."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.values import Assign
from resolvers.comparisons import exclusive
from tests.api import Api
from tests.worlds import copied

USERS, FLAGS, REPETITIONS = 1_500, 120, 200
APART = """tag { key } value size share baselineSize baselineShare outsideShare tgi zScore pValue adjustedPValue
    significant difference { value low high } numbers { mean outsideMean effectSize } audience { text size }"""


@pytest.fixture(scope="module")
def crowd(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Users with flags by chance, some common and some rare, a number by chance, and one flag of their own for 40."""
    api = Api(copied(empty_store, tmp_path_factory.mktemp("crowd") / "store"))
    rng = np.random.default_rng(11)
    shares = np.geomspace(0.002, 0.6, FLAGS)
    for i in range(FLAGS):
        api.define(f"t{i}")
    api.define("planted")
    api.define("age", kind="NUMBER")
    has = rng.random((USERS, FLAGS)) < shares
    written = [Assign(f"u{user}", f"t{flag}") for user, flag in zip(*np.nonzero(has), strict=True)]
    written += [Assign(f"u{user}", "planted") for user in range(40)]
    written += [
        Assign(f"u{user}", "age", number=Decimal(int(age))) for user, age in enumerate(rng.normal(40, 9, USERS))
    ]
    api.world.apply(*written)
    yield api
    api.close()


def apart(api: Api, where: Any, arguments: str = "", fields: str = APART) -> list[dict[str, Any]]:
    """The differentiators of an audience."""
    return list(api.audience(where, f"differentiators{arguments} {{ {fields} }}")["differentiators"])


# ---------------------------------------------------------------- planted, and by chance


def test_what_is_planted_in_seeds_ranks_first(crowd: Api) -> None:
    seeds = [f"u{user}" for user in range(40)]
    listed = ", ".join(f'"{user}"' for user in seeds)
    for where in ({"users": {"ids": seeds}}, f"users({listed})"):
        first, *others = apart(crowd, where)
        assert (first["tag"]["key"], first["size"], first["share"], first["baselineSize"]) == ("planted", 40, 1, 40)
        assert first["significant"] and first["zScore"] > 30 and first["tgi"] == 100 * USERS / 40
        assert not any(other["significant"] for other in others)
    mixed = [*seeds[:20], *(f"u{user}" for user in range(500, 700))]  # one in eleven of them, and one in 38 of all
    assert apart(crowd, {"users": {"ids": mixed}})[0]["tag"]["key"] == "planted"


def test_what_is_there_by_chance_is_not_significant(crowd: Api) -> None:
    """Of seeds drawn by chance each finding is a false one: at a rate of 0.05, in one of twenty lists at most."""
    rng = np.random.default_rng(5)
    findings = 0
    for _ in range(REPETITIONS):
        seeds = [f"u{user}" for user in rng.choice(USERS, rng.integers(40, 600), replace=False).tolist()]
        told = apart(crowd, {"users": {"ids": seeds}}, "(minSize: 1, top: 1)", "significant")
        findings += told[0]["significant"]
    assert findings <= 0.05 * REPETITIONS


# ---------------------------------------------------------------- baselines


def test_a_baseline_that_has_nobody_outside_is_nothing_to_compare_with(crowd: Api) -> None:
    for where, arguments in (
        ("planted", '(baseline: {text: "planted"})'),
        ("t119", '(baseline: {text: "t119 and t118"})'),
        ("everyone", ""),
        ("t1 and not t1", ""),
        ("planted", '(baseline: {text: "t1 and not t1"})'),
    ):
        for each in apart(crowd, where, arguments):
            assert (each["zScore"], each["pValue"], each["adjustedPValue"], each["difference"]) == (None,) * 4
            assert not each["significant"]


@pytest.mark.parametrize("baseline", ["t110", "t119 and t118", "not t119", "everyone", "t119 or t3"])
def test_counts_are_of_the_audience_the_baseline_and_those_outside(crowd: Api, baseline: str) -> None:
    arguments = f'(baseline: {{text: "{baseline}"}}, top: 200, minSize: 1, tags: ["planted", "t90", "t117", "age"])'
    told = apart(crowd, "t119", arguments)
    assert len(told) == 4
    whole, other, outside = (crowd.size(text) for text in ("t119", baseline, f"({baseline}) and not t119"))
    for each in told:
        key = each["tag"]["key"]
        sizes = [crowd.size(f"({text}) and {key}") for text in ("t119", baseline, f"({baseline}) and not t119")]
        assert (each["size"], each["baselineSize"]) == (sizes[0], sizes[1]) and each["audience"]["size"] == sizes[0]
        assert each["share"] == sizes[0] / whole and each["baselineShare"] == sizes[1] / other
        assert each["outsideShare"] == (sizes[2] / outside if outside else None)
        assert crowd.size(each["audience"]["text"]) == sizes[0]
        if key == "age" and outside:
            mean = crowd.audience(f"({baseline}) and not t119", 'numbers(tag: "age") { mean }')["numbers"]["mean"]
            assert each["numbers"]["outsideMean"] == pytest.approx(mean, rel=1e-12)


def test_the_past_is_compared_with_the_past(crowd: Api) -> None:
    before = crowd.clock.now()
    then = apart(crowd, "planted")
    crowd.clock.tick(hours=1)
    crowd.assign({"user": "u900", "tag": "planted"})
    assert apart(crowd, "planted") != then
    found = crowd.audience("planted", f"differentiators {{ {APART} }}", asOf=before.isoformat())["differentiators"]
    assert found == then
    crowd.ask('mutation { removeTags(input: [{user: "u900", tag: "planted"}]) { changed } }')


# ---------------------------------------------------------------- what is chosen


def test_order_and_choice(crowd: Api) -> None:
    where = "planted or t119"
    by_score = apart(crowd, where, "(top: 1000)")
    for told, rank in (
        (by_score, lambda each: abs(each["zScore"])),
        (apart(crowd, where, "(top: 1000, order: TGI)"), lambda each: -1 if each["numbers"] else each["tgi"]),
        (
            apart(crowd, where, "(top: 1000, order: DIFFERENCE)"),
            lambda each: -1 if each["numbers"] else abs(each["difference"]["value"]),
        ),
    ):
        ranks = [(each["significant"], rank(each)) for each in told]
        assert ranks == sorted(ranks, reverse=True)
        assert sorted(each["tag"]["key"] for each in told) == sorted(each["tag"]["key"] for each in by_score)
    assert apart(crowd, where, "(top: 3)") == by_score[:3]
    fewer = apart(crowd, where, '(top: 1000, excludeTags: ["t119", "planted"])')
    assert {each["tag"]["key"] for each in by_score} - {each["tag"]["key"] for each in fewer} == {"t119", "planted"}
    assert [each["tag"]["key"] for each in apart(crowd, where, '(tags: ["planted"])')] == ["planted"]


def test_few_are_not_significant(crowd: Api) -> None:
    told = '(tags: ["planted"], minSize: %d)'
    assert apart(crowd, "planted", told % 40)[0]["significant"]
    assert not apart(crowd, "planted", told % 41)[0]["significant"]
    lacking = apart(crowd, "not planted", '(tags: ["planted"])')[0]  # of 1,460 about all would have it
    assert (lacking["size"], lacking["significant"], lacking["zScore"] < -30) == (0, True, True)


WRONG = [
    ("differentiators(top: 0) { size }", "INVALID", "top"),
    ("differentiators(top: 1001) { size }", "TOO_LARGE", "top"),
    ("differentiators(minSize: 0) { size }", "INVALID", "minSize"),
    ('differentiators(tags: ["t1", "nothing"]) { size }', "NOT_FOUND", "tags.1"),
    ('differentiators(excludeTags: ["nothing"]) { size }', "NOT_FOUND", "excludeTags.0"),
    ('differentiators(category: "nothing") { size }', "NOT_FOUND", "category"),
    ('differentiators(baseline: {text: "nothing"}) { size }', "NOT_FOUND", "baseline.text"),
]


@pytest.mark.parametrize(("field", "code", "argument"), WRONG, ids=[field for field, _, _ in WRONG])
def test_wrong_choices(crowd: Api, field: str, code: str, argument: str) -> None:
    error = crowd.error(f'{{ audience(where: {{text: "planted"}}) {{ {field} }} }}')
    assert (error["code"], error["argument"]) == (code, argument)


# ---------------------------------------------------------------- comparisons

COMPARE = """query ($audiences: [AudienceWhere!]!) { compare(audiences: $audiences) {
    audiences { text } sizes unionSize overlaps jaccard containment
    regions { inAudiences size audience { text size } } } }"""


@given(st.integers(1, 8).flatmap(lambda n: st.lists(st.integers(0, 2**n - 1), max_size=40).map(lambda of: (n, of))))
def test_exclusive_counts_are_those_of_each_user(drawn: tuple[int, list[int]]) -> None:
    """Each user a number whose bits say in which sets they are."""
    count, users = drawn
    shared = [sum(user & mask == mask for user in users) for mask in range(1 << count)]
    found = exclusive(np.array([0, *shared[1:]], np.int64))
    assert found[1:].tolist() == [users.count(mask) for mask in range(1, 1 << count)]
    assert -found[0] == sum(user > 0 for user in users)


def test_regions_of_random_comparisons_sum_to_the_union(crowd: Api) -> None:
    """200 of them, beside sets of Python."""
    rng = np.random.default_rng(3)
    members: dict[str, set[str]] = {}

    def users(text: str) -> set[str]:
        if text not in members:
            found, after = set(), None
            while True:
                page = crowd.audience(
                    text, f"members(first: 1000{'' if after is None else f', after: {chr(34)}{after}{chr(34)}'}) "
                    "{ edges { node { userId } } pageInfo { hasNextPage endCursor } }",
                )["members"]  # fmt: skip
                found |= {edge["node"]["userId"] for edge in page["edges"]}
                after = page["pageInfo"]["endCursor"]
                if not page["pageInfo"]["hasNextPage"]:
                    break
            members[text] = found
        return members[text]

    everyone = users("everyone")
    for turn in range(REPETITIONS):
        texts, sets = [], []
        for _ in range(rng.integers(1, 6)):
            one, other = (f"t{rng.integers(90, FLAGS)}" for _ in range(2))
            text, of = [
                (f"{one} and {other}", users(one) & users(other)),
                (f"{one} or {other}", users(one) | users(other)),
                (f"not {one}", everyone - users(one)),
                (f"{one} and not {one}", set[str]()),
                (one, users(one)),
            ][rng.integers(5)]
            texts.append(text)
            sets.append(of)
        found = crowd.ask(COMPARE, audiences=[{"text": text} for text in texts])
        union = set[str]().union(*sets)
        assert found["sizes"] == [len(of) for of in sets]
        assert found["unionSize"] == len(union) == sum(region["size"] for region in found["regions"])
        assert len(found["regions"]) == 2 ** len(sets) - 1
        for i, one in enumerate(sets):
            assert found["overlaps"][i] == [len(one & other) for other in sets]
            assert found["jaccard"][i] == [
                len(one & other) / len(one | other) if one | other else None for other in sets
            ]
            assert found["containment"][i] == [len(one & other) / len(one) if one else None for other in sets]
        for region in found["regions"]:
            inside = [sets[i] for i in region["inAudiences"]]
            outside = [of for i, of in enumerate(sets) if i not in region["inAudiences"]]
            assert region["size"] == len(set.intersection(*inside).difference(*outside)) == region["audience"]["size"]
            if turn % 20 == 0:
                assert crowd.size(region["audience"]["text"]) == region["size"]


def test_regions_come_by_how_many_audiences_and_can_be_saved(crowd: Api) -> None:
    asked = '{ compare(audiences: [{text: "t119"}, {text: "not t118"}, {text: "t119"}]) { %s } }'
    regions = crowd.ask(asked % "regions { inAudiences size audience { text } }")["regions"]
    assert [region["inAudiences"] for region in regions] == [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]]
    assert regions[4]["audience"]["text"] == "t119 and t118"  # each part once, and what is not "not" is it
    there = crowd.ask(asked % "regions(empty: false) { inAudiences size audience { text } }")["regions"]
    assert there == [region for region in regions if region["size"]] and len(there) < len(regions)
    saved = "audience { size }"
    for i, region in enumerate(there):
        save = 'mutation ($t: String!) { saveAudience(input: {key: "region-%d", where: {text: $t}}) { %s } }'
        assert crowd.ask(save % (i, saved), t=region["audience"]["text"])["audience"]["size"] == region["size"]


@pytest.mark.parametrize(
    "texts",
    [
        ["planted", "t119", "t118"],
        ["planted", "t119 and not planted"],  # nobody in both
        ["t119", "t119"],  # nobody in one alone
        ["t119", "t118 and t119", "t1 and not t1"],
        ["t119"],
    ],
)
def test_each_is_set_apart_from_all_others_together(crowd: Api, texts: list[str]) -> None:
    """The same as of each beside the union of the others, which is counted in another way."""
    query = """query ($a: [AudienceWhere!]!) { compare(audiences: $a, top: 200) {
        differentiators(minSize: 1) { %s numbers { medians { median outsideMedian } } } } }"""
    found = crowd.ask(query % APART, a=[{"text": text} for text in texts])["differentiators"]
    for i, text in enumerate(texts):
        others = " or ".join(f"({other})" for j, other in enumerate(texts) if j != i) or "t1 and not t1"
        arguments = f'(top: 200, minSize: 1, baseline: {{text: "{others}"}})'
        fields = f"{APART} numbers {{ medians {{ median outsideMedian }} }}"
        assert found[i] == apart(crowd, text, arguments, fields)


def test_wrong_comparisons(crowd: Api) -> None:
    for audiences, code, argument in (
        ("[]", "INVALID", "audiences"),
        ("[" + 9 * '{text: "planted"} ' + "]", "TOO_LARGE", "audiences"),
        ('[{text: "t1"}, {text: "t1 and nothing"}]', "NOT_FOUND", "audiences.1.text"),
        ('[{text: "t1"}, {and: [{saved: "nothing"}]}]', "NOT_FOUND", "audiences.1.and.0.saved"),
        ('[{text: "t1"}, {text: "t1 and"}]', "INVALID", "audiences.1.text"),
    ):
        error = crowd.error(f"{{ compare(audiences: {audiences}) {{ sizes }} }}")
        assert (error["code"], error["argument"]) == (code, argument)
    assert crowd.error('{ compare(audiences: [{text: "t1"}], top: 0) { sizes } }')["argument"] == "top"


def test_comparing_listed_users_needs_members(crowd: Api) -> None:
    counts = crowd.world.run(crowd.store.create_token("counts", ["count"]))
    listed = '{ compare(audiences: [{users: {ids: ["u1"]}}, {text: "t1"}]) { sizes } }'
    assert crowd.error(listed, counts)["code"] == "FORBIDDEN"
    seeds = '{ audience(where: {users: {ids: ["u1"]}}) { differentiators { tgi } } }'
    assert crowd.error(seeds, counts)["code"] == "FORBIDDEN"
    assert crowd.ask('{ compare(audiences: [{text: "t1"}]) { sizes } }', counts)["sizes"] == [crowd.size("t1")]


def test_a_comparison_counts_in_one_call(crowd: Api) -> None:
    crowd.store.calls.clear()
    crowd.ask(
        COMPARE.replace("audience { text size }", "audience { text }"), audiences=[{"text": f"t{i}"} for i in range(5)]
    )
    assert crowd.store.calls == {"count": 1}
