"""Everything that no rule handles arrives as it was sent, both ways."""

from __future__ import annotations

import asyncio
import gzip

import brotli  # type: ignore[import-untyped]
import pytest

from tests.fakes.upstream_raw import RawUpstream, Received, Wire, ok
from tests.wire.gateway import Gateway, connected, gateway, get


async def test_head_lines_keep_case_order_duplicates_and_bytes() -> None:
    request = (
        b"GET /x HTTP/1.1\r\nhOST: api.example\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\n"
        b"Cookie: a=1\r\nCookie: b=2\r\nX-Bytes: \xe9\xff\r\n\r\n"
    )
    answer = (
        b"HTTP/1.1 200 Whatever\r\nset-cookie: a=1\r\nX-Bytes: \xe9\xff\r\n"
        b"Set-Cookie: b=2; Path=/\r\n"
        b"Date: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Length: 0\r\n\r\n"
    )
    async with RawUpstream(answer) as upstream, gateway(upstream.url) as proxy:
        got = await proxy.ask(request)
        sent = upstream.received[0].headers
        assert sent[:7] == (
            ("hOST", "api.example"),
            ("X-B", "1"),
            ("x-a", "2"),
            ("X-B", "3"),
            ("Cookie", "a=1"),
            ("Cookie", "b=2"),
            ("X-Bytes", "\xe9\xff"),
        )
        assert {name for name, _ in sent[7:]} == {
            "X-Request-Id",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "Via",
        }
        assert got.headers == [
            ("set-cookie", "a=1"),
            ("X-Bytes", "\xe9\xff"),
            ("Set-Cookie", "b=2; Path=/"),
            ("Date", "Mon, 23 Nov 2026 10:00:00 GMT"),
            ("Via", "1.1 idemproxy"),
            ("Content-Length", "0"),
        ]


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//x",
        "/a%2Fb/%2e%2e/c",
        "/a/../b",
        "/a?",
        "/a?b",
        "/a?b=%20+&&c=?",
        "/%e9",
        "/a;b=1",
        "/a'\"|",
    ],
)
async def test_target_goes_through_byte_for_byte(target: str) -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        assert (await proxy.ask(get(target))).status == 200
        assert upstream.received[0].target == target


async def test_absolute_form_becomes_the_raw_target_behind_the_authority() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        for given, sent in (("http://A/x?y", "/x?y"), ("http://a", "/"), ("http://a?q", "/?q")):
            request = f"GET {given} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            assert (await proxy.ask(request)).status == 200
            assert upstream.received[-1].target == sent


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"])
@pytest.mark.parametrize("framing", ["none", "length", "chunked"])
async def test_every_method_and_framing(method: str, framing: str) -> None:
    lines, body = {
        "none": ("", b""),
        "length": ("Content-Length: 5\r\n", b"hello"),
        "chunked": ("Transfer-Encoding: chunked\r\n", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    }[framing]
    request = f"{method} /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode() + body
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        assert (await proxy.ask(request)).body == b"ok"
        received = upstream.received[0]
        assert received.method == method
        assert received.body == (b"" if framing == "none" else b"hello")
        assert received.chunked == (framing == "chunked")
        assert received.values("content-length") == (["5"] if framing == "length" else [])


RESPONSES = {
    "length": (ok(b"body"), "length", b"body"),
    "empty": (ok(b""), "length", b""),
    "chunked": (
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2;x=y\r\nbo\r\n2\r\ndy\r\n0\r\nT: 1\r\n\r\n"
        ),
        "chunked",
        b"body",
    ),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "none", b""),
    "304": (b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 9\r\n\r\n', "none", b""),
    "206": (
        ok(b"od", "206 Partial Content", "Content-Range: bytes 1-2/4"),
        "length",
        b"od",
    ),
    "server error": (ok(b"<html>", "500 Oops", "Content-Type: text/html"), "length", b"<html>"),
    "unknown status": (ok(b"x", "299 Odd"), "length", b"x"),
}


@pytest.mark.parametrize("name", RESPONSES)
async def test_responses(name: str) -> None:
    answer, framing, body = RESPONSES[name]
    async with RawUpstream(answer) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            for _ in range(2):
                client.write(get("/x"))
                got = await client.response()
                assert (got.framing, got.body) == (framing, body)
                assert str(got.status) in answer[:12].decode()
                assert not got.values("t")
        if name == "304":
            assert got.header("content-length") == "9"


async def test_reason_phrase_of_the_service_is_not_forwarded() -> None:
    async with (
        RawUpstream(ok(b"", "200 <script>")) as upstream,
        connected(upstream.url) as (_, client),
    ):
        client.write(get("/x"))
        assert await client.reader.readline() == b"HTTP/1.1 200 OK\r\n"


async def test_a_response_that_ends_with_its_connection() -> None:
    async def answer(_: Received, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nbo")
        await wire.send(b"dy")
        wire.writer.close()

    async with RawUpstream(answer) as upstream, gateway(upstream.url) as proxy:
        got = await proxy.ask(get("/x"))
        assert (got.framing, got.body) == ("chunked", b"body")
        old = await proxy.ask(b"GET /x HTTP/1.0\r\n\r\n")
        assert (old.framing, old.body) == ("close", b"body")
        assert old.header("connection") == "close"


async def test_head_has_the_headers_and_never_a_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
    async with RawUpstream(answer) as upstream, connected(upstream.url) as (_, client):
        for _ in range(2):
            client.write(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
            got = await client.response("HEAD")
            assert got.header("content-length") == "4"
        client.write(b"HEAD /orders/batch HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response("HEAD")).status == 200


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", gzip.compress(b"x" * 99)), ("br", brotli.compress(b"x" * 99))],
    ids=["gzip", "br"],
)
async def test_content_codings_are_not_touched(coding: str, body: bytes) -> None:
    line = f"Content-Encoding: {coding}"
    request = (
        f"POST /x HTTP/1.1\r\nHost: a\r\n{line}\r\nContent-Length: {len(body)}\r\n"
        "Accept-Encoding: br;q=0.1\r\n\r\n"
    ).encode() + body
    async with RawUpstream(ok(body, "200 OK", line)) as upstream, gateway(upstream.url) as proxy:
        got = await proxy.ask(request)
        assert (got.body, got.header("content-encoding")) == (body, coding)
        assert upstream.received[0].body == body
        assert upstream.received[0].values("accept-encoding") == ["br;q=0.1"]


async def test_informational_responses_go_through_but_not_to_http_1_0() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    early = b"HTTP/1.1 100 Continue\r\n\r\n" + hints
    async with RawUpstream(early + ok()) as upstream, gateway(upstream.url) as proxy:
        got = await proxy.ask(get("/x"))
        assert (got.informational, got.status) == ([103], 200)
        old = await proxy.ask(b"GET /x HTTP/1.0\r\n\r\n")
        assert (old.informational, old.status) == ([], 200)


async def test_expect_continue_is_answered_here_and_not_forwarded() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy, proxy.connect() as client:
        client.write(
            b"PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert (await client.head())[0] == 100
        client.write(b"ab")
        assert (await client.response()).status == 200
        assert upstream.received[0].body == b"ab"
        assert not upstream.received[0].values("expect")


async def test_server_sent_events_are_not_held() -> None:
    more = asyncio.Event()

    async def answer(_: Received, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await wire.send(b"data: 1\n\n")
        await more.wait()
        await wire.send(b"data: 2\n\n")
        wire.writer.close()

    async with RawUpstream(answer) as upstream, connected(upstream.url) as (_, client):
        client.write(get("/events"))
        await client.head()
        first = await asyncio.wait_for(client.reader.readuntil(b"\n\n\r\n"), 5)
        assert first == b"9\r\ndata: 1\n\n\r\n"
        more.set()
        rest = await asyncio.wait_for(client.reader.readuntil(b"\r\n0\r\n\r\n"), 5)
        assert rest == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"


async def test_both_directions_stream_at_once() -> None:
    async def echo(wire: Wire) -> None:
        head = await wire.read_head()
        assert head is not None
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for piece in wire.chunks():
            await wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await wire.send(b"0\r\n\r\n")

    async with RawUpstream(script=echo) as upstream, connected(upstream.url) as (_, client):
        client.write(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await client.head())[0] == 200
        for piece in (b"one", b"two"):
            client.write(b"3\r\n%s\r\n" % piece)
            echoed = await asyncio.wait_for(client.reader.readexactly(8), 5)
            assert echoed == b"3\r\n%s\r\n" % piece
        client.write(b"0\r\n\r\n")
        assert await asyncio.wait_for(client.reader.readexactly(5), 5) == b"0\r\n\r\n"


async def test_a_slow_reader_slows_the_service_and_not_memory() -> None:
    sent = 0

    async def flood(wire: Wire) -> None:
        nonlocal sent
        await wire.read_head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        piece = bytes(65536)
        while True:
            await wire.send(piece)
            sent += len(piece)

    async with RawUpstream(script=flood) as upstream, connected(upstream.url) as (_, client):
        client.write(get("/big"))
        await client.head()
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.2)  # nothing tells that a stream has come to rest
        assert 0 < sent < 32 * 2**20


async def test_a_slow_service_slows_the_client() -> None:
    async def stuck(wire: Wire) -> None:
        await wire.read_head()
        await asyncio.Event().wait()

    async with RawUpstream(script=stuck) as upstream, connected(upstream.url) as (_, client):
        client.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n")
        sent = 0
        try:
            while True:
                client.write(bytes(65536))
                async with asyncio.timeout(0.5):
                    await client.writer.drain()
                sent += 65536
        except TimeoutError:
            assert 0 < sent < 32 * 2**20
        client.writer.transport.abort()


async def test_an_early_answer_reaches_a_client_that_still_sends() -> None:
    async def refuse(wire: Wire) -> None:
        await wire.read_head()
        await wire.send(ok(b"too much", "413 Content Too Large", "Connection: close"))
        wire.writer.close()

    async with RawUpstream(script=refuse) as upstream, connected(upstream.url) as (_, client):
        client.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\nabc")
        got = await client.response()
        assert (got.status, got.body) == (413, b"too much")


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_a_response_cut_short_is_cut_short_for_the_client(framing: str) -> None:
    async def cut(_: Received, wire: Wire) -> None:
        await wire.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nab".encode())
        wire.writer.close()

    async with RawUpstream(cut) as upstream, gateway(upstream.url) as proxy:
        with pytest.raises(asyncio.IncompleteReadError):
            await proxy.ask(get("/x"))


async def test_a_reset_at_the_end_of_an_unframed_response_is_visible() -> None:
    async def reset(_: Received, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nab")
        await asyncio.sleep(0.05)  # the bytes have to leave before the reset throws them away
        wire.reset()

    async with RawUpstream(reset) as upstream, gateway(upstream.url) as proxy:
        with pytest.raises(asyncio.IncompleteReadError):
            await proxy.ask(get("/x"))


async def test_a_client_that_leaves_ends_the_call_upstream() -> None:
    called, gone = asyncio.Event(), asyncio.Event()

    async def wait(wire: Wire) -> None:
        await wire.read_head()
        called.set()
        await wire.reader.read()
        gone.set()

    async with RawUpstream(script=wait) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            client.write(get("/slow"))
            await asyncio.wait_for(called.wait(), 5)
        await asyncio.wait_for(gone.wait(), 5)
        await asyncio.wait_for(proxy.lifecycle.wait_idle(5), 5)
        assert proxy.lifecycle.in_flight == 0


async def stale(proxy: Gateway, upstream: RawUpstream) -> None:
    """Leave an idle connection to the service that will be closed as soon as it is written to."""

    async def once(_: Received, wire: Wire) -> None:
        await wire.send(ok())
        await wire.reader.readexactly(1)
        wire.abort()
        raise ConnectionResetError

    upstream.answer = once
    assert (await proxy.ask(get("/first"))).status == 200
    upstream.answer = ok(b"second")


async def test_get_on_a_stale_connection_is_made_again() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        await stale(proxy, upstream)
        assert (await proxy.ask(get("/x"))).body == b"second"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH"])
@pytest.mark.parametrize("body", [b"", b"x"])
async def test_what_has_effects_is_never_sent_twice(method: str, body: bytes) -> None:
    request = f"{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        await stale(proxy, upstream)
        got = await proxy.ask(request + body)
        assert (got.status, got.problem) == (502, "upstream-failed")
        assert [r.method for r in upstream.received] == ["GET"]
        assert upstream.connections == 1


async def test_connections_to_the_service_are_reused() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        for _ in range(5):
            assert (await proxy.ask(get("/x"))).status == 200
        assert upstream.connections == 1
