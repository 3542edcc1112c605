"""The one driver where the core meets await: a batch's life from its start to its answer.

Law: a request's work runs to its last settle, whether or not its client is still there; in a task
of its own from where it has to wait for more than its first claim. The client gets its answer at
the rule's deadline at the latest; what is undecided by then is told as what it is at.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from proxy.adopting import Adopting
from proxy.asking import Asking, unanswered
from proxy.core.keys import KeyMaker
from proxy.core.plan import Plan
from proxy.core.record import TOKEN_BYTES, ClaimReply
from proxy.core.upstream import Upstream
from proxy.errors import Problem, StoreUnavailable
from proxy.exchange import Answer, Exchange
from proxy.forward import Forwarder
from proxy.leases import Leases
from proxy.limit import Limits
from proxy.lookups import Lookups
from proxy.observe import Observer
from proxy.preparing import terms_of
from proxy.rounds import Rounds
from proxy.run import Round, Run
from proxy.settling import Backlog, Settler
from proxy.store.base import Claims, Store
from proxy.underway import Told, Underway
from proxy.waiting import Waiting

log = logging.getLogger("proxy.flow")

_Work = Callable[[], Coroutine[Any, Any, None]]


def random_token() -> bytes:
    return os.urandom(TOKEN_BYTES)


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
        self._rounds = Rounds(
            asking,
            keys,
            new_token,
            waiting=waiting,
            settler=self._settler,
            adopting=adopting,
            forwarder=Forwarder(upstream, self._settler, leases, adopting, observer),
            observer=observer,
        )
        self._under_way: dict[Underway, asyncio.Task[None] | None] = {}
        self._deadlines = Limits()
        self._idle: asyncio.Future[None] | None = None

    async def handle(self, exchange: Exchange) -> Answer:
        """Answer one batch, which is not empty.

        Raises Problem where a closed rule's store does not answer. The caller may be cancelled:
        the work goes on.
        """
        due: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def told(answer: Answer | BaseException) -> None:
            if due.done():
                return
            if isinstance(answer, BaseException):
                due.set_exception(answer)
            else:
                due.set_result(answer)

        work = self.begin(exchange, told)
        try:
            return await due
        except asyncio.CancelledError:
            work.abandon()
            raise

    def begin(self, exchange: Exchange, told: Told) -> Underway:
        """Start on one batch, which is not empty; ``told`` is called once, in a later turn of the
        loop, unless the caller abandons the work before."""
        loop = asyncio.get_running_loop()
        rule, items = exchange.rule, len(exchange.batch)
        run = Run(exchange, terms_of(rule), loop, loop.time(), self._clock, items)
        self._observer.in_flight(items)
        underway = Underway(run, self._observer, told, self._deadlines.of(rule.deadline))
        self._under_way[underway] = None
        try:
            plan = self._rounds.prepare(run)
        except Exception as error:  # noqa: BLE001 - it is told in a later turn
            self._start(underway, partial(_fail, error))
            return underway
        rnd = self._rounds.new(run)
        if not self._rounds.ask(run, plan, rnd, _FirstClaim(self, underway, plan, rnd)):
            self._start(underway, partial(self._rounds.claim_and_go_on, run, plan, rnd))
        return underway

    def claimed(
        self, underway: Underway, plan: Plan, rnd: Round, said: Claims | BaseException
    ) -> None:
        """The first claim was answered: with replays alone, the work is done."""
        run = underway.run
        try:
            replies = _replies(run, plan, said)
            busy = self._rounds.note(run, rnd, plan.firsts, replies)
        except Exception as error:  # noqa: BLE001 - a task tells of it, as of any other
            self._start(underway, partial(_fail, error))
            return
        if not run.is_decided or rnd.bodyless:
            self._start(underway, partial(self._rounds.go_on, run, plan, rnd, busy))
            return
        underway.answer()
        self._observer.in_flight(-run.items)
        self._ended(underway)

    def _start(self, underway: Underway, work: _Work) -> None:
        """From here on a task does the work."""
        task = underway.run.loop.create_task(self._see_through(underway, work))
        self._under_way[underway] = task
        task.add_done_callback(lambda _: self._ended(underway))

    def _ended(self, underway: Underway) -> None:
        del self._under_way[underway]
        if self._idle is not None and not self._under_way and not self._idle.done():
            self._idle.set_result(None)

    async def _see_through(self, underway: Underway, work: _Work) -> None:
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


class _FirstClaim:
    """Who takes the replies to a request's first claim, which no task waits for."""

    __slots__ = ("_flow", "_is_told", "_plan", "_rnd", "_underway")

    def __init__(self, flow: Flow, underway: Underway, plan: Plan, rnd: Round) -> None:
        self._flow = flow
        self._underway = underway
        self._plan = plan
        self._rnd = rnd
        self._is_told = False

    def done(self) -> bool:
        """Whether its client is still there or not, the work goes on."""
        return self._is_told

    def set_result(self, result: Claims, /) -> None:
        self._is_told = True
        self._flow.claimed(self._underway, self._plan, self._rnd, result)

    def set_exception(self, exception: BaseException, /) -> None:
        self._is_told = True
        self._flow.claimed(self._underway, self._plan, self._rnd, exception)


def _replies(
    run: Run, plan: Plan, said: Claims | BaseException
) -> Sequence[ClaimReply | StoreUnavailable]:
    if isinstance(said, StoreUnavailable):
        return unanswered(run, said, len(plan.firsts))
    if isinstance(said, BaseException):
        raise said
    return said


async def _fail(error: BaseException) -> None:
    raise error
