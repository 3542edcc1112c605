"""A small legacy service behind the ``Upstream`` interface, with its ledger as the truth.

Really all or nothing: one duplicate or one bad item, and nothing of the batch is done. Faults
are given as a script: one entry a batch call, taken from the front, then none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from proxy.core.upstream import Call, Fault, NoReply, Purpose, Reply

JSON = (("Content-Type", "application/json"),)
Before = Callable[[Call], Awaitable[Reply | NoReply | None] | Reply | NoReply | None]


def reply(status: int, body: Any, *headers: tuple[str, str]) -> Reply:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return Reply(status, (*JSON, *headers), raw)


UNKNOWN = NoReply(Fault.UNKNOWN, "reset")
NEVER_SENT = NoReply(Fault.NEVER_SENT, "refused")


class Service:
    """``{"items": [{"key", "value"}]}`` in, ``{"results": [{"id", "key"}], "total"}`` out.

    A value of ``"bad"`` is invalid. ``script`` entries: a Reply or NoReply to give instead of
    working; ``"lose"``: work, then reset; a callable, which may answer, or return None to go on.
    """

    def __init__(self, *, detects: bool = True, names_offenders: bool = False) -> None:
        self.detects = detects
        self.names_offenders = names_offenders
        self.ledger: dict[Any, dict[str, Any]] = {}
        self.effects: list[Any] = []
        self.calls: list[Call] = []
        self.script: deque[Any] = deque()
        self.lookup_script: deque[Any] = deque()
        self.poisoned: set[Any] = set()
        self.delay = 0.0

    @property
    def batch_calls(self) -> list[Call]:
        return [c for c in self.calls if c.purpose is not Purpose.LOOKUP]

    @property
    def lookups(self) -> list[Call]:
        return [c for c in self.calls if c.purpose is Purpose.LOOKUP]

    @property
    def batches(self) -> list[list[Any]]:
        """The keys of each batch call."""
        return [[i.get("key") for i in orjson.loads(c.body)["items"]] for c in self.batch_calls]

    async def call(self, call: Call, timeout: float) -> Reply | NoReply:
        self.calls.append(call)
        if self.delay:
            await asyncio.sleep(self.delay)
        lookup = call.purpose is Purpose.LOOKUP
        script = self.lookup_script if lookup else self.script
        step = script.popleft() if script else None
        if callable(step):
            step = step(call)
            if step is not None and not isinstance(step, Reply | NoReply):
                step = await step
        if isinstance(step, Reply | NoReply):
            return step
        answer = self.look_up(call) if lookup else self.work(call)
        return UNKNOWN if step == "lose" else answer

    async def close(self) -> None:
        return None

    def work(self, call: Call) -> Reply:
        items = orjson.loads(call.body)["items"]
        bad = [i for i, item in enumerate(items) if item.get("value") == "bad"]
        if bad:
            return self._reject(422, bad, "bad value")
        keys = [item.get("key") for item in items]
        known = [
            i
            for i, k in enumerate(keys)
            if k is not None and (k in self.ledger or k in self.poisoned or k in keys[:i])
        ]
        if known and self.detects:
            return self._reject(409, known, "duplicate key")
        results = []
        for item, key in zip(items, keys, strict=True):
            self.effects.append(key)
            row = {"id": 2**63 + len(self.effects), "key": key}
            self.ledger.setdefault(key, row | {"value": item.get("value")})
            results.append(row)
        return reply(201, {"results": results, "total": len(results)}, ("X-Service", "yes"))

    def look_up(self, call: Call) -> Reply:
        if call.method == "POST":
            keys = orjson.loads(call.body)["keys"]
            return reply(200, {"found": [self.ledger[k] for k in keys if k in self.ledger]})
        key = parse_qs(urlsplit(call.target).query)["key"][0]
        if key not in self.ledger:
            return reply(404, {"message": "no such item"})
        return reply(200, {"item": self.ledger[key]})

    def _reject(self, status: int, at: list[int], message: str) -> Reply:
        body: dict[str, Any] = {"message": message}
        if self.names_offenders:
            body["errors"] = [{"index": i, "message": f"{message} at {i}"} for i in at]
        return reply(status, body)
