"""Hostile bytes: what is sent over a socket by a client that is no client, and what may come back."""

from typing import NamedTuple

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
BODY = b'{"query": "{ viewer { name } }"}'


class Wire(NamedTuple):
    """Bytes to send as they are, and the statuses of which the answer has one; without statuses none may come."""

    name: str
    sent: bytes
    statuses: frozenset[int]


def _post(headers: bytes, body: bytes = BODY, path: bytes = b"/graphql") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + JSON + headers + b"\r\n" + body


def _wire(name: str, sent: bytes, *statuses: int) -> Wire:
    return Wire(name, sent, frozenset(statuses))


UPGRADE = HOST + b"Connection: Upgrade\r\nUpgrade: "
KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
WIRES = [
    _wire("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, 400),
    _wire("NULs", b"\0" * 10_000, 400),
    _wire("HTTP/0.9", b"GET /graphql\r\n\r\n", 400, 401),
    _wire("HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 404, 405),
    _wire("a method that is none", b"HACK /graphql HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    _wire("CONNECT", b"CONNECT localhost:22 HTTP/1.1\r\n" + HOST + b"\r\n", 400, 404, 405),
    _wire("TRACE", b"TRACE /graphql HTTP/1.1\r\n" + HOST + b"\r\n", 400, 405),
    _wire("two lengths", _post(LENGTH + b"Content-Length: 5\r\n"), 400),
    _wire("a length and chunks", _post(LENGTH + CHUNKED), 400),
    _wire("chunks and identity", _post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"), 400),
    _wire("a negative length", _post(b"Content-Length: -1\r\n"), 400),
    _wire("a length with a sign", _post(b"Content-Length: +5\r\n"), 400),
    _wire("a length of 40 digits", _post(b"Content-Length: " + b"9" * 40 + b"\r\n"), 400),
    _wire("a length in hexadecimal", _post(b"Content-Length: 0x20\r\n"), 400),
    _wire("a chunk of 2^70", _post(CHUNKED, b"fffffffffffffffffff\r\n"), 400),
    _wire("a chunk that is none", _post(CHUNKED, b"zz\r\nabc\r\n"), 400),
    _wire("a header in two lines", _post(LENGTH + b"X-A: b\r\n c: d\r\n"), 400, 401),
    _wire("a header without a name", _post(LENGTH + b": b\r\n"), 400),
    _wire("a space before the colon", _post(b"Content-Length : 32\r\n"), 400),
    _wire("a NUL in a header", _post(LENGTH + b"X-A: a\0b\r\n"), 400),
    _wire("a newline in a header", _post(LENGTH + b"X-A: a\nX-B: c\r\n"), 400, 401),
    _wire("a header of 1 MB", _post(LENGTH + b"X-A: " + b"a" * (1 << 20) + b"\r\n"), 431, 408),
    _wire("100,000 headers", _post(LENGTH + b"X-A: b\r\n" * 100_000), 431, 408),
    _wire("a header of 200 KB in Authorization", _post(LENGTH + b"Authorization: " + b"a" * 200_000 + b"\r\n"), 431),
    _wire("an address of 1 MB", b"GET /graphql?query=" + b"a" * (1 << 20) + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    _wire("an address of NULs", b"GET /\0\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    _wire("an address above the root", b"GET /static/../../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    _wire("the same in percent", b"GET /static/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    _wire("percent without digits", b"GET /%zz%f HTTP/1.1\r\n" + HOST + b"\r\n", 404, 400),
    _wire("bytes in the address", b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400, 404),
    _wire("a query of ampersands", b"GET /graphql?" + b"&" * 30_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400, 401),
    _wire("a body that says gzip", _post(LENGTH + b"Content-Encoding: gzip\r\n"), 401, 415),
    _wire("a token of bytes", _post(LENGTH + b"Authorization: Bearer \xff\xfe\r\n"), 401, 400),
    _wire("an upgrade to nothing", b"GET /graphql HTTP/1.1\r\n" + UPGRADE + b"h2c\r\n\r\n", 400, 401, 404),
    _wire("a WebSocket without a key", b"GET /graphql HTTP/1.1\r\n" + UPGRADE + b"websocket\r\n\r\n", 400, 426),
    _wire("a WebSocket to nowhere", b"GET /no HTTP/1.1\r\n" + UPGRADE + b"websocket\r\n" + KEY + b"\r\n", 403, 404),
    _wire("a head that does not end", b"POST /graphql HTTP/1.1\r\n" + HOST + b"X-A: b", 408),
    _wire("one letter", b"P", 408),
    _wire("a line end and no more", b"\r\n", 408),
    _wire("a connection that says nothing", b""),
    _wire("a body that does not come", _post(LENGTH, b""), 401, 408),
    _wire("a body that breaks off", _post(b"Content-Length: 1000\r\n", BODY), 401, 408),
    _wire("200 requests in one", _post(LENGTH) * 200, 401),
]  # fmt: skip
"""Sent without a token: what is refused for that is told so."""
