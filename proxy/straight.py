"""The straight way of a batch: claimed, forwarded in one call, accepted, committed. No task and no
coroutine, each step in the turn of the loop in which the one before it was answered.

Law: the steps are the driver's own. Whatever comes in between goes on in a task, from where it is.

A task that waits through a dozen layers three times is a tenth of what a batch of 100 costs, and
more where a process has been idle: what it runs through is in no cache then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from proxy.adopting import WORTH_A_DRAFT, Adopting
from proxy.asking import unanswered
from proxy.claiming import note_claims
from proxy.core.delivery import Delivery
from proxy.core.plan import Plan
from proxy.core.record import ClaimReply, Settlement
from proxy.core.upstream import NoReply, Reply
from proxy.delivered import Delivered
from proxy.errors import StoreUnavailable
from proxy.forward import Forwarder
from proxy.rounds import Rounds, Work
from proxy.run import Round
from proxy.settling import Settler
from proxy.store.base import Claims, Settles
from proxy.underway import Underway
from rules.model import Align


class StraightWay:
    """For all requests of a process; holds no state of any of them. ``start`` has a task see to
    what is left of a request; ``ended`` is told of one of which nothing is."""

    def __init__(
        self,
        rounds: Rounds,
        forwarder: Forwarder,
        adopting: Adopting,
        settler: Settler,
        *,
        start: Callable[[Underway, Work], None],
        ended: Callable[[Underway], None],
    ) -> None:
        self.rounds = rounds
        self.forwarder = forwarder
        self.adopting = adopting
        self.settler = settler
        self.start = start
        self.ended = ended

    def begin(self, underway: Underway, plan: Plan) -> None:
        """Claim what the plan says."""
        run = underway.run
        rnd = self.rounds.new(run)
        if not self.rounds.ask(run, plan, rnd, Straight(self, underway, plan, rnd)):
            self.start(underway, partial(self.rounds.claim_and_go_on, run, plan, rnd))


class Straight:
    """One request, who is told of each step's replies in turn."""

    __slots__ = ("_plan", "_rnd", "_started", "_steps", "_then", "_underway", "_way")

    def __init__(self, way: StraightWay, underway: Underway, plan: Plan, rnd: Round) -> None:
        self._way = way
        self._underway = underway
        self._plan = plan
        self._rnd = rnd
        self._steps: Sequence[Settlement] = ()
        self._started = 0.0
        # Not bound to this object: a cycle would leave all of the request to the collector.
        self._then: Callable[[Straight, Any], None] = Straight._claimed

    def done(self) -> bool:
        """Whether its client is still there or not, the work goes on."""
        return False

    def set_result(self, result: object, /) -> None:
        try:
            self._then(self, result)
        except Exception as error:  # noqa: BLE001 - a task tells of it, as of any other
            self._see_through(partial(fail, error))

    def set_exception(self, exception: BaseException, /) -> None:
        if isinstance(exception, StoreUnavailable):
            self.set_result(exception)
        else:
            self._see_through(partial(fail, exception))

    def _claimed(self, said: Claims | StoreUnavailable) -> None:
        way, rnd, plan, run = self._way, self._rnd, self._plan, self._underway.run
        replies: Sequence[ClaimReply | StoreUnavailable]
        firsts = plan.firsts
        replies = unanswered(run, said, len(firsts)) if isinstance(said, StoreUnavailable) else said
        busy = note_claims(run, rnd, firsts, replies)
        if len(rnd.won) < run.items:
            way.rounds.hold(run, rnd)
            if run.is_decided and not rnd.bodyless:  # by replays alone
                self._end()
            else:
                self._go_on(partial(way.rounds.go_on, run, plan, rnd, busy))
            return
        try:
            started = way.forwarder.ask(run, rnd, self)  # first, for it is waited for
        finally:
            way.rounds.hold(run, rnd)
        if started is None:
            self._go_on(partial(way.rounds.go_on, run, plan, rnd, busy))
        else:
            self._started = started
            self._then = Straight._answered

    def _answered(self, reply: Reply | NoReply) -> None:
        """By the service."""
        way, run = self._way, self._underway.run
        way.settler.wake()
        delivered = way.forwarder.answered(run, reply, self._started)
        try:
            self._delivered(delivered)
        finally:
            way.forwarder.report(run, delivered)

    def _delivered(self, delivered: Delivered) -> None:
        way, rnd, run = self._way, self._rnd, self._underway.run
        is_taken = delivered.delivery is Delivery.ACCEPTED
        if not is_taken or run.rule.response.align is Align.LOOKUP:
            self._see_through(partial(way.forwarder.go_on, run, rnd, delivered))
            return
        items = range(run.items)
        self._steps = way.adopting.accepted(run, rnd, items, delivered.results)
        self._then = Straight._settled
        asked = way.settler.ask(run, rnd, self._steps, self)
        run.in_flight.clear()
        if not asked:
            self._see_through(partial(way.adopting.settle_each, run, rnd, items, self._steps))
        elif run.items >= WORTH_A_DRAFT:
            self._underway.foresee()

    def _settled(self, said: Settles | StoreUnavailable) -> None:
        way, rnd, run = self._way, self._rnd, self._underway.run
        told = way.settler.answered(run, rnd, self._steps, said)
        way.adopting.reconcile(run, rnd, range(run.items), told)
        try:
            self._end()
        finally:  # whoever waits here for these keys is told in a later turn anyway
            way.settler.end(run, rnd)

    def _end(self) -> None:
        self._underway.answer()
        self._way.ended(self._underway)

    def _see_through(self, work: Work) -> None:
        rounds = self._way.rounds
        self._go_on(partial(rounds.see_through, self._underway.run, self._rnd, work))

    def _go_on(self, work: Work) -> None:
        self._way.start(self._underway, work)


async def fail(error: BaseException) -> None:
    """Have a task fail so."""
    raise error
