"""A place where a Redis is: connected when it is needed, again when it was lost.

Law: a call whose connection ends is repeated once on a fresh one and then fails. That is safe,
because every script is safe to repeat with the same token. One that gets no reply in time is not
repeated: nobody waits for it any more. All waiting ends by itself, within the store's timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import hiredis
from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from proxy.errors import StoreUnavailable
from proxy.store.pipe import Pipe, PipeLost, pack
from proxy.store.receive import Receiver

_ASKING: Final = pack(b"ASKING")

# What a node answers that is no master now, or not yet: look for the master again.
_ELSEWHERE: Final = ("READONLY", "LOADING", "MASTERDOWN")


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in; the same for every node."""

    username: str | None
    password: str | None
    tls: bool
    ca_file: str | None
    timeout: float


Address = tuple[str, int]
T = TypeVar("T")


def connection(access: Access, where: Address | str, db: int = 0) -> Connection:
    """redis-py's connection, with its many retries set to none: the link repeats by itself."""
    options: dict[str, Any] = {
        "db": db,
        "username": access.username,
        "password": access.password,
        "protocol": 2,
        "socket_timeout": access.timeout,
        "socket_connect_timeout": access.timeout,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
    }
    if isinstance(where, str):
        return UnixDomainSocketConnection(path=where, **options)  # type: ignore[return-value]
    host, port = where
    if access.tls:
        return SSLConnection(host=host, port=port, ssl_ca_certs=access.ca_file, **options)
    return Connection(host=host, port=port, **options)


async def open_pipe(made: Connection, timeout: float) -> Pipe:
    """Connect, and take the connection over from redis-py."""
    try:
        await made.connect()  # type: ignore[no-untyped-call]
    except (RedisError, OSError, TimeoutError) as error:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await made.disconnect(nowait=True)
        raise StoreUnavailable(f"cannot connect: {error}") from error
    except BaseException:
        await made.disconnect(nowait=True)
        raise
    # redis-py has no public way to hand over its transport.
    writer: Any = made._writer  # noqa: SLF001
    made._reader = made._writer = None  # noqa: SLF001
    return Pipe(writer.transport, writer, timeout)


async def shared(task: asyncio.Task[T]) -> T:
    """Wait for a task that others wait for too: who is cancelled does not end it, and where it is
    ended itself, on closing, that is no cancellation of who waits."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        waiting = asyncio.current_task()
        if task.cancelled() and waiting is not None and not waiting.cancelling():
            raise StoreUnavailable("the store is closed") from None
        raise


class Sent(NamedTuple):
    """A command on its way, and where."""

    pipe: Pipe
    reply: asyncio.Future[Any]


class Link:
    """``dial`` opens a pipe to the place, wherever that is now."""

    def __init__(self, dial: Callable[[], Awaitable[Pipe]]) -> None:
        self._dial = dial
        self._pipe: Pipe | None = None
        self._opening: asyncio.Task[Pipe] | None = None
        self._closed = False

    def send(self, command: bytes) -> Sent | None:
        """Write it where the connection is up; ``call`` takes what comes of it."""
        pipe = self.pipe
        return None if pipe is None else Sent(pipe, pipe.send(command))

    def send_for(
        self, command: bytes, to: Receiver[Any], *, is_large: bool, gives_way: bool
    ) -> Pipe | None:
        """Write it where the connection is up, and ``to`` is told as the reply comes."""
        pipe = self.pipe
        if pipe is not None:
            pipe.send_for(command, to, is_large=is_large, gives_way=gives_way)
        return pipe

    @property
    def pipe(self) -> Pipe | None:
        """The connection, where it is up."""
        pipe = self._pipe
        return None if pipe is None or pipe.closed else pipe

    async def call(
        self,
        command: bytes,
        *,
        load: bytes | None = None,
        asking: bool = False,
        sent: Sent | None = None,
    ) -> Any:
        """The reply, an error reply included. ``load`` goes before the command on the same
        connection, its reply dropped; ``asking`` likewise sends ASKING. ``sent``: the command was
        written already, this once."""
        for repeat in (True, False):
            try:
                pipe, future = sent or await self._write(command, load=load, asking=asking)
                sent = None
                reply = await future
            except PipeLost as error:
                if not repeat or error.timed_out:
                    raise StoreUnavailable(str(error)) from error
                continue
            if (
                repeat
                and isinstance(reply, hiredis.ReplyError)
                and str(reply).startswith(_ELSEWHERE)
            ):
                pipe.abort("not a master")
                continue
            return reply
        raise AssertionError

    async def _write(self, command: bytes, *, load: bytes | None, asking: bool) -> Sent:
        pipe = self._pipe
        if pipe is None or pipe.closed:
            pipe = await self._open()
        if load:
            pipe.post(load)
        if asking:
            pipe.post(_ASKING)
        return Sent(pipe, pipe.send(command))

    async def _open(self) -> Pipe:
        """One connection attempt, whoever waits for it; a caller that goes away does not end it."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect())
            self._opening.add_done_callback(self._opened)
        return await shared(self._opening)

    async def _connect(self) -> Pipe:
        return await self._dial()

    def _opened(self, task: asyncio.Task[Pipe]) -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._pipe = task.result()

    async def close(self) -> None:
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        if self._pipe is not None:
            self._pipe.abort("the store is closed")
