"""Script calls, shared. Law: a caller gets its own replies or its own exception, whoever else was
in the call.

Small calls that are made in the same turn of the event loop become one: what a call costs a Redis
and a client is mostly the call. Large ones go alone, so that they do not delay each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final

import hiredis

from proxy.errors import StoreUnavailable
from proxy.store.pipe import pack
from proxy.store.topology import Topology

SHARED_KEYS: Final = 128
"""Of a call that several requests share; who has more than half of it goes alone."""


class SlotMoves(StoreUnavailable):
    """A command's keys are on both sides of a slot's move. Nothing was done."""


@dataclass(frozen=True, slots=True)
class Script:
    sha: bytes
    load: bytes

    @classmethod
    def of(cls, text: str) -> Script:
        source = text.encode()
        digest = sha1(source, usedforsecurity=False).hexdigest().encode()
        return cls(digest, pack(b"SCRIPT", b"LOAD", source))


@dataclass(slots=True)
class _Part:
    """One caller's share. ``fields`` and ``values`` are the script's arguments for it."""

    keys: Sequence[bytes]
    fields: bytes
    values: Sequence[bytes]
    replies: asyncio.Future[list[bytes]]


class ScriptCalls:
    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._pending: dict[tuple[bytes, int], tuple[Script, list[_Part]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def run(
        self,
        script: Script,
        bucket: int,
        keys: Sequence[bytes],
        packed: tuple[bytes, Sequence[bytes]],
        *,
        alone: bool,
    ) -> Awaitable[list[bytes]]:
        """One reply a key. Raises StoreUnavailable."""
        part = _Part(keys, *packed, asyncio.get_running_loop().create_future())
        if alone or len(keys) > SHARED_KEYS // 2:
            return self._call(script, bucket, (part,))
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pending.setdefault((script.sha, bucket), (script, []))[1].append(part)
        return part.replies

    async def close(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

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

    def _start(self, script: Script, bucket: int, parts: Sequence[_Part]) -> None:
        task = asyncio.create_task(self._share(script, bucket, parts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _share(self, script: Script, bucket: int, parts: Sequence[_Part]) -> None:
        problem = StoreUnavailable("the store is closed")
        try:
            replies = await self._call(script, bucket, parts)
        except StoreUnavailable as error:
            problem = error
        else:
            at = 0
            for part in parts:
                if not part.replies.done():
                    part.replies.set_result(replies[at : at + len(part.keys)])
                at += len(part.keys)
        finally:
            for part in parts:
                if not part.replies.done():
                    part.replies.set_exception(type(problem)(str(problem)))

    async def _call(self, script: Script, bucket: int, parts: Sequence[_Part]) -> list[bytes]:
        keys = [key for part in parts for key in part.keys]
        fields = b"".join([part.fields for part in parts])
        values = [value for part in parts for value in part.values]
        command = pack(b"EVALSHA", script.sha, len(keys), *keys, fields, *values)
        reply = await self._topology.call(bucket, command)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            # A flush, a restart or a promoted replica: the script goes first, the call behind it.
            reply = await self._topology.call(bucket, command, load=script.load)
        if isinstance(reply, bytes):
            return [reply] * len(keys)  # one that is the reply of every key
        replies: list[bytes] = checked(reply, len(keys))
        return replies


def checked(reply: Any, count: int) -> Any:
    """A reply that is a list of so many. Raises StoreUnavailable."""
    if isinstance(reply, hiredis.ReplyError):
        if str(reply).startswith("TRYAGAIN"):
            raise SlotMoves(str(reply))
        raise StoreUnavailable(f"Redis refuses: {reply}")
    if not isinstance(reply, list) or len(reply) != count:
        raise StoreUnavailable(f"Redis answers what was not asked: {type(reply).__name__}")
    return reply
