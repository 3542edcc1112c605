"""A seeded event loop in virtual time, on which several processes run and can be killed.

Law: nothing here depends on anything but the seed. Time jumps to the next timer when nothing is
ready. Of the callbacks that are ready at once any may run next: each stands for a message from a
socket, and sockets promise no order among each other.

A process is a name in a context variable, which its tasks inherit. A killed process never runs
again: no ``finally``, no ``except``, as after kill -9. What it had sent is on its way still, since
whatever carries it runs in ``NOWHERE``.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
PROCESS: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("process", default="")
NOWHERE: Final = contextvars.Context()
"""The context of what survives any process: messages on their way, the service, the store."""


class StuckError(Exception):
    """Everything waits and nothing will ever happen."""


class SimLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as the driver uses; the rest raises NotImplementedError."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._now = 1000.0
        self._ready: list[tuple[str, asyncio.Handle]] = []
        self._timers: list[tuple[float, int, str, asyncio.TimerHandle]] = []
        self._serial = itertools.count()
        self._tasks: list[tuple[str, asyncio.Task[Any]]] = []
        self.steps = 0
        self.at_step: dict[int, Callable[[], object]] = {}
        """What happens before the step of this number: any await of anyone can be hit."""
        self.dead: set[str] = set()
        self._paused: dict[str, list[tuple[str, asyncio.Handle]]] = {}
        self.errors: list[str] = []

    # ---- what asyncio asks of a loop -----------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append((_process(context), handle))
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._serial), _process(context), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are passed over when they come up."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append((_process(context), task))
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # ---- what a simulation asks ----------------------------------------------------------------

    def start(self, process: str, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of ``process``."""
        context = contextvars.Context()
        context.run(PROCESS.set, process)
        return self.create_task(coro, context=context)

    def kill(self, process: str) -> None:
        """Nothing of it runs any more."""
        self.dead.add(process)

    def pause(self, process: str, seconds: float) -> None:
        """It stands still, as under SIGSTOP or a long collection, and knows nothing of it."""
        if process not in self._paused:
            self._paused[process] = []
            self.call_later(seconds, self._resume, process, context=NOWHERE)

    def stands_still(self, process: str) -> bool:
        return process in self._paused

    def _resume(self, process: str) -> None:
        self._ready += self._paused.pop(process)

    def left(self) -> list[asyncio.Task[Any]]:
        """Tasks that have not ended, but for those of dead processes."""
        return [t for process, t in self._tasks if not t.done() and process not in self.dead]

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until ``main`` ends, then until nothing is ready. Raises StuckError."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            task = self.start("", main)
            while not task.done():
                self._step(jump=True)
            while self._ready:
                self._step(jump=False)
            return task.result()
        finally:
            self._bury()
            asyncio._set_running_loop(before)

    def _step(self, *, jump: bool) -> None:
        timers, ready, now = self._timers, self._ready, self._now
        if not ready:
            while timers and timers[0][3].cancelled():
                heapq.heappop(timers)
            if not timers:
                raise StuckError
            if jump:
                self._now = now = max(now, timers[0][0])
        while timers and timers[0][0] <= now:
            _, _, process, timer = heapq.heappop(timers)
            ready.append((process, timer))
        self.steps += 1
        if self.at_step and (event := self.at_step.pop(self.steps, None)):
            event()
        if not ready:
            return
        if len(ready) > 1:
            at = int(self._rng.random() * len(ready))
            ready[at], ready[-1] = ready[-1], ready[at]
        process, handle = ready.pop()
        if process in self._paused:
            self._paused[process].append((process, handle))
        elif process not in self.dead and not handle.cancelled():
            handle._run()

    def _bury(self) -> None:
        """Let go of unfinished tasks without letting any of their code count."""
        for _, task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coro: Any = task.get_coro()
                with contextlib.suppress(RuntimeError):
                    coro.close()
        self._ready.clear()
        self._paused.clear()
        self._timers.clear()


def _process(context: contextvars.Context | None) -> str:
    return PROCESS.get() if context is None else context.get(PROCESS, "")
