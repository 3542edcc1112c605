"""Large commits give way: to two that are under way, in order, not for ever, and not where the
server has no time to spare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import hiredis
import pytest

from proxy.core.record import Applied, Commit, Won
from proxy.errors import StoreUnavailable
from proxy.store import wire
from proxy.store.busy import Busy
from proxy.store.evalsha import Script
from proxy.store.guard import GuardedStore
from proxy.store.pipe import Pipe
from tests.store.stands import PRINT, TERMS, keys, opened, pipe_of, serving, token
from tests.store.test_burst import Wire

CLAIM = Script.of(wire.CLAIM_SCRIPT, b"W").call
LARGE = 100
COMMITS = [Commit(PRINT, 1, b"{}")] * LARGE
ALL_WON, ALL_APPLIED = [Won(1)] * LARGE, [Applied()] * LARGE


class Server:
    """Hears calls, and answers them in order: a large one, and what stands behind it, when it is
    told to."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.came = asyncio.Condition()
        self.connections: list[asyncio.StreamWriter] = []
        self.replies: list[tuple[bytes, bool]] = []
        """Of the last connection, and whether each may be sent."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        self.replies.clear()
        parser = hiredis.Reader()
        while data := await reader.read(65_536):
            parser.feed(data)
            while (command := parser.gets()) is not False:
                await self.hear(command)

    async def hear(self, command: list[bytes]) -> None:
        if command[0] != b"EVALSHA":
            self.reply(b"-NOPERM no\r\n", now=True)  # so that claims go by the script
            return
        is_claim, is_large = command[1] in CLAIM, int(command[2]) == LARGE
        self.reply(b"$1\r\nW\r\n" if is_claim else b"$1\r\nA\r\n", now=not is_large)
        async with self.came:
            size = "" if is_large else "small "
            self.heard.append(size + ("claim" if is_claim else "commit"))
            self.came.notify_all()

    def reply(self, reply: bytes, *, now: bool) -> None:
        self.replies.append((reply, now))
        while self.replies and self.replies[0][1]:
            self.connections[-1].write(self.replies.pop(0)[0])

    def answer(self, reply: bytes | None = None) -> None:
        """The first large call that has no answer yet."""
        usual, _ = self.replies.pop(0)
        rest, self.replies = self.replies, []
        self.reply(reply or usual, now=True)
        for each, now in rest:
            self.reply(each, now=now)

    async def hears(self, *calls: str) -> None:
        """All of these, in this order, and no others."""
        async with asyncio.timeout(5), self.came:
            await self.came.wait_for(lambda: len(self.heard) >= len(calls))
        assert self.heard == list(calls)


@asynccontextmanager
async def connected(
    patience: float = 60, timeout: float = 5
) -> AsyncIterator[tuple[Server, GuardedStore]]:
    server = Server()
    async with serving(server.serve) as url, opened(url, timeout=timeout) as store:
        assert await claim(store, 1) == [Won(1)]
        server.heard.clear()
        pipe_of(store).patience = patience
        yield server, store


async def claim(store: GuardedStore, count: int = LARGE) -> list[object]:
    return list(await store.claim(keys(count), [PRINT] * count, token(), TERMS))


async def commit(store: GuardedStore, count: int = LARGE) -> list[object]:
    return list(await store.settle(keys(count), COMMITS[:count], token(), TERMS))


Asked = asyncio.Task[list[object]]


async def asked(*calls: Coroutine[None, None, list[object]]) -> list[Asked]:
    """Each has been asked for, in this order."""
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    return tasks


async def test_a_claim_stands_behind_two_commits_and_not_behind_all() -> None:
    async with connected() as (server, store):
        first, second, third, fourth = await asked(*(commit(store) for _ in range(4)))
        (new,) = await asked(claim(store))
        await server.hears("commit", "commit", "claim")

        server.answer()
        assert await first == ALL_APPLIED
        server.answer()
        assert await second == ALL_APPLIED
        await server.hears("commit", "commit", "claim", "commit")

        server.answer()
        assert await new == ALL_WON
        await server.hears("commit", "commit", "claim", "commit", "commit")
        server.answer()
        assert await third == ALL_APPLIED  # first held, first written
        assert not fourth.done()
        server.answer()
        assert await fourth == ALL_APPLIED


async def test_small_commits_do_not_wait_for_one_that_is_held() -> None:
    async with connected() as (server, store):
        calls = await asked(*(commit(store) for _ in range(3)), commit(store, 2))
        await server.hears("commit", "commit", "small commit")
        server.answer()
        await server.hears("commit", "commit", "small commit", "commit")
        server.answer()
        server.answer()
        *large, small = await asyncio.gather(*calls)
        assert small == [Applied()] * 2
        assert large == [ALL_APPLIED] * 3


async def test_nothing_gives_way_for_ever() -> None:
    async with connected(patience=0) as (server, store):
        claims = await asked(*(claim(store) for _ in range(3)))
        (done,) = await asked(commit(store))
        await server.hears("claim", "claim", "claim")
        server.answer()
        await server.hears("claim", "claim", "claim", "commit")
        for _ in range(3):
            server.answer()
        assert await asyncio.gather(*claims) == [ALL_WON] * 3
        assert await done == ALL_APPLIED


async def test_nothing_gives_way_on_a_server_that_has_no_time_to_spare() -> None:
    async with connected() as (server, store):
        busy = Busy(asyncio.get_running_loop().time(), window=3600)
        busy.share = 0.8
        pipe_of(store).large = busy
        calls = await asked(*(commit(store) for _ in range(4)))
        await server.hears("commit", "commit", "commit", "commit")
        for _ in calls:
            server.answer()
        assert await asyncio.gather(*calls) == [ALL_APPLIED] * 4


async def test_a_refused_commit_says_so_and_the_next_goes_on() -> None:
    async with connected() as (server, store):
        calls = await asked(*(commit(store) for _ in range(3)))
        await server.hears("commit", "commit")
        server.answer(b"-NOPERM no\r\n")
        await server.hears("commit", "commit", "commit")
        server.answer()
        server.answer()
        with pytest.raises(StoreUnavailable, match="NOPERM"):
            await calls[0]
        assert await asyncio.gather(*calls[1:]) == [ALL_APPLIED] * 2


async def test_a_lost_connection_takes_none_of_them_along() -> None:
    async with connected() as (server, store):
        calls = await asked(*(commit(store) for _ in range(4)))
        await server.hears("commit", "commit")
        server.connections[-1].close()
        await server.hears(*["commit"] * 6)  # the first two again
        assert len(server.connections) == 2
        for _ in calls:
            server.answer()
        assert await asyncio.gather(*calls) == [ALL_APPLIED] * 4


async def test_who_waited_too_long_is_told_so_and_not_sent() -> None:
    async with connected(timeout=0.2) as (server, store):
        calls = await asked(*(commit(store) for _ in range(3)))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
        await server.hears("commit", "commit")


async def test_a_closed_store_lets_nobody_wait() -> None:
    async with connected() as (server, store):
        calls = await asked(*(commit(store) for _ in range(3)))
        await server.hears("commit", "commit")
        await store.close()
        async with asyncio.timeout(2):
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
        assert len(server.heard) == 2


async def test_one_that_is_asked_for_by_a_reply_does_not_overtake() -> None:
    wire, loop = Wire(), asyncio.get_running_loop()
    pipe = Pipe(wire, None, 5.0)

    class Next:
        """Sends another as soon as its own reply is there."""

        def done(self) -> bool:
            return False

        def set_result(self, result: object, /) -> None:
            pipe.send_for(b"last", loop.create_future(), is_large=True, gives_way=True)

        def set_exception(self, exception: BaseException, /) -> None:
            raise exception

    pipe.send_for(b"first", Next(), is_large=True)
    for name in (b"second", b"held"):
        pipe.send_for(name, loop.create_future(), is_large=True, gives_way=True)
    assert wire.written == [b"first", b"second"]
    pipe.data_received(b"+OK\r\n")
    assert wire.written == [b"first", b"second", b"held"]
    pipe.data_received(b"+OK\r\n")
    assert wire.written == [b"first", b"second", b"held", b"last"]
    pipe.abort("it is over")


def test_the_share_is_of_the_time_in_which_any_call_is_under_way() -> None:
    busy = Busy(10.0, window=1.0)
    busy.begin(10.1)
    busy.begin(10.2)
    busy.end(10.3)
    assert busy.calls == 1
    busy.end(10.4)
    busy.begin(10.9)
    assert busy.share == 0.0  # of no whole window yet
    busy.end(11.0)
    busy.begin(12.0)
    assert busy.share == pytest.approx(0.4 / 2.0)


def test_a_call_that_spans_two_windows_counts_in_both() -> None:
    busy = Busy(0.0, window=1.0)
    busy.begin(0.5)
    busy.begin(1.0)
    assert busy.share == pytest.approx(0.5)
    busy.end(1.5)
    busy.begin(2.0)
    assert busy.share == pytest.approx(1.0)
    busy.end(2.1)
    busy.end(2.2)
    busy.begin(4.0)
    assert busy.share == pytest.approx(0.1)
