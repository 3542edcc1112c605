"""What creeps is found, and what only trembles is not."""

from __future__ import annotations

import random

import pytest

from tests.chaos.soak import Sample, creeping, growth

FLAT = Sample(0, 80 * 2**20, 40, 5, 10, 0)


def series(rise: float, name: str, noise: float, count: int = 60) -> list[Sample]:
    """``name`` rises by ``rise`` over the time, and trembles by ``noise``."""
    rng = random.Random(3)
    made = []
    for number in range(count):
        values = {k: getattr(FLAT, k) for k in ("rss", "fds", "threads", "in_flight", "backlog")}
        values[name] += rise * number / (count - 1) + rng.uniform(-noise, noise)
        made.append(Sample(number * 5.0, **values))
    return made


def test_a_straight_line_grows_by_what_it_rises() -> None:
    assert growth([(0, 5), (10, 15), (20, 25)]) == pytest.approx(20)
    assert growth([(0, 5), (10, 5)]) == 0


@pytest.mark.parametrize(
    ("name", "rise", "noise"),
    [("rss", 30 * 2**20, 2**20), ("fds", 60, 5), ("threads", 8, 0), ("backlog", 200, 10)],
)
def test_what_creeps_is_found_and_what_trembles_is_not(
    name: str, rise: float, noise: float
) -> None:
    assert [what.split()[0] for what in creeping(series(rise, name, noise))] == [name]
    assert creeping(series(0, name, noise)) == []


def test_what_fills_at_the_start_is_no_creep() -> None:
    samples = series(0, "rss", 0)
    first = [Sample(s.at, s.rss / 2, s.fds, s.threads, 0, 0) for s in samples[:15]]

    assert creeping([*first, *samples[15:]]) == []


def test_too_little_to_judge_by_is_said_so() -> None:
    with pytest.raises(ValueError, match="too few"):
        creeping(series(0, "rss", 0, count=4))
