"""What becomes of an upstream call, row by row of the contract's section 4."""

from __future__ import annotations

import orjson
import pytest

from proxy.core.upstream import NoReply, Reply
from tests.fakes.rig import LOOKUP, Rig, items, make_rule
from tests.fakes.service import NEVER_SENT, UNKNOWN, Service, reply
from tests.fakes.virtual import virtual

BARRED = make_rule(upstream__detects_duplicates=False)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (reply(422, {"message": "all bad"}), 422),
        (reply(400, b"not even json"), 400),
        (reply(429, {"m": 1}, ("Retry-After", "9")), 429),
        (reply(503, {"m": 1}), 503),
        (reply(401, {"m": "who"}), 401),
        (reply(301, b"", ("Location", "/x")), 301),
        (reply(402, b"pay"), 402),
    ],
)
@virtual
async def test_the_same_refusal_of_all_is_handed_on_byte_for_byte(
    answer: Reply, status: int
) -> None:
    rig = Rig()
    rig.service.script.append(answer)
    sent = await rig.send(items("a"))
    assert (sent.status, sent.answer.body) == (status, answer.body)
    assert set(answer.headers) <= set(sent.answer.headers)
    assert sent.headers["Cache-Control"] == "no-store"
    assert sent.headers["Idempotency-Items"] == "new=0, replayed=0, failed=1"
    # Released: the next attempt is forwarded, and is new.
    assert (await rig.send(items("a"))).replays == [False]
    assert rig.service.effects == ["a"]


@virtual
async def test_a_batch_all_of_whose_items_are_rejected_gets_the_answer_to_the_whole_batch() -> None:
    rig = Rig()
    sent = await rig.send(items("a", "b", "c", a="bad", b="bad", c="bad"))
    assert sent.status == 422
    assert sent.body == {"message": "bad value"}
    assert len(rig.service.batches) > 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(401, {"message": "who are you"}), "UPSTREAM_REFUSED"),
        (reply(503, {}, ("Retry-After", "9")), "UPSTREAM_UNAVAILABLE"),
        (NEVER_SENT, "UPSTREAM_UNAVAILABLE"),
    ],
)
@virtual
async def test_a_refusal_beside_a_replay_is_told_item_by_item(
    answer: Reply | NoReply, code: str
) -> None:
    rig = Rig()
    await rig.send(items("a"))
    rig.service.script.append(answer)
    sent = await rig.send(items("a", "b"))
    assert sent.codes == [None, code]
    error = sent.results[1]["error"]
    assert error["retryable"] is True
    assert error.get("retryAfterMs") == (
        9000 if code.endswith("UNAVAILABLE") and answer is not NEVER_SENT else None
    )
    if code == "UPSTREAM_REFUSED":
        assert error["message"] == "who are you"
    assert (await rig.send(items("b"))).replays == [False]


@virtual
async def test_a_service_that_cannot_be_reached_is_502_and_retryable() -> None:
    rig = Rig()
    rig.service.script.append(NEVER_SENT)
    sent = await rig.send(items("a", "b"))
    assert (sent.status, sent.codes) == (502, ["UPSTREAM_UNAVAILABLE"] * 2)
    assert (await rig.send(items("a", "b"))).replays == [False, False]


UNKNOWNS = [
    UNKNOWN,
    reply(500, {"message": "oops"}),
    reply(502, b"bad gateway"),
    reply(408, b""),
    reply(499, b""),
    reply(304, b""),
    reply(200, b"not json"),
    reply(200, {"results": [{"id": 1}]}),
    reply(200, {"other": []}),
    reply(200, b'{"results": [{"id": 1}, {"id"'),
]


@pytest.mark.parametrize("answer", UNKNOWNS)
@virtual
async def test_an_unknown_outcome_is_said_and_kept_and_the_service_decides_a_retry(
    answer: Reply | NoReply,
) -> None:
    rig = Rig()

    def work_then_answer(call: object) -> Reply | NoReply:
        rig.service.work(call)  # type: ignore[arg-type]
        return answer

    rig.service.script.append(work_then_answer)
    sent = await rig.send(items("a", "b"))
    assert (sent.status, sent.codes) == (504, ["OUTCOME_UNKNOWN"] * 2)
    assert all(r["error"]["retryable"] for r in sent.results)
    assert [i for _, i in rig.seen.doubts] == [0, 1]
    # The service calls them duplicates: they are adopted, and done once.
    again = await rig.send(items("a", "b"))
    assert (again.status, again.replays) == (200, [True, True])
    assert rig.service.effects == ["a", "b"]


@virtual
async def test_without_detection_and_lookup_an_unknown_is_never_forwarded_again() -> None:
    rig = Rig(BARRED, service=Service(detects=False))
    rig.service.script.append("lose")
    sent = await rig.send(items("a"))
    assert (sent.status, sent.results[0]["error"]["retryable"]) == (504, False)
    again = await rig.send(items("a"))
    assert again.codes == ["OUTCOME_UNKNOWN"]
    assert rig.service.effects == ["a"]


@virtual
async def test_without_detection_a_conflict_is_a_rejection_and_503_an_unknown() -> None:
    rig = Rig(BARRED, service=Service(detects=False))
    rig.service.script.append(reply(409, {"message": "state"}))
    assert (await rig.send(items("a"))).status == 409
    rig.service.script.append(reply(503, {}))
    assert (await rig.send(items("a"))).codes == ["OUTCOME_UNKNOWN"]


@virtual
async def test_with_a_lookup_and_no_detection_a_doubt_is_looked_up_and_never_forwarded_early() -> (
    None
):
    rule = make_rule(
        upstream__detects_duplicates=False,
        upstream__lookup=LOOKUP,
        upstream__settles_within="1h",
    )
    rig = Rig(rule, service=Service(detects=False))
    rig.service.script.append("lose")
    rig.service.script.append(UNKNOWN)
    assert (await rig.send(items("a"))).results[0]["error"]["retryable"] is True
    assert (await rig.send(items("b"))).codes == ["OUTCOME_UNKNOWN"]
    found = await rig.send(items("a"))
    assert (found.replays, found.results[0]["value"]) == ([True], "v")
    unknown = await rig.send(items("b"))
    assert unknown.codes == ["OUTCOME_UNKNOWN"]
    assert 0 < unknown.results[0]["error"]["retryAfterMs"] <= 3_600_000
    assert rig.service.batches == [["a"], ["b"]]


@virtual
async def test_partial_status_can_be_the_upstreams() -> None:
    rig = Rig(make_rule(response__partial_status="upstream"))
    sent = await rig.send(items("a", "b", b="bad"))
    assert (sent.status, sent.codes) == (422, [None, "UPSTREAM_REJECTED"])
    assert (
        await Rig(make_rule(response__partial_status=207)).send(items("a", "b", b="bad"))
    ).status == 207


@virtual
async def test_chunks_after_one_that_says_when_to_come_back_are_not_sent() -> None:
    rig = Rig(make_rule(upstream__max_items=1))
    rig.service.script.extend([None, reply(503, {}, ("Retry-After", "2"))])
    sent = await rig.send(items("a", "b", "c"))
    assert rig.service.batches == [["a"], ["b"]]
    assert sent.codes == [None, "UPSTREAM_UNAVAILABLE", "UPSTREAM_UNAVAILABLE"]
    assert sent.results[2]["error"]["retryAfterMs"] == 2000


@virtual
async def test_a_chunk_is_a_delivery_of_its_own() -> None:
    rig = Rig(make_rule(upstream__max_items=1))
    rig.service.script.extend([None, UNKNOWN, reply(402, b"")])
    sent = await rig.send(items("a", "b", "c", "d"))
    assert sent.codes == [None, "OUTCOME_UNKNOWN", "UPSTREAM_REFUSED", None]
    assert sent.status == 200


@virtual
async def test_a_forwarded_part_gets_a_key_and_digests_of_its_own() -> None:
    rig = Rig()
    await rig.send(items("a"))
    headers = (
        ("Idempotency-Key", '"k1"'),
        ("Content-Digest", "sha-256=:AAAA:"),
        ("Digest", "SHA-256=AAAA"),
        ("Content-MD5", "AAAA"),
        ("Authorization", "Bearer x"),
    )
    await rig.send(items("a", "b", "c", c="bad"), headers=headers)
    bodies = [c.body for c in rig.service.batch_calls[1:]]
    sent = [dict(c.headers) for c in rig.service.batch_calls[1:]]
    keys = [h["Idempotency-Key"] for h in sent]
    assert len(set(keys)) == len(keys) == 3
    assert all(k.startswith('"k1-') and k.endswith('"') for k in keys)
    from base64 import b64encode
    from hashlib import md5, sha256

    for body, seen in zip(bodies, sent, strict=True):
        sha = b64encode(sha256(body).digest()).decode()
        assert seen["Content-Digest"] == f"sha-256=:{sha}:"
        assert seen["Digest"] == f"sha-256={sha}"
        assert seen["Content-MD5"] == b64encode(md5(body, usedforsecurity=False).digest()).decode()
        assert seen["Authorization"] == "Bearer x"


@virtual
async def test_a_whole_batch_keeps_the_clients_own_key() -> None:
    rig = Rig()
    await rig.send(items("a"), headers=(("Idempotency-Key", "k1"),))
    assert dict(rig.service.calls[0].headers)["Idempotency-Key"] == "k1"


@virtual
async def test_a_signed_request_is_forwarded_whole_or_not_at_all() -> None:
    rig = Rig(make_rule(upstream__max_items=1))
    whole = await rig.send(items("a", "b"), may_split=False)
    assert rig.service.batches == [["a", "b"]]
    assert whole.replays == [False, False]
    part = await rig.send(items("b", "c"), may_split=False)
    assert part.codes == [None, "ISOLATION_LIMIT"]
    assert len(rig.service.batches) == 1
    rejected = await rig.send(items("c", "d", d="bad"), may_split=False)
    assert (rejected.status, rejected.body) == (422, {"message": "bad value"})
    assert len(rig.service.batches) == 2
    assert orjson.loads(rig.service.calls[-1].body)["items"] == items("c", "d", d="bad")
