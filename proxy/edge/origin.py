"""One request to the legacy service, as bytes. Law: written once, never sent again by a library.

aiohttp gives the connection pool, TLS and the response parser. Its session is not used: it would
rewrite the target (an empty query loses its ``?``), the header lines and their bytes beyond
ASCII, and it sends PUT and DELETE twice on a connection that turns out to be stale.

What goes wrong is an ``OriginError``. ``sent`` tells the one thing that matters afterwards:
whether a byte of the request may have left.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self
from weakref import WeakSet

from aiohttp import (
    BaseConnector,
    ClientConnectionError,
    ClientError,
    ClientRequest,
    ClientTimeout,
    ServerDisconnectedError,
    TCPConnector,
    UnixConnector,
)
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EofStream, StreamReader
from yarl import URL

from proxy.core.upstream import Headers
from proxy.headers import first, from_raw
from proxy.settings import Settings

_READ_BUFFER: Final = 2**16
_PIECE: Final = 2**16
"""What waits for a slow client waits where reading from the service can be paused, and not all of
it behind the client's socket."""
_MAX_LINE: Final = 64 * 1024
_MAX_HEADERS: Final = 256

Informational = Callable[[int, Headers], Awaitable[None]]


class OriginError(Exception):
    """The service gave no usable response. ``kind``: unreachable, busy (no free connection),
    timeout, failed (closed, reset, garbled). ``stale``: an idle connection was closed as the
    request was written; a request without effects may be made again."""

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


class Progress:
    """Whether a byte of the request may have left, for a caller whose own clock ran out."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = False


class OriginResponse:
    """A response whose head has come. Use it in ``async with``; leaving early drops the call."""

    def __init__(
        self,
        connection: Connection,
        message: RawResponseMessage,
        content: StreamReader,
        upload: asyncio.Task[None] | None,
        slot: _Slot,
    ) -> None:
        self.status = message.code
        self.headers = from_raw(message.raw_headers)
        self._chunked = message.chunked
        self._connection = connection
        self._content = content
        self._upload = upload
        self._slot = slot
        self._whole = False
        self._detached = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, still in its content coding. Raises OriginError where it ends
        before its end."""
        try:
            while chunk := await self._content.read(_PIECE):
                yield chunk
        except (ClientError, OSError, HttpProcessingError) as error:
            raise OriginError("failed", f"response body: {_name(error)}", sent=True) from error
        if self.ends_with_connection and self._was_reset():
            raise OriginError("failed", "response body: connection reset", sent=True)
        self._whole = True

    @property
    def ends_with_connection(self) -> bool:
        """No length and no chunks: a body cut short looks complete, unless there was a reset."""
        return not self._chunked and first(self.headers, "content-length") is None

    def _was_reset(self) -> bool:
        protocol = self._connection.protocol
        error = protocol.exception() if protocol is not None else None
        return error is not None and not isinstance(error, ServerDisconnectedError)

    def detach(self) -> Connection:
        """The connection itself, after a 101: it is the caller's now, and in nobody's pool."""
        self._detached = True
        self._slot.release()
        return self._connection

    async def close(self) -> None:
        """Give the connection back, or close it where request or response did not end."""
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
            self._whole = False
        if self._detached:
            return
        if self._whole:
            self._connection.release()
        else:
            _abort(self._connection)
        self._slot.release()


class OriginClient:
    """The way to the one service. Shared by everything; made inside the running loop."""

    def __init__(self, settings: Settings) -> None:
        self._connect_timeout = settings.upstream_connect_timeout
        self._loop = asyncio.get_running_loop()
        self._connector = _connector(settings)
        origin = settings.upstream
        self.authority = origin.authority
        scheme = "https" if origin.tls else "http"
        url = URL.build(scheme=scheme, host=origin.host, port=origin.port)
        self._key = ClientRequest("GET", url, loop=self._loop)
        self._slots = asyncio.Semaphore(settings.upstream_connections)
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def send(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes | Upload = b"",
        *,
        head_timeout: float | None = None,
        informational: Informational | None = None,
        progress: Progress | None = None,
    ) -> OriginResponse:
        """Send one request and wait for the response's head.

        ``headers`` are written as they are; they have Content-Length where the body needs it, and
        this adds Transfer-Encoding to an upload without length. ``head_timeout`` counts from the
        request's last byte. Raises OriginError, or what the upload's source raised.
        """
        slot = _Slot(self._slots)
        connection = await self._connect(slot)
        protocol = _protocol(connection)
        idle = protocol in self._used
        self._used.add(protocol)
        if progress is not None:
            progress.sent = True
        clock = _HeadClock(head_timeout)
        upload: asyncio.Task[None] | None = None
        try:
            async with clock.timeout:
                _expect_response(protocol, method)
                writer = StreamWriter(protocol, self._loop)
                head = self._head(method, target, headers, body)
                if isinstance(body, bytes):
                    await _write(writer, head + body)
                    clock.start()
                else:
                    await _write(writer, head)
                    upload = asyncio.create_task(_upload(writer, connection, body, clock))
                message, content = await _read_head(protocol, informational, idle=idle)
            clock.over = True
        except BaseException as error:
            clock.over = True
            if upload is not None:
                upload.cancel()
            _abort(connection)
            slot.release()
            if isinstance(body, Upload) and body.failure is not None:
                raise body.failure from error
            if isinstance(error, TimeoutError):
                raise OriginError("timeout", "no response in time", sent=True) from error
            raise
        return OriginResponse(connection, message, content, upload, slot)

    async def close(self) -> None:
        """Close every connection, idle or not. Idempotent."""
        await self._connector.close()

    async def _connect(self, slot: _Slot) -> Connection:
        """A connection, fresh or idle. Nothing of a request has left when this fails."""
        try:
            async with asyncio.timeout(self._connect_timeout):
                await slot.acquire()
                return await self._connector.connect(self._key, [], ClientTimeout())
        except TimeoutError as error:
            if not slot.held:
                raise OriginError("busy", "no free connection in time", sent=False) from error
            slot.release()
            raise OriginError("unreachable", "no connection in time", sent=False) from error
        except (ClientError, OSError) as error:
            slot.release()
            raise OriginError("unreachable", _name(error), sent=False) from error
        except BaseException:
            slot.release()
            raise

    def _head(self, method: str, target: str, headers: Headers, body: bytes | Upload) -> bytes:
        lines = [f"{method} {target} HTTP/1.1"]
        if first(headers, "host") is None:
            lines.append(f"Host: {self.authority}")
        lines.extend(f"{name}: {value}" for name, value in headers)
        if isinstance(body, Upload) and body.length is None:
            lines.append("Transfer-Encoding: chunked")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _Slot:
    """One of the connections that may be open at once; given back once."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self.held = False

    async def acquire(self) -> None:
        await self._slots.acquire()
        self.held = True

    def release(self) -> None:
        if self.held:
            self.held = False
            self._slots.release()


class _HeadClock:
    """The time for a response's head, which runs from the request's last byte on."""

    def __init__(self, seconds: float | None) -> None:
        self.timeout = asyncio.timeout(None)
        self.over = False
        self._seconds = seconds

    def start(self) -> None:
        if self._seconds is not None and not self.over:
            self.timeout.reschedule(asyncio.get_running_loop().time() + self._seconds)


def _connector(settings: Settings) -> BaseConnector:
    """Idle connections live shorter than the service keeps them (Node: 5 s): a request written
    onto a connection that the service is closing is an unknown outcome."""
    origin, idle = settings.upstream, settings.upstream_keepalive
    if origin.path:
        return UnixConnector(path=origin.path, limit=0, keepalive_timeout=idle)
    context: ssl.SSLContext | bool = True
    if origin.tls:
        context = ssl.create_default_context(cafile=settings.upstream_ca_file or None)
        if settings.upstream_cert_file:
            context.load_cert_chain(settings.upstream_cert_file, settings.upstream_key_file)
    return TCPConnector(limit=0, keepalive_timeout=idle, ssl=context)


def _expect_response(protocol: ResponseHandler, method: str) -> None:
    protocol.set_response_params(
        skip_payload=method == "HEAD",
        read_until_eof=True,
        auto_decompress=False,
        read_bufsize=_READ_BUFFER,
        max_line_size=_MAX_LINE,
        max_field_size=_MAX_LINE,
        max_headers=_MAX_HEADERS,
    )


def _protocol(connection: Connection) -> ResponseHandler:
    protocol = connection.protocol
    if protocol is None:
        raise OriginError("unreachable", "connection closed", sent=False)
    return protocol


async def _write(writer: StreamWriter, data: bytes) -> None:
    transport = writer.transport
    if transport is None or transport.is_closing():
        raise OriginError("failed", "connection closed", sent=False, stale=True)
    try:
        await writer.write(data)
    except (ClientConnectionError, ConnectionError) as error:
        raise OriginError("failed", "connection closed", sent=True) from error


async def _upload(
    writer: StreamWriter, connection: Connection, body: Upload, clock: _HeadClock
) -> None:
    """Send a body as it comes. Where the service stops reading, its response tells why."""
    if body.length is None:
        writer.enable_chunking()
    try:
        async for chunk in body.chunks:
            try:
                await writer.write(chunk)
            except (ClientError, OSError):
                return
    except Exception as error:  # noqa: BLE001 - whatever the client's side raised is handed on
        body.failure = error
        if connection.transport is not None:
            connection.transport.abort()
        return
    with suppress(ClientError, OSError):
        await writer.write_eof()
    clock.start()


async def _read_head(
    protocol: ResponseHandler, informational: Informational | None, *, idle: bool
) -> tuple[RawResponseMessage, StreamReader]:
    while True:
        try:
            message, content = await protocol.read()
        except HttpProcessingError as error:
            raise OriginError("failed", "the response is not HTTP", sent=True) from error
        except (ServerDisconnectedError, ConnectionError) as error:
            raise OriginError("failed", _name(error), sent=True, stale=idle) from error
        except (ClientError, OSError, EofStream) as error:
            raise OriginError("failed", _name(error), sent=True) from error
        if message.code == 101 or message.code >= 200:
            return message, content
        if message.code != 100 and informational is not None:
            await informational(message.code, from_raw(message.raw_headers))


def _abort(connection: Connection) -> None:
    """Close at once. Readers are woken by the transport, which ``close`` alone would not do."""
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()


def _name(error: BaseException) -> str:
    """An exception for a log line or a problem document: its kind, nothing that was sent."""
    os_error = getattr(error, "os_error", error)
    return getattr(os_error, "strerror", None) or type(error).__name__
