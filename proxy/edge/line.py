"""A client connection with a short way past the library's request loop.

Law: whatever the short way does not take reaches the loop as if nothing had happened. The loop
sleeps on ``_waiter`` between requests; a request that the short way takes is answered while it
goes on sleeping. The loop, its task and its request object are two thirds of what it costs to
read and answer a small request.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from proxy.edge.parsed import RequestHead
from proxy.edge.repeated import Boundary, HeadPattern
from proxy.edge.respond import BEHIND

READ_BUFFER: Final = 2**16
_SOON: Final = 1.0
"""Seconds that the short way waits for the rest of a body; the loop has a limit of its own."""

_TURNS: Final = 4
"""Of the event loop, for which a request waits until the library's loop has fallen asleep."""


class Turn(Protocol):
    """One request that is being answered past the library's request loop."""

    def abandon(self) -> None:
        """The client is gone: nobody is to be answered."""


class ShortWay(Protocol):
    """What may answer a request without the library's request loop: ``proxy.direct.Direct``."""

    def wants(self, line: ClientLine, message: RequestHead, *, ended: bool) -> bool:
        """Whether this may be one, by its head; ``ended``: its body has arrived."""

    def begin(self, line: ClientLine, message: RequestHead, body: bytes) -> Turn | None:
        """Begin; ``line.answer`` is called in a later turn of the loop. None: take the long way,
        nothing was done. What it keeps in ``line.remembered`` holds for every request that
        has these bytes for a head, but for the length."""

    def begin_again(self, line: ClientLine, body: bytes) -> Turn | None:
        """The same for a request whose head is the one that ``line.remembered`` is of."""

    def slow_reader(self) -> None:
        """A client did not read its answer in time and is cut off."""


class ClientLine(RequestHandler):
    """``short`` None: there is no short way. ``send_timeout``: seconds for which a client may
    read nothing before it is cut off."""

    __slots__ = (
        "_awaited",
        "_body_timer",
        "_boundary",
        "_early",
        "_kept_back",
        "_pattern",
        "_send_timeout",
        "_short",
        "_turn",
        "remembered",
    )

    def __init__(
        self, server: web.Server, short: ShortWay | None, send_timeout: float, **kwargs: Any
    ) -> None:
        super().__init__(server, **kwargs)
        self._short = short
        self._send_timeout = send_timeout
        self._turn: Turn | None = None
        self.remembered: object = None
        """What the short way keeps from one request of this connection for the next."""
        self._pattern: HeadPattern | None = None  # of the head that this is of
        self._boundary = Boundary()
        self._awaited: StreamReader | None = None  # the body that the short way waits for
        self._body_timer: asyncio.TimerHandle | None = None
        self._early: list[bytes] = []
        self._kept_back: list[bytes] = []

    def head_came(self) -> None:
        """At least one request's head is complete."""

    def part_came(self) -> None:
        """The connection waits for a head, and some bytes have come that do not complete it."""

    def is_between_requests(self) -> bool:
        """The loop waits for a head."""
        return self._waiter is not None and not self._waiter.done() and not self._messages

    def is_idle(self) -> bool:
        """Nothing is under way."""
        asleep = self._waiter is not None and not self._messages
        return asleep and self._turn is None and not self._early

    def data_received(self, data: bytes) -> None:
        if self._turn is not None:
            self._keep_back(data)
            return
        if self._pattern is not None and self._begin_again(self._pattern, data):
            return
        if data and (self._early or self._is_waking()):
            self._early.append(data)
            if len(self._early) == 1:
                self._loop.call_soon(self._no_longer_early, _TURNS)
        else:
            self._take(data)

    def _is_waking(self) -> bool:
        """The loop is neither asleep nor at a request: its first step is to come, or its last one
        behind an answer. What it finds when it would fall asleep is lost to the short way, and
        so is, mostly, every request behind it."""
        return self._waiter is None and not self._messages and not self._request_in_progress

    def _no_longer_early(self, turns: int) -> None:
        """The loop sleeps, or has been waited for long enough."""
        if self._is_waking() and turns:
            self._loop.call_soon(self._no_longer_early, turns - 1)
            return
        data = b"".join(self._early)
        self._early.clear()
        if self.transport is not None:
            self._take(data)

    def _take(self, data: bytes) -> None:
        waiter, before = self._waiter, self._request_count
        can_take = self._awaited is not None or self.is_between_requests()
        if can_take:
            self._waiter = None  # whether the loop is woken is decided below
        self._boundary.feed(data)
        super().data_received(data)
        if can_take:
            self._waiter = waiter
        if self._request_count != before:
            self.head_came()
            if can_take:
                self._look(data)
        elif self._awaited is not None:
            self._go_on(self._awaited)
        elif data and self.is_between_requests():
            self.part_came()

    def _begin_again(self, pattern: HeadPattern, data: bytes) -> bool:
        """Whether this is the request before with another body, which was begun. The parser has
        nothing of it."""
        short = self._short
        if short is None or not self._boundary.is_reached() or self._close or self._force_close:
            return False
        if self._awaited is not None or self._early or not self.is_between_requests():
            return False
        body = pattern.body(data)
        if body is not None:
            self._turn = short.begin_again(self, body)
        if self._turn is None:
            return False
        self._request_in_progress = True
        return True

    def _ended(self, message: object, payload: StreamReader) -> None:
        """All of a message has come."""
        length = 0
        if payload is not EMPTY_PAYLOAD:
            headers = message.headers if isinstance(message, RawRequestMessage) else {}
            length = int(headers.get("Content-Length", "-1"))  # of digits, says the parser
        self._boundary.ended(length)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_body_timer()
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.abandon()
        super().connection_lost(exc)

    def _look(self, data: bytes) -> None:
        """Requests have come, or the rest of them with ``data``: is there one, alone, that the
        short way wants?"""
        message, payload = self._messages[0]
        short, ended = self._short, payload.is_eof()
        if ended:
            self._ended(message, payload)
        if (
            short is None
            or payload is EMPTY_PAYLOAD
            or len(self._messages) > 1
            or not isinstance(message, RawRequestMessage)
            or not short.wants(self, message, ended=ended)
        ):
            self._wake()
        elif ended:
            self._begin(short, data)
        else:
            self._awaited = payload
            self._body_timer = self._loop.call_later(_SOON, self._wake)

    def _go_on(self, body: StreamReader) -> None:
        """More of the awaited body has come."""
        if self._short is None or body.exception() is not None:
            self._wake()
        elif body.is_eof():
            self._ended(*self._messages[0])
            self._begin(self._short, b"")

    def _begin(self, short: ShortWay, data: bytes) -> None:
        self._awaited = None
        self._stop_body_timer()
        message, payload = self._messages[0]
        assert isinstance(message, RawRequestMessage)  # noqa: S101 - it was looked at
        # Only looked at, for the loop may need it yet; and reading it would have the parser and
        # the transport resume what is not paused, a twentieth of what a small batch costs.
        pieces = payload._buffer  # noqa: SLF001
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        known = self.remembered
        self._turn = short.begin(self, message, body)
        if self.remembered is not known:
            self._pattern = None
        if self._turn is None:
            self._wake()
            return
        if (
            self.remembered is known is not None
            and self._pattern is None
            and self._boundary.is_reached()
        ):
            self._pattern = HeadPattern.of(data)  # it came twice: it may well come again
        self._messages.popleft()
        self._request_in_progress = True
        if self._parser is not None:
            self._parser.message_consumed()

    def _wake(self) -> None:
        """Leave what has come to the library's loop."""
        self._awaited = None
        self._stop_body_timer()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def answer(self, data: bytes, *, close: bool) -> None:
        """The turn is over: write its answer, and go on with what came meanwhile."""
        self._turn = None
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)  # who shuts down waits for the answer
        if self.transport is None:
            return
        self.transport.write(data)
        if close or self._close:
            self.force_close()
        elif self.transport.get_write_buffer_size() > BEHIND:
            self._turn = _SlowReader(self, self._send_timeout)
        else:
            self.turn_over()

    def turn_over(self) -> None:
        """The client has its answer: serve the next request."""
        self._turn = None
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
        if self._reading_paused and self.transport is not None:
            self.resume_reading()  # by a large body; what the parser holds back comes first
        if self._kept_back and self._turn is None:
            data = b"".join(self._kept_back)
            self._kept_back.clear()
            if self.transport is not None:
                self.transport.resume_reading()
            self.data_received(data)

    async def drained(self) -> None:
        """Return when the client has read what was written, or is gone."""
        await self._drain_helper()

    def cut_off(self) -> None:
        """The client reads nothing."""
        if self._short is not None:
            self._short.slow_reader()
        if self.transport is not None:
            self.transport.abort()

    def _keep_back(self, data: bytes) -> None:
        """The client sends on while its batch is under way: no more than this is taken."""
        if not self._kept_back and self.transport is not None:
            self.transport.pause_reading()
        self._kept_back.append(data)

    def _process_keepalive(self) -> None:
        if self._turn is None:
            super()._process_keepalive()
        else:  # it is not idle: look again
            self._keepalive_handle = self._loop.call_later(
                self._keepalive_timeout, self._process_keepalive
            )

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None


class _SlowReader:
    """The client has not read its answer yet: it is waited for, and for so long no request."""

    def __init__(self, line: ClientLine, seconds: float) -> None:
        self._task = asyncio.get_running_loop().create_task(self._wait(line, seconds))

    def abandon(self) -> None:
        self._task.cancel()

    @staticmethod
    async def _wait(line: ClientLine, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await line.drained()
        except TimeoutError:
            line.cut_off()
        else:
            line.turn_over()


def target_of(message: RequestHead) -> str:
    """The request target as it was sent, one character for each byte."""
    path = message.path
    return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("latin-1")
