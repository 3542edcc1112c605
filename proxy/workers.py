"""Several serving processes on the same ports. Law: the parent serves nothing and holds no state.

The kernel spreads connections over the workers (SO_REUSEPORT). The parent starts them, starts one
again that died, hands signals on, and ends when they have ended. A worker that is told to drain
by ``GET /drain`` tells the parent with SIGUSR1, and it tells them all.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from proxy.errors import ConfigError
from proxy.serve import Worker

_LOG: Final = logging.getLogger(__name__)
_HANDED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_PAUSE: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1
USAGE: Final = 2

Serve = Callable[[Worker], int]


class Supervisor:
    """Runs ``count`` workers until told to stop. ``serve`` is what each of them runs."""

    def __init__(self, count: int, serve: Serve) -> None:
        self._count = count
        self._serve = serve
        self._workers: dict[int, int] = {}
        self._started: dict[int, float] = {}
        self._stopping = False

    def run(self) -> int:
        """The exit code: the worst of the workers'."""
        with tempfile.TemporaryDirectory(prefix="idemproxy-metrics-") as folder:
            for handed in _HANDED_ON:
                signal.signal(handed, self._hand_on)
            for number in range(self._count):
                self._start(number, folder)
            return self._watch(folder)

    def _watch(self, folder: str) -> int:
        worst = 0
        while self._workers:
            pid, status = os.wait()
            number = self._workers.pop(pid, None)
            if number is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            if self._stopping or code == USAGE:
                # What one of them cannot be configured with, none of them can.
                worst = max(worst, _judged(code))
                self._stop()
                continue
            _LOG.error(
                "a worker ended; it is started again", extra={"worker": number, "code": code}
            )
            time.sleep(max(0.0, self._started[number] + _PAUSE - time.monotonic()))
            self._start(number, folder)
        return worst

    def _start(self, number: int, folder: str) -> None:
        self._started[number] = time.monotonic()
        # Blocked until the child can handle them (``serve`` unblocks the last two): what arrives
        # before would end it, or be handled by the parent's own handlers in the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
        pid = os.fork()
        if pid:
            self._workers[pid] = number
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
            return
        code = 1
        try:
            for handed in _HANDED_ON:
                signal.signal(handed, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
            _end_with_parent()
            code = self._serve(Worker(number, folder))
        except ConfigError as error:
            _LOG.critical("cannot serve: %s", error)
            code = USAGE
        finally:
            os._exit(code)

    def _stop(self) -> None:
        self._stopping = True
        self._tell(signal.SIGTERM)

    def _hand_on(self, number: int, _: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop()
        else:
            self._tell(signal.Signals(number))

    def _tell(self, number: signal.Signals) -> None:
        for pid in list(self._workers):
            os.kill(pid, number)


def _judged(code: int) -> int:
    """A worker that our SIGTERM met before it could handle one had nothing under way."""
    if code == -signal.SIGTERM:
        return 0
    return 1 if code < 0 else code


def _end_with_parent() -> None:
    """Workers of a parent that was killed must not serve on, unwatched."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
