"""One request's work as its caller sees it. Law: who waits is told once, or has gone away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxy.errors import Problem
from proxy.exchange import Answer
from proxy.observe import Observer
from proxy.run import Run
from proxy.stitch import report_refusal, stitch

log = logging.getLogger("proxy.flow")

Told = Callable[[Answer | BaseException], None]
"""Takes the answer, the Problem in its place, or what went wrong inside."""


class Underway:
    """One request's work, and who is to be told of it: once, at its end or at the deadline."""

    __slots__ = ("_observer", "_told", "over", "run", "timer")

    def __init__(self, run: Run, observer: Observer, told: Told) -> None:
        self.run = run
        self.timer: asyncio.TimerHandle | None = None
        self.over = False
        self._observer = observer
        self._told: Told | None = told

    def abandon(self) -> None:
        """The client is gone. The work goes on, to be counted and logged when it ends."""
        self._told = None
        self._stop_timer()

    def answer(self) -> None:
        """Answer with what is decided by now."""
        if self.over:
            return
        try:
            answer = stitch(self.run, self._observer)
        except Exception as error:
            log.exception("request %s failed", self.run.exchange.request_id)
            self._tell(error)
        else:
            self._tell(answer)

    def refuse(self, problem: Problem) -> None:
        if not self.over:
            report_refusal(self.run, self._observer, problem.status)
            self._tell(problem)

    def fail(self, error: BaseException) -> None:
        if not self.over:
            self._tell(error)

    def _tell(self, answer: Answer | BaseException) -> None:
        self.over = True
        self._stop_timer()
        # Whom it tells mostly holds this very object: a cycle would leave all that the request
        # was made of to the collector, a twentieth of what a batch costs.
        told, self._told = self._told, None
        if told is not None:
            told(answer)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
