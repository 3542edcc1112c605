"""The proxy's own errors are problem documents, and 502, 503 and 504 are told apart."""

from __future__ import annotations

import asyncio
import socket

import orjson
import pytest

from proxy.errors import Problem
from proxy.exchange import Answer, Exchange
from proxy.problems import PROBLEMS, render
from tests.fakes.upstream_raw import RawUpstream, Wire, ok
from tests.wire.gateway import gateway, get, post


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_a_service_that_is_not_there_is_502() -> None:
    async with gateway(f"http://127.0.0.1:{free_port()}") as proxy:
        got = await proxy.ask(get("/x"))
        assert (got.status, got.problem) == (502, "upstream-unreachable")
        document = orjson.loads(got.body)
        assert document["requestId"] == got.header("x-request-id")
        assert got.header("cache-control") == "no-store"


async def test_a_name_that_does_not_resolve_is_502() -> None:
    async with gateway("http://no-such-name.invalid:1") as proxy:
        got = await proxy.ask(get("/x"))
        assert (got.status, got.problem) == (502, "upstream-unreachable")


@pytest.mark.parametrize(
    "said",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 2"],
)
async def test_no_valid_answer_is_502(said: bytes) -> None:
    async def garble(wire: Wire) -> None:
        await wire.read_head()
        await wire.send(said)

    async with RawUpstream(script=garble) as upstream, gateway(upstream.url) as proxy:
        got = await proxy.ask(post(b"x", path="/x"))
        assert (got.status, got.problem) == (502, "upstream-failed")


async def test_an_upgrade_that_nobody_asked_for_is_502() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    async with RawUpstream(answer) as upstream, gateway(upstream.url) as proxy:
        got = await proxy.ask(get("/x"))
        assert (got.status, got.problem) == (502, "upstream-failed")


async def test_a_service_that_does_not_answer_is_504() -> None:
    async def stuck(wire: Wire) -> None:
        await wire.read_head()
        await asyncio.Event().wait()

    flags = {"upstream_head_timeout": "100ms"}
    async with RawUpstream(script=stuck) as upstream, gateway(upstream.url, flags=flags) as proxy:
        got = await proxy.ask(get("/x"))
        assert (got.status, got.problem) == (504, "upstream-timeout")


async def test_the_head_timeout_is_not_for_the_body() -> None:
    async def slow_body(wire: Wire) -> None:
        await wire.read_head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await asyncio.sleep(0.3)  # longer than the head may take
        await wire.send(b"b")

    flags = {"upstream_head_timeout": "100ms"}
    async with (
        RawUpstream(script=slow_body) as upstream,
        gateway(upstream.url, flags=flags) as proxy,
    ):
        assert (await proxy.ask(get("/x"))).body == b"ab"


async def test_no_free_connection_is_503_with_retry_after() -> None:
    release = asyncio.Event()

    async def hold(wire: Wire) -> None:
        await wire.read_head()
        await release.wait()
        await wire.send(ok())

    flags = {"upstream_connections": "1", "upstream_connect_timeout": "100ms"}
    async with RawUpstream(script=hold) as upstream, gateway(upstream.url, flags=flags) as proxy:
        async with proxy.connect() as first:
            first.write(get("/x"))
            while not upstream.connections:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.01)
            got = await proxy.ask(get("/x"))
            assert (got.status, got.problem) == (503, "overloaded")
            assert got.header("retry-after") == "1"
            release.set()
            assert (await first.response()).body == b"ok"
        assert (await proxy.ask(get("/x"))).status == 200


@pytest.mark.parametrize("status", ["400 Bad", "409 Conflict", "500 Oops", "502 x", "503 x"])
async def test_errors_of_the_service_are_its_own(status: str) -> None:
    answer = ok(b"its own words", status, "Content-Type: text/x-legacy", "Retry-After: 7")
    async with RawUpstream(answer) as upstream, gateway(upstream.url) as proxy:
        got = await proxy.ask(get("/x"))
        assert got.body == b"its own words"
        assert str(got.status) == status[:3]
        assert got.header("content-type") == "text/x-legacy"
        assert got.header("retry-after") == "7"


class Broken:
    """A driver with a bug, or with nothing to say."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def handle(self, _: Exchange) -> Answer:
        raise self.error


BATCH = b'{"orders":[{"id":1}]}'


async def test_a_bug_is_500_without_a_traceback() -> None:
    driver = Broken(ValueError("secret detail"))
    async with RawUpstream() as upstream, gateway(upstream.url, driver=driver) as proxy:
        got = await proxy.ask(post(BATCH))
        assert (got.status, got.problem) == (500, "internal")
        assert b"secret" not in got.body
        assert b"Traceback" not in got.body
        assert (await proxy.ask(get("/x"))).status == 200


async def test_a_problem_of_the_driver_is_shown() -> None:
    driver = Broken(Problem(503, "store-unavailable", "no answer", (("Retry-After", "2"),)))
    async with RawUpstream() as upstream, gateway(upstream.url, driver=driver) as proxy:
        got = await proxy.ask(post(BATCH))
        assert (got.status, got.problem) == (503, "store-unavailable")
        assert got.header("retry-after") == "2"


def test_every_code_has_a_title_and_no_other_can_be_rendered() -> None:
    for code, title in PROBLEMS.items():
        assert title
        assert render(Problem(400, code, "d"))[0] == 400
    with pytest.raises(KeyError):
        render(Problem(400, "unheard-of", "d"))
