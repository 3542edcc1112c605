"""Clusters and Sentinels while they change: slots that move, masters that die or step down."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from proxy.core.record import Applied, Busy, Commit, Done, Release, Won
from proxy.errors import ConfigError, StoreUnavailable
from proxy.store.guard import GuardedStore
from tests.fakes.redis_server import (
    RedisCluster,
    RedisServer,
    SentinelGroup,
    cluster,
    free_port,
    sentinel,
    standalone,
)
from tests.store.certificates import tls_options, write_certificates
from tests.store.stands import PREFIX, PRINT, TERMS, keys, opened, token

pytestmark = [pytest.mark.store, pytest.mark.process, pytest.mark.slow]

RESULT = b'{"id":1}'
SLOTS = [key_slot(b"%02x" % bucket) for bucket in range(64)]


@pytest.fixture(scope="module")
def moving() -> Iterator[RedisCluster]:
    with cluster() as made:
        yield made


def in_slot(slot: int, count: int) -> list[bytes]:
    bucket = SLOTS.index(slot)
    return [name for name in keys(64 * count) if b"{%02x}" % bucket in name]


def other_master(made: RedisCluster, slot: int) -> RedisServer:
    owner = made.owner(slot)
    return next(node for node in made.masters if node is not owner)


async def claim(store: GuardedStore, names: list[bytes], me: bytes) -> list[object]:
    return list(await store.claim(names, [PRINT] * len(names), me, TERMS))


async def commit(store: GuardedStore, names: list[bytes], me: bytes) -> list[object]:
    return list(await store.settle(names, [Commit(PRINT, 1, RESULT)] * len(names), me, TERMS))


async def eventually(attempt: Callable[[], Awaitable[bool]], seconds: float = 40.0) -> None:
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while not await attempt():
        assert clock() < end
        await asyncio.sleep(0.05)


# ---- slots that move ------------------------------------------------------------------------


async def test_a_slot_that_moved_is_followed(moving: RedisCluster) -> None:
    slot = SLOTS[3]
    names = in_slot(slot, 20)
    me = token()
    async with opened(moving.url) as store:
        assert await claim(store, names, me) == [Won(1)] * 20
        moving.move(slot, other_master(moving, slot))

        assert await commit(store, names, me) == [Applied()] * 20
        assert await store.read(names) == [Done(me, 1, PRINT, RESULT)] * 20


async def test_a_slot_half_moved_answers_for_every_key(moving: RedisCluster) -> None:
    """Keys that are still there, keys that are gone already (ASK), keys that are new, and all of
    them in one call (TRYAGAIN)."""
    slot = SLOTS[7]
    names = in_slot(slot, 30)
    old, new = names[:20], names[20:]
    me = token()
    async with opened(moving.url) as store:
        assert await claim(store, old, me) == [Won(1)] * 20
        target = other_master(moving, slot)
        source = moving.begin_move(slot, target)
        assert moving.move_keys(slot, source, target, 8) == 8

        assert await claim(store, names, me) == [Won(1)] * 30
        others = await claim(store, names, token())
        assert all(isinstance(reply, Busy) for reply in others)
        assert await commit(store, old, me) == [Applied()] * 20
        assert await store.read(names[:1]) == [Done(me, 1, PRINT, RESULT)]
        records = await store.read(names)
        assert records[:20] == [Done(me, 1, PRINT, RESULT)] * 20
        single = await asyncio.gather(*(claim(store, [name], me) for name in names))
        assert single == [[Done(me, 1, PRINT, RESULT)]] * 20 + [[Won(1)]] * 10

        while moving.move_keys(slot, source, target, 100):
            pass
        moving.end_move(slot, target)
        assert await store.settle(new, [Release()] * 10, me, TERMS) == [Applied()] * 10


async def test_slots_moved_under_load_lose_nothing_and_give_nothing_twice(
    moving: RedisCluster,
) -> None:
    names = keys(256)
    wins: Counter[bytes] = Counter()
    rounds = 0
    stop = asyncio.Event()

    async def claimer(store: GuardedStore) -> None:
        nonlocal rounds
        while not stop.is_set():
            me = token()
            replies = await claim(store, names, me)
            won = [
                name for name, reply in zip(names, replies, strict=True) if isinstance(reply, Won)
            ]
            assert not [reply for reply in replies if isinstance(reply, StoreUnavailable)]
            wins.update(won)
            if won:
                assert await commit(store, won, me) == [Applied()] * len(won)
            rounds += 1

    async with opened(moving.url) as store:
        workers = [asyncio.create_task(claimer(store)) for _ in range(3)]
        for bucket in range(0, 64, 4):
            slot = SLOTS[bucket]
            await asyncio.to_thread(moving.move, slot, other_master(moving, slot))
        stop.set()
        await asyncio.gather(*workers)

        assert rounds > 10
        assert wins == Counter(dict.fromkeys(names, 1))
        records = await store.read(names)
        assert {type(record) for record in records} == {Done}


async def test_a_single_server_url_for_a_cluster_is_a_mistake(moving: RedisCluster) -> None:
    async with opened(moving.masters[0].url) as store:
        with pytest.raises(ConfigError, match=r"redis\+cluster://"):
            await store.probe()


async def test_one_seed_is_enough_and_dead_ones_are_passed_over(moving: RedisCluster) -> None:
    live = f"127.0.0.1:{moving.masters[1].port}"
    names = keys(200)
    async with opened(f"redis+cluster://127.0.0.1:{free_port()},{live}") as store:
        assert (await store.probe()).facts["masters"] == "3"
        assert await claim(store, names, token()) == [Won(1)] * 200


async def test_no_seed_answers() -> None:
    async with opened(f"redis+cluster://127.0.0.1:{free_port()}") as store:
        with pytest.raises(StoreUnavailable, match="no node told the cluster's slots"):
            await claim(store, keys(3), token())


async def test_a_server_that_is_no_cluster(redis_server: RedisServer) -> None:
    async with opened(f"redis+cluster://127.0.0.1:{redis_server.port}") as store:
        with pytest.raises(StoreUnavailable, match="cluster support disabled"):
            await store.probe()


# ---- shards that fail -----------------------------------------------------------------------


async def test_a_shard_that_hangs_costs_only_its_own_keys(moving: RedisCluster) -> None:
    names = keys(128)
    async with opened(moving.url, timeout=1.0) as store:
        assert await claim(store, names, token()) == [Won(1)] * 128
        hung = moving.masters[2]
        theirs = {name for name in names if moving.owner(key_slot(name)) is hung}
        assert theirs
        assert theirs != set(names)
        hung.pause()
        try:
            replies = await claim(store, names, token())
            failed = {
                name
                for name, reply in zip(names, replies, strict=True)
                if isinstance(reply, StoreUnavailable)
            }
            assert failed == theirs
        finally:
            hung.resume()

        async def all_back() -> bool:
            answers = await claim(store, names, token())
            return not any(isinstance(answer, StoreUnavailable) for answer in answers)

        await eventually(all_back)
    moving.wait_until_ok()


async def test_a_dead_master_s_replica_takes_over() -> None:
    with cluster(replicas=1) as made:
        names = keys(128)
        me = token()
        async with opened(made.url, timeout=1.0) as store:
            assert (await store.probe()).facts["replicas"] == "1"
            assert await claim(store, names, me) == [Won(1)] * 128
            assert await commit(store, names, me) == [Applied()] * 128
            for node in made.masters:
                assert node.command("WAIT", 1, 5000) == 1
            made.masters[0].kill()

            async def all_back() -> bool:
                try:
                    answers = await claim(store, names, token())
                except StoreUnavailable:
                    return False
                done = Done(me, 1, PRINT, RESULT)
                assert all(one == done or isinstance(one, StoreUnavailable) for one in answers)
                return answers == [done] * 128

            await eventually(all_back)
            # The promoted replica has never seen the settling script.
            fresh = keys(64)
            assert await commit(store, fresh, me) == [Applied()] * 64


async def test_a_cluster_behind_tls_and_a_user(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    port, bus = free_port(), free_port()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--tls-cluster", "yes")
    tls = ("--tls-port", str(port), *tls_options(tmp_path))
    with standalone(*options, *tls) as server:
        server.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        rights = ("+evalsha", "+script|load", "+mget", "+set", "+del", "+time", "+ping")
        more = ("+cluster|slots", "+asking", "+scan", "+info")
        server.command("ACL", "SETUSER", "me", "on", ">pw", f"~{PREFIX}:*", *rights, *more)

        async def ready() -> bool:
            return b"cluster_state:ok" in server.command("CLUSTER", "INFO")

        await eventually(ready)
        url, ca = f"rediss+cluster://me@127.0.0.1:{port}", str(tmp_path / "ca.pem")
        async with opened(url, password="pw", ca_file=ca) as store:
            names = keys(100)
            assert await claim(store, names, token()) == [Won(1)] * 100
            assert set((await store.scan())[1]) <= set(names)


# ---- sentinels ------------------------------------------------------------------------------


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    with sentinel() as made:
        yield made


async def test_the_master_that_sentinels_name(group: SentinelGroup) -> None:
    async with opened(group.url) as store:
        info = await store.probe()
        assert info.kind == "sentinel"
        assert info.facts["role"] == "master"
        assert await claim(store, keys(10), token()) == [Won(1)] * 10
    hosts = ",".join(f"127.0.0.1:{port}" for port in group.ports)
    async with opened(f"redis+sentinel://{hosts}/other") as store:
        with pytest.raises(StoreUnavailable, match="does not know the master 'other'"):
            await store.probe()
    async with opened(f"redis+sentinel://127.0.0.1:{free_port()},{hosts}/main") as store:
        assert await claim(store, keys(10), token()) == [Won(1)] * 10


async def test_a_killed_master_is_followed_by_its_replica(group: SentinelGroup) -> None:
    names = keys(50)
    me = token()
    async with opened(group.url, timeout=1.0) as store:
        assert await claim(store, names, me) == [Won(1)] * 50
        assert await commit(store, names, me) == [Applied()] * 50
        assert group.master.command("WAIT", 1, 5000) == 1
        await asyncio.to_thread(group.failover)

        async def back() -> bool:
            try:
                answers = await claim(store, names, token())
            except StoreUnavailable:
                return False
            assert answers == [Done(me, 1, PRINT, RESULT)] * 50
            return True

        await eventually(back)
        assert await commit(store, keys(5), me) == [Applied()] * 5


async def test_a_master_that_steps_down_is_left_at_once(group: SentinelGroup) -> None:
    """It lives on as a replica: connections to it stay open and every write is refused."""
    (key,) = keys(1)
    me = token()
    async with opened(group.url, timeout=2.0) as store:
        assert await claim(store, [key], me) == [Won(1)]
        old = group.master
        assert old.command("WAIT", 1, 5000) == 1
        await asyncio.to_thread(group.step_down)

        async def moved() -> bool:
            try:
                (reply,) = await commit(store, [key], me)
            except StoreUnavailable:
                return False
            return reply == Applied()

        await eventually(moved)
        assert group.master is not old
        assert group.master.command("EXISTS", key) == 1
