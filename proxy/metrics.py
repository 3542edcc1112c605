"""Every metric of the proxy. Law: labels are bounded (rules, outcomes); no key, no tenant.

``FAMILIES`` is the table that this file, docs/metrics.md and the tests of the alerts and the
dashboard share. A registry belongs to one ``Metrics``, so that two in one process do not mix.

With several workers each writes to files of its own in one folder, named by the worker's number
and not by its process id: a worker that is started again goes on with its counters, and the
number of files stays bounded. Whoever is asked adds them up.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from proxy import __version__
from proxy.observe import BatchReport, Observer
from proxy.tallies import Tallies, Usual

PREFIX: Final = "idemproxy_"

OUTCOMES: Final = (
    "new",
    "replayed",
    "echoed",
    "mismatch",
    "in_progress",
    "unknown",
    "rejected",
    "unavailable",
    "invalid",
)
BATCH_RESULTS: Final = ("success", "partial", "failed", "passed")
DUPLICATE_RESULTS: Final = ("adopted", "template", "not_found", "mismatch", "unknown")
WAIT_RESULTS: Final = ("replayed", "claimed", "timeout")
RELOAD_RESULTS: Final = ("accepted", "refused")
PASSED_REASONS: Final = ("off", "no_scope", "empty", "unreadable")
LIMITS: Final = (
    *("isolation_calls", "isolation_pace", "items", "body_size", "buffered", "body_timeout"),
    *("header_size", "headers", "header_timeout", "bad_request", "connections", "slow_reader"),
    "shadow",
)

_WHOLE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OVERHEAD = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005),
    *(0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)
_STORE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. ``name`` is without the prefix, and a counter's with its ``_total``.
    ``merge``: how a gauge's values of several workers become one."""

    kind: str
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merge: str = ""


FAMILIES: Final = (
    Family("counter", "items_total", "Items answered, by outcome.", ("rule", "outcome")),
    Family("counter", "batches_total", "Batches answered, by result.", ("rule", "result")),
    Family("histogram", "request_duration_seconds", "A whole batch.", ("rule",), _WHOLE),
    Family(
        "histogram", "upstream_duration_seconds", "One upstream call.", ("rule", "delivery"), _WHOLE
    ),
    Family(
        "histogram",
        "overhead_seconds",
        "A batch's time less its upstream calls and its waiting.",
        ("rule",),
        _OVERHEAD,
    ),
    Family("histogram", "store_duration_seconds", "One store call.", ("op",), _STORE),
    Family("counter", "store_errors_total", "Store calls that were not answered.", ("op",)),
    Family("gauge", "store_up", "0 where the store's last call was not answered.", merge="livemin"),
    Family("gauge", "in_flight_items", "Items being handled now.", merge="livesum"),
    Family("counter", "waits_total", "Items waited for, by how that ended.", ("rule", "result")),
    Family("counter", "isolation_calls_total", "Upstream calls made by isolation.", ("rule",)),
    Family("counter", "upstream_calls_total", "Upstream calls, by purpose.", ("rule", "purpose")),
    Family(
        "counter",
        "upstream_duplicates_total",
        "Items that the service called duplicates, by what became of them.",
        ("rule", "result"),
    ),
    Family("counter", "doubts_total", "Items whose outcome nobody knows.", ("rule",)),
    Family("gauge", "settle_backlog", "Outcomes not yet in the store.", merge="livesum"),
    Family(
        "counter",
        "shadow_items_total",
        "What enforcing would have done, by item.",
        ("rule", "would"),
    ),
    Family("counter", "rules_reload_total", "Reloads of the rules, by result.", ("result",)),
    Family(
        "gauge",
        "rules_up_to_date",
        "0 where the rules file was refused and older rules are in force.",
        merge="livemin",
    ),
    Family("gauge", "build_info", "Always 1.", ("version", "python"), merge="livemax"),
    Family(
        "counter",
        "passed_through_total",
        "Batches of a rule that went through as they came, by reason.",
        ("rule", "reason"),
    ),
    Family("counter", "limits_total", "Limits that were reached.", ("limit",)),
    Family(
        "counter",
        "commit_conflicts_total",
        "Results whose key was committed with other content.",
        ("rule",),
    ),
)

# They are a second series for every counter, which no query of ours reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

_Child = Counter | Gauge | Histogram
_BUCKETS: Final = {family.name: family.buckets for family in FAMILIES}


class Metrics(Observer):
    """Counts what the driver tells."""

    def __init__(self, *, multiproc_dir: str | None = None, worker: int = 0) -> None:
        self._folder = multiproc_dir
        if multiproc_dir is not None:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = multiproc_dir
            values.ValueClass = values.MultiProcessValue(  # type: ignore[no-untyped-call]
                lambda: worker
            )
        self.registry = CollectorRegistry()
        self._tallies = Tallies(
            self._child,  # type: ignore[arg-type]
            self._child,  # type: ignore[arg-type]
            self._child,  # type: ignore[arg-type]
            lambda key: _BUCKETS[key[0]],
            at_once=multiproc_dir is not None,
        )
        self._counted, self._observed = self._tallies.add, self._tallies.observe
        self._usual = usual = Usual(self._tallies, self._store_went)
        # Past this class: a call that hands on to another is a step in the interpreter.
        self.in_flight = usual.in_flight  # type: ignore[method-assign]
        self.store_call = usual.store_call  # type: ignore[method-assign]
        self.upstream_call = usual.upstream_call  # type: ignore[method-assign]
        self.registry.register(self._tallies)
        if multiproc_dir is None:
            ProcessCollector(registry=self.registry)
        self._families = {family.name: self._make(family) for family in FAMILIES}
        self._children: dict[tuple[str, ...], _Child] = {}
        self._gauge("build_info", __version__, platform.python_version()).set(1)
        self._backlog = self._gauge("settle_backlog")
        self._gauge("store_up").set(1)
        self._gauge("in_flight_items").set(0)
        self._backlog.set(0)
        self._up_to_date = self._gauge("rules_up_to_date")
        self._up_to_date.set(1)
        for result in RELOAD_RESULTS:
            self._counter("rules_reload_total", result)
        for limit in LIMITS:
            self._counter("limits_total", limit)

    def _make(self, family: Family) -> _Child:
        name = PREFIX + family.name
        if family.kind == "counter":
            return Counter(name, family.help, family.labels, registry=self.registry)
        if family.kind == "gauge":
            return Gauge(
                name,
                family.help,
                family.labels,
                registry=self.registry,
                multiprocess_mode=family.merge,  # type: ignore[arg-type]
            )
        return Histogram(
            name, family.help, family.labels, registry=self.registry, buckets=family.buckets
        )

    def _child(self, key: tuple[str, ...]) -> _Child:
        child = self._children.get(key)
        if child is None:
            family = self._families[key[0]]
            child = family.labels(*key[1:]) if len(key) > 1 else family
            self._children[key] = child
        return child

    def _counter(self, *key: str) -> Counter:
        return self._child(key)  # type: ignore[return-value]

    def _gauge(self, *key: str) -> Gauge:
        return self._child(key)  # type: ignore[return-value]

    def _histogram(self, *key: str) -> Histogram:
        return self._child(key)  # type: ignore[return-value]

    # ---- what the driver tells ----------------------------------------------------------------

    def batch(self, report: BatchReport) -> None:
        rule = report.rule
        for outcome, count in report.outcomes.items():
            if count:
                self._counted(("items_total", rule, outcome), count)
        self._counted(("batches_total", rule, report.result))
        self._observed(("request_duration_seconds", rule), report.seconds)
        overhead = report.seconds - report.upstream_seconds - report.waiting_seconds
        # Calls under way at once can add up to more than the request's own time.
        self._observed(("overhead_seconds", rule), max(0.0, overhead))

    def upstream_duplicate(self, rule: str, result: str) -> None:
        self._counter("upstream_duplicates_total", rule, result).inc()

    def wait(self, rule: str, result: str) -> None:
        self._counter("waits_total", rule, result).inc()

    def doubt(self, rule: str, digest: str, request_id: str, index: int) -> None:  # noqa: ARG002
        self._counter("doubts_total", rule).inc()

    def _store_went(self, op: str, ok: bool) -> None:
        if not ok:
            self._counter("store_errors_total", op).inc()
        self._gauge("store_up").set(int(ok))

    def backlog(self, size: int) -> None:
        self._backlog.set(size)

    def shadow(self, rule: str, would: str, items: int = 1) -> None:
        self._counter("shadow_items_total", rule, would).inc(items)

    def passed_through(self, rule: str, reason: str) -> None:
        self._counter("batches_total", rule, "passed").inc()
        self._counter("passed_through_total", rule, reason).inc()

    def limit(self, name: str) -> None:
        self._counter("limits_total", name).inc()

    def commit_conflict(self, rule: str) -> None:
        self._counter("commit_conflicts_total", rule).inc()

    # ---- what the process tells ---------------------------------------------------------------

    def rules_loaded(self, names: Iterable[str]) -> None:
        """Start every series of these rules at zero: a counter that first appears as 1 has not
        increased in the eyes of an alert."""
        for rule in names:
            for outcome in OUTCOMES:
                self._counter("items_total", rule, outcome)
            for result in BATCH_RESULTS:
                self._counter("batches_total", rule, result)
            for result in DUPLICATE_RESULTS:
                self._counter("upstream_duplicates_total", rule, result)
            for name in ("doubts_total", "isolation_calls_total", "commit_conflicts_total"):
                self._counter(name, rule)
            for name in ("request_duration_seconds", "overhead_seconds"):
                self._histogram(name, rule)

    def rules_reload(self, result: str) -> None:
        """``accepted`` or ``refused``."""
        self._counter("rules_reload_total", result).inc()
        self._up_to_date.set(int(result == "accepted"))

    # ---- what others ask ----------------------------------------------------------------------

    @property
    def store_up(self) -> bool | None:
        """Whether the store's last call was answered; None before the first."""
        return self._usual.store_up

    def _collecting(self) -> CollectorRegistry:
        if self._folder is None:
            return self.registry
        merged = CollectorRegistry()
        MultiProcessCollector(merged, path=self._folder)  # type: ignore[no-untyped-call]
        return merged

    def exposition(self) -> tuple[str, bytes]:
        """Content type and text for a scrape; with several workers, all of them added up."""
        self._tallies.flush()
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._collecting())

    def totals(self, name: str, label: str) -> Mapping[str, Mapping[str, int]]:
        """A counter's values, rule by rule, by ``label``: ``totals("items_total", "outcome")``."""
        self._tallies.flush()
        found: dict[str, dict[str, int]] = {}
        if self._folder is None:
            collected = self._families[name].collect()
        else:
            collected = self._collecting().collect()
        for metric in collected:
            for sample in metric.samples:
                if sample.name == PREFIX + name:
                    row = found.setdefault(sample.labels["rule"], {})
                    row[sample.labels[label]] = int(sample.value)
        return found
