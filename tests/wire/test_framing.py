"""What is not clearly HTTP/1.x is refused and the connection closed; its neighbour is served."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.upstream_raw import RawUpstream, ok
from tests.wire.gateway import gateway

GOOD_GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
GOOD_CHUNKS = (
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)

ACCEPTED = {
    "plain": GOOD_GET,
    "chunked": GOOD_CHUNKS,
    "chunk extension": GOOD_CHUNKS.replace(b"3\r\n", b"3;a=b\r\n"),
    "trailer": GOOD_CHUNKS.replace(b"0\r\n\r\n", b"0\r\nX-T: 1\r\n\r\n"),
    "upper-case coding": GOOD_CHUNKS.replace(b"chunked", b"Chunked"),
    "length": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "empty value": b"GET /x HTTP/1.1\r\nHost: a\r\nX-E:\r\n\r\n",
    "tab around value": b"GET /x HTTP/1.1\r\nHost: a\r\nX-E:\tv\t\r\n\r\n",
    "bytes beyond ASCII in a value": b"GET /x HTTP/1.1\r\nHost: a\r\nX-E: \xe9\xff\r\n\r\n",
    "1.0": b"GET /x HTTP/1.0\r\n\r\n",
    "1.0 with length": b"POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
    "absolute form of this host": b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "options asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "method of WebDAV": b"PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "Connection lists a field": b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: X-Y\r\n\r\n",
    "Expect of 100": b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
    b"Content-Length: 1\r\n\r\na",
}

REFUSED = {
    "length and chunks": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
    b"Content-Length: 4\r\n\r\nabcd",
    "two equal lengths": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
    b"Content-Length: 3\r\n\r\nabc",
    "length list": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
    "length with sign": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    "negative length": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc",
    "hex length": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
    "length with underscore": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nabc",
    "huge length": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "empty length": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
    "unknown transfer coding": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked"
    b"\r\n\r\n0\r\n\r\n",
    "chunked not last": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip"
    b"\r\n\r\n0\r\n\r\n",
    "two codings": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded header": b"GET /x HTTP/1.1\r\nHost: a\r\nX-F: a\r\n b\r\n\r\n",
    "fold on the first line": b"GET /x HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
    "space before colon": b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n",
    "space behind a length's name": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na",
    "bare LF": b"GET /x HTTP/1.1\nHost: a\n\n",
    "bare LF in the head": b"GET /x HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
    "bare CR in a value": b"GET /x HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
    "NUL in a value": b"GET /x HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "NUL in a name": b"GET /x HTTP/1.1\r\nHost: a\r\nX\x00: a\r\n\r\n",
    "no colon": b"GET /x HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
    "empty name": b"GET /x HTTP/1.1\r\nHost: a\r\n: v\r\n\r\n",
    "no Host": b"GET /x HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two equal Hosts": b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /x\r\n\r\n",
    "chunks in 1.0": GOOD_CHUNKS.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.2": b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/2.0": b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower-case version": b"GET /x http/1.1\r\nHost: a\r\n\r\n",
    "unknown method": b"BREW /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower-case method": b"get /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in target": b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes beyond ASCII in the target": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "fragment": b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n",
    "absolute form of another host": b"GET http://evil/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form with credentials": b"GET http://a@evil/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk with GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "Connection lists Host": b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n",
    "Connection lists a length": b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\n"
    b"Content-Length: 1\r\n\r\na",
    "Connection lists a type": b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: content-type\r\n\r\n",
    "Connection lists the credential": b"GET /x HTTP/1.1\r\nHost: a\r\n"
    b"Connection: close, AUTHORIZATION\r\n\r\n",
    "Connection lists a scope": b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: x-tenant\r\n\r\n",
    "unknown expectation": b"GET /x HTTP/1.1\r\nHost: a\r\nExpect: miracle\r\n\r\n",
}

STATUSES = {"CONNECT": 501, "unknown expectation": 417}

BAD_BODIES = {
    "bad chunk size": GOOD_CHUNKS.replace(b"3\r\n", b"zz\r\n"),
    "chunk size with sign": GOOD_CHUNKS.replace(b"3\r\n", b"+3\r\n"),
    "chunk size with 0x": GOOD_CHUNKS.replace(b"3\r\n", b"0x3\r\n"),
    "chunk size and space": GOOD_CHUNKS.replace(b"3\r\n", b"3 \r\n"),
    "chunk too long": GOOD_CHUNKS.replace(b"abc\r\n", b"abcdef\r\n"),
    "chunk ended by LF": GOOD_CHUNKS.replace(b"3\r\nabc\r\n", b"3\nabc\n"),
    "length in a trailer": GOOD_CHUNKS.replace(b"0\r\n\r\n", b"0\r\nContent-Length: 9\r\n\r\n"),
    "huge chunk size": GOOD_CHUNKS.replace(b"3\r\n", b"ffffffffffffffffff\r\n"),
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_accepted(name: str) -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        answer = await proxy.ask(ACCEPTED[name])
        assert answer.status == 200
        assert len(upstream.received) == 1


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(name: str) -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy, proxy.connect() as client:
        client.write(REFUSED[name] + GOOD_GET)
        answer = await client.response()
        assert answer.status == STATUSES.get(name, 400)
        assert answer.problem
        assert b"evil" not in answer.body
        assert await client.is_closed()
        assert upstream.received == []


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_bad_body_is_never_a_whole_request(name: str) -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy, proxy.connect() as client:
        client.write(BAD_BODIES[name] + GOOD_GET)
        answer = await client.response()
        assert answer.status == 400
        assert await client.is_closed()
        assert upstream.received == []


async def test_refusals_are_on_every_route() -> None:
    bad = b"POST /orders/batch HTTP/1.1\r\nHost: a\r\nX-Tenant: t\r\nConnection: X-Tenant\r\n"
    body = b'Content-Length: 21\r\n\r\n{"orders":[{"id":1}]}'
    async with RawUpstream(ok(b'{"results":[{}]}')) as upstream, gateway(upstream.url) as proxy:
        refused = await proxy.ask(bad + body)
        assert (refused.status, refused.problem) == (400, "bad-connection-header")
        served = await proxy.ask(bad.replace(b"Connection: X-Tenant", b"Connection: X-Else") + body)
        assert served.status == 200


async def test_what_follows_a_request_is_the_next_request() -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy, proxy.connect() as client:
        client.write(GOOD_CHUNKS + GOOD_GET + ACCEPTED["length"] + GOOD_GET)
        for _ in range(4):
            assert (await client.response()).body == b"ok"
        assert [r.body for r in upstream.received] == [b"abc", b"", b"abc", b""]


@pytest.mark.parametrize("name", ["plain", "chunked", "length"])
async def test_byte_by_byte_is_the_same(name: str) -> None:
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy, proxy.connect() as client:
        for byte in ACCEPTED[name]:
            client.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.response()).status == 200
        assert len(upstream.received) == 1


async def test_h2c_upgrade_is_stripped_and_the_request_served() -> None:
    request = (
        b"POST /orders/batch HTTP/1.1\r\nHost: a\r\nX-Tenant: t\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        b'Content-Length: 21\r\n\r\n{"orders":[{"id":1}]}'
    )
    answer = ok(b'{"results":[{}]}')
    async with RawUpstream(answer) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            client.write(request)
            assert (await client.response()).header("idempotency-items") == (
                "new=1, replayed=0, failed=0"
            )
        (received,) = upstream.received
        assert not received.values("upgrade")
        assert not received.values("http2-settings")
        assert not received.values("connection")


@pytest.mark.parametrize("protocol", ["websocket", "foo/2", "h2c, websocket"])
async def test_upgrade_on_a_batch_route_is_501(protocol: str) -> None:
    body = b'{"orders":[{"id":1}]}'
    lines = f"Connection: Upgrade\r\nUpgrade: {protocol}\r\nContent-Length: {len(body)}\r\n\r\n"
    head = b"POST /orders/batch HTTP/1.1\r\nHost: a\r\nX-Tenant: t\r\n"
    async with RawUpstream() as upstream, gateway(upstream.url) as proxy:
        answer = await proxy.ask(head + lines.encode() + body)
        assert (answer.status, answer.problem) == (501, "upgrade-on-batch")
        assert upstream.received == []
