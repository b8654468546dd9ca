"""Hostile GraphQL: documents, variables and texts of the audience language, as bodies that anyone can send."""

import json
from collections.abc import Iterator
from typing import NamedTuple

SIZE = "query ($w: AudienceWhere!) { audience(where: $w) { size } }"
TEXT = "query ($t: String!) { audience(where: {text: $t}) { size } }"
LEAF = {"tag": {"key": "vip"}}


class Body(NamedTuple):
    """A body to POST, and the codes of which every error of the answer is one; without codes it is answered."""

    name: str
    body: bytes
    codes: frozenset[str]


def _json(name: str, codes: str, **request: object) -> Body:
    return Body(name, json.dumps(request).encode(), frozenset(codes.split()))


def _raw(name: str, codes: str, body: bytes) -> Body:
    return Body(name, body, frozenset(codes.split()))


def deep(levels: int, wrap: str, leaf: object = LEAF) -> object:
    """An expression so many levels deep."""
    found = leaf
    for _ in range(levels):
        found = {wrap: [found, LEAF]} if wrap in ("and", "or") else {wrap: found}
    return found


def spread(levels: int, width: int) -> str:
    """Fragments that each spread the next several times."""
    each = [f"fragment f{i} on Query {{ {f'...f{i + 1} ' * width} }}" for i in range(levels)]
    return "{ ...f0 } " + " ".join(each) + f" fragment f{levels} on Query {{ viewer {{ name }} }}"


def _documents() -> Iterator[tuple[str, str, str]]:
    for levels, width in ((10, 2), (30, 2), (150, 2), (60, 20), (1, 900), (2, 400), (3, 200)):
        yield f"bomb of fragments, {levels} levels of {width}", "TOO_LARGE", spread(levels, width)
    yield "fragments in a circle", "INVALID", "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }"
    yield "a fragment of itself", "INVALID", "{ ...a } fragment a on Query { viewer { name } ...a }"
    circle = " ".join(f"fragment f{i} on Query {{ ...f{(i + 1) % 250} }}" for i in range(250))
    yield "a circle of 250 fragments", "INVALID TOO_LARGE", "{ ...f0 } " + circle
    for count in (31, 600):
        yield f"{count} aliases", "TOO_LARGE", "{ " + " ".join(f"a{i}: viewer {{ name }}" for i in range(count)) + " }"
    inner = " ".join(f"a{i}: size" for i in range(400))
    yield "aliases of a size", "TOO_LARGE", '{ audience(where: {text: "vip"}) { ' + inner + " } }"
    yield "2,000 times the same field", "TOO_LARGE", "{ " + "__typename " * 1_990 + "}"
    same = "size " * 1_900
    yield "a size 1,900 times", "", '{ audience(where: {text: "vip"}) { ' + same + " } }"
    parts = " ".join(f'audience(where: {{text: "{i}"}}) {{ size }}' for i in range(150))
    yield "fields that conflict", "TOO_LARGE", "{ " + parts + " }"
    pairs = "".join(f"... {{ viewer {{ name }} ...f{i} }}" for i in range(15)) + "".join(
        f"fragment f{i} on Query {{ viewer {{ name scopes }} }}" for i in range(0)
    )
    yield "fragments that are not there", "INVALID", "{ " + pairs + " }"
    yield "directives on a field", "TOO_LARGE", "{ viewer { name " + "@skip(if: false) " * 250 + "} }"
    yield "unknown directives", "TOO_LARGE", "{ viewer { name " + "@a " * 900 + "} }"
    yield "directives on variables", "TOO_LARGE", "query ($v: Int " + "@a " * 900 + ") { viewer { name } }"
    yield "fields 13 deep", "TOO_LARGE", "{ categories { " + "parent { " * 12 + "key" + " }" * 12 + " } }"
    for levels in (150, 190, 400, 900):
        yield f"fields {levels} deep", "TOO_LARGE", "{ " + "a { " * levels + "a" + " }" * levels + " }"
    yield "brackets without an end", "TOO_LARGE INVALID", "{ a" + "{ a" * 600
    where = "{not: " * 150 + "{everyone: true}" + "}" * 150
    yield "an expression 150 deep", "TOO_LARGE INVALID", f"{{ audience(where: {where}) {{ size }} }}"
    yield "lists 180 deep", "TOO_LARGE INVALID", "{ audience(where: " + "[" * 180 + "]" * 180 + ") { size } }"
    wide = ", ".join(['{tag: {key: "vip"}}'] * 201)
    yield "an expression of 201 leaves", "TOO_LARGE", f"{{ audience(where: {{or: [{wide}]}}) {{ size }} }}"
    yield "unknown fields", "TOO_LARGE INVALID", "{ " + " ".join(f"a{'x' * 20}{i}" for i in range(1_500)) + " }"
    yield "unknown fields, few", "INVALID", "{ viewer { " + " ".join(f"nam{i}" for i in range(900)) + " } }"
    yield "a name of 60,000 letters", "INVALID", "{ viewer { " + "n" * 60_000 + " } }"
    yield "60,000 commas", "", "{ viewer { name " + "," * 60_000 + "} }"
    yield "a comment of 60,000", "", "#" * 60_000 + "\n{ viewer { name } }"
    yield "30,000 comments", "TOO_LARGE", "#\n" * 30_000 + "{ viewer { name } }"
    yield "a document that is too long", "TOO_LARGE", "#" * 70_000 + "\n{ viewer { name } }"
    yield "3,000 tokens", "TOO_LARGE", "{ viewer { name } } " + "fragment a on B { c } " * 500
    yield "200 operations", "INVALID", " ".join(f"query q{i} {{ viewer {{ name }} }}" for i in range(200))
    yield "400 variables", "INVALID", "query (" + " ".join(f"$v{i}: Int" for i in range(400)) + ") { viewer { name } }"
    yield "a number of 5,000 digits", "INVALID", f"{{ tags(first: {'9' * 5_000}) {{ totalCount }} }}"
    yield "a float of 5,000 digits", "INVALID", f"{{ tags(first: 1.{'9' * 5_000}) {{ totalCount }} }}"
    yield "an exponent of 5,000 digits", "INVALID", f"{{ tags(first: 1e{'9' * 5_000}) {{ totalCount }} }}"
    yield "a negative page", "INVALID", "{ tags(first: -2147483648) { totalCount } }"
    yield "a huge page", "TOO_LARGE", "{ tags(first: 2147483647) { totalCount } }"
    yield "a huge cursor", "TOO_LARGE INVALID", '{ tags(after: "' + "A" * 60_000 + '") { totalCount } }'
    yield "a huge id", "TOO_LARGE INVALID", '{ node(id: "' + "A" * 60_000 + '") { id } }'
    yield "a string that is not ended", "INVALID", '{ tag(key: "' + "a" * 60_000
    yield "escapes that are none", "INVALID", '{ tag(key: "\\ud800\\uqqqq") { key } }'
    yield "half of a surrogate", "INVALID", '{ tag(key: "\\ud800") { key } }'
    yield "a NUL in a document", "INVALID", "{ viewer { name } \0 }"
    yield "a NUL in a key", "", '{ tag(key: "a\\u0000b") { key } }'
    yield "a block of 20,000 lines", "", '{ tag(key: """' + "\n a" * 20_000 + '""") { key } }'
    yield "only whitespace", "INVALID", " " * 60_000
    yield "no operation", "INVALID", "fragment a on Query { viewer { name } }"
    lists = "fields { type { " * 5 + "name" + " } }" * 5
    yield "introspection of fields of fields", "TOO_LARGE", "{ __schema { types { " + lists + " } } }"
    alias = " ".join(f"a{i}: fields {{ name }}" for i in range(25))
    yield "introspection with aliases", "TOO_LARGE", "{ __schema { types { " + alias + " } } }"
    twice = " ".join(f"a{i}: __schema {{ types {{ fields {{ name }} }} }}" for i in range(20))
    yield "introspection twenty times", "TOO_LARGE", "{ " + twice + " }"
    of = "ofType { " * 30 + "name" + " }" * 30
    yield "introspection of types of types", "TOO_LARGE", "{ __schema { types { " + of + " } } }"
    rows = 'breakdown(by: [{tag: "city"}, {tag: "likes"}]) { audience { '
    nested = rows * 4 + "size" + " } }" * 4
    yield "breakdowns of breakdowns", "TOO_LARGE INVALID", '{ audience(where: {text: "vip"}) { ' + nested + " } }"
    portraits = " ".join(f"p{i}: portrait(top: 1000) {{ known rows {{ size }} }}" for i in range(29))
    yield "29 portraits", "", "{ audience(where: {everyone: true}) { " + portraits + " } }"


def _variables() -> Iterator[tuple[str, str, object]]:
    for wrap in ("not", "and", "or"):
        for levels in (21, 45):
            yield f"{wrap} {levels} deep in variables", "TOO_LARGE", deep(levels, wrap)
        yield f"{wrap} 400 deep in variables", "TOO_LARGE", deep(400, wrap)
    after = [
        {"tag": {"key": "vip", "after": f"20{i // 300:02}-01-01T00:{i // 60 % 60:02}:{i % 60:02}Z"}}
        for i in range(2_000)
    ]
    yield "200 windows that differ", "", {"or": after[:200]}
    yield "2,000 windows that differ", "TOO_LARGE", {"and": [{"or": after[i : i + 200]} for i in range(0, 2_000, 200)]}
    for count in (201, 1_999, 2_001, 20_000):
        yield f"{count} leaves in variables", "TOO_LARGE", {"or": [LEAF] * count}
    yield "100,000 values", "TOO_LARGE", {"tag": {"key": "city", "in": ["x"] * 100_000}}
    yield "50,000 users", "TOO_LARGE", {"users": {"ids": [f"u{i}" for i in range(50_000)]}}
    yield "a key of a megabyte", "INVALID TOO_LARGE NOT_FOUND", {"tag": {"key": "a" * 1_000_000}}
    yield "a list where an object is", "INVALID", [[[]]] * 1_000
    yield "every field at once", "INVALID", {"tag": {"key": "vip"}, "text": "vip", "everyone": True}
    yield "60,000 unknown fields", "TOO_LARGE", {f"f{i}": 1 for i in range(60_000)}
    yield "an infinite number", "INVALID", {"tag": {"key": "spend", "gte": 10**400}}
    yield "a decimal of a million digits' power", "INVALID TOO_LARGE", {"tag": {"key": "spend", "gte": "1e999999999"}}
    yield "a date that is none", "INVALID", {"tag": {"key": "spend", "gte": "9999999-99-99"}}
    yield "a long decimal", "INVALID TOO_LARGE", {"tag": {"key": "spend", "gte": "9" * 500_000}}
    yield "at least of 201", "TOO_LARGE INVALID", {"atLeast": {"count": 100, "of": [LEAF] * 201}}
    yield "a count of 2^31", "INVALID TOO_LARGE", {"atLeast": {"count": 2**31, "of": [LEAF] * 3}}


def _texts() -> Iterator[tuple[str, str, str]]:
    yield "parentheses 30,000 deep", "TOO_LARGE INVALID", "(" * 30_000 + "vip" + ")" * 30_000
    yield "not 20,000 times", "TOO_LARGE INVALID", "not " * 16_000 + "vip"
    yield "or 10,000 times", "TOO_LARGE INVALID", " or ".join(["vip"] * 9_000)
    yield "a text that is too long", "TOO_LARGE", "vip or " * 20_000 + "vip"
    yield "a string that does not end", "INVALID", 'city = "' + "\\" * 60_000
    yield "quotes", "INVALID TOO_LARGE", '"' * 60_000
    yield "a number of 5,000 digits in a text", "INVALID TOO_LARGE", "spend >= " + "9" * 5_000
    yield "a fraction of 60,000 digits", "INVALID TOO_LARGE", "spend >= 0." + "9" * 60_000
    yield "a duration without end", "INVALID TOO_LARGE", "buy within P" + "9" * 60_000 + "D"
    yield "durations side by side", "INVALID TOO_LARGE", "buy within P" + "1Y" * 20_000
    yield "a moment that is none", "INVALID", 'at "99999-99-99T99:99:99Z" (vip)'
    yield "at within at", "TOO_LARGE INVALID STALE", 'at "2026-11-02T11:00:00Z" (' * 21 + "vip" + ")" * 21
    yield "a name that looks like any", "NOT_FOUND INVALID TOO_LARGE", "`" + "vip" * 15_000 + "`"
    yield "spaces", "INVALID TOO_LARGE", "vip" + " " * 60_000 + "and"
    yield "a count of 5,000 digits", "INVALID TOO_LARGE", "9" * 5_000 + " of (vip, vip)"
    yield "a slice of nothing", "INVALID", 'part("a", 1, 0)'
    yield "a NUL in a text", "INVALID NOT_FOUND", "vip\0and vip"
    yield "marks that join", "INVALID NOT_FOUND TOO_LARGE", "a" + "\u0301" * 20_000
    yield (
        "1,000 values in a list",
        "NOT_FOUND INVALID TOO_LARGE",
        "city in (" + ", ".join('"x"' for _ in range(9_000)) + ")",
    )


def _bodies() -> Iterator[tuple[str, str, bytes]]:
    query = b'{"query": "{ viewer { name } }"'
    yield "nothing", "INVALID", b""
    yield "a NUL", "INVALID", b"\0"
    yield "JSON that breaks off", "INVALID", query
    yield "two values", "INVALID", query + b"}{}"
    yield "a byte order mark", "INVALID", b"\xef\xbb\xbf" + query + b"}"
    yield "UTF-16", "INVALID", (query + b"}").decode().encode("utf-16")
    yield "bytes that are no UTF-8", "INVALID", b'{"query": "\xff\xfe"}'
    yield "overlong UTF-8", "INVALID", b'{"query": "\xc0\xaf"}'
    yield "NaN", "INVALID", query + b', "variables": {"a": NaN}}'
    yield "a number of 5,000 digits in JSON", "INVALID", query + b', "variables": {"a": ' + b"9" * 5_000 + b"}}"
    yield (
        "100 numbers of 4,000 digits",
        "",
        query + b', "variables": {"a": [' + b",".join([b"9" * 4_000] * 100) + b"]}}",
    )
    yield "arrays 1,000 deep", "TOO_LARGE INVALID", b"[" * 1_000 + b"]" * 1_000
    yield "arrays 500,000 deep", "TOO_LARGE INVALID", b"[" * 500_000 + b"]" * 500_000
    yield "objects 150 deep", "TOO_LARGE", query + b', "variables": ' + b'{"a":' * 150 + b"1" + b"}" * 150 + b"}"
    yield "350,000 empty arrays", "", query + b', "variables": {"a": [' + b",".join([b"[]"] * 340_000) + b"]}}"
    yield "the same key 100,000 times", "", b"{" + b'"q":1,' * 100_000 + query[1:] + b"}"
    yield "an array of nothing", "INVALID", b"[]"
    yield "an array of 11", "TOO_LARGE", b"[" + b",".join([query + b"}"] * 11) + b"]"
    yield "an array of 100,000", "TOO_LARGE", b"[" + b",".join([b"{}"] * 100_000) + b"]"
    yield "an array in an array", "INVALID", b"[[" + query + b"}]]"
    yield "a query that is a number", "INVALID", b'{"query": 5}'
    yield "variables that are a list", "INVALID", query + b', "variables": []}'
    yield "an operation that is an object", "INVALID", query + b', "operationName": {}}'
    yield "an extension that is a bomb", "INVALID", query + b', "extensions": {"persistedQuery": {"sha256Hash": []}}}'
    bombs = json.dumps([{"query": spread(100, 2)}] * 10).encode()
    yield "an array of bombs", "TOO_LARGE", bombs
    upserts = [{"userId": f"u{i}", "attributes": {"a": i}} for i in range(15_000)]
    write = "mutation ($i: [ProfileInput!]!) { upsertProfiles(input: $i) { changed } }"
    yield (
        "15,000 profiles that may not be written",
        "",
        json.dumps({"query": write, "variables": {"i": upserts}}).encode(),
    )


BODIES = [
    *(_json(name, codes, query=query) for name, codes, query in _documents()),
    *(_json(name, codes, query=SIZE, variables={"w": where}) for name, codes, where in _variables()),
    *(_json(name, codes, query=TEXT, variables={"t": text}) for name, codes, text in _texts()),
    *(_raw(name, codes, body) for name, codes, body in _bodies()),
]
"""Each is sent over HTTP; those that are GraphQL go over a WebSocket, too."""
