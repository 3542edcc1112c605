"""The promises hold in 2,000 simulated runs; a run follows from its seed alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.sim.mutants import MUTANTS
from tests.sim.oracle import ViolationError
from tests.sim.scenario import LATE, SETTLES_WITHIN, draw
from tests.sim.test_mutants import broken_promise
from tests.sim.world import run

SEEDS = 2_000
CHUNK = 100


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_the_promises_hold(first: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    for seed in range(first, first + CHUNK):
        run(seed)


def test_a_seed_gives_the_same_run_again() -> None:
    for seed in range(40, 60):
        assert run(seed) == run(seed)


def test_a_seed_gives_the_same_run_in_another_process() -> None:
    """Nothing hangs on the order of a set or on an address."""
    script = "from tests.sim.world import run; print([run(n).digest for n in range(40, 60)])"
    env = os.environ | {"PYTHONHASHSEED": "17"}
    told = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == str([run(n).digest for n in range(40, 60)])


def test_the_seeds_reach_what_they_are_for() -> None:
    """A simulation in which nothing goes wrong proves nothing."""
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        scenario = draw(seed)
        seen["calm"] += scenario.calm
        seen["crash"] += bool(scenario.crashes)
        seen["pause"] += bool(scenario.pauses)
        seen["stall"] += bool(scenario.stalls)
        seen["failover"] += bool(scenario.failovers)
        seen["outage"] += bool(scenario.outages)
        seen["lost replies"] += scenario.store.reply_lost > 0
        seen["late"] += scenario.service.too_slow + scenario.service.reset_late > 0
        seen["effect and 5xx"] += scenario.service.error_after > 0
        seen["no detection"] += not scenario.detects
        seen["lookup"] += scenario.rule.upstream.lookup is not None
        seen[f"align {scenario.rule.response.align}"] += 1
        stops = (*scenario.pauses, *scenario.stalls)
        longest = max((seconds for _, seconds in stops), default=0.0)
        assert LATE + longest < scenario.rule.lease + SETTLES_WITHIN, (
            "settles_within would be a lie"
        )
    assert min(seen.values()) >= SEEDS / 40, seen
    assert len(seen) == 11 + 4


def test_a_failing_run_prints_its_seed_and_its_history() -> None:
    (mutant,) = (m for m in MUTANTS if m.name == "release on unknown")
    broken = (seed for seed in range(100) if broken_promise(seed, mutant))
    with pytest.raises(ViolationError) as caught:
        run(seed := next(broken), mutant.table)
    text = str(caught.value)
    assert f"\nseed {seed}: " in text
    assert "  request  1  " in text
    assert "  record  " in text
