"""The payments service of examples/legacy, asked directly: it really is all or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from examples.legacy.payments import FIRST_ID, DuplicateKeyError, Payment, Payments
from examples.legacy.service import make_app

Client = TestClient[Any, Any]
TENANT = {"X-Tenant-Id": "acme"}


def payment(key: str, amount: Any = 100) -> dict[str, Any]:
    return {"key": key, "to": "ada", "amount": amount}


@pytest.fixture
async def legacy(aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(make_app(Payments(":memory:")))


async def post(client: Client, *items: Any, tenant: str = "acme") -> tuple[int, dict[str, Any]]:
    headers = {"X-Tenant-Id": tenant}
    body = {"payments": items}
    async with client.post("/api/payments/batch", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def rows(client: Client) -> int:
    async with client.get("/api/calls") as answer:
        return int((await answer.json())["rows"])


async def test_new_payments_are_booked_and_answered_in_order(legacy: Client) -> None:
    status, body = await post(legacy, payment("a"), payment("b", 250))
    assert status == 201
    assert body == {
        "results": [
            {"id": FIRST_ID, "key": "a", "amount": 100, "status": "BOOKED"},
            {"id": FIRST_ID + 1, "key": "b", "amount": 250, "status": "BOOKED"},
        ],
        "count": 2,
    }


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_repeated_key_fails_the_whole_batch(legacy: Client, place: int) -> None:
    await post(legacy, payment("old"))
    batch = [payment("x"), payment("y")]
    batch.insert(place, payment("old"))
    status, body = await post(legacy, *batch)
    assert (status, body["error"]) == (409, "DUPLICATE_KEY")
    assert await rows(legacy) == 1
    assert (await post(legacy, payment("x"), payment("y")))[0] == 201


async def test_a_key_twice_in_one_batch_fails_it(legacy: Client) -> None:
    assert (await post(legacy, payment("a"), payment("a")))[0] == 409
    assert await rows(legacy) == 0


@pytest.mark.parametrize("bad", [payment("b", 0), payment("b", True), {"key": "b"}, "b"])
async def test_one_bad_item_fails_the_whole_batch(legacy: Client, bad: Any) -> None:
    status, body = await post(legacy, payment("a"), bad)
    assert (status, body["error"]) == (422, "INVALID_PAYMENT")
    assert await rows(legacy) == 0


async def test_a_hundred_fit_and_one_more_does_not(legacy: Client) -> None:
    many = [payment(f"k{i}") for i in range(101)]
    assert (await post(legacy, *many))[0] == 413
    assert (await post(legacy, *many[:100]))[0] == 201


async def test_a_key_belongs_to_its_tenant(legacy: Client) -> None:
    assert (await post(legacy, payment("a")))[0] == 201
    assert (await post(legacy, payment("a"), tenant="other"))[0] == 201
    assert (await post(legacy, payment("a"), tenant=""))[0] == 401


async def test_a_payment_is_found_by_key(legacy: Client) -> None:
    await post(legacy, payment("a/b", 7))
    async with legacy.get("/api/payments/a%2Fb", headers=TENANT) as answer:
        found = await answer.json()
    assert found == {"payment": {"id": FIRST_ID, "key": "a/b", "amount": 7, "status": "BOOKED"}}
    async with legacy.get("/api/payments/a%2Fb", headers={"X-Tenant-Id": "other"}) as answer:
        assert answer.status == 404
    async with legacy.get("/api/calls") as answer:
        assert await answer.json() == {"batches": 1, "lookups": 2, "rows": 1}


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"payments": {}}'])
async def test_a_body_that_is_no_batch(legacy: Client, body: bytes) -> None:
    async with legacy.post("/api/payments/batch", data=body, headers=TENANT) as answer:
        assert answer.status == 400


def test_the_rows_survive_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "payments.db")
    first = Payments(path)
    first.book("acme", [Payment("a", "ada", 1)])
    first.close()
    second = Payments(path)
    with pytest.raises(DuplicateKeyError):
        second.book("acme", [Payment("b", "ada", 1), Payment("a", "ada", 1)])
    booked = second.book("acme", [Payment("c", "ada", 1)])
    second.close()
    assert [b["id"] for b in booked] == [FIRST_ID + 1]
