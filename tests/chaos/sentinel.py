"""A master, its replica and three Sentinels. Law: a fault ends when all three agree again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from tests.chaos.history import History
from tests.chaos.stand import Fault, Stand, follows
from tests.chaos.threads import in_thread
from tests.fakes.redis_server import RedisServer, SentinelGroup, eventually


class Sentinel(Stand):
    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._group = SentinelGroup()

    def start(self) -> None:
        self._group.start()
        for server in self._group.servers:
            self.write_everything(server)

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
        await in_thread(self._fail_over, RedisServer.kill)

    async def _stop(self) -> None:
        """The old master comes back and, for a moment, believes that it still is the master."""
        await in_thread(self._fail_over, RedisServer.pause)

    def _fail_over(self, how: Callable[[RedisServer], None]) -> None:
        old = self._group.master
        how(old)
        new = self._group.wait_for_failover(old)
        if how is RedisServer.kill:
            self.revive(old, new)
        else:
            self._settled()  # else whoever asks a Sentinel that has not heard yet is sent to it
            old.resume()
            eventually(partial(follows, old), "a replica")
        self._settled()

    async def _order(self) -> None:
        await in_thread(self._ordered)

    def _ordered(self) -> None:
        old = self._group.master
        eventually(lambda: self._ask("FAILOVER") == b"OK", "ordered")
        self._group.wait_for_failover(old)
        eventually(partial(follows, old), "a replica")
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
            self.take(server)
        return [(self.history(master), self.history(other)) for other in others]
