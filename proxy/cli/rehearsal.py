"""What the proxy would answer, given one response of the service. Law: the driver itself decides.

The real driver runs over an empty embedded store; its one upstream call is answered with the
response at hand. What would need another call (a lookup, isolation) is left undecided.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from msgspec import structs

from proxy.core.keys import KeyMaker
from proxy.core.plan import Plan, make_plan
from proxy.core.upstream import Call, Fault, NoReply, Purpose, Reply
from proxy.exchange import Answer, Exchange
from proxy.flow import Flow
from proxy.observe import Observer
from proxy.store.memory import MemoryStore
from rules.model import Align, Batch, Rule, Verdict
from rules.request import fingerprints
from rules.response import Response, is_duplicate, is_failed, offenders, results, verdict

_MEANING: Final = {
    Verdict.ACCEPTED: "the batch was done",
    Verdict.DUPLICATE: "nothing was done: the service had one of the items",
    Verdict.REJECTED: "nothing was done: the service found fault with the content",
    Verdict.UNAVAILABLE: "nothing was done: the service asks to try again",
    Verdict.REFUSED: "nothing was done: the request as a whole was turned away",
    Verdict.UNKNOWN: "no list of the rule names this response: nobody knows what was done",
}


class _OneReply:
    """Answers the call that forwards the batch, and no other."""

    def __init__(self, reply: Reply, *, every_call: bool) -> None:
        self._reply = reply
        self._every_call = every_call
        self._calls = 0

    async def call(self, call: Call, timeout: float) -> Reply | NoReply:  # noqa: ARG002 -- it answers at once
        if call.purpose is Purpose.LOOKUP:
            return NoReply(Fault.NEVER_SENT, "no response to the lookup is given")
        self._calls += 1
        if self._calls > 1 and not self._every_call:
            return NoReply(Fault.NEVER_SENT, "no second response is given")
        return self._reply

    async def close(self) -> None:
        """Nothing is open."""


def plan_of(rule: Rule, batch: Batch) -> tuple[Plan, list[bytes]]:
    """Which items are claimed, and every item's fingerprint."""
    prints = fingerprints(rule, batch.raws)
    compared: Sequence[bytes | None] = prints
    if rule.request.ignore_mismatch:
        compared = [None] * len(prints)
    plan = make_plan(
        batch.keys,
        batch.problems,
        compared,
        forward_missing_key=rule.request.forward_missing_key,
    )
    return plan, prints


def reading(rule: Rule, batch: Batch, sent: Sequence[int], reply: Reply) -> list[str]:
    """How the rule reads the response: a verdict, and what it says of each item."""
    response = Response(reply.status, reply.body)
    said = verdict(rule, response)
    lines = [f"verdict  {said}: {_MEANING[said]}"]
    if said is Verdict.ACCEPTED:
        return lines + _accepted(rule, batch, sent, response)
    if said in (Verdict.DUPLICATE, Verdict.REJECTED):
        return lines + _rejected(rule, batch, sent, response)
    return lines


def _accepted(rule: Rule, batch: Batch, sent: Sequence[int], response: Response) -> list[str]:
    if rule.response.align is Align.LOOKUP:
        return ["results  each item is looked up"]
    found = results(rule, response, [batch.keys[i] for i in sent])
    if found is None:
        return [f"results  cannot be matched one to one with the {len(sent)} items sent"]
    lines = []
    for index, raw in zip(sent, found, strict=True):
        failing = is_failed(rule, raw)
        known = "duplicate: " if is_duplicate(rule, raw) else ""
        text = raw.decode("utf-8", "replace")
        lines.append(f"item {index}   {'failed: ' if failing else known}{text}")
    return lines


def _rejected(rule: Rule, batch: Batch, sent: Sequence[int], response: Response) -> list[str]:
    if len(sent) == 1:
        return [f"offender item {sent[0]}: the only one sent"]
    named = offenders(rule, response, batch, sent)
    if named:
        return [f"offender item {sent[place]}: {words}" for place, words in sorted(named.items())]
    lookup = rule.upstream.lookup
    asked = lookup is not None and lookup.is_batch and verdict(rule, response) is Verdict.DUPLICATE
    way = "asks for all of them with the lookup" if asked else "halves the batch and tries again"
    return [f"offender none is named: the proxy {way}"]


async def answer_to(exchange: Exchange, reply: Reply) -> Answer:
    """The whole answer, every item being new to the store."""
    rule = _alone(exchange.rule)
    is_single = rule.response.align is Align.SINGLE
    flow = Flow(
        MemoryStore(),
        _OneReply(reply, every_call=is_single),
        KeyMaker(),
        Observer(),
        now_ms=lambda: time.time_ns() // 1_000_000,
    )
    answer = await flow.handle(structs.replace(exchange, rule=rule))
    await flow.drain(1.0)
    return answer


def _alone(rule: Rule) -> Rule:
    """The rule with the first forward left and no more: no chunks, no lookup before it, no call
    of isolation after it."""
    upstream = rule.upstream
    lookup = None if upstream.lookup is None else replace(upstream.lookup, always=False)
    isolate = replace(upstream.isolate, max_calls=0)
    changed = replace(upstream, lookup=lookup, isolate=isolate, max_items=None)
    return replace(rule, upstream=changed)
