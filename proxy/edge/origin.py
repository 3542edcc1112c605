"""One request to the legacy service, as bytes. Law: written once, never sent again by a library.

aiohttp gives TLS and the response parser. Its session is not used: it would rewrite the target
(an empty query loses its ``?``), the header lines and their bytes beyond ASCII, and it sends PUT
and DELETE twice on a connection that turns out to be stale.

What goes wrong is an ``OriginError``. ``sent`` tells the one thing that matters afterwards:
whether a byte of the request may have left.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import ClientError
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from proxy.core.upstream import Headers
from proxy.edge.asked import Asked, ToldOrigin
from proxy.edge.known import Response
from proxy.edge.parsed import ResponseHead
from proxy.edge.pool import Line, NoFreeConnectionError, Pool
from proxy.edge.wire import (
    PIECE,
    Clock,
    Informational,
    OriginError,
    Upload,
    broken_body,
    check_no_reset,
    late,
    name_of,
    read_body,
    read_head,
    send_upload,
    write,
)
from proxy.headers import end_to_end, first, from_raw
from proxy.limit import Limits
from proxy.settings import Settings


class OriginResponse:
    """A response whose head has come. Use it in ``async with``; leaving early drops the call."""

    def __init__(
        self,
        pool: Pool,
        line: Line,
        message: ResponseHead,
        content: StreamReader,
        upload: asyncio.Task[None] | None,
    ) -> None:
        self.status = message.code
        self.headers = from_raw(message.raw_headers)
        self._chunked = message.chunked
        self._pool = pool
        self._line: Line | None = line
        self._protocol = line.protocol
        self._content = content
        self._upload = upload
        self._whole = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def piece(self) -> bytes:
        """What has come of the body, still in its content coding; empty behind its end. Raises
        OriginError where it ends before its end. No generator: mypyc knows no asynchronous ones."""
        try:
            piece = await self._content.read(PIECE)
        except (ClientError, OSError, HttpProcessingError) as error:
            raise broken_body(error) from error
        if not piece:
            self._end()
        return piece

    def at_once(self) -> bytes | None:
        """The whole body where all of it has come with the head, as small ones do; else None, and
        ``piece`` has it. Raises OriginError."""
        if not self._content.is_eof():
            return None
        try:
            body = self._content.read_nowait()
        except (ClientError, OSError, HttpProcessingError) as error:
            raise broken_body(error) from error
        self._end()
        return body

    @property
    def ends_with_connection(self) -> bool:
        """No length and no chunks: a body cut short looks complete, unless there was a reset."""
        return not self._chunked and first(self.headers, "content-length") is None

    def detach(self) -> Connection:
        """The connection itself, after a 101: it is the caller's now, and in nobody's pool."""
        line, self._line = self._line, None
        if line is None:
            raise RuntimeError("the response is closed")
        return self._pool.lend(line)

    def close(self) -> None:
        """Give the connection back, or close it where request or response did not end."""
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
            self._whole = False
        line, self._line = self._line, None
        if line is None:
            return
        if self._whole:
            self._pool.give(line)
        else:
            self._pool.drop(line)

    def _end(self) -> None:
        if self.ends_with_connection:
            check_no_reset(self._protocol)
        self._whole = True


class OriginClient:
    """The way to the one service. Shared by everything; made inside the running loop."""

    def __init__(self, settings: Settings) -> None:
        self._connect_timeout = settings.upstream_connect_timeout
        self._loop = asyncio.get_running_loop()
        self._pool = Pool(settings)
        self._limits = Limits()
        self._host = f"Host: {settings.upstream.authority}"

    async def ask(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes,
        *,
        timeout: float,
        limit: int,
    ) -> Response:
        """Send one request and read its whole response, whose body is in its content coding still
        and has ``limit`` bytes at most.

        ``timeout`` in seconds covers all of it. ``headers`` are as for ``send``. Raises
        OriginError.
        """
        data = self.head(method, target, headers) + body  # first: where it fails, no line is held
        began = self._loop.time()
        line = await self._take(min(timeout, self._connect_timeout))
        clock = Clock(line)
        taken = self._loop.time() - began
        if taken:
            clock.start(timeout - taken)
        else:  # nearly always: an idle connection
            clock.start_within(self._limits.of(timeout))
        try:
            write(line, data, method)
        except OriginError:
            self.end(line, clock, whole=False)
            raise
        return await self.read(line, clock, limit)

    def begin(
        self, method: str, data: bytes, *, timeout: float, limit: int, to: ToldOrigin
    ) -> bool:
        """``ask`` without a task, which tells ``to`` in a later turn of the loop. ``data``: the
        request's head and body. False: no connection is idle, and nothing was sent."""
        line = self._pool.take_idle()
        if line is None:
            return False
        clock = Clock(line)
        clock.start_within(self._limits.of(timeout))
        asked = Asked(self, line, clock, limit, to)
        try:
            write(line, data, method)
        except OriginError:
            self.end(line, clock, whole=False)
            return False
        line.protocol.watch = asked
        return True

    async def read(self, line: Line, clock: Clock, limit: int) -> Response:
        """The whole response to what was written."""
        whole = False
        try:
            message, clock.content = await read_head(line, None)
            clock.check()
            text = await read_body(clock.content, limit)
            if not message.chunked and "Content-Length" not in message.headers:
                check_no_reset(line.protocol)
            whole = not clock.expired
        except OriginError:
            if not clock.expired:
                raise
        finally:
            self.end(line, clock, whole=whole)
        if not whole:
            raise late()
        return message.code, end_to_end(from_raw(message.raw_headers)), text

    def end(self, line: Line, clock: Clock, *, whole: bool) -> None:
        """The exchange is over; after a whole one the line may carry another."""
        clock.stop()
        if whole:
            self._pool.give(line)
        else:
            self._pool.drop(line)

    async def send(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes | Upload = b"",
        *,
        head_timeout: float | None = None,
        informational: Informational | None = None,
    ) -> OriginResponse:
        """Send one request and wait for the response's head.

        ``headers`` are written as they are; they have Content-Length where the body needs it, and
        this adds Transfer-Encoding to an upload without length. ``head_timeout`` counts from the
        request's last byte. Raises OriginError, or what the upload's source raised.
        """
        line = await self._take(self._connect_timeout)
        clock = Clock(line)
        upload: asyncio.Task[None] | None = None
        try:
            head = self.head(method, target, headers)
            if isinstance(body, bytes):
                write(line, head + body, method)
                clock.start(head_timeout)
            else:
                writer = self._begin_upload(line, head, body, method)
                upload = asyncio.create_task(send_upload(writer, line, body, clock, head_timeout))
            message, content = await read_head(line, informational)
            clock.check()
        except BaseException as error:
            if upload is not None:
                upload.cancel()
            self._pool.drop(line)
            if isinstance(body, Upload) and body.failure is not None:
                raise body.failure from error
            if clock.expired and isinstance(error, OriginError):
                raise late() from error
            raise
        finally:
            clock.stop()
        return OriginResponse(self._pool, line, message, content, upload)

    async def close(self) -> None:
        """Close every connection, idle or not. Idempotent."""
        await self._pool.close()

    async def _take(self, timeout: float) -> Line:
        """A connection, fresh or idle. Nothing of a request has left when this fails."""
        try:
            return await self._pool.take(timeout)
        except NoFreeConnectionError as busy:  # a name of its own: a compiled one has one type
            raise OriginError("busy", "no free connection in time", sent=False) from busy
        except TimeoutError as error:
            raise OriginError("unreachable", "no connection in time", sent=False) from error
        except (ClientError, OSError) as error:
            raise OriginError("unreachable", name_of(error), sent=False) from error

    def head(self, method: str, target: str, headers: Headers) -> bytes:
        """A request's head as bytes; ``headers`` are as for ``send``."""
        lines = [f"{method} {target} HTTP/1.1"]
        if first(headers, "host") is None:
            lines.append(self._host)
        lines += [f"{name}: {value}" for name, value in headers]
        lines.append("\r\n")
        return "\r\n".join(lines).encode("latin-1")

    def _begin_upload(self, line: Line, head: bytes, body: Upload, method: str) -> StreamWriter:
        writer = StreamWriter(line.protocol, self._loop)
        if body.length is None:
            head = head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
            writer.enable_chunking()
        write(line, head, method)
        return writer
