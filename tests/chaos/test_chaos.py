"""Whole runs, short ones; ``make chaos`` and ``make soak`` are the long ones."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.report import render
from tests.chaos.soak import soak
from tests.chaos.stage import Outcome, run_once
from tests.fakes.processes import ROOT

pytestmark = [pytest.mark.process, pytest.mark.store]
FAULTS = 0.04


async def run(topology: str, *, detects: bool, seconds: float, keeps_word: bool = True) -> Outcome:
    outcome = await run_once(
        topology,
        detects=detects,
        seed=20261123,
        seconds=seconds,
        faults=FAULTS,
        keeps_word=keeps_word,
    )
    print(render(outcome))  # shown where it fails
    return outcome


async def test_a_few_seconds_under_fire_break_no_promise() -> None:
    outcome = await run("standalone", detects=True, seconds=4)

    assert outcome.verdict.violations == []
    assert outcome.injected.total() > 0
    assert outcome.answers["success"] > 50


@pytest.mark.slow
@pytest.mark.parametrize("detects", [True, False], ids=["detects", "does-not-detect"])
@pytest.mark.parametrize("topology", ["standalone", "sentinel", "cluster"])
async def test_two_minutes_of_everything_break_no_promise(topology: str, detects: bool) -> None:
    outcome = await run(topology, detects=detects, seconds=20)

    assert outcome.verdict.violations == []
    assert outcome.injected.total() >= 20
    assert outcome.answers["success"] > 200


@pytest.mark.slow
async def test_a_service_that_breaks_its_word_is_found() -> None:
    """The rules say that it detects duplicates, and it does not: effects happen twice."""
    outcome = await run("standalone", detects=True, seconds=15, keeps_word=False)

    broken = {violation.partition(":")[0] for violation in outcome.verdict.violations}
    assert "AtMostOneEffect" in broken


@pytest.mark.slow
async def test_a_short_soak_finds_nothing_that_creeps() -> None:
    given = argparse.Namespace(
        minutes=0.5, topology="standalone", faults=0.01, every=3.0, clients=4, sample=1.0, seed=1
    )

    assert await soak(given) == []


def left_behind(folder: Path) -> list[str]:
    """Processes that were started for a run whose temporary folders are in ``folder``: they have
    its name in their environment, or work in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            if str(folder).encode() in environment or str((process / "cwd").readlink()).startswith(
                str(folder)
            ):
                found.append((process / "cmdline").read_bytes().decode())
        except OSError:
            continue  # it has ended, or is another's
    return found


@pytest.mark.slow
@pytest.mark.parametrize("after", [1.0, 2.0, 6.0])
def test_a_run_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path, after: float) -> None:
    argv = [sys.executable, "-m", "tests.chaos", "--topology", "standalone", "--seed", "3"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    run = subprocess.Popen(argv, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        time.sleep(after)
        assert left_behind(tmp_path), "there is something to end"
        run.terminate()
        assert run.wait(30) != 0
    finally:
        run.kill()
        run.wait()

    assert left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
