"""Every family is exported by its name and labels; workers add up; observing is cheap."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from proxy.metrics import FAMILIES, PREFIX, Metrics
from tests.ops.test_logs import REPORT


def told(metrics: Metrics) -> Metrics:
    """Every method of the observer, once."""
    metrics.rules_loaded(["orders"])
    metrics.batch(REPORT)
    metrics.upstream_call("orders", "batch", "accepted", 0.02)
    metrics.upstream_call("orders", "isolation", "rejected", 0.02)
    metrics.upstream_duplicate("orders", "not_found")
    metrics.wait("orders", "timeout")
    metrics.doubt("orders", "aa" * 16, "r-1", 0)
    metrics.store_call("claim", 0.001, ok=True)
    metrics.store_call("settle", 0.25, ok=False)
    metrics.backlog(4)
    metrics.in_flight(10)
    metrics.in_flight(-3)
    metrics.shadow("orders", "replayed", 2)
    metrics.passed_through("orders", "no_scope")
    metrics.limit("isolation_calls")
    metrics.commit_conflict("orders")
    metrics.rules_reload("refused")
    return metrics


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    content_type, text = metrics.exposition()
    assert content_type.startswith("text/plain; version=0.0.4")
    for family in text_string_to_metric_families(text.decode()):
        for one in family.samples:
            if one.name == PREFIX + name and one.labels == labels:
                return float(one.value)
    return None


def test_every_family_is_exported_with_its_labels() -> None:
    _, text = told(Metrics()).exposition()
    exported = {
        family.name: {name for one in family.samples for name in one.labels if name != "le"}
        for family in text_string_to_metric_families(text.decode())
        if family.name.startswith(PREFIX)
    }
    assert exported == {
        PREFIX + family.name.removesuffix("_total"): set(family.labels) for family in FAMILIES
    }


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("items_total", {"rule": "orders", "outcome": "new"}, 3),
        ("items_total", {"rule": "orders", "outcome": "mismatch"}, 0),
        ("batches_total", {"rule": "orders", "result": "partial"}, 1),
        ("batches_total", {"rule": "orders", "result": "passed"}, 1),
        ("passed_through_total", {"rule": "orders", "reason": "no_scope"}, 1),
        ("request_duration_seconds_count", {"rule": "orders"}, 1),
        ("overhead_seconds_bucket", {"rule": "orders", "le": "0.003"}, 1),
        ("overhead_seconds_bucket", {"rule": "orders", "le": "0.002"}, 0),
        ("upstream_duration_seconds_count", {"rule": "orders", "delivery": "rejected"}, 1),
        ("upstream_calls_total", {"rule": "orders", "purpose": "batch"}, 1),
        ("isolation_calls_total", {"rule": "orders"}, 1),
        ("upstream_duplicates_total", {"rule": "orders", "result": "not_found"}, 1),
        ("upstream_duplicates_total", {"rule": "orders", "result": "adopted"}, 0),
        ("waits_total", {"rule": "orders", "result": "timeout"}, 1),
        ("doubts_total", {"rule": "orders"}, 1),
        ("store_duration_seconds_count", {"op": "claim"}, 1),
        ("store_errors_total", {"op": "settle"}, 1),
        ("store_up", {}, 0),
        ("settle_backlog", {}, 4),
        ("in_flight_items", {}, 7),
        ("shadow_items_total", {"rule": "orders", "would": "replayed"}, 2),
        ("rules_reload_total", {"result": "refused"}, 1),
        ("rules_reload_total", {"result": "accepted"}, 0),
        ("rules_up_to_date", {}, 0),
        ("limits_total", {"limit": "isolation_pace"}, 0),
        ("limits_total", {"limit": "isolation_calls"}, 1),
        ("commit_conflicts_total", {"rule": "orders"}, 1),
    ],
)
def test_what_is_told_is_counted(name: str, labels: dict[str, str], value: float) -> None:
    assert sample(told(Metrics()), name, **labels) == value


def test_overhead_is_never_negative() -> None:
    metrics = Metrics()
    metrics.batch(replace(REPORT, seconds=0.01, upstream_seconds=0.03))
    assert sample(metrics, "overhead_seconds_sum", rule="orders") == 0


def test_the_store_is_up_until_it_is_not_and_again() -> None:
    metrics = Metrics()

    def state() -> tuple[bool | None, float | None]:
        return metrics.store_up, sample(metrics, "store_up")

    assert state() == (None, 1)
    metrics.store_call("claim", 0.1, ok=False)
    assert state() == (False, 0)
    metrics.store_call("claim", 0.1, ok=True)
    assert state() == (True, 1)


def test_two_instances_do_not_mix() -> None:
    one, other = told(Metrics()), Metrics()
    assert sample(one, "doubts_total", rule="orders") == 1
    assert sample(other, "doubts_total", rule="orders") is None


def test_totals_are_by_rule_and_label() -> None:
    totals = told(Metrics()).totals("items_total", "outcome")
    assert totals["orders"]["new"] == 3
    assert totals["orders"]["replayed"] == 2


WORKER = """
import sys
from proxy.metrics import Metrics
from tests.ops.test_metrics import told
metrics = Metrics(multiproc_dir=sys.argv[1], worker=int(sys.argv[2]))
told(metrics)
print(metrics.exposition()[1].decode())
"""


def worker(folder: Path, number: int) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", WORKER, str(folder), str(number)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.process
def test_workers_add_up_and_a_restarted_worker_goes_on(tmp_path: Path) -> None:
    worker(tmp_path, 0)
    assert 'idemproxy_doubts_total{rule="orders"} 2.0' in worker(tmp_path, 1)
    files = sorted(p.name for p in tmp_path.iterdir())
    text = worker(tmp_path, 1)
    assert 'idemproxy_doubts_total{rule="orders"} 3.0' in text
    assert 'idemproxy_request_duration_seconds_count{rule="orders"} 3.0' in text
    # Gauges are of now: worker 1 began again with nothing in flight.
    assert "idemproxy_in_flight_items 14.0" in text
    assert "idemproxy_store_up 0.0" in text
    assert "idemproxy_build_info{" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == files


def test_observing_a_batch_costs_microseconds() -> None:
    metrics = Metrics()
    report = replace(REPORT, outcomes={"new": 60, "replayed": 38, "rejected": 2})
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(1000):
            metrics.batch(report)
        best = min(best, (time.perf_counter() - begun) / 1000)
    assert best < 100e-6  # 5 on an idle core; a string built a call would cost more than this
