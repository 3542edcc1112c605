"""Wait for what others hold. Law: no connection and no claim is held while waiting.

A holder in this process wakes its waiters when it settles. Holders elsewhere are polled for: all
waiters of the process that are due in the same tick wake together, so that their claims share one
store call.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable, Sequence
from typing import Final

TICK: Final = 0.025
LONGEST: Final = 0.25


class Waiting:
    """Who holds what in this process, and who waits for it."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311 jitter is no secret
        self._held: dict[bytes, asyncio.Future[None] | None] = {}

    def hold(self, keys: Sequence[bytes]) -> None:
        """These keys are claimed by a request of this process."""
        held = self._held
        for key in keys:
            held.setdefault(key, None)

    def free(self, keys: Iterable[bytes]) -> None:
        """They are not any more: settled, or given up."""
        for key in keys:
            future = self._held.pop(key, None)
            if future is not None and not future.done():
                future.set_result(None)

    async def turn(self, keys: Sequence[bytes], attempt: int, until: float) -> None:
        """Return when it makes sense to claim ``keys`` again, or at ``until`` (loop time).

        ``attempt`` counts from 0; the pause doubles from 25 to 250 ms, with jitter.
        """
        loop = asyncio.get_running_loop()
        local = [self._future(key) for key in keys if key in self._held]
        wake = until if len(local) == len(keys) else min(until, self._next_poll(attempt))
        pause = max(0.0, wake - loop.time())
        if local:
            await asyncio.wait(local, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(pause)

    def _future(self, key: bytes) -> asyncio.Future[None]:
        future = self._held[key]
        if future is None:
            future = self._held[key] = asyncio.get_running_loop().create_future()
        return future

    def _next_poll(self, attempt: int) -> float:
        pause = min(LONGEST, TICK * float(1 << min(attempt, 8))) * self._rng.uniform(0.5, 1.0)
        due = asyncio.get_running_loop().time() + pause
        return math.ceil(due / TICK) * TICK
