"""The master that the Sentinels name. Law: what they say later is truer; nothing is written to a
master of which they have said that another took its place.

It is asked for its role when it is connected, and looked for again when it is lost or says that it
is a master no more. That is not enough: a master that was replaced while it lives is told so only
seconds later, and what it takes until then is lost. So the Sentinels are asked again and again,
and a replaced master is left at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import hiredis

from proxy.errors import StoreUnavailable
from proxy.store.link import Access, Address, Link, connection, open_pipe
from proxy.store.pipe import Pipe, PipeLost, pack

LOOK_EVERY: Final = 0.5
_ROLE: Final = pack(b"ROLE")


@dataclass(frozen=True, slots=True)
class Named:
    """Who is the master. ``epoch``: of the failover that made it so; a higher one is later."""

    address: Address
    epoch: int


class Sentinels:
    sharded = False
    kind = "sentinel"

    def __init__(self, access: Access, sentinels: Sequence[Address], master: str, db: int) -> None:
        self._access = access
        self._sentinels = list(sentinels)
        self._db = db
        self._master = master
        self._who = pack(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", master)
        self._state = pack(b"SENTINEL", b"MASTER", master)
        self._link = Link(self._dial)
        self.only = self._link
        self._here: tuple[Address, Pipe] | None = None
        self._epoch = 0
        self._said: dict[Address, Address] = {}
        self._looking: asyncio.Task[None] | None = None

    async def call(self, bucket: int, command: bytes, load: bytes | None = None) -> Any:  # noqa: ARG002
        return await self._link.call(command, load=load)

    async def links(self) -> Sequence[Link]:
        return (self._link,)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))
        await self._link.close()

    async def _dial(self) -> Pipe:
        problems: list[str] = []
        behind: list[Named] = []
        answered = 0
        for sentinel in tuple(self._sentinels):
            try:
                named = await self._locate(sentinel)
            except (StoreUnavailable, PipeLost) as error:
                problems.append(f"{sentinel[0]}:{sentinel[1]}: {error}")
                continue
            answered += 1
            if named.epoch < self._epoch:
                behind.append(named)
                problems.append(f"{sentinel[0]}:{sentinel[1]}: has not heard of the last failover")
            elif pipe := await self._connect(named, problems):
                self._trust(sentinel)
                return pipe
        if len(behind) == answered:  # nobody knows of that failover: they were all made anew
            for named in behind:
                if pipe := await self._connect(named, problems):
                    return pipe
        raise StoreUnavailable("no sentinel led to a master: " + "; ".join(problems))

    async def _connect(self, named: Named, problems: list[str]) -> Pipe | None:
        """A connection to it, where it is a master as far as it knows."""
        where = f"{named.address[0]}:{named.address[1]}"
        try:
            pipe = await open_pipe(
                connection(self._access, named.address, self._db), self._access.timeout
            )
            role = await _reply(pipe, _ROLE)
        except (StoreUnavailable, PipeLost) as error:
            problems.append(f"{where}: {error}")
            return None
        if not isinstance(role, list) or role[0] != b"master":
            pipe.abort("not a master")
            problems.append(f"{where} is not a master")
            return None
        self._epoch = named.epoch
        self._here = named.address, pipe
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return pipe

    def _trust(self, sentinel: Address) -> None:
        """It is asked first the next time."""
        self._sentinels.remove(sentinel)
        self._sentinels.insert(0, sentinel)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for sentinel in tuple(self._sentinels):
                try:
                    before = self._said.get(sentinel)
                    named = await self._locate(sentinel)
                except (StoreUnavailable, PipeLost):
                    continue
                if self._here is not None and self._is_news(before, named, self._here[0]):
                    self._trust(sentinel)
                    self._epoch = max(self._epoch, named.epoch)
                    self._here[1].abort("the sentinels name another master")
                    break

    def _is_news(self, before: Address | None, named: Named, here: Address) -> bool:
        """While a failover is under way its epoch is not told yet, but who says another than
        before has heard of it."""
        if named.address == here:
            return False
        return named.epoch > self._epoch or (named.epoch == self._epoch and before == here)

    async def _locate(self, sentinel: Address) -> Named:
        """Most Sentinels have no password, and refuse one."""
        access = self._access
        open_access = Access(None, None, access.tls, access.ca_file, access.timeout)
        who: Any = None
        for attempt in (open_access, access):
            pipe = await open_pipe(connection(attempt, sentinel), access.timeout)
            who = await _reply(pipe, self._who)
            state = await _reply(pipe, self._state)
            pipe.abort("asked")
            if isinstance(who, list):
                address = who[0].decode(), int(who[1])
                self._said[sentinel] = address
                return Named(address, _epoch(state))
            if not (isinstance(who, hiredis.ReplyError) and str(who).startswith("NOAUTH")):
                break
        raise StoreUnavailable(f"does not know the master {self._master!r}: {who}")


def _epoch(state: Any) -> int:
    """0 where the Sentinel does not tell: some are allowed to name the master and no more."""
    if not isinstance(state, list):
        return 0
    return int(dict(zip(state[::2], state[1::2], strict=False)).get(b"config-epoch", 0))


async def _reply(pipe: Pipe, command: bytes) -> Any:
    try:
        return await pipe.send(command)
    except BaseException:
        pipe.abort("nobody waits")
        raise
