"""One request's work as its caller sees it. Law: who waits is told once, or has gone away."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Protocol

from proxy.errors import Problem
from proxy.exchange import Answer
from proxy.limit import Limit
from proxy.observe import Observer
from proxy.run import Run
from proxy.stitch import draft, report_refusal, stitch

log = logging.getLogger("proxy.flow")


class Asker(Protocol):
    """Who waits for an answer."""

    def foresee(self, answer: Answer) -> None:
        """This one will come, if nothing changes: what it takes can be made ready."""

    def told(self, answer: Answer | BaseException) -> None:
        """The answer, the Problem in its place, or what went wrong inside."""


class Underway:
    """One request's work, and who is to be told of it: once, at its end or at the deadline."""

    __slots__ = ("_asker", "_deadline", "_observer", "over", "run")

    def __init__(self, run: Run, observer: Observer, asker: Asker, deadline: Limit) -> None:
        self.run = run
        self.over = False
        self._deadline = deadline
        self._observer = observer
        self._asker: Asker | None = asker
        deadline.begin(self)

    def abandon(self) -> None:
        """The client is gone. The work goes on, to be counted and logged when it ends."""
        self._asker = None
        self._deadline.end(self)

    def expire(self) -> None:
        """The rule's deadline is there."""
        self.answer()

    def foresee(self) -> None:
        """Make the answer ready while what it tells of is recorded."""
        if self._asker is None:
            return
        with suppress(Exception):  # it is raised again where the answer is made
            answer = draft(self.run)
            if answer is not None:
                self._asker.foresee(answer)

    def answer(self) -> None:
        """Answer with what is decided by now."""
        if self.over:
            return
        try:
            answer, report = stitch(self.run)
        except Exception as error:
            log.exception("request %s failed", self.run.exchange.request_id)
            self._tell(error)
        else:
            self._tell(answer)  # first, for it is waited for
            self._observer.batch(report())

    def refuse(self, problem: Problem) -> None:
        if not self.over:
            report_refusal(self.run, self._observer, problem.status)
            self._tell(problem)

    def fail(self, error: BaseException) -> None:
        if not self.over:
            self._tell(error)

    def _tell(self, answer: Answer | BaseException) -> None:
        self.over = True
        self._deadline.end(self)
        # Whom it tells mostly holds this very object: a cycle would leave all that the request
        # was made of to the collector, a twentieth of what a batch costs.
        asker, self._asker = self._asker, None
        if asker is not None:
            asker.told(answer)
