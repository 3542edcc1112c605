"""One request to the service that no task waits for. Law: told once, whatever becomes of it.

Mostly the response comes whole, and is taken as it comes; a task reads what does not.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from proxy.edge.known import Response
from proxy.edge.pool import Line
from proxy.edge.wire import Clock, too_large


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
        response = None if self._clock.expired else protocol.take_whole()
        if response is not None:
            self.take(response)
        else:
            protocol.watch = None
            self._task = asyncio.get_running_loop().create_task(self._read())

    def take(self, response: Response) -> None:
        """The whole response has come. What follows from it goes first: somebody waits for that."""
        self._line.protocol.watch = None
        try:
            if len(response[2]) > self._limit:
                self._to.set_exception(too_large())
            else:
                self._to.set_result(response)
        finally:
            self._origin.end(self._line, self._clock, whole=True)

    async def _read(self) -> None:
        try:
            response = await self._origin.read(self._line, self._clock, self._limit)
        except BaseException as error:
            self._to.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            self._to.set_result(response)
