"""Commands that are written together: whoever asked gets their replies, however they come in."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.store.burst import Burst
from proxy.store.pipe import Pipe, PipeLost

NIL, OK, VALUE, REFUSED = b"$-1\r\n", b"+OK\r\n", b"$3\r\na\r\n\r\n", b"-OOM no\r\n"
MEANS: dict[bytes, object] = {NIL: None, OK: b"OK", VALUE: b"a\r\n", REFUSED: "OOM no"}


class Wire(asyncio.Transport):
    """A connection whose other end is the test."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False
        self.written: list[bytes] = []

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """It is known."""

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.is_aborted = True


def meaning(reply: object) -> object:
    return str(reply) if isinstance(reply, hiredis.ReplyError) else reply


REPLIES = st.sampled_from(list(MEANS))
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("single"), st.lists(REPLIES, min_size=1, max_size=1)),
        st.tuples(st.just("usual"), st.lists(REPLIES, min_size=1, max_size=5)),
        st.tuples(st.just("other"), st.lists(REPLIES, min_size=1, max_size=5)),
    ),
    min_size=1,
    max_size=6,
)


@given(CALLS, st.lists(st.integers(1, 30)))
def test_each_is_told_its_own(calls: list[tuple[str, list[bytes]]], sizes: list[int]) -> None:
    async def run() -> None:
        wire = Wire()
        pipe = Pipe(wire, None, 5.0)
        told: list[asyncio.Future[Any]] = []
        for kind, replies in calls:
            told.append(asyncio.get_running_loop().create_future())
            if kind == "single":
                pipe.send_for(b"", told[-1])
                continue
            others = [*replies[:-1], OK if replies[-1] == NIL else NIL]
            usual = b"".join(replies if kind == "usual" else others)
            pipe.send_for(b"", Burst(len(replies), usual, told[-1]))
        data, at = b"".join(reply for _, replies in calls for reply in replies), 0
        for size in (*sizes, len(data)):
            if chunk := data[at : at + size]:
                pipe.data_received(chunk)
            at += size
        assert not wire.is_aborted
        for (kind, replies), future in zip(calls, told, strict=True):
            got = [future.result()] if kind == "single" else future.result()
            if got is not None or kind != "usual":
                assert [meaning(one) for one in got] == [MEANS[reply] for reply in replies]
        pipe.abort("the end")

    asyncio.run(run())


async def test_usual_replies_that_come_in_one_piece_are_not_parsed() -> None:
    pipe = Pipe(Wire(), None, 5.0)
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    pipe.send_for(b"", Burst(3, OK * 3, told))
    for piece in (b"+OK\r", b"\n+OK\r\n+O", b"K\r\n"):
        assert not told.done()
        pipe.data_received(piece)
    assert told.result() is None
    pipe.abort("the end")


async def test_a_burst_has_no_answer_where_the_connection_ends_within_it() -> None:
    pipe = Pipe(Wire(), None, 5.0)
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    pipe.send_for(b"", Burst(3, OK * 3, told))
    pipe.data_received(OK * 2)
    pipe.connection_lost(None)
    with pytest.raises(PipeLost):
        told.result()


async def test_replies_that_nobody_asked_for_end_the_connection() -> None:
    wire = Wire()
    pipe = Pipe(wire, None, 5.0)
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    pipe.send_for(b"", Burst(2, OK * 2, told))
    pipe.data_received(OK * 3)
    assert told.result() is None
    assert wire.is_aborted
