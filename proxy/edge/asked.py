"""One request to the service that no task waits for. Law: told once, whatever becomes of it.

Mostly the response comes whole, and is taken as it comes; a task reads what does not.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from proxy.core.upstream import Headers
from proxy.edge.pool import Line
from proxy.edge.wire import Clock
from proxy.headers import from_raw

Response = tuple[int, Headers, bytes]


class ToldOrigin(Protocol):
    """Who is told of a response, or of the OriginError in its place."""

    def set_result(self, result: Response, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


class Exchanges(Protocol):
    """``proxy.edge.origin.OriginClient``, as it is used here."""

    async def read(self, line: Line, clock: Clock, limit: int) -> Response: ...

    def end(self, line: Line, clock: Clock, *, whole: bool) -> None: ...


class Asked:
    """``limit``: bytes of the response's body."""

    __slots__ = ("_clock", "_limit", "_line", "_origin", "_task", "_to")

    def __init__(
        self, origin: Exchanges, line: Line, clock: Clock, limit: int, to: ToldOrigin
    ) -> None:
        self._origin = origin
        self._line = line
        self._clock = clock
        self._limit = limit
        self._to = to
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Something has come, or has gone wrong."""
        protocol = self._line.protocol
        if protocol.is_waiting():
            return
        protocol.watch = None
        whole = None if self._clock.expired else protocol.take_whole(self._limit)
        if whole is None:
            self._task = asyncio.get_running_loop().create_task(self._read())
            return
        self._origin.end(self._line, self._clock, whole=True)
        message, body = whole
        self._to.set_result((message.code, from_raw(message.raw_headers), body))

    async def _read(self) -> None:
        try:
            response = await self._origin.read(self._line, self._clock, self._limit)
        except BaseException as error:
            self._to.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            self._to.set_result(response)
