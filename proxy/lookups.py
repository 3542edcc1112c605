"""Ask the legacy service what it has. Law: an answer that cannot be relied on is ``Unsure``.

One call an item, ``upstream.concurrency`` at once, or one call for many where the rule's lookup
has the batch form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.calls import lookup_call
from proxy.core.upstream import Call, NoReply, Purpose, Reply, Upstream
from proxy.observe import Observer
from proxy.run import Run
from rules.lookup import batch_lookup, lookup_target, read_batch_lookup, read_lookup
from rules.model import Key, Looked, Unsure


class Lookups:
    """Lookups on behalf of requests, with the requests' own credentials."""

    def __init__(self, upstream: Upstream, observer: Observer) -> None:
        self._upstream = upstream
        self._observer = observer

    async def of(self, run: Run, indexes: Sequence[int]) -> dict[int, Looked]:
        """What the service has of these items, which all have keys. The rule has a lookup."""
        lookup = run.rule.upstream.lookup
        if lookup is None or not indexes:
            return {}
        keys = [run.exchange.batch.keys[i] or () for i in indexes]
        if lookup.is_batch:
            answers = await self._ask_all(run, keys)
        else:
            gate = asyncio.Semaphore(run.rule.upstream.concurrency)
            answers = await asyncio.gather(*(self._ask(run, key, gate) for key in keys))
        return dict(zip(indexes, answers, strict=True))

    async def _ask(self, run: Run, key: Key, gate: asyncio.Semaphore) -> Looked:
        async with gate:
            method, target, body = lookup_target(run.rule, key)
            reply = await self._call(run, lookup_call(run.exchange, method, target, body))
        if isinstance(reply, Unsure):
            return reply
        return read_lookup(run.rule, reply.status, reply.body)

    async def _ask_all(self, run: Run, keys: list[Key]) -> list[Looked]:
        method, target, body = batch_lookup(run.rule, keys)
        reply = await self._call(run, lookup_call(run.exchange, method, target, body))
        if isinstance(reply, Unsure):
            return [reply] * len(keys)
        return read_batch_lookup(run.rule, reply.status, reply.body, keys)

    async def _call(self, run: Run, call: Call) -> Reply | Unsure:
        left = run.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return Unsure("the request's deadline passed")
        started = run.clock()
        run.upstream_watch.start(started)
        reply = await self._upstream.call(call, min(left, run.rule.upstream.timeout))
        ended = run.clock()
        run.upstream_watch.stop(ended)
        run.upstream_calls += 1
        result = "unknown" if isinstance(reply, NoReply) else "accepted"
        self._observer.upstream_call(run.rule.name, Purpose.LOOKUP, result, ended - started)
        return Unsure(reply.detail) if isinstance(reply, NoReply) else reply
