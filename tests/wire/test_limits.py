"""Each limit bites, says so in a metric, and leaves its nearest neighbour alone."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from tests.fakes.upstream_raw import RawUpstream, Wire, ok
from tests.wire.gateway import Client, Gateway, connected, gateway, get, post, until


async def test_connections() -> None:
    flags = {"max_connections": "2"}
    async with RawUpstream() as upstream, gateway(upstream.url, flags=flags) as proxy:
        async with proxy.connect() as one, proxy.connect() as two:
            for client in (one, two):
                client.write(get("/x"))
                assert (await client.response()).status == 200
            async with proxy.connect() as three:
                got = await three.response()
                assert (got.status, got.problem) == (503, "overloaded")
                assert got.header("retry-after") == "1"
                assert await three.is_closed()
            assert proxy.seen.limits["connections"] == 1
        await until(lambda: len(proxy.server.connections) < 2)
        assert (await proxy.ask(get("/x"))).status == 200


async def test_a_slow_head() -> None:
    flags = {"header_timeout": "200ms"}
    async with RawUpstream() as upstream, connected(upstream.url, flags=flags) as (proxy, client):
        client.write(b"GET /x HTTP/1.1\r\nHost: a\r\nX-S")
        got = await client.response()
        assert (got.status, got.problem) == (408, "header-timeout")
        assert await client.is_closed()
        assert proxy.seen.limits["header_timeout"] == 1


async def test_a_slow_head_behind_a_request() -> None:
    flags = {"header_timeout": "200ms"}
    async with RawUpstream() as upstream, connected(upstream.url, flags=flags) as (proxy, client):
        client.write(get("/x"))
        assert (await client.response()).status == 200
        client.write(b"G")
        assert (await client.response()).status == 408
        assert proxy.seen.limits["header_timeout"] == 1


async def test_heads_within_the_time_and_idle_between_them() -> None:
    flags = {"header_timeout": "300ms"}
    async with RawUpstream() as upstream, connected(upstream.url, flags=flags) as (proxy, client):
        for _ in range(3):
            client.write(b"GET /x HTTP/1.1\r\nHo")
            await asyncio.sleep(0.15)
            client.write(b"st: a\r\n\r\n")
            assert (await client.response()).status == 200
            await asyncio.sleep(0.15)
        assert not proxy.seen.limits


async def test_an_idle_connection_is_closed() -> None:
    flags = {"keepalive_timeout": "200ms"}
    async with RawUpstream() as upstream, connected(upstream.url, flags=flags) as (_, client):
        client.write(get("/x"))
        assert (await client.response()).status == 200
        assert await client.is_closed()


@pytest.mark.parametrize("path", ["/orders/batch", "/x"])
async def test_a_slow_body(path: str) -> None:
    flags = {"body_timeout": "200ms"}
    request = post(b"{" + b" " * 99, path=path)[:-50]
    async with RawUpstream() as upstream, connected(upstream.url, flags=flags) as (proxy, client):
        client.write(request)
        got = await client.response()
        assert (got.status, got.problem) == (408, "body-timeout")
        assert await client.is_closed()
        assert proxy.seen.limits["body_timeout"] == 1
        assert upstream.received == []


async def test_a_body_with_pauses_within_the_time() -> None:
    flags = {"body_timeout": "300ms"}
    async with RawUpstream() as upstream, connected(upstream.url, flags=flags) as (_, client):
        client.write(post(b"abcd", path="/x")[:-4])
        for byte in b"abcd":
            await asyncio.sleep(0.15)
            client.write(bytes([byte]))
        assert (await client.response()).status == 200
        assert upstream.received[0].body == b"abcd"


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async def flood(wire: Wire) -> None:
        await wire.read_head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        while True:
            await wire.send(bytes(65536))

    flags = {"send_timeout": "300ms"}
    async with (
        RawUpstream(script=flood) as upstream,
        connected(upstream.url, flags=flags) as (
            proxy,
            client,
        ),
    ):
        client.write(get("/x"))
        await until(lambda: proxy.seen.limits["slow_reader"] == 1)
        await until(lambda: not proxy.lifecycle.in_flight)


async def test_header_sizes() -> None:
    flags = {"max_header_size": "1KiB", "max_headers": "20"}
    async with RawUpstream() as upstream, gateway(upstream.url, flags=flags) as proxy:
        assert (await proxy.ask(get("/x", "X: " + "a" * 900))).status == 200
        long = await proxy.ask(get("/x", "X: " + "a" * 1100))
        assert (long.status, long.problem) == (431, "header-too-large")
        target = await proxy.ask(get("/" + "a" * 1100))
        assert (target.status, target.problem) == (431, "header-too-large")
        assert proxy.seen.limits["header_size"] == 2
        assert (await proxy.ask(get("/x", *["X: 1"] * 18))).status == 200
        many = await proxy.ask(get("/x", *["X: 1"] * 25))
        assert (many.status, many.problem) == (431, "header-too-large")
        assert proxy.seen.limits["headers"] == 1


def batch(size: int) -> bytes:
    body = b'{"orders":[{"id":1}]}'
    return body + b" " * (size - len(body))


ANSWER = ok(b'{"results":[{}]}')


async def test_a_batch_body_by_its_length_and_before_100_continue() -> None:
    async with RawUpstream(ANSWER) as upstream, connected(upstream.url) as (proxy, client):
        head, _ = post(batch(65537), "Expect: 100-continue").split(b"\r\n\r\n")
        client.write(head + b"\r\n\r\n")
        got = await client.response()
        assert (got.informational, got.status, got.problem) == ([], 413, "body-too-large")
        assert await client.is_closed()
        assert proxy.seen.limits["body_size"] == 1
        assert upstream.received == []
        assert (await proxy.ask(post(batch(65536)))).status == 200


async def test_a_batch_body_in_chunks() -> None:
    def chunked(size: int) -> bytes:
        head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        return head + b"%x\r\n%s\r\n0\r\n\r\n" % (size, batch(size))

    async with RawUpstream(ANSWER) as upstream, gateway(upstream.url) as proxy:
        assert (await proxy.ask(chunked(65536))).status == 200
        got = await proxy.ask(chunked(65537))
        assert (got.status, got.problem) == (413, "body-too-large")


async def test_a_batch_body_when_decoded() -> None:
    line = "Content-Encoding: gzip"
    async with RawUpstream(ANSWER) as upstream, gateway(upstream.url) as proxy:
        assert (await proxy.ask(post(gzip.compress(batch(65536)), line))).status == 200
        got = await proxy.ask(post(gzip.compress(batch(65537)), line))
        assert (got.status, got.problem) == (413, "body-too-large")
        assert proxy.seen.limits["decoded_size"] == 1


async def test_items() -> None:
    def items(count: int) -> bytes:
        return b'{"orders":[%s]}' % b",".join(b'{"id":%d}' % n for n in range(count))

    answer = ok(b'{"results":[%s]}' % b",".join([b"{}"] * 10))
    async with RawUpstream(answer) as upstream, gateway(upstream.url) as proxy:
        assert (await proxy.ask(post(items(10)))).status == 200
        got = await proxy.ask(post(items(11)))
        assert (got.status, got.problem) == (413, "too-many-items")
        assert proxy.seen.limits["items"] == 1
        assert len(upstream.received) == 1


async def half_sent(proxy: Gateway, client: Client, held: int) -> None:
    client.write(post(batch(60000))[:-10])
    await until(lambda: proxy.app.buffered >= held)


async def test_batch_bodies_held_at_once() -> None:
    flags = {"max_buffered": "100KiB"}
    async with (
        RawUpstream(ANSWER) as upstream,
        connected(upstream.url, flags=flags) as (proxy, client),
    ):
        await half_sent(proxy, client, 59000)
        got = await proxy.ask(post(batch(60000)))
        assert (got.status, got.problem) == (503, "overloaded")
        assert got.header("retry-after") == "1"
        assert proxy.seen.limits["buffered"] == 1
        passed = await proxy.ask(post(bytes(500_000), path="/x"))
        assert passed.status == 200
        client.write(b" " * 10)
        assert (await client.response()).status == 200
        assert proxy.app.buffered == 0
