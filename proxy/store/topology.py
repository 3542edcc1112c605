"""Where the keys live: one server, the master that Sentinels name, or the shards of a Cluster.

Law: a topology takes a packed command to the node that serves a bucket and hands back its reply,
error replies included. ``StoreUnavailable`` where no node answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

import hiredis
from redis.crc import key_slot

from proxy.core.keys import BUCKETS
from proxy.errors import StoreUnavailable
from proxy.store.breaker import Breaker
from proxy.store.link import Access, Address, Link, connection, open_pipe, shared
from proxy.store.pipe import pack

_REDIRECTIONS: Final = 8
_SLOTS: Final = pack(b"CLUSTER", b"SLOTS")


class Topology(Protocol):
    kind: str
    sharded: bool
    """True: a command's keys must be of one bucket."""

    @property
    def only(self) -> Link | None:
        """Where every key is; None where that depends on its bucket."""

    async def call(self, bucket: int, command: bytes, load: bytes | None = None) -> Any:
        """Send to the node that serves ``bucket``; ``load`` goes first on the same connection."""

    async def links(self) -> Sequence[Link]:
        """Every master."""

    async def close(self) -> None: ...


class Single:
    """One server by TCP, TLS or unix socket."""

    sharded = False

    def __init__(self, access: Access, where: Address | str, db: int) -> None:
        self.kind = "standalone"
        self._link = Link(lambda: open_pipe(connection(access, where, db), access.timeout))
        self.only = self._link

    async def call(self, bucket: int, command: bytes, load: bytes | None = None) -> Any:  # noqa: ARG002
        return await self._link.call(command, load=load)

    async def links(self) -> Sequence[Link]:
        return (self._link,)

    async def close(self) -> None:
        await self._link.close()


class Cluster:
    """The shards of a Redis Cluster. A bucket's slot is fixed by its hash tag; which node serves it
    is learned from CLUSTER SLOTS and from redirections."""

    kind = "cluster"
    sharded = True
    only = None

    def __init__(self, access: Access, seeds: Sequence[Address]) -> None:
        self._access = access
        self._seeds = list(seeds)
        self._links: dict[Address, Link] = {}
        self._breakers: dict[Address, Breaker] = {}
        self._slots = [key_slot(b"%02x" % bucket) for bucket in range(BUCKETS)]
        self._owners: list[Address | None] = [None] * BUCKETS
        self._masters: list[Address] = []
        self._learning: asyncio.Task[None] | None = None

    async def call(self, bucket: int, command: bytes, load: bytes | None = None) -> Any:
        """Follows redirections. A reply of TRYAGAIN is the caller's: the slot is on its way from
        one node to another, and of the command's keys each has some."""
        owner = self._owners[bucket]
        if owner is None:
            await self._learn()
            owner = self._owners[bucket]
        if owner is None:
            raise StoreUnavailable(f"no node of the cluster serves slot {self._slots[bucket]}")
        asking = False
        reply: Any = None
        for _ in range(_REDIRECTIONS):
            reply = await self._ask(bucket, owner, command, load=load, asking=asking)
            if not isinstance(reply, hiredis.ReplyError):
                return reply
            word, _, rest = str(reply).partition(" ")
            if word == "CLUSTERDOWN":
                self._owners[bucket] = None
            if word not in {"MOVED", "ASK"}:
                return reply
            asking = word == "ASK"
            owner = self._address(rest.split(" ")[1], owner)
            if not asking:
                self._owners[bucket] = owner
                self._learn_soon()
        return reply

    async def _ask(
        self, bucket: int, owner: Address, command: bytes, *, load: bytes | None, asking: bool
    ) -> Any:
        """One node, behind a breaker of its own: the other shards go on meanwhile."""
        clock = asyncio.get_running_loop().time
        breaker = self._breakers.setdefault(owner, Breaker())
        if not breaker.admit(clock()):
            self._owners[bucket] = None
            raise StoreUnavailable(f"{owner[0]}:{owner[1]} is taken to be down")
        try:
            reply = await self._link(owner).call(command, load=load, asking=asking)
        except StoreUnavailable:
            breaker.failed(clock())
            self._owners[bucket] = None  # its replica may be promoted: ask the others
            raise
        except BaseException:
            breaker.abandoned()
            raise
        breaker.succeeded()
        return reply

    async def links(self) -> Sequence[Link]:
        await self._learn()
        return [self._link(address) for address in self._masters]

    async def close(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait((self._learning,))
        for link in self._links.values():
            await link.close()

    def _link(self, address: Address) -> Link:
        link = self._links.get(address)
        if link is None:
            link = Link(lambda: open_pipe(connection(self._access, address), self._access.timeout))
            self._links[address] = link
        return link

    @staticmethod
    def _address(text: str, asked: Address) -> Address:
        """A node that does not know its own name gives none: it is where the answer came from."""
        host, _, port = text.rpartition(":")
        return host or asked[0], int(port)

    def _learn_soon(self) -> None:
        if self._learning is None:
            self._learning = asyncio.create_task(self._learn_slots())
            self._learning.add_done_callback(self._learned)

    def _learned(self, task: asyncio.Task[None]) -> None:
        self._learning = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may have

    async def _learn(self) -> None:
        self._learn_soon()
        if self._learning is not None:
            await shared(self._learning)

    async def _learn_slots(self) -> None:
        problems = []
        for address in dict.fromkeys((*self._masters, *self._seeds)):
            try:
                reply = await self._link(address).call(_SLOTS)
            except StoreUnavailable as error:
                problems.append(f"{address[0]}:{address[1]}: {error}")
                continue
            if isinstance(reply, list) and reply:
                await self._take(reply, address)
                return
            problems.append(f"{address[0]}:{address[1]}: {reply or 'serves no slot'}")
        raise StoreUnavailable("no node told the cluster's slots: " + "; ".join(problems))

    async def _take(self, ranges: list[Any], asked: Address) -> None:
        masters: dict[Address, None] = {}
        for first, last, (host, port, *_), *_ in ranges:
            address = ((host or b"").decode() or asked[0], int(port))
            masters[address] = None
            for bucket, slot in enumerate(self._slots):
                if first <= slot <= last:
                    self._owners[bucket] = address
        self._masters = list(masters)
        for address in set(self._links).difference(self._masters, self._seeds):
            await self._links.pop(address).close()
