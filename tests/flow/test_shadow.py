"""Shadow mode records what went by and counts what enforcing would have done."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.core.record import Done
from proxy.shadow import Shadow
from proxy.store.memory import MemoryStore
from rules.model import Rule
from tests.fakes.rig import LOOKUP, Recorder, Rig, items, make_rule
from tests.fakes.stores import FaultyStore
from tests.fakes.virtual import virtual


class Watch:
    """A rig whose traffic goes by unclaimed, and a shadow that sees it."""

    def __init__(self, rule: Rule | None = None) -> None:
        self.link = FaultyStore(MemoryStore())
        self.rig = Rig(rule, store=self.link)
        self.seen = Recorder()
        self.shadow = Shadow(self.link, self.rig.keys, self.seen, now_ms=lambda: 1_000)

    async def passes(self, batch: list[Any] | bytes, status: int, answer: Any) -> dict[str, int]:
        """What this exchange counted."""
        self.seen.counts.clear()
        body = batch if isinstance(batch, bytes) else orjson.dumps({"items": batch})
        await self.shadow.observe(
            self.rig.rule, (), "r", body, status, orjson.dumps({"results": answer})
        )
        return {str(key[1]): n for key, n in self.seen.counts.items()}


@virtual
async def test_what_shadow_recorded_is_replayed_when_the_rule_is_enforced() -> None:
    watch = Watch()
    assert await watch.passes(items("a", "b"), 201, [{"id": 1}, {"id": 2}]) == {"new": 2}
    sent = await watch.rig.send(items("b", "c"))
    assert sent.replays == [True, False]
    assert sent.results[0]["id"] == 2
    assert sent.results[0]["processedAt"] == "1970-01-01T00:00:01.000Z"


@virtual
async def test_it_counts_what_enforcing_would_have_done() -> None:
    watch = Watch()
    await watch.passes(items("a", "b"), 200, [{"id": 1}, {"id": 2}])
    counted = await watch.passes([*items("a", "c", "c"), *items("b", b="x"), {}], 409, [])
    assert counted == {
        "replayed": 1,
        "new": 1,
        "echoed": 1,
        "mismatch": 1,
        "invalid": 1,
        "isolated": 1,
        "retry_saved": 1,
    }
    assert await watch.passes(items("a"), 409, []) == {
        "replayed": 1,
        "call_saved": 1,
        "isolated": 1,
        "retry_saved": 1,
    }
    assert await watch.passes(b"no json", 400, []) == {"unreadable": 1}


@virtual
async def test_rejected_and_failed_items_are_not_recorded_and_claims_are_never_made() -> None:
    watch = Watch(make_rule(response__failed={"pointer": "/ok", "equals": False}))
    await watch.passes(items("a"), 422, [])
    await watch.passes(items("b", "c"), 200, [{"ok": True}, {"ok": False}])
    keys = watch.rig.keys.store_keys("items", 1, (), [("a",), ("b",), ("c",)])
    records = await watch.link.read(keys)
    assert [type(r) for r in records] == [type(None), Done, type(None)]
    assert {op for op, _ in watch.link.calls} == {"read", "settle"}


@virtual
async def test_results_that_fit_no_item_are_not_recorded() -> None:
    watch = Watch()
    assert await watch.passes(items("a", "b"), 200, [{"id": 1}]) == {"new": 2, "unknown": 2}
    assert (await watch.rig.send(items("a"))).replays == [False]


@virtual
async def test_aligned_by_lookup_nothing_is_asked_and_a_replay_asks_later() -> None:
    watch = Watch(make_rule(response__align="lookup", upstream__lookup=LOOKUP))
    await watch.passes(items("a"), 200, [])
    assert watch.rig.service.calls == []
    watch.rig.service.ledger["a"] = {"id": 5, "key": "a", "value": "v"}
    sent = await watch.rig.send(items("a"))
    assert (sent.replays, sent.results[0]["id"]) == ([True], 5)


@virtual
async def test_a_store_outage_ends_in_a_log_line() -> None:
    watch = Watch()
    watch.link.down = True
    assert await watch.passes(items("a"), 200, [{"id": 1}]) == {}
