"""The pure path gets no dearer than a fifth beyond what was recorded."""

from __future__ import annotations

import pytest

from bench import guard
from proxy.core.keys import KeyMaker
from rules.load import load_rules

TRIES = 3
"""Load on the machine moves a ratio now and then; a path that got dearer is so every time."""


def test_the_pure_path_is_as_cheap_as_it_was() -> None:
    before = guard.recorded()
    if before is None:
        pytest.skip(f"nothing recorded for Python {guard.python()}: python -m bench.guard --record")
    dear: dict[str, str] = {}
    for _ in range(TRIES):
        dear = guard.too_dear(guard.measure(rounds=300), before)
        if not dear:
            return
    pytest.fail(f"dearer than recorded in bench/ratio.json: {dear}")


def test_a_fifth_is_allowed_and_more_is_not() -> None:
    before = {"1": 1.0, "100": 0.5}
    assert guard.too_dear({"1": 1.2, "100": 0.6}, before) == {}
    assert set(guard.too_dear({"1": 1.19, "100": 0.61}, before)) == {"100"}


def test_the_reference_and_the_path_do_their_work() -> None:
    rule = load_rules(str(guard.HERE / "rules.yaml")).rules[0]
    body, answer = guard.request_of(3), guard.response_of(3)
    painted = guard.pure_path(rule, KeyMaker("idem"), body, answer)
    assert painted.count(b'"isIdempotent":false') == 3
    assert painted.count(b"17000000000000000") == 3
    assert guard.reference(body, answer).count(b'"isIdempotent": false') == 3
