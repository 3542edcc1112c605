"""The circuit breaker. Law: no clock of its own; ``now`` is passed in.

After ``FAILURES`` outages one behind the other it opens: calls fail at once, so that an outage
does not cost every request a timeout. After ``PAUSE`` seconds one call goes through as a trial; its
success closes the breaker, its failure opens it for longer, up to ``PAUSE_MAX``.
"""

from __future__ import annotations

from typing import Final

FAILURES: Final = 3
PAUSE: Final = 0.5
PAUSE_MAX: Final = 5.0


class Breaker:
    def __init__(self) -> None:
        self._failures = 0
        self._pause = PAUSE
        self._closed_again = 0.0
        self._trial = False

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES

    def admit(self, now: float) -> bool:
        """May a call go through? Where it is open, one may, as the trial."""
        if not self.is_open:
            return True
        if self._trial or now < self._closed_again:
            return False
        self._trial = True
        return True

    def succeeded(self) -> None:
        self._failures = 0
        self._pause = PAUSE
        self._trial = False

    def failed(self, now: float) -> None:
        self._failures += 1
        if self.is_open:
            self._closed_again = now + self._pause
            if self._trial:
                self._pause = min(2 * self._pause, PAUSE_MAX)
        self._trial = False

    def abandoned(self) -> None:
        """The caller went away: that says nothing of the store."""
        self._trial = False
