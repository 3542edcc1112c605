"""Large commits one after another: order, an end for each, and claims that need not wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.record import Applied, Commit, SettleReply, Won
from proxy.errors import StoreUnavailable
from proxy.store import wire
from proxy.store.evalsha import Script
from proxy.store.guard import GuardedStore
from proxy.store.in_turn import MOST_HELD, InTurn
from tests.store.stands import PRINT, TERMS, keys, opened, serving, token

CLAIM = Script.of(wire.CLAIM_SCRIPT).call
LARGE = 100
APPLIED = b"$1\r\nA\r\n"
COMMITS = [Commit(PRINT, 1, b"{}")] * LARGE

# ---- the rule by itself --------------------------------------------------------------------------

STEPS = st.lists(st.sampled_from(["take", "take", "well", "badly"]), max_size=60)


@given(STEPS, st.sets(st.integers(0, 40)))
def test_each_begins_once_and_in_order_and_few_wait(steps: list[str], missing: set[int]) -> None:
    """``missing``: those that come to nothing when their turn comes."""
    begun: list[int] = []
    under_way: list[int] = []

    def start(number: int) -> bool:
        begun.append(number)
        if number in missing:
            return False
        under_way.append(number)
        return True

    turns: InTurn[int] = InTurn(start)
    taken = 0
    for step in steps:
        if step == "take":
            turns.take(taken)
            taken += 1
        elif under_way:
            under_way.pop(0)
            turns.ended(well=step == "well")
            assert step == "well" or len(begun) == taken
        assert taken - len(begun) <= MOST_HELD
        assert under_way or len(begun) == taken, "somebody waits for nobody"
    assert begun + turns.give_up() == list(range(taken))
    assert turns.give_up() == []


def test_one_is_under_way_and_the_next_begins_when_it_ends_well() -> None:
    begun: list[int] = []

    def start(number: int) -> bool:
        begun.append(number)
        return True

    turns = InTurn(start)
    for number in range(4):
        turns.take(number)
    assert begun == [0]
    turns.ended(well=True)
    assert begun == [0, 1]
    turns.ended(well=False)
    assert begun == [0, 1, 2, 3]


# ---- on the wire ---------------------------------------------------------------------------------


class Server:
    """Hears calls, and answers them in order: a large commit, and what stands behind it, when it is
    told to."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.came = asyncio.Condition()
        self.connections: list[asyncio.StreamWriter] = []
        self.replies: list[bytes | None] = []  # of the last connection; None: not decided yet

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
            self.replies.append(b"-NOPERM no\r\n")  # so that claims go by the script
            self.flush()
            return
        is_claim, is_large = command[1] in CLAIM, int(command[2]) == LARGE
        self.replies.append(b"$1\r\nW\r\n" if is_claim else None if is_large else APPLIED)
        self.flush()
        async with self.came:
            size = "" if is_large else "small "
            self.heard.append(size + ("claim" if is_claim else "commit"))
            self.came.notify_all()

    def flush(self) -> None:
        while self.replies and (reply := self.replies[0]) is not None:
            self.connections[-1].write(reply)
            del self.replies[0]

    def answer(self, reply: bytes = APPLIED) -> None:
        """The first large commit that has no answer yet."""
        assert self.replies[0] is None
        self.replies[0] = reply
        self.flush()

    async def hears(self, *calls: str) -> None:
        """These and no others."""
        async with asyncio.timeout(5), self.came:
            await self.came.wait_for(lambda: len(self.heard) >= len(calls))
        assert self.heard == list(calls)


@asynccontextmanager
async def connected(**settings: object) -> AsyncIterator[tuple[Server, GuardedStore]]:
    server = Server()
    async with serving(server.serve) as url, opened(url, **settings) as store:
        assert await claim(store, 1) == [Won(1)]
        server.heard.clear()
        yield server, store


async def claim(store: GuardedStore, count: int = LARGE) -> object:
    return await store.claim(keys(count), [PRINT] * count, token(), TERMS)


Commits = list[asyncio.Task[list[SettleReply | StoreUnavailable]]]


async def committing(store: GuardedStore, count: int, size: int = LARGE) -> Commits:
    """So many commits that were all asked for."""

    async def commit() -> list[SettleReply | StoreUnavailable]:
        return list(await store.settle(keys(size), COMMITS[:size], token(), TERMS))

    tasks = [asyncio.create_task(commit()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_a_claim_waits_for_one_commit_and_not_for_all() -> None:
    async with connected() as (server, store):
        first, second, third = await committing(store, 3)
        new = asyncio.create_task(claim(store))
        await server.hears("commit", "claim")

        server.answer()
        assert await new == [Won(1)] * LARGE
        assert await first == [Applied()] * LARGE
        await server.hears("commit", "claim", "commit")
        new = asyncio.create_task(claim(store))
        await server.hears("commit", "claim", "commit", "claim")
        assert not second.done()

        server.answer()
        assert await new == [Won(1)] * LARGE
        assert await second == [Applied()] * LARGE
        await server.hears("commit", "claim", "commit", "claim", "commit")
        server.answer()
        assert await third == [Applied()] * LARGE


async def test_small_commits_wait_for_none_that_is_held() -> None:
    async with connected() as (server, store):
        large = await committing(store, 2)
        (small,) = await committing(store, 1, size=2)
        await server.hears("commit", "small commit")
        server.answer()
        assert await small == [Applied()] * 2
        await server.hears("commit", "small commit", "commit")
        server.answer()
        assert await asyncio.gather(*large) == [[Applied()] * LARGE] * 2


async def test_more_than_some_let_the_first_go() -> None:
    async with connected() as (server, store):
        tasks = await committing(store, MOST_HELD + 3)
        await server.hears(*["commit"] * 3)
        for heard in (3, 3, *range(3, len(tasks) + 1)):
            await server.hears(*["commit"] * heard)
            server.answer()
        assert await asyncio.gather(*tasks) == [[Applied()] * LARGE] * len(tasks)


async def test_a_refused_commit_lets_the_others_go() -> None:
    async with connected() as (server, store):
        first, *others = await committing(store, 3)
        await server.hears("commit")
        server.answer(b"-NOPERM no\r\n")
        await server.hears("commit", "commit", "commit")
        server.answer()
        server.answer()
        with pytest.raises(StoreUnavailable, match="NOPERM"):
            await first
        assert await asyncio.gather(*others) == [[Applied()] * LARGE] * 2


async def test_a_lost_connection_takes_none_of_them_along() -> None:
    async with connected() as (server, store):
        tasks = await committing(store, 3)
        await server.hears("commit")
        server.connections[-1].close()
        await server.hears("commit", "commit", "commit", "commit")  # the first one again
        assert len(server.connections) == 2
        for _ in tasks:
            server.answer()
        assert await asyncio.gather(*tasks) == [[Applied()] * LARGE] * 3


async def test_who_waited_too_long_is_told_so_and_not_sent() -> None:
    async with connected(timeout=0.2) as (server, store):
        tasks = await committing(store, 3)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
        await server.hears("commit")


async def test_a_closed_store_lets_nobody_wait() -> None:
    async with connected() as (server, store):
        tasks = await committing(store, 3)
        await server.hears("commit")
        await store.close()
        async with asyncio.timeout(2):
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
        assert len(server.heard) == 1
