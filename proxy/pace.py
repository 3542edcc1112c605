"""How many isolation calls a second one process makes to a rule's service. Law: no task, no lock.

A turn is a point in time given out in order; who gets one waits until then, or does not take it
where its deadline is sooner.
"""

from __future__ import annotations

import asyncio


class Pace:
    """Turns at most ``per_second`` a second, for each rule by itself."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    async def turn(self, rule: str, per_second: float, deadline: float) -> bool:
        """Wait for a turn. False: it would come after ``deadline`` (loop time); none is taken."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        # A tenth of a second's turns may be taken at once, so that one isolation is not slowed.
        burst = 0.1
        due = max(self._next.get(rule, 0.0), now - burst)
        if due >= deadline:
            return False
        self._next[rule] = due + 1.0 / per_second
        if due > now:
            await asyncio.sleep(due - now)
        return True
