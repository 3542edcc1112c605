"""A commit soon after its claim leaves the expiry that the claim set; any other renews it."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from proxy.core.record import LEEWAY, Applied, Commit, Extend, Sent, Settlement
from tests.fakes.redis_server import RedisServer
from tests.store.stands import PRINT, TERMS, RedisStand, keys, token

pytestmark = pytest.mark.store

DAY, MINUTE = TERMS.retention, 60_000
BLIND = replace(TERMS, detects_duplicates=False)
COMMIT = Commit(PRINT, 1, b"{}")


def renewals(server: RedisServer) -> int:
    """How often an expiry was written anew since the statistics began."""
    stats = server.info("cmdstat_pexpireat") or "calls=0,"
    return int(stats.split(",")[0].removeprefix("calls="))


async def left_after(redis: RedisStand, name: bytes) -> int:
    left = await redis.expires_in(name)
    assert left <= DAY + LEEWAY
    return left


@pytest.mark.parametrize("count", [1, 3, 100, 600])
async def test_a_commit_right_behind_its_claim_renews_nothing(
    redis: RedisStand, redis_server: RedisServer, count: int
) -> None:
    me, names = token(), keys(count)
    redis_server.command("CONFIG", "RESETSTAT")
    await redis.store.claim(names, [PRINT] * count, me, TERMS)
    assert await redis.store.settle(names, [COMMIT] * count, me, TERMS) == [Applied()] * count

    assert renewals(redis_server) == 0
    for name in names:
        assert await left_after(redis, name) > DAY - MINUTE


async def test_a_later_commit_renews_the_expiry_of_each_key(
    redis: RedisStand, redis_server: RedisServer
) -> None:
    me, names = token(), keys(3)
    await redis.store.claim(names, [PRINT] * 3, me, TERMS)
    for name in names:
        redis_server.command("PEXPIRE", name, DAY - MINUTE)  # as if a minute had passed
    await redis.store.settle(names, [COMMIT] * 3, me, TERMS)

    for name in names:
        assert await left_after(redis, name) > DAY - MINUTE


async def test_each_request_of_a_shared_call_is_looked_at_for_itself(
    redis: RedisStand, redis_server: RedisServer
) -> None:
    owners, names = [token() for _ in range(4)], keys(4)
    pairs = list(zip(names, owners, strict=True))
    await asyncio.gather(*(redis.claim_one(name, owner) for name, owner in pairs))
    for name in names[::2]:
        redis_server.command("PEXPIRE", name, DAY - MINUTE)
    redis_server.command("CONFIG", "RESETSTAT")
    await asyncio.gather(*(redis.settle_one(name, COMMIT, owner) for name, owner in pairs))

    assert renewals(redis_server) == 2
    for name in names:
        assert await left_after(redis, name) > DAY - MINUTE


@pytest.mark.parametrize("step", [Sent(), Extend()])
async def test_an_extended_claim_has_the_leeway_again(
    redis: RedisStand, redis_server: RedisServer, step: Settlement
) -> None:
    me, (name,) = token(), keys(1)
    await redis.claim_one(name, me)
    redis_server.command("PEXPIRE", name, DAY - MINUTE)
    await redis.settle_one(name, step, me)
    assert await left_after(redis, name) > DAY
    await redis.settle_one(name, COMMIT, me)
    assert await left_after(redis, name) > DAY - MINUTE


async def test_a_claim_that_is_kept_for_much_longer_is_cut(redis: RedisStand) -> None:
    """Without detection a claim is kept for a week; and another retention is another expiry."""
    me, names = token(), keys(2)
    await redis.claim_one(names[0], me, BLIND)
    await redis.claim_one(names[1], me, replace(TERMS, retention=DAY + MINUTE))
    for name, terms in zip(names, (BLIND, TERMS), strict=True):
        await redis.settle_one(name, COMMIT, me, terms)
        assert await left_after(redis, name) > DAY - MINUTE
