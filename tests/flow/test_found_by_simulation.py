"""What the simulation found in the driver, each as a small case of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.core.record import Commit, Settlement, SettleReply, Terms
from proxy.core.upstream import Call, Reply
from proxy.errors import StoreUnavailable
from proxy.store.memory import MemoryStore
from tests.fakes.rig import LOOKUP, Rig, items, make_rule
from tests.fakes.service import UNKNOWN, Service
from tests.fakes.stores import FaultyStore
from tests.fakes.virtual import virtual


def shared_store() -> MemoryStore:
    loop = asyncio.get_running_loop()
    return MemoryStore(now_ms=lambda: round(loop.time() * 1000))


class SlowCommits(MemoryStore):
    """What it committed is told a second later."""

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        replies = await super().settle(keys, steps, token, terms)
        if any(isinstance(step, Commit) for step in steps):
            await asyncio.sleep(1)
        return replies


def takes(seconds: float) -> object:
    async def slow(_: Call) -> None:
        await asyncio.sleep(seconds)

    return slow


@virtual
async def test_a_claim_that_one_chunk_found_lost_is_not_forwarded_by_another() -> None:
    rule = make_rule(upstream__max_items=1, upstream__concurrency=2, lease="11s", deadline="60s")
    store, service = shared_store(), Service()
    one = Rig(rule, service=service, store=store)
    other = Rig(rule, service=service, store=store, first_token=1 << 40)
    service.script += [takes(12), takes(12.2)]
    first = asyncio.ensure_future(one.send(items("a", "b", "c", "d")))
    await asyncio.sleep(11.5)
    service.delay = 5
    second = asyncio.ensure_future(other.send(items("c", "d")))
    sent = await first
    assert sent.codes == [None, None, "IN_PROGRESS", "IN_PROGRESS"]
    assert (await second).replays == [False, False]
    assert sorted(service.effects) == ["a", "b", "c", "d"]


@virtual
async def test_a_lease_that_is_renewed_while_an_item_commits_does_not_take_its_success() -> None:
    loop = asyncio.get_running_loop()
    rule = make_rule(upstream__max_items=1, upstream__concurrency=2, lease="11s", deadline="60s")
    rig = Rig(rule, store=SlowCommits(now_ms=lambda: round(loop.time() * 1000)))
    rig.service.script += [takes(0.6), takes(1.0)]
    sent = await rig.send(items("a", "b", "c"))
    assert sent.codes == [None, None, None]


@virtual
async def test_what_a_closed_rule_lets_go_in_one_chunk_is_not_forwarded_by_another() -> None:
    loop = asyncio.get_running_loop()
    store = FaultyStore(MemoryStore(now_ms=lambda: round(loop.time() * 1000)))
    rule = make_rule(
        upstream__max_items=1,
        upstream__concurrency=2,
        lease="11s",
        deadline="60s",
        on_store_failure="closed",
    )
    rig = Rig(rule, store=store)

    async def store_goes(_: Call) -> None:
        await asyncio.sleep(1)
        store.down_for, store.delay = {"settle"}, 0.2

    rig.service.script += [store_goes, takes(1.3)]
    sent = await rig.send(items("a", "b", "c", "d"))
    assert sent.codes == [None, None, "STORE_UNAVAILABLE", "STORE_UNAVAILABLE"]
    assert rig.service.effects == ["a", "b"]
    store.down_for = set()
    assert await rig.flow.drain(30)


@virtual
async def test_other_content_is_a_mismatch_and_not_the_services_duplicate() -> None:
    lookup = LOOKUP | {"compare": {"item": "/value", "result": "/value"}}
    rule = make_rule(upstream__lookup=lookup)
    service = Service()
    await Rig(rule, service=service).send(items("a"))
    rig = Rig(rule, service=service)  # a store that has lost it
    sent = await rig.send(items("a", a="other"))
    assert (sent.status, sent.codes) == (422, ["PAYLOAD_MISMATCH"])


@virtual
async def test_a_duplicate_that_cannot_be_looked_up_is_no_rejection_of_the_whole() -> None:
    rule = make_rule(
        upstream__lookup=LOOKUP, upstream__offenders={"list": "/errors", "index": "/index"}
    )
    service = Service(names_offenders=True)
    await Rig(rule, service=service).send(items("a", "b"))
    rig = Rig(rule, service=service)  # a store that has lost both
    service.lookup_script += [UNKNOWN, UNKNOWN]
    sent = await rig.send(items("a", "b"))
    assert sent.status == 504
    assert sent.codes == ["OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN"]


@virtual
async def test_who_takes_a_templates_place_tells_the_time_that_stays() -> None:
    rule = make_rule(lease="11s", deadline="60s")
    store, service = shared_store(), Service()
    one = Rig(rule, service=service, store=store, now_ms=1_700_000_020_000)
    other = Rig(rule, service=service, store=store, first_token=1 << 40)

    async def works_and_answers_late(call: Call) -> Reply:
        done = service.work(call)
        await asyncio.sleep(20)
        return done

    service.script.append(works_and_answers_late)
    first = asyncio.ensure_future(one.send(items("a")))
    await asyncio.sleep(12)
    adopted = await other.send(items("a"))
    assert adopted.replays == [True]
    sent = await first
    assert sent.replays == [False]
    assert sent.results[0]["processedAt"] == adopted.results[0]["processedAt"]
    again = await other.send(items("a"))
    assert again.results[0] == sent.results[0] | {"isIdempotent": True}


@virtual
async def test_at_the_deadline_an_echo_is_told_what_its_first_is_told() -> None:
    rig = Rig(make_rule(deadline="12s", upstream__max_items=1))
    rig.service.script += [takes(1), takes(20)]
    sent = await rig.send(items("a", "b", "a", "b"))
    assert sent.codes == [None, "OUTCOME_UNKNOWN", None, "OUTCOME_UNKNOWN"]
    assert await rig.flow.drain(30)


@virtual
async def test_a_rejected_batch_that_was_not_taken_apart_is_not_the_services_word_on_each() -> None:
    rig = Rig(make_rule(deadline="12s", upstream__lookup=LOOKUP))
    await rig.send(items("a"))
    rig = Rig(rig.rule, service=rig.service)  # a store that has lost it
    rig.service.lookup_script.append(takes(20))
    sent = await rig.send(items("a", "b"))
    assert sent.codes == ["ISOLATION_LIMIT", "ISOLATION_LIMIT"]
    assert await rig.flow.drain(30)
    assert (await rig.send(items("a", "b"))).codes == [None, None]


@virtual
async def test_nothing_is_forwarded_after_the_deadline_that_a_renewal_outlasts() -> None:
    loop = asyncio.get_running_loop()
    rule = make_rule(deadline="12s", upstream__detects_duplicates=False)
    store = FaultyStore(MemoryStore(now_ms=lambda: round(loop.time() * 1000)))
    rig = Rig(rule, store=store, service=Service(detects=False))
    store.delay = 8
    sent = await rig.send(items("a"))
    assert sent.codes == ["ISOLATION_LIMIT"]
    assert await rig.flow.drain(30)
    assert rig.service.effects == []


@virtual
async def test_an_accepted_item_whose_lookup_takes_too_long_is_not_called_unsent() -> None:
    rule = make_rule(upstream__lookup=LOOKUP, response__align="lookup", deadline="12s")
    rig = Rig(rule)
    rig.service.lookup_script.append(takes(20))
    sent = await rig.send(items("a"))
    assert sent.codes == ["OUTCOME_UNKNOWN"]
    assert await rig.flow.drain(30)
    assert (await rig.send(items("a"))).replays == [True]
