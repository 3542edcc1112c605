"""The simulation itself is tested: each of the model's mutants, planted in the code, falls."""

from __future__ import annotations

import pytest

from tests.model.run import MUTANTS as OF_THE_MODEL
from tests.sim.mutants import MUTANTS, Base, Mutant
from tests.sim.oracle import ViolationError
from tests.sim.world import run

SEEDS = 2_000


def test_each_mutant_of_the_model_is_planted() -> None:
    assert [m.name for m in MUTANTS] == [name for name, _, _ in OF_THE_MODEL]


def test_the_substitutes_alone_break_nothing() -> None:
    for seed in range(20):
        assert run(seed, Base()) == run(seed)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name.replace(" ", "-"))
def test_it_falls(mutant: Mutant, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    for seed in range(SEEDS):
        promise = broken_promise(seed, mutant)
        if promise is not None:
            # by a promise that it breaks, and not by an accident of its own code
            assert promise in mutant.promises
            return
    pytest.fail(f"{mutant.name} survives {SEEDS} seeds")


def broken_promise(seed: int, mutant: Mutant) -> str | None:
    try:
        run(seed, mutant.table, mutant.between)
    except ViolationError as violation:
        return violation.promise
    return None
