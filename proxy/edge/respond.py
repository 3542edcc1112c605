"""A response exactly as given: its head, its framing, its body. Law: nothing is added unasked.

aiohttp's own response would add Server and a Content-Type, and write header bytes beyond ASCII
in another encoding. The framing is always made here, whatever the upstream's was: a length where
it is known, else chunks for HTTP/1.1, else the end of the connection.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter
from aiohttp.web import BaseRequest, StreamResponse

from proxy.core.upstream import Headers
from proxy.edge.head import head_bytes

BEHIND: Final = 64 * 1024
"""Bytes that may wait to be sent before the writer waits too: what aiohttp itself allows."""
_BODYLESS: Final = frozenset({204, 304})


class WireResponse(StreamResponse):
    """``length`` None: not known. For HEAD it is what a GET would have had, and None for none.

    ``close``: the connection ends with this response. ``send_timeout``: how long a client may
    read nothing before it is cut off.
    """

    def __init__(
        self,
        status: int,
        headers: Headers,
        *,
        length: int | None,
        close: bool,
        send_timeout: float,
        body: bytes = b"",
    ) -> None:
        # Not the base's: it makes two mappings and a phrase of which nothing here is used.
        self._status = status
        self._lines = headers
        self._declared = length
        self._closing = close
        self._send_timeout = send_timeout
        self._pending = body
        self._request: BaseRequest | None = None
        self._empty = False
        self._by_chunks = False
        self._done = False

    @property
    def keep_alive(self) -> bool | None:
        return not self._closing

    def force_close(self) -> None:
        self._closing = True

    @property
    def started(self) -> bool:
        """Whether the head has been written."""
        return self._request is not None

    @property
    def shows_its_end(self) -> bool:
        """Whether the client can tell a whole response from one that was cut short."""
        return self._declared is not None or self._by_chunks

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write the head, and the body that the constructor was given."""
        if self.started:
            return request.writer
        self._request = request
        writer = request.writer
        status = self.status
        self._empty = request.method == "HEAD" or status in _BODYLESS or status < 200
        self._by_chunks = self._declared is None and not self._empty and request.version >= (1, 1)
        if self._declared is None and not self._empty and not self._by_chunks:
            self._closing = True
        self._closing = self._closing or not request.keep_alive
        head = head_bytes(
            status,
            self._lines,
            length=self._declared,
            close=self._closing,
            chunked=self._by_chunks,
            version=(1, 1) if request.version >= (1, 1) else (1, 0),
        )
        body = b"" if self._empty else self._pending
        await self._send(writer, head if self._by_chunks else head + body)
        if self._by_chunks:
            writer.enable_chunking()
            if body:
                await self._send(writer, body)
        elif not self._empty and self._declared is not None:
            writer.length = self._declared - len(body)
        return writer

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a piece of the body, and wait while the client's socket is full."""
        if self._request is None:
            raise RuntimeError("the head comes first")
        if not self._empty:
            await self._send(self._request.writer, bytes(data))

    async def write_eof(self, data: bytes = b"") -> None:
        if self._done or self._request is None:
            return
        self._done = True
        if self.status == 101:
            return
        writer = self._request.writer
        if not self._by_chunks and not data:
            await writer.write_eof()  # writes nothing, and waits for nothing
            return
        async with asyncio.timeout(self._send_timeout):
            await writer.write_eof(data)

    async def _send(self, writer: AbstractStreamWriter, data: bytes) -> None:
        """Write, and wait where the client is behind with reading; it seldom is."""
        if not isinstance(writer, StreamWriter):
            raise TypeError("aiohttp's own writer is expected")
        await writer.write(data, drain=False)
        transport = writer.transport
        if transport is None or transport.get_write_buffer_size() <= BEHIND:
            return
        try:
            async with asyncio.timeout(self._send_timeout):
                await writer.drain()
        except TimeoutError:
            if self._request is not None and self._request.transport is not None:
                self._request.transport.abort()
            raise SlowReaderError from None


class SlowReaderError(ConnectionError):
    """The client read nothing for too long and was cut off."""


def whole(
    status: int, headers: Headers, body: bytes, *, close: bool, send_timeout: float
) -> WireResponse:
    """A response whose body is in memory."""
    return WireResponse(
        status, headers, length=len(body), close=close, send_timeout=send_timeout, body=body
    )
