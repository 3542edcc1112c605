"""Connections to the one service: opened, kept while idle, closed. Law: none outlives its time.

aiohttp's connector opens them (names, addresses, TLS, unix sockets) and nothing else. Its own
pool cost 20 us a call, kept idle connections to the second only, and gave out one on which the
service had gone on talking after its response: what it said would answer the next request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from functools import partial
from typing import Any, Final

from aiohttp import (
    BaseConnector,
    ClientRequest,
    ClientTimeout,
    TCPConnector,
    UnixConnector,
)
from aiohttp.connector import Connection
from yarl import URL

from proxy.edge.protocol import OriginProtocol
from proxy.edge.slots import Slots
from proxy.settings import Settings

_NO_LIMITS: Final = ClientTimeout()


class NoFreeConnectionError(Exception):
    """All connections that may be open at once were in use for too long."""


class Line:
    """One connection, in use or idle. ``used``: it has carried a request before."""

    __slots__ = ("connection", "idle_since", "protocol", "used")

    def __init__(self, connection: Connection) -> None:
        protocol = connection.protocol
        if protocol is None:
            raise ConnectionError("closed as it was opened")
        assert isinstance(protocol, OriginProtocol)  # noqa: S101 - the connector's factory
        self.connection = connection
        self.protocol = protocol
        self.idle_since = 0.0
        self.used = False

    def abort(self) -> None:
        """Close at once. Readers are woken by the transport, which ``close`` alone would not do."""
        if self.protocol.transport is not None:
            self.protocol.transport.abort()
        self.connection.close()

    def close(self) -> None:
        """Close; a service that does not take what it was sent is not waited for."""
        transport = self.protocol.transport
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()
        self.connection.close()

    def is_clean(self) -> bool:
        """Whether the next request may follow: the response ended, and nothing came or waits
        behind it."""
        transport = self.protocol.transport
        return (
            transport is not None
            and not transport.is_closing()
            and not self.protocol.should_close
            and transport.get_write_buffer_size() == 0
        )

    def is_still_clean(self) -> bool:
        """The same of an idle line, which was clean when it was given back."""
        transport = self.protocol.transport
        if self.protocol.disturbed or transport is None:
            return False
        return not transport.is_closing()


class Pool:
    """Who takes a line gives it back with ``give`` or ``drop``, once, or keeps it for good after
    ``lend``. Made inside the running loop."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self._connector = _connector(settings)
        origin = settings.upstream
        scheme = "https" if origin.tls else "http"
        url = URL.build(scheme=scheme, host=origin.host, port=origin.port)
        self._request = ClientRequest("GET", url, loop=self._loop)
        self._slots = Slots(settings.upstream_connections)
        self._keepalive = settings.upstream_keepalive
        self._idle: deque[Line] = deque()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    def take_idle(self) -> Line | None:
        """An idle line, if there is one and nobody waits."""
        if not self._idle or not self._slots.take_now():
            return None
        line = self._newest()
        if line is None:
            self._slots.give()
        return line

    async def take(self, timeout: float) -> Line:
        """An idle line, or a new one: at most ``timeout`` seconds. Raises NoFreeConnectionError,
        TimeoutError, aiohttp's ClientError, OSError."""
        if self._slots.take_now():
            if (line := self._newest()) is not None:
                return line
            return await self._open(timeout)
        end = self._loop.time() + timeout
        try:
            async with asyncio.timeout_at(end):
                await self._slots.take()
        except TimeoutError as error:
            raise NoFreeConnectionError from error
        return self._newest() or await self._open(end - self._loop.time())

    def give(self, line: Line) -> None:
        """The response was read to its end: the line may carry another request."""
        if self._closed or not line.is_clean():
            line.close()
        else:
            line.used = True
            line.protocol.disturbed = False
            line.idle_since = self._loop.time()
            self._idle.append(line)
            if self._sweeping is None:
                self._sweeping = self._loop.call_later(self._keepalive, self._sweep)
        self._slots.give()

    def drop(self, line: Line) -> None:
        """The call was given up, or failed."""
        line.abort()
        self._slots.give()

    def lend(self, line: Line) -> Connection:
        """The line is its user's, who closes it, and counts no more."""
        self._slots.give()
        return line.connection

    async def close(self) -> None:
        """Close every connection, idle or not. Idempotent."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        while self._idle:
            self._idle.pop().close()
        await self._connector.close()

    def _newest(self) -> Line | None:
        """The newest idle line that still lives, so that in quiet times the others grow old."""
        while self._idle:
            line = self._idle.pop()
            young = self._loop.time() - line.idle_since < self._keepalive
            if young and line.is_still_clean():
                return line
            line.close()
        return None

    async def _open(self, timeout: float) -> Line:
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connector.connect(self._request, [], _NO_LIMITS)
            return Line(connection)
        except BaseException:
            self._slots.give()
            raise

    def _sweep(self) -> None:
        """Close what was idle for too long, and come again when the next one will have been."""
        self._sweeping = None
        now = self._loop.time()
        while self._idle:
            end = self._idle[0].idle_since + self._keepalive
            if end > now:
                self._sweeping = self._loop.call_at(end, self._sweep)
                return
            self._idle.popleft().close()


def _connector(settings: Settings) -> BaseConnector:
    """aiohttp's, with protocols of our own."""
    connector = _plain_connector(settings)
    # It has no public way to say of what kind its protocols are.
    factory: Any = partial(OriginProtocol, loop=asyncio.get_running_loop())
    connector._factory = factory  # noqa: SLF001
    return connector


def _plain_connector(settings: Settings) -> BaseConnector:
    """``force_close``: it never keeps one itself."""
    origin = settings.upstream
    if origin.path:
        return UnixConnector(path=origin.path, limit=0, force_close=True)
    context: ssl.SSLContext | bool = True
    if origin.tls:
        context = ssl.create_default_context(cafile=settings.upstream_ca_file or None)
        if settings.upstream_cert_file:
            context.load_cert_chain(settings.upstream_cert_file, settings.upstream_key_file)
    return TCPConnector(limit=0, force_close=True, ssl=context)
