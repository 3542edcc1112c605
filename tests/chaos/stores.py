"""Redis in its topologies, with the faults that each of them can have.

Law: one fault of the servers at a time; after each, every server that should live does. Every
server writes an append-only file without removing old ones (see history.py).
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import RedisError

from proxy.core.keys import BUCKETS
from tests.chaos.history import History
from tests.fakes.redis_server import (
    RedisCluster,
    RedisServer,
    SentinelGroup,
    eventually,
    standalone,
)

Fault = Callable[[], Awaitable[None]]
_SLOTS: Final = [key_slot(b"%02x" % bucket) for bucket in range(BUCKETS)]
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
        self._rng = rng
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
        server = self._rng.choice(self.masters())
        await asyncio.to_thread(server.pause)
        try:
            await asyncio.sleep(self._rng.uniform(0.1, 0.4))
        finally:
            server.resume()

    async def forget_scripts(self) -> None:
        for server in self.masters():
            await asyncio.to_thread(server.command, "SCRIPT", "FLUSH")

    async def drop_clients(self) -> None:
        for server in self.masters():
            await asyncio.to_thread(server.command, "CLIENT", "KILL", "TYPE", "NORMAL")

    def masters(self) -> list[RedisServer]:
        return [server for server in self.servers if server.info("role") == "master"]

    # ---- helpers -------------------------------------------------------------------------------

    def _write_everything(self, server: RedisServer) -> None:
        for name, value in _WRITES.items():
            server.command("CONFIG", "SET", name, value)
        eventually(partial(_writes_in_place, server), "writing its file")

    def _history(self, server: RedisServer) -> History:
        return self._histories.setdefault(server.port, History())

    def _take(self, server: RedisServer) -> None:
        """Of a dead server: what it had, and then it has nothing."""
        self._history(server).take(server.folder / "appendonlydir")
        (server.folder / "dump.rdb").unlink(missing_ok=True)

    def _revive(self, server: RedisServer, master: RedisServer | None) -> None:
        """Start a dead server again, as an empty replica of ``master``."""
        self._take(server)
        server.start()
        self._write_everything(server)
        if master is not None:
            server.command("REPLICAOF", "127.0.0.1", master.port)
        eventually(partial(_follows, server), "a replica")


class Standalone(Stand):
    """One server that keeps all that it acknowledged."""

    def start(self) -> None:
        self._made = standalone(persist=True)
        self._server = self._made.__enter__()

    def close(self) -> None:
        self._made.__exit__(None, None, None)

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
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(self._rng.uniform(0.0, 1.0))
        await asyncio.to_thread(self._server.start)

    def masters(self) -> list[RedisServer]:
        return [self._server]

    def histories(self) -> list[tuple[History, History]]:
        self._server.kill()
        self._take(self._server)
        history = self._history(self._server)
        return [(history, history)]


class Sentinel(Stand):
    def start(self) -> None:
        self._group = SentinelGroup()
        self._group.start()
        for server in self._group.servers:
            self._write_everything(server)

    def close(self) -> None:
        self._group.close()

    @property
    def ports(self) -> Sequence[int]:
        return (*self._group.ports, *(server.port for server in self._group.servers))

    @property
    def servers(self) -> Sequence[RedisServer]:
        return self._group.servers

    def url(self, shown: Callable[[int], int]) -> str:
        hosts = ",".join(f"127.0.0.1:{shown(port)}" for port in self._group.ports)
        return f"redis+sentinel://{hosts}/{self._group.name}"

    def faults(self) -> dict[str, Fault]:
        return {
            "redis stopped": self.pause,
            "scripts flushed": self.forget_scripts,
            "redis connections killed": self.drop_clients,
            "failover: master killed": self._kill,
            "failover: master stopped": self._stop,
            "failover: ordered": self._order,
        }

    async def _kill(self) -> None:
        await asyncio.to_thread(self._fail_over, RedisServer.kill)

    async def _stop(self) -> None:
        """The old master comes back and, for a moment, believes that it still is the master."""
        await asyncio.to_thread(self._fail_over, RedisServer.pause)

    def _fail_over(self, how: Callable[[RedisServer], None]) -> None:
        old = self._group.master
        how(old)
        new = self._group.wait_for_failover(old)
        if how is RedisServer.kill:
            self._revive(old, new)
        else:
            self._settled()  # else whoever asks a Sentinel that has not heard yet is sent to it
            old.resume()
            eventually(partial(_follows, old), "a replica")
        self._settled()

    async def _order(self) -> None:
        await asyncio.to_thread(self._ordered)

    def _ordered(self) -> None:
        old = self._group.master
        eventually(lambda: self._ask("FAILOVER") == b"OK", "ordered")
        self._group.wait_for_failover(old)
        eventually(partial(_follows, old), "a replica")
        self._settled()

    def _ask(self, question: str) -> Any:
        try:
            return self._group._ask(self._group.ports[0], question)
        except RedisError as error:
            return error

    def _settled(self) -> None:
        """Every Sentinel names the same master, else the next failover begins with a quarrel."""
        eventually(lambda: len({self._named(port) for port in self._group.ports}) == 1, "agreed")

    def _named(self, port: int) -> bytes:
        return bytes(self._group._ask(port, "GET-MASTER-ADDR-BY-NAME")[1])

    def histories(self) -> list[tuple[History, History]]:
        master = self._group.master
        others = [server for server in self.servers if server is not master]
        for server in (master, *others):
            server.kill()
            self._take(server)
        return [(self._history(master), self._history(other)) for other in others]


class Cluster(Stand):
    def start(self) -> None:
        self._cluster = RedisCluster(masters=3, replicas=1)
        self._cluster.start()
        for server in self._cluster.nodes:
            self._write_everything(server)
        self._shards = list(zip(self._cluster.masters, self._cluster.replicas, strict=True))

    def close(self) -> None:
        self._cluster.close()

    @property
    def ports(self) -> Sequence[int]:
        return [server.port for server in self.servers]

    @property
    def servers(self) -> Sequence[RedisServer]:
        return self._cluster.nodes

    def url(self, shown: Callable[[int], int]) -> str:
        hosts = ",".join(f"127.0.0.1:{shown(node.port)}" for node in self._cluster.masters)
        return f"redis+cluster://{hosts}"

    def faults(self) -> dict[str, Fault]:
        return {
            "redis stopped": self.pause,
            "scripts flushed": self.forget_scripts,
            "redis connections killed": self.drop_clients,
            "failover: master killed": self._kill,
            "failover: ordered": self._order,
            "slots moved": self._move,
        }

    async def _kill(self) -> None:
        await asyncio.to_thread(self._killed)

    def _killed(self) -> None:
        old, new = self._rng.choice(self._by_role())
        old.kill()
        eventually(lambda: new.info("role") == "master", "promoted")
        self._take(old)
        old.start()
        self._write_everything(old)
        self._healed(old)

    async def _order(self) -> None:
        await asyncio.to_thread(self._ordered)

    def _ordered(self) -> None:
        old, new = self._rng.choice(self._by_role())
        new.command("CLUSTER", "FAILOVER")
        eventually(lambda: new.info("role") == "master", "promoted")
        self._healed(old)

    def _healed(self, old: RedisServer) -> None:
        eventually(partial(_follows, old), "a replica")
        eventually(lambda: all(map(self._cluster._is_ok, self.servers)), "agreed")

    def _by_role(self) -> list[tuple[RedisServer, RedisServer]]:
        """(master, replica) of each shard, as they are now."""
        return [
            (one, two) if one.info("role") == "master" else (two, one) for one, two in self._shards
        ]

    async def _move(self) -> None:
        """A few of the slots that the buckets are in go to another shard, each in two halves with
        a pause in between: ASK, and TRYAGAIN where a script's keys are on both sides."""
        for slot in self._rng.sample(_SLOTS, 4):
            await self._move_one(slot)

    async def _move_one(self, slot: int) -> None:
        masters = await asyncio.to_thread(self.masters)
        source = await asyncio.to_thread(self._cluster.owner, slot)
        target = self._rng.choice([m for m in masters if m is not source])
        await asyncio.to_thread(self._cluster.begin_move, slot, target)
        half = int(await asyncio.to_thread(source.command, "CLUSTER", "COUNTKEYSINSLOT", slot)) // 2
        await asyncio.to_thread(self._cluster.move_keys, slot, source, target, max(1, half))
        await asyncio.sleep(self._rng.uniform(0.05, 0.3))
        while await asyncio.to_thread(self._cluster.move_keys, slot, source, target, 100):
            pass
        for node in (target, *(m for m in masters if m is not target)):
            await asyncio.to_thread(
                node.command, "CLUSTER", "SETSLOT", slot, "NODE", self._cluster.node_id(target)
            )

    def histories(self) -> list[tuple[History, History]]:
        shards = self._by_role()
        for server in self.servers:
            server.kill()
            self._take(server)
        return [(self._history(master), self._history(other)) for master, other in shards]


def _follows(server: RedisServer) -> bool:
    """A replica that has its master's data, in its file too."""
    return server.info("role") == "slave" and server.is_in_step() and _writes_in_place(server)


def _writes_in_place(server: RedisServer) -> bool:
    """Its file is whole. While it is made anew, what is written goes to a temporary one."""
    return not any((server.folder / "appendonlydir").glob("temp-*"))


STANDS: Final[dict[str, type[Stand]]] = {
    "standalone": Standalone,
    "sentinel": Sentinel,
    "cluster": Cluster,
}
