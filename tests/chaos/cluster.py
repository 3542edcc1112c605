"""Three shards of two. Law: a fault ends when every node agrees on who serves what."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from redis.crc import key_slot

from proxy.core.keys import BUCKETS
from tests.chaos.history import History
from tests.chaos.stand import Fault, Stand, follows
from tests.chaos.threads import in_thread
from tests.fakes.redis_server import RedisCluster, RedisServer, eventually

_SLOTS: Final = [key_slot(b"%02x" % bucket) for bucket in range(BUCKETS)]


class Cluster(Stand):
    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._cluster = RedisCluster(masters=3, replicas=1)

    def start(self) -> None:
        self._cluster.start()
        for server in self._cluster.nodes:
            self.write_everything(server)
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
        await in_thread(self._killed)

    def _killed(self) -> None:
        old, new = self.rng.choice(self._by_role())
        old.kill()
        eventually(lambda: new.info("role") == "master", "promoted")
        self.take(old)
        old.start()
        self.write_everything(old)
        self._healed(old)

    async def _order(self) -> None:
        await in_thread(self._ordered)

    def _ordered(self) -> None:
        old, new = self.rng.choice(self._by_role())
        new.command("CLUSTER", "FAILOVER")
        eventually(lambda: new.info("role") == "master", "promoted")
        self._healed(old)

    def _healed(self, old: RedisServer) -> None:
        eventually(partial(follows, old), "a replica")
        eventually(lambda: all(map(self._cluster._is_ok, self.servers)), "agreed")

    def _by_role(self) -> list[tuple[RedisServer, RedisServer]]:
        """(master, replica) of each shard, as they are now."""
        return [
            (one, two) if one.info("role") == "master" else (two, one) for one, two in self._shards
        ]

    async def _move(self) -> None:
        """A few of the slots that the buckets are in go to another shard, each in two halves with
        a pause in between: ASK, and TRYAGAIN where a script's keys are on both sides."""
        for slot in self.rng.sample(_SLOTS, 4):
            await self._move_one(slot)

    async def _move_one(self, slot: int) -> None:
        masters = await in_thread(self.masters)
        source = await in_thread(self._cluster.owner, slot)
        target = self.rng.choice([m for m in masters if m is not source])
        await in_thread(self._cluster.begin_move, slot, target)
        half = int(await in_thread(source.command, "CLUSTER", "COUNTKEYSINSLOT", slot)) // 2
        await in_thread(self._cluster.move_keys, slot, source, target, max(1, half))
        await asyncio.sleep(self.rng.uniform(0.05, 0.3))
        while await in_thread(self._cluster.move_keys, slot, source, target, 100):
            pass
        for node in (target, *(m for m in masters if m is not target)):
            await in_thread(
                node.command, "CLUSTER", "SETSLOT", slot, "NODE", self._cluster.node_id(target)
            )

    def histories(self) -> list[tuple[History, History]]:
        shards = self._by_role()
        for server in self.servers:
            server.kill()
            self.take(server)
        return [(self.history(master), self.history(other)) for master, other in shards]
