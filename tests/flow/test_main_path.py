"""The main job: new items go through, done ones are replayed, one ordered answer."""

from __future__ import annotations

import orjson

from proxy.core.upstream import Purpose
from tests.fakes.rig import Rig, items, make_rule
from tests.fakes.service import Service, reply
from tests.fakes.virtual import virtual

WHEN = "2023-11-14T22:13:20.000Z"


@virtual
async def test_all_new_gets_the_services_status_headers_and_body_with_the_fields_added() -> None:
    rig = Rig()
    sent = await rig.send(items("a", "b"))
    assert sent.status == 201
    assert sent.headers["X-Service"] == "yes"
    assert sent.headers["Cache-Control"] == "no-store"
    assert sent.headers["Idempotency-Items"] == "new=2, replayed=0, failed=0"
    assert "Idempotent-Replayed" not in sent.headers
    assert sent.body["total"] == 2
    assert sent.results == [
        {"id": 2**63 + 1, "key": "a", "isIdempotent": False, "processedAt": WHEN},
        {"id": 2**63 + 2, "key": "b", "isIdempotent": False, "processedAt": WHEN},
    ]


@virtual
async def test_what_was_done_is_replayed_and_only_new_items_are_forwarded() -> None:
    rig = Rig()
    first = await rig.send(items("a", "b"))
    rig.now += 60_000
    sent = await rig.send(items("b", "c", "a"))
    assert rig.service.batches == [["a", "b"], ["c"]]
    assert [r["key"] for r in sent.results] == ["b", "c", "a"]
    assert sent.replays == [True, False, True]
    assert sent.results[0]["id"] == first.results[1]["id"]
    assert sent.results[0]["processedAt"] == WHEN
    assert sent.results[1]["processedAt"] == "2023-11-14T22:14:20.000Z"
    assert sent.headers["Idempotency-Items"] == "new=1, replayed=2, failed=0"


@virtual
async def test_all_replayed_calls_nobody_and_says_so() -> None:
    rig = Rig()
    await rig.send(items("a"))
    sent = await rig.send(items("a"))
    assert len(rig.service.calls) == 1
    assert (sent.status, sent.headers["Idempotent-Replayed"]) == (200, "true")
    assert sent.body == {
        "results": [{"id": 2**63 + 1, "key": "a", "isIdempotent": True, "processedAt": WHEN}]
    }


@virtual
async def test_the_same_key_with_other_content_is_a_mismatch_and_shows_nothing() -> None:
    rig = Rig()
    await rig.send(items("a"))
    sent = await rig.send(items("a", a="other"))
    assert sent.status == 422
    (result,) = sent.results
    error = result.pop("error")
    assert (error["code"], error["retryable"]) == ("PAYLOAD_MISMATCH", False)
    assert result == {"isIdempotent": False}


@virtual
async def test_a_rule_may_ignore_mismatches() -> None:
    rig = Rig(make_rule(request__fingerprint={"on_mismatch": "ignore"}))
    await rig.send(items("a"))
    assert (await rig.send(items("a", a="other"))).replays == [True]


@virtual
async def test_repeats_inside_a_batch_are_echoed_or_mismatched() -> None:
    rig = Rig()
    batch = [*items("a", "b", "a"), *items("a", a="other")]
    sent = await rig.send(batch)
    assert rig.service.batches == [["a", "b"]]
    assert sent.codes == [None, None, None, "PAYLOAD_MISMATCH"]
    assert sent.replays == [False, False, True, False]
    assert sent.results[2]["id"] == sent.results[0]["id"]
    assert sent.status == 200


@virtual
async def test_the_echo_of_a_failed_first_carries_its_error() -> None:
    rig = Rig()
    sent = await rig.send([*items("ok", "x", x="bad"), *items("x", x="bad")])
    assert sent.codes == [None, "UPSTREAM_REJECTED", "UPSTREAM_REJECTED"]
    assert sent.replays == [False, False, False]


@virtual
async def test_items_without_a_usable_key_are_answered_and_the_others_go_through() -> None:
    rig = Rig()
    sent = await rig.send([{"value": 1}, *items("a"), {"key": 1.5}, {"key": None}])
    assert sent.codes == ["MISSING_KEY", None, "INVALID_KEY", "INVALID_KEY"]
    assert rig.service.batches == [["a"]]
    only = await rig.send([{"key": True}])
    assert (only.status, only.codes) == (400, ["INVALID_KEY"])


@virtual
async def test_a_rule_may_forward_items_without_a_key_every_time() -> None:
    rig = Rig(make_rule(request__missing_key="forward"))
    batch = [{"value": 1}, *items("a"), {"value": 1}]
    assert (await rig.send(batch)).replays == [False, False, False]
    assert (await rig.send(batch)).replays == [False, True, False]
    assert rig.service.batches == [[None, "a", None], [None, None]]


@virtual
async def test_exactness_every_byte_of_an_item_and_a_result_survives() -> None:
    item = b'{ "key":"a" , "big":123456789012345678901234567890,"x":1.0,"u":"\\u00e9\\n" }'
    result = b'{"id" : 18446744073709551615 , "r":1.10, "u":"\\u00e9"}'
    service = Service()
    service.script.append(reply(200, b'{"n":0,"results":[' + result + b'] , "z":1.0}'))
    rig = Rig(service=service)
    first = await rig.send(b'{"items":[' + item + b'],"other":1e2}')
    assert service.calls[0].body == b'{"items":[' + item + b'],"other":1e2}'
    fields = b',"isIdempotent":false,"processedAt":"' + WHEN.encode() + b'"}'
    assert first.answer.body == b'{"n":0,"results":[' + result[:-1] + fields + b'] , "z":1.0}'
    again = await rig.send(b'{"items":[' + item + b'],"other":1e2}')
    assert again.answer.body == (
        b'{"results":[' + result[:-1] + fields.replace(b"false", b"true") + b"]}"
    )


@virtual
async def test_a_part_of_a_batch_is_forwarded_in_the_clients_own_frame() -> None:
    rig = Rig()
    await rig.send(items("b"))
    a, b = (orjson.dumps(i) for i in items("a", "b"))
    await rig.send(b'{"v": 1.0, "items": [ ' + b + b" ,  " + a + b' ], "w" : "\\u00e9"}')
    assert rig.service.calls[1].body == b'{"v": 1.0, "items": [' + a + b'], "w" : "\\u00e9"}'


@virtual
async def test_scopes_and_generations_never_see_each_other() -> None:
    rig = Rig(service=Service(detects=False))
    await rig.send(items("a"), scope=("one",))
    assert (await rig.send(items("a"), scope=("two",))).replays == [False]
    assert (await rig.send(items("a"), scope=("one",))).replays == [True]
    next_generation = make_rule(generation=2)
    assert (await rig.send(items("a"), scope=("one",), rule=next_generation)).replays == [False]


@virtual
async def test_large_batches_go_in_chunks_in_order() -> None:
    rig = Rig(make_rule(upstream__max_items=2))
    sent = await rig.send(items("a", "b", "c", "d", "e"))
    assert rig.service.batches == [["a", "b"], ["c", "d"], ["e"]]
    assert [r["key"] for r in sent.results] == ["a", "b", "c", "d", "e"]
    assert sent.status == 201
    assert all(c.purpose is Purpose.BATCH for c in rig.service.calls)


@virtual
async def test_chunks_run_at_once_where_the_rule_allows_it() -> None:
    rig = Rig(make_rule(upstream__max_items=1, upstream__concurrency=3))
    flying = most = 0

    async def watch(_: object) -> None:
        import asyncio

        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(1)
        flying -= 1

    rig.service.script.extend([watch] * 7)
    sent = await rig.send(items(*"abcdefg"))
    assert [r["key"] for r in sent.results] == list("abcdefg")
    assert most == 3


@virtual
async def test_a_result_that_is_too_large_is_answered_and_replayed_as_the_template() -> None:
    rule = make_rule(max_result_bytes="64B", response__duplicate_result={"done": True})
    rig = Rig(rule)
    big = {"id": 1, "text": "x" * 100}
    rig.service.script.append(reply(200, {"results": [big]}))
    assert (await rig.send(items("a"))).results[0]["text"] == "x" * 100
    again = await rig.send(items("a"))
    assert again.results == [{"done": True, "isIdempotent": True, "processedAt": WHEN}]
    assert len(rig.service.calls) == 1


@virtual
async def test_items_that_failed_by_their_own_result_are_shown_released_and_not_stored() -> None:
    rule = make_rule(response__failed={"pointer": "/status", "in": ["FAILED"]})
    rig = Rig(rule)
    rows = [{"status": "OK"}, {"status": "FAILED", "why": "x"}]
    rig.service.script.append(reply(200, {"results": rows}))
    sent = await rig.send(items("a", "b"))
    assert sent.codes == [None, "UPSTREAM_FAILED"]
    assert sent.results[1]["why"] == "x"
    assert sent.results[1]["isIdempotent"] is False
    again = await rig.send(items("a", "b"))
    assert rig.service.batches[1] == ["b"]
    assert again.replays == [True, False]


@virtual
async def test_items_that_the_service_says_it_had_are_adopted() -> None:
    rule = make_rule(response__duplicate={"pointer": "/dup", "equals": True})
    rig = Rig(rule)
    rows = [{"id": 1}, {"id": 7, "dup": True}]
    rig.service.script.append(reply(200, {"results": rows}))
    sent = await rig.send(items("a", "b"))
    assert sent.replays == [False, True]
    assert rig.seen.counts["duplicate", "adopted"] == 1
    # What was adopted says nothing of its content, so other content is replayed too.
    assert (await rig.send(items("b", b="other"))).replays == [True]


@virtual
async def test_counts_are_rewritten_and_replays_count_as_succeeded() -> None:
    counts = {
        "total": "/total",
        "succeeded": "/ok",
        "idempotent": "/replayed",
        "failed": "/failed",
    }
    rig = Rig(make_rule(response__counts=counts))
    await rig.send(items("a"))
    sent = await rig.send(items("a", "b", "c", c="bad"))
    numbers = {n: sent.body[n] for n in ("total", "ok", "replayed", "failed")}
    assert numbers == {"total": 3, "ok": 2, "replayed": 1, "failed": 1}


@virtual
async def test_the_report_of_a_batch() -> None:
    rig = Rig()
    rig.service.delay = 3
    await rig.send(items("a", "b"))
    await rig.send(items("a", "b", "c", c="bad"))
    first, second = rig.seen.reports
    assert (first.result, first.status, first.outcomes) == ("success", 201, {"new": 2})
    assert (first.seconds, first.upstream_seconds, first.upstream_calls) == (3, 3, 1)
    assert first.deliveries == ("accepted",)
    assert (second.result, second.outcomes) == ("partial", {"replayed": 2, "rejected": 1})
    assert rig.seen.flying == 0
