"""The model's runner judges rightly: a survivor, a failure and a broken run are not passes."""

from __future__ import annotations

import pytest

from tests.model.run import (
    DETECTS,
    MUTANTS,
    ONE,
    SAFETY,
    SPEC,
    TWO,
    Job,
    all_jobs,
    configuration,
    read_log,
)

HELD = """Model checking completed. No error has been found.
9731 states generated, 1,888 distinct states found, 0 states left on queue.
Finished in 00s at (2026-01-01 00:00:00)"""
BROKEN = """Error: Invariant AtMostOneEffect is violated.
Error: The behavior up to this point is:
100 states generated, 41 distinct states found, 3 states left on queue.
Finished in 00s at (2026-01-01 00:00:00)"""
STOPPED = "Progress(10): 115,489 states generated, 29,866 distinct states found, 17,234 left"
UNPARSED = """***Parse Error***
Finished in 00s at (2026-01-01 00:00:00)"""
RANDOM = """Progress: 600765 states checked.
Finished in 04s at (2026-01-01 00:00:00)"""


@pytest.mark.parametrize(
    ("kind", "simulate", "log", "right"),
    [
        ("model", False, HELD, True),
        ("model", False, BROKEN, False),
        ("model", False, STOPPED, False),
        ("model", False, UNPARSED, False),
        ("model", True, RANDOM, True),
        ("model", True, STOPPED, False),
        ("model", True, UNPARSED, False),
        ("mutant", False, BROKEN, True),
        ("mutant", False, HELD, False),
        ("mutant", False, STOPPED, False),
        ("mutant", False, UNPARSED, False),
        ("reach", False, BROKEN, True),
        ("reach", False, HELD, False),
    ],
)
def test_what_counts_as_right(kind: str, simulate: bool, log: str, right: bool) -> None:
    outcome = read_log(Job(kind, ONE, DETECTS, simulate=simulate), log, 1.0)
    assert outcome.is_right is right


def test_states_are_read() -> None:
    assert read_log(Job("model", ONE, DETECTS), HELD, 1.0).states == 1888
    assert read_log(Job("mutant", ONE, DETECTS), BROKEN, 1.0).broken == "AtMostOneEffect"


def test_every_mutant_and_invariant_stands_in_the_specification() -> None:
    text = SPEC.read_text()
    assert len(MUTANTS) >= 10
    for name, _, _ in MUTANTS:
        assert f'Mutant = "{name}"' in text or f'Mutant # "{name}"' in text, name
    for job in all_jobs():
        assert all(f"{name} ==" in text for name in job.invariants)


def test_a_configuration_names_its_mutant_and_its_narrow_requests() -> None:
    job = Job("mutant", TWO, DETECTS, mutant="hold and wait")
    text = configuration(job)
    assert 'Mutant = "hold and wait"' in text
    assert "Narrow = {r2}" in text
    assert "SYMMETRY" not in text
    assert set(SAFETY) <= set(text.split())
    assert "SYMMETRY Symmetry" in configuration(Job("model", ONE, DETECTS))
