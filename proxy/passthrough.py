"""Everything that no rule handles, streamed. Law: bytes go through; nothing waits for the whole.

Both ways at once and with back-pressure: the side that reads slowly slows the other, not memory.
A response that the service cut short is cut short for the client too, visibly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from proxy.arrival import Inbound
from proxy.core.upstream import Headers
from proxy.edge.origin import OriginClient, OriginResponse
from proxy.edge.respond import WireResponse
from proxy.edge.wire import OriginError, Upload
from proxy.errors import Problem
from proxy.headers import VIA, end_to_end, first
from proxy.lifecycle import Lifecycle
from proxy.problems import overloaded
from proxy.settings import Settings

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


@dataclass(slots=True)
class Copy:
    """A bounded copy of bytes that go by. ``whole`` is None where they were too many."""

    limit: int
    _pieces: list[bytes] = field(default_factory=list)
    _size: int = 0

    def take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self.limit:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    @property
    def whole(self) -> bytes | None:
        return b"".join(self._pieces) if self._size <= self.limit else None


@dataclass(slots=True)
class Tap:
    """What shadow mode keeps of an exchange. ``ended``: the response came to its end."""

    request: Copy
    response: Copy
    status: int = 0
    coding: str = ""
    ended: bool = False


class Passthrough:
    """Forwards requests to the one service, as they are."""

    def __init__(self, origin: OriginClient, settings: Settings, lifecycle: Lifecycle) -> None:
        self._origin = origin
        self._settings = settings
        self._lifecycle = lifecycle

    async def forward(self, inbound: Inbound, tap: Tap | None = None) -> WireResponse:
        """Forward one request and stream its response. Raises Problem before the first byte of
        a response, and ConnectionError after it."""
        try:
            response = await self._send(inbound, tap)
        except OriginError as error:
            raise problem_of(error) from error
        async with response:
            if response.status == 101:
                raise Problem(502, "upstream-failed", "an upgrade that nobody asked for")
            return await self.relay(inbound, response, tap)

    async def relay(
        self, inbound: Inbound, response: OriginResponse, tap: Tap | None = None
    ) -> WireResponse:
        """Stream a response whose head has come; a short one has come whole, and goes so."""
        length = first(response.headers, "content-length")
        try:
            body = response.at_once() if length is not None else None
        except OriginError as error:
            raise problem_of(error) from error
        out = WireResponse(
            response.status,
            (*end_to_end(response.headers), VIA),
            length=int(length) if length is not None else None,
            close=self._lifecycle.draining or inbound.body.awaits_continue,
            send_timeout=self._settings.send_timeout,
            body=body or b"",
        )
        await out.prepare(inbound.request)
        if body is None:
            await self._stream(inbound, response, out, tap)
        elif tap is not None:
            tap.response.take(body)
        if tap is not None:
            tap.status = response.status
            tap.coding = first(response.headers, "content-encoding") or ""
            tap.ended = True
        await out.write_eof()
        return out

    async def _stream(
        self, inbound: Inbound, response: OriginResponse, out: WireResponse, tap: Tap | None
    ) -> None:
        try:
            while chunk := await response.piece():
                if tap is not None:
                    tap.response.take(chunk)
                await out.write(chunk)
        except OriginError as error:
            transport = inbound.request.transport
            if transport is not None and not out.shows_its_end:
                transport.abort()
            raise ConnectionResetError("the service's response was cut short") from error

    async def _send(self, inbound: Inbound, tap: Tap | None) -> OriginResponse:
        try:
            return await self._send_once(inbound, tap)
        except OriginError as error:
            if not error.stale or inbound.body.exists or inbound.method not in _SAFE:
                raise
        # Nobody sees a second GET; RFC 9110 section 9.2.2 allows it for these methods only.
        return await self._send_once(inbound, tap)

    async def _send_once(self, inbound: Inbound, tap: Tap | None) -> OriginResponse:
        body: bytes | Upload = b""
        if inbound.body.exists:
            chunks = inbound.body.chunks(tap.request.take if tap is not None else None)
            body = Upload(chunks, inbound.body.length)

        async def informational(status: int, headers: Headers) -> None:
            send_informational(inbound, status, headers)

        return await self._origin.send(
            inbound.method,
            inbound.target,
            inbound.onward,
            body,
            head_timeout=self._settings.upstream_head_timeout,
            informational=informational,
        )


def send_informational(inbound: Inbound, status: int, headers: Headers) -> None:
    """Hand a 1xx on (RFC 9110 section 15.2): not to HTTP/1.0, which does not know them."""
    transport = inbound.request.transport
    if transport is None or inbound.request.version < (1, 1):
        return
    lines = [f"HTTP/1.1 {status} ", *(f"{name}: {value}" for name, value in end_to_end(headers))]
    transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))


def problem_of(error: OriginError) -> Problem:
    """502 where the service is not there or answers no HTTP, 503 where we have no room, 504
    where it takes too long."""
    if error.kind == "busy":
        return overloaded("no connection to the service is free")
    if error.kind == "timeout":
        return Problem(504, "upstream-timeout", error.detail)
    if error.kind == "unreachable":
        return Problem(502, "upstream-unreachable", error.detail)
    return Problem(502, "upstream-failed", error.detail)
