"""Calls that no task waits for come to what awaited ones come to, whatever the service says."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from proxy.core.upstream import Call, Fault, NoReply, Reply
from proxy.upstream import HttpUpstream
from tests.fakes.upstream_raw import RawUpstream, Received, Wire, ok
from tests.wire.gateway import until
from tests.wire.test_upstream import CALL, http_upstream


async def told(upstream: HttpUpstream, call: Call = CALL, timeout: float = 5.0) -> Reply | NoReply:
    """By the way without a task, which the idle connection of a call before allows."""
    to: asyncio.Future[Reply | NoReply] = asyncio.get_running_loop().create_future()
    assert upstream.ask(call, timeout, to)
    return await to


def lines(*headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode() + body


ANSWERS: dict[str, list[bytes]] = {
    "one head": [ok(b"a"), ok(b"bb"), ok(b"c" * 500), ok(b"d")],
    "each its own": [ok(b"a", "200 OK", f"X-Id: {n}") for n in range(5)],
    "another status": [ok(b"a"), ok(b"a"), ok(b"a", "409 Conflict"), ok(b"b")],
    "one more line": [ok(b"a"), ok(b"a"), ok(b"b", "200 OK", "Retry-After: 3"), ok(b"c")],
    "no body": [ok(b"a"), ok(b"b"), ok(b""), ok(b"c")],
    "no content": [ok(b"a"), ok(b"b"), b"HTTP/1.1 204 No Content\r\n\r\n", ok(b"c")],
    "chunks": [lines("Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\n\r\n")] * 4,
    "a length in lower case": [lines("content-length: 1", body=b"a")] * 4,
    "a coding": [ok(b"a"), ok(b"b"), ok(b"c", "200 OK", "Content-Encoding: nonsense"), ok(b"d")],
    "something first": [
        ok(b"a"),
        ok(b"b"),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(b"c"),
        ok(b"d"),
    ],
    "Connection: close": [ok(b"a"), ok(b"b"), ok(b"c", "200 OK", "Connection: close"), ok(b"d")],
    "a line for this hop": [ok(b"a"), *[ok(b"b", "200 OK", "Connection: X-Hop", "X-Hop: 1")] * 3],
    "a length for this hop": [ok(b"a"), *[ok(b"b", "200 OK", "Connection: content-length")] * 3],
    "it ends with the connection": [ok(b"a"), ok(b"b"), lines("Connection: close", body=b"c")],
    "two at once": [ok(b"a"), ok(b"b"), ok(b"c") + ok(b"d"), ok(b"e")],
    "not HTTP": [ok(b"a"), ok(b"b"), b"nonsense\r\n\r\n", ok(b"c")],
    "cut short": [ok(b"a"), ok(b"b"), ok(b"cccc")[:-1], ok(b"d")],
    "too large": [ok(b"a"), ok(b"b"), ok(b"c" * 70_000), ok(b"d")],
    "HTTP/1.0": [ok(b"a"), ok(b"b"), ok(b"c").replace(b"1.1", b"1.0"), ok(b"d")],
}


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=list(ANSWERS))
async def test_both_ways_come_to_the_same(answers: list[bytes]) -> None:
    seen = []
    for prompt in (True, False):
        left = list(answers)

        async def next_one(_: Received, wire: Wire, left: list[bytes] = left) -> None:
            data = left.pop(0)
            await wire.send(data)
            if b"Connection: close" in data or data == ok(b"cccc")[:-1]:
                wire.writer.close()

        replies = []
        async with (
            RawUpstream(next_one) as service,
            http_upstream(service.url, upstream_max_response="64KiB") as upstream,
        ):
            for _ in answers:
                to: asyncio.Future[Reply | NoReply] = asyncio.get_running_loop().create_future()
                if prompt and upstream.ask(CALL, 5.0, to):
                    replies.append(await to)
                else:
                    replies.append(await upstream.call(CALL, 5.0))
        seen.append(replies)
        assert not left
    assert seen[0] == seen[1]


@pytest.mark.parametrize("size", [10, 30_000, 300_000])
async def test_a_response_in_pieces(size: int) -> None:
    whole = ok(b"x" * size)

    async def slowly(_: Received, wire: Wire) -> None:
        for at in (slice(10), slice(10, 60), slice(60, None)):
            await wire.send(whole[at])
            await asyncio.sleep(0)

    async with RawUpstream(slowly) as service, http_upstream(service.url) as upstream:
        first = await upstream.call(CALL, 5.0)
        for _ in range(3):
            assert await told(upstream) == first
        assert service.connections == 1


async def test_there_is_no_way_without_an_idle_connection() -> None:
    async with RawUpstream() as service, http_upstream(service.url) as upstream:
        to: asyncio.Future[Reply | NoReply] = asyncio.get_running_loop().create_future()
        assert not upstream.ask(CALL, 5.0, to)
        assert isinstance(await upstream.call(CALL, 5.0), Reply)
        assert upstream.ask(CALL, 5.0, to)
        assert not upstream.ask(CALL, 5.0, asyncio.get_running_loop().create_future())
        assert isinstance(await to, Reply)
        assert service.connections == 1


async def test_a_slot_is_taken_and_given_back() -> None:
    async with (
        RawUpstream() as service,
        http_upstream(service.url, upstream_connections="1") as upstream,
    ):
        await upstream.call(CALL, 5.0)
        for _ in range(3):
            asked, awaited = asyncio.create_task(told(upstream)), upstream.call(CALL, 5.0)
            await asyncio.sleep(0)
            assert isinstance(await awaited, Reply)
            assert isinstance(await asked, Reply)
        assert service.connections == 1


@pytest.mark.parametrize("begun", [b"", ok(b"a")[:20], ok(b"aaaa")[:-2]])
async def test_a_service_that_is_too_slow(begun: bytes) -> None:
    calls = 0

    async def only_once(_: Received, wire: Wire) -> None:
        nonlocal calls
        calls += 1
        if calls in (1, 4):
            await wire.send(ok(b"a"))
        else:
            await wire.send(begun)
            await wire.reader.read()

    async with RawUpstream(only_once) as service, http_upstream(service.url) as upstream:
        await upstream.call(CALL, 5.0)
        late = await told(upstream, timeout=0.05)
        assert isinstance(late, NoReply)
        assert (late.fault, late.timed_out) == (Fault.UNKNOWN, True)
        again = await upstream.call(CALL, 0.05)
        assert again == late
        assert isinstance(await upstream.call(CALL, 5.0), Reply)


async def test_a_connection_lost_on_the_way() -> None:
    calls = 0

    async def only_once(_: Received, wire: Wire) -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            await wire.send(ok(b"a"))
        else:
            wire.reset()

    async with RawUpstream(only_once) as service, http_upstream(service.url) as upstream:
        await upstream.call(CALL, 5.0)
        lost = await told(upstream)
        assert isinstance(lost, NoReply)
        assert lost.fault is Fault.UNKNOWN
        await upstream.call(CALL, 5.0)
        assert await upstream.call(CALL, 5.0) == lost


async def test_what_the_service_says_unasked_answers_nobody() -> None:
    go_on = asyncio.Event()

    async def talkative(_: Received, wire: Wire) -> None:
        await wire.send(ok(b"asked"))
        if len(service.received) == 3:
            await go_on.wait()
            await wire.send(ok(b"unasked"))

    async with RawUpstream(talkative) as service, http_upstream(service.url) as upstream:
        await upstream.call(CALL, 5.0)
        for _ in range(2):  # the head is known by the second
            reply = await told(upstream)
            assert isinstance(reply, Reply)
            assert reply.body == b"asked"
        (line,) = upstream._origin._pool._idle
        go_on.set()
        await until(lambda: not line.is_clean())
        assert not upstream.ask(CALL, 5.0, asyncio.get_running_loop().create_future())
        reply = await upstream.call(CALL, 5.0)
        assert isinstance(reply, Reply)
        assert (reply.body, service.connections) == (b"asked", 2)


async def test_a_head_that_cannot_be_written_holds_no_connection() -> None:
    unwritable = replace(CALL, target="/\u20ac")
    async with (
        RawUpstream() as service,
        http_upstream(service.url, upstream_connections="1") as upstream,
    ):
        assert isinstance(await upstream.call(CALL, 5.0), Reply)
        with pytest.raises(UnicodeEncodeError):
            upstream.ask(unwritable, 5.0, asyncio.get_running_loop().create_future())
        with pytest.raises(UnicodeEncodeError):
            await upstream.call(unwritable, 5.0)
        assert isinstance(await told(upstream), Reply)
        assert service.connections == 1
