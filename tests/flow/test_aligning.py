"""How results find their items, and services that give none."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.core.upstream import Call
from tests.fakes.rig import LOOKUP, Rig, items, make_rule
from tests.fakes.service import Service, reply
from tests.fakes.virtual import virtual


def backwards(call: Call) -> Any:
    keys = [i["key"] for i in orjson.loads(call.body)["items"]]
    return reply(200, {"results": [{"key": k, "n": k.upper()} for k in reversed(keys)]})


@virtual
async def test_results_that_echo_the_key_are_matched_by_it() -> None:
    rig = Rig(make_rule(response__align="key", response__key=["/key"]))
    rig.service.script.append(backwards)
    sent = await rig.send(items("a", "b", "c"))
    assert [r["n"] for r in sent.results] == ["A", "B", "C"]


@virtual
async def test_lookup_asks_for_each_after_the_batch_was_taken() -> None:
    rule = make_rule(response__align="lookup", upstream__lookup=LOOKUP, upstream__concurrency=4)
    rig = Rig(rule)
    sent = await rig.send(items("a", "b", "c", b="x"))
    assert [(r["key"], r["value"]) for r in sent.results] == [("a", "v"), ("b", "x"), ("c", "v")]
    assert sent.replays == [False] * 3
    assert len(rig.service.lookups) == 3
    assert (await rig.send(items("c", "a"))).replays == [True, True]


@virtual
async def test_an_item_whose_lookup_fails_is_committed_without_a_body_and_asked_for_later() -> None:
    rule = make_rule(
        response__align="lookup",
        response__accepted_item={"state": "accepted"},
        upstream__lookup=LOOKUP,
    )
    rig = Rig(rule)
    rig.service.lookup_script.append(reply(500, b""))
    sent = await rig.send(items("a", "b"))
    assert sent.results[0]["state"] == "accepted"
    assert sent.replays == [False, False]
    replayed = await rig.send(items("a"))
    assert (replayed.replays, replayed.results[0]["value"]) == ([True], "v")
    lookups = len(rig.service.lookups)
    # The first real result took the template's place, so nobody is asked again.
    final = await rig.send(items("a"))
    assert final.results[0]["value"] == "v"
    assert final.results[0]["processedAt"] == sent.results[0]["processedAt"]
    assert len(rig.service.lookups) == lookups


@virtual
async def test_an_accepted_item_that_the_service_does_not_have_is_in_doubt() -> None:
    rig = Rig(make_rule(response__align="lookup", upstream__lookup=LOOKUP))
    rig.service.lookup_script.append(reply(404, b"{}"))
    sent = await rig.send(items("a", "b"))
    assert sent.codes == ["OUTCOME_UNKNOWN", None]
    assert (await rig.send(items("a"))).replays == [True]
    assert rig.service.effects == ["a", "b"]


@virtual
async def test_single_forwards_one_item_a_call() -> None:
    rig = Rig(make_rule(response__align="single"))
    sent = await rig.send(items("a", "b", "c", b="bad"))
    assert rig.service.batches == [["a"], ["b"], ["c"]]
    assert sent.codes == [None, "UPSTREAM_REJECTED", None]


@pytest.mark.parametrize("body", [{"ok": True}, [1, 2]])
@virtual
async def test_a_service_without_item_results_gets_a_list(body: Any) -> None:
    rule = make_rule(response__results=None, response__accepted_item={"status": "ACCEPTED"})
    rig = Rig(rule)
    rig.service.script.append(reply(202, body))
    sent = await rig.send(items("a", "b"))
    assert sent.status == 202
    assert [r["status"] for r in sent.results] == ["ACCEPTED"] * 2
    assert sent.body.get("ok") == (True if isinstance(body, dict) else None)
    assert (await rig.send(items("a"))).results[0]["status"] == "ACCEPTED"


@pytest.mark.parametrize(
    ("wrap", "first", "again"),
    [(None, [7, "x"], [7, "x"]), ("id", [{"id": 7}, {"id": "x"}], [{"id": 7}, {"id": "x"}])],
)
@virtual
async def test_scalar_results_stay_bare_or_are_wrapped(
    wrap: str | None, first: list[Any], again: list[Any]
) -> None:
    rig = Rig(make_rule(response__wrap=wrap))
    rig.service.script.append(reply(200, {"results": [7, "x"]}))

    def plain(rows: list[Any]) -> list[Any]:
        return [{"id": r["id"]} if isinstance(r, dict) else r for r in rows]

    sent = await rig.send(items("a", "b"))
    assert plain(sent.results) == first
    replayed = await rig.send(items("a", "b"))
    assert plain(replayed.results) == again
    if wrap:
        assert replayed.replays == [True, True]


@virtual
async def test_a_body_that_is_the_array_itself_both_ways() -> None:
    rule = make_rule(request__items="", response__results="")
    rig = Rig(rule, service=Service())
    rig.service.script.append(reply(200, [{"n": 1}, {"n": 2}]))
    sent = await rig.send(orjson.dumps(items("a", "b")))
    assert [r["n"] for r in sent.body] == [1, 2]
    assert (await rig.send(orjson.dumps(items("b")))).body[0]["n"] == 2


@virtual
async def test_request_counts_are_rewritten_for_a_part() -> None:
    rig = Rig(make_rule(request__counts=["/n"]))
    await rig.send(b'{"n": 1,"items":[{"key":"a"}]}')
    await rig.send(b'{"n": 3,"items":[{"key":"a"},{"key":"b"},{"key":"c"}]}')
    assert rig.service.calls[1].body == b'{"n": 2,"items":[{"key":"b"},{"key":"c"}]}'
