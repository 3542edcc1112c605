"""A legacy service as bare bytes: records exactly what it receives, says exactly what it is told.

It is its own small reader of HTTP, so that a mistake of the library that the proxy uses cannot
hide behind the same mistake here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Received:
    """One request: its head's lines as they came, and its body without chunk framing."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    chunked: bool

    def values(self, name: str) -> list[str]:
        return [v for n, v in self.headers if n.lower() == name.lower()]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]


class Wire:
    """One connection, from the service's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_head(self) -> Received | None:
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        line, *lines = raw.decode("latin-1")[:-4].split("\r\n")
        pairs = (text.split(":", 1) for text in lines)
        headers = tuple((name, value.strip()) for name, value in pairs)
        chunked = any(n.lower() == "transfer-encoding" for n, _ in headers)
        return Received(line, headers, b"", chunked)

    async def read_body(self, head: Received) -> Received:
        if head.chunked:
            body = b"".join([piece async for piece in self.chunks()])
        else:
            lengths = head.values("content-length")
            body = await self.reader.readexactly(int(lengths[0])) if lengths else b""
        return Received(head.line, head.headers, body, head.chunked)

    async def chunks(self) -> AsyncIterator[bytes]:
        while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        while await self.reader.readuntil(b"\r\n") != b"\r\n":
            pass

    def abort(self) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """Close with RST, and not with FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Answer = bytes | Callable[[Received, Wire], Awaitable[bytes | None]]
Script = Callable[[Wire], Awaitable[None]]


def ok(body: bytes = b"ok", status: str = "200 OK", *lines: str) -> bytes:
    head = [f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode("latin-1") + body


class RawUpstream:
    """``answer``: bytes for every request, or a function of it (None: it has written itself).
    ``script`` takes a whole connection instead."""

    def __init__(self, answer: Answer = ok(), *, script: Script | None = None) -> None:  # noqa: B008
        self.answer = answer
        self.script = script
        self.received: list[Received] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**22)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        wire = Wire(reader, writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                if self.script is not None:
                    await self.script(wire)
                else:
                    await self._answer_all(wire)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer_all(self, wire: Wire) -> None:
        while (head := await wire.read_head()) is not None:
            request = await wire.read_body(head)
            self.received.append(request)
            answer = self.answer
            data = answer if isinstance(answer, bytes) else await answer(request, wire)
            if data is not None:
                await wire.send(data)
