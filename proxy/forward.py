"""Forward what a request holds, and settle each delivery as it arrives.

Law: an item is forwarded only while its lease covers the call; after a definite rejection the
isolation says what to send next; after an unknown nothing is released. Every item given is
decided when ``forward`` returns, and none of its claims is left open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, assert_never

from proxy.adopting import Adopting
from proxy.calls import batch_call
from proxy.core.delivery import AFTERMATH, Delivery
from proxy.core.fate import Code, failed
from proxy.core.isolation import AskAll, Isolation, Send
from proxy.core.prompt import PromptUpstream, Told
from proxy.core.record import MarkDoubt, Release, Settlement
from proxy.core.upstream import NoReply, Purpose, Reply, Upstream
from proxy.delivered import Delivered, read_reply
from proxy.leases import Leases
from proxy.observe import Observer
from proxy.pace import Pace
from proxy.run import Round, Run
from proxy.settling import Settler
from rules.model import Align
from rules.request import sub_body
from rules.response import offenders, rejection_message

log = logging.getLogger("proxy.forward")

_TOO_LATE: Final = "the request's deadline passed before the item was forwarded"


class Forwarder:
    """Forwards on behalf of all requests of a process; holds no state of any of them."""

    def __init__(
        self,
        upstream: Upstream,
        settler: Settler,
        leases: Leases,
        adopting: Adopting,
        observer: Observer,
    ) -> None:
        self._upstream = upstream
        self._prompt = upstream if isinstance(upstream, PromptUpstream) else None
        self._settler = settler
        self._leases = leases
        self._adopting = adopting
        self._observer = observer
        self._pace = Pace()

    def ask(self, run: Run, rnd: Round, to: Told) -> float | None:
        """Forward all of a batch of which all was won, without a task: when the call began, which
        ``answered`` is to be told. None: nothing was done, for something else comes first."""
        exchange, upstream = run.exchange, run.rule.upstream
        if (
            self._prompt is None
            or rnd.suspects
            or upstream.lookup is not None
            or self._chunk_size(run, run.items) < run.items
            or not self._leases.last(run, rnd)
            or _is_late(run)
        ):
            return None
        call = batch_call(exchange, exchange.batch.whole, Purpose.BATCH)
        started = run.clock()
        if not self._prompt.ask(call, upstream.timeout, to):
            return None
        run.in_flight.update(range(run.items))
        run.upstream_watch.start(started)
        return started

    def answered(self, run: Run, reply: Reply | NoReply, started: float) -> Delivered:
        """What came of a call that ``ask`` made; ``report`` is to be told, once that is seen to."""
        return self._delivered(run, range(run.items), reply, started)

    def report(self, run: Run, delivered: Delivered, purpose: Purpose = Purpose.BATCH) -> None:
        """Count a call."""
        self._observer.upstream_call(run.rule.name, purpose, delivered.delivery, delivered.seconds)

    async def go_on(self, run: Run, rnd: Round, delivered: Delivered) -> None:
        """What follows from a call that ``ask`` made and that was not simply accepted."""
        await self._chunk(run, rnd, range(run.items), delivered)

    async def forward(self, run: Run, rnd: Round, indexes: Sequence[int]) -> None:
        """Forward the items in request order, in chunks; those without a key are forwarded too."""
        items: Sequence[int] = indexes
        if run.rule.upstream.lookup is not None or rnd.suspects:
            items = await self._adopting.screen(run, rnd, indexes)
        if not items:
            return
        if not run.exchange.may_split and len(items) != len(run.exchange.batch):
            await self._give_up(run, rnd, items, "the request is signed and cannot be split")
            return
        size = self._chunk_size(run, len(items))
        chunks = [items[i : i + size] for i in range(0, len(items), size)]
        if run.rule.upstream.concurrency == 1 or len(chunks) == 1:
            for position, chunk in enumerate(chunks):
                told_to_wait = await self._chunk(run, rnd, chunk)
                if told_to_wait:
                    rest = [i for later in chunks[position + 1 :] for i in later]
                    await self._not_now(run, rnd, rest, told_to_wait)
                    return
            return
        gate = asyncio.Semaphore(run.rule.upstream.concurrency)

        async def one(chunk: Sequence[int]) -> None:
            async with gate:
                await self._chunk(run, rnd, chunk)

        await asyncio.gather(*(one(chunk) for chunk in chunks))

    @staticmethod
    def _chunk_size(run: Run, items: int) -> int:
        if not run.exchange.may_split:
            return items
        if run.rule.response.align is Align.SINGLE:
            return 1
        return min(items, run.rule.upstream.max_items or items)

    async def _chunk(
        self, run: Run, rnd: Round, items: Sequence[int], delivered: Delivered | None = None
    ) -> int | None:
        """One chunk to its end. Milliseconds where the service said when to come back.
        ``delivered``: all of it was sent already, and this came of it."""
        lookup = run.rule.upstream.lookup
        isolation = Isolation(items, can_ask_all=lookup is not None and lookup.is_batch)
        wait: int | None = None
        if delivered is not None:
            isolation.next()
            wait = await self._came_to(run, rnd, isolation, items, delivered)
        while (step := isolation.next()) is not None:
            match step:
                case Send():
                    wait = await self._send(run, rnd, isolation, step)
                case AskAll():
                    looked = await self._adopting.adopt_known(run, rnd, step.items)
                    isolation.looked_up(looked)
                case _:
                    assert_never(step)
        return wait

    async def _send(self, run: Run, rnd: Round, isolation: Isolation, step: Send) -> int | None:
        refusal = await self._budget(run) if step.again else None
        if refusal is None and _is_late(run):
            refusal = _TOO_LATE
        if refusal:
            await self._give_up(run, rnd, isolation.abandon(), refusal)
            return None
        held: Sequence[int] = step.items
        if not self._leases.covers(run, rnd, held):
            held = await self._leases.secure(run, rnd, held)
        items = isolation.narrow(held) if len(held) < len(step.items) else step.items
        if not items:
            isolation.undecided()
            return None
        if _is_late(run):  # the deadline passed while the lease was made sure of
            await self._give_up(run, rnd, isolation.abandon(), _TOO_LATE)
            return None
        return await self._came_to(
            run, rnd, isolation, items, await self._deliver(run, items, step.again)
        )

    async def _came_to(
        self,
        run: Run,
        rnd: Round,
        isolation: Isolation,
        items: Sequence[int],
        delivered: Delivered,
    ) -> int | None:
        if delivered.delivery is Delivery.ACCEPTED:
            isolation.accepted()
            await self._adopting.accept(run, rnd, items, delivered.results)
            run.in_flight.difference_update(items)
            return None
        if delivered.delivery is Delivery.REJECTED:
            await self._reject(run, rnd, isolation, items, delivered)
            return None
        return await self._aftermath(run, rnd, isolation, items, delivered)

    async def _budget(self, run: Run) -> str | None:
        """Why one more call must not be made to find the items at fault, or None."""
        isolate = run.rule.upstream.isolate
        if not run.exchange.may_split:
            return "the request is signed and cannot be split"
        if run.isolation_calls >= isolate.max_calls:
            self._observer.limit("isolation_calls")
            return f"more than {isolate.max_calls} calls are needed to find the items at fault"
        run.isolation_calls += 1
        run.waiting_watch.start(run.clock())  # a turn is waited for, and is no overhead
        taken = await self._pace.turn(run.rule.name, isolate.per_second, run.deadline)
        run.waiting_watch.stop(run.clock())
        if not taken:
            self._observer.limit("isolation_pace")
            return "too many isolation calls are under way"
        return None

    async def _deliver(self, run: Run, items: Sequence[int], again: bool) -> Delivered:
        purpose = Purpose.ISOLATION if again else Purpose.BATCH
        call = batch_call(run.exchange, sub_body(run.rule, run.exchange.batch, items), purpose)
        run.in_flight.update(items)
        run.upstream_watch.start(started := run.clock())
        reply = await self._upstream.call(call, run.rule.upstream.timeout)
        delivered = self._delivered(run, items, reply, started)
        self.report(run, delivered, purpose)
        return delivered

    @staticmethod
    def _delivered(
        run: Run, items: Sequence[int], reply: Reply | NoReply, started: float
    ) -> Delivered:
        """What came of a call, noted in its run."""
        ended = run.clock()
        run.upstream_watch.stop(ended)
        run.upstream_calls += 1
        delivered = read_reply(run, items, reply, ended - started)
        if delivered.delivery is not Delivery.ACCEPTED:  # else until each is decided
            run.in_flight.difference_update(items)
        array = delivered.response.array if delivered.response is not None else None
        run.course.note(delivered.delivery, delivered.reply, array)
        return delivered

    async def _reject(
        self,
        run: Run,
        rnd: Round,
        isolation: Isolation,
        items: Sequence[int],
        delivered: Delivered,
    ) -> None:
        response = delivered.response
        assert response is not None  # noqa: S101 a rejection is a response
        run.upstream_decided.update(items)
        named = offenders(run.rule, response, run.exchange.batch, items) or {}
        by_item = {items[position]: message for position, message in named.items()}
        message = rejection_message(response)
        ruling = isolation.rejected(delivered.verdict, message, by_item)
        if ruling.rejected:
            for item, said in ruling.rejected.items():
                run.fates[item] = failed(Code.UPSTREAM_REJECTED, said)
            await self._settler.settle(run, rnd, dict.fromkeys(ruling.rejected, Release()))
        await self._adopting.adopt(run, rnd, ruling.duplicates, message)

    async def _aftermath(
        self,
        run: Run,
        rnd: Round,
        isolation: Isolation,
        items: Sequence[int],
        delivered: Delivered,
    ) -> int | None:
        after = AFTERMATH[delivered.delivery]
        isolation.undecided()
        if after.ends:
            items = (*items, *isolation.abandon())
        run.upstream_decided.update(items)
        message, wait = after.message, delivered.retry_after_ms
        if delivered.reply is not None:
            message += f" (HTTP {delivered.reply.status})"
        if delivered.delivery is Delivery.REFUSED and delivered.response is not None:
            message = rejection_message(delivered.response)
        if after.release:
            run.decide(items, failed(after.code, message, retry_after_ms=wait))
            await self._settler.settle(run, rnd, dict.fromkeys(items, Release()))
            return wait if delivered.delivery is Delivery.UNAVAILABLE else None
        run.decide(items, run.unknown(message))
        await self._doubt(run, rnd, items)
        return None

    async def _doubt(self, run: Run, rnd: Round, items: Sequence[int]) -> None:
        steps: dict[int, Settlement] = {i: MarkDoubt(run.fingerprints[i]) for i in items}
        self._adopting.report_doubts(run, steps)
        await self._settler.settle(run, rnd, steps)

    async def _give_up(self, run: Run, rnd: Round, items: Sequence[int], why: str) -> None:
        run.decide(items, failed(Code.ISOLATION_LIMIT, why))
        await self._settler.settle(run, rnd, dict.fromkeys(items, Release()))

    async def _not_now(self, run: Run, rnd: Round, items: Sequence[int], wait: int) -> None:
        """The service said when to come back: what it was not asked for yet waits as well."""
        after = AFTERMATH[Delivery.UNAVAILABLE]
        run.upstream_decided.update(items)
        run.decide(items, failed(after.code, after.message, retry_after_ms=wait))
        await self._settler.settle(run, rnd, dict.fromkeys(items, Release()))


def _is_late(run: Run) -> bool:
    return run.loop.time() >= run.deadline
