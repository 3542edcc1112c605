"""One exchange on one line: what is written, what is read, the clock. Law: a fault says whether a
byte of the request may have left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import ClientError, ServerDisconnectedError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EofStream, StreamReader

from proxy.core.upstream import Headers
from proxy.edge.parsed import ResponseHead
from proxy.edge.pool import Line
from proxy.headers import from_raw
from proxy.limit import Limit

PIECE: Final = 2**16
"""What waits for a slow client waits where reading from the service can be paused, and not all of
it behind the client's socket."""

Informational = Callable[[int, Headers], Awaitable[None]]


class OriginError(Exception):
    """The service gave no usable response. ``kind``: unreachable, busy (no free connection),
    timeout, failed (closed, reset, garbled), too-large (a whole response). ``stale``: an idle
    connection was closed as the request was written; a request without effects may be made
    again."""

    def __init__(self, kind: str, detail: str, *, sent: bool, stale: bool = False) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.sent = sent
        self.stale = stale


class Upload:
    """A request body that streams. ``length`` None: chunked. ``failure``: what its source, the
    client's side, raised."""

    def __init__(self, chunks: AsyncIterator[bytes], length: int | None) -> None:
        self.chunks = chunks
        self.length = length
        self.failure: BaseException | None = None


class Clock:
    """Ends the wait for a response that takes too long, as a lost connection would; ``content``,
    once it is known, too. A timeout that cancels costs five times as much."""

    __slots__ = ("_limit", "_over", "_protocol", "_timer", "content", "expired")

    def __init__(self, line: Line) -> None:
        self.expired = False
        self.content: StreamReader | None = None
        self._protocol = line.protocol
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._limit: Limit | None = None

    def start_within(self, limit: Limit) -> None:
        """By the timer that all calls of one limit share."""
        self._limit = limit
        limit.begin(self)

    def start(self, seconds: float | None) -> None:
        """Once; nothing where ``stop`` was first, or ``seconds`` is None."""
        if seconds is not None and not self._over:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.expire)

    def check(self) -> None:
        """Raises OriginError where the time was over before the response's head was read."""
        if self.expired:
            raise late()

    def stop(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._limit is not None:
            self._limit.end(self)

    def expire(self) -> None:
        self.expired = True
        self._protocol.set_exception(TimeoutError())
        if self.content is not None:
            self.content.set_exception(TimeoutError())


def late() -> OriginError:
    return OriginError("timeout", "no response in time", sent=True)


def write(line: Line, data: bytes, method: str) -> None:
    """Write a request, all of which is in memory already: nobody has to wait for the socket,
    and a response that does not wait for all of the request is seen."""
    transport = line.protocol.transport
    if transport is None or transport.is_closing():
        raise OriginError("failed", "connection closed", sent=False, stale=True)
    line.protocol.expect(method)
    transport.write(data)


async def send_upload(
    writer: StreamWriter, line: Line, body: Upload, clock: Clock, head_timeout: float | None
) -> None:
    """Send a body as it comes. Where the service stops reading, its response tells why."""
    try:
        async for chunk in body.chunks:
            try:
                await writer.write(chunk)
            except (ClientError, OSError):
                return
    except Exception as error:  # noqa: BLE001 - whatever the client's side raised is handed on
        body.failure = error
        if line.protocol.transport is not None:
            line.protocol.transport.abort()
        return
    with suppress(ClientError, OSError):
        await writer.write_eof()
    clock.start(head_timeout)


async def read_head(
    line: Line, informational: Informational | None
) -> tuple[ResponseHead, StreamReader]:
    protocol: Any = line.protocol  # the stubs promise a tuple: see ``ResponseHead``
    message: ResponseHead
    content: StreamReader
    while True:
        try:
            message, content = await protocol.read()
        except HttpProcessingError as error:
            raise OriginError("failed", "the response is not HTTP", sent=True) from error
        except (ServerDisconnectedError, ConnectionError) as error:
            raise OriginError("failed", name_of(error), sent=True, stale=line.used) from error
        except (ClientError, OSError, EofStream) as error:
            raise OriginError("failed", name_of(error), sent=True) from error
        if message.code == 101 or message.code >= 200:
            return message, content
        if message.code != 100 and informational is not None:
            await informational(message.code, from_raw(message.raw_headers))


async def read_body(content: StreamReader, limit: int) -> bytes:
    pieces, size = [], 0
    try:
        if content.is_eof():
            pieces.append(content.read_nowait())
            size = len(pieces[0])
        else:
            while size <= limit and (piece := await content.read(PIECE)):
                size += len(piece)
                pieces.append(piece)
    except (ClientError, OSError, HttpProcessingError) as error:
        raise broken_body(error) from error
    if size > limit:
        raise too_large()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def too_large() -> OriginError:
    return OriginError("too-large", "the response is too large", sent=True)


def broken_body(error: Exception) -> OriginError:
    return OriginError("failed", f"response body: {name_of(error)}", sent=True)


def check_no_reset(protocol: ResponseHandler) -> None:
    """A body that ends with the connection looks complete wherever it was cut; a reset shows that
    it was. Raises OriginError."""
    error = protocol.exception()
    if error is not None and not isinstance(error, ServerDisconnectedError):
        raise OriginError("failed", "response body: connection reset", sent=True)


def name_of(error: BaseException) -> str:
    """An exception for a log line or a problem document: its kind, nothing that was sent."""
    os_error = getattr(error, "os_error", error)
    return getattr(os_error, "strerror", None) or type(error).__name__
