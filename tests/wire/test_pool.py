"""Connections to the service: which one a request gets, and when one is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.core.upstream import Call, Fault, NoReply, Reply
from proxy.edge.pool import Line, NoFreeConnectionError, Pool
from proxy.edge.wire import read_head, write
from proxy.settings import defaults
from tests.fakes.upstream_raw import RawUpstream, Received, Wire, ok
from tests.wire.gateway import until
from tests.wire.test_upstream import CALL, fault, http_upstream

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def pool_of(url: str, **flags: str) -> AsyncIterator[Pool]:
    pool = Pool(defaults(upstream=url, **flags))
    try:
        yield pool
    finally:
        await pool.close()
        await pool.close()


async def exchange(line: Line) -> bytes:
    write(line, GET, "GET")
    _, content = await read_head(line, None)
    return await content.read()


async def test_the_newest_idle_line_is_used_first() -> None:
    async with RawUpstream() as service, pool_of(service.url) as pool:
        old, new = await pool.take(5), await pool.take(5)
        pool.give(old)
        pool.give(new)
        assert pool.idle == 2
        assert await pool.take(5) is new
        assert await pool.take(5) is old
        assert (old.used, pool.idle, service.connections) == (True, 0, 2)
        pool.drop(new)
        pool.drop(old)


async def test_what_the_service_says_unasked_answers_nobody() -> None:
    go_on = asyncio.Event()

    async def talkative(_: Received, wire: Wire) -> None:
        await wire.send(ok(b"asked"))
        await go_on.wait()
        await wire.send(ok(b"unasked"))

    async with RawUpstream(talkative) as service, pool_of(service.url) as pool:
        line = await pool.take(5)
        assert await exchange(line) == b"asked"
        pool.give(line)
        go_on.set()
        await until(lambda: not line.is_clean())
        other = await pool.take(5)
        assert other is not line
        assert await exchange(other) == b"asked"
        assert line.protocol.transport is None
        pool.drop(other)


async def test_idle_lines_end_in_their_time() -> None:
    ended = asyncio.Event()

    async def until_end(wire: Wire) -> None:
        await wire.reader.read()
        ended.set()

    async with (
        RawUpstream(script=until_end) as service,
        pool_of(service.url, upstream_keepalive="50ms") as pool,
    ):
        started = asyncio.get_running_loop().time()
        pool.give(await pool.take(5))
        async with asyncio.timeout(10):
            await ended.wait()
        assert asyncio.get_running_loop().time() - started > 0.04
        assert pool.idle == 0
        # The sweep comes again for those that follow.
        ended.clear()
        pool.give(await pool.take(5))
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_line_given_back_goes_to_who_waits() -> None:
    async with (
        RawUpstream() as service,
        pool_of(service.url, upstream_connections="1") as pool,
    ):
        line = await pool.take(5)
        with pytest.raises(NoFreeConnectionError):
            await pool.take(0.01)
        waiting = asyncio.create_task(pool.take(5))
        given_up = asyncio.create_task(pool.take(5))
        await asyncio.sleep(0)
        given_up.cancel()
        pool.give(line)
        assert await waiting is line
        pool.drop(line)
        fresh = await pool.take(5)
        assert fresh is not line
        assert not fresh.used
        pool.drop(fresh)


async def test_a_connection_given_up_as_it_opens_takes_no_room() -> None:
    async def silent(wire: Wire) -> None:
        await wire.reader.read()

    async with RawUpstream(script=silent) as service:
        url = service.url.replace("http:", "https:")
        async with pool_of(url, upstream_connections="1") as pool:
            opening = asyncio.create_task(pool.take(5))
            await until(lambda: service.connections == 1)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            for _ in range(2):
                with pytest.raises(TimeoutError) as raised:
                    await pool.take(0.05)
                assert not isinstance(raised.value, NoFreeConnectionError)


async def test_a_line_given_back_after_the_end_is_closed() -> None:
    async with RawUpstream() as service, pool_of(service.url) as pool:
        line = await pool.take(5)
        await pool.close()
        pool.give(line)
        assert (pool.idle, line.protocol.transport) == (0, None)


async def test_an_idle_line_that_is_just_closing_is_not_used() -> None:
    async with RawUpstream() as service, pool_of(service.url) as pool:
        line = await pool.take(5)
        pool.give(line)
        assert line.protocol.transport is not None
        line.protocol.transport.close()  # nobody is told before the next turn of the loop
        assert (pool.take_idle(), pool.idle) == (None, 0)
        other = await pool.take(5)
        assert other is not line
        pool.drop(other)


# ---- a call and its line ----------------------------------------------------------------------


async def test_a_request_that_was_not_taken_whole_is_its_lines_last() -> None:
    async def hasty(wire: Wire) -> None:
        while await wire.read_head() is not None:
            await wire.send(ok(b"too long", "413 Content Too Large"))
            await asyncio.Event().wait()

    async with RawUpstream(script=hasty) as service, http_upstream(service.url) as upstream:
        for number in (1, 2):
            reply = await upstream.call(Call("POST", "/", (), bytes(2**25)), 5)
            assert isinstance(reply, Reply)
            assert (reply.status, reply.body) == (413, b"too long")
            assert service.connections == number


@pytest.mark.parametrize("head", [b"", b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_body_that_does_not_end_in_time_is_unknown(head: bytes) -> None:
    async def half(_: Received, wire: Wire) -> None:
        body = b"2\r\n{}\r\n" if b"chunked" in head else b"{}"
        await wire.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
        await asyncio.Event().wait()

    async with RawUpstream(half) as service, http_upstream(service.url) as upstream:
        reply = await fault(upstream, timeout=0.1)
        assert (reply.fault, reply.timed_out) == (Fault.UNKNOWN, True)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"])
async def test_a_call_under_way_ends_in_time_where_all_is_closed(sent: bytes) -> None:
    async def half(_: Received, wire: Wire) -> None:
        await wire.send(sent)
        await asyncio.Event().wait()

    async with RawUpstream(half) as service, http_upstream(service.url) as upstream:
        call = asyncio.create_task(upstream.call(CALL, 0.2))
        await until(lambda: len(service.received) == 1)
        await upstream.close()
        async with asyncio.timeout(10):
            reply = await call
        assert isinstance(reply, NoReply)
        assert reply.fault is Fault.UNKNOWN


async def test_a_long_response_in_many_pieces_is_whole() -> None:
    body = b"".join(b"%07d\n" % n for n in range(2**17))
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(piece), piece)
        for piece in (body[at : at + 5000] for at in range(0, len(body), 5000))
    )
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    async with RawUpstream(ok(body)) as service, http_upstream(service.url) as upstream:
        for service.answer in (ok(body), chunked, ok(body)):
            reply = await upstream.call(CALL, 10)
            assert isinstance(reply, Reply)
            assert reply.body == body
        assert service.connections == 1
