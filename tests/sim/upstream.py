"""The simulated legacy service, with its ledger as the ground truth.

Law: what it does once is in the ledger, whoever heard of it. With detection it is all or nothing
and atomic; without, every execution is an effect. What it answers of a call that it turned away
is true: that call has no effect, then or later.

``{"items": [{"key", "value"}]}`` in, ``{"results": [{"id", "key", ...}]}`` out. A value that
begins with "bad" is invalid.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import orjson

from proxy.core.upstream import Call, Fault, Headers, NoReply, Purpose, Reply
from tests.sim.loop import NOWHERE

ATTEMPT: Final[contextvars.ContextVar[int]] = contextvars.ContextVar("attempt", default=0)
"""Which request of a client a call is made for; its tasks inherit it."""
JSON: Final = (("Content-Type", "application/json"), ("X-Service", "yes"))
RESET: Final = NoReply(Fault.UNKNOWN, "reset")
Name = tuple[str, str]
"""Tenant and key."""


@dataclass(frozen=True, slots=True)
class ServiceFaults:
    """Chances, one a call; together below 1. ``late``: seconds that an abandoned call may still
    take effect for."""

    latency: float = 0.02
    never_sent: float = 0.0
    reset_before: float = 0.0
    reset_after: float = 0.0
    reset_late: float = 0.0
    too_slow: float = 0.0
    error_before: float = 0.0
    error_after: float = 0.0
    unavailable: float = 0.0
    refused: float = 0.0
    garbled: float = 0.0
    short: float = 0.0
    late: float = 5.0


KINDS: Final = (
    "never_sent",
    "reset_before",
    "reset_after",
    "reset_late",
    "too_slow",
    "error_before",
    "error_after",
    "unavailable",
    "refused",
    "garbled",
    "short",
)


@dataclass(frozen=True, slots=True)
class Effect:
    attempt: int
    value: str
    raw: bytes


class SimService:
    """``asking`` is told of each batch call before anything of it can happen, ``happened`` of
    each effect."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rng: random.Random,
        faults: ServiceFaults,
        *,
        detects: bool,
        tells: bool = False,
        soft: bool = False,
        shuffles: bool = False,
        names_offenders: bool = False,
    ) -> None:
        self._loop = loop
        self._rng = rng
        self.faults = faults
        self._detects = detects
        self._tells = tells
        self._soft = soft
        self._shuffles = shuffles
        self._names = names_offenders
        self.ledger: dict[Name, list[Effect]] = {}
        self.on_its_way: Counter[Name] = Counter()
        """Keys of calls that have been sent, and may still have an effect."""
        self.asking: Callable[[int, str, Sequence[Any]], None] = lambda *_: None
        self.note: Callable[..., None] = lambda *_: None
        self._next_id = 2**63
        self.calls = 0

    async def call(self, call: Call, timeout: float) -> Reply | NoReply:
        self.calls += 1
        if call.purpose is Purpose.LOOKUP:
            return await self._asked(call, timeout)
        return await self._sent(call, timeout)

    async def close(self) -> None:
        """Nothing is open."""

    # ---- batches -------------------------------------------------------------------------------

    async def _sent(self, call: Call, timeout: float) -> Reply | NoReply:
        attempt, tenant = ATTEMPT.get(), _tenant(call.headers)
        items = orjson.loads(call.body)["items"]
        kind, latency = self._kind(), self.faults.latency
        there, back = self._rng.random() * latency, self._rng.random() * latency
        self.asking(attempt, tenant, items)
        self.note("call", attempt, tenant, [i["key"] for i in items], kind)
        if kind == "never_sent":
            await asyncio.sleep(there)
            return NoReply(Fault.NEVER_SENT, "refused")
        answer: asyncio.Future[Reply | NoReply] = self._loop.create_future()
        if kind in ("reset_before", "error_before", "unavailable", "refused"):
            said = self._without_effect(kind)
            self._loop.call_later(there + back, _tell, answer, said, context=NOWHERE)
            return await self._within(answer, timeout)
        when = there
        if kind in ("reset_late", "too_slow"):
            when += self._rng.random() * self.faults.late
        if kind == "too_slow":
            when += timeout
        if kind == "reset_late":
            self._loop.call_later(there, _tell, answer, RESET, context=NOWHERE)
        names = [(tenant, i["key"]) for i in items]
        self.on_its_way.update(names)

        def execute() -> None:
            self.on_its_way.subtract(names)
            said = self._work(attempt, tenant, items)
            self.note("executed", attempt, tenant, [i["key"] for i in items], said.status)
            told = self._spoil(kind, said)
            self._loop.call_later(back, _tell, answer, told, context=NOWHERE)

        self._loop.call_later(when, execute, context=NOWHERE)
        return await self._within(answer, timeout)

    def _without_effect(self, kind: str) -> Reply | NoReply:
        """503 may come after delivery, so that it says nothing where duplicates are not seen."""
        if kind == "reset_before":
            return RESET
        if kind == "error_before":
            return _reply(500, {"message": "broken"})
        if kind == "refused":
            return _reply(401, {"message": "who are you"})
        return _reply(503 if self._rng.random() < 0.5 else 429, {"message": "busy"})

    @staticmethod
    def _spoil(kind: str, said: Reply) -> Reply | NoReply:
        """What comes back of it: a complete answer is a rejection also where it is spoilt."""
        if kind == "reset_after":
            return RESET
        if kind == "error_after":
            return _reply(502, b"<html>bad gateway")
        if kind == "garbled":
            return Reply(said.status, said.headers, said.body[:-3]) if said.status < 300 else said
        if kind == "short" and said.status < 300:
            rows = orjson.loads(said.body)["results"]
            return _reply(said.status, {"results": rows[:-1]})
        return said

    def _kind(self) -> str:
        dice = self._rng.random()
        for kind in KINDS:
            dice -= getattr(self.faults, kind)
            if dice < 0:
                return kind
        return ""

    async def _within(
        self, answer: asyncio.Future[Reply | NoReply], timeout: float
    ) -> Reply | NoReply:
        timer = self._loop.call_later(
            timeout, _tell, answer, NoReply(Fault.UNKNOWN, "timeout", timed_out=True)
        )
        try:
            return await answer
        finally:
            timer.cancel()

    def _work(self, attempt: int, tenant: str, items: Sequence[Any]) -> Reply:
        bad = [n for n, i in enumerate(items) if i["value"].startswith("bad")]
        if bad and not self._soft:
            return self._reject(422, bad, "bad value")
        known = [n for n, i in enumerate(items) if (tenant, i["key"]) in self.ledger]
        if self._detects and not self._tells and known:
            return self._reject(409, known, "duplicate key")
        rows: list[bytes] = []
        for item in items:
            name = (tenant, item["key"])
            if item["value"].startswith("bad"):
                rows.append(b'{"key":%b,"status":"FAILED"}' % orjson.dumps(item["key"]))
                continue
            if self._tells and name in self.ledger:
                raw = self.ledger[name][0].raw
                rows.append(raw[:-1] + b',"status":"EXISTS"}')
                continue
            self._next_id += 1
            raw = b'{"id":%d,"key":%b,"tenant":"%b","value":%b,"rate":1.0}' % (
                self._next_id,
                orjson.dumps(item["key"]),
                tenant.encode(),
                orjson.dumps(item["value"]),
            )
            self.ledger.setdefault(name, []).append(Effect(attempt, item["value"], raw))
            rows.append(raw)
        if self._shuffles:
            self._rng.shuffle(rows)
        return Reply(201, JSON, b'{"results":[%b]}' % b",".join(rows))

    def _reject(self, status: int, at: list[int], message: str) -> Reply:
        body: dict[str, Any] = {"message": message}
        if self._names:
            body["errors"] = [{"index": n, "message": f"{message} at {n}"} for n in at]
        return _reply(status, body)

    # ---- lookups -------------------------------------------------------------------------------

    async def _asked(self, call: Call, timeout: float) -> Reply | NoReply:
        """The answer is read when the question arrives, and may be stale when it is heard."""
        rng, faults = self._rng, self.faults
        await asyncio.sleep(rng.random() * faults.latency)
        dice = rng.random()
        if dice < faults.reset_before + faults.reset_after:
            return RESET
        if dice < faults.reset_before + faults.reset_after + faults.error_before:
            return _reply(500, {"message": "broken"})
        answer = self._look_up(call)
        self.note("lookup", ATTEMPT.get(), call.target, answer.status)
        await asyncio.sleep(min(timeout / 2, rng.random() * faults.latency))
        return answer

    def _look_up(self, call: Call) -> Reply:
        tenant = _tenant(call.headers)
        if call.method == "POST":
            asked = orjson.loads(call.body)["keys"]
            rows = [self.ledger[tenant, k][0].raw for k in asked if (tenant, k) in self.ledger]
            return Reply(200, JSON, b'{"found":[%b]}' % b",".join(rows))
        key = parse_qs(urlsplit(call.target).query)["key"][0]
        if (tenant, key) not in self.ledger:
            return _reply(404, {"message": "no such item"})
        return Reply(200, JSON, b'{"item":%b}' % self.ledger[tenant, key][0].raw)


def _tell(answer: asyncio.Future[Reply | NoReply], said: Reply | NoReply) -> None:
    if not answer.done():
        answer.set_result(said)


def _tenant(headers: Headers) -> str:
    return next(value for name, value in headers if name == "X-Tenant")


def _reply(status: int, body: Any) -> Reply:
    return Reply(status, JSON, body if isinstance(body, bytes) else orjson.dumps(body))
