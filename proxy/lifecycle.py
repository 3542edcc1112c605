"""Whether this process serves, drains or is idle. Law: one truth for the listeners and /drain.

No socket, no signal and no store here: the listeners tell it what is under way, the signal
handler and the admin port tell it to drain, and everyone asks it. ::

    serving ──begin_drain──> draining ──stop──> stopping (for good)
       ^                        │
       └── undo_after seconds ──┘      a drain that no SIGTERM follows
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Lifecycle:
    """``ready`` is set by whoever opens the listener; readiness is ``ready and not draining``.
    ``on_drain`` is told of a ``drain``: with several workers one is asked and all must do it."""

    def __init__(self, on_drain: Callable[[], None] | None = None) -> None:
        self.ready = False
        self._on_drain = on_drain
        self.in_flight = 0
        self._begun = 0
        self._draining = False
        self._stopping = False
        self._waiting: list[asyncio.Future[None]] = []  # for nothing to be under way
        self._undo: asyncio.TimerHandle | None = None

    @property
    def draining(self) -> bool:
        """New answers carry ``Connection: close`` and readiness fails."""
        return self._draining

    @property
    def serving(self) -> bool:
        """What /readyz answers, as far as this object knows."""
        return self.ready and not self._draining

    def enter(self) -> None:
        """A request on the data listener, tunnels apart, is under way until ``leave``."""
        self.in_flight += 1
        self._begun += 1

    def leave(self) -> None:
        self.in_flight -= 1
        if not self.in_flight and self._waiting:
            waiting, self._waiting = self._waiting, []
            for idle in waiting:
                if not idle.done():
                    idle.set_result(None)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Between ``enter`` and ``leave``."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def begin_drain(self, undo_after: float | None = None) -> None:
        """Stop being ready. With ``undo_after``, serve again unless ``stop`` comes first."""
        self._draining = True
        self._cancel_undo()
        if undo_after is not None and not self._stopping:
            loop = asyncio.get_running_loop()
            self._undo = loop.call_later(undo_after, self._serve_again)

    def stop(self) -> None:
        """Drain for good: the process ends."""
        self._stopping = True
        self.begin_drain()

    async def wait_idle(self, wait: float) -> bool:
        """Whether nothing was under way before ``wait`` seconds had passed."""
        if not self.in_flight:
            return True
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(idle)
        try:
            async with asyncio.timeout(wait):
                await idle
        except TimeoutError:
            return False
        return True

    async def drain(self, wait: float, undo_after: float | None = None, quiet: float = 0.0) -> bool:
        """What ``GET /drain`` does: whether nothing was under way, and nothing came for ``quiet``
        seconds, before the wait was over. New requests come for a while after a pod was told to
        end, until every node has heard of it; a moment without one says nothing."""
        if self._on_drain is not None:
            self._on_drain()
        self.begin_drain(undo_after)
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        while await self.wait_idle(end - loop.time()):
            begun = self._begun
            await asyncio.sleep(max(0.0, min(quiet, end - loop.time())))
            if self._begun == begun:
                return True
        return False

    def _serve_again(self) -> None:
        self._undo = None
        self._draining = False

    def _cancel_undo(self) -> None:
        if self._undo is not None:
            self._undo.cancel()
            self._undo = None
