"""A spent budget of isolation is told, and what isolation waits for is no overhead."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.metrics import Metrics
from tests.fakes.rig import Recorder, Rig, items, make_rule
from tests.fakes.virtual import virtual


class Both(Recorder, Metrics):
    """Keeps what the driver tells, and counts it."""

    def __init__(self) -> None:
        Recorder.__init__(self)
        Metrics.__init__(self)
        self.limits: list[str] = []

    def limit(self, name: str) -> None:
        self.limits.append(name)


async def isolated(**rule: Any) -> Both:
    """One batch of sixteen with one bad item, bisected."""
    seen = Both()
    rig = Rig(make_rule(upstream__offenders=None, **rule), seen=seen)
    await rig.send(items(*range(16), **{"7": "bad"}))
    return seen


@virtual
async def test_within_its_budget_no_limit_is_told() -> None:
    seen = await isolated()
    assert seen.limits == []
    (report,) = seen.reports
    assert report.outcomes == {"new": 15, "rejected": 1}


@virtual
async def test_a_budget_of_calls_that_is_spent_is_told() -> None:
    seen = await isolated(upstream__isolate={"max_calls": 2})
    assert set(seen.limits) == {"isolation_calls"}


@virtual
async def test_a_pace_that_outlasts_the_deadline_is_told() -> None:
    seen = await isolated(upstream__isolate={"per_second": 0.01})
    assert set(seen.limits) == {"isolation_pace"}


@virtual
async def test_waiting_for_a_turn_is_waiting_and_no_overhead() -> None:
    seen = await isolated(upstream__isolate={"per_second": 2})
    (report,) = seen.reports
    assert report.waiting_seconds > 1
    overhead = report.seconds - report.upstream_seconds - report.waiting_seconds
    assert overhead == pytest.approx(0, abs=0.001)
