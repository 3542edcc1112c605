"""The process: starts or says all that is wrong, drains and ends; alone, and with workers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.processes import Proxy, ask, free_port, start, start_proxy
from tests.fakes.upstream_raw import RawUpstream, Received, Wire, ok
from tests.wire.gateway import RULE, Client, get, post, until

pytestmark = pytest.mark.process

BODY = b'{"orders":[{"id":1}]}'
ANSWER = ok(b'{"results":[{}]}')


@asynccontextmanager
async def running(upstream: str, tmp_path: Path, **settings: str) -> AsyncIterator[Proxy]:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULE)
    proxy = await asyncio.to_thread(
        start_proxy, rules, upstream, tmp_path / "proxy.log", LOG_FORMAT="text", **settings
    )
    try:
        yield proxy
    finally:
        if proxy.process.popen.poll() is None:
            proxy.process.kill()


@asynccontextmanager
async def connect(proxy: Proxy) -> AsyncIterator[Client]:
    host, port = proxy.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def status(url: str) -> int:
    return (await asyncio.to_thread(ask, "GET", url)).status


async def ended(proxy: Proxy) -> int:
    return await asyncio.to_thread(proxy.process.popen.wait, 15)


async def test_sigterm_lets_what_is_under_way_end(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def slow(_: Received, __: Wire) -> bytes:
        await go.wait()
        return ANSWER

    async with (
        RawUpstream(slow) as upstream,
        running(upstream.url, tmp_path) as proxy,
        connect(proxy) as batch,
        connect(proxy) as plain,
        connect(proxy) as uploading,
        connect(proxy) as idle,
    ):
        idle.write(get("/x")[:0])
        batch.write(post(BODY))
        plain.write(get("/x"))
        uploading.write(post(BODY, tenant="u")[:-5])
        await until(lambda: len(upstream.received) == 2)
        proxy.process.popen.send_signal(signal.SIGTERM)
        await until(lambda: "draining" in proxy.process.output)
        assert await idle.is_closed()
        assert await status(f"{proxy.admin}/readyz") == 503
        assert await status(f"{proxy.admin}/livez") == 200
        with pytest.raises(ConnectionError):
            async with connect(proxy):
                pass
        uploading.write(BODY[-5:])
        go.set()
        for client in (batch, plain, uploading):
            answer = await client.response()
            assert answer.status == 200
            assert answer.header("connection") == "close"
        assert await ended(proxy) == 0


async def test_a_drain_that_takes_too_long_ends_with_1(tmp_path: Path) -> None:
    async def stuck(_: Received, __: Wire) -> None:
        await asyncio.Event().wait()

    async with (
        RawUpstream(stuck) as upstream,
        running(upstream.url, tmp_path, DRAIN_TIMEOUT="200ms") as proxy,
        connect(proxy) as client,
    ):
        client.write(get("/x"))
        await until(lambda: len(upstream.received) == 1)
        proxy.process.popen.send_signal(signal.SIGTERM)
        assert await ended(proxy) == 1


async def test_drain_over_the_admin_port_and_its_undoing(tmp_path: Path) -> None:
    async with (
        RawUpstream() as upstream,
        running(upstream.url, tmp_path, DRAIN_TIMEOUT="400ms") as proxy,
    ):
        assert await status(f"{proxy.admin}/drain?wait=1s") == 200
        assert await status(f"{proxy.admin}/readyz") == 503
        async with connect(proxy) as client:
            client.write(get("/x"))
            assert (await client.response()).header("connection") == "close"
        async with asyncio.timeout(10):
            while await status(f"{proxy.admin}/readyz") != 200:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)


async def test_sighup_reloads_the_rules(tmp_path: Path) -> None:
    async with RawUpstream() as upstream, running(upstream.url, tmp_path) as proxy:
        async with connect(proxy) as client:
            client.write(post(b"nonsense", path="/other"))
            assert (await client.response()).status == 200
        text = RULE.replace("/orders/batch", "/other").replace(
            "key: [/id]", "key: [/id], unreadable: reject"
        )
        (tmp_path / "rules.yaml").write_text(text)
        proxy.process.popen.send_signal(signal.SIGHUP)
        await until(lambda: "rules reloaded" in proxy.process.output)
        async with connect(proxy) as client:
            client.write(post(b"nonsense", path="/other"))
            assert (await client.response()).status == 400


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"WORKERS": "x", "STORE_TIMEOUT": "1"}, ("WORKERS", "STORE_TIMEOUT")),
        ({"RULES": ""}, ("IDEMPROXY_RULES",)),
        ({"JWT_JWKS_FILE": "rules.yaml"}, ("no usable JWKS",)),
        ({"LISTEN": "192.0.2.1:1"}, ("cannot listen on 192.0.2.1:1",)),
        ({"STORE": "redis+odd://x"}, ("STORE",)),
        ({"AIOHTTP_NO_EXTENSIONS": "1"}, ("pure-Python",)),
    ],
)
async def test_what_cannot_be_used_ends_with_2(
    tmp_path: Path, settings: dict[str, str], said: tuple[str, ...]
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULE)
    given = {"RULES": str(rules), "LISTEN": "127.0.0.1:0", "ADMIN_LISTEN": "127.0.0.1:0"}
    changed = {k: str(rules) if v == "rules.yaml" else v for k, v in settings.items()}
    env = {
        name if name.startswith("AIO") else f"IDEMPROXY_{name}": value
        for name, value in (given | changed).items()
    }
    process = start([sys.executable, "-m", "proxy", "serve"], tmp_path / "log", env)
    assert await asyncio.to_thread(process.popen.wait, 15) == 2
    for text in said:
        assert text in process.output
    assert "Traceback" not in process.output


async def test_a_rule_with_a_jwt_scope_needs_a_key(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULE.replace('"header:X-Tenant"', '"jwt:/tenant"'))
    env = {"IDEMPROXY_RULES": str(rules), "IDEMPROXY_LISTEN": "127.0.0.1:0"}
    process = start([sys.executable, "-m", "proxy", "serve"], tmp_path / "log", env)
    assert await asyncio.to_thread(process.popen.wait, 15) == 2
    assert "rules[0].scope" in process.output


async def test_a_unix_listener(tmp_path: Path) -> None:
    rules, path = tmp_path / "rules.yaml", str(tmp_path / "data.sock")
    rules.write_text(RULE)
    env = {
        "IDEMPROXY_RULES": str(rules),
        "IDEMPROXY_LISTEN": f"unix://{path}",
        "IDEMPROXY_ADMIN_LISTEN": "127.0.0.1:0",
    }
    async with RawUpstream() as upstream:
        env["IDEMPROXY_UPSTREAM"] = upstream.url
        process = start([sys.executable, "-m", "proxy", "serve"], tmp_path / "log", env)
        try:
            await until(lambda: "serving" in process.output)
            reader, writer = await asyncio.open_unix_connection(path)
            client = Client(reader, writer)
            client.write(get("/x", "X-Forwarded-For: 10.0.0.1"))
            assert (await client.response()).status == 200
            assert upstream.received[0].values("x-forwarded-for") == ["10.0.0.1"]
            writer.close()
        finally:
            assert await asyncio.to_thread(process.stop) == 0


# ---- several workers --------------------------------------------------------------------------


def no_store() -> str:
    """A Redis that is not there: several workers want one, and an open rule lives without it."""
    return f"redis://127.0.0.1:{free_port()}"


def workers_of(proxy: Proxy) -> set[int]:
    pid = proxy.process.popen.pid
    return {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def workers_alive(pids: set[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_workers_serve_are_replaced_and_end(tmp_path: Path) -> None:
    async with (
        RawUpstream() as upstream,
        running(upstream.url, tmp_path, WORKERS="2", STORE=no_store()) as proxy,
    ):
        await until(lambda: proxy.process.output.count("serving") == 2)
        before = workers_of(proxy)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        await until(lambda: proxy.process.output.count("serving") == 3)
        assert len(workers_of(proxy)) == 2
        for _ in range(8):
            async with connect(proxy) as client:
                client.write(get("/x"))
                assert (await client.response()).status == 200
        proxy.process.popen.send_signal(signal.SIGTERM)
        assert await ended(proxy) == 0
        assert not workers_alive(before)


async def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    async with (
        RawUpstream() as upstream,
        running(upstream.url, tmp_path, WORKERS="2", STORE=no_store()) as proxy,
    ):
        await until(lambda: proxy.process.output.count("serving") == 2)
        workers = workers_of(proxy)
        assert workers_alive(workers)
        proxy.process.kill()
        await until(lambda: not workers_alive(workers))


async def test_a_drain_of_one_worker_drains_all(tmp_path: Path) -> None:
    async with (
        RawUpstream() as upstream,
        running(upstream.url, tmp_path, WORKERS="2", STORE=no_store()) as proxy,
    ):
        await until(lambda: proxy.process.output.count("serving") == 2)
        assert await status(f"{proxy.admin}/drain?wait=1s") == 200
        answers = []
        for _ in range(20):
            async with connect(proxy) as client:
                client.write(get("/x"))
                answers.append((await client.response()).values("connection"))
        assert answers == [["close"]] * 20


def children_of(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


async def test_a_signal_while_a_worker_starts_does_not_end_it(tmp_path: Path) -> None:
    async with (
        RawUpstream() as upstream,
        running(upstream.url, tmp_path, WORKERS="2", STORE=no_store()) as proxy,
    ):
        process = proxy.process
        await until(lambda: process.output.count("serving") == 2)
        parent = process.popen.pid
        os.kill(children_of(parent)[0], signal.SIGKILL)
        await until(lambda: "a worker ended" in process.output)

        def serves_again() -> bool:
            os.kill(parent, signal.SIGUSR1)
            return process.output.count("serving") == 3

        await until(serves_again)
        assert process.output.count("a worker ended") == 1


async def test_workers_that_cannot_be_configured_end_with_2(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules: [{name: x}]\n")
    env = {
        "IDEMPROXY_RULES": str(rules),
        "IDEMPROXY_WORKERS": "2",
        "IDEMPROXY_STORE": no_store(),
    }
    process = start([sys.executable, "-m", "proxy", "serve"], tmp_path / "log", env)
    assert await asyncio.to_thread(process.popen.wait, 15) == 2
    assert "rules.yaml" in process.output
