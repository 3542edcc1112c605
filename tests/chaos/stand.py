"""Redis with the faults that it can have: what every topology shares, and one server alone.

Law: one fault of the servers at a time; after each, every server that should live does. Every
server writes an append-only file without removing old ones (see history.py).
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from tests.chaos.history import History
from tests.chaos.threads import in_thread
from tests.fakes.redis_server import (
    RedisServer,
    eventually,
)

Fault = Callable[[], Awaitable[None]]
_WRITES: Final = {
    "aof-use-rdb-preamble": "no",
    "aof-disable-auto-gc": "yes",
    "auto-aof-rewrite-percentage": "0",
    "rdbcompression": "no",
    "repl-diskless-sync-delay": "0",
    "appendfsync": "no",  # a process that dies has handed over what it wrote
    "appendonly": "yes",
}


class Stand(ABC):
    """``nodes``: every port that a proxy may dial. ``pairs``: a master and its replica."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._lock = asyncio.Lock()
        self._histories: dict[int, History] = {}

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @property
    @abstractmethod
    def ports(self) -> Sequence[int]: ...

    @property
    @abstractmethod
    def servers(self) -> Sequence[RedisServer]: ...

    @abstractmethod
    def url(self, shown: Callable[[int], int]) -> str:
        """The STORE setting; ``shown`` is a port's link."""

    @abstractmethod
    def faults(self) -> dict[str, Fault]: ...

    @abstractmethod
    def histories(self) -> list[tuple[History, History]]:
        """Ends the servers and reads their files: (master, replica) of each shard; one that
        stands alone is paired with itself, and has nothing to lose."""

    async def fault(self, made: Fault) -> None:
        async with self._lock:
            await made()

    # ---- faults that every topology has --------------------------------------------------------

    async def pause(self) -> None:
        """SIGSTOP for less than anybody takes for a death."""
        server = self.rng.choice(self.masters())
        await in_thread(server.pause)
        try:
            await asyncio.sleep(self.rng.uniform(0.1, 0.4))
        finally:
            server.resume()

    async def forget_scripts(self) -> None:
        for server in self.masters():
            await in_thread(server.command, "SCRIPT", "FLUSH")

    async def drop_clients(self) -> None:
        for server in self.masters():
            await in_thread(server.command, "CLIENT", "KILL", "TYPE", "NORMAL")

    def masters(self) -> list[RedisServer]:
        return [server for server in self.servers if server.info("role") == "master"]

    # ---- helpers -------------------------------------------------------------------------------

    def write_everything(self, server: RedisServer) -> None:
        for name, value in _WRITES.items():
            server.command("CONFIG", "SET", name, value)
        eventually(partial(writes_in_place, server), "writing its file")

    def history(self, server: RedisServer) -> History:
        return self._histories.setdefault(server.port, History())

    def take(self, server: RedisServer) -> None:
        """Of a dead server: what it had, and then it has nothing."""
        self.history(server).take(server.folder / "appendonlydir")
        (server.folder / "dump.rdb").unlink(missing_ok=True)

    def revive(self, server: RedisServer, master: RedisServer | None) -> None:
        """Start a dead server again, as an empty replica of ``master``."""
        self.take(server)
        server.start()
        self.write_everything(server)
        if master is not None:
            server.command("REPLICAOF", "127.0.0.1", master.port)
        eventually(partial(follows, server), "a replica")


class Standalone(Stand):
    """One server that keeps all that it acknowledged."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._server = RedisServer(persist=True)

    def start(self) -> None:
        self._server.start()

    def close(self) -> None:
        self._server.close()

    @property
    def ports(self) -> Sequence[int]:
        return (self._server.port,)

    @property
    def servers(self) -> Sequence[RedisServer]:
        return (self._server,)

    def url(self, shown: Callable[[int], int]) -> str:
        return f"redis://127.0.0.1:{shown(self._server.port)}"

    def faults(self) -> dict[str, Fault]:
        return {
            "redis killed and started": self._kill,
            "redis stopped": self.pause,
            "scripts flushed": self.forget_scripts,
            "redis connections killed": self.drop_clients,
        }

    async def _kill(self) -> None:
        await in_thread(self._server.kill)
        await asyncio.sleep(self.rng.uniform(0.0, 1.0))
        await in_thread(self._server.start)

    def masters(self) -> list[RedisServer]:
        return [self._server]

    def histories(self) -> list[tuple[History, History]]:
        self._server.kill()
        self.take(self._server)
        history = self.history(self._server)
        return [(history, history)]


def follows(server: RedisServer) -> bool:
    """A replica that has its master's data, in its file too."""
    return server.info("role") == "slave" and server.is_in_step() and writes_in_place(server)


def writes_in_place(server: RedisServer) -> bool:
    """Its file is whole. While it is made anew, what is written goes to a temporary one."""
    return not any((server.folder / "appendonlydir").glob("temp-*"))
