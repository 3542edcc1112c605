"""A virtual clock: an event loop whose time jumps to the next timer when nothing is ready.

For code that does no real I/O. A loop that has neither work nor timers is stuck for ever, which
is an error and not a wait.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class StuckError(Exception):
    """Everything waits and nothing will ever happen."""


class _NoWaiting(selectors.SelectSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise StuckError
            self.loop.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at 1,000 s and moves only by waiting."""

    def __init__(self) -> None:
        selector = _NoWaiting()
        selector.loop = self
        self._now = 1000.0
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


def virtual(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    """Run an async test under the virtual clock; tasks that it leaves behind fail it."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def checked() -> None:
            await test(*args, **kwargs)
            for _ in range(3):
                await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(checked())

    return run
