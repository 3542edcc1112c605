"""The one driver where the core meets await: claim, forward, wait, stitch.

Law: a request's work runs in a task of its own, to its last settle, whether or not its client is
still there. What is held is forwarded before anything is waited for. The client gets its answer
at the rule's deadline at the latest; what is undecided by then is told as what it is at.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from proxy.adopting import Adopting, mismatch
from proxy.asking import Asking
from proxy.claiming import note_claims
from proxy.core.fate import Code, Outcome, echo_of, failed
from proxy.core.keys import KeyMaker
from proxy.core.record import (
    TOKEN_BYTES,
    Release,
)
from proxy.core.upstream import Upstream
from proxy.errors import Problem
from proxy.exchange import Answer, Exchange
from proxy.forward import Forwarder
from proxy.leases import Leases, store_unavailable
from proxy.lookups import Lookups
from proxy.observe import Observer
from proxy.preparing import prepare, terms_of
from proxy.run import Round, Run, in_progress
from proxy.settling import Backlog, Settler
from proxy.store.base import Store
from proxy.underway import Told, Underway
from proxy.waiting import Waiting
from rules.model import Problem as KeyProblem

log = logging.getLogger("proxy.flow")

_KEY_MESSAGE: Final[dict[KeyProblem, str]] = {
    KeyProblem.MISSING_KEY: "the item has no idempotency key",
    KeyProblem.INVALID_KEY: "the item's idempotency key is no string of at most 255 bytes "
    "and no 64-bit integer",
}


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
        self._asking = Asking(store)
        self._keys = keys
        self._observer = observer
        self._new_token = new_token
        self._clock = clock
        self._waiting = Waiting(rng)
        self._settler = Settler(self._asking, self._waiting, Backlog(store, observer))
        self._adopting = Adopting(self._settler, Lookups(upstream, observer), observer, now_ms)
        leases = Leases(self._asking, self._settler, self._waiting, lease_margin)
        self._forwarder = Forwarder(upstream, self._settler, leases, self._adopting, observer)
        self._tasks: set[asyncio.Task[None]] = set()

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
        run = Run(exchange, terms_of(rule), loop.time(), self._clock, [None] * items)
        self._observer.in_flight(items)
        underway = Underway(run, self._observer, told)
        task = loop.create_task(self._see_through(underway))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        underway.timer = loop.call_later(rule.deadline, underway.answer)
        return underway

    async def _see_through(self, underway: Underway) -> None:
        run = underway.run
        try:
            await self._work(run)
        except Problem as problem:
            underway.refuse(problem)
        except Exception as error:
            log.exception("request %s failed", run.exchange.request_id)
            underway.fail(error)
        except BaseException as error:
            underway.fail(error)
            raise
        else:
            underway.answer()
        finally:
            self._observer.in_flight(-len(run.exchange.batch))

    async def drain(self, timeout: float) -> bool:
        """Wait for requests under way and then for the backlog. False: time ran out."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while self._tasks and loop.time() < end:
            await asyncio.wait(self._tasks, timeout=end - loop.time())
        flushed = await self._settler.backlog.flush(max(0.0, end - loop.time()))
        return flushed and not self._tasks

    @property
    def under_way(self) -> int:
        """Requests whose work has not ended."""
        return len(self._tasks)

    # ---- one request ---------------------------------------------------------------------------

    async def _work(self, run: Run) -> None:
        exchange = run.exchange
        prepared = prepare(exchange.rule, exchange.batch, exchange.scope, self._keys)
        run.store_keys, run.fingerprints = prepared.store_keys, prepared.fingerprints
        plan = prepared.plan
        run.echoes = plan.echoes
        if plan.mismatches:
            run.decide(plan.mismatches, mismatch())
        for index, problem in plan.invalid.items():
            run.fates[index] = failed(Code(problem), _KEY_MESSAGE[problem])
        rounds: list[Round] = []
        try:
            busy = await self._claim_and_forward(run, rounds, plan.firsts, plan.unkeyed)
            if busy:
                await self._wait(run, rounds, busy)
        finally:
            # Only a bug leaves claims open here; their leases end them, as after a crash.
            for rnd in rounds:
                if rnd.open:
                    self._waiting.free([run.store_keys[i] or b"" for i in rnd.open])
        for index, first in plan.echoes.items():
            fate = run.fates[first]
            if fate is None:
                raise AssertionError("the work ended with an item undecided")
            run.fates[index] = echo_of(fate)
            if first in run.upstream_decided:
                run.upstream_decided.add(index)

    async def _claim_and_forward(
        self,
        run: Run,
        rounds: list[Round],
        indexes: Sequence[int],
        unkeyed: Sequence[int] = (),
    ) -> dict[int, int]:
        """One claim round: forward what was won. The busy items and how long they are held."""
        loop = asyncio.get_running_loop()
        claimed = Round(self._new_token(), loop.time() + run.rule.lease)
        first_claim = not rounds
        busy = await self._claim(run, claimed, indexes)
        rounds.append(claimed)
        if None not in run.fates:  # replays, and nothing else
            if claimed.bodyless:
                await self._adopting.complete(run, claimed, claimed.bodyless)
            return busy
        unanswered = claimed.unanswered
        if claimed.won and loop.time() >= run.deadline:
            await self._let_go(run, claimed)
        # Without an answer the claims may still have been taken: their token settles them.
        blind = Round(claimed.token, 0.0, recorded=False)
        if unanswered and not run.rule.fail_open:
            all_of_it = first_claim and len(unanswered) == len(indexes)
            await self._refuse(run, blind, unanswered, everything=all_of_it)
            unanswered = []
        mine = sorted((*claimed.open, *unkeyed))
        if mine:
            await self._forwarder.forward(run, claimed, mine)
        if unanswered:
            await self._forwarder.forward(run, blind, unanswered)
        if claimed.bodyless:
            await self._adopting.complete(run, claimed, claimed.bodyless)
        return busy

    async def _claim(self, run: Run, rnd: Round, indexes: Sequence[int]) -> dict[int, int]:
        """Claim in one round trip. What nobody answered for is neither won, decided nor busy."""
        if not indexes:
            return {}
        if len(indexes) == len(run.fates):  # no item is without a key, none is a repeat
            keys, fingerprints = run.store_keys, run.fingerprints
        else:
            keys = [run.store_keys[i] for i in indexes]
            fingerprints = [run.fingerprints[i] for i in indexes]
        replies = await self._asking.claim(
            run,
            keys,  # type: ignore[arg-type] # what is claimed has a key
            fingerprints,
            rnd.token,
        )
        busy = note_claims(run, rnd, indexes, replies)
        if rnd.won:
            rnd.open.update(rnd.won)
            self._waiting.hold([run.store_keys[i] or b"" for i in rnd.won])
        return busy

    async def _refuse(
        self, run: Run, rnd: Round, items: Sequence[int], *, everything: bool
    ) -> None:
        """A closed rule forwards nothing without the store, and says so of the whole request
        where nothing else was claimed."""
        run.decide(items, store_unavailable())
        await self._settler.settle(run, rnd, dict.fromkeys(items, Release()))
        if everything:
            raise Problem(
                503,
                "store-unavailable",
                "the idempotency store did not answer, and this endpoint is closed without it",
                (("Retry-After", "1"),),
            )

    async def _let_go(self, run: Run, rnd: Round) -> None:
        """Won after the client's deadline: nobody waits for it any more."""
        run.decide(rnd.won, in_progress(None))
        await self._settler.settle(run, rnd, dict.fromkeys(rnd.won, Release()))

    async def _wait(self, run: Run, rounds: list[Round], busy: dict[int, int]) -> None:
        if not busy:
            return
        loop = asyncio.get_running_loop()
        give_up = min(loop.time() + run.rule.wait, run.deadline)
        attempt = 0
        while busy and loop.time() < give_up:
            run.waiting = set(busy)
            run.waiting_watch.start(run.clock())
            keys = [run.store_keys[i] or b"" for i in busy]
            await self._waiting.turn(keys, attempt, give_up)
            run.waiting_watch.stop(run.clock())
            before = set(busy)
            busy = await self._claim_and_forward(run, rounds, sorted(busy))
            self._count_waits(run, before - set(busy))
            attempt += 1
        for index, left in busy.items():
            run.fates[index] = in_progress(left)
            self._observer.wait(run.rule.name, "timeout")

    def _count_waits(self, run: Run, ended: set[int]) -> None:
        for index in ended:
            fate = run.fates[index]
            replay = fate is not None and fate.outcome is Outcome.REPLAYED
            self._observer.wait(run.rule.name, "replayed" if replay else "claimed")
