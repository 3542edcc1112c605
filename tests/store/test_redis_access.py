"""Who may use a Redis, over which links, and what the probe says of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.core.record import (
    LEEWAY,
    Applied,
    Commit,
    Done,
    Sent,
    Won,
)
from proxy.errors import ConfigError, StoreUnavailable
from proxy.store.guard import GuardedStore
from tests.fakes.redis_server import RedisServer, free_port, standalone
from tests.store.certificates import tls_options, write_certificates
from tests.store.stands import PREFIX, PRINT, TERMS, keys, opened, serving, token

pytestmark = pytest.mark.store


async def claim(store: GuardedStore, names: list[bytes], me: bytes) -> list[object]:
    return list(await store.claim(names, [PRINT] * len(names), me, TERMS))


FEWEST_RIGHTS = (
    f"~{PREFIX}:*",
    *("+evalsha", "+script|load", "+mget", "+set", "+del", "+time", "+ping"),
)


@pytest.mark.process
async def test_an_acl_user_with_the_fewest_rights(own_server: RedisServer) -> None:
    own_server.command("ACL", "SETUSER", "sidecar", "on", ">pass word", *FEWEST_RIGHTS)
    me = token()
    names = keys(3)
    async with opened(own_server.url, username="sidecar", password="pass word") as store:
        info = await store.probe()
        assert info.facts["version"] == "unknown"
        assert any("may not run INFO" in warning for warning in info.warnings)
        assert await claim(store, names, me) == [Won(1)] * 3
        assert await store.settle(names, [Sent()] * 3, me, TERMS) == [Applied()] * 3

    own_server.command("ACL", "SETUSER", "sidecar", "+info")
    async with opened(own_server.url, username="sidecar", password="pass word") as store:
        info = await store.probe()
        assert info.facts["version"].startswith("Redis 7")
        assert info.facts["snapshots"] == "unknown"


@pytest.mark.process
@pytest.mark.parametrize("more", [(), ("+pexpireat",), ("+pttl",), ("+pexpireat", "+pttl")])
async def test_a_commit_needs_no_more_rights_and_has_an_expiry(
    own_server: RedisServer, more: tuple[str, ...]
) -> None:
    own_server.command("ACL", "SETUSER", "sidecar", "on", ">word", *FEWEST_RIGHTS, *more)
    me, (name,) = token(), keys(1)
    later = replace(TERMS, retention=2 * TERMS.retention)
    async with opened(own_server.url, username="sidecar", password="word") as store:
        assert await claim(store, [name], me) == [Won(1)]
        commit = Commit(PRINT, 1, b"{}")
        assert await store.settle([name], [commit], me, later) == [Applied()]
        assert await claim(store, [name], token()) == [Done(me, 1, PRINT, b"{}")]
    left = own_server.command("PTTL", name)
    assert later.retention - 60_000 < left <= later.retention + LEEWAY


@pytest.mark.process
async def test_an_acl_user_without_the_rights_is_told_so(own_server: RedisServer) -> None:
    own_server.command("ACL", "SETUSER", "other", "on", ">secret", "~elsewhere:*", "+@all")
    async with opened(own_server.url, username="other", password="secret") as store:
        with pytest.raises(StoreUnavailable, match=r"NOPERM|permission"):
            await store.probe()


@pytest.mark.process
async def test_passwords(own_server: RedisServer) -> None:
    own_server.command("ACL", "SETUSER", "sidecar", "on", ">right", "~*", "+@all")
    own_server.command("CONFIG", "SET", "requirepass", "default-right")
    for settings, accepted in (
        ({"username": "sidecar", "password": "right"}, True),
        ({"username": "sidecar", "password": "wrong"}, False),
        ({"password": "default-right"}, True),
        ({"password": "wrong"}, False),
        ({}, False),
    ):
        async with opened(own_server.url, **settings) as store:
            if accepted:
                assert await claim(store, keys(1), token()) == [Won(1)]
            else:
                with pytest.raises(StoreUnavailable, match=r"NOAUTH|WRONGPASS|password"):
                    await claim(store, keys(1), token())


@pytest.mark.process
async def test_tls(tmp_path: Path) -> None:
    write_certificates(tmp_path / "ours")
    write_certificates(tmp_path / "others")
    port = free_port()
    with standalone("--tls-port", str(port), *tls_options(tmp_path / "ours")) as server:
        url = f"rediss://127.0.0.1:{port}"
        async with opened(url, ca_file=str(tmp_path / "ours" / "ca.pem")) as store:
            assert (await store.probe()).facts["version"].startswith("Redis")
            names = keys(300)
            assert await claim(store, names, token()) == [Won(1)] * 300
        for settings in ({"ca_file": str(tmp_path / "others" / "ca.pem")}, {}):
            async with opened(url, **settings) as store:
                with pytest.raises(StoreUnavailable, match="certificate"):
                    await claim(store, keys(1), token())
        async with opened(f"rediss://127.0.0.1:{server.port}", timeout=1.0) as store:
            with pytest.raises(StoreUnavailable):  # that port speaks no TLS
                await claim(store, keys(1), token())


@pytest.mark.parametrize("form", ["redis://{0}:{1}/3", "unix://{2}?db=3"])
async def test_a_database_of_its_own(redis_server: RedisServer, form: str) -> None:
    url = form.format("127.0.0.1", redis_server.port, redis_server.socket)
    (key,) = keys(1)
    async with opened(url) as store, opened(redis_server.url) as elsewhere:
        assert await claim(store, [key], token()) == [Won(1)]
        assert await store.read([key]) != [None]
        assert await elsewhere.read([key]) == [None]


async def test_a_database_that_is_not_there(redis_server: RedisServer) -> None:
    async with opened(redis_server.url + "/4000") as store:
        with pytest.raises(StoreUnavailable, match="DB index"):
            await claim(store, keys(1), token())


@pytest.mark.process
async def test_the_probe_warns_in_plain_words(own_server: RedisServer) -> None:
    async with opened(own_server.url) as store:
        info = await store.probe()
        assert info.facts["append_only_file"] == "on"
        assert info.facts["results"] == "in the clear"
        assert not any("eviction" in warning for warning in info.warnings)
        assert any("no replica" in warning for warning in info.warnings)

        own_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        own_server.command("CONFIG", "SET", "appendonly", "no")
        info = await store.probe()
        assert any("allkeys-lru" in warning for warning in info.warnings)
        assert any("forgets everything" in warning for warning in info.warnings)


async def test_the_probe_leaves_nothing_behind(redis_server: RedisServer) -> None:
    async with opened(redis_server.url, prefix="probe-only") as store:
        await store.probe()
        cursor, found = await store.scan()
        while cursor:
            cursor, page = await store.scan(cursor)
            found += page
        assert found == []


@pytest.mark.parametrize(("version", "accepted"), [("6.2.14", False), ("7.0.0", True)])
async def test_an_old_server_is_refused(version: str, accepted: bool) -> None:
    """A small server that says INFO of another version, and to all else that nothing is mine."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if b"INFO" in data:
                text = b"redis_version:%b\r\nrole:slave\r\n" % version.encode()
                writer.write(b"$%d\r\n%b\r\n" % (len(text), text))
            elif b"CONFIG" in data:
                writer.write(b"*2\r\n$4\r\nsave\r\n$0\r\n\r\n")
            else:
                writer.write(b"*1\r\n$1\r\nL\r\n")

    async with serving(answer) as url, opened(url) as store:
        if accepted:
            assert (await store.probe()).facts["version"] == f"Redis {version}"
        else:
            with pytest.raises(ConfigError, match=r"6\.2\.14 is too old"):
                await store.probe()


@pytest.mark.process
async def test_a_replica_is_no_store(own_server: RedisServer) -> None:
    with standalone() as master:
        own_server.command("REPLICAOF", "127.0.0.1", master.port)
        async with opened(own_server.url) as store:
            with pytest.raises(StoreUnavailable, match=r"READONLY|not a master"):
                await claim(store, keys(1), token())
