"""The client hangs up at each await of the driver: its work goes on, and nothing is left behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.fate import Code
from proxy.core.record import Held
from rules.model import Rule
from tests.fakes.rig import LOOKUP, make_rule
from tests.sim.scenario import Scenario, draw
from tests.sim.store import StoreFaults
from tests.sim.upstream import ServiceFaults
from tests.sim.world import World

WANTED = (("k0", "value k0"), ("k1", "bad k1"), ("k2", "value k2"), ("k0", "value k0"))
GOOD = (("k0", "value k0"), ("k2", "value k2"))

RULES: dict[str, dict[str, Any]] = {
    "detects": {},
    "detects, lookup": {"upstream__lookup": LOOKUP},
    "aligned by lookup": {"upstream__lookup": LOOKUP, "response__align": "lookup"},
    "no detection": {"upstream__detects_duplicates": False},
    "chunks at once": {"upstream__max_items": 1, "upstream__concurrency": 3},
}


def quiet(rule: Rule) -> Scenario:
    """One proxy, nothing that fails."""
    scenario = draw(0)
    return replace(
        scenario,
        rule=rule,
        calm=False,
        tells=False,
        soft=False,
        names_offenders=False,
        proxies=1,
        crashes=(),
        pauses=(),
        stalls=(),
        failovers=(),
        outages=(),
        store=StoreFaults(),
        service=ServiceFaults(),
        quiet_at=0.0,
    )


def rule_of(changes: dict[str, Any]) -> Rule:
    return make_rule(
        scope=["header:X-Tenant"],
        upstream__timeout="1s",
        lease="3s",
        wait="1s",
        deadline="6s",
        **changes,
    )


def hang_up(scenario: Scenario, step: int) -> int:
    """Send one request, hang up at ``step`` of the loop, and look at what is left."""
    world = World(scenario)

    async def main() -> None:
        proxy = world.start_proxy()
        server = world.serve(proxy, "red", WANTED)
        world.loop.at_step[step] = server.cancel
        await asyncio.wait({server})
        assert await proxy.flow.drain(60)
        for key in world.store.all_keys():
            assert not isinstance(world.store.peek(key), Held), "a claim outlives its request"
        assert proxy.flow.under_way == 0
        told = await world.send("red", GOOD)
        assert told is not None
        assert [t.code for t in told] in ([None, None], [Code.OUTCOME_UNKNOWN] * 2), told
        assert await proxy.flow.drain(60)
        assert [t for t in world.loop.left() if t is not asyncio.current_task()] == []
        world.oracle.final()

    world.loop.run(main())
    assert not world.loop.errors
    assert world.oracle.broken is None
    return world.loop.steps


@pytest.mark.parametrize("changes", RULES.values(), ids=RULES)
def test_the_client_hangs_up_at_each_await(changes: dict[str, Any]) -> None:
    scenario = quiet(rule_of(changes))
    steps = hang_up(scenario, 1_000_000)
    assert steps > 40
    for step in range(1, steps):
        hang_up(scenario, step)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(seed=st.integers(0, 10**6), step=st.integers(1, 200))
def test_the_client_hangs_up_while_calls_fail(seed: int, step: int) -> None:
    drawn = draw(seed)
    calm = quiet(rule_of(RULES["detects, lookup"]))
    faults = replace(drawn.service, never_sent=0.0)
    hang_up_and_recover(replace(calm, service=faults, store=drawn.store, seed=seed), step)


def hang_up_and_recover(scenario: Scenario, step: int) -> None:
    """Where calls fail, what is left is settled, or free when its lease ends."""
    world = World(scenario)

    async def main() -> None:
        proxy = world.start_proxy()
        server = world.serve(proxy, "red", WANTED)
        world.loop.at_step[step] = server.cancel
        await asyncio.wait({server})
        assert await proxy.flow.drain(60)
        world.quiet()
        await asyncio.sleep(scenario.rule.lease + scenario.service.late + 2)
        told = await world.send("red", GOOD)
        assert told is not None
        assert [t.code for t in told] == [None, None]
        assert await proxy.flow.drain(60)
        assert [t for t in world.loop.left() if t is not asyncio.current_task()] == []
        world.oracle.final()

    world.loop.run(main())
    assert world.oracle.broken is None
