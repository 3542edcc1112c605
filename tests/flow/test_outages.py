"""The store does not answer: nothing is withheld, nothing is forgotten."""

from __future__ import annotations

import asyncio

import pytest

from proxy.core.record import Done, Held
from proxy.errors import Problem
from proxy.settling import BACKLOG_ITEMS, Backlog, Unsettled
from proxy.store.memory import MemoryStore
from tests.fakes.rig import Recorder, Rig, items, make_rule
from tests.fakes.service import NEVER_SENT, UNKNOWN, Service
from tests.fakes.stores import FaultyStore
from tests.fakes.virtual import virtual


def rig_with_faults(**changes: object) -> tuple[Rig, FaultyStore]:
    loop = asyncio.get_running_loop()
    store = FaultyStore(MemoryStore(now_ms=lambda: round(loop.time() * 1000)))
    rule = make_rule(**changes)
    service = Service(detects=rule.upstream.detects_duplicates)
    return Rig(rule, store=store, service=service), store


@virtual
async def test_open_forwards_with_isolation_and_records_once_the_store_is_back() -> None:
    rig, store = rig_with_faults()
    store.down = True
    sent = await rig.send(items("a", "b", "c", c="bad"))
    assert sent.codes == [None, None, "UPSTREAM_REJECTED"]
    assert max(rig.seen.backlog_sizes) >= 2
    store.down = False
    assert await rig.flow.drain(10)
    assert rig.seen.backlog_sizes[-1] == 0
    again = await rig.send(items("a", "b"))
    assert again.replays == [True, True]
    assert again.results[0]["id"] == sent.results[0]["id"]


@virtual
async def test_open_leaves_a_repeat_to_the_service() -> None:
    rig, store = rig_with_faults()
    await rig.send(items("a"))
    store.down = True
    sent = await rig.send(items("a", "b"))
    assert sent.codes == [None, None]
    assert rig.service.effects == ["a", "b"]
    store.down = False
    assert await rig.flow.drain(10)
    assert [k for _, k in rig.seen.doubts] == []


@virtual
async def test_closed_is_a_problem_document_and_the_claims_do_not_stay() -> None:
    rig, store = rig_with_faults(on_store_failure="closed")
    store.deaf = True
    with pytest.raises(Problem) as caught:
        await rig.send(items("a"))
    assert (caught.value.status, caught.value.code) == (503, "store-unavailable")
    assert rig.service.calls == []
    assert [r.status for r in rig.seen.reports] == [503]
    store.deaf = False
    assert await rig.flow.drain(10)
    assert (await rig.send(items("a"))).replays == [False]


@virtual
async def test_closed_with_one_shard_down_answers_the_others() -> None:
    rig, store = rig_with_faults(on_store_failure="closed")
    store.lost_keys = set(rig.keys.store_keys("items", 1, (), [("b",)]))
    sent = await rig.send(items("a", "b", "c"))
    assert sent.codes == [None, "STORE_UNAVAILABLE", None]
    assert sent.results[1]["error"]["retryable"] is True
    assert rig.service.batches == [["a", "c"]]
    assert await rig.flow.drain(5)


@virtual
async def test_open_with_one_shard_down_forwards_all_of_it() -> None:
    rig, store = rig_with_faults()
    store.lost_keys = set(rig.keys.store_keys("items", 1, (), [("b",)]))
    sent = await rig.send(items("a", "b", "c"))
    assert sent.codes == [None, None, None]
    assert [r["key"] for r in sent.results] == ["a", "b", "c"]
    assert sorted(rig.service.effects) == ["a", "b", "c"]
    assert await rig.flow.drain(5)


@virtual
async def test_a_result_whose_settle_is_not_taken_is_answered_and_recorded_later() -> None:
    rig, store = rig_with_faults()
    store.down_for = {"settle"}
    sent = await rig.send(items("a"))
    assert sent.replays == [False]
    await asyncio.sleep(3)
    store.down_for = set()
    assert await rig.flow.drain(10)
    (record,) = await store.read(rig.keys.store_keys("items", 1, (), [("a",)]))
    assert isinstance(record, Done)
    assert (await rig.send(items("a"))).results[0]["id"] == sent.results[0]["id"]


@virtual
async def test_a_settle_whose_answer_is_lost_is_repeated_and_harmless() -> None:
    rig, store = rig_with_faults()
    started = asyncio.ensure_future(rig.send(items("a")))
    await asyncio.sleep(0)
    store.deaf = True
    sent = await started
    assert sent.codes == [None]
    store.deaf = False
    assert await rig.flow.drain(10)
    assert (await rig.send(items("a"))).replays == [True]


@virtual
async def test_without_detection_nothing_is_forwarded_when_sent_cannot_be_announced() -> None:
    rig, store = rig_with_faults(upstream__detects_duplicates=False)
    store.down_for = {"settle"}
    sent = await rig.send(items("a"))
    assert (sent.status, sent.codes) == (503, ["STORE_UNAVAILABLE"])
    assert rig.service.calls == []
    store.down_for = set()
    assert await rig.flow.drain(10)
    assert (await rig.send(items("a"))).replays == [False]


@virtual
async def test_a_doubt_that_cannot_be_written_is_written_later() -> None:
    rig, store = rig_with_faults(upstream__detects_duplicates=False, on_store_failure="open")
    store.down = True
    rig.service.script.append(UNKNOWN)
    assert (await rig.send(items("a"))).codes == ["OUTCOME_UNKNOWN"]
    store.down = False
    assert await rig.flow.drain(10)
    assert (await rig.send(items("a"))).codes == ["OUTCOME_UNKNOWN"]
    assert len(rig.service.calls) == 1


@virtual
async def test_a_claim_that_took_effect_unheard_is_released_after_a_call_that_never_left() -> None:
    rig, store = rig_with_faults()
    store.deaf, store.down_for = True, {"settle"}
    rig.service.script.append(NEVER_SENT)
    assert (await rig.send(items("a"))).status == 502
    (record,) = await store.store.read(rig.keys.store_keys("items", 1, (), [("a",)]))
    assert isinstance(record, Held)
    store.deaf, store.down_for = False, set()
    assert await rig.flow.drain(10)
    (record,) = await store.read(rig.keys.store_keys("items", 1, (), [("a",)]))
    assert record is None


@virtual
async def test_an_outage_while_waiting_is_told_item_by_item() -> None:
    rig, store = rig_with_faults(on_store_failure="closed")
    rig.service.delay = 1
    first = asyncio.ensure_future(rig.send(items("a")))
    await asyncio.sleep(0.1)
    second = asyncio.ensure_future(rig.send(items("a", "b")))
    await asyncio.sleep(0.1)
    store.down_for = {"claim"}
    assert (await first).codes == [None]
    sent = await second
    assert sent.codes == ["STORE_UNAVAILABLE", None]
    store.down_for = set()
    assert await rig.flow.drain(10)


@virtual
async def test_the_backlog_is_bounded_and_gives_up_at_the_end() -> None:
    rig, store = rig_with_faults()
    store.down = True
    seen = Recorder()
    backlog = Backlog(store, seen)
    from proxy.core.record import Release
    from proxy.preparing import terms_of

    half = BACKLOG_ITEMS // 2
    for _ in range(3):
        keys = [b"k"] * half
        backlog.add(Unsettled(keys, [Release()] * half, b"t" * 12, terms_of(rig.rule)))
    assert len(backlog) == 2 * half
    assert not await backlog.flush(1.0)


@virtual
async def test_a_request_pays_for_three_outages_at_most() -> None:
    rig, store = rig_with_faults(upstream__max_items=1)
    store.delay = 0.25
    store.down = True
    started = asyncio.get_running_loop().time()
    sent = await rig.send(items(*"abcdefgh"))
    assert sent.codes == [None] * 8
    assert asyncio.get_running_loop().time() - started <= 3 * 0.25
    store.down = False
    assert await rig.flow.drain(60)
    assert (await rig.send(items(*"abcdefgh"))).replays == [True] * 8


@virtual
async def test_settles_that_nothing_answers_stop_being_tried_for_that_request() -> None:
    rig, store = rig_with_faults(upstream__max_items=1)
    store.delay = 0.25
    store.down_for = {"settle"}
    started = asyncio.get_running_loop().time()
    assert (await rig.send(items(*"abcdefgh"))).codes == [None] * 8
    assert asyncio.get_running_loop().time() - started <= (1 + 3) * 0.25
    store.down_for = set()
    assert await rig.flow.drain(60)
    assert (await rig.send(items(*"abcdefgh"))).replays == [True] * 8
