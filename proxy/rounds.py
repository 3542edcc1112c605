"""One request's claim rounds: claim, forward what was won, wait for the rest and claim that again.

Law: what is held is forwarded before anything is waited for. Every item is decided when the work
ends, and no claim of it is left open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

from proxy.adopting import Adopting, mismatch
from proxy.asking import Asking
from proxy.claiming import note_claims
from proxy.core.fate import Code, Outcome, echo_of, failed
from proxy.core.keys import KeyMaker
from proxy.core.plan import Plan
from proxy.core.record import Release
from proxy.errors import Problem
from proxy.forward import Forwarder
from proxy.leases import store_unavailable
from proxy.observe import Observer
from proxy.preparing import prepare
from proxy.run import Round, Run, in_progress
from proxy.settling import Settler
from proxy.store.base import Claims
from proxy.store.receive import Receiver
from proxy.waiting import Waiting
from rules.model import Problem as KeyProblem

_KEY_MESSAGE: Final[dict[KeyProblem, str]] = {
    KeyProblem.MISSING_KEY: "the item has no idempotency key",
    KeyProblem.INVALID_KEY: "the item's idempotency key is no string of at most 255 bytes "
    "and no 64-bit integer",
}


Work = Callable[[], Coroutine[Any, Any, None]]


class Rounds:
    """Works on behalf of all requests of a process; holds no state of any of them."""

    def __init__(
        self,
        asking: Asking,
        keys: KeyMaker,
        new_token: Callable[[], bytes],
        *,
        waiting: Waiting,
        settler: Settler,
        adopting: Adopting,
        forwarder: Forwarder,
        observer: Observer,
    ) -> None:
        self._asking = asking
        self._keys = keys
        self._new_token = new_token
        self._waiting = waiting
        self._settler = settler
        self._adopting = adopting
        self._forwarder = forwarder
        self._observer = observer

    def prepare(self, run: Run) -> Plan:
        """Decide what needs nobody's word; the plan for the rest."""
        exchange = run.exchange
        prepared = prepare(exchange.rule, exchange.batch, exchange.scope, self._keys)
        run.store_keys, run.fingerprints = prepared.store_keys, prepared.fingerprints
        plan = prepared.plan
        run.echoes = plan.echoes
        if plan.mismatches:
            run.decide(plan.mismatches, mismatch())
        for index, problem in plan.invalid.items():
            run.fates[index] = failed(Code(problem), _KEY_MESSAGE[problem])
        return plan

    def new(self, run: Run) -> Round:
        """A round that has claimed nothing yet; its lease is reckoned from now."""
        held_until = run.loop.time() + run.rule.lease
        return Round(self._new_token(), held_until)

    def ask(self, run: Run, plan: Plan, rnd: Round, to: Receiver[Claims]) -> bool:
        """Make the first claim without a task, if that can be."""
        if not plan.firsts:
            return False
        keys, fingerprints = _claim_of(run, plan.firsts)
        return self._asking.ask_claim(run, keys, fingerprints, rnd.token, to)

    async def claim_and_go_on(self, run: Run, plan: Plan, rnd: Round) -> None:
        """All of it, where the first claim has to be awaited."""
        busy = await self._claim(run, rnd, plan.firsts)
        await self.go_on(run, plan, rnd, busy)

    async def go_on(self, run: Run, plan: Plan, claimed: Round, busy: dict[int, int]) -> None:
        """From the first claim's replies to every item's fate."""
        rounds = [claimed]
        try:
            await self._forward(run, claimed, plan.firsts, plan.unkeyed, is_first=True)
            if busy:
                await self._wait(run, rounds, busy)
        finally:
            self.free(run, rounds)
        for index, first in plan.echoes.items():
            fate = run.fates[first]
            if fate is None:
                raise AssertionError("the work ended with an item undecided")
            run.fates[index] = echo_of(fate)
            if first in run.upstream_decided:
                run.upstream_decided.add(index)

    async def see_through(
        self, run: Run, rnd: Round, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """What is left to be done for a round that won everything."""
        try:
            await work()
        finally:
            self.free(run, (rnd,))

    def free(self, run: Run, rounds: Iterable[Round]) -> None:
        """Only a bug leaves claims open here; their leases end them, as after a crash."""
        for rnd in rounds:
            if rnd.open:
                self._waiting.free([run.store_keys[i] or b"" for i in rnd.open])

    async def _forward(
        self,
        run: Run,
        claimed: Round,
        indexes: Sequence[int],
        unkeyed: Sequence[int] = (),
        *,
        is_first: bool = False,
    ) -> None:
        """Forward what a claim round won, and what nobody answered for where the rule says so."""
        if run.is_decided:  # replays, and nothing else
            if claimed.bodyless:
                await self._adopting.complete(run, claimed, claimed.bodyless)
            return
        silent = claimed.unanswered
        if claimed.won and run.loop.time() >= run.deadline:
            await self._let_go(run, claimed)
        # Without an answer the claims may still have been taken: their token settles them.
        blind = Round(claimed.token, 0.0, recorded=False)
        if silent and not run.rule.fail_open:
            all_of_it = is_first and len(silent) == len(indexes)
            await self._refuse(run, blind, silent, everything=all_of_it)
            silent = []
        mine = sorted((*claimed.open, *unkeyed))
        if mine:
            await self._forwarder.forward(run, claimed, mine)
        if silent:
            await self._forwarder.forward(run, blind, silent)
        if claimed.bodyless:
            await self._adopting.complete(run, claimed, claimed.bodyless)

    async def _claim(self, run: Run, rnd: Round, indexes: Sequence[int]) -> dict[int, int]:
        """Claim in one round trip. What nobody answered for is neither won, decided nor busy."""
        if not indexes:
            return {}
        keys, fingerprints = _claim_of(run, indexes)
        replies = await self._asking.claim(run, keys, fingerprints, rnd.token)
        busy = note_claims(run, rnd, indexes, replies)
        self.hold(run, rnd)
        return busy

    def hold(self, run: Run, rnd: Round) -> None:
        """What the round won is held in this process from now on; in the turn of the loop in which
        that was noted."""
        if not rnd.won:
            return
        rnd.open.update(rnd.won)
        keys = run.store_keys
        if len(rnd.won) < len(keys):
            keys = [keys[i] for i in rnd.won]
        self._waiting.hold(keys)  # type: ignore[arg-type] # what was claimed has a key

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
            again = self.new(run)
            indexes = sorted(busy)
            busy = await self._claim(run, again, indexes)
            rounds.append(again)
            await self._forward(run, again, indexes)
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


def _claim_of(run: Run, indexes: Sequence[int]) -> tuple[Sequence[bytes], Sequence[bytes | None]]:
    """The store keys and fingerprints of items that are to be claimed, which all have a key."""
    if len(indexes) == run.items:  # none is without, none is a repeat
        return run.store_keys, run.fingerprints  # type: ignore[return-value]
    keys = [run.store_keys[i] for i in indexes]
    return keys, [run.fingerprints[i] for i in indexes]  # type: ignore[return-value]
