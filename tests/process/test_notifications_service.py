"""The platform of examples/notifications, asked directly: the facts that its rules build on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from examples.notifications.outbox import FIRST_ID, Notification, Outbox
from examples.notifications.service import make_app

Client = TestClient[Any, Any]
NOT_FOUND = {"notification": {"notificationId": 0}}


def item(key: str, *receivers: str, **changes: Any) -> dict[str, Any]:
    return {
        "key": key,
        "receivers": receivers or ["ada@example.org"],
        "channel": "EMAIL",
        "templateId": "welcome",
        "templateParams": {"name": key},
        "strategy": "IMMEDIATE",
    } | changes


@pytest.fixture
async def platform(aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(make_app(Outbox(":memory:")))


@pytest.fixture
async def marking(aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(make_app(Outbox(":memory:", marks_first=True)))


async def post(client: Client, *items: Any, tenant: str = "acme") -> tuple[int, dict[str, Any]]:
    path, headers = "/api/v1/notifications/batch", {"X-Tenant-Id": tenant}
    async with client.post(path, json={"notifications": items}, headers=headers) as answer:
        return answer.status, await answer.json()


async def find(client: Client, key: str, tenant: str = "acme") -> dict[str, Any]:
    path, headers = "/api/v1/notifications", {"X-Tenant-Id": tenant}
    async with client.get(path, params={"key": key}, headers=headers) as answer:
        assert answer.status == 200
        return dict(await answer.json())


async def test_an_immediate_batch_is_answered_out_of_order_and_without_keys(
    platform: Client,
) -> None:
    keys = [f"k{i}" for i in range(10)]
    status, body = await post(platform, *map(item, keys))
    assert (status, body["totalCount"], body["successCount"]) == (200, 10, 10)
    assert {frozenset(r) for r in body["results"]} == {
        frozenset({"notificationId", "status", "errorCode", "errorMessage"})
    }
    answered = [r["notificationId"] for r in body["results"]]
    in_order = [(await find(platform, k))["notification"]["notificationId"] for k in keys]
    assert answered != in_order
    assert sorted(answered) == sorted(in_order) == [FIRST_ID + i for i in range(10)]
    assert min(answered) > 2**63


async def test_a_scheduled_batch_is_answered_in_order(platform: Client) -> None:
    _, body = await post(platform, *(item(f"k{i}", strategy="SCHEDULED") for i in range(10)))
    assert [r["notificationId"] for r in body["results"]] == [FIRST_ID + i for i in range(10)]
    assert {r["status"] for r in body["results"]} == {"SCHEDULED"}


async def test_a_duplicate_anywhere_fails_every_item_within_a_200(platform: Client) -> None:
    await post(platform, item("old"))
    failed = {
        "notificationId": 0,
        "status": "FAILED",
        "errorCode": 10,
        "errorMessage": "duplicate key in batch",
    }
    for batch in (["new", "old"], ["old", "new"], ["new", "new"]):
        status, body = await post(platform, *map(item, batch))
        assert status == 200
        assert body == {"results": [failed, failed], "totalCount": 2, "successCount": 0}
        assert await find(platform, "new") == NOT_FOUND
    assert (await post(platform, item("new")))[1]["successCount"] == 1


async def test_a_query_by_key_gives_the_record_of_its_tenant(platform: Client) -> None:
    await post(platform, item("k"))
    assert await find(platform, "k") == {
        "notification": {
            "notificationId": FIRST_ID,
            "status": "SENT",
            "errorCode": 0,
            "errorMessage": "",
            "key": "k",
            "receivers": ["ada@example.org"],
            "channel": "EMAIL",
            "templateId": "welcome",
            "templateParams": {"name": "k"},
        }
    }
    assert await find(platform, "k", tenant="other") == NOT_FOUND
    assert (await post(platform, item("k"), tenant="other"))[1]["successCount"] == 1
    async with platform.get("/api/v1/calls") as answer:
        assert await answer.json() == {"batches": 2, "lookups": 2, "rows": 2}


async def test_a_blocked_receiver_fails_only_its_own_item(platform: Client) -> None:
    batch = item("good", strategy="SCHEDULED"), item("bad", "blocked:bob", strategy="SCHEDULED")
    _, body = await post(platform, *batch)
    assert [(r["status"], r["errorCode"]) for r in body["results"]] == [
        ("SCHEDULED", 0),
        ("FAILED", 20),
    ]
    assert body["successCount"] == 1


async def test_at_most_a_hundred(platform: Client) -> None:
    many = [item(f"k{i}") for i in range(101)]
    status, body = await post(platform, *many)
    assert (status, body) == (400, {"errorCode": 1, "errorMessage": "at most 100 notifications"})
    assert (await post(platform, *many[:100]))[1]["successCount"] == 100


@pytest.mark.parametrize(
    "bad",
    [
        item(""),
        item("b", channel=None),
        item("b", receivers=[]),
        item("b", templateParams=[]),
        item("b", strategy="LATER"),
        "b",
    ],
)
async def test_a_bad_item_turns_the_whole_batch_away(marking: Client, bad: Any) -> None:
    assert (await post(marking, item("a"), bad))[0] == 400
    assert (await post(marking, item("a")))[1]["successCount"] == 1


async def test_a_tenant_is_required(platform: Client) -> None:
    assert (await post(platform, item("a"), tenant=""))[0] == 401


async def test_marks_of_a_rejected_batch_stay(marking: Client) -> None:
    await post(marking, item("old"))
    for batch in (["first", "old", "last"], ["first"], ["last"]):
        _, body = await post(marking, *map(item, batch))
        assert [r["errorCode"] for r in body["results"]] == [10] * len(batch)
    assert await find(marking, "first") == NOT_FOUND
    assert await find(marking, "last") == NOT_FOUND
    assert (await post(marking, item("other")))[1]["successCount"] == 1


def test_the_rows_survive_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "notifications.db")
    taken = Notification("k", ("ada",), "EMAIL", "welcome", {}, "IMMEDIATE")
    first = Outbox(path)
    first.send("acme", [taken])
    first.close()
    second = Outbox(path)
    found = second.find("acme", "k")
    second.close()
    assert found is not None
    assert found["notificationId"] == FIRST_ID
