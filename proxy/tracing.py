"""OpenTelemetry spans around the driver and its two seams. Law: off, it does not exist.

A batch is a span, below the client's own where it sent a traceparent; what the driver asks of the
store (claim, settle, read) and of the service (forward, isolate, lookup) are spans below it. They
are made by wrappers of the same interfaces, which are put in only where tracing is on: off, not
one line of this runs, and the packages of the extra ``otel`` are not even imported.

The client's traceparent is passed on in any case; on, the service gets that of the call's own span.
A span never has a body, a key, a scope or a credential.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from proxy import __version__
from proxy.core.record import ClaimReply, Record, Settlement, SettleReply, Terms
from proxy.core.upstream import Call, Headers, NoReply, Purpose, Reply, Upstream
from proxy.errors import StoreUnavailable
from proxy.exchange import Answer, Exchange
from proxy.headers import first, without
from proxy.store.base import Store, StoreInfo

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from proxy.app import Driver

_Attributes = dict[str, str | int]
_LOG: Final = logging.getLogger(__name__)
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROPAGATED: Final = ("traceparent", "tracestate")
_NAMES: Final = {
    Purpose.BATCH: "forward",
    Purpose.ISOLATION: "isolate",
    Purpose.LOOKUP: "lookup",
}


class Tracing:
    """Wraps the driver, the store and the service; ``close`` sends what is left."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("idemproxy", __version__)

    def driver(self, inner: Driver) -> Driver:
        return _TracedDriver(inner, self._tracer)

    def store(self, inner: Store) -> Store:
        return _TracedStore(inner, self._tracer)

    def upstream(self, inner: Upstream) -> Upstream:
        return _TracedUpstream(inner, self._tracer)

    def close(self) -> None:
        self._provider.shutdown()


def from_environment(env: Mapping[str, str] = os.environ) -> Tracing | None:
    """None unless OpenTelemetry's own variables name an OTLP endpoint, and the extra is there."""
    disabled = env.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or not any(env.get(name) for name in ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        _LOG.warning(
            "an OTLP endpoint is set, but the extra is missing: pip install 'idemproxy[otel]'",
            extra={"missing": error.name},
        )
        return None
    name = env.get("OTEL_SERVICE_NAME", "idemproxy")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


class _TracedDriver:
    def __init__(self, inner: Driver, tracer: Tracer) -> None:
        from opentelemetry.trace import SpanKind

        self._inner, self._tracer, self._server = inner, tracer, SpanKind.SERVER

    async def handle(self, exchange: Exchange) -> Answer:
        attributes: _Attributes = {
            "idemproxy.rule": exchange.rule.name,
            "idemproxy.items": len(exchange.batch),
            "idemproxy.request_id": exchange.request_id,
            "http.request.method": exchange.method,
        }
        with self._tracer.start_as_current_span(
            "batch", _parent(exchange.headers), self._server, attributes
        ) as span:
            answer = await self._inner.handle(exchange)
            span.set_attribute("http.response.status_code", answer.status)
            return answer


class _TracedStore:
    def __init__(self, inner: Store, tracer: Tracer) -> None:
        self._inner, self._tracer = inner, tracer

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        with self._span("claim", keys):
            return await self._inner.claim(keys, fingerprints, token, terms)

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        with self._span("settle", keys) as span:
            span.set_attribute("idemproxy.steps", sorted({type(one).__name__ for one in steps}))
            return await self._inner.settle(keys, steps, token, terms)

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        with self._span("read", keys):
            return await self._inner.read(keys)

    async def probe(self) -> StoreInfo:
        return await self._inner.probe()

    async def close(self) -> None:
        await self._inner.close()

    def _span(self, name: str, keys: Sequence[bytes]) -> AbstractContextManager[Span]:
        return self._tracer.start_as_current_span(name, attributes={"idemproxy.items": len(keys)})


class _TracedUpstream:
    def __init__(self, inner: Upstream, tracer: Tracer) -> None:
        from opentelemetry.trace import SpanKind, StatusCode

        self._inner, self._tracer = inner, tracer
        self._client, self._error = SpanKind.CLIENT, StatusCode.ERROR

    async def call(self, call: Call, timeout: float) -> Reply | NoReply:
        attributes: _Attributes = {
            "http.request.method": call.method,
            "http.request.body.size": len(call.body),
        }
        with self._tracer.start_as_current_span(
            _NAMES[call.purpose], kind=self._client, attributes=attributes
        ) as span:
            said = await self._inner.call(
                replace(call, headers=_with_context(call.headers), kept=None), timeout
            )
            if isinstance(said, Reply):
                span.set_attribute("http.response.status_code", said.status)
            else:
                span.set_attribute("error.type", str(said.fault))
                span.set_status(self._error)
            return said

    async def close(self) -> None:
        await self._inner.close()


def _parent(headers: Headers) -> Context:
    """The client's span, as its traceparent and tracestate say."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {name: value for name in _PROPAGATED if (value := first(headers, name))}
    return TraceContextTextMapPropagator().extract(carrier)


def _with_context(headers: Headers) -> Headers:
    """The current span in place of the client's."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return (*without(headers, _PROPAGATED), *carrier.items())
