"""The data listener in this process, with a real driver and store, and a client of bare bytes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from proxy.app import DataApp, Driver, Watcher
from proxy.batching import Batching
from proxy.budget import Budget
from proxy.core.keys import KeyMaker
from proxy.direct import Direct
from proxy.edge.origin import OriginClient
from proxy.edge.server import EdgeServer
from proxy.flow import Flow
from proxy.jwt import Claims
from proxy.lifecycle import Lifecycle
from proxy.observe import Observer
from proxy.passthrough import Passthrough
from proxy.settings import Settings, defaults
from proxy.shadow import Shadow
from proxy.store.base import ScannableStore
from proxy.store.memory import MemoryStore
from proxy.upstream import HttpUpstream
from proxy.websocket import WebSockets
from rules.load import parse_rules
from rules.match import RuleSet
from tests.fakes.prompt import Prompt

RULE = """
version: 1
rules:
  - name: orders
    match: {path: /orders/batch}
    mode: enforce
    scope: ["header:X-Tenant"]
    request: {items: /orders, key: [/id], max_bytes: 64KiB, max_items: 10}
    upstream: {detects_duplicates: true, timeout: 2s}
    response: {results: /results}
"""


class Seen(Observer):
    """What the edge told."""

    def __init__(self) -> None:
        self.limits: Counter[str] = Counter()
        self.passed: Counter[tuple[str, str]] = Counter()
        self.shadowed: Counter[str] = Counter()

    def limit(self, name: str) -> None:
        self.limits[name] += 1

    def passed_through(self, rule: str, reason: str) -> None:
        self.passed[rule, reason] += 1

    def shadow(self, rule: str, would: str, items: int = 1) -> None:
        self.shadowed[str(would)] += items


@dataclass(slots=True)
class Response:
    """One response, read by hand. ``informational``: the statuses of 1xx before it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    informational: list[int]
    framing: str

    def values(self, name: str) -> list[str]:
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def header(self, name: str) -> str:
        (value,) = self.values(name)
        return value

    @property
    def problem(self) -> str:
        """The code of a problem document."""
        assert self.header("content-type") == "application/problem+json", self
        document = orjson.loads(self.body)
        assert document["status"] == self.status
        kind: str = document["type"]
        return kind.removeprefix("urn:idemproxy:problem:")


class Client:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        line, *lines = raw.decode("latin-1")[:-4].split("\r\n")
        pairs = (text.split(": ", 1) for text in lines)
        return int(line.split(" ")[1]), [(name, value) for name, value in pairs]

    async def response(self, method: str = "GET") -> Response:
        informational = []
        status, headers = await self.head()
        while status < 200 and status != 101:
            informational.append(status)
            status, headers = await self.head()
        names = {name.lower(): value for name, value in headers}
        if method == "HEAD" or status in (101, 204, 304):
            return Response(status, headers, b"", informational, "none")
        if "transfer-encoding" in names:
            body = await asyncio.wait_for(self._chunked(), 10)
            return Response(status, headers, body, informational, "chunked")
        if "content-length" in names:
            size = int(names["content-length"])
            body = await asyncio.wait_for(self.reader.readexactly(size), 10)
            return Response(status, headers, body, informational, "length")
        body = await asyncio.wait_for(self.reader.read(), 10)
        return Response(status, headers, body, informational, "close")

    async def _chunked(self) -> bytes:
        pieces = []
        while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            pieces.append(await self.reader.readexactly(size))
            assert await self.reader.readexactly(2) == b"\r\n"
        while await self.reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return b"".join(pieces)

    async def is_closed(self) -> bool:
        """Nothing more comes, and the connection ends."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 10) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.close()


@dataclass(slots=True)
class Gateway:
    port: int
    seen: Seen
    lifecycle: Lifecycle
    app: DataApp
    server: EdgeServer
    origin: OriginClient
    settings: Settings
    rules: list[RuleSet]
    """The one in force; a test may put another in its place."""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
        client = Client(reader, writer)
        try:
            yield client
        finally:
            writer.close()

    async def ask(self, data: bytes, method: str = "") -> Response:
        """One request on a connection of its own."""
        async with self.connect() as client:
            client.write(data)
            return await client.response(method or data.split(b" ")[0].decode())


@asynccontextmanager
async def gateway(
    upstream: str,
    rules: str | RuleSet = RULE,
    *,
    driver: Driver | None = None,
    watcher: Watcher | None = None,
    flags: Mapping[str, str] | None = None,
    short: bool = True,
    store: ScannableStore | None = None,
) -> AsyncIterator[Gateway]:
    """The whole data path, on a free port. ``short`` False: every request the long way, and every
    call awaited, unless ``store`` is given."""
    settings = defaults(upstream=upstream, **(flags or {}))
    in_force = [parse_rules([("rules.yaml", rules)]) if isinstance(rules, str) else rules]
    seen, lifecycle, keys = Seen(), Lifecycle(), KeyMaker()
    if store is None:
        store = Prompt(MemoryStore()) if short else MemoryStore()
    origin = OriginClient(settings)
    call = HttpUpstream(origin, settings.upstream_max_response)
    flow = Flow(store, call, keys, seen, now_ms=lambda: 1_700_000_000_000)
    passthrough = Passthrough(origin, settings, lifecycle)
    budget = Budget(settings.max_buffered)
    app = DataApp(
        settings,
        lambda: in_force[0],
        batching=Batching(Claims(settings), seen),
        flow=driver or flow,
        shadow=watcher or Shadow(store, keys, seen, now_ms=lambda: 1_700_000_000_000),
        passthrough=passthrough,
        websockets=WebSockets(origin, passthrough, settings),
        lifecycle=lifecycle,
        observer=seen,
        budget=budget,
    )
    direct = Direct(
        settings,
        lambda: in_force[0],
        flow=flow,
        budget=budget,
        lifecycle=lifecycle,
        observer=seen,
    )
    server = EdgeServer(app, settings, seen, direct if short and driver is None else None)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield Gateway(port, seen, lifecycle, app, server, origin, settings, in_force)
    finally:
        listener.close()
        await server.shutdown(0.1)
        await flow.drain(1.0)
        await origin.close()


def post(body: bytes, *lines: str, path: str = "/orders/batch", tenant: str = "t") -> bytes:
    """A batch request of one connection."""
    head = [
        f"POST {path} HTTP/1.1",
        "Host: api.example",
        f"X-Tenant: {tenant}",
        *lines,
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(head).encode("latin-1") + body


def get(path: str, *lines: str) -> bytes:
    head = [f"GET {path} HTTP/1.1", "Host: api.example", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1")


@asynccontextmanager
async def connected(
    upstream: str, flags: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Gateway, Client]]:
    """The data path and one connection to it."""
    async with gateway(upstream, flags=flags) as proxy, proxy.connect() as client:
        yield proxy, client


async def until(condition: Callable[[], bool]) -> None:
    """Wait for someone else's state."""
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - it is not an event
            await asyncio.sleep(0.01)
