"""The server's clock, as far as it is known here. Law: nothing is taken over from a connection
before: it may have led to another server.

A script reads the clock where it runs. Who writes a record by a plain command has to know the time
before, and knows it between two bounds: the server told it at some moment between question and
answer, and goes on since as our own monotonic clock does.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from proxy.store.pipe import Pipe, pack

_TIME: Final = pack(b"TIME")
_FRESH: Final = 1.0
"""Seconds after which it is asked for again, beside what is asked anyway."""
_STALE: Final = 5.0
"""Seconds after which it is not gone by: a clock may be set."""
_SLOW: Final = 0.1
"""Seconds that an answer may take to be gone by."""


class StoreClock:
    """Of the server at the other end of ``pipe``, in ms since the epoch."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._told = 0  # between these two of our seconds
        self._asked = 0.0
        self._heard = 0.0
        self._asking = False
        self._ask()

    def is_known(self) -> bool:
        age = self._loop.time() - self._asked
        if age > _FRESH:
            self._ask()
        return self._told > 0 and age < _STALE and self._heard - self._asked < _SLOW

    def latest(self) -> int:
        """It is no later there now. (Each of the two roundings cuts off less than one.)"""
        return self._told + int((self._loop.time() - self._asked) * 1000) + 2

    def earliest(self) -> int:
        """It is no earlier there now."""
        return self._told + int((self._loop.time() - self._heard) * 1000)

    def _ask(self) -> None:
        if not self._asking and not self.pipe.closed:
            self._asking = True
            self.pipe.send_for(_TIME, _Question(self, self._loop.time()))

    def told(self, reply: Any, asked: float) -> None:
        self._asking = False
        if isinstance(reply, list):  # else it may not be asked
            self._told = int(reply[0]) * 1000 + int(reply[1]) // 1000
            self._asked, self._heard = asked, self._loop.time()


class _Question:
    __slots__ = ("_asked", "_clock")

    def __init__(self, clock: StoreClock, asked: float) -> None:
        self._clock = clock
        self._asked = asked

    def done(self) -> bool:
        return False

    def set_result(self, result: object, /) -> None:
        self._clock.told(result, self._asked)

    def set_exception(self, exception: BaseException, /) -> None:
        """The connection is lost, and its clock with it."""
