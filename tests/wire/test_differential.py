"""The same 300 requests straight to a service and through the proxy: what may differ is listed.

``ADDED`` and ``HOP`` are all that a gateway changes in a head. Everything else, on the service's
side and on the client's, has to be the same bytes.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest

from tests.fakes.upstream_raw import RawUpstream, Received, Wire
from tests.wire.gateway import Client, Response, gateway

REQUESTS = 300
ADDED = {"via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"}
HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "proxy-connection"}

METHODS = (
    *("GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
    *("PROPFIND", "REPORT", "MKCOL", "SEARCH"),
)
PATHS = (
    *("/", "//", "/a", "/a/", "/a//b", "/a/./b/../c", "/%2e%2e/%2f", "/a%20b", "/%zz", "/a;v=1/b"),
    *("/a|b^c`d{e}", "/'\"<>", "/a\\b", "/:80/x", "/@evil"),
    *("/orders/batch/x", "/http://other/", "/" + "long/" * 400),
)
QUERIES = ("", "", "?", "??", "?a=b&a=b", "?a=%20+%2B", "?=&&;", "?q=\\", "?a[]=1", "?x=/../y")
VALUES = (
    *("v", "", "two words", "a,b;q=0.1", '"quoted, text"', "\xe9\xff", "x" * 3000, "a\tb", "=?"),
    *('W/"e"', "bytes=0-3,-2", "Mon, 23 Nov 2026 10:00:00 GMT"),
)
NAMES = (
    *("X-A", "x-a", "X_under", "Accept", "accept-ENCODING", "Range", "If-None-Match", "Cookie"),
    *("Origin", "Authorization", "X-!#$%&'*+.^`|~", "Cache-Control", "Pragma", "Sec-Fetch-Mode"),
)
RESPONSE_NAMES = (
    *("Set-Cookie", "set-cookie", "X-R", "x-r", "Vary", "ETag", "WWW-Authenticate", "Location"),
    *("Content-Type", "Content-Encoding", "Accept-Ranges", "Server", "Link", "Alt-Svc"),
)
STATUSES = (
    *("200 OK", "200 OK", "201 Created", "204 No Content", "206 Partial Content", "299 Odd"),
    *("301 Moved", "302 Found", "304 Not Modified", "400 Bad", "401 No", "404 Not Found"),
    *("409 Conflict", "418 Teapot", "429 Slow", "500 Oops", "502 x", "503 y", "599 Last"),
)


@dataclass(frozen=True)
class Case:
    """A request's bytes, and the service's answer to it."""

    method: str
    request: bytes
    answer: bytes


def make_case(number: int) -> Case:
    dice = random.Random(number)
    method = dice.choice(METHODS)
    version = "1.0" if dice.random() < 0.1 else "1.1"
    target = dice.choice(PATHS) + dice.choice(QUERIES)
    lines = [f"{method} {target} HTTP/{version}", f"X-Case: {number}"]
    lines += [f"{dice.choice(NAMES)}: {dice.choice(VALUES)}" for _ in range(dice.randrange(6))]
    if version == "1.1" or dice.random() < 0.5:
        lines.insert(dice.randint(1, len(lines)), f"{dice.choice(['Host', 'HOST'])}: api.example")
    if dice.random() < 0.3:
        lines.append("Connection: X-Dropped, close")
        lines.append("X-Dropped: 1")
    body = dice.randbytes(dice.choice([0, 1, 100, 5000, 70_000]))
    framing = dice.choice(["none", "length", "chunked"]) if version == "1.1" else "length"
    if method in ("GET", "HEAD") and dice.random() < 0.7:
        framing = "none"
    if framing == "length":
        lines.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        body = chunked(body, dice)
    else:
        body = b""
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return Case(method, head + body, make_answer(method, dice))


def chunked(body: bytes, dice: random.Random) -> bytes:
    out, at = [], 0
    while at < len(body):
        size = dice.choice([1, 7, 1000, 65536])
        piece = body[at : at + size]
        extension = dice.choice([b"", b"", b";ext=1", b';e="q"'])
        out.append(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece))
        at += size
    trailer = dice.choice([b"", b"", b"X-Trailer: 1\r\n"])
    return b"".join(out) + b"0\r\n" + trailer + b"\r\n"


def make_answer(method: str, dice: random.Random) -> bytes:
    status = dice.choice(STATUSES)
    lines = [f"HTTP/1.1 {status}"]
    own = range(dice.randrange(6))
    lines += [f"{dice.choice(RESPONSE_NAMES)}: {dice.choice(VALUES)}" for _ in own]
    body = dice.randbytes(dice.choice([0, 1, 100, 70_000]))
    early = b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" if dice.random() < 0.1 else b""
    if status[:3] in ("204", "304"):
        framing, body = "none", b""
    else:
        framing = dice.choice(["length", "length", "chunked", "close"])
    if framing == "length":
        lines.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        body = chunked(body, dice)
    elif framing == "close":
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return early + head + (b"" if method == "HEAD" else body)


def kept(headers: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """The lines that a gateway has to hand on as they are."""
    gone = ADDED | HOP | {"x-dropped", "content-length", "date"}
    # White space around a value is not part of it (RFC 9110 section 5.5).
    return [(n, v.strip(" \t")) for n, v in headers if n.lower() not in gone]


async def ask(port: int, case: Case) -> Response:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        writer.write(case.request)
        return await Client(reader, writer).response(case.method)
    finally:
        writer.close()


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_case(number) for number in range(REQUESTS)]


async def test_only_what_must_differ_differs(cases: list[Case]) -> None:
    async def answer(request: Received, wire: Wire) -> None:
        case = cases[int(request.values("x-case")[0])]
        await wire.send(case.answer)
        if b"Connection: close" in case.answer:
            wire.writer.close()

    async with RawUpstream(answer) as upstream, gateway(upstream.url) as proxy:
        for number, case in enumerate(cases):
            straight = await ask(upstream.port, case)
            through = await ask(proxy.port, case)
            before, after = upstream.received[-2:]
            compare_requests(before, after, number)
            compare_responses(straight, through, case, number)
        assert len(upstream.received) == 2 * REQUESTS


def compare_requests(straight: Received, through: Received, number: int) -> None:
    assert through.line.replace("1.1", "1.0") == straight.line.replace("1.1", "1.0"), number
    assert through.line.endswith(" HTTP/1.1")
    before, after = kept(straight.headers), kept(through.headers)
    if not straight.values("host"):
        assert after[0][0] == "Host"
        after = after[1:]
    assert after == before, number
    assert through.body == straight.body, number
    assert through.chunked == straight.chunked, number
    assert through.values("content-length") == straight.values("content-length"), number
    assert {name.lower() for name, _ in through.headers} >= {"via", "x-request-id"}


def compare_responses(straight: Response, through: Response, case: Case, number: int) -> None:
    is_old = b" HTTP/1.0\r\n" in case.request
    assert through.status == straight.status, number
    assert kept(through.headers) == kept(straight.headers), number
    assert through.body == straight.body, number
    assert through.informational == ([] if is_old else straight.informational), number
    assert through.values("content-length") == straight.values("content-length"), number
    assert len(through.values("date")) == 1
    if straight.framing == "close" and not is_old:
        assert through.framing == "chunked", number
    elif straight.framing == "chunked" and is_old:
        assert through.framing == "close", number
    else:
        assert through.framing == straight.framing, number


def test_the_cases_are_various(cases: list[Case]) -> None:
    def share(*parts: bytes) -> int:
        return sum(all(part in case.request for part in parts) for case in cases)

    assert share(b"Transfer-Encoding: chunked") > 50
    assert share(b"Content-Length:") > 50
    assert share(b"HTTP/1.0\r\n") > 10
    assert share(b"X-Dropped") > 50
    assert share(b"%2f") > 5
    assert {case.method for case in cases} == set(METHODS)
    assert sum(b"103 Early" in case.answer for case in cases) > 10
    assert sum(b"Connection: close" in case.answer for case in cases) > 30
