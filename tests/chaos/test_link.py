"""The links: what they carry arrives, and each fault does what its name says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.chaos.link import Link, Way

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """Answers what it gets, and keeps it."""

    def __init__(self) -> None:
        self.got = b""
        self.lost = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.got += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            self.lost.set()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, Link]]:
    made = Echo()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    link = Link(server.sockets[0].getsockname()[1])
    await link.start()
    yield made, link
    await link.close()
    server.close()


async def opened(link: Link) -> Ends:
    return await asyncio.open_connection("127.0.0.1", link.port)


async def say(ends: Ends, data: bytes) -> bytes:
    """What comes back within a second; b"" for an end or nothing."""
    reader, writer = ends
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(1000), 1.0)
    except TimeoutError:
        return b"nothing"


async def test_what_is_sent_arrives_and_comes_back(echo: tuple[Echo, Link]) -> None:
    service, link = echo
    ends = await opened(link)

    assert await say(ends, b"hello") == b"hello"
    ends[1].write_eof()
    assert await ends[0].read() == b""
    assert service.got == b"hello"
    ends[1].close()


async def test_a_stall_holds_back_and_lets_go(echo: tuple[Echo, Link]) -> None:
    service, link = echo
    ends = await opened(link)
    await say(ends, b"a")
    fault = asyncio.create_task(link.stall(0.2))
    await asyncio.sleep(0)

    began = asyncio.get_running_loop().time()
    assert await say(ends, b"b") == b"b"
    assert asyncio.get_running_loop().time() - began > 0.15
    await fault
    assert await say(ends, b"c") == b"c"
    assert service.got == b"abc"
    ends[1].close()


async def test_latency_is_per_piece(echo: tuple[Echo, Link]) -> None:
    _, link = echo
    ends = await opened(link)
    fault = asyncio.create_task(link.slow(1.0, 0.1))
    await asyncio.sleep(0)

    began = asyncio.get_running_loop().time()
    assert await say(ends, b"a") == b"a"
    assert asyncio.get_running_loop().time() - began > 0.19
    fault.cancel()
    ends[1].close()


async def test_half_open_swallows_and_then_resets(echo: tuple[Echo, Link]) -> None:
    service, link = echo
    ends = await opened(link)
    await say(ends, b"a")
    fault = asyncio.create_task(link.half_open(0.2))
    await asyncio.sleep(0)

    with pytest.raises(ConnectionResetError):
        await say(ends, b"b")
    await fault
    assert service.got == b"a"
    again = await opened(link)
    assert await say(again, b"c") == b"c"
    again[1].close()


async def test_refused_is_refused_and_then_listens_again(echo: tuple[Echo, Link]) -> None:
    _, link = echo
    there = await opened(link)
    await say(there, b"a")
    fault = asyncio.create_task(link.refuse(0.2))
    await asyncio.sleep(0)

    with pytest.raises(ConnectionRefusedError):
        await opened(link)
    assert await say(there, b"b") == b"b", "those that are there go on"
    await fault
    again = await opened(link)
    assert await say(again, b"c") == b"c"
    again[1].close()
    there[1].close()


async def test_reset_ends_both_sides_at_once(echo: tuple[Echo, Link]) -> None:
    service, link = echo
    ends = await opened(link)
    await say(ends, b"a")

    link.reset()

    with pytest.raises(ConnectionResetError):
        await say(ends, b"b")
    await asyncio.wait_for(service.lost.wait(), 1.0)
    ends[1].close()


@pytest.mark.parametrize(("way", "got"), [(Way.ONWARD, b"1234"), (Way.BACK, b"12345678")])
async def test_a_cut_lets_half_a_message_through(
    echo: tuple[Echo, Link], way: Way, got: bytes
) -> None:
    service, link = echo
    ends = await opened(link)
    fault = asyncio.create_task(link.cut(way, 2.0))
    await asyncio.sleep(0)

    ends[1].write(b"12345678")
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        heard = await asyncio.wait_for(ends[0].read(), 1.0)
    ends[1].close()

    assert await fault
    assert service.got == got
    assert heard == (b"1234" if way is Way.BACK else b"")


async def test_a_cut_of_nothing_is_no_cut(echo: tuple[Echo, Link]) -> None:
    _, link = echo
    assert not await link.cut(Way.ONWARD, 0.05)


async def test_slow_close_ends_the_client_and_still_delivers(echo: tuple[Echo, Link]) -> None:
    service, link = echo
    ends = await opened(link)
    await say(ends, b"a")
    fault = asyncio.create_task(link.slow_close(0.2))
    await asyncio.sleep(0)

    assert await say(ends, b"b") == b""
    await fault
    assert service.got == b"ab"
    ends[1].close()
