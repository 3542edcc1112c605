"""A master that was replaced while it lives is left before it loses what it takes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from proxy.core.record import Won
from proxy.errors import StoreUnavailable
from proxy.store.link import Access, Address
from proxy.store.pipe import pack
from proxy.store.sentinels import Sentinels
from tests.chaos.resp import Cutter, words
from tests.fakes.redis_server import SentinelGroup, eventually, sentinel
from tests.store.stands import PRINT, TERMS, keys, opened, token

OLD, NEW = b"old", b"new"


class Scripted:
    """A Sentinel or a Redis that answers what ``replies`` says."""

    def __init__(self, replies: dict[bytes, bytes]) -> None:
        self.replies = replies
        self.writers: set[asyncio.StreamWriter] = set()
        self.address: Address = ("127.0.0.1", 0)

    async def hang_up(self) -> None:
        """Returns when the other side has had the time to see it."""
        for writer in tuple(self.writers):
            writer.close()
        await asyncio.sleep(0.05)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cutter = Cutter()
        self.writers.add(writer)
        while data := await reader.read(1000):
            for command in cutter.feed(data):
                said = b" ".join(words(command)[:2])
                writer.write(self.replies.get(said, b"+OK\r\n"))
        self.writers.discard(writer)
        writer.close()


@asynccontextmanager
async def up(*servers: Scripted) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for one in servers:
            server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
            one.address = server.sockets[0].getsockname()[:2]
            stack.push_async_callback(one.hang_up)
            stack.callback(server.close)
        yield


def master(name: bytes) -> Scripted:
    return Scripted({b"ROLE": b"*1\r\n$6\r\nmaster\r\n", b"GET name": pack(name)})


def names(sentinel: Scripted, server: Scripted, epoch: int) -> None:
    host, port = server.address
    sentinel.replies[b"SENTINEL GET-MASTER-ADDR-BY-NAME"] = pack(host, port)
    sentinel.replies[b"SENTINEL MASTER"] = pack(b"config-epoch", epoch)


@asynccontextmanager
async def watching(*sentinels: Scripted) -> AsyncIterator[Sentinels]:
    access = Access(None, None, tls=False, ca_file=None, timeout=1.0)
    made = Sentinels(access, [one.address for one in sentinels], "main", 0)
    try:
        yield made
    finally:
        await made.close()


async def asked(made: Sentinels) -> bytes:
    (name,) = await made.call(0, pack(b"GET", b"name"))
    return bytes(name)


async def becomes(made: Sentinels, name: bytes) -> None:
    end = asyncio.get_running_loop().time() + 5
    while await asked(made) != name:
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)


async def test_a_master_that_was_replaced_is_left_though_it_answers() -> None:
    one, two, old, new = Scripted({}), Scripted({}), master(OLD), master(NEW)
    async with up(one, two, old, new):
        for each in (one, two):
            names(each, old, 1)
        async with watching(one, two) as made:
            assert await asked(made) == OLD
            names(two, new, 2)  # the first has not heard of it yet

            await becomes(made, NEW)
            for _ in range(5):
                await asyncio.sleep(0.25)
                assert await asked(made) == NEW, "nobody goes back to what is older"


async def test_who_changes_its_mind_while_a_failover_is_under_way_is_believed() -> None:
    one, old, new = Scripted({}), master(OLD), master(NEW)
    async with up(one, old, new):
        names(one, old, 1)
        async with watching(one) as made:
            assert await asked(made) == OLD
            await asyncio.sleep(0.7)
            names(one, new, 1)

            await becomes(made, NEW)


async def test_who_lags_behind_is_not_believed() -> None:
    late, knows, old, new = Scripted({}), Scripted({}), master(OLD), master(NEW)
    async with up(late, knows, old, new):
        names(late, old, 1)
        names(knows, new, 2)
        async with watching(knows, late) as made:
            assert await asked(made) == NEW
            await new.hang_up()
            assert await asked(made) == NEW
            await asyncio.sleep(1.2)
            assert await asked(made) == NEW
            new.replies[b"ROLE"] = b"*1\r\n$5\r\nslave\r\n"
            await new.hang_up()
            with pytest.raises(StoreUnavailable, match="not heard of the last failover"):
                await asked(made)


async def test_sentinels_that_were_all_made_anew_are_believed() -> None:
    one, old, new = Scripted({}), master(OLD), master(NEW)
    async with up(one, old, new):
        names(one, old, 7)
        async with watching(one) as made:
            assert await asked(made) == OLD
            names(one, new, 0)
            await old.hang_up()

            await becomes(made, NEW)


async def test_a_sentinel_that_tells_no_epoch_is_enough() -> None:
    one, old = Scripted({}), master(OLD)
    async with up(one, old):
        names(one, old, 1)
        one.replies[b"SENTINEL MASTER"] = b"-NOPERM no\r\n"
        async with watching(one) as made:
            assert await asked(made) == OLD


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    with sentinel() as made:
        yield made


@pytest.mark.store
@pytest.mark.process
@pytest.mark.slow
async def test_an_ordered_failover_costs_no_later_claim(group: SentinelGroup) -> None:
    """The old master is told only about ten seconds later, and takes everything until then."""
    async with opened(group.url, timeout=1.0) as store:
        old = group.master
        assert await store.claim(keys(1), [PRINT], token(), TERMS) == [Won(1)]

        def ordered() -> None:
            eventually(lambda: group._ask(group.ports[0], "FAILOVER") == b"OK", "ordered")
            group.wait_for_failover(old)

        await asyncio.to_thread(ordered)
        await asyncio.sleep(2)
        assert old.info("role") == "master", "it does not know yet"
        began = time.monotonic()
        names_ = keys(20)
        assert await store.claim(names_, [PRINT] * 20, token(), TERMS) == [Won(1)] * 20
        assert time.monotonic() - began < 2
        assert group.master.command("EXISTS", *names_) == 20
