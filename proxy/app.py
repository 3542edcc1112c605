"""The data listener: each request goes to the driver, or through. Law: decide once, then hand on.

::

    arrive ──> tunnel?  ──> websocket
       │
       ├── no rule, off, no scope ──────────> passthrough
       ├── shadow ──> passthrough with a tap ──> shadow.observe, after the client has its answer
       └── enforce ──> read the batch ──> flow ──> its answer
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from aiohttp import web

from proxy.arrival import Inbound
from proxy.batching import Applies, Batching, exchange_of, is_surely_off, scope_headers
from proxy.budget import Budget
from proxy.core.upstream import Headers
from proxy.edge.body import ClientBody
from proxy.edge.coding import TooLarge, Undecodable, decode
from proxy.edge.respond import SlowReaderError, WireResponse, whole
from proxy.edge.server import EdgeRequest
from proxy.errors import Problem
from proxy.exchange import Answer, Exchange
from proxy.headers import VIA, first, identified
from proxy.inbound import arrive
from proxy.lifecycle import Lifecycle
from proxy.observe import Observer
from proxy.passthrough import Copy, Passthrough, Tap
from proxy.refusal import refusal
from proxy.settings import Settings
from proxy.websocket import WebSockets, is_websocket
from rules.match import RuleSet
from rules.model import Mode, Rule

_LOG: Final = logging.getLogger(__name__)
_WATCHED_AT_ONCE: Final = 64


class Driver(Protocol):
    """What answers enforced batches: ``proxy.flow.Flow``."""

    async def handle(self, exchange: Exchange) -> Answer: ...


class Watcher(Protocol):
    """What watches a rule in shadow mode: ``proxy.shadow.Shadow``."""

    async def observe(
        self,
        rule: Rule,
        scope: tuple[str, ...],
        request_id: str,
        body: bytes,
        status: int,
        response_body: bytes,
    ) -> None: ...


class DataApp:
    """The handler of the data listener's ``EdgeServer``."""

    def __init__(
        self,
        settings: Settings,
        rules: Callable[[], RuleSet],
        *,
        batching: Batching,
        flow: Driver,
        shadow: Watcher,
        passthrough: Passthrough,
        websockets: WebSockets,
        lifecycle: Lifecycle,
        observer: Observer,
        budget: Budget,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._batching = batching
        self._flow = flow
        self._shadow = shadow
        self._passthrough = passthrough
        self._websockets = websockets
        self._lifecycle = lifecycle
        self._observer = observer
        self._budget = budget
        self._watching: set[asyncio.Task[None]] = set()
        self._scope_headers: tuple[RuleSet | None, frozenset[str]] = (None, frozenset())

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if not isinstance(request, EdgeRequest):
            raise TypeError("the data listener is served by EdgeServer")
        body = ClientBody(request, self._settings.body_timeout, self._budget, self._observer)
        try:
            return await self._answer(request, body)
        except SlowReaderError:
            self._observer.limit("slow_reader")
            raise
        finally:
            body.close()

    @property
    def buffered(self) -> int:
        """Bytes of request bodies that are held."""
        return self._budget.held

    async def drain(self, wait: float) -> bool:
        """Wait for shadow observations under way."""
        if not self._watching:
            return True
        _, pending = await asyncio.wait(self._watching, timeout=wait)
        return not pending

    async def _answer(self, request: EdgeRequest, body: ClientBody) -> WireResponse:
        rules = self._rules()
        try:
            inbound = arrive(request, body, self._settings, self._names(rules))
        except Problem as problem:
            return self._refusal(problem, body, close=True)
        try:
            return await self._route(inbound, rules)
        except Problem as problem:
            return self._refusal(problem, body, close=False, request_id=inbound.request_id)

    async def _route(self, inbound: Inbound, rules: RuleSet) -> WireResponse:
        if inbound.upgrade and self._is_batch_route(inbound, rules):
            raise Problem(501, "upgrade-on-batch", "send the batch without Upgrade")
        if is_websocket(inbound):
            return await self._websockets.forward(inbound)
        with self._lifecycle.request():
            applied = await self._batching.applies(inbound, rules)
            if applied is None:
                return await self._passthrough.forward(inbound)
            if applied.mode is Mode.SHADOW:
                return await self._watch(inbound, applied)
            return await self._enforce(inbound, applied)

    async def _enforce(self, inbound: Inbound, applied: Applies) -> WireResponse:
        batch = await self._batching.read(inbound, applied.rule)
        if batch is None:
            return await self._passthrough.forward(inbound)
        exchange = exchange_of(inbound, applied, batch)
        answer = await self._flow.handle(exchange)
        headers = identified((*answer.headers, VIA), inbound.request_id)
        return self._whole(answer.status, headers, answer.body, close=False)

    async def _watch(self, inbound: Inbound, applied: Applies) -> WireResponse:
        limit = applied.rule.request.max_bytes
        tap = Tap(Copy(limit), Copy(self._settings.upstream_max_response))
        response = await self._passthrough.forward(inbound, tap)
        if len(self._watching) >= _WATCHED_AT_ONCE:
            self._observer.limit("shadow")
            return response
        task = asyncio.create_task(self._observe(inbound, applied, tap))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return response

    async def _observe(self, inbound: Inbound, applied: Applies, tap: Tap) -> None:
        """Nothing that happens here may reach the client, which has its answer already."""
        rule = applied.rule
        try:
            coding = first(inbound.headers, "content-encoding") or ""
            body = _plain(tap.request, coding, rule.request.max_bytes)
            answer = _plain(tap.response, tap.coding, self._settings.upstream_max_response)
            if body is None or answer is None:
                self._observer.shadow(rule.name, "unreadable")
                return
            await self._shadow.observe(
                rule, applied.scope, inbound.request_id, body, tap.status, answer
            )
        except Exception:  # noqa: BLE001 - see above
            _LOG.exception("shadow mode failed", extra={"request_id": inbound.request_id})

    def _is_batch_route(self, inbound: Inbound, rules: RuleSet) -> bool:
        candidates = rules.candidates(inbound.method, inbound.raw_path)
        return any(not is_surely_off(rule, None) for rule, _ in candidates)

    def _names(self, rules: RuleSet) -> frozenset[str]:
        """The loaded rules' scope headers, worked out once for each set of rules."""
        if self._scope_headers[0] is not rules:
            self._scope_headers = (rules, scope_headers(rules))
        return self._scope_headers[1]

    def _refusal(
        self, problem: Problem, body: ClientBody, *, close: bool, request_id: str = ""
    ) -> WireResponse:
        """A problem document. What is left of the body is not waited for: the connection ends."""
        status, headers, document = refusal(problem, request_id)
        return self._whole(status, headers, document, close=close or not body.ended)

    def _whole(self, status: int, headers: Headers, body: bytes, *, close: bool) -> WireResponse:
        return whole(
            status,
            headers,
            body,
            close=close or self._lifecycle.draining,
            send_timeout=self._settings.send_timeout,
        )


def _plain(copy: Copy, coding: str, limit: int) -> bytes | None:
    """A copy without its content coding; None where it is too large or not in that coding."""
    data = copy.whole
    if data is None or not coding or coding == "identity":
        return data
    try:
        return decode(coding, data, limit)
    except (TooLarge, Undecodable):
        return None
