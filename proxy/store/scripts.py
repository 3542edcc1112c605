"""Script calls, shared. Law: a caller gets its own replies or its own exception, whoever else was
in the call.

Small calls that are made in the same few turns of the event loop become one: what a call costs a
Redis and a client is mostly the call. Large ones go alone, so that they do not delay each other.

Where the connection is up a shared call needs no task: it is written at once, and its reply handed
out as it comes. An error in its place, or a lost connection, is looked into by a task.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, Final

import hiredis

from proxy.errors import StoreUnavailable
from proxy.store.burst import Burst
from proxy.store.evalsha import Script, command_of, replies_of
from proxy.store.link import Sent
from proxy.store.pipe import Pipe
from proxy.store.receive import Receiver
from proxy.store.topology import Topology
from proxy.store.wire import Arguments

SHARED_KEYS: Final = 128
"""Of a call that several requests share; who has more than half of it goes alone."""


class _Part:
    """One caller's share."""

    __slots__ = ("arguments", "keys", "replies")

    def __init__(
        self, keys: Sequence[bytes], arguments: Arguments, replies: Receiver[list[bytes]]
    ) -> None:
        self.keys = keys
        self.arguments = arguments
        self.replies = replies


class _Call:
    """``keys``: how many."""

    __slots__ = ("bucket", "command", "keys", "script")

    def __init__(self, script: Script, bucket: int, command: bytes, keys: int) -> None:
        self.script = script
        self.bucket = bucket
        self.command = command
        self.keys = keys


class ScriptCalls:
    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._pending: dict[tuple[Script, int], list[_Part]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # of its first call
        self._closed = False

    def run(
        self,
        script: Script,
        bucket: int,
        keys: Sequence[bytes],
        arguments: Arguments,
        *,
        alone: bool = False,
    ) -> Awaitable[list[bytes]]:
        """One reply a key. Raises StoreUnavailable."""
        if alone or not is_small(keys):
            call = _Call(script, bucket, command_of(script, keys, arguments), len(keys))
            return self._alone(call)
        replies: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._share_soon(script, bucket, _Part(keys, arguments, replies))
        return replies

    def ask(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Arguments,
        to: Receiver[list[bytes]],
    ) -> None:
        """The same on a store of one node, whose bucket does not matter; ``to`` is told."""
        part = _Part(keys, arguments, to)
        if is_small(keys):
            self._share_soon(script, 0, part)
        else:
            self._start(script, 0, (part,))

    def _share_soon(self, script: Script, bucket: int, part: _Part) -> None:
        place = (script, bucket)
        pending = self._pending.get(place)
        if pending is None:
            self._pending[place] = [part]
            loop = self._loop
            if loop is None:
                loop = self._loop = asyncio.get_running_loop()
            loop.call_soon(self._flush, loop, place, script.turns)
        else:
            pending.append(part)

    async def close(self) -> None:
        """What is on its way by then ends with its connection."""
        self._closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _flush(
        self, loop: asyncio.AbstractEventLoop, place: tuple[Script, int], turns: int
    ) -> None:
        """What these turns of the loop collected goes out, first come, first packed."""
        if turns > 1:
            loop.call_soon(self._flush, loop, place, turns - 1)
            return
        shared: list[_Part] = []
        size = 0
        for part in self._pending.pop(place):
            if part.replies.done():
                continue  # its caller is gone and nothing was sent
            if size + len(part.keys) > SHARED_KEYS:
                self._start(*place, shared)
                shared, size = [], 0
            shared.append(part)
            size += len(part.keys)
        if shared:
            self._start(*place, shared)

    def _start(self, script: Script, bucket: int, parts: Sequence[_Part]) -> None:
        if len(parts) == 1:
            keys, arguments = parts[0].keys, parts[0].arguments
        else:
            keys, arguments = _together(parts)
        call = _Call(script, bucket, command_of(script, keys, arguments), len(keys))
        on_its_way = _OnItsWay(self, call, parts)
        only = self._topology.only
        if only is not None:
            is_large = len(parts) == 1 and not is_small(keys)
            on_its_way.pipe = only.send_for(
                call.command,
                Burst(1, script.usual_reply, on_its_way),
                is_large=is_large,
                gives_way=is_large and script.gives_way,
            )
        if on_its_way.pipe is None:
            self._look_into(call, parts, None)

    def _send(self, call: _Call) -> Sent | None:
        only = self._topology.only
        return only.send(call.command) if only is not None else None

    def replied(self, call: _Call, parts: Sequence[_Part], reply: object) -> None:
        """Hand out what came, which is no error."""
        try:
            replies = replies_of(reply, call.keys)
        except StoreUnavailable as problem:
            _fail(parts, problem)
        else:
            _hand_out(parts, replies)

    def failed(self, call: _Call, parts: Sequence[_Part], sent: Sent) -> None:
        """An error reply, or the connection was lost."""
        if self._closed:
            _fail(parts, StoreUnavailable("the store is closed"))
        else:
            self._look_into(call, parts, sent)

    def _look_into(self, call: _Call, parts: Sequence[_Part], sent: Sent | None) -> None:
        task = asyncio.create_task(self._share(call, parts, sent))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, parts))

    async def _share(self, call: _Call, parts: Sequence[_Part], sent: Sent | None) -> None:
        try:
            _hand_out(parts, await self._ask(call, sent))
        except StoreUnavailable as problem:
            _fail(parts, problem)

    def _ended(self, parts: Sequence[_Part], task: asyncio.Task[None]) -> None:
        """Cancelled, maybe before it began: nobody may wait for ever."""
        self._tasks.discard(task)
        _fail(parts, StoreUnavailable("the store is closed"))

    async def _alone(self, call: _Call) -> list[bytes]:
        return await self._ask(call, self._send(call))

    async def _ask(self, call: _Call, sent: Sent | None) -> list[bytes]:
        """``sent``: the call is on its way already."""
        only = self._topology.only
        if sent is not None and only is not None:
            reply = await only.call(call.command, sent=sent)
        else:
            reply = await self._topology.call(call.bucket, call.command)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            # A flush, a restart or a promoted replica: the script goes first, the call behind it.
            reply = await self._topology.call(call.bucket, call.command, load=call.script.load)
        return replies_of(reply, call.keys)


class _OnItsWay:
    """A call that was written, whose reply no task waits for."""

    __slots__ = ("_call", "_calls", "_parts", "pipe")

    def __init__(self, calls: ScriptCalls, call: _Call, parts: Sequence[_Part]) -> None:
        self._calls = calls
        self._call = call
        self._parts = parts
        self.pipe: Pipe | None = None

    def done(self) -> bool:
        return False

    def set_result(self, result: list[Any] | None, /) -> None:
        reply = self._call.script.usual if result is None else result[0]
        if isinstance(reply, hiredis.ReplyError):
            self._failed().set_result(reply)
        else:
            self._calls.replied(self._call, self._parts, reply)

    def set_exception(self, exception: BaseException, /) -> None:
        came = self._failed()
        came.set_exception(exception)
        came.exception()  # nobody may be left who looks at it

    def _failed(self) -> asyncio.Future[Any]:
        """For a task to find what came, as if it had waited for it."""
        came: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        assert self.pipe is not None  # noqa: S101 - a reply comes in a later turn
        self._calls.failed(self._call, self._parts, Sent(self.pipe, came))
        return came


def is_small(keys: Sequence[bytes]) -> bool:
    """Whether a call shares its way."""
    return len(keys) <= SHARED_KEYS // 2


def _together(parts: Sequence[_Part]) -> tuple[Sequence[bytes], Arguments]:
    keys = list(itertools.chain.from_iterable([part.keys for part in parts]))
    arguments = Arguments(
        b"".join([part.arguments.fields for part in parts]),
        sum([part.arguments.more for part in parts]),
        b"".join([part.arguments.values for part in parts]),
    )
    return keys, arguments


def _hand_out(parts: Sequence[_Part], replies: list[bytes]) -> None:
    at = 0
    for part in parts:
        end = at + len(part.keys)
        if not part.replies.done():
            part.replies.set_result(replies[at:end])
        at = end


def _fail(parts: Sequence[_Part], problem: StoreUnavailable) -> None:
    """Whoever has no answer yet."""
    for part in parts:
        if not part.replies.done():
            part.replies.set_exception(type(problem)(str(problem)))
