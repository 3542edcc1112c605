"""Shared calls where Redis does not answer as it should, and what stands on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.codec import encode
from proxy.core.record import Commit, Done, MarkDoubt, Release, Sent, Settlement, Won
from proxy.errors import StoreUnavailable
from proxy.store.evalsha import Script, command_of
from proxy.store.guard import GuardedStore
from proxy.store.pipe import words
from proxy.store.wire import pack_settles
from tests.store.stands import PRINT, TERMS, Handler, keys, opened, pipe_of, serving, token

SCRIPT = Script.of("return 1", b"W")
TOKEN = b"t" * 12


def answering(*replies: bytes, heard: list[int]) -> Handler:
    """One reply a call, over all connections; none left: the connection is closed at a call.
    ``heard``: how many calls came on each connection. Plain commands are refused."""
    left = list(replies)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(0)
        place = len(heard) - 1
        parser = hiredis.Reader()
        while data := await reader.read(65_536):
            parser.feed(data)
            while (command := parser.gets()) is not False:
                if command[0] not in {b"EVALSHA", b"SCRIPT", b"PING"}:
                    writer.write(b"-NOPERM no\r\n")
                    continue
                heard[place] += 1
                if not left:
                    return
                writer.write(left.pop(0))

    return answer


async def claim_all(store: GuardedStore, count: int, size: int = 1) -> Sequence[object]:
    """So many calls in one turn of the loop."""
    calls = (store.claim(keys(size), [PRINT] * size, token(), TERMS) for _ in range(count))
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("count", [3, 1])
@pytest.mark.parametrize(
    "reply",
    [b"*2\r\n$1\r\nW\r\n$1\r\nW\r\n", b"$2\r\nWW\r\n", b"$0\r\n\r\n", b":1\r\n", b"$-1\r\n"],
)
async def test_a_reply_that_does_not_fit_is_an_outage(reply: bytes, count: int) -> None:
    size = 1 if count > 1 else 100
    heard: list[int] = []
    server = answering(b"$1\r\nW\r\n", reply, heard=heard)
    async with serving(server) as url, opened(url) as store:
        assert await claim_all(store, 1) == [[Won(1)]]
        for answer in await claim_all(store, count, size):
            assert isinstance(answer, StoreUnavailable)
            assert "not asked" in str(answer)
    assert heard == [2]


async def test_a_shared_call_on_a_lost_connection_is_repeated_once() -> None:
    heard: list[int] = []
    async with serving(answering(b"$1\r\nW\r\n", heard=heard)) as url, opened(url) as store:
        assert await claim_all(store, 1) == [[Won(1)]]
        answers = await claim_all(store, 3)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert heard == [2, 1]


async def test_a_shared_call_that_is_refused_says_why_to_each() -> None:
    heard: list[int] = []
    refused = b"-NOPERM no\r\n"
    server = answering(b"$1\r\nW\r\n", refused, heard=heard)
    async with serving(server) as url, opened(url) as store:
        assert await claim_all(store, 1) == [[Won(1)]]
        answers = await claim_all(store, 2)
    assert [str(answer) for answer in answers] == ["Redis refuses: NOPERM no"] * 2


@pytest.mark.parametrize("connected", [True, False])
async def test_a_store_that_is_closed_lets_nobody_wait(connected: bool) -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if connected:
            await reader.read(65_536)
            writer.write(b"$1\r\nW\r\n")
        await reader.read(65_536)
        asked.set()
        await reader.read()

    async with serving(silent) as url, opened(url) as store:
        if connected:
            assert await claim_all(store, 1) == [[Won(1)]]
        calls = asyncio.create_task(claim_all(store, 3))
        await asked.wait()
        await store.close()
        async with asyncio.timeout(2):
            answers = await calls
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3


@given(st.lists(st.one_of(st.binary(max_size=5), st.binary(min_size=41, max_size=41))))
def test_words_are_packed_as_hiredis_packs_them(values: list[bytes]) -> None:
    packed = words(values)

    assert b"*%d\r\n" % len(values) + packed == hiredis.pack_command(tuple(values))  # type: ignore[arg-type]


STEPS = st.one_of(
    st.builds(
        Commit,
        fingerprint=st.sampled_from([PRINT, None]),
        processed_at=st.sampled_from([1, 2]),
        result=st.one_of(st.none(), st.binary(max_size=12), st.just(b"x" * 5000)),
        template=st.booleans(),
    ),
    st.sampled_from([Sent(), Release(), MarkDoubt(PRINT), MarkDoubt(None)]),
)


@given(st.lists(STEPS, min_size=1, max_size=12))
def test_commits_stand_behind_the_fields_as_whole_records(steps: list[Settlement]) -> None:
    names = keys(len(steps))
    packed = command_of(SCRIPT, names, pack_settles(steps, TOKEN, TERMS))

    reader = hiredis.Reader()
    reader.feed(packed)
    evalsha, _, count, *rest = reader.gets()

    assert (evalsha, int(count), rest[: len(names)]) == (b"EVALSHA", len(names), names)
    assert rest[len(names) + 1 :] == [
        encode(Done(TOKEN, step.processed_at, step.fingerprint, step.result, step.template))
        for step in steps
        if isinstance(step, Commit)
    ]
    assert reader.gets() is False


class Failing:
    def done(self) -> bool:
        return False

    def set_result(self, result: object, /) -> None:
        raise IndexError(result)

    def set_exception(self, exception: BaseException, /) -> None:
        raise AssertionError from exception


async def test_a_taker_that_fails_is_no_matter_of_the_others() -> None:
    heard: list[int] = []
    replies = [b"$1\r\nW\r\n", b"+one\r\n", b"+two\r\n"]
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with serving(answering(*replies, heard=heard)) as url, opened(url) as store:
        assert await claim_all(store, 1) == [[Won(1)]]
        pipe = pipe_of(store)
        pipe.send_for(b"*1\r\n$4\r\nPING\r\n", Failing())
        assert await pipe.send(b"*1\r\n$4\r\nPING\r\n") == b"two"
        assert not pipe.closed
    assert [str(context["exception"]) for context in told] == ["b'one'"]
