"""One time limit for many calls, by one timer. Law: every call ends within it.

Calls of one limit end in the order in which they began, so that a timer for the oldest is enough;
``asyncio.timeout`` makes one for each, which is a fifth of what a call of one item costs here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(eq=False, slots=True)
class _Call:
    """``cancelling``: how many had asked for its task's cancellation when it began."""

    task: asyncio.Task[object]
    due: float
    cancelling: int
    expired: bool = False


class Limit:
    """Of one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._calls: dict[_Call, None] = {}  # oldest first
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, awaited: Awaitable[_T]) -> _T:
        """Raises TimeoutError. A cancellation that others asked for meanwhile stays one."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a limited call is made by a task")
        call = _Call(task, loop.time() + self._seconds, task.cancelling())
        self._calls[call] = None
        if self._timer is None:
            self._timer = loop.call_at(call.due, self._expire, loop)
        try:
            return await awaited
        except asyncio.CancelledError:
            if call.expired and task.cancelling() - 1 <= call.cancelling:
                raise TimeoutError from None
            raise
        finally:
            self._calls.pop(call, None)
            if call.expired:
                task.uncancel()

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is due, and come back for the oldest of the rest."""
        self._timer = None
        now = loop.time()
        for call in tuple(self._calls):
            if call.due > now:
                self._timer = loop.call_at(call.due, self._expire, loop)
                return
            call.expired = True
            del self._calls[call]
            call.task.cancel()
