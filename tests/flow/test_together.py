"""Requests at the same time for the same keys; waiting, leases and deadlines."""

from __future__ import annotations

import asyncio

import pytest

from proxy.core.record import Held, MarkDoubt
from proxy.preparing import terms_of
from proxy.store.memory import MemoryStore
from rules.request import fingerprints
from tests.fakes.rig import LOOKUP, Rig, Sent, items, make_rule
from tests.fakes.service import Service, reply
from tests.fakes.virtual import virtual


def now() -> float:
    return asyncio.get_running_loop().time()


def shared_store() -> MemoryStore:
    loop = asyncio.get_running_loop()
    return MemoryStore(now_ms=lambda: round(loop.time() * 1000))


def two(rig_rule: object = None, **more: object) -> tuple[Rig, Rig]:
    """Two proxies before one service, over one store."""
    store, service = shared_store(), Service()
    first = Rig(rig_rule, service=service, store=store, **more)  # type: ignore[arg-type]
    second = Rig(rig_rule, service=service, store=store, first_token=1 << 40)  # type: ignore[arg-type]
    return first, second


async def together(*sends: object) -> list[Sent]:
    return list(await asyncio.gather(*sends))  # type: ignore[call-overload]


@virtual
async def test_two_requests_of_one_process_do_an_item_once_and_the_second_gets_its_result() -> None:
    rig = Rig()
    rig.service.delay = 1
    first, second = await together(rig.send(items("a")), rig.send(items("a")))
    assert rig.service.effects == ["a"]
    assert (first.replays, second.replays) == ([False], [True])
    assert first.results[0]["id"] == second.results[0]["id"]
    assert rig.seen.counts["wait", "replayed"] == 1


@virtual
async def test_two_processes_do_an_item_once_and_the_second_polls_for_it() -> None:
    one, other = two()
    one.service.delay = 1
    first, second = await together(one.send(items("a")), other.send(items("a")))
    assert one.service.effects == ["a"]
    assert sorted(first.replays + second.replays) == [False, True]
    assert now() < 1000 + 1.3


@virtual
async def test_crossed_batches_never_wait_on_each_other() -> None:
    one, other = two()
    one.service.delay = 1
    first, second = await together(one.send(items("a", "b")), other.send(items("b", "a")))
    assert sorted(one.service.effects) == ["a", "b"]
    assert first.codes == second.codes == [None, None]
    assert [r["key"] for r in second.results] == ["b", "a"]


@virtual
async def test_what_is_held_is_forwarded_before_anything_is_waited_for() -> None:
    one, other = two()
    one.service.delay = 1.5
    first = asyncio.ensure_future(one.send(items("a")))
    await asyncio.sleep(0.1)
    second = await other.send(items("a", "b"))
    await first
    assert one.service.batches == [["a"], ["b"]]
    assert second.replays == [True, False]


@virtual
async def test_what_another_holds_for_too_long_is_in_progress_and_says_when_to_retry() -> None:
    rig = Rig()
    rig.service.delay = 9
    first = asyncio.ensure_future(rig.send(items("a")))
    await asyncio.sleep(0.1)
    second = await rig.send(items("a"))
    assert (second.status, second.codes) == (409, ["IN_PROGRESS"])
    assert second.headers["Retry-After"] == "1"
    assert second.results[0]["error"]["retryAfterMs"] == 1000
    assert now() == pytest.approx(1000 + 2.1)
    assert (await first).replays == [False]
    assert rig.seen.counts["wait", "timeout"] == 1


@virtual
async def test_an_item_that_comes_free_while_waited_for_is_claimed_and_forwarded() -> None:
    one, other = two()
    one.service.delay = 1
    one.service.script.append(reply(503, {}))
    first = asyncio.ensure_future(one.send(items("a")))
    await asyncio.sleep(0.1)
    second = await other.send(items("a"))
    assert (await first).status == 503
    assert second.replays == [False]
    assert other.seen.counts["wait", "claimed"] == 1


@virtual
async def test_a_crashed_owners_claim_is_taken_over_when_its_lease_ends() -> None:
    one, other = two(make_rule(lease="11s"))

    async def never(_: object) -> None:
        await asyncio.Event().wait()

    one.service.script.append(never)
    crashed = asyncio.ensure_future(one.send(items("a")))
    await asyncio.sleep(0.1)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await crashed
    assert (await other.send(items("a"))).codes == ["IN_PROGRESS"]
    await asyncio.sleep(11)
    again = await other.send(items("a"))
    assert again.replays == [False]
    assert one.service.effects == ["a"]


@virtual
async def test_a_late_answer_of_a_slow_owner_does_not_replace_the_first_commit() -> None:
    """The lease is shorter than what this call takes; the service's detection is off."""
    one, other = two(make_rule(lease="11s", upstream__lookup=LOOKUP))
    one.service.detects = False

    async def slow(_: object) -> None:
        await asyncio.sleep(20)

    one.service.script.append(slow)
    first = asyncio.ensure_future(one.send(items("a")))
    await asyncio.sleep(12)
    second = await other.send(items("a"))
    late = await first
    assert second.replays == [False]
    assert late.results[0]["id"] == second.results[0]["id"]
    assert late.replays == [True]


@virtual
async def test_a_lease_is_extended_before_a_call_that_it_would_not_cover() -> None:
    rig = Rig(make_rule(upstream__max_items=1, lease="11s", deadline="60s"), store=shared_store())
    rig.service.delay = 8
    sending = asyncio.ensure_future(rig.send(items("a", "b", "c")))
    await asyncio.sleep(20)
    (record,) = await rig.store.read(rig.keys.store_keys("items", 1, (), [("c",)]))
    assert isinstance(record, Held)
    assert record.deadline >= 1_000_000 + 16_000 + 11_000
    assert (await sending).codes == [None] * 3


@virtual
async def test_an_item_whose_claim_was_lost_meanwhile_is_not_forwarded() -> None:
    one, other = two(make_rule(upstream__max_items=1, lease="11s", deadline="60s"))

    async def slow(_: object) -> None:
        await asyncio.sleep(12)

    one.service.script.append(slow)
    first = asyncio.ensure_future(one.send(items("a", "b")))
    await asyncio.sleep(11.5)
    other.service.delay = 5
    second = asyncio.ensure_future(other.send(items("b")))
    sent = await first
    assert sent.codes == [None, "IN_PROGRESS"]
    assert (await second).replays == [False]
    assert one.service.effects == ["a", "b"]


@virtual
async def test_without_detection_the_store_hears_of_a_forward_first() -> None:
    rule = make_rule(upstream__detects_duplicates=False)
    rig = Rig(rule, service=Service(detects=False), store=shared_store())
    held: list[object] = []

    async def look(_: object) -> None:
        held.extend(await rig.store.read(rig.keys.store_keys("items", 1, (), [("a",)])))

    rig.service.script.append(look)
    await rig.send(items("a"))
    (record,) = held
    assert isinstance(record, Held)
    assert (record.barrier, record.sent) == (True, True)


@virtual
async def test_the_answer_comes_at_the_deadline_and_the_work_runs_on_to_its_settle() -> None:
    rule = make_rule(deadline="15s", lease="40s", upstream__timeout="30s", upstream__max_items=1)
    rig = Rig(rule)

    async def slow(_: object) -> None:
        await asyncio.sleep(20)

    rig.service.script.extend([None, slow])
    sent = await rig.send(items("a", "b", "c"))
    assert now() == 1015
    assert sent.codes == [None, "OUTCOME_UNKNOWN", "ISOLATION_LIMIT"]
    assert await rig.flow.drain(30)
    assert rig.service.effects == ["a", "b"]
    assert (await rig.send(items("a", "b", "c"))).replays == [True, True, False]


@virtual
async def test_the_work_goes_on_when_the_client_hangs_up() -> None:
    rig = Rig()
    rig.service.delay = 5
    client = asyncio.ensure_future(rig.send(items("a", "b")))
    await asyncio.sleep(1)
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    assert rig.flow.under_way == 1
    assert await rig.flow.drain(10)
    assert now() == 1005
    assert [r.outcomes for r in rig.seen.reports] == [{"new": 2}]
    assert (await rig.send(items("a", "b"))).replays == [True, True]


@virtual
async def test_a_drain_says_when_time_ran_out() -> None:
    rig = Rig()
    rig.service.delay = 5
    client = asyncio.ensure_future(rig.send(items("a")))
    await asyncio.sleep(1)
    assert not await rig.flow.drain(1)
    assert now() == 1002
    await client
    assert await rig.flow.drain(1)


@virtual
async def test_fifty_requests_at_once_for_overlapping_keys_do_each_once() -> None:
    one, other = two(make_rule(wait="20s"))
    one.service.delay = 0.3
    keys = [f"k{i}" for i in range(10)]
    sends = [
        (one if i % 2 else other).send(items(*(keys[(i + j) % 10] for j in range(4))))
        for i in range(50)
    ]
    answers = await together(*sends)
    assert sorted(one.service.effects) == sorted(keys)
    ids = {(r["key"], r["id"]) for a in answers for r in a.results}
    assert len(ids) == 10
    assert sum(not replay for a in answers for replay in a.replays) == 10


@virtual
async def test_a_suspect_that_nobody_can_ask_for_is_not_forwarded_though_never_sent() -> None:
    """An unsent claim would be free to take over; this one was marked by an owner before it."""
    rule = make_rule(upstream__detects_duplicates=False, lease="11s")
    rig = Rig(rule, service=Service(detects=False), store=shared_store())
    keys = rig.keys.store_keys("items", 1, (), [("a",), ("b",)])
    prints = fingerprints(rule, rig.exchange(items("a", "b")).batch.raws)
    terms = terms_of(rule)
    await rig.store.claim(keys, prints, b"crashed-----", terms)
    await rig.store.settle(keys[:1], [MarkDoubt(prints[0])], b"before------", terms)
    await asyncio.sleep(11.1)
    sent = await rig.send(items("a", "b"))
    assert sent.codes == ["OUTCOME_UNKNOWN", None]
    assert sent.results[0]["error"]["retryable"] is False
    assert rig.service.effects == ["b"]
