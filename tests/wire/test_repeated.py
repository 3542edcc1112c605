"""Heads that came before: only the very same bytes are taken for one, and nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.repeated import HeadPattern
from rules.load import parse_rules
from tests.fakes.upstream_raw import RawUpstream
from tests.wire.gateway import RULE, Gateway, gateway, get, post, until
from tests.wire.test_short_way import BODY, OTHER, echo, shown

BODIES = (BODY, OTHER, b'{"orders":[{"id":"dddddddddddddd"}]}', BODY)


def pattern() -> HeadPattern:
    made = HeadPattern.of(post(BODY))
    assert made is not None
    return made


@pytest.mark.parametrize("body", [b"x", BODY, b"\r\n\r\nContent-Length: 3\r\n\r\n", b"y" * 12_345])
def test_the_same_head_with_another_body(body: bytes) -> None:
    assert pattern().body(post(body)) == body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        post(b""),
        post(BODY)[:-1],
        post(BODY) + b"x",
        post(BODY) + post(BODY),
        post(BODY)[:40],
        post(BODY, "X-Other: 1"),
        post(BODY, tenant="u"),
        post(BODY).replace(b"Content-Length: 34", b"Content-Length: +34"),
        post(BODY).replace(b"Content-Length: 34", b"Content-Length: 034"),
        post(BODY).replace(b"Content-Length: 34", b"Content-Length: 34 "),
        post(BODY).replace(b"Content-Length: 34", b"Content-Length:  34"),
        post(BODY).replace(b"Content-Length: 34\r\n", b"Content-Length: 34\n"),
        post(BODY).replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", 1),
    ],
)
def test_anything_else_is_the_parsers(data: bytes) -> None:
    assert pattern().body(data) is None


@pytest.mark.parametrize(
    "message",
    [
        post(BODY).replace(b"Content-Length: ", b"content-length: "),
        post(BODY).replace(b"Content-Length: ", b"Content-Length:"),
        post(BODY, "Content-Length: 34"),
        post(BODY, "content-length: 34"),
        post(BODY, "X-Content-Length: 34"),
        post(BODY)[:-1],
        post(BODY) + b"x",
        get("/x"),
        b"no message",
    ],
)
def test_what_makes_no_pattern(message: bytes) -> None:
    assert HeadPattern.of(message) is None


PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b":",
        b"0",
        b"1",
        b"34",
        b"\r\n\r\n",
        b"Content-Length: ",
        b"POST ",
    ]
)


@given(st.data())
def test_what_is_taken_is_what_the_parser_reads(data: st.DataObject) -> None:
    """A message of this connection, damaged here and there: where the pattern takes it, the
    library's parser finds one request with the same lines and that body."""
    text = bytearray(post(data.draw(st.binary(min_size=1, max_size=40))))
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(PIECES)
    body = pattern().body(bytes(text))
    if body is None:
        return
    ((message, payload),) = parsed(bytes(text))
    ((first, _),) = parsed(post(BODY))
    assert b"".join(payload._buffer) == body
    assert payload.is_eof()
    without = [line for line in message.raw_headers if line[0] != b"Content-Length"]
    assert without == [line for line in first.raw_headers if line[0] != b"Content-Length"]
    assert (message.method, message.path, message.version) == (
        first.method,
        first.path,
        first.version,
    )


def parsed(data: bytes) -> Sequence[tuple[Any, Any]]:
    loop = asyncio.new_event_loop()
    try:
        protocol = BaseProtocol(loop)
        messages, upgraded, tail = HttpRequestParser(protocol, loop, 2**16).feed_data(data)
    finally:
        loop.close()
    assert not upgraded
    assert not tail
    return messages


def seen_by_parser(proxy: Gateway) -> int:
    """How many requests of the one connection it has read."""
    (line,) = proxy.server.connections
    return line._request_count


def fed_beyond(line: Any, fed: int) -> bool:
    """Whether the parser has got more bytes of a message than so many."""
    return line_fed(line) != fed


def line_fed(line: Any) -> int:
    fed: int = line._boundary._fed
    return fed


async def test_the_parser_reads_a_head_twice_and_no_more() -> None:
    async with RawUpstream(echo) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            for read in (1, 2, 2, 2):
                client.write(post(BODY))
                assert (await client.response()).status == 200
                assert seen_by_parser(proxy) == read
            client.write(post(BODY, tenant="u"))  # another head
            assert (await client.response()).header("idempotency-items").startswith("new=2")
            assert seen_by_parser(proxy) == 3
        assert proxy.server.requests_count == 0
        assert proxy.app.buffered == 0
        assert proxy.lifecycle.in_flight == 0


async def test_each_head_on_a_connection_has_its_own_scope() -> None:
    async with RawUpstream(echo) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            for number, tenant in enumerate("tttuttuuu"):
                client.write(post(b'{"orders":[{"id":"%d"}]}' % number, tenant=tenant))
                assert (await client.response()).header("idempotency-items").startswith("new=1")
        assert "".join(dict(r.headers)["X-Tenant"] for r in upstream.received) == "tttuttuuu"


async def test_new_rules_are_asked_of_a_known_head() -> None:
    async with RawUpstream(echo) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            for _ in range(4):
                client.write(post(BODY))
                assert (await client.response()).values("idempotency-items")
            assert seen_by_parser(proxy) == 2
            proxy.rules[0] = parse_rules(
                [("rules.yaml", RULE.replace("mode: enforce", "mode: off"))]
            )
            client.write(post(BODY))
            assert (await client.response()).values("idempotency-items") == []
        assert len(upstream.received) == 2


WAYS: dict[str, list[bytes]] = {
    "as it is": [],
    "a request in two pieces": [post(OTHER)[:90], post(OTHER)[90:]],
    "a head in two pieces": [post(OTHER)[:20], post(OTHER)[20:]],
    "a byte at a time": [bytes([byte]) for byte in post(OTHER)],
    "two at once": [post(OTHER) + post(BODY)],
    "one and a part of the next": [post(OTHER) + post(BODY)[:30], post(BODY)[30:]],
    "a request of another kind between": [get("/x"), post(OTHER)],
    "another kind with a body": [post(b"abc", path="/x"), post(OTHER)],
    "chunks": [
        post(b"", path="/x").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"3\r\nabc\r\n0\r\n\r\n",
        post(OTHER),
    ],
    "line ends between": [b"\r\n", post(OTHER)],
    "no JSON": [post(b"{"), post(OTHER)],
}


@pytest.mark.parametrize("pieces", WAYS.values(), ids=list(WAYS))
async def test_both_ways_answer_alike(pieces: list[bytes]) -> None:
    answers, forwarded = [], []
    for short in (True, False):
        async with RawUpstream(echo) as upstream, gateway(upstream.url, short=short) as proxy:
            seen = []
            async with proxy.connect() as client:
                for body in BODIES[:3]:
                    client.write(post(body))
                    seen.append(shown(await client.response()))
                for piece in pieces:
                    client.write(piece)
                    await asyncio.sleep(0)
                    await client.writer.drain()
                count = b"".join(pieces).count(b" HTTP/1.1\r\n")
                seen += [shown(await client.response()) for _ in range(count)]
                for body in BODIES[2:]:
                    client.write(post(body))
                    seen.append(shown(await client.response()))
            answers.append(seen)
            forwarded.append([(r.line, r.body) for r in upstream.received])
    assert answers[0] == answers[1]
    assert forwarded[0] == forwarded[1]


async def test_a_known_head_inside_another_request_is_no_request() -> None:
    """A client's own text in the middle of a head: who took it for a request would answer what
    nobody asked."""
    answers = []
    for short in (True, False):
        async with RawUpstream(echo) as upstream, gateway(upstream.url, short=short) as proxy:
            async with proxy.connect() as client:
                for _ in range(3):
                    client.write(post(BODY))
                    await client.response()
                client.write(b"GET /hidden HTTP/1.1\r\nHost: a\r\nX-Note: ")
                (line,) = proxy.server.connections
                await until(partial(fed_beyond, line, 0))
                client.write(post(OTHER))
                answers.append(shown(await client.response()))
            assert [r.method for r in upstream.received].count("POST") == 1
    assert answers[0] == answers[1]


async def test_a_known_head_behind_a_part_that_came_while_the_loop_was_busy() -> None:
    """The part is of a head that the parser has; nobody but it knows."""
    held = asyncio.Event()

    async def slow(received: Any, wire: Any) -> bytes:
        if received.target == "/slow":
            await held.wait()
        return await echo(received, wire)

    async with RawUpstream(slow) as upstream, gateway(upstream.url) as proxy:
        async with proxy.connect() as client:
            for _ in range(3):
                client.write(post(BODY))
                await client.response()
            client.write(get("/slow"))
            await until(lambda: len(upstream.received) == 2)
            client.write(b"GET /hidden HTTP/1.1\r\nHost: a\r\nX-Note: ")
            (line,) = proxy.server.connections
            await until(partial(fed_beyond, line, line_fed(line)))
            held.set()
            assert (await client.response()).status == 200
            client.write(post(OTHER))
            await client.response()
        assert OTHER not in [r.body for r in upstream.received if r.method == "POST"]
