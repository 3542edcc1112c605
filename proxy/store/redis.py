"""The Redis store: the transition table as Lua scripts, one round trip for a whole batch.

Law: the scripts decide, this module carries. It holds no state of any record. Large claims
go by plain commands where the script would do no more (``plain.py``).

On a sharded store a request's keys go out as one script call a bucket, together; where some of
the shards fail, only their keys have no answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from proxy.core import codec
from proxy.core.record import Record, Settlement, Terms
from proxy.errors import StoreUnavailable
from proxy.store import wire
from proxy.store.base import Claims, Settles, StoreInfo
from proxy.store.evalsha import Script, SlotMoves, checked
from proxy.store.pipe import pack
from proxy.store.plain import PlainClaims
from proxy.store.probe import probe
from proxy.store.receive import Mapped, Receiver
from proxy.store.scripts import SHARED_KEYS, ScriptCalls
from proxy.store.topology import Topology

MAX_KEYS: Final = 512
"""Of one script call: Redis does nothing else meanwhile."""

_T = TypeVar("_T")
_Group = tuple[int, Sequence[int]]
"""A bucket, and the indexes of the keys that go there in one call."""
_One = Callable[[int, Sequence[int], bool], Awaitable[Sequence[_T]]]
"""Asks for one group; the last argument: in a call of its own."""
_Packing = Callable[[Sequence[_T], bytes, Terms], wire.Arguments]


class RedisStore:
    """``prefix`` is the keys' own; buckets are read from behind it. Of as many keys as
    ``plain_from`` or more, claims go by plain commands."""

    def __init__(
        self,
        topology: Topology,
        prefix: str,
        timeout: float,
        plain_from: int = SHARED_KEYS // 2 + 1,
    ) -> None:
        self._topology = topology
        self._scripts = ScriptCalls(topology)
        # A little less than what the whole call has: one shard that hangs costs the others nothing.
        self._shard_timeout = 0.9 * timeout
        self._prefix = prefix
        self._bucket_at = len(prefix.encode()) + 2
        self._claim = Script.of(wire.CLAIM_SCRIPT, b"W")
        # Claims come as the requests do, by the handful; what the service answers comes one by one.
        # Waiting for three turns, which are microseconds where nothing else is to be done, takes
        # a tenth off what a single new item costs.
        self._settle = Script.of(wire.SETTLE_SCRIPT, b"A", turns=3, gives_way=True)
        self._plain = PlainClaims(topology, self._scripts, self._claim, plain_from)
        self._late: set[asyncio.Future[Any]] = set()

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Claims:
        if self._is_one_call(keys):
            told: asyncio.Future[Claims] = asyncio.get_running_loop().create_future()
            if self._plain.ask(keys, fingerprints, token, terms, told):
                return await told
        asked = self._run(self._claim, wire.pack_claims, keys, fingerprints, token, terms)
        return self._read_claims(await asked)

    def ask_claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
        to: Receiver[Claims],
    ) -> bool:
        if not self._is_one_call(keys):
            return False
        if self._plain.ask(keys, fingerprints, token, terms, to):
            return True
        arguments = wire.pack_claims(fingerprints, token, terms)
        self._scripts.ask(self._claim, keys, arguments, Mapped(to, self._read_claims))
        return True

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> Settles:
        asked = self._run(self._settle, wire.pack_settles, keys, steps, token, terms)
        return wire.read_settles(await asked)

    def ask_settle(
        self,
        keys: Sequence[bytes],
        steps: Sequence[Settlement],
        token: bytes,
        terms: Terms,
        to: Receiver[Settles],
    ) -> bool:
        if not self._is_one_call(keys):
            return False
        arguments = wire.pack_settles(steps, token, terms)
        self._scripts.ask(self._settle, keys, arguments, Mapped(to, wire.read_settles))
        return True

    def wake(self) -> None:
        self._plain.wake()

    def _read_claims(self, replies: wire.Replies) -> Claims:
        if replies:
            self._plain.learn(replies[0] == b"W", len(replies))
        return wire.read_claims(replies)

    def _is_one_call(self, keys: Sequence[bytes]) -> bool:
        return self._topology.only is not None and 0 < len(keys) <= MAX_KEYS

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        async def one(bucket: int, indexes: Sequence[int], alone: bool) -> list[bytes | None]:  # noqa: ARG001
            command = pack(b"MGET", *_pick(keys, indexes))
            reply = await self._topology.call(bucket, command)
            values: list[bytes | None] = checked(reply, len(indexes))
            return values

        values = await self._each(keys, one)
        return codec.decode_each(values, _record)

    async def scan(self, cursor: str = "", count: int = 1000) -> tuple[str, list[bytes]]:
        """A cursor is the number of the master and that master's own."""
        index, _, position = (cursor or "0:0").partition(":")
        links = await self._topology.links()
        pattern = re.sub(r"([\\*?\[\]^-])", r"\\\1", self._prefix) + ":{*}:v1:*"
        command = pack(b"SCAN", position, b"MATCH", pattern, b"COUNT", count)
        following, keys = checked(await links[int(index)].call(command), 2)
        if following != b"0":
            return f"{index}:{following.decode()}", keys
        more = int(index) + 1 < len(links)
        return (f"{int(index) + 1}:0" if more else ""), keys

    async def probe(self) -> StoreInfo:
        return await probe(self._topology, f"{self._prefix}:{{00}}:v1:probe".encode(), self)

    async def close(self) -> None:
        for late in tuple(self._late):
            late.cancel()
        await self._scripts.close()
        await self._topology.close()

    def _run(
        self,
        script: Script,
        packing: _Packing[_T],
        keys: Sequence[bytes],
        items: Sequence[_T],
        token: bytes,
        terms: Terms,
    ) -> Awaitable[wire.Replies]:
        if self._is_one_call(keys):
            return self._scripts.run(script, 0, keys, packing(items, token, terms))

        def one(bucket: int, indexes: Sequence[int], alone: bool) -> Awaitable[list[bytes]]:
            arguments = packing(_pick(items, indexes), token, terms)
            return self._scripts.run(script, bucket, _pick(keys, indexes), arguments, alone=alone)

        return self._each(keys, one)

    async def _each(self, keys: Sequence[bytes], one: _One[_T]) -> list[_T | StoreUnavailable]:
        """Every key's answer, in order; raises where none of them has one. A bucket whose slot is
        between two nodes is asked key by key: a single key is always on one of them."""
        groups = self._groups(keys)
        if len(groups) == 1 and not self._topology.sharded:
            return list(await one(*groups[0], False))
        answers = await self._within([one(*group, False) for group in groups])
        placed = list(zip(groups, answers, strict=True))
        alone = [
            (bucket, (index,))
            for (bucket, indexes), answer in placed
            if isinstance(answer, SlotMoves)
            for index in indexes
        ]
        if alone:
            placed = [pair for pair in placed if not isinstance(pair[1], SlotMoves)]
            answers = await self._within([one(*group, True) for group in alone])
            placed += zip(alone, answers, strict=True)
        return _in_order(len(keys), placed)

    async def _within(self, calls: Iterable[Awaitable[_T]]) -> list[_T | BaseException]:
        """The result or exception of each. What takes too long goes on by itself: how it ends
        tells whether its shard is there."""
        tasks = [asyncio.ensure_future(call) for call in calls]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self._shard_timeout)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        return [self._outcome(task) for task in tasks]

    def _outcome(self, task: asyncio.Future[Any]) -> Any:
        if not task.done():
            self._late.add(task)
            task.add_done_callback(self._ended)
            return StoreUnavailable("this shard did not answer in time")
        return task.exception() or task.result()

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # told already, as a timeout

    def _groups(self, keys: Sequence[bytes]) -> list[_Group]:
        if not self._topology.sharded:
            whole = range(len(keys))
            return [(0, whole[at : at + MAX_KEYS]) for at in range(0, len(keys), MAX_KEYS)]
        buckets: dict[int, list[int]] = {}
        at = self._bucket_at
        for index, key in enumerate(keys):
            buckets.setdefault(int(key[at : at + 2], 16), []).append(index)
        return [
            (bucket, indexes[at : at + MAX_KEYS])
            for bucket, indexes in buckets.items()
            for at in range(0, len(indexes), MAX_KEYS)
        ]


def _record(value: bytes | _T) -> Record | _T:
    return codec.decode(value) if isinstance(value, bytes) else value


def _pick(values: Sequence[_T], indexes: Sequence[int]) -> Sequence[_T]:
    if len(indexes) == len(values):
        return values
    if isinstance(indexes, range):
        return values[indexes.start : indexes.stop]
    return [values[i] for i in indexes]


def _in_order(
    count: int, placed: Sequence[tuple[_Group, Sequence[_T] | BaseException]]
) -> list[_T | StoreUnavailable]:
    by_index: dict[int, _T | StoreUnavailable] = {}
    failed = 0
    for (_, indexes), answer in placed:
        if isinstance(answer, StoreUnavailable):
            failed += 1
            by_index.update(dict.fromkeys(indexes, answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            by_index.update(zip(indexes, answer, strict=True))
    if failed and failed == len(placed):
        raise next(answer for _, answer in placed if isinstance(answer, StoreUnavailable))
    return [by_index[index] for index in range(count)]
