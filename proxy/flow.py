"""The one driver where the core meets await: a batch's life from its start to its answer.

Law: a request's work runs to its last settle, whether or not its client is still there; in a task
of its own from where it leaves the straight way. The client gets its answer at
the rule's deadline at the latest; what is undecided by then is told as what it is at.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from functools import partial

from proxy.adopting import Adopting
from proxy.asking import Asking
from proxy.core.keys import KeyMaker
from proxy.core.record import TOKEN_BYTES
from proxy.core.upstream import Upstream
from proxy.errors import Problem
from proxy.exchange import Answer, Exchange
from proxy.forward import Forwarder
from proxy.leases import Leases
from proxy.limit import Limits
from proxy.lookups import Lookups
from proxy.observe import Observer
from proxy.preparing import terms_of
from proxy.randomness import random_bytes
from proxy.rounds import Rounds, Work
from proxy.run import Run
from proxy.settling import Backlog, Settler
from proxy.store.base import Store
from proxy.straight import StraightWay, fail
from proxy.underway import Asker, Underway
from proxy.waiting import Waiting

log = logging.getLogger("proxy.flow")


def random_token() -> bytes:
    return random_bytes(TOKEN_BYTES)


def wall_ms() -> int:
    """What ``processedAt`` is told by."""
    return time.time_ns() // 1_000_000


class Flow:
    """Answers batches. ``now_ms``: wall clock for ``processedAt``; ``clock``: monotonic seconds
    that durations are measured with; ``lease_margin``: seconds."""

    def __init__(
        self,
        store: Store,
        upstream: Upstream,
        keys: KeyMaker,
        observer: Observer,
        *,
        now_ms: Callable[[], int],
        new_token: Callable[[], bytes] = random_token,
        clock: Callable[[], float] = time.perf_counter,
        lease_margin: float = 0.5,
        rng: random.Random | None = None,
    ) -> None:
        asking, waiting = Asking(store), Waiting(rng)
        self._observer = observer
        self._clock = clock
        self._settler = Settler(asking, waiting, Backlog(store, observer))
        adopting = Adopting(self._settler, Lookups(upstream, observer), observer, now_ms)
        leases = Leases(asking, self._settler, waiting, lease_margin)
        forwarder = Forwarder(upstream, self._settler, leases, adopting, observer)
        self._rounds = Rounds(
            asking,
            keys,
            new_token,
            waiting=waiting,
            settler=self._settler,
            adopting=adopting,
            forwarder=forwarder,
            observer=observer,
        )
        self._way = StraightWay(
            self._rounds,
            forwarder,
            adopting,
            self._settler,
            start=self._start,
            ended=self._finished,
        )
        # Of the first batch: to ask for it costs Python 3.11 a system call each time.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: dict[Underway, asyncio.Task[None] | None] = {}
        self._deadlines = Limits()
        self._idle: asyncio.Future[None] | None = None

    def expect(self) -> None:
        """A batch is about to begin."""
        self._settler.wake()

    async def handle(self, exchange: Exchange) -> Answer:
        """Answer one batch, which is not empty.

        Raises Problem where a closed rule's store does not answer. The caller may be cancelled:
        the work goes on.
        """
        due: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        work = self.begin(exchange, _Due(due))
        try:
            return await due
        except asyncio.CancelledError:
            work.abandon()
            raise

    def begin(self, exchange: Exchange, asker: Asker) -> Underway:
        """Start on one batch, which is not empty; ``asker`` is told once, in a later turn of the
        loop, unless the caller abandons the work before."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        rule, items = exchange.rule, len(exchange.batch)
        run = Run(exchange, terms_of(rule), loop, self._clock)
        self._observer.in_flight(items)
        underway = Underway(run, self._observer, asker, self._deadlines.of(rule.deadline))
        self._under_way[underway] = None
        try:
            plan = self._rounds.prepare(run)
        except Exception as error:  # noqa: BLE001 - it is told in a later turn
            self._start(underway, partial(fail, error))
        else:
            self._way.begin(underway, plan)
        return underway

    def _start(self, underway: Underway, work: Work) -> None:
        """From here on a task does the work."""
        task = underway.run.loop.create_task(self._see_through(underway, work))
        self._under_way[underway] = task
        task.add_done_callback(lambda _: self._ended(underway))

    def _finished(self, underway: Underway) -> None:
        """All of the work is done, by no task."""
        self._observer.in_flight(-underway.run.items)
        self._ended(underway)

    def _ended(self, underway: Underway) -> None:
        del self._under_way[underway]
        if self._idle is not None and not self._under_way and not self._idle.done():
            self._idle.set_result(None)

    async def _see_through(self, underway: Underway, work: Work) -> None:
        try:
            await work()
        except Problem as problem:
            underway.refuse(problem)
        except Exception as error:
            log.exception("request %s failed", underway.run.exchange.request_id)
            underway.fail(error)
        except BaseException as error:
            underway.fail(error)
            raise
        else:
            underway.answer()
        finally:
            self._observer.in_flight(-underway.run.items)

    async def drain(self, timeout: float) -> bool:
        """Wait for requests under way and then for the backlog. False: time ran out."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while self._under_way and loop.time() < end:
            self._idle = loop.create_future()
            await asyncio.wait((self._idle,), timeout=end - loop.time())
        flushed = await self._settler.backlog.flush(max(0.0, end - loop.time()))
        return flushed and not self._under_way

    @property
    def under_way(self) -> int:
        """Requests whose work has not ended."""
        return len(self._under_way)


class _Due:
    """A task that waits for an answer."""

    __slots__ = ("_due",)

    def __init__(self, due: asyncio.Future[Answer]) -> None:
        self._due = due

    def foresee(self, answer: Answer) -> None:
        """It takes the answer as it is."""

    def told(self, answer: Answer | BaseException) -> None:
        if self._due.done():
            return
        if isinstance(answer, BaseException):
            self._due.set_exception(answer)
        else:
            self._due.set_result(answer)
