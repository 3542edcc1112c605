"""One run: several proxies over one store and one service, clients that retry, and the faults.

Law: everything follows from the scenario. ``run`` returns what was seen, or raises
``ViolationError`` whose text has the seed and the history.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import orjson

from proxy.core.fate import Code
from proxy.core.keys import KeyMaker
from proxy.errors import Problem
from proxy.exchange import Answer, Exchange
from proxy.flow import Flow
from proxy.observe import Observer
from proxy.store.base import Store
from rules.model import Batch
from rules.request import read_batch
from tests.fakes.prompt import Prompt, PromptUpstream
from tests.sim.answers import Item, is_definite, read_answer
from tests.sim.loop import PROCESS, SimLoop
from tests.sim.oracle import Oracle, Told, ViolationError
from tests.sim.scenario import SETTLES_WITHIN, Scenario, draw
from tests.sim.store import Real, SimStore, StoreFaults, ToldStore, Transitions
from tests.sim.upstream import ATTEMPT, ServiceFaults, SimService

STORE_TIMEOUT: Final = 0.25

Between = Callable[[Store, float], Store]
"""What stands between the driver and its store, for rules that wait so many seconds."""


@dataclass(slots=True)
class Proxy:
    """One process; ``death`` is resolved when it is killed."""

    name: str
    flow: Flow
    death: asyncio.Future[None]
    attempts: list[int] = field(default_factory=list)
    """The requests that it was sent."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run came to."""

    steps: int
    calls: int
    effects: int
    answers: int
    seconds: float
    digest: str
    """Of the whole history."""


class World:
    def __init__(
        self, scenario: Scenario, table: Transitions | None = None, between: Between | None = None
    ) -> None:
        self.scenario = scenario
        self.rng = random.Random(f"world {scenario.seed}")
        # The stubs say abstract of what asyncio itself leaves to raise NotImplementedError.
        self.loop = SimLoop(self.rng)  # type: ignore[abstract]
        self.history: list[tuple[Any, ...]] = []
        self.store = SimStore(self.loop, self.rng, scenario.store, table or Real())
        self.service = SimService(
            self.loop,
            self.rng,
            scenario.service,
            detects=scenario.detects,
            tells=scenario.tells,
            soft=scenario.soft,
            shuffles=scenario.rule.response.align == "key",
            names_offenders=scenario.names_offenders,
        )
        self.oracle = Oracle(scenario, self.store, self.service)
        self.proxies: list[Proxy] = []
        self._between = between
        self._attempts = itertools.count(1)
        self._attempt_of: dict[bytes, int] = {}
        self._serial = itertools.count(1)
        self._batch_calls = 0
        self.store.watch = self._watch
        self.service.asking = self._asking
        self.service.note = self.note

    def note(self, what: str, *details: Any) -> None:
        self.history.append((round(self.loop.time() - 1000, 4), what, *details))

    # ---- the store's tales ---------------------------------------------------------------------

    def _claiming(self, token: bytes) -> None:
        attempt = ATTEMPT.get()
        self._attempt_of[token] = attempt
        self.oracle.tokens[attempt].add(token)
        self.note("claim", attempt, token[-2:].hex())

    def _failed(self, token: bytes) -> None:
        attempt = self._attempt_of.get(token, 0)
        self.oracle.trouble.add(attempt)
        self.note("store failed", attempt)

    def _watch(self, key: bytes, before: Any, after: Any, token: bytes) -> None:
        self.note("record", self.oracle.names.get(key), after)
        self.oracle.changes(key, before, after, token)

    def _asking(self, attempt: int, tenant: str, items: Sequence[Any]) -> None:
        self.oracle.forwards(attempt, tenant, items)
        self._batch_calls += 1
        for number, seconds in self.scenario.stalls:
            if number == self._batch_calls:
                for proxy in self.proxies:
                    if proxy.name == PROCESS.get():
                        self._pause(proxy, seconds)

    # ---- processes -----------------------------------------------------------------------------

    def start_proxy(self) -> Proxy:
        number = next(self._serial)
        rng = random.Random(f"proxy {self.scenario.seed} {number}")
        tokens = itertools.count(number << 32)
        store: Store = ToldStore(self.store, STORE_TIMEOUT, self._claiming, self._failed)
        if self._between is not None:
            store = self._between(store, self.scenario.rule.wait)
        chance = random.Random(f"prompt {self.scenario.seed} {number}")
        store = Prompt(store, lambda: chance.random() < 0.8)
        flow = Flow(
            store,
            PromptUpstream(self.service, lambda: chance.random() < 0.8),
            KeyMaker("idem", None),
            Observer(),
            now_ms=self.store.now_ms,
            new_token=lambda: next(tokens).to_bytes(12, "big"),
            rng=rng,
        )
        proxy = Proxy(f"proxy {number}", flow, self.loop.create_future())
        self.proxies.append(proxy)
        return proxy

    def kill_one(self) -> None:
        if not self.proxies:
            return
        proxy = self.proxies.pop(int(self.rng.random() * len(self.proxies)))
        self.note("killed", proxy.name)
        self.loop.kill(proxy.name)
        proxy.death.set_result(None)
        self.loop.call_later(0.2 + self.rng.random() * 2, self.start_proxy)

    def pause_one(self, seconds: float) -> None:
        if not self.proxies:
            return
        self._pause(self.proxies[int(self.rng.random() * len(self.proxies))], seconds)

    def _pause(self, proxy: Proxy, seconds: float) -> None:
        self.note("stands still", proxy.name, seconds)
        self.oracle.stalled.update(proxy.attempts)
        self.loop.pause(proxy.name, seconds)

    # ---- clients -------------------------------------------------------------------------------

    async def client(self, number: int) -> None:
        """Sends its batch until every item has a definite answer."""
        scenario, rng = self.scenario, self.rng
        tenant, wanted = scenario.tenants[number], list(scenario.batches[number])
        whole = rng.random() < 0.5
        await asyncio.sleep(rng.random() * scenario.within)
        pause = 0.1
        for _ in range(60):
            told = await self.send(tenant, wanted, patient=rng.random() >= scenario.impatient)
            if told is not None:
                open_items = [
                    item for item, t in zip(wanted, told, strict=True) if not is_definite(t)
                ]
                if not open_items or self.settled_for_good(told):
                    return
                wanted = wanted if whole else open_items
            await asyncio.sleep(pause * (0.5 + rng.random()))
            pause = min(pause * 1.5, 3.0)
        raise ViolationError(f"NoKeyStuck: client {number} still wants {wanted}, told {told}")

    def settled_for_good(self, told: Sequence[Told]) -> bool:
        """Whether nothing but doubts are open that this rule never ends."""
        return self.scenario.never_resolves and all(
            is_definite(t) or t.code == Code.OUTCOME_UNKNOWN for t in told
        )

    def serve(self, proxy: Proxy, tenant: str, wanted: Sequence[Item]) -> asyncio.Task[Answer]:
        """``proxy`` handles a request, in a task of its own process."""
        attempt = next(self._attempts)
        self.note("request", attempt, proxy.name, tenant, wanted)
        names = {(tenant, key) for key, _ in wanted}
        self.oracle.asked[attempt] = names
        for name in sorted(names):
            self.oracle.key_of(name)
        context = contextvars.Context()
        context.run(PROCESS.set, proxy.name)
        context.run(ATTEMPT.set, attempt)
        proxy.attempts.append(attempt)
        if self.loop.stands_still(proxy.name):
            self.oracle.stalled.add(attempt)
        exchange = self._exchange(tenant, wanted, attempt)
        return self.loop.create_task(proxy.flow.handle(exchange), context=context)

    async def send(
        self, tenant: str, wanted: Sequence[Item], *, patient: bool = True
    ) -> list[Told] | None:
        """One request to some proxy. None: no answer, or one that says nothing of the items."""
        if not self.proxies:
            return None
        proxy = self.proxies[int(self.rng.random() * len(self.proxies))]
        began = self.loop.time()
        server = self.serve(proxy, tenant, wanted)
        attempt = proxy.attempts[-1]
        limit = 60.0 if patient else self.rng.random() * 3
        either: set[asyncio.Future[Any]] = {server, proxy.death}
        await asyncio.wait(either, timeout=limit, return_when="FIRST_COMPLETED")
        if not server.done():
            if not proxy.death.done():
                self.note("hangs up", attempt)
                server.cancel()
                if patient:
                    raise ViolationError(f"NoAnswer: attempt {attempt} within {limit} s")
            return None
        took = self.loop.time() - began
        if took > self.scenario.rule.deadline + 0.001 and attempt not in self.oracle.stalled:
            raise ViolationError(f"Deadline: attempt {attempt} after {took} s")
        if took >= self.scenario.rule.deadline:
            self.oracle.trouble.add(attempt)  # answered before the store had its say
        if self.scenario.calm and took > self.scenario.rule.wait:
            raise ViolationError(f"NobodyWaitsHolding: attempt {attempt} took {took} s")
        try:
            answer = server.result()
        except Problem as problem:
            self.note("problem", attempt, problem.status)
            return None
        told = read_answer(answer, attempt, tenant, wanted)
        self.note("answer", attempt, answer.status, [t.code or t.bare for t in told])
        self.oracle.hears(told)
        if self.scenario.calm:
            self._calm(told)
        return told

    def _calm(self, told: Sequence[Told]) -> None:
        """Where nothing fails, nobody waits so long for another request that it gives up."""
        for one in told:
            if one.code in {Code.IN_PROGRESS, Code.OUTCOME_UNKNOWN, Code.ISOLATION_LIMIT}:
                raise ViolationError(f"NobodyWaitsHolding: {one}")

    def _exchange(self, tenant: str, wanted: Sequence[Item], attempt: int) -> Exchange:
        body = orjson.dumps({"items": [{"key": k, "value": v} for k, v in wanted]})
        batch = read_batch(self.scenario.rule, body)
        assert isinstance(batch, Batch)
        headers = (("X-Tenant", tenant), ("Content-Type", "application/json"))
        return Exchange(
            rule=self.scenario.rule,
            batch=batch,
            method="POST",
            target="/items/batch",
            headers=headers,
            scope=(tenant,),
            request_id=str(attempt),
        )

    # ---- the whole run -------------------------------------------------------------------------

    async def main(self) -> None:
        scenario, loop = self.scenario, self.loop
        for _ in range(scenario.proxies):
            self.start_proxy()
        for step in scenario.crashes:
            loop.at_step[step] = self.kill_one
        for step, seconds in scenario.pauses:
            loop.at_step[step] = partial(self.pause_one, seconds)
        for when, writes in scenario.failovers:
            loop.call_later(when, self._fail_over, writes)
        for start, end in scenario.outages:
            loop.call_later(start, self._down, True)
            loop.call_later(end, self._down, False)
        loop.call_later(scenario.quiet_at, self.quiet)
        clients = [loop.create_task(self.client(n)) for n in range(len(scenario.batches))]
        await asyncio.gather(*clients)
        await self._settle_down()
        await self._ask_again()
        await self._settle_down()
        self.oracle.final()
        left = [t for t in loop.left() if t is not asyncio.current_task()]
        if left or loop.errors:
            raise ViolationError(f"NothingLeft: {left} {loop.errors}")

    def _fail_over(self, writes: int) -> None:
        self.note("failover", writes)
        self.store.fail_over(writes)

    def _down(self, down: bool) -> None:
        self.note("store down" if down else "store up")
        self.store.down = down

    def quiet(self) -> None:
        self.note("quiet")
        self.store.faults = StoreFaults()
        self.store.down = False
        self.service.faults = ServiceFaults()
        self.loop.at_step.clear()

    async def _settle_down(self) -> None:
        """Until nothing fails, every proxy is idle, and no abandoned call is on its way."""
        rest = self.scenario.quiet_at - (self.loop.time() - 1000)
        await asyncio.sleep(max(rest, 0.0) + self.scenario.service.late + 2.0)
        for proxy in self.proxies:
            if not await proxy.flow.drain(30.0):
                raise ViolationError(f"NothingLeft: {proxy.name} does not drain")

    async def _ask_again(self) -> None:
        """Every key gets a definite answer within a lease, a wait and what the rule asks for."""
        for (tenant, key), value in self._last_values().items():
            end = self.loop.time() + self.scenario.rule.lease + SETTLES_WITHIN + 5.0
            while True:
                told = await self.send(tenant, [(key, value)])
                if told is not None and (is_definite(told[0]) or self.settled_for_good(told)):
                    break
                if self.loop.time() > end:
                    raise ViolationError(f"NoKeyStuck: {tenant} {key}: {told}")
                await asyncio.sleep(0.5)

    def _last_values(self) -> dict[Item, str]:
        values: dict[Item, str] = {}
        for tenant, batch in zip(self.scenario.tenants, self.scenario.batches, strict=True):
            for key, value in batch:
                values[tenant, key] = value
        return values


def run(
    seed: int,
    table: Transitions | None = None,
    between: Between | None = None,
    scenario: Scenario | None = None,
) -> Seen:
    """One whole run. Raises ViolationError with the seed and the history."""
    world = World(scenario or draw(seed), table, between)
    error: Exception | None = None
    try:
        world.loop.run(world.main())
    except Exception as broken:  # noqa: BLE001 a crash of the driver is a finding too
        error = broken
    error = world.oracle.broken or error
    if error is not None:
        raise ViolationError(explain(seed, world, error)) from error
    return Seen(
        steps=world.loop.steps,
        calls=world.service.calls,
        effects=sum(len(e) for e in world.service.ledger.values()),
        answers=len(world.oracle.told),
        seconds=world.loop.time() - 1000,
        digest=hashlib.blake2b(repr(world.history).encode(), digest_size=8).hexdigest(),
    )


def explain(seed: int, world: World, error: Exception) -> str:
    """The seed, what broke, and all that happened."""
    what = str(error) if isinstance(error, ViolationError) else f"Raised: {error!r}"
    lines = [f"{what}\nseed {seed}: {world.scenario}"]
    lines += ["  ".join(map(str, entry)) for entry in world.history]
    lines.append(f"seed {seed}: {what}")
    return "\n".join(lines)
