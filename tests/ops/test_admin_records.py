"""The records API: what is shown, what may be changed, who said so."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from proxy.admin.records import milliseconds, moment
from proxy.core.record import Done, Doubt
from proxy.preparing import terms_of
from tests.ops.desk import BEARER, START, Office

Client = TestClient[Any, Any]


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    made = Office(tmp_path)
    await made.furnish()
    return made


@pytest.fixture
async def client(office: Office, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(office.admin.app())


async def post(client: Client, what: str, body: Any, status: int = 200) -> Any:
    answer = await client.post(f"/v1/records:{what}", json=body, headers=BEARER)
    assert answer.status == status, await answer.text()
    return await answer.json()


def orders(*keys: Any, **more: Any) -> dict[str, Any]:
    return {"rule": "orders", "scope": ["a"], "keys": list(keys), **more}


SAID = {"by": "ada", "why": "ticket 7"}


async def states(client: Client, *keys: Any) -> list[str]:
    found = await post(client, "lookup", orders(*keys))
    return [record["state"] for record in found["records"]]


# ---- lookup -----------------------------------------------------------------------------------


async def test_lookup_shows_each_state_in_order(client: Client) -> None:
    found = await post(client, "lookup", orders("done", "nowhere", "held", "doubt"))
    done, absent, held, doubt = found["records"]
    assert done["state"] == "done"
    assert done["processedAt"] == "2026-09-21T14:13:20.000Z"
    assert done["key"] == "done"
    assert absent == {"digest": absent["digest"], "key": "nowhere", "state": "absent"}
    assert (held["state"], held["live"], held["attempts"]) == ("held", True, 1)
    assert held["leaseUntil"] == "2026-09-21T14:13:50.000Z"
    assert (doubt["state"], doubt["doubtSince"]) == ("doubt", "2026-09-21T14:13:20.000Z")


async def test_a_result_is_shown_byte_for_byte(client: Client) -> None:
    answer = await client.post("/v1/records:lookup", json=orders("done"), headers=BEARER)
    assert b'{"id":9007199254740993,  "n":1.0}' in await answer.read()


async def test_a_lapsed_claim_is_shown_as_not_live(office: Office, client: Client) -> None:
    office.now += 30_000
    (held,) = (await post(client, "lookup", orders("held")))["records"]
    assert held["state"] == "held"
    assert "live" not in held


async def test_another_scope_and_generation_see_nothing(client: Client) -> None:
    other = {**orders("done"), "scope": ["b"]}
    assert (await post(client, "lookup", other))["records"][0]["state"] == "absent"
    older = {**orders("done"), "generation": 7}
    assert (await post(client, "lookup", older))["records"][0]["state"] == "absent"


async def test_a_digest_finds_the_same_record(client: Client) -> None:
    (by_key,) = (await post(client, "lookup", orders("done")))["records"]
    asked = {"rule": "orders", "digests": [by_key["digest"]]}
    (by_digest,) = (await post(client, "lookup", asked))["records"]
    assert by_digest["processedAt"] == by_key["processedAt"]


@pytest.mark.parametrize(
    ("body", "status", "hint"),
    [
        ({"rule": "nothing", "keys": ["a"]}, 404, "nothing"),
        (orders(), 400, "keys or digests"),
        ({**orders("a"), "digests": ["x" * 32]}, 400, "keys or digests"),
        ({"rule": "orders", "keys": ["a"]}, 400, "scope"),
        ({**orders("a"), "scope": ["a", "b"]}, 400, "scope"),
        (orders(["a", "b"]), 400, "1 value"),
        (orders("x" * 256), 400, "255"),
        (orders(1 << 63), 400, "64"),
        (orders(True), 400, "bool"),
        (orders(1.5), 400, "float"),
        (orders(None), 400, "null"),
        ({"rule": "orders", "digests": ["short"]}, 400, "digest"),
        ({"rule": "orders", "digests": ["x" * 32], "scope": ["a"]}, 400, "scope"),
        (orders("a", keyz=[]), 400, "keyz"),
        (orders(*range(1001)), 400, "1000"),
        ([], 400, "object"),
    ],
)
async def test_what_cannot_be_looked_up_is_refused(
    client: Client, body: Any, status: int, hint: str
) -> None:
    problem = await post(client, "lookup", body, status)
    assert hint in problem["detail"]
    assert problem["status"] == status


@pytest.mark.parametrize(
    "body",
    [
        orders("x" * 255),
        orders(-(1 << 63), (1 << 63) - 1),
        orders("1", 1),
        {"rule": "transfers", "keys": [["NL91", 7]]},
        orders(*range(1000)),
    ],
)
async def test_what_can_be_looked_up_is(client: Client, body: Any) -> None:
    found = await post(client, "lookup", body)
    assert len(found["records"]) == len(body["keys"])


# ---- list -------------------------------------------------------------------------------------


async def test_list_shows_the_doubtful_records(office: Office, client: Client) -> None:
    found = await post(client, "list", {})
    assert [record["state"] for record in found["records"]] == ["doubt"]
    assert found["cursor"] == ""
    wide = await post(client, "list", {"states": ["held", "doubt", "done"]})
    assert sorted(record["state"] for record in wide["records"]) == ["done", "doubt", "held"]
    office.now += 8 * 86_400_000
    assert (await post(client, "list", {}))["records"] == []


async def test_list_goes_on_from_its_cursor(office: Office, client: Client) -> None:
    await office.claim("orders", ("b",), *[(n,) for n in range(2500)])
    seen: set[str] = set()
    cursor, pages = "", 0
    while True:
        page = await post(client, "list", {"states": ["held"], "limit": 10, "cursor": cursor})
        seen |= {record["digest"] for record in page["records"]}
        cursor, pages = page["cursor"], pages + 1
        if not cursor:
            break
    assert len(seen) == 2501
    assert pages > 1


async def test_list_refuses_another_stores_cursor(client: Client) -> None:
    problem = await post(client, "list", {"cursor": "banana"}, 400)
    assert "cursor" in problem["detail"]


# ---- release ----------------------------------------------------------------------------------


async def test_a_doubtful_record_is_released(client: Client) -> None:
    said = await post(client, "release", orders("doubt", **SAID))
    (change,) = said["results"]
    assert (change["was"], change["changed"]) == ("doubt", True)
    assert await states(client, "doubt") == ["absent"]


@pytest.mark.parametrize("key", ["done", "held"])
async def test_done_and_live_need_force(client: Client, key: str) -> None:
    said = await post(client, "release", orders(key, **SAID), 409)
    assert "force" in said["results"][0]["reason"]
    assert await states(client, key) == [key]
    await post(client, "release", orders(key, force=True, **SAID))
    assert await states(client, key) == ["absent"]


async def test_a_lapsed_claim_is_released_without_force(office: Office, client: Client) -> None:
    office.now += 30_001
    await post(client, "release", orders("held", **SAID))
    assert await states(client, "held") == ["absent"]


async def test_some_may_be_refused_and_the_rest_is_done(client: Client) -> None:
    said = await post(client, "release", orders("doubt", "done", **SAID), 409)
    assert [one["changed"] for one in said["results"]] == [True, False]
    assert await states(client, "doubt", "done") == ["absent", "done"]


@pytest.mark.parametrize("said", [{}, {"by": "ada"}, {"why": "x"}, {"by": "", "why": "x"}])
@pytest.mark.parametrize("what", ["release", "resolve"])
async def test_who_and_why_are_needed(client: Client, what: str, said: dict[str, str]) -> None:
    more = {"outcome": "not_done"} if what == "resolve" else {}
    await post(client, what, orders("doubt", **more, **said), 400)
    assert await states(client, "doubt") == ["doubt"]


async def test_a_line_in_the_reason_cannot_forge_another(client: Client) -> None:
    await post(client, "release", orders("doubt", by="ada", why="a\nb"), 400)


# ---- resolve ----------------------------------------------------------------------------------


async def test_resolved_as_done_is_replayed_with_its_exact_result(
    office: Office, client: Client
) -> None:
    raw = b'{"id": 9007199254740993, "n": 1.0}'
    body = json.dumps(orders("doubt", outcome="done", processedAt="2026-09-21T10:00:00Z", **SAID))
    body = body[:-1] + ', "result": ' + raw.decode() + "}"
    answer = await client.post("/v1/records:resolve", data=body, headers=BEARER)
    assert answer.status == 200
    rule = office.reloader.current.rules[0]
    key = office.store_key("orders", ("a",), ("doubt",))
    (reply,) = await office.store.claim([key], [b"x" * 16], b"another-one.", terms_of(rule))
    assert isinstance(reply, Done)
    assert reply.result == raw
    assert moment(reply.processed_at) == "2026-09-21T10:00:00.000Z"


async def test_resolved_as_done_without_a_result_takes_a_real_one_later(client: Client) -> None:
    await post(client, "resolve", orders("doubt", outcome="done", **SAID))
    (record,) = (await post(client, "lookup", orders("doubt")))["records"]
    assert (record["state"], record["template"]) == ("done", True)
    assert "result" not in record


async def test_resolved_as_not_done_is_forgotten(client: Client) -> None:
    await post(client, "resolve", orders("doubt", outcome="not_done", **SAID))
    assert await states(client, "doubt") == ["absent"]


@pytest.mark.parametrize("outcome", ["done", "not_done"])
@pytest.mark.parametrize(("key", "hint"), [("done", ""), ("held", "force")])
async def test_resolving_what_is_not_doubtful_is_refused(
    client: Client, key: str, hint: str, outcome: str
) -> None:
    said = await post(client, "resolve", orders(key, outcome=outcome, **SAID), 409)
    assert hint in said["results"][0]["reason"]
    assert await states(client, key) == [key]


async def test_a_poisoned_item_without_a_record_is_resolved_as_done(client: Client) -> None:
    await post(client, "resolve", orders("nowhere", outcome="done", result={"id": 1}, **SAID))
    assert await states(client, "nowhere") == ["done"]


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ({"outcome": "maybe"}, "outcome"),
        ({}, "outcome"),
        ({"outcome": "not_done", "result": {}}, "outcome done"),
        ({"outcome": "not_done", "processedAt": "2026-09-21T10:00:00Z"}, "outcome done"),
        ({"outcome": "done", "processedAt": "yesterday"}, "processedAt"),
        ({"outcome": "done", "processedAt": "2026-09-21T10:00:00"}, "offset"),
        ({"outcome": "done", "result": "x" * 65_536}, "65536"),
    ],
)
async def test_a_resolution_that_makes_no_sense_is_refused(
    client: Client, more: dict[str, Any], hint: str
) -> None:
    problem = await post(client, "resolve", orders("doubt", **more, **SAID), 400)
    assert hint in problem["detail"]
    assert await states(client, "doubt") == ["doubt"]


# ---- audit, tokens, outages -------------------------------------------------------------------


async def test_changes_are_audited_without_keys(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "proxy.audit"):
        await post(client, "release", orders("doubt", "done", **SAID), 409)
        await post(client, "lookup", orders("doubt"))
    (line,) = caplog.records
    said = vars(line)
    assert (said["by"], said["why"], said["rule"], said["force"]) == (
        *SAID.values(),
        "orders",
        False,
    )
    assert line.getMessage() == "records released"
    assert list(said["changed"].values()) == ["doubt"]
    assert len(said["refused"]) == 1
    assert said["peer"] == "127.0.0.1"


ROUTES = ["lookup", "list", "release", "resolve"]


@pytest.mark.parametrize("what", ROUTES)
@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", "Basic open sesame", "Bearer open sesame!", "Bearer ü"]
)
async def test_a_wrong_token_is_401(client: Client, what: str, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    answer = await client.post(f"/v1/records:{what}", json={}, headers=headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "sesame" not in await answer.text()


@pytest.mark.parametrize("what", ROUTES)
async def test_without_a_token_file_there_is_no_records_api(
    tmp_path: Path, aiohttp_client: AiohttpClient, what: str
) -> None:
    client = await aiohttp_client(Office(tmp_path, token=None).admin.app())
    answer = await client.post(f"/v1/records:{what}", json={}, headers=BEARER)
    assert answer.status == 404


async def test_a_store_outage_is_503(office: Office, client: Client) -> None:
    await office.store.close()
    office.desk._store = Broken()  # type: ignore[assignment]
    for what, body in (
        ("lookup", orders("done")),
        ("list", {}),
        ("release", orders("done", **SAID)),
        ("resolve", orders("done", outcome="done", **SAID)),
    ):
        problem = await post(client, what, body, 503)
        assert problem["type"].endswith(":store-unavailable")


class Broken:
    async def read(self, *_: Any) -> Any:
        from proxy.errors import StoreUnavailable

        raise StoreUnavailable("timeout")

    scan = settle = read


def test_times_go_there_and_back() -> None:
    assert milliseconds(moment(START + 7)) == START + 7
    assert milliseconds("2026-09-21T16:13:20+02:00") == START


def test_records_of_the_desk_are_what_the_store_has(office: Office) -> None:
    kept = office.store._records[office.store_key("orders", ("a",), ("doubt",))].record
    assert isinstance(kept, Doubt)
