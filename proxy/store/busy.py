"""For how much of the time a server has something to do, as one of its clients sees it."""

from __future__ import annotations


class Busy:
    """Told of calls as they ``begin`` and ``end``, in seconds of one clock. The share is taken over
    ``window`` seconds or more."""

    __slots__ = ("_began", "_since", "_spent", "_window", "calls", "share")

    def __init__(self, now: float, window: float) -> None:
        self.calls = 0
        """Under way."""
        self.share = 0.0
        """0 to 1, of the last window, which ends when a call begins."""
        self._window = window
        self._began = now
        self._since = now
        self._spent = 0.0

    def begin(self, now: float) -> None:
        self._count(now)
        self.calls += 1
        passed = now - self._began
        if passed >= self._window:
            self.share = self._spent / passed
            self._began, self._spent = now, 0.0

    def end(self, now: float) -> None:
        self._count(now)
        self.calls -= 1

    def _count(self, now: float) -> None:
        if self.calls:
            self._spent += now - self._since
        self._since = now
