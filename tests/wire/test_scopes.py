"""Results never cross scopes: whatever is asked in what order, the answer is the asker's own."""

from __future__ import annotations

import random

import orjson
import pytest

from tests.fakes.upstream_raw import RawUpstream, Received, Wire, ok
from tests.wire.gateway import RULE, gateway, post

TWO_PARTS = RULE.replace('["header:X-Tenant"]', '["header:X-Tenant", "query:user"]')
TENANTS = (
    "a",
    "A",
    "aa",
    "a,b",
    "a;b",
    "a b",
    "\xe9",
    "e\u0301".encode().decode("latin-1"),
    "1",
    "01",
)
USERS = ("a", "A", "aa", "%61%61", "b", "", "1", "01", "a%2Cb", "a+b", "\\x")
KEYS = ("k", "K", 1, "1", -1, "a:b")


def asker(tenant: str, user: str) -> str:
    return f"{tenant}|{user.replace('%61', 'a')}"


async def own_words(request: Received, _: Wire) -> bytes:
    """Each result says whose it is and for which key."""
    tenant = request.values("x-tenant")[0]
    user = request.target.partition("user=")[2]
    keys = [item["id"] for item in orjson.loads(request.body)["orders"]]
    return ok(orjson.dumps({"results": [{"whose": asker(tenant, user), "key": k} for k in keys]}))


@pytest.mark.parametrize("seed", range(5))
async def test_every_answer_is_the_askers_own(seed: int) -> None:
    dice, replayed = random.Random(seed), 0
    async with RawUpstream(own_words) as upstream, gateway(upstream.url, TWO_PARTS) as proxy:
        for _ in range(120):
            tenant, user = dice.choice(TENANTS), dice.choice(USERS)
            keys = dice.sample(KEYS, dice.randint(1, 4))
            body = orjson.dumps({"orders": [{"id": key} for key in keys]})
            path = f"/orders/batch?user={user}"
            answer = await proxy.ask(post(body, path=path, tenant=tenant))
            assert answer.status == 200
            for key, result in zip(keys, orjson.loads(answer.body)["results"], strict=True):
                assert (result["whose"], result["key"]) == (asker(tenant, user), key)
                replayed += result.get("isIdempotent", False)
        assert replayed > 20
        assert proxy.seen.passed["orders", "no_scope"] > 0
