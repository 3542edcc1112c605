"""One real Redis and what happens to it: flushed scripts, lost connections, restarts, memory that
runs out, users with few rights, TLS. And what its records and calls cost."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
import uvloop

from proxy.core.codec import encode
from proxy.core.keys import KeyMaker
from proxy.core.record import (
    Applied,
    Busy,
    ClaimReply,
    Commit,
    Done,
    Lost,
    MarkDoubt,
    Release,
    Settlement,
    Won,
)
from proxy.errors import StoreUnavailable
from proxy.store.guard import GuardedStore
from tests.fakes.redis_server import RedisServer, free_port, standalone
from tests.store.certificates import tls_options, write_certificates
from tests.store.stands import PRINT, TERMS, RedisStand, keys, opened, serving, token

pytestmark = pytest.mark.store

RESULT = b'{"id":1}'


async def claim(store: GuardedStore, names: list[bytes], me: bytes) -> list[object]:
    return list(await store.claim(names, [PRINT] * len(names), me, TERMS))


# ---- scripts and connections ----------------------------------------------------------------


async def test_flushed_scripts_are_loaded_again(
    redis: RedisStand, redis_server: RedisServer
) -> None:
    me = token()
    names = keys(100)
    redis_server.command("SCRIPT", "FLUSH")
    assert await redis.store.claim(names, [PRINT] * 100, me, TERMS) == [Won(1)] * 100
    redis_server.command("SCRIPT", "FLUSH")
    assert await redis.store.settle(names, [Release()] * 100, me, TERMS) == [Applied()] * 100


async def test_flushed_scripts_cost_no_call_its_answer(
    redis: RedisStand, redis_server: RedisServer
) -> None:
    async def one() -> ClaimReply | StoreUnavailable:
        return await redis.claim_one(keys(1)[0], token())

    for _ in range(20):
        calls = [asyncio.create_task(one()) for _ in range(20)]
        await asyncio.sleep(0)
        redis_server.command("SCRIPT", "FLUSH")
        assert await asyncio.gather(*calls) == [Won(1)] * 20


async def test_a_connection_that_the_server_closed_is_made_again(
    redis: RedisStand, redis_server: RedisServer
) -> None:
    (key,) = keys(1)
    me = token()
    assert await redis.claim_one(key, me) == Won(1)
    for _ in range(5):
        redis_server.command("CLIENT", "KILL", "TYPE", "normal")
        assert await redis.claim_one(key, me) == Won(1)


async def test_a_call_under_way_when_the_connection_ends_is_repeated(
    redis: RedisStand, redis_server: RedisServer
) -> None:
    me = token()
    await redis.claim_one(keys(1)[0], me)
    redis_server.command("CLIENT", "PAUSE", 400, "ALL")
    names = keys(3)
    calls = asyncio.gather(*(redis.claim_one(name, me) for name in names))
    for _ in range(3):
        await asyncio.sleep(0)
    pipe = redis.store._topology._link._pipe  # type: ignore[attr-defined]
    pipe._transport.abort()

    assert await calls == [Won(1)] * 3


async def test_nothing_listens_there() -> None:
    async with opened(f"redis://127.0.0.1:{free_port()}", timeout=1.0) as store:
        with pytest.raises(StoreUnavailable, match="cannot connect"):
            await claim(store, keys(1), token())
        with pytest.raises(StoreUnavailable):
            await store.probe()


async def test_something_else_listens_there() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(answer) as url, opened(url, timeout=2.0) as store:
        with pytest.raises(StoreUnavailable, match="not a reply"):
            await claim(store, keys(1), token())


@pytest.mark.process
async def test_records_outlive_a_restart_and_the_store_comes_back(own_server: RedisServer) -> None:
    names = keys(2)
    me = token()
    async with opened(own_server.url) as store:
        await claim(store, names, me)
        await store.settle(names[:1], [Commit(PRINT, 1, RESULT)], me, TERMS)
        own_server.kill()
        with pytest.raises(StoreUnavailable):
            await claim(store, names, me)
        own_server.start()

        assert await claim(store, names, me) == [Done(me, 1, PRINT, RESULT), Won(1)]


@pytest.mark.process
async def test_a_server_that_hangs_costs_one_timeout_and_no_answer_is_crossed(
    own_server: RedisServer,
) -> None:
    names = keys(200)
    async with opened(own_server.url, timeout=0.3) as store:
        owners = {name: token() for name in names}
        for n, name in enumerate(names):
            await store.settle([name], [Commit(None, n, b"%d" % n)], owners[name], TERMS)
        own_server.pause()
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = await asyncio.gather(
            *(store.read([name]) for name in names), return_exceptions=True
        )
        assert loop.time() - began < 5.0
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert not store.is_up
        own_server.resume()
        await _until_up(store)

        for n, name in enumerate(names):
            assert await store.read([name]) == [Done(owners[name], n, None, b"%d" % n)]


async def _until_up(store: GuardedStore) -> None:
    """The breaker's pause is over, and a trial went through."""
    async with asyncio.timeout(10):
        while not store.is_up:
            try:
                await store.read(keys(1))
            except StoreUnavailable:
                await asyncio.sleep(0.02)


async def test_close_ends_what_is_under_way(redis: RedisStand, redis_server: RedisServer) -> None:
    redis_server.command("CLIENT", "PAUSE", 300, "ALL")
    calls = [asyncio.create_task(redis.claim_one(key, token())) for key in keys(3)]
    big = asyncio.create_task(redis.store.read(keys(1)))
    await asyncio.sleep(0.05)

    await redis.store.close()

    answers = await asyncio.gather(*calls, big, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}


# ---- cancellation ---------------------------------------------------------------------------


async def _cancel_many(stand: RedisStand, wanted: int) -> None:
    """Calls of every kind, most of them cancelled after a few turns of the loop. Every key has a
    result of its own: an answer with another's is a crossed reply."""
    names = keys(64)
    me = token()
    for n, name in enumerate(names):
        await stand.settle_one(name, Commit(None, n, b"%d" % n), me)
    cancelled = 0

    async def check(n: int) -> None:
        expected = Done(me, n, None, b"%d" % n)
        kind = n % 3
        if kind == 0:
            assert await stand.store.read([names[n]]) == [expected]
        elif kind == 1:
            assert await stand.claim_one(names[n], token()) == expected
        else:
            big = [names[n]] * 70  # too large to share a call
            replies = await stand.store.claim(big, [None] * 70, token(), TERMS)
            assert replies == [expected] * 70

    for turn in itertools.count():
        if cancelled >= wanted:
            break
        tasks = [asyncio.create_task(check((turn + step) % 64)) for step in range(8)]
        for _ in range(turn % 9):
            await asyncio.sleep(0)
        for task in tasks[1:]:
            cancelled += task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in answers)
        assert answers[0] is None
    for n in range(64):
        await check(n)
    await stand.store.close()


async def test_cancelled_calls_never_cross_replies(redis: RedisStand) -> None:
    await _cancel_many(redis, 4_000)


@pytest.mark.slow
async def test_80_000_cancelled_calls_never_cross_replies(redis: RedisStand) -> None:
    await _cancel_many(redis, 80_000)


async def test_a_call_cancelled_before_it_is_sent_is_not_sent(redis: RedisStand) -> None:
    gone, stays = keys(2)
    task = asyncio.create_task(redis.claim_one(gone, token()))
    other = asyncio.create_task(redis.claim_one(stays, token()))
    await asyncio.sleep(0)
    task.cancel()

    assert await other == Won(1)
    assert await redis.record(gone) is None


# ---- what a call costs ----------------------------------------------------------------------


def _calls(server: RedisServer) -> int:
    line = server.info("cmdstat_evalsha")
    return int(line.partition("calls=")[2].partition(",")[0] or 0)


async def test_small_calls_of_one_turn_share_and_large_ones_do_not(
    redis: RedisStand, redis_server: RedisServer
) -> None:
    await redis.claim_one(keys(1)[0], token())  # connected, scripts loaded

    async def calls_for(*sizes: int) -> int:
        before = _calls(redis_server)
        wanted = [keys(size) for size in sizes]
        claims = (
            redis.store.claim(names, [PRINT] * len(names), token(), TERMS) for names in wanted
        )
        for replies in await asyncio.gather(*claims):
            assert set(replies) == {Won(1)}
        return _calls(redis_server) - before

    assert await calls_for(*[1] * 100) == 1
    assert await calls_for(*[1] * 200) == 2
    assert await calls_for(60, 60, 8) == 1
    assert await calls_for(60, 60, 9) == 2
    assert await calls_for(100, 100) == 2
    assert await calls_for(1000) == 2


async def test_a_record_takes_less_than_190_bytes_beside_key_and_result(
    own_server: RedisServer,
) -> None:
    """Measured over the whole server, so that its tables count too."""
    count, result = 20_000, b"r" * 120
    maker = KeyMaker()
    names = maker.store_keys("orders", 1, ("tenant",), [(n,) for n in range(count)])
    async with opened(own_server.url, prefix="idem") as store:
        await store.probe()
        before = int(own_server.info("used_memory"))
        for at in range(0, count, 500):
            page, me = names[at : at + 500], token()
            await claim(store, page, me)
            await store.settle(page, [Commit(PRINT, 1, result)] * 500, me, TERMS)
    took = (int(own_server.info("used_memory")) - before) / count - len(names[0]) - len(result)
    usage = int(own_server.command("MEMORY", "USAGE", names[0], "SAMPLES", 0))

    print(f"\nbytes a record beside key and result: {took:.0f} overall, {usage - 165} by USAGE")
    assert took < 190


# ---- memory that runs out -------------------------------------------------------------------


@pytest.mark.process
async def test_a_full_server_takes_no_claim_and_every_settlement(own_server: RedisServer) -> None:
    done, held, fresh = keys(3)
    me = token()
    async with opened(own_server.url) as store:
        await claim(store, [done, held], me)
        await store.settle([done], [Commit(PRINT, 1, RESULT)], me, TERMS)
        own_server.command("CONFIG", "SET", "maxmemory", "1mb")

        replies = await claim(store, [done, fresh, held], token())
        assert replies[0] == Done(me, 1, PRINT, RESULT)
        assert isinstance(replies[1], StoreUnavailable)
        assert isinstance(replies[2], Busy)
        assert "out of memory" in str(replies[1])
        replies = await claim(store, [fresh, done, held, fresh], token())
        assert [type(reply) for reply in replies] == [
            StoreUnavailable,
            Done,
            Busy,
            StoreUnavailable,
        ]
        # Not an outage: other calls go on.
        assert store.is_up

        steps: list[Settlement] = [Commit(PRINT, 1, RESULT), MarkDoubt(PRINT)]
        assert await store.settle([held, fresh], steps, me, TERMS) == [Applied()] * 2
        own_server.command("CONFIG", "SET", "maxmemory", "0")
        assert await claim(store, [held], token()) == [Done(me, 1, PRINT, RESULT)]


@pytest.mark.process
def test_the_production_loop(tmp_path: Path, redis_server: RedisServer) -> None:
    """uvloop has transports of its own, plain, unix and TLS."""

    async def use(url: str, **settings: str) -> None:
        async with opened(url, **settings) as store:
            assert (await store.probe()).facts["version"].startswith("Redis")
            names = keys(300)
            assert await claim(store, names, token()) == [Won(1)] * 300
        await _cancel_many(RedisStand(redis_server), 500)

    write_certificates(tmp_path)
    port = free_port()
    with standalone("--tls-port", str(port), *tls_options(tmp_path)) as server:
        uvloop.run(use(server.url))
        uvloop.run(use(f"unix://{server.socket}"))
        uvloop.run(use(f"rediss://127.0.0.1:{port}", ca_file=str(tmp_path / "ca.pem")))


async def test_a_foreign_type_under_a_key_of_ours_is_written_over(
    redis: RedisStand, redis_server: RedisServer
) -> None:
    """Nobody but this program writes under the prefix; a list there would be a mistake of hand."""
    (key,) = keys(1)
    redis_server.command("RPUSH", key, "x")

    assert await redis.settle_one(key, Release(), token()) == Lost()
    assert await redis.claim_one(key, token()) == Won(1)


async def test_a_stored_record_is_the_codec_s(redis: RedisStand) -> None:
    (key,) = keys(1)
    me = token()
    await redis.settle_one(key, Commit(PRINT, 5, RESULT), me)

    assert await redis.stored(key) == encode(Done(me, 5, PRINT, RESULT))
