"""The Redis store: the transition table as Lua scripts, one round trip for a whole batch.

Law: the scripts decide, this module carries. It holds no state of any record.

Small calls that are made in the same turn of the event loop share one script call: what a call
costs a Redis and a client is mostly the call. Large ones go alone, so that they do not delay
each other. On a sharded store a request's keys go out as one script call a bucket, together.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final, TypeVar

import hiredis

from proxy.core import codec
from proxy.core.record import Claim, ClaimReply, Record, Settlement, SettleReply, Terms
from proxy.errors import StoreUnavailable
from proxy.store import wire
from proxy.store.base import StoreInfo
from proxy.store.pipe import pack
from proxy.store.probe import probe
from proxy.store.topology import Topology

MAX_KEYS: Final = 512
"""Of one script call: Redis does nothing else meanwhile."""

SHARED_KEYS: Final = 128
"""Of a script call that several requests share."""


@dataclass(frozen=True, slots=True)
class _Script:
    sha: bytes
    load: bytes

    @classmethod
    def of(cls, text: str) -> _Script:
        source = text.encode()
        digest = sha1(source, usedforsecurity=False).hexdigest().encode()
        return cls(digest, pack(b"SCRIPT", b"LOAD", source))


@dataclass(slots=True)
class _Part:
    """A request's keys of one bucket. ``fields`` and ``values`` are the script's arguments."""

    keys: Sequence[bytes]
    fields: bytes
    values: Sequence[bytes]
    replies: asyncio.Future[list[bytes]]


class RedisStore:
    """``prefix`` is the keys' own; buckets are read from behind it."""

    def __init__(self, topology: Topology, prefix: str) -> None:
        self._topology = topology
        self._prefix = prefix
        self._bucket_at = len(prefix.encode()) + 2
        self._claim = _Script.of(wire.CLAIM_SCRIPT)
        self._settle = _Script.of(wire.SETTLE_SCRIPT)
        self._pending: dict[tuple[bytes, int], tuple[_Script, list[_Part]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def claim(
        self, keys: Sequence[bytes], claims: Sequence[Claim], token: bytes, terms: Terms
    ) -> list[ClaimReply | StoreUnavailable]:
        def arguments(indexes: Sequence[int]) -> tuple[bytes, Sequence[bytes]]:
            return wire.pack_claims(_pick(claims, indexes), token, terms), ()

        return wire.read_claims(await self._run(self._claim, keys, arguments))

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        def arguments(indexes: Sequence[int]) -> tuple[bytes, Sequence[bytes]]:
            return wire.pack_settles(_pick(steps, indexes), token, terms)

        return wire.read_settles(await self._run(self._settle, keys, arguments))

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        async def one(bucket: int, indexes: Sequence[int]) -> list[bytes | None]:
            command = pack(b"MGET", *_pick(keys, indexes))
            values: list[bytes | None] = _checked(
                await self._topology.call(bucket, command), len(indexes)
            )
            return values

        groups = self._groups(keys)
        answers = await asyncio.gather(*(one(*group) for group in groups), return_exceptions=True)
        values = _in_order(len(keys), [indexes for _, indexes in groups], answers)
        return [codec.decode(value) if isinstance(value, bytes) else value for value in values]

    async def scan(self, cursor: str = "", count: int = 1000) -> tuple[str, list[bytes]]:
        """A cursor is the number of the master and that master's own."""
        index, _, position = (cursor or "0:0").partition(":")
        links = await self._topology.links()
        pattern = f"{_literal(self._prefix)}:{{*}}:v1:*"
        command = (b"SCAN", position, b"MATCH", pattern, b"COUNT", count)
        reply = await links[int(index)].call(pack(*command))
        following, keys = _checked(reply, 2)
        if following != b"0":
            return f"{index}:{following.decode()}", keys
        more = int(index) + 1 < len(links)
        return (f"{int(index) + 1}:0" if more else ""), keys

    async def probe(self) -> StoreInfo:
        return await probe(self._topology, f"{self._prefix}:{{00}}:v1:probe".encode(), self)

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        await self._topology.close()

    async def _run(self, script: _Script, keys: Sequence[bytes], arguments: _Pack) -> wire.Replies:
        """Every key's reply, in order; raises where no part of them had an answer."""
        groups = self._groups(keys)
        if len(groups) == 1:
            return await self._part(script, groups[0][0], keys, arguments(groups[0][1]))
        waits = [
            self._part(script, bucket, _pick(keys, indexes), arguments(indexes))
            for bucket, indexes in groups
        ]
        answers = await asyncio.gather(*waits, return_exceptions=True)
        return _in_order(len(keys), [indexes for _, indexes in groups], answers)

    def _groups(self, keys: Sequence[bytes]) -> list[tuple[int, Sequence[int]]]:
        """What goes together: (bucket, the keys' indexes); one bucket where one server has all."""
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

    def _part(
        self, script: _Script, bucket: int, keys: Sequence[bytes], packed: _Packed
    ) -> Awaitable[list[bytes]]:
        part = _Part(keys, *packed, asyncio.get_running_loop().create_future())
        if len(keys) > SHARED_KEYS // 2:
            return self._call(script, bucket, (part,))
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pending.setdefault((script.sha, bucket), (script, []))[1].append(part)
        return part.replies

    def _flush(self) -> None:
        """What this turn of the loop collected goes out, first come, first packed."""
        pending, self._pending = self._pending, {}
        for (_, bucket), (script, parts) in pending.items():
            shared: list[_Part] = []
            size = 0
            for part in parts:
                if part.replies.done():
                    continue  # its caller is gone and nothing was sent
                if size + len(part.keys) > SHARED_KEYS:
                    self._start(script, bucket, shared)
                    shared, size = [], 0
                shared.append(part)
                size += len(part.keys)
            if shared:
                self._start(script, bucket, shared)

    def _start(self, script: _Script, bucket: int, parts: Sequence[_Part]) -> None:
        task = asyncio.create_task(self._share(script, bucket, parts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _share(self, script: _Script, bucket: int, parts: Sequence[_Part]) -> None:
        """One call for all of the parts; each gets its own replies, or its own exception."""
        problem = "the store is closed"
        try:
            replies = await self._call(script, bucket, parts)
        except StoreUnavailable as error:
            problem = str(error)
        else:
            at = 0
            for part in parts:
                if not part.replies.done():
                    part.replies.set_result(replies[at : at + len(part.keys)])
                at += len(part.keys)
        finally:
            for part in parts:
                if not part.replies.done():
                    part.replies.set_exception(StoreUnavailable(problem))

    async def _call(self, script: _Script, bucket: int, parts: Sequence[_Part]) -> list[bytes]:
        keys = [key for part in parts for key in part.keys]
        fields = b"".join([part.fields for part in parts])
        values = b"".join([value for part in parts for value in part.values])
        command = pack(b"EVALSHA", script.sha, len(keys), *keys, fields, values)
        reply = await self._topology.call(bucket, command)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            # A flush, a restart or a promoted replica: the script goes first, the call behind it.
            reply = await self._topology.call(bucket, command, load=script.load)
        replies: list[bytes] = _checked(reply, len(keys))
        return replies


_Packed = tuple[bytes, Sequence[bytes]]
_Pack = Callable[[Sequence[int]], _Packed]
_T = TypeVar("_T")


def _pick(values: Sequence[_T], indexes: Sequence[int]) -> Sequence[_T]:
    return values if len(indexes) == len(values) else [values[i] for i in indexes]


def _checked(reply: Any, count: int) -> Any:
    if isinstance(reply, hiredis.ReplyError):
        raise StoreUnavailable(f"Redis refuses: {reply}")
    if not isinstance(reply, list) or len(reply) != count:
        raise StoreUnavailable(f"Redis answers what was not asked: {type(reply).__name__}")
    return reply


def _in_order(
    count: int, groups: Sequence[Sequence[int]], answers: Sequence[Sequence[_T] | BaseException]
) -> list[_T | StoreUnavailable]:
    placed: dict[int, _T | StoreUnavailable] = {}
    outages = [answer for answer in answers if isinstance(answer, StoreUnavailable)]
    if outages and len(outages) == len(answers):
        raise outages[0]
    for indexes, answer in zip(groups, answers, strict=True):
        if isinstance(answer, StoreUnavailable):
            placed.update(dict.fromkeys(indexes, answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            placed.update(zip(indexes, answer, strict=True))
    return [placed[index] for index in range(count)]


def _literal(text: str) -> str:
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)
