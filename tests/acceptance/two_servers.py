"""Two servers of two processes on one directory: each sees at once what the other wrote, and nothing is lost."""

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.acceptance.asking import names_in
from tests.acceptance.harness import Json, Report, Server, new_token, options, workplace

TAGS: list[Json] = [
    {"key": "turn", "kind": "NUMBER"},
    {"key": "mark", "kind": "CHOICES"},
    {"key": "click", "kind": "EVENT"},
    {"key": "loaded"},
]
ASSIGN = "mutation($i: [TagAssignment!]!) { assignTags(input: $i) { dataVersion } }"
RECORD = "mutation($i: [EventInput!]!) { recordEvents(input: $i) { dataVersion } }"
READ = """query($w: AudienceWhere!, $u: [String!]!, $n: String!) {
  audience(where: $w) { size dataVersion contains(users: $u) members(first: 1000) { totalCount } }
  profile(by: {userId: $n}) { tags(keys: ["turn"]) { number } }
}"""
AT = "2026-01-01T00:00:00Z"


def alternating(servers: list[Server], report: Report, times: int) -> None:
    """A write through one is in the next read of the other: by size, contains, profile and version."""
    for turn in range(times):
        writer, reader = servers[turn % 2], servers[1 - turn % 2]
        user = f"turn-{turn}"
        version = writer.ask(ASSIGN, i=[{"user": user, "tag": "turn", "number": turn}])["assignTags"]["dataVersion"]
        found = reader.ask(READ, w={"tag": {"key": "turn", "gte": 0}}, u=[user, "nobody"], n=user)
        audience = found["audience"]
        seen = (audience["size"], audience["members"]["totalCount"], audience["contains"], found["profile"])
        wanted = (turn + 1, turn + 1, [True, False], {"tags": [{"number": turn}]})
        report.equal("a write is in the next read of the other", seen, wanted, user)
        report.check(
            "its version too", audience["dataVersion"] >= version, f"{audience['dataVersion']} before {version}"
        )


def concurrent(servers: list[Server], report: Report, writers: int, times: int, directory: Path, rows: int) -> None:
    """Writers on both at once, all of them also on the same user, and an import meanwhile: nothing is lost."""
    users = pa.array([f"load-{number}" for number in range(rows)])
    path = directory / "loaded.parquet"
    pq.write_table(pa.table({"user": users, "tag": ["loaded"] * rows}), path)
    versions: list[int] = []
    lock = threading.Lock()

    def write(writer: int) -> None:
        choose = random.Random(writer)
        for number in range(times):
            server = servers[choose.randrange(2)]
            own, shared = f"w{writer}-{number}", {"user": "shared", "tag": "mark", "value": f"{writer}-{number}"}
            made = server.ask(ASSIGN, i=[{"user": own, "tag": "mark", "value": "own"}, shared])["assignTags"]
            event = {"user": "shared", "tag": "click", "value": "a", "at": AT}
            counted = server.ask(RECORD, i=[event])["recordEvents"]
            with lock:
                versions.extend((made["dataVersion"], counted["dataVersion"]))

    with ThreadPoolExecutor(writers + 1) as pool:
        loading = pool.submit(servers[0].imported, "memberships", path)
        list(pool.map(write, range(writers)))
        loading.result()
    total = writers * times
    report.equal("no version was given twice", len(set(versions)), 2 * total)
    profile = 'query { profile(by: {userId: "shared"}) { tags { tag { key } values memberships { count } } } }'
    for server in servers:
        own = set(names_in(server.export({"text": 'mark["own"]'}, "csv"), "csv").to_pylist())
        everyone = {f"w{writer}-{number}" for writer in range(writers) for number in range(times)}
        report.check("concurrent writers lose nothing", own == everyone, f"{len(own)} of {total}", total)
        tags = {tag["tag"]["key"]: tag for tag in server.ask(profile)["profile"]["tags"]}
        marks = {f"{writer}-{number}" for writer in range(writers) for number in range(times)}
        report.check(
            "nor do those who write the same user", set(tags["mark"]["values"]) == marks, f"{tags['mark']}"[:200], total
        )
        report.equal("events of one user add up", tags["click"]["memberships"][0]["count"], total)
        report.equal("events of one user, as a question", server.sizes([{"text": f"click times {total}"}]), [1])
        report.equal("the import meanwhile is whole", server.size("loaded"), rows)


def main() -> int:
    """Both."""
    given = options(__doc__, times=500, writers=4, writes=100, rows=50_000, workers=2)
    report = Report(f"Two servers of {given.workers} processes on one directory")
    with workplace(given.keep) as directory:
        store = directory / "store"
        token = new_token(store)
        # A new connection for each request goes to either process of a server.
        how: Json = {"token": token, "workers": given.workers, "keep_alive": False}
        with Server(store, **how) as one, Server(store, **how) as two:
            for tag in TAGS:
                one.ask("mutation($i: DefineTagInput!) { defineTag(input: $i) { key } }", i=tag)
            alternating([one, two], report, given.times)
            concurrent([one, two], report, given.writers, given.writes, directory, given.rows)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
