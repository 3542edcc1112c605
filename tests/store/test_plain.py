"""Large claims as plain commands: what they do is what the script does, and where they cannot know
it is the script that does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec.structs import replace

from proxy.core.codec import encode
from proxy.core.record import (
    LEEWAY,
    Applied,
    Busy,
    Commit,
    Done,
    Held,
    Mismatch,
    Record,
    Terms,
    Won,
)
from proxy.errors import StoreUnavailable
from tests.fakes.redis_server import RedisServer, free_port
from tests.store.stands import (
    PRINT,
    TERMS,
    RedisStand,
    is_plain,
    keys,
    near,
    opened,
    pipe_of,
    token,
)
from tests.store.test_redis_access import FEWEST_RIGHTS

pytestmark = pytest.mark.store

BLIND = replace(TERMS, detects_duplicates=False)
COMMIT = Commit(PRINT, 1, b'{"id":1}')
OTHER = b"g" * 16


@pytest.fixture
async def plain(redis_server: RedisServer) -> AsyncIterator[RedisStand]:
    made = await RedisStand.plain(redis_server)
    redis_server.command("CONFIG", "RESETSTAT")
    yield made
    await made.store.close()


def calls_of(server: RedisServer, command: str) -> int:
    """How often it was run since the statistics began."""
    stats = server.info(f"cmdstat_{command}") or "calls=0,"
    return int(stats.split(",")[0].removeprefix("calls="))


def clock(server: RedisServer) -> int:
    seconds, micros = server.command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def commit(
    stand: RedisStand, names: Sequence[bytes], me: bytes, terms: Terms = TERMS
) -> list[object]:
    return list(await stand.store.settle(names, [COMMIT] * len(names), me, terms))


async def records(stand: RedisStand, names: Sequence[bytes]) -> list[object]:
    return list(await stand.store.read(names))


@pytest.mark.parametrize("terms", [TERMS, BLIND])
@pytest.mark.parametrize("count", [1, 2, 100, 512])
async def test_what_is_new_is_claimed_without_a_script(
    plain: RedisStand, redis_server: RedisServer, terms: Terms, count: int
) -> None:
    names, me = keys(count), token()
    prints = [bytes([n % 251]) * 16 for n in range(count)]
    before = clock(redis_server)
    assert list(await plain.store.claim(names, prints, me, terms)) == [Won(1)] * count
    assert calls_of(redis_server, "evalsha") == 0
    for record, fingerprint in zip(await records(plain, names), prints, strict=True):
        assert isinstance(record, Held)
        assert 0 <= record.deadline - terms.lease - before < 5_000
        barrier = not terms.detects_duplicates
        assert record == Held(me, 1, record.deadline, fingerprint, barrier=barrier)
    for name in names:
        left = await plain.expires_in(name)
        assert near(left, terms.doubt_retention)
        assert left > terms.doubt_retention - 5_000


async def test_a_commit_soon_after_renews_no_expiry(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    names, me = keys(100), token()
    await plain.store.claim(names, [PRINT] * 100, me, TERMS)
    assert await commit(plain, names, me) == [Applied()] * 100
    assert calls_of(redis_server, "pexpireat") == 0
    for name in names:
        left = await plain.expires_in(name)
        assert TERMS.retention - 5_000 < left <= TERMS.retention + LEEWAY


FOUND: list[tuple[Record | None, object]] = [
    (None, Won(1)),
    (Done(b"o" * 12, 5, PRINT, b"{}"), Done(b"o" * 12, 5, PRINT, b"{}")),
    (Done(b"o" * 12, 5, None, b"{}"), Done(b"o" * 12, 5, None, b"{}")),
    (Done(b"o" * 12, 5, PRINT, None), Done(b"o" * 12, 5, PRINT, None)),
    (Done(b"o" * 12, 5, OTHER, b"{}"), Mismatch()),
    (Held(b"o" * 12, 1, 2**41, OTHER), Mismatch()),
    (Held(b"o" * 12, 1, 1, PRINT), Won(2, suspect=True)),
    (Held(b"o" * 12, 3, 1, PRINT, barrier=True), Won(4)),
]


@pytest.mark.parametrize("found", [*([one] for one in FOUND), FOUND, FOUND[:2]])
async def test_a_claim_of_what_stands_is_answered_as_the_script_does(
    plain: RedisStand, found: list[tuple[Record | None, object]]
) -> None:
    names = keys(len(found))
    for name, (record, _) in zip(names, found, strict=True):
        if record is not None:
            await plain.plant(name, encode(record))  # type: ignore[arg-type]
    replies = list(await plain.store.claim(names, [PRINT] * len(names), token(), TERMS))
    assert replies == [wanted for _, wanted in found]


async def test_another_owner_is_waited_for(plain: RedisStand) -> None:
    names = keys(3)
    await plain.store.claim(names, [PRINT] * 3, token(), TERMS)
    for reply in await plain.store.claim(names, [PRINT] * 3, token(), TERMS):
        assert isinstance(reply, Busy)
        assert 0 < reply.left <= TERMS.lease + 500


async def test_where_the_last_ones_were_done_before_a_script_asks_for_the_next(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    """It costs less for what is done; where it finds something new, plain commands are back."""
    done, me = keys(3), token()
    await plain.store.claim(done, [PRINT] * 3, me, TERMS)
    await commit(plain, done, me)
    redis_server.command("CONFIG", "RESETSTAT")
    for _ in range(3):
        await plain.store.claim(done, [PRINT] * 3, token(), TERMS)
    assert calls_of(redis_server, "evalsha") == 2  # the first was not expected
    await plain.store.claim(keys(3), [PRINT] * 3, token(), TERMS)
    assert calls_of(redis_server, "evalsha") == 3
    await plain.store.claim(keys(3), [PRINT] * 3, token(), TERMS)
    assert calls_of(redis_server, "evalsha") == 3


async def test_a_key_that_stands_twice_is_won_again(plain: RedisStand) -> None:
    (name,) = keys(1)
    replies = await plain.store.claim([name, name], [PRINT] * 2, token(), TERMS)
    assert list(replies) == [Won(1), Won(1)]


async def test_a_claim_without_content_goes_by_the_script(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    replies = await plain.store.claim(keys(2), [PRINT, None], token(), TERMS)
    assert list(replies) == [Won(1), Won(1)]
    assert calls_of(redis_server, "evalsha") == 1


# ---- the server and the connection ----------------------------------------------------------


@pytest.mark.process
async def test_a_user_needs_no_more_rights(own_server: RedisServer) -> None:
    own_server.command("ACL", "SETUSER", "sidecar", "on", ">word", *FEWEST_RIGHTS)
    names, me = keys(100), token()
    async with opened(own_server.url, username="sidecar", password="word") as store:
        await store.read(keys(1))
        store.wake()
        await store.read(keys(1))
        assert list(await store.claim(names, [PRINT] * 100, me, TERMS)) == [Won(1)] * 100
        assert calls_of(own_server, "evalsha") == 0
        assert await store.settle(names, [COMMIT] * 100, me, TERMS) == [Applied()] * 100


@pytest.mark.process
async def test_without_memory_what_is_done_is_recorded_and_nothing_else(
    own_server: RedisServer,
) -> None:
    stand = await RedisStand.plain(own_server)
    names, me = keys(100), token()
    await stand.store.claim(names, [PRINT] * 100, me, TERMS)
    own_server.command("CONFIG", "SET", "maxmemory", 1)
    fresh = keys(2)
    asked = [*fresh, names[0]]
    *refused, busy = await stand.store.claim(asked, [PRINT] * 3, token(), TERMS)
    assert isinstance(busy, Busy)
    for reply in refused:
        assert isinstance(reply, StoreUnavailable)
        assert "out of memory" in str(reply)
    assert await commit(stand, names, me) == [Applied()] * 100
    assert await records(stand, fresh) == [None, None]
    assert all(isinstance(record, Done) for record in await records(stand, names))
    await stand.store.close()


async def test_a_connection_that_is_lost_says_nothing(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    names, me = keys(4), token()
    redis_server.command("CLIENT", "PAUSE", 200, "ALL")
    asked = asyncio.ensure_future(plain.store.claim(names, [PRINT] * 4, me, TERMS))
    await asyncio.sleep(0)
    assert len(pipe_of(plain.store)._waiting) == 1
    pipe_of(plain.store)._transport.abort()
    assert list(await asked) == [Won(1)] * 4
    assert [r.token for r in await records(plain, names) if isinstance(r, Held)] == [me] * 4


async def test_a_server_that_does_not_answer_is_an_outage(redis_server: RedisServer) -> None:
    made = await RedisStand.plain(redis_server, timeout=0.1)
    redis_server.command("CLIENT", "PAUSE", 400, "ALL")
    names = keys(3)
    with pytest.raises(StoreUnavailable, match="in time"):
        await made.store.claim(names, [PRINT] * 3, token(), TERMS)
    await made.store.close()


@pytest.mark.process
async def test_a_master_that_became_a_replica_is_given_up(own_server: RedisServer) -> None:
    stand = await RedisStand.plain(own_server)
    names, me = keys(3), token()
    await stand.store.claim(names, [PRINT] * 3, me, TERMS)
    own_server.command("REPLICAOF", "127.0.0.1", free_port())
    with pytest.raises(StoreUnavailable, match="READONLY"):
        await stand.store.claim(keys(2), [PRINT] * 2, token(), TERMS)
    own_server.command("REPLICAOF", "NO", "ONE")
    assert list(await stand.store.claim(names, [PRINT] * 3, me, TERMS)) == [Won(1)] * 3
    await stand.store.close()


async def test_another_connection_is_asked_anew(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    redis_server.command("CLIENT", "KILL", "TYPE", "normal")
    names, me = keys(2), token()
    assert list(await plain.store.claim(names, [PRINT] * 2, me, TERMS)) == [Won(1)] * 2
    assert not is_plain(plain)
    plain.redis.wake()
    await plain.store.read(names)
    assert is_plain(plain)


async def test_a_clock_that_was_not_heard_for_long_is_not_gone_by(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    clock = plain.redis._plain._clock
    assert clock is not None
    clock._asked -= 10
    assert list(await plain.store.claim(keys(2), [PRINT] * 2, token(), TERMS)) == [Won(1)] * 2
    assert calls_of(redis_server, "evalsha") == 1
    assert is_plain(plain)  # it was asked for at once
    clock._heard += 1  # it took a second to be heard
    assert not is_plain(plain)


async def test_a_server_that_was_idle_is_woken_by_a_call_that_does_nothing(
    plain: RedisStand, redis_server: RedisServer
) -> None:
    pipe = pipe_of(plain.store)
    plain.redis.wake()  # it was just asked
    assert not pipe._waiting
    pipe._last -= 1.0
    before = redis_server.command("DBSIZE")
    plain.redis.wake()
    plain.redis.wake()  # that is enough
    assert len(pipe._waiting) == 1
    assert await records(plain, keys(1)) == [None]  # its own reply, and not the first
    assert calls_of(redis_server, "evalsha") == 1
    assert redis_server.command("DBSIZE") == before


async def test_nothing_is_woken_that_was_not_connected(redis_server: RedisServer) -> None:
    made = RedisStand(redis_server)
    made.redis.wake()
    assert made.redis._plain._clock is None
    await made.store.close()
