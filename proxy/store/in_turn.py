"""Large commits, one after another: each is written when the one before is answered.

Law: order is kept, and nothing waits for ever: one that ends badly lets all of them go.

A service answers several batches within a millisecond. Were their commits all written at once,
the claims that the clients send next would stand behind all of them, and would then be answered
together, forwarded together and come back together: for as long as there is load, batches would
travel in a group, in which each waits for all. So that a claim stands behind one commit it is this
which waits here, and the batches of a group are as far apart afterwards as the store takes for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

MOST_HELD: Final = 8
"""One more lets the first of them go. Where there is more to do than the store can, what is done
waits no longer for its record than what is new for its claim."""


class InTurn(Generic[_T]):
    """``start`` begins one; True: it is under way, and ``ended`` will be called once."""

    def __init__(self, start: Callable[[_T], bool]) -> None:
        self._start = start
        self._held: deque[_T] = deque()
        self._under_way = 0

    def take(self, one: _T) -> None:
        """Start it, or have it wait for its turn."""
        held = self._held
        if self._under_way:
            held.append(one)
            if len(held) <= MOST_HELD:
                return
            one = held.popleft()
        self._begin(one)

    def ended(self, *, well: bool) -> None:
        """One that was under way is over."""
        self._under_way -= 1
        while self._held and not (well and self._under_way):
            self._begin(self._held.popleft())

    def give_up(self) -> list[_T]:
        """What was not started yet, and will not be."""
        held, self._held = list(self._held), deque()
        return held

    def _begin(self, one: _T) -> None:
        if self._start(one):
            self._under_way += 1
