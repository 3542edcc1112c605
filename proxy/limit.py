"""One time limit for many calls, by one timer. Law: every call ends within it.

Calls of one limit end in the order in which they began, so that a timer for the oldest is enough;
``asyncio.timeout`` makes one for each, which is a fifth of what a call of one item costs here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

_T = TypeVar("_T")
_SPANS: Final = 256


class Limited(Protocol):
    """One call."""

    def expire(self) -> None:
        """It has taken too long."""


@dataclass(eq=False, slots=True)
class _Awaited:
    """``cancelling``: how many had asked for its task's cancellation when it began."""

    task: asyncio.Task[object]
    cancelling: int
    expired: bool = False

    def expire(self) -> None:
        self.expired = True
        self.task.cancel()


class Limit:
    """Of one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: dict[Limited, float] = {}  # when each is due, oldest first
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, awaited: Awaitable[_T]) -> _T:
        """Raises TimeoutError. A cancellation that others asked for meanwhile stays one."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a limited call is made by a task")
        call = _Awaited(task, task.cancelling())
        self.begin(call)
        try:
            return await awaited
        except asyncio.CancelledError:
            if call.expired and task.cancelling() - 1 <= call.cancelling:
                raise TimeoutError from None
            raise
        finally:
            self.end(call)
            if call.expired:
                task.uncancel()

    def begin(self, call: Limited) -> None:
        """``call.expire`` is called in so many seconds, unless it ends before."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        self._calls[call] = due = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._expire, loop)

    def end(self, call: Limited) -> None:
        self._calls.pop(call, None)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what is due, and come back for the oldest of the rest."""
        self._timer = None
        now = loop.time()
        for call, due in tuple(self._calls.items()):
            if due > now:
                self._timer = loop.call_at(due, self._expire, loop)
                return
            if self._calls.pop(call, None) is None:
                continue  # it ended with one before it
            try:
                call.expire()
            except Exception as error:  # noqa: BLE001 - the others' time is over as well
                loop.call_exception_handler({"message": "a call expired", "exception": error})


class Limits:
    """A limit for each span that there is: the rules name few."""

    def __init__(self) -> None:
        self._by_seconds: dict[float, Limit] = {}

    def of(self, seconds: float) -> Limit:
        limit = self._by_seconds.get(seconds)
        if limit is None:
            if len(self._by_seconds) >= _SPANS:
                self._by_seconds.clear()  # who uses one has it; rules were reloaded very often
            limit = self._by_seconds[seconds] = Limit(seconds)
        return limit
