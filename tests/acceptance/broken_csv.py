"""Files of a million rows with one in a hundred broken: all that is good is in, all that is bad is named by its line.

The same rows as CSV, NDJSON and Parquet, by HTTP and by the command line; each is repeated with its key.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.acceptance.asking import names_in
from tests.acceptance.harness import Json, Report, Server, command, new_token, options, workplace
from tests.acceptance.questions import quoted

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
COLUMNS = ("user", "tag", "value", "number", "date", "score", "expires_at")
EVENT_COLUMNS = ("user", "tag", "value", "at", "count")
CITIES = ["Shanghai", "北京", "São Paulo", 'O"Hare', "London, UK", "a/b"]
TAGS: list[Json] = [
    {"key": "vip"},
    {"key": "city", "kind": "CHOICE", "values": CITIES},
    {"key": "interest", "kind": "CHOICES"},
    {"key": "spend", "kind": "NUMBER", "scale": 2},
    {"key": "renewal", "kind": "DATE", "precision": "DAY"},
    {"key": "purchase", "kind": "EVENT"},
    {"key": "rich", "rule": {"text": "spend >= 100"}},
]
Row = tuple[str, ...]
SAME = ("id", "kind", "state", "rowsRead", "rowsApplied", "rowsRejected")
BLANK_LINES = (50, 51, 7_000)


@dataclass
class Case:
    """Rows with what is wrong with some of them. bad: by place, the kind and the code that has to be named."""

    columns: tuple[str, ...]
    rows: list[Row]
    bad: dict[int, tuple[str, str]] = field(default_factory=dict)

    def good(self) -> pd.DataFrame:
        """The rows that have to be applied."""
        frame = pd.DataFrame(self.rows, columns=list(self.columns))
        return frame.drop(index=list(self.bad))


# ---------------------------------------------------------------- what is good


def memberships(count: int, choose: random.Random) -> Case:
    """Good rows of every kind; nothing is said twice, but of a single tag a later row replaces an earlier one."""
    seen: set[tuple[str, ...]] = set()
    rows: list[Row] = []
    while len(rows) < count:
        user = f"u{choose.randrange(count // 3)}" if choose.random() < 0.999 else f'odd, "{choose.randrange(1000)}" é'
        tag = choose.choices(("vip", "city", "interest", "spend", "renewal"), (1, 3, 4, 2, 1))[0]
        value = number = date = ""
        match tag:
            case "city":
                value = choose.choice(CITIES)
            case "interest":
                value = f"interest-{int(choose.expovariate(0.05))}"
            case "spend":
                number = f"{choose.randrange(-10_000, 10**9) / 100:.2f}"
            case "renewal":
                date = f"2026-{choose.randint(1, 12):02}-{choose.randint(1, 28):02}"
        score = f"{choose.randrange(100) / 100}" if choose.random() < 0.1 else ""
        expires = f"2026-0{choose.randint(4, 9)}-01T00:00:00Z" if choose.random() < 0.1 else ""
        row = (user, tag, value, number, date, score, expires)
        if row not in seen:
            seen.add(row)
            rows.append(row)
    return Case(COLUMNS, rows)


def events(count: int, choose: random.Random) -> Case:
    """Good events; what repeats adds up."""
    rows: list[Row] = [
        (
            f"e{choose.randrange(count // 3)}",
            "purchase",
            choose.choice(("MILK", "BREAD", "")),
            f"2026-04-{choose.randint(1, 30):02}T{choose.randint(0, 23):02}:00:00Z",
            choose.choice(("", "1", "2", "4294967")),
        )
        for _ in range(count)
    ]
    return Case(EVENT_COLUMNS, rows)


# ---------------------------------------------------------------- what is bad

Break = Callable[[Row], Row]
BY_CONTENT: dict[str, tuple[str, Break]] = {
    "unknown tag": ("NOT_FOUND", lambda row: (row[0], "cty", "Shanghai", "", "", "", "")),
    "number in a choice": ("INVALID", lambda row: (row[0], "city", "", "42", "", "", "")),
    "value that a closed tag does not take": ("NOT_FOUND", lambda row: (row[0], "city", "Atlantis", "", "", "", "")),
    "too many digits": ("INVALID", lambda row: (row[0], "spend", "", "12345678901234567890", "", "", "")),
    "too many decimals": ("INVALID", lambda row: (row[0], "spend", "", "1.234", "", "", "")),
    "text for a number": ("INVALID", lambda row: (row[0], "spend", "", "lots", "", "", "")),
    "30 February": ("INVALID", lambda row: (row[0], "renewal", "", "", "2026-02-30", "", "")),
    "value of a flag": ("INVALID", lambda row: (row[0], "vip", "yes", "", "", "", "")),
    "choice without a value": ("INVALID", lambda row: (row[0], "interest", "", "", "", "", "")),
    "score that is none": ("INVALID", lambda row: (row[0], "vip", "", "", "", "high", "")),
    "expiry without a zone": ("INVALID", lambda row: (row[0], "vip", "", "", "", "", "2026-06-01T00:00:00")),
    "no user": ("INVALID", lambda row: ("", *row[1:])),
    "no tag": ("INVALID", lambda row: (row[0], "", *row[2:])),
    "event among memberships": ("INVALID", lambda row: (row[0], "purchase", "MILK", "", "", "", "")),
    "tag of a rule": ("INVALID", lambda row: (row[0], "rich", "", "", "", "", "")),
    "name of 600 bytes": ("INVALID", lambda row: ("x" * 600, *row[1:])),
}
EVENTS_BY_CONTENT: dict[str, tuple[str, Break]] = {
    "count of 2^32": ("INVALID", lambda row: (*row[:4], "4294967296")),
    "count of 0": ("INVALID", lambda row: (*row[:4], "0")),
    "count of -1": ("INVALID", lambda row: (*row[:4], "-1")),
    "count of 1.5": ("INVALID", lambda row: (*row[:4], "1.5")),
    "no moment": ("INVALID", lambda row: (*row[:3], "", row[4])),
    "moment without a zone": ("INVALID", lambda row: (*row[:3], "2026-04-01T10:00:00", row[4])),
    "unknown tag": ("NOT_FOUND", lambda row: (row[0], "purchases", *row[2:])),
    "membership among events": ("INVALID", lambda row: (row[0], "vip", *row[2:])),
    "no user": ("INVALID", lambda row: ("", *row[1:])),
}
DUPLICATE = "duplicate line"
COUNT_MAX = str(2**32 - 1)
CSV_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "bad UTF-8": lambda line: b"\xff\xfe" + line,
    "cut UTF-8": lambda line: b"\xe5\x8c" + line,
    "missing columns": lambda line: line[: line.rindex(b",")],
    "too many columns": lambda line: line + b",more",
    "unclosed quote": lambda line: b'"' + line,
    "text behind a quote": lambda line: b'"a"b' + line,
    "NUL": lambda line: b"\0" + line,
}
NDJSON_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "bad UTF-8": lambda line: line.replace(b'": "', b'": "\xff', 1),
    "cut short": lambda line: line[:-3],
    "list": lambda line: b"[" + line + b"]",
    "number": lambda line: b"42",
    "key that is no column": lambda line: b'{"colour": "red", ' + line[1:],
    "object for a name": lambda line: b'{"user": {"id": 1}, ' + line[line.index(b'"tag"') :],
    "not JSON": lambda line: line.replace(b'"', b"'"),
}


def broken(case: Case, share: float, by_bytes: list[str], contents: dict[str, tuple[str, Break]], seed: int) -> Case:
    """The case with a share of its rows broken, every kind about as often."""
    choose = random.Random(seed)
    kinds = [*by_bytes, *contents] + [DUPLICATE] * (case.columns == COLUMNS)
    rows = list(case.rows)
    bad: dict[int, tuple[str, str]] = {}
    said: dict[Row, list[int]] = {}
    for place, row in enumerate(rows):
        said.setdefault(subject(row), []).append(place)
    for place in sorted(choose.sample(range(1, len(rows)), int(share * len(rows)))):
        kind = choose.choice(kinds)
        if kind == DUPLICATE:
            # It repeats what was last said of its subject: what is said again after something else is no duplicate.
            source = choose.randrange(place)
            before = [each for each in said[subject(case.rows[source])] if each < place and each not in bad]
            if before and before[-1] == source:
                rows[place] = rows[source]
                bad[place] = (kind, "CONFLICT")
            continue
        # Users that only a bad row names must not come to be.
        row = (f"bad{place}", *rows[place][1:]) if choose.random() < 0.5 else rows[place]
        code, change = contents.get(kind, ("INVALID", lambda row: row))
        rows[place] = change(row)
        bad[place] = (kind, code)
    if case.columns == EVENT_COLUMNS:
        for number in range(10):  # each is good alone, and together they are more than a day of a user holds
            rows += [(f"full{number}", "purchase", "MILK", "2026-04-01T10:00:00Z", count) for count in (COUNT_MAX, "1")]
            bad[len(rows) - 1] = ("one event too many on a day", "INVALID")
    return Case(case.columns, rows, bad)


def subject(row: Row) -> Row:
    """What a row of memberships is about: one user and tag, of a tag of several values one value."""
    return row[:3] if row[1] == "interest" else row[:2]


# ---------------------------------------------------------------- as files


def write_csv(case: Case, path: Path) -> dict[int, tuple[str, str]]:
    """Writes the file; what is bad by line."""
    named: dict[int, tuple[str, str]] = {}
    with path.open("wb") as file:
        file.write(",".join(case.columns).encode() + b"\n")
        line = 2
        for place, row in enumerate(case.rows):
            if place in BLANK_LINES:
                file.write(b"\n")
                line += 1
            text = ",".join(cell if not set(cell) & {",", '"'} else '"' + cell.replace('"', '""') + '"' for cell in row)
            kind, code = case.bad.get(place, ("", ""))
            content = text.encode()
            file.write(CSV_BYTES.get(kind, bytes)(content) + b"\n")
            if kind:
                named[line] = (kind, code)
            line += 1
    return named


def write_ndjson(case: Case, path: Path) -> dict[int, tuple[str, str]]:
    """The same as objects; numbers and truth values as such."""
    named: dict[int, tuple[str, str]] = {}
    with path.open("wb") as file:
        line = 1
        for place, row in enumerate(case.rows):
            if place in BLANK_LINES:
                file.write(b"\n")
                line += 1
            said = {name: cell for name, cell in zip(case.columns, row, strict=True) if cell or name in ("user", "tag")}
            text = json.dumps(said, ensure_ascii=False)
            if (number := said.get("number")) and place % 2 and number != "lots":
                text = text.replace(f'"number": "{number}"', f'"number": {number}')
            kind, code = case.bad.get(place, ("", ""))
            file.write(NDJSON_BYTES.get(kind, bytes)(text.encode()) + b"\n")
            if kind:
                named[line] = (kind, code)
            line += 1
    return named


def write_parquet(case: Case, path: Path) -> dict[int, tuple[str, str]]:
    """The same as columns of strings with nulls; a line is a row."""
    columns = {
        name: pa.array([cell or None for cell in cells], pa.string())
        for name, cells in zip(case.columns, zip(*case.rows, strict=True), strict=True)
    }
    pq.write_table(pa.table(columns), path)
    return {place + 1: found for place, found in case.bad.items()}


# ---------------------------------------------------------------- what has to be there


def check_memberships(server: Server, report: Report, good: pd.DataFrame, what: str) -> None:
    """Every value of every tag, sums of numbers, and users, against group-bys of the good rows."""
    report.equal(what, server.size("everyone"), good["user"].nunique(), "everyone")
    alive = (good["expires_at"] == "") | (pd.to_datetime(good["expires_at"], errors="coerce", utc=True) > NOW)
    of = {tag: rows for tag, rows in good.assign(alive=alive).groupby("tag")}
    for tag in ("vip", "city", "spend", "renewal"):
        of[tag] = of[tag].drop_duplicates("user", keep="last")
    of["interest"] = of["interest"].drop_duplicates(["user", "value"], keep="last")
    of = {tag: rows[rows["alive"]] for tag, rows in of.items()}
    for tag in ("city", "interest"):
        for value, count in of[tag].groupby("value").size().items():
            report.equal(what, server.size(f"{tag}[{quoted(str(value))}]"), int(count), f"{tag} {value}")
    for tag, rows in of.items():
        found = names_in(server.export({"text": tag}, "csv"), "csv").to_pylist()
        report.equal(what, (len(found), set(found) == set(rows["user"])), (rows["user"].nunique(), True), tag)
    for day, count in of["renewal"].groupby("date").size().head(40).items():
        report.equal(what, server.size(f"renewal = {quoted(str(day))}"), int(count), f"renewal {day}")
    summary = 'query($w: AudienceWhere!) { audience(where: $w) { numbers(tag: "spend") { count sum min max } } }'
    found_numbers = server.ask(summary, w={"everyone": True})["audience"]["numbers"]
    numbers = of["spend"]["number"].map(Decimal)
    sums = [Decimal(str(found_numbers[each])) for each in ("sum", "min", "max")]
    report.equal(what, sums, [sum(numbers), min(numbers), max(numbers)], "spend")
    for score in ("0.25", "0.75"):
        scored = of["interest"][pd.to_numeric(of["interest"]["score"]) >= float(score)]
        report.equal(what, server.size(f"interest score {score}"), scored["user"].nunique(), f"score {score}")


def check_events(server: Server, report: Report, good: pd.DataFrame, what: str) -> None:
    """Counts of events by user and value, against group-bys of the good rows."""
    counts = good.assign(times=pd.to_numeric(good["count"].replace("", "1")))
    for value in ("MILK", "BREAD"):
        by_user = counts[counts["value"] == value].groupby("user")["times"].sum()
        for least in (1, 2, 3, 5, 4_294_967, 8_589_934):
            expected = int((by_user >= least).sum())
            report.equal(what, server.size(f'purchase["{value}"] times {least}'), expected, f"{value} {least}")
    by_user = counts.groupby("user")["times"].sum()
    report.equal(what, server.size("purchase times 4"), int((by_user >= 4).sum()), "all values")
    recent = counts[counts["at"] >= "2026-04-21"].groupby("user")["times"].sum()
    report.equal(what, server.size("purchase times 2 within P11D"), int((recent >= 2).sum()), "the last days")


class Trial:
    """One file, imported into a new store twice with its key, by HTTP and in another store by the command line."""

    def __init__(
        self, directory: Path, path: Path, case: Case, named: dict[int, tuple[str, str]], report: Report
    ) -> None:
        self._directory = directory
        self._path = path
        self._case = case
        self._named = named
        self._report = report
        self._kind = path.stem
        self._name = path.name.replace(".", " ")

    def _new_store(self, how: str) -> tuple[Path, str]:
        """A store with the tags, and a token for it."""
        directory = self._directory / f"{self._name} {how}"
        token = new_token(directory)
        with Server(directory, token=token, now=NOW) as server:
            for tag in TAGS:
                server.ask("mutation($i: DefineTagInput!) { defineTag(input: $i) { key } }", i=tag)
        return directory, token

    def by_http(self) -> None:
        """Twice by HTTP."""
        directory, token = self._new_store("http")
        with Server(directory, token=token, now=NOW) as server:
            job = server.upload(self._kind, self._path, "the key", source="file")
            self._check(server, job, "HTTP")
            version = server.audience({"everyone": True}, "dataVersion")
            again = server.upload(self._kind, self._path, "the key", source="file")
            now = server.audience({"everyone": True}, "dataVersion")
            self._report.equal(f"{self._name}: the key again changes nothing", now, version, "HTTP")
            same = {name: again[name] for name in SAME} == {name: job[name] for name in SAME}
            self._report.check(f"{self._name}: the key again is the same job", same, f"{again} and {job}")
            self._check(server, job, "HTTP, again")

    def by_command(self) -> None:
        """Twice by the command line, looked at by HTTP."""
        directory, token = self._new_store("command")
        latest = "{ jobs(first: 5) { edges { node { id state rowsRead rowsApplied rowsRejected } } } }"
        bad, rows = len(self._named), len(self._case.rows)
        sentence = f"DONE: {rows:,} rows read = {rows - bad:,} applied + {bad:,} rejected"
        versions = set()
        for turn in ("command", "command, again"):
            done = command(directory, "import", self._kind, str(self._path), "--key", "the key", now=NOW)
            said = (done.returncode, done.stdout.strip())
            told = sentence if turn == "command" else f"{sentence} (already applied before, with this key)"
            self._report.equal(f"{self._name}: totals", said, (0, told), done.stderr[-300:])
            with Server(directory, token=token, now=NOW) as server:
                jobs = [edge["node"] for edge in server.ask(latest)["jobs"]["edges"]]
                versions.add(server.audience({"everyone": True}, "dataVersion")["dataVersion"])
                self._check(server, jobs[0], turn)
        found = (len(jobs), len(versions))
        self._report.equal(f"{self._name}: the key again changes nothing", found, (1, 1), "command: jobs, versions")

    def _check(self, server: Server, job: Json, how: str) -> None:
        """The totals, the lines with the code of each, and what has to be there."""
        report, named, rows = self._report, self._named, len(self._case.rows)
        rejected = server.rejections(job["id"])
        totals = (job["state"], job["rowsRead"], job["rowsApplied"], job["rowsRejected"], len(rejected))
        report.equal(f"{self._name}: totals", totals, ("DONE", rows, rows - len(named), len(named), len(named)), how)
        found = {row["line"]: row["code"] for row in rejected}
        missing = Counter(named[line][0] for line in named.keys() - found.keys())
        extra = [row for row in rejected if row["line"] not in named]
        told = f"{how}: missing {missing}, too many {extra[:3]}"
        report.check(f"{self._name}: lines rejected", not missing and not extra, told, len(named))
        wrong = Counter(
            (*named[line], code) for line, code in found.items() if line in named and named[line][1] != code
        )
        told = f"{how}: kind, expected, found: {wrong}"
        report.check(
            f"{self._name}: their codes", not wrong and all(row["message"] for row in rejected), told, len(named)
        )
        check = check_memberships if self._kind == "memberships" else check_events
        check(server, report, self._case.good(), f"{self._name}: what is good is in")
        report.say(f"{self._name}: checked, {how}")


def main() -> int:
    """All formats, both ways."""
    given = options(__doc__, rows=1_000_000, broken_per_mille=10, seed=4)
    report = Report(f"Files of {given.rows:,} rows, {given.broken_per_mille / 10:g} % broken")
    share, choose = given.broken_per_mille / 1000, random.Random(given.seed)
    kinds = {"memberships": (memberships, BY_CONTENT), "events": (events, EVENTS_BY_CONTENT)}
    with workplace(given.keep) as place:
        for kind, (draw, contents) in kinds.items():
            whole = draw(given.rows, choose)
            for suffix, by_bytes, write in (
                ("csv", CSV_BYTES, write_csv),
                ("ndjson", NDJSON_BYTES, write_ndjson),
                ("parquet", {}, write_parquet),
            ):
                case = broken(whole, share, list(by_bytes), contents, given.seed)
                path = place / f"{kind}.{suffix}"
                named = write(case, path)
                report.say(f"{path.name}: {len(case.rows):,} rows, {len(named):,} of them broken")
                trial = Trial(place, path, case, named, report)
                trial.by_http()
                trial.by_command()
                path.unlink()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
