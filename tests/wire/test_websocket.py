"""WebSocket through the gateway: ends played by hand, and by a library that reads frames."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.fakes.upstream_raw import RawUpstream, Wire, ok
from tests.wire.gateway import Client, connected, gateway, get, until

UPGRADE = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: chat, other",
    "Sec-WebSocket-Extensions: permessage-deflate",
)
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)


async def echo_bytes(wire: Wire) -> None:
    assert await wire.read_head() is not None
    await wire.send(AGREED + b"early")
    while data := await wire.reader.read(65536):
        await wire.send(data)


async def opened(client: Client) -> list[tuple[str, str]]:
    client.write(get("/ws", *UPGRADE))
    status, headers = await client.head()
    assert status == 101
    return headers


async def test_the_handshake_goes_through_whole() -> None:
    heads = []

    async def script(wire: Wire) -> None:
        heads.append(await wire.read_head())
        await wire.send(AGREED)
        await wire.reader.read()

    async with RawUpstream(script=script) as upstream, connected(upstream.url) as (_, client):
        headers = dict(await opened(client))
        assert headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert headers["Sec-WebSocket-Protocol"] == "chat"
        assert (headers["Upgrade"], headers["Connection"]) == ("websocket", "Upgrade")
        (head,) = heads
        assert head is not None
        assert head.values("upgrade") == ["websocket"]
        assert head.values("connection") == ["Upgrade"]
        assert head.values("sec-websocket-protocol") == ["chat, other"]
        assert head.values("sec-websocket-key") == ["dGhlIHNhbXBsZSBub25jZQ=="]
        assert head.values("x-forwarded-for") == ["127.0.0.1"]


async def test_bytes_behind_the_handshakes_are_not_lost() -> None:
    async with RawUpstream(script=echo_bytes) as upstream, connected(upstream.url) as (_, client):
        client.write(get("/ws", *UPGRADE) + b"too soon")
        assert (await client.head())[0] == 101
        assert await asyncio.wait_for(client.reader.readexactly(5), 5) == b"early"
        assert await asyncio.wait_for(client.reader.readexactly(8), 5) == b"too soon"


async def test_large_amounts_stream_both_ways() -> None:
    blob = os.urandom(2**20) * 8
    async with RawUpstream(script=echo_bytes) as upstream, connected(upstream.url) as (_, client):
        await opened(client)
        await client.reader.readexactly(5)

        async def send() -> None:
            for start in range(0, len(blob), 65536):
                client.write(blob[start : start + 65536])
                await client.writer.drain()

        sending = asyncio.create_task(send())
        assert await asyncio.wait_for(client.reader.readexactly(len(blob)), 20) == blob
        await sending


async def test_a_side_that_does_not_read_stops_the_other() -> None:
    sent = 0

    async def flood(wire: Wire) -> None:
        nonlocal sent
        await wire.read_head()
        await wire.send(AGREED)
        while True:
            await wire.send(bytes(65536))
            sent += 65536

    async with RawUpstream(script=flood) as upstream, connected(upstream.url) as (_, client):
        await opened(client)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.2)  # nothing tells that a stream has come to rest
        assert 0 < sent < 32 * 2**20
        for _ in range(100):
            await asyncio.wait_for(client.reader.readexactly(65536), 5)


@pytest.mark.parametrize("abrupt", [True, False])
async def test_the_service_ends(*, abrupt: bool) -> None:
    async def script(wire: Wire) -> None:
        await wire.read_head()
        await wire.send(AGREED + b"bye")
        await asyncio.sleep(0.05)  # the bytes have to leave before a reset throws them away
        if abrupt:
            wire.reset()

    async with RawUpstream(script=script) as upstream, connected(upstream.url) as (proxy, client):
        await opened(client)
        assert await client.reader.readexactly(3) == b"bye"
        assert await client.is_closed()
        client.close()
        await until(lambda: not proxy.server.connections)


@pytest.mark.parametrize("abrupt", [True, False])
async def test_the_client_ends(*, abrupt: bool) -> None:
    ended = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.read_head()
        await wire.send(AGREED)
        try:
            assert await wire.reader.readexactly(3) == b"bye"
            assert await wire.reader.read() == b""
        except ConnectionError:
            pass
        ended.set()

    async with RawUpstream(script=script) as upstream, connected(upstream.url) as (proxy, client):
        await opened(client)
        client.write(b"bye")
        if abrupt:
            await asyncio.sleep(0.05)  # the bytes have to leave before the end throws them away
            client.writer.transport.abort()
        else:
            client.close()
        await asyncio.wait_for(ended.wait(), 5)
        await until(lambda: not proxy.server.connections)


async def test_half_a_close_lets_the_other_half_answer() -> None:
    async def script(wire: Wire) -> None:
        await wire.read_head()
        await wire.send(AGREED)
        said = await wire.reader.read()
        await wire.send(b"you said " + said)

    async with RawUpstream(script=script) as upstream, connected(upstream.url) as (_, client):
        await opened(client)
        client.write(b"this")
        client.writer.write_eof()
        assert await asyncio.wait_for(client.reader.read(), 5) == b"you said this"


async def test_a_declined_handshake_is_a_plain_answer() -> None:
    answer = ok(b"use HTTP", "426 Upgrade Required")
    async with RawUpstream(answer) as upstream, connected(upstream.url) as (_, client):
        client.write(get("/ws", *UPGRADE))
        got = await client.response()
        assert (got.status, got.body) == (426, b"use HTTP")
        client.write(get("/x"))
        assert (await client.response()).status == 426


async def test_tunnels_do_not_use_up_the_pool() -> None:
    flags = {"upstream_connections": "1", "upstream_connect_timeout": "500ms"}

    async def script(wire: Wire) -> None:
        while (head := await wire.read_head()) is not None:
            if head.values("upgrade"):
                await wire.send(AGREED)
                await wire.reader.read()
                return
            await wire.send(ok())

    async with (
        RawUpstream(script=script) as upstream,
        connected(upstream.url, flags) as (proxy, one),
    ):
        await opened(one)
        async with proxy.connect() as two:
            await opened(two)
            assert (await proxy.ask(get("/x"))).status == 200
            assert proxy.lifecycle.in_flight == 0


async def serve_echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=("chat",), max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT and message.data.startswith("close "):
            await socket.close(code=int(message.data[6:]), message=b"as asked")
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


@pytest.fixture
async def echo_url() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/ws", serve_echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_text_binary_ping_close_and_subprotocol(echo_url: str) -> None:
    async with gateway(echo_url) as proxy, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{proxy.port}/ws"
        async with session.ws_connect(url, protocols=("chat",), max_msg_size=0) as socket:
            assert socket.protocol == "chat"
            await socket.send_str("héllo")
            assert (await socket.receive_str()) == "héllo"
            blob = os.urandom(5 * 2**20)
            await socket.send_bytes(blob)
            assert await socket.receive_bytes(timeout=20) == blob
            await socket.ping(b"p")
            await socket.send_str("close 4321")
            message = await socket.receive(timeout=5)
            assert (message.type, message.data, message.extra) == (
                WSMsgType.CLOSE,
                4321,
                "as asked",
            )
            assert socket.close_code == 4321


async def test_a_client_close_code_arrives() -> None:
    frames = bytearray()

    async def script(wire: Wire) -> None:
        await wire.read_head()
        await wire.send(AGREED)
        while data := await wire.reader.read(100):
            frames.extend(data)

    frame = b"\x88\x82" + b"\0\0\0\0" + struct.pack(">H", 4000)
    async with RawUpstream(script=script) as upstream, connected(upstream.url) as (_, client):
        await opened(client)
        client.write(frame)
        client.writer.write_eof()
        assert await client.is_closed()
        assert bytes(frames) == frame
