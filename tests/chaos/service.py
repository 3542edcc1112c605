"""The legacy service of a chaos run, as a process: ``python -m tests.chaos.service``.

``POST /ENDPOINT/items`` takes ``{"items": [{"key", "value"}]}``, all or nothing, and answers
``{"results": [...]}``; a value that begins with "bad" is invalid. ``GET /asked/items?key=K``
looks one up. With chance ``--faults`` a call goes wrong in one of the ways of ``KINDS``.

Law: what it answers of a call that it turned away is true: that call has no effect, ever.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from tests.chaos.ledger import DuplicateError, Ledger, Name

TIMEOUT: Final = 1.0
"""What the rules wait for an answer."""
LATE: Final = (TIMEOUT * 1.1, TIMEOUT * 1.6)
"""Seconds of a call that is given up meanwhile."""

BEFORE: Final = ("busy", "refused", "error-before", "reset-before")
"""No effect."""
AFTER: Final = ("error-after", "reset-after", "slow-after", "garbled", "short", "too-few")
"""The effect is there, and the answer is not."""
KINDS: Final = (*BEFORE, "slow-before", *AFTER)


class Service:
    def __init__(self, ledger: Ledger, rate: float, seed: int, *, names: bool) -> None:
        self._ledger = ledger
        self._rate = rate
        self._rng = random.Random(seed)
        self._names = names

    async def batch(self, request: web.Request) -> web.StreamResponse:
        items = [(i["key"], i["value"]) for i in (await request.json())["items"]]
        fault = self._fault(KINDS)
        await asyncio.sleep(self._rng.random() * 0.01)
        if fault in BEFORE:
            return self._turned_away(request, fault)
        if fault == "slow-before":
            await asyncio.sleep(self._rng.uniform(*LATE))
        if refusal := self._invalid(request, items):
            return refusal
        endpoint, tenant = request.match_info["endpoint"], request.headers["X-Tenant"]
        attempt = int(request.headers["X-Attempt"])
        try:
            results = self._ledger.execute(endpoint, tenant, attempt, items)
        except DuplicateError:
            return web.json_response({"message": "a key was used before"}, status=409)
        return await self._told(request, results, fault)

    async def lookup(self, request: web.Request) -> web.StreamResponse:
        fault = self._fault(("lookup-error", "lookup-reset", "lookup-slow"))
        if fault == "lookup-error":
            return web.json_response({"message": "broken"}, status=500)
        if fault == "lookup-reset":
            return _reset(request)
        if fault == "lookup-slow":
            await asyncio.sleep(self._rng.uniform(*LATE))
        raw = self._ledger.find(Name("asked", request.headers["X-Tenant"], request.query["key"]))
        if raw is None:
            return web.json_response({"error": "NOT_FOUND"}, status=404)
        return _json(b'{"item":' + raw + b"}")

    def _fault(self, kinds: tuple[str, ...]) -> str | None:
        if self._rng.random() >= self._rate:
            return None
        kind = self._rng.choice(kinds)
        self._ledger.note(kind)
        return kind

    def _invalid(
        self, request: web.Request, items: list[tuple[str, str]]
    ) -> web.StreamResponse | None:
        wrong = [(n, key) for n, (key, value) in enumerate(items) if value.startswith("bad")]
        if not wrong:
            return None
        said: dict[str, Any] = {"message": f"item {wrong[0][1]} is bad"}
        if self._names and request.match_info["endpoint"] == "asked":
            said["errors"] = [{"index": n, "message": f"item {key} is bad"} for n, key in wrong]
        return web.json_response(said, status=422)

    @staticmethod
    def _turned_away(request: web.Request, fault: str) -> web.StreamResponse:
        if fault == "busy":
            body, headers = {"message": "too much"}, {"Retry-After": "1"}
            return web.json_response(body, status=429, headers=headers)
        if fault == "refused":
            return web.json_response({"message": "who are you"}, status=401)
        if fault == "error-before":
            return web.json_response({"message": "broken"}, status=500)
        return _reset(request)

    async def _told(
        self, request: web.Request, results: list[bytes], fault: str | None
    ) -> web.StreamResponse:
        if fault == "error-after":
            return web.json_response({"message": "broken"}, status=500)
        if fault == "reset-after":
            return _reset(request)
        if fault == "slow-after":
            await asyncio.sleep(self._rng.uniform(*LATE))
        if fault == "garbled":
            return _raw(request, b"HTTP/1.1 2OO Fine\r\n\x00\x01\r\n\r\n")
        if fault == "too-few":
            results = results[:-1]
        body = b'{"results":[' + b", ".join(results) + b"]}"
        if fault == "short":
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            return _raw(request, head + body[: len(body) // 2])
        return _json(body)


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


def _reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _raw(request: web.Request, data: bytes) -> web.StreamResponse:
    """``data`` in place of a response, and the connection's end."""
    if request.transport is not None:
        request.transport.write(data)
        request.transport.close()
    return web.Response()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--detects", choices=("yes", "no"), required=True)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    ledger = Ledger(given.ledger, detects=given.detects == "yes")
    service = Service(ledger, given.faults, given.seed, names=True)
    app = web.Application()
    app.router.add_post("/{endpoint}/items", service.batch)
    app.router.add_get("/asked/items", service.lookup)
    app.router.add_get("/", lambda _: _alive())
    web.run_app(
        app, host="127.0.0.1", port=given.port, print=None, access_log=None, reuse_address=True
    )


async def _alive() -> web.Response:
    return web.Response(text=json.dumps("alive"))


if __name__ == "__main__":
    main()
