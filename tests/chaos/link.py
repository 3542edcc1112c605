"""A TCP proxy of our own, on which the network's misbehaviour is put on and taken off.

Law: bytes go through in order or not at all; what a fault holds back it lets go within its time,
so that nothing of an abandoned call arrives later than the faults' own bounds say.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_ENDINGS: Final = (ConnectionError, OSError, TimeoutError)


class Way(StrEnum):
    ONWARD = "onward"
    BACK = "back"


class Tap(Protocol):
    """Sees what one connection carries, and may change it. ``ended``: what it returned last is the
    last that goes through."""

    ended: bool

    def onward(self, data: bytes) -> bytes: ...
    def back(self, data: bytes) -> bytes: ...


class Plain:
    ended = False

    def onward(self, data: bytes) -> bytes:
        return data

    def back(self, data: bytes) -> bytes:
        return data


class Link:
    """Listens on ``port`` and carries to ``target``. The faults are attributes and methods; each
    holds for every connection of the link."""

    def __init__(self, target: int, tap: Callable[[], Tap] = Plain) -> None:
        self.target = target
        self.port = 0
        self.latency = 0.0
        self._tap = tap
        self._open = asyncio.Event()
        self._open.set()
        self._hears = asyncio.Event()
        self._hears.set()
        self._cut: Way | None = None
        self._was_cut = asyncio.Event()
        self._carriers: set[_Carrier] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._shut()
        self.reset()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # ---- faults --------------------------------------------------------------------------------

    async def refuse(self, seconds: float) -> None:
        """Nobody listens: connections are refused. Those that are there go on."""
        self._shut()
        try:
            await asyncio.sleep(seconds)
        finally:
            await self.start()

    async def slow(self, seconds: float, latency: float) -> None:
        """Every piece is late by ``latency``."""
        self.latency = latency
        try:
            await asyncio.sleep(seconds)
        finally:
            self.latency = 0.0

    async def stall(self, seconds: float) -> None:
        """Nothing moves, either way; then everything does."""
        self._open.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._open.set()

    async def half_open(self, seconds: float) -> None:
        """What is sent vanishes and nothing is said; then the connections are reset."""
        self._hears.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._hears.set()
            self.reset()

    def reset(self) -> None:
        """RST on both sides of every connection."""
        for carrier in tuple(self._carriers):
            carrier.reset()

    async def cut(self, way: Way, seconds: float) -> bool:
        """The next message that way is cut in its middle, then the connection is gone. False:
        there was none in ``seconds``."""
        self._cut = way
        self._was_cut.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._was_cut.wait()
        except TimeoutError:
            return False
        finally:
            self._cut = None
        return True

    async def slow_close(self, seconds: float) -> None:
        """The client's side is told the end, what it had sent still arrives; the rest follows."""
        leaving = tuple(self._carriers)
        for carrier in leaving:
            carrier.end_for_client()
        try:
            await asyncio.sleep(seconds)
        finally:
            for carrier in leaving:
                carrier.reset()

    # ---- carrying ------------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrier = _Carrier(reader, writer)
        self._carriers.add(carrier)
        try:
            await self._open.wait()
            await self._hears.wait()
            await carrier.dial(self.target)
            tap = self._tap()
            await asyncio.gather(
                self._pump(carrier, Way.ONWARD, tap), self._pump(carrier, Way.BACK, tap)
            )
        except _ENDINGS:
            pass
        finally:
            self._carriers.discard(carrier)
            carrier.reset()

    async def _pump(self, carrier: _Carrier, way: Way, tap: Tap) -> None:
        source, sink = carrier.ends(way)
        while data := await source.read(65536):
            if self.latency:
                await asyncio.sleep(self.latency)
            await self._open.wait()
            if not self._hears.is_set():
                continue
            data = tap.onward(data) if way is Way.ONWARD else tap.back(data)
            cut = self._cut is way and bool(data)
            if cut:
                self._cut = None
                self._was_cut.set()
                data = data[: len(data) // 2]
            if cut or tap.ended:
                sink.write(data)
                await sink.drain()
                sink.close()
                raise ConnectionResetError
            if carrier.is_ended(way):
                continue
            sink.write(data)
            await sink.drain()
        await self._open.wait()
        with contextlib.suppress(*_ENDINGS):
            if sink.can_write_eof() and not sink.is_closing() and not carrier.is_ended(way):
                sink.write_eof()


class _Carrier:
    """The two sockets of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._client = (reader, writer)
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._ended_for_client = False

    async def dial(self, port: int) -> None:
        self._server = await asyncio.open_connection("127.0.0.1", port)

    def ends(self, way: Way) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Where it comes from and where it goes."""
        assert self._server is not None
        if way is Way.ONWARD:
            return self._client[0], self._server[1]
        return self._server[0], self._client[1]

    def is_ended(self, way: Way) -> bool:
        return way is Way.BACK and self._ended_for_client

    def end_for_client(self) -> None:
        self._ended_for_client = True
        with contextlib.suppress(*_ENDINGS):
            self._client[1].write_eof()

    def reset(self) -> None:
        for pair in (self._client, self._server):
            if pair is None:
                continue
            transport = pair[1].transport
            if transport.is_closing():
                continue
            raw = transport.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            transport.abort()
