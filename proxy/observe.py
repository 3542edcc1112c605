"""What the driver tells of its work. Law: calls that return nothing, and never raise or wait.

The base class is silent; ``metrics.Metrics`` counts. Labels are bounded: no key, no tenant.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class BatchReport(Struct):
    """One stitched answer, for the batch's log line and its metrics. Durations are seconds.

    ``result``: success (no item failed), partial, failed, passed (the upstream's own answer).
    ``outcomes``: number of items by the outcome names of ``items_total``.
    """

    rule: str
    mode: str
    request_id: str
    result: str
    status: int
    outcomes: Mapping[str, int]
    seconds: float
    upstream_seconds: float
    waiting_seconds: float
    upstream_calls: int
    deliveries: tuple[str, ...] = ()
    trace_id: str = ""


class Observer:
    """Silent. Each method is one metric of the contract's section 8."""

    def batch(self, report: BatchReport) -> None:
        """items_total, batches_total, request_duration_seconds, overhead_seconds; the log line."""

    def upstream_call(self, rule: str, purpose: str, delivery: str, seconds: float) -> None:
        """upstream_calls_total, upstream_duration_seconds; isolation_calls_total by purpose."""

    def upstream_duplicate(self, rule: str, result: str) -> None:
        """upstream_duplicates_total: adopted, template, not_found, mismatch, unknown."""

    def wait(self, rule: str, result: str) -> None:
        """waits_total: replayed, claimed, timeout."""

    def doubt(self, rule: str, digest: str, request_id: str, index: int) -> None:
        """doubts_total, and one log line each."""

    def store_call(self, op: str, seconds: float, ok: bool) -> None:
        """store_duration_seconds, store_errors_total, store_up."""

    def backlog(self, size: int) -> None:
        """settle_backlog."""

    def in_flight(self, change: int) -> None:
        """in_flight_items, by ``change``."""

    def shadow(self, rule: str, would: str, items: int = 1) -> None:
        """shadow_items_total: the outcome names, and unreadable, isolated."""

    def passed_through(self, rule: str, reason: str) -> None:
        """batches_total with the result passed: no_scope, unreadable, empty, off."""

    def limit(self, name: str) -> None:
        """A limit that bit."""

    def commit_conflict(self, rule: str) -> None:
        """A commit found another content committed."""
