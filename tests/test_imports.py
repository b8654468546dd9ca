"""Imports: a file means what assigning its rows one by one means, whatever is written meanwhile."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitmap_store.definitions import TagDefinition
from bitmap_store.errors import Conflict, Invalid
from bitmap_store.sqlite.fold import fold
from bitmap_store.values import (
    Assign,
    Batch,
    DatePrecision,
    Event,
    Identifier,
    Operation,
    ProfileChange,
    Remove,
    TagKind,
)
from tests.importing import csv_file, csv_request, import_here
from tests.worlds import OracleWorld, StillClock, StoreWorld, copied, start_ids_at

DEFINITIONS = (
    TagDefinition("vip"),
    TagDefinition("city", kind=TagKind.CHOICE, values=("x", "y", "z")),
    TagDefinition("likes", kind=TagKind.CHOICES, values=("a", "b", "c")),
    TagDefinition("spend", kind=TagKind.NUMBER, scale=2),
    TagDefinition("born", kind=TagKind.DATE, precision=DatePrecision.DAY),
    TagDefinition("trial", valid_for=timedelta(hours=30)),
    TagDefinition("buy", kind=TagKind.EVENT, values=("m", "n")),
)
QUESTIONS = (
    "everyone",
    "vip",
    "not vip",
    'city in ("x")',
    "city",
    'likes in ("a", "b") and not city',
    "spend >= 1.5",
    "born",
    "trial",
    'buy["m"] times 2',
    "2 of (vip, city, likes, spend, born)",
    "vip within PT25H",
    'born after "2000-01-02"',
)
USERS = [f"u{i}" for i in range(8)]
names = st.sampled_from(USERS)


@st.composite
def rows(draw: st.DrawFn) -> tuple[str, Assign]:
    """A row of a CSV file and the assignment that says the same."""
    user = draw(names)
    kind = draw(st.sampled_from(["vip", "city", "likes", "spend", "born", "trial"]))
    ends = draw(st.sampled_from([None, None, datetime(2026, 11, 5, tzinfo=UTC)]))
    score = draw(st.sampled_from([None, None, 0.5]))
    tail = f"{'' if score is None else score},{'' if ends is None else ends.isoformat()}"
    facts = {"score": score, "expires_at": ends}
    match kind:
        case "city":
            value = draw(st.sampled_from("xyz"))
            return f"{user},city,{value},,,{tail}", Assign(user, "city", value=value, **facts)  # type: ignore[arg-type]
        case "likes":
            value = draw(st.sampled_from("abc"))
            return f"{user},likes,{value},,,{tail}", Assign(user, "likes", value=value, **facts)  # type: ignore[arg-type]
        case "spend":
            number = draw(st.sampled_from(["1.25", "-3", "1.50", "99999999.99"]))
            return f"{user},spend,,{number},,{tail}", Assign(user, "spend", number=Decimal(number), **facts)  # type: ignore[arg-type]
        case "born":
            day = draw(st.sampled_from(["2000-01-01", "2000-01-02", "1969-12-31"]))
            born = datetime.fromisoformat(f"{day}T00:00:00Z")
            return f"{user},born,,,{day},{tail}", Assign(user, "born", date=born, **facts)  # type: ignore[arg-type]
    return f"{user},{kind},,,,{tail}", Assign(user, kind, **facts)  # type: ignore[arg-type]


operations = st.one_of(
    rows().map(lambda pair: pair[1]),
    st.builds(Remove, names, st.sampled_from(["vip", "city", "likes", "spend", "trial"])),
    st.builds(Event, names, st.just("buy"), st.sampled_from(["m", "n"]), count=st.integers(1, 3)),
)


def repeats_the_last(row: tuple[str, Assign], place: int, file: list[tuple[str, Assign]]) -> bool:
    """Whether a row says what was last said before it of the same user and tag (and, of likes, value)."""
    line, said = row
    subject = (said.user, said.tag, said.value if said.tag == "likes" else None)
    for earlier, other in reversed(file[:place]):
        if (other.user, other.tag, other.value if other.tag == "likes" else None) == subject:
            return earlier == line
    return False


class Pair:
    """A store and the oracle that are told the same."""

    def __init__(self, directory: Path) -> None:
        self.clock = StillClock()
        self.store = StoreWorld(directory, self.clock)
        self.oracle = OracleWorld(self.clock)
        for definition in DEFINITIONS:
            self.store.define_tag(definition)
            self.oracle.define_tag(definition)

    def apply(self, *said: Operation) -> None:
        """Applies a batch to both."""
        if said:
            self.store.apply(*said)
            self.oracle.apply(*said)

    def compare(self) -> None:
        """Both say the same, now and when all that ends has ended."""
        for _ in range(2):
            for question in QUESTIONS:
                assert self.store.members(question) == self.oracle.members(question), question
            mine, theirs = self.store.view(), self.oracle.view()
            for user in USERS:
                assert facts(mine.tags_of(user)) == facts(theirs.tags_of(user)), user
            self.clock.tick(hours=31)


def facts(memberships: list) -> list:  # type: ignore[type-arg]
    """Memberships without their source, which an import names after its file, and by the second."""
    return sorted(
        (m.tag, str(m.value), by_second(m.since), by_second(m.expires_at), str(m.score), m.units, m.count)
        for m in memberships
    )


def by_second(moment: datetime | None) -> str:
    """A moment without the microseconds by which versions at one moment of the clock are told apart."""
    return "" if moment is None else str(moment.replace(microsecond=0))


@pytest.fixture(scope="module")
def directories(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("pairs")
    numbers = count()
    yield lambda: copied(empty_store, base / str(next(numbers)))  # type: ignore[misc]


HEADER = "user,tag,value,number,date,score,expires_at"


@settings(max_examples=60)
@given(
    before=st.lists(operations, max_size=12),
    file=st.lists(rows(), min_size=1, max_size=12),
    meanwhile=st.lists(operations, max_size=6),
    after=st.lists(operations, max_size=4),
    folding=st.booleans(),
)
def test_an_import_means_what_its_rows_mean_one_by_one(directories, before, file, meanwhile, after, folding):  # type: ignore[no-untyped-def]
    directory = directories()
    pair = Pair(directory)
    try:
        pair.apply(*before)
        if folding:
            fold(directory, pair.store.store._connection, pair.store.store.writer, timedelta(days=30), 0)
        pair.clock.tick(hours=1)
        path = csv_file(directory / "rows.csv", HEADER, [line for line, _ in file])
        _, job, rejected = import_here(
            pair.store, csv_request("memberships", path), lambda: pair.apply(*meanwhile) if meanwhile else None
        )
        pair.oracle.apply(*(operation for _, operation in file))
        repeats = sum(map(repeats_the_last, file, range(len(file)), [file] * len(file)))
        assert job.rows_read == len(file) == job.rows_applied + job.rows_rejected
        assert job.rows_rejected == repeats == len(rejected)
        pair.clock.tick(minutes=1)
        pair.apply(*after)
        pair.compare()
    finally:
        pair.store.close()


@settings(max_examples=40)
@given(
    before=st.lists(operations, max_size=12),
    file=st.lists(rows(), min_size=1, max_size=10),
    meanwhile=st.lists(operations, max_size=6),
)
def test_replacing_leaves_exactly_what_the_file_says(directories, before, file, meanwhile):  # type: ignore[no-untyped-def]
    pair = Pair(directories())
    try:
        pair.apply(*before)
        path = csv_file(pair.store.store.settings.directory / "rows.csv", HEADER, [line for line, _ in file])
        import_here(
            pair.store,
            csv_request("memberships", path, mode="replace"),
            lambda: pair.apply(*meanwhile) if meanwhile else None,
        )
        for tag in {operation.tag for _, operation in file}:
            said = {user: set[str]() for user in USERS}
            for _, operation in file:
                if operation.tag == tag:
                    said[operation.user] = (said[operation.user] if tag == "likes" else set()) | {
                        str(operation.value or operation.number or operation.date)
                    }
            view = pair.store.view()
            for user in USERS:
                kept = [membership for membership in view.tags_of(user) if membership.tag == tag]
                assert len(kept) == len(said[user]), (tag, user)
                if tag in ("city", "likes"):
                    assert {str(membership.value) for membership in kept} == said[user]
    finally:
        pair.store.close()


def test_history_reaches_back_over_an_import(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    for definition in DEFINITIONS:
        world.define_tag(definition)
    world.apply(Assign("u1", "city", value="x"), Assign("u2", "vip"))
    monday = world.clock.now()
    world.clock.tick(days=1)
    path = csv_file(tmp_path / "rows.csv", "user,tag,value", ["u1,city,y", "u3,city,x", "u3,vip,"])
    result, _, _ = import_here(world, csv_request("memberships", path))
    assert (result.changed, result.created) == (3, 1)
    assert world.members('city = "x"') == {"u3"}
    assert world.members('city = "x"', as_of=monday) == {"u1"}
    assert world.members("everyone", as_of=monday) == {"u1", "u2"}
    assert world.members(f'at "{monday.isoformat()}" (city = "x") and not city = "x"') == {"u1"}


def test_broken_rows_are_named_and_the_others_are_in(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    for definition in DEFINITIONS:
        world.define_tag(definition)
    path = tmp_path / "rows.csv"
    path.write_bytes(
        b"user,tag,value,number\n"
        b"u1,vip,,\n"
        b"u2,vipp,,\n"  # 3
        b"u3,likes,z,\n"  # 4
        b"u4,spend,,1.234\n"  # 5
        b"u5,spend,,12\n"
        b"\xff\xfe,vip,,\n"  # 7
        b"u7,vip\n"  # 8
        b"u1,vip,,\n"  # 9
        b"u9,likes,,7\n"  # 10
        b'"u10,vip,,\n'  # 11
        b'"u,11",vip,,\n'
    )
    _, job, rejected = import_here(world, csv_request("memberships", path))
    assert [(row.line, row.code) for row in rejected] == [
        (3, "NOT_FOUND"),
        (4, "NOT_FOUND"),
        (5, "INVALID"),
        (7, "INVALID"),
        (8, "INVALID"),
        (9, "CONFLICT"),
        (10, "INVALID"),
        (11, "INVALID"),
    ]
    assert "'vip'" in rejected[0].message
    assert "line 2" in rejected[5].message
    assert (job.rows_read, job.rows_applied, job.rows_rejected) == (11, 3, 8)
    assert world.members("everyone") == {"u1", "u5", "u,11"}


def test_the_same_key_applies_once(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    world.define_tag(DEFINITIONS[-1])
    path = csv_file(tmp_path / "rows.csv", "user,tag,value,at,count", ["u1,buy,m,2026-11-01T10:00:00Z,2"])
    request = csv_request("events", path, key="k1")
    import_here(world, request)
    version = world.view().version
    assert world.store.writer.submit(lambda t: t.applied("k1", request.fingerprint())).result().data_version == version
    path.write_text(path.read_text().replace(",2\n", ",3\n"))
    with pytest.raises(Conflict):
        import_here(world, request)
    assert world.members('buy["m"] times 3') == set()
    assert world.members('buy["m"] times 2') == {"u1"}


def test_events_add_to_the_days_they_happened_on(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    world.define_tag(DEFINITIONS[-1])
    world.apply(Event("u1", "buy", "m", datetime(2026, 11, 1, 9, tzinfo=UTC), 2))
    lines = ["u1,buy,m,2026-11-01T23:59:59Z,3", "u1,buy,m,2026-11-02T00:00:00Z,1", "u2,buy,n,2026-11-01T00:00:00Z,1"]
    import_here(world, csv_request("events", csv_file(tmp_path / "e.csv", "user,tag,value,at,count", lines)))
    assert world.members('buy["m"] times 6') == {"u1"}
    assert world.members('buy["m"] times 5 before "2026-11-02"') == {"u1"}
    assert world.members('buy times 1 after "2026-11-02"') == {"u1"}


def test_a_table_is_a_column_a_tag(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    for definition in DEFINITIONS:
        world.define_tag(definition)
    lines = ["u1,true,x,1.50", "u2,,y,", "u3,false,,2", "u1,true,x,1.50"]
    _, job, rejected = import_here(
        world, csv_request("table", csv_file(tmp_path / "t.csv", "user,vip,city,spend", lines))
    )
    assert [(row.line, row.code) for row in rejected] == [(5, "CONFLICT")]
    assert job.rows_applied == 3
    assert world.members("vip") == {"u1"}
    assert world.members("city") == {"u1", "u2"}
    assert world.members("spend >= 1.5") == {"u1", "u3"}


def test_a_table_with_an_unknown_column_is_refused_whole(store_world: StoreWorld, tmp_path: Path) -> None:
    store_world.define_tag(DEFINITIONS[0])
    with pytest.raises(Exception, match="vipp"):
        import_here(store_world, csv_request("table", csv_file(tmp_path / "t.csv", "user,vipp", ["u1,true"])))
    assert store_world.members("everyone") == set()


def test_defining_infers_the_kind(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    lines = ["u1,true,x,1.50,2026-01-01", "u2,,y,2,2026-01-02"]
    path = csv_file(tmp_path / "t.csv", "user,member,town,paid,joined", lines)
    import_here(world, csv_request("table", path, define=True))
    kinds = {key: (tag.kind.value, tag.scale) for key, tag in world.view().catalog.tags.items()}
    assert kinds == {"member": ("FLAG", 0), "town": ("CHOICE", 0), "paid": ("NUMBER", 2), "joined": ("DATE", 0)}
    assert world.members('joined after "2026-01-02" and paid = 2') == {"u2"}


def test_profiles_link_identifiers_and_merge_attributes(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    world.apply(ProfileChange("u1", (Identifier("email", "a@x"),), (("plan", "free"), ("age", 3))))
    lines = ["u1,a@x,gold", "u2,b@x,", "u3,a@x,free", "u4,b@x,free"]
    path = csv_file(tmp_path / "p.csv", "user,id:email,plan", lines)
    _, job, rejected = import_here(world, csv_request("profiles", path))
    assert [(row.line, row.code) for row in rejected] == [(4, "CONFLICT"), (5, "CONFLICT")]
    assert job.rows_applied == 2
    view = world.view()
    assert view.profile("u1") == ({Identifier("email", "a@x")}, {"plan": "gold", "age": 3})
    assert view.profile("u2") == ({Identifier("email", "b@x")}, {})
    assert world.members("everyone") == {"u1", "u2"}


def test_users_may_be_named_by_an_identifier(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    world.define_tag(DEFINITIONS[0])
    world.apply(ProfileChange("u1", (Identifier("email", "a@x"),)))
    path = csv_file(tmp_path / "m.csv", "user,tag", ["a@x,vip", "new@x,vip"])
    import_here(world, csv_request("memberships", path, id_kind="email"))
    assert world.members("vip") == {"u1", "new@x"}
    assert world.view().profile("new@x") == ({Identifier("email", "new@x")}, {})


def test_replacing_with_nothing_is_refused(store_world: StoreWorld, tmp_path: Path) -> None:
    store_world.define_tag(DEFINITIONS[0])
    store_world.apply(Assign("u1", "vip"))
    path = csv_file(tmp_path / "m.csv", "user,tag", [])
    with pytest.raises(Invalid, match="no row of the file"):
        import_here(store_world, csv_request("memberships", path, mode="replace"))
    assert store_world.members("vip") == {"u1"}


def test_small_imports_over_the_edge_of_a_shard(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    for definition in DEFINITIONS:
        world.define_tag(definition)
    start_ids_at(world.directory, (1 << 20) - 3)
    import_here(
        world,
        csv_request("memberships", csv_file(tmp_path / "a.csv", "user,tag,value", [f"{u},city,x" for u in USERS])),
    )
    world.apply(Assign("u0", "city", value="y"))
    import_here(world, csv_request("memberships", csv_file(tmp_path / "b.csv", "user,tag,value", ["u7,city,z"])))
    assert world.members('city = "x"') == set(USERS) - {"u0", "u7"}
    assert world.members('city = "y"') == {"u0"}
    assert world.store.writer.submit(lambda t: t.apply(Batch("user", (Assign("u0", "vip"),)))).result().changed == 1


def test_a_user_that_cannot_be_named_so_is_a_rejected_row(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    for definition in DEFINITIONS:
        world.define_tag(definition)
    world.apply(Assign("u1", "vip"))
    path = csv_file(tmp_path / "m.csv", "user,tag,value", ["u1,city,x", "a@x,city,y", "u1,likes,a"])
    _, job, rejected = import_here(world, csv_request("memberships", path, id_kind="email"))
    assert [(row.line, row.code) for row in rejected] == [(2, "CONFLICT"), (4, "CONFLICT")]
    assert job.rows_applied == 1
    assert world.members("city or likes") == {"a@x"}
    path = csv_file(tmp_path / "t.csv", "user,vip,city", ["u1,true,x", "b@x,true,y"])
    _, _, rejected = import_here(world, csv_request("table", path, id_kind="email"))
    assert [(row.line, row.code) for row in rejected] == [(2, "CONFLICT")]
    assert world.members("vip") == {"u1", "b@x"}


def test_replacing_a_table_empties_a_column_that_says_nothing(store_world: StoreWorld, tmp_path: Path) -> None:
    world = store_world
    for definition in DEFINITIONS:
        world.define_tag(definition)
    world.apply(Assign("u1", "vip"), Assign("u1", "city", value="x"), Assign("u1", "spend", number=Decimal(1)))
    path = csv_file(tmp_path / "t.csv", "user,vip,city", ["u1,false,", "u2,,y"])
    import_here(world, csv_request("table", path, mode="replace"))
    assert world.members("vip") == set()
    assert world.members("city") == {"u2"}
    assert world.members("spend") == {"u1"}


def test_a_number_that_json_cannot_give_back_is_rejected(store_world: StoreWorld, tmp_path: Path) -> None:
    path = tmp_path / "p.ndjson"
    path.write_text('{"user":"u1","n":123456789012345678901234567890}\n{"user":"u2","n":[{"m":9223372036854775807}]}\n')
    request = replace(csv_request("profiles", path), format="ndjson")
    _, _, rejected = import_here(store_world, request)
    assert [(row.line, row.code) for row in rejected] == [(1, "INVALID")]
    assert store_world.view().profile("u2") == (set(), {"n": [{"m": 2**63 - 1}]})
