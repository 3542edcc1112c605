"""Isolation and adoption through the driver: the others go through, duplicates are adopted."""

from __future__ import annotations

import pytest

from proxy.core.upstream import Purpose
from tests.fakes.rig import BATCH_LOOKUP, LOOKUP, Rig, items, make_rule
from tests.fakes.service import UNKNOWN, Service, reply
from tests.fakes.virtual import virtual

NAMED = {"list": "/errors", "index": "/index"}


def knowing(*keys: str, names: bool = False) -> Service:
    """A service that did these before the proxy came."""
    service = Service(names_offenders=names)
    for key in keys:
        service.ledger[key] = {"id": 1, "key": key, "value": "old"}
    return service


@virtual
async def test_a_duplicate_that_the_store_does_not_know_is_adopted_from_the_template() -> None:
    rule = make_rule(response__duplicate_result={"state": "done before"})
    rig = Rig(rule, service=knowing("b"))
    sent = await rig.send(items("a", "b", "c", "d"))
    assert sent.replays == [False, True, False, False]
    assert sent.results[1]["state"] == "done before"
    assert rig.service.effects == ["a", "c", "d"]
    assert rig.seen.counts["duplicate", "template"] == 1
    again = await rig.send(items("b"))
    assert again.results[0]["state"] == "done before"
    assert len(rig.service.batches) == len(rig.service.batch_calls)
    assert rig.service.batches[-1] != ["b"]


@virtual
async def test_with_a_lookup_only_the_offenders_are_asked_for() -> None:
    rig = Rig(make_rule(upstream__lookup=LOOKUP), service=knowing("b"))
    sent = await rig.send(items("a", "b", "c", "d"))
    assert sent.replays == [False, True, False, False]
    assert sent.results[1]["value"] == "old"
    assert [c.target for c in rig.service.lookups] == ["/items?key=b"]
    assert rig.seen.counts["duplicate", "adopted"] == 1


@virtual
async def test_a_batch_lookup_finds_all_duplicates_in_one_call() -> None:
    service = knowing("b", "c", "e")
    rig = Rig(make_rule(upstream__lookup=BATCH_LOOKUP), service=service)
    sent = await rig.send(items(*"abcdefgh"))
    assert sent.replays == [k in "bce" for k in "abcdefgh"]
    assert (len(rig.service.batch_calls), len(rig.service.lookups)) == (2, 1)
    assert rig.service.effects == list("adfgh")


@virtual
async def test_named_offenders_are_taken_out_with_their_own_messages() -> None:
    rule = make_rule(upstream__offenders=NAMED)
    rig = Rig(rule, service=Service(names_offenders=True))
    sent = await rig.send(items(*"abcdefgh", c="bad", g="bad"))
    assert sent.codes == [
        None,
        None,
        "UPSTREAM_REJECTED",
        None,
        None,
        None,
        "UPSTREAM_REJECTED",
        None,
    ]
    assert sent.results[2]["error"]["message"] == "bad value at 2"
    assert sent.results[6]["error"]["message"] == "bad value at 6"
    assert len(rig.service.batch_calls) == 2
    assert rig.service.calls[1].purpose is Purpose.ISOLATION


@virtual
async def test_invalid_and_duplicate_items_in_one_batch_each_get_their_own_answer() -> None:
    rig = Rig(make_rule(upstream__lookup=LOOKUP), service=knowing("b"))
    sent = await rig.send(items(*"abcdef", e="bad"))
    assert sent.codes == [None, None, None, None, "UPSTREAM_REJECTED", None]
    assert sent.replays == [False, True, False, False, False, False]
    corrected = await rig.send(items("e"))
    assert corrected.replays == [False]


@virtual
async def test_a_key_marked_in_the_service_and_not_there_is_told_apart() -> None:
    rig = Rig(make_rule(upstream__lookup=LOOKUP))
    rig.service.poisoned.add("b")
    sent = await rig.send(items("a", "b", "c"))
    assert sent.codes == [None, "UPSTREAM_DUPLICATE_NOT_FOUND", None]
    assert sent.results[1]["error"]["retryable"] is True
    assert rig.seen.counts["duplicate", "not_found"] == 1
    rig.service.poisoned.clear()
    assert (await rig.send(items("b"))).replays == [False]


@virtual
async def test_a_lookup_that_says_nothing_leaves_the_item_in_doubt() -> None:
    rig = Rig(make_rule(upstream__lookup=LOOKUP), service=knowing("b"))
    rig.service.lookup_script.append(reply(500, b""))
    sent = await rig.send(items("a", "b"))
    assert sent.codes == [None, "OUTCOME_UNKNOWN"]
    again = await rig.send(items("b"))
    assert again.replays == [True]
    # A suspect is looked up before it is forwarded.
    assert rig.service.calls[-1].purpose is Purpose.LOOKUP


@virtual
async def test_a_found_result_that_failed_is_answered_as_failed_and_not_committed() -> None:
    rule = make_rule(
        upstream__lookup=LOOKUP, response__failed={"pointer": "/value", "equals": "old"}
    )
    rig = Rig(rule, service=knowing("b"))
    sent = await rig.send(items("a", "b"))
    assert sent.codes == [None, "UPSTREAM_FAILED"]
    assert sent.results[1]["error"]["retryable"] is False


@pytest.mark.parametrize(("value", "code"), [("old", None), ("new", "PAYLOAD_MISMATCH")])
@virtual
async def test_a_lookup_can_compare_what_the_service_has(value: str, code: str | None) -> None:
    lookup = {**LOOKUP, "compare": {"item": "/value", "result": "/value"}}
    rig = Rig(make_rule(upstream__lookup=lookup), service=knowing("b"))
    sent = await rig.send(items("a", "b", b=value))
    assert sent.codes == [None, code]
    if code is None:
        # Compared, so its content is known: other content is a mismatch from now on.
        assert (await rig.send(items("b", b="x"))).codes == ["PAYLOAD_MISMATCH"]


@virtual
async def test_lookup_before_every_forward_leaves_no_batch_to_be_rejected() -> None:
    rig = Rig(make_rule(upstream__lookup={**LOOKUP, "when": "all"}), service=knowing("b"))
    sent = await rig.send(items("a", "b", "c"))
    assert sent.replays == [False, True, False]
    assert rig.service.batches == [["a", "c"]]
    assert len(rig.service.lookups) == 3


@virtual
async def test_isolation_stops_at_its_limit_and_what_is_left_is_released() -> None:
    rule = make_rule(upstream__isolate={"max_calls": 3, "per_second": 1000})
    rig = Rig(rule)
    sent = await rig.send(items(*"abcdefgh", h="bad"))
    assert len(rig.service.batches) == 4
    assert sent.codes[:4] == [None] * 4
    assert "ISOLATION_LIMIT" in sent.codes
    assert all(
        r["error"]["retryable"]
        for r in sent.results
        if r.get("error", {}).get("code") == "ISOLATION_LIMIT"
    )
    again = await rig.send(items(*"abcdefgh", h="ok"))
    assert again.codes == [None] * 8
    assert sorted(rig.service.effects) == list("abcdefgh")


@virtual
async def test_isolation_calls_are_paced_for_the_whole_process() -> None:
    import asyncio

    rule = make_rule(upstream__isolate={"max_calls": 128, "per_second": 10})
    rig = Rig(rule)
    started = asyncio.get_running_loop().time()
    sent = await rig.send(items(*[f"k{i}" for i in range(16)], k3="bad", k12="bad"))
    assert sent.codes.count("UPSTREAM_REJECTED") == 2
    calls = len(rig.service.batches) - 1
    assert asyncio.get_running_loop().time() - started >= (calls - 2) / 10


@virtual
async def test_after_an_unknown_in_the_middle_the_other_parts_go_on() -> None:
    rig = Rig()
    rig.service.script.extend([None, UNKNOWN])
    sent = await rig.send(items(*"abcd", d="bad"))
    assert sent.codes == ["OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN", None, "UPSTREAM_REJECTED"]
    assert sent.status == 200


@virtual
async def test_isolation_ends_where_the_service_becomes_unavailable() -> None:
    rig = Rig()
    rig.service.script.extend([None, None, reply(503, {})])
    sent = await rig.send(items(*"abcd", d="bad"))
    assert sent.codes == [None, None, "UPSTREAM_UNAVAILABLE", "UPSTREAM_UNAVAILABLE"]
    assert len(rig.service.batches) == 3


@virtual
async def test_one_item_as_a_duplicate_is_adopted_without_another_call() -> None:
    rig = Rig(service=knowing("a"))
    sent = await rig.send(items("a"))
    assert (sent.status, sent.replays, len(rig.service.calls)) == (200, [True], 1)
    assert sent.headers["Idempotent-Replayed"] == "true"


@virtual
async def test_adopted_records_store_no_fingerprint() -> None:
    rig = Rig(service=knowing("a"))
    await rig.send(items("a"))
    assert (await rig.send(items("a", a="other"))).replays == [True]


@virtual
async def test_an_item_without_a_key_that_is_called_a_duplicate_is_rejected() -> None:
    rig = Rig(make_rule(request__missing_key="forward"))
    rig.service.script.append(reply(409, {"message": "natural key exists"}))
    sent = await rig.send([{"value": 1}])
    assert (sent.status, sent.body) == (409, {"message": "natural key exists"})


@virtual
async def test_a_lookup_carries_the_clients_credentials_and_nothing_of_its_body() -> None:
    rig = Rig(make_rule(upstream__lookup=LOOKUP), service=knowing("a/b c"))
    headers = (
        ("Authorization", "Bearer x"),
        ("X-Tenant-Id", "one"),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "k"),
        ("Content-Digest", "sha-256=:AAAA:"),
        ("If-Match", '"1"'),
    )
    assert (await rig.send(items("a/b c"), headers=headers)).replays == [True]
    (lookup,) = rig.service.lookups
    assert lookup.target == "/items?key=a%2Fb%20c"
    assert lookup.headers == headers[:2]
    assert lookup.body == b""


@virtual
async def test_a_batch_lookup_says_what_its_body_is() -> None:
    rig = Rig(make_rule(upstream__lookup=BATCH_LOOKUP), service=knowing("b"))
    await rig.send(items("a", "b"), headers=(("Authorization", "Bearer x"),))
    (lookup,) = rig.service.lookups
    assert (lookup.method, lookup.body) == ("POST", b'{"keys":["a","b"]}')
    assert ("Content-Type", "application/json") in lookup.headers
