"""aiohttp's low-level server, stricter. Law: what is not clearly HTTP/1.x never meets a handler.

Added to what its C parser refuses: a cap on connections, a deadline for each request's head,
HTTP/0.9 and Transfer-Encoding in HTTP/1.0, fixed bodies for errors (the library's echo the
input), and log lines for them that an attacker cannot turn into a flood. The pure-Python parser
is refused at start: most of the library's request smuggling defects were there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpRequestParser, HttpVersion10, RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from proxy.edge.line import READ_BUFFER, ClientLine, ShortWay, target_of
from proxy.edge.respond import WireResponse, whole
from proxy.errors import ConfigError, Problem
from proxy.observe import Observer
from proxy.problems import internal, overloaded, render
from proxy.settings import Settings

_LOG: Final = logging.getLogger(__name__)
_LINGER: Final = 2.0
"""Seconds that the rest of a refused body is read and thrown away, or closing would reset the
connection and take the answer with it."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def require_c_parser() -> None:
    """Raises ConfigError where aiohttp fell back to its parser in Python."""
    if not HttpRequestParser.__module__.endswith("_http_parser"):
        raise ConfigError(
            "aiohttp runs on its pure-Python HTTP parser (AIOHTTP_NO_EXTENSIONS, or a build "
            "without the extension); this proxy needs the C parser"
        )


class EdgeServer(web.Server):
    """The protocol factory for ``loop.create_server``. ``short``: answers what it wants to."""

    def __init__(
        self,
        handler: Handler,
        settings: Settings,
        observer: Observer,
        short: ShortWay | None = None,
    ) -> None:
        require_c_parser()
        super().__init__(
            handler,
            request_factory=_request,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=settings.keepalive_timeout,
            max_line_size=settings.max_header_size,
            max_field_size=settings.max_header_size,
            max_headers=settings.max_headers,
            read_bufsize=READ_BUFFER,
            lingering_time=_LINGER,
        )
        self.settings = settings
        self.observer = observer
        self.short = short

    def __call__(self) -> EdgeProtocol:
        return EdgeProtocol(self, loop=self._loop, **self._kwargs)

    def close_idle(self) -> None:
        """Close the connections on which nothing is under way, and no others: the library's own
        ``pre_shutdown`` would also stop reading the bodies of requests under way."""
        for connection in self.connections:
            if isinstance(connection, EdgeProtocol):
                connection.close_if_idle()


class EdgeProtocol(ClientLine):
    """One client connection."""

    __slots__ = ("_edge", "_head_timer")

    def __init__(self, server: EdgeServer, **kwargs: Any) -> None:
        super().__init__(server, server.short, server.settings.send_timeout, **kwargs)
        self._edge = server
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._edge.connections) > self._edge.settings.max_connections:
            self._refuse(overloaded("too many connections"), "connections")

    def head_came(self) -> None:
        self._stop_head_timer()

    def part_came(self) -> None:
        if self._head_timer is None:
            limit = self._edge.settings.header_timeout
            self._head_timer = self._loop.call_later(limit, self._head_too_slow)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - what the library would show to the client
    ) -> web.StreamResponse:
        """A problem document, whatever went wrong; the connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun")
        if status >= 500:
            _LOG.error("a request failed inside the proxy", exc_info=exc)
            return self._answer(internal())
        if isinstance(exc, LineTooLong):
            self._edge.observer.limit("header_size")
            return self._answer(Problem(431, "header-too-large", "a line is too long"))
        if "Too many headers" in str(exc):
            self._edge.observer.limit("headers")
            return self._answer(Problem(431, "header-too-large", "there are too many lines"))
        self._edge.observer.limit("bad_request")
        return self._answer(Problem(400, "bad-request", "the request could not be parsed"))

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ARG002 - may name the request
        _LOG.error("a connection failed inside the proxy", exc_info=kw.get("exc_info"))

    def close_if_idle(self) -> None:
        if self.is_idle():
            self.force_close()

    def _head_too_slow(self) -> None:
        self._head_timer = None
        if self.is_between_requests():
            self._refuse(
                Problem(408, "header-timeout", "the head did not end in time"), "header_timeout"
            )

    def _refuse(self, problem: Problem, limit: str) -> None:
        """Answer without a request, and close."""
        self._edge.observer.limit(limit)
        status, headers, body = render(problem)
        lines = [f"HTTP/1.1 {status} Refused", *(f"{n}: {v}" for n, v in headers)]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        if self.transport is not None:
            self.transport.write("\r\n".join(lines).encode("latin-1") + body)
        self.force_close()

    def _answer(self, problem: Problem) -> WireResponse:
        limit = self._edge.settings.send_timeout
        return whole(*render(problem), close=True, send_timeout=limit)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class EdgeRequest(web.BaseRequest):
    """``spoken``: the version that the client wrote."""

    ATTRS = web.BaseRequest.ATTRS | {"spoken"}
    spoken: tuple[int, ...] = (1, 1)

    @property
    def target(self) -> str:
        """The request target as it was sent, one character for each byte."""
        return target_of(self._message)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """The library takes HTTP/0.9 and would answer in it: the answer, a refusal, is HTTP/1.0."""
    spoken = message.version
    if spoken < HttpVersion10:
        message = message._replace(version=HttpVersion10)
    request = EdgeRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())
    request.spoken = (spoken.major, spoken.minor)
    return request
