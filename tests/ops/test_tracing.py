"""Spans where they are asked for, nothing at all where they are not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from proxy.headers import first
from proxy.store.memory import MemoryStore
from proxy.tracing import Tracing, from_environment
from tests.fakes.rig import LOOKUP, Rig, items, make_rule
from tests.fakes.service import UNKNOWN, Service

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = (("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"), ("tracestate", "vendor=1"))


class Traced:
    """A rig with the wrappers in, and the spans that came out."""

    def __init__(self, **rule: Any) -> None:
        self.kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.kept))
        self.tracing = Tracing(provider)
        self.service = Service()
        self.rig = Rig(
            make_rule(**rule),
            service=self.service,
            upstream=self.tracing.upstream(self.service),
            store=self.tracing.store(MemoryStore()),
        )
        self.driver = self.tracing.driver(self.rig.flow)

    async def send(self, *keys: str, **more: Any) -> list[ReadableSpan]:
        self.kept.clear()
        await self.driver.handle(self.rig.exchange(items(*keys), headers=CLIENT, **more))
        await self.rig.flow.drain(5)
        return sorted(self.kept.get_finished_spans(), key=lambda span: span.start_time or 0)


def names(spans: list[ReadableSpan]) -> list[str]:
    return [span.name for span in spans]


async def test_a_batch_is_a_span_with_claim_forward_and_settle_below() -> None:
    batch, *inner = await Traced().send("a", "b")
    assert batch.name == "batch"
    assert names(inner) == ["claim", "forward", "settle"]
    assert batch.parent is not None
    assert batch.parent.span_id == 0x00F067AA0BA902B7
    assert batch.context is not None
    for span in inner:
        assert span.parent is not None
        assert span.parent.span_id == batch.context.span_id
    for span in (batch, *inner):
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == TRACE
    assert dict(batch.attributes or {}) == {
        "idemproxy.rule": "items",
        "idemproxy.items": 2,
        "idemproxy.request_id": "r1",
        "http.request.method": "POST",
        "http.response.status_code": 201,
    }


async def test_isolation_and_lookups_have_spans_of_their_own() -> None:
    traced = Traced(upstream__lookup=LOOKUP)
    await traced.send("a")
    traced.rig.store = MemoryStore()
    again = Traced(upstream__lookup=LOOKUP)
    again.service.ledger = traced.service.ledger
    spans = names(await again.send("a", "b"))
    assert spans[:3] == ["batch", "claim", "forward"]
    assert {"isolate", "lookup", "settle"} <= set(spans)


async def test_the_service_gets_the_context_of_the_call() -> None:
    traced = Traced()
    spans = await traced.send("a")
    (forward,) = [span for span in spans if span.name == "forward"]
    assert forward.context is not None
    (call,) = traced.service.calls
    sent = [value for name, value in call.headers if name.lower() == "traceparent"]
    assert sent == [f"00-{TRACE}-{forward.context.span_id:016x}-01"]
    assert first(call.headers, "tracestate") == "vendor=1"


async def test_a_call_without_an_answer_is_an_error() -> None:
    traced = Traced()
    traced.service.script.append(UNKNOWN)
    spans = await traced.send("a")
    (forward,) = [span for span in spans if span.name == "forward"]
    assert not forward.status.is_ok
    assert (forward.attributes or {})["error.type"] == "unknown"


async def test_spans_hold_no_key_and_no_scope() -> None:
    spans = await Traced().send("s3cret-key", scope=("s3cret-tenant",))
    text = " ".join(span.to_json() for span in spans)
    assert "s3cret" not in text


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_it_is_off_unless_an_endpoint_is_named(env: dict[str, str]) -> None:
    assert from_environment(env) is None


def test_it_is_on_with_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9")
    tracing = from_environment()
    assert tracing is not None
    tracing.close()


@pytest.mark.process
def test_off_imports_nothing_and_a_missing_extra_is_said() -> None:
    """In a process of its own, in which the packages cannot be imported."""
    code = """
import sys, logging
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Missing())
import proxy.serve
from proxy.tracing import from_environment
assert from_environment({}) is None
logging.basicConfig()
assert from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "idemproxy[otel]" in done.stderr
