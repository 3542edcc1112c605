"""One connection to one Redis, shared by every caller of the process.

Commands are written as they come and replies handed out in the same order, so that a call costs
one write, one future and hiredis's parsing: about a fifth of a round trip through redis-py's
connection pool. redis-py makes the connection (TLS, ACL, database); from then on it is ours.

Law: nobody but the reader takes a reply off the line. A caller that goes away leaves its place
standing, and its reply is dropped when it comes: no call can get another's answer.

A large call may give way: while two large ones are under way, one that the server works at and one
behind it, it is not written yet. A service answers several batches within a millisecond. Were their
commits all written at once, the claims that their clients send next would stand behind all of them,
be answered together, forwarded together and come back together: for as long as there is load,
batches would travel in a group, in which each waits for all. As commits give way they are as far
apart afterwards as the store takes for one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import hiredis

from proxy.store.burst import Burst
from proxy.store.busy import Busy
from proxy.store.receive import Receiver


def pack(*words: bytes | str | int) -> bytes:
    """A command as bytes, by hiredis: a fifth of the time of redis-py's own packing."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type] # says: of one
    return packed


def words(values: Sequence[bytes]) -> bytes:
    """As words of a command. Of one length, as store keys are, they are joined in one step: half of
    what hiredis takes for a hundred."""
    if len(set(map(len, values))) == 1:
        between = b"\r\n$%d\r\n" % len(values[0])
        return b"".join((between[2:], between.join(values), b"\r\n"))
    return b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in values])


_PING: Final = pack(b"PING")
_ASLEEP: Final = 0.005
"""Seconds without a call, after which a Redis has left the processor and its caches."""
IDLE_CHECK: Final = 15.0
_AT_ONCE: Final = 2
"""Large calls under way that none gives way to; behind one alone the server would wait for us."""
_MOST_BUSY: Final = 0.75
"""Where the server is busy for more of the time, its time is what is short, and nothing gives way:
a service of 20 ms leaves half of it, clients that wait for nothing else less than a tenth."""
_WINDOW: Final = 0.1
"""Seconds that this is looked at over: of many calls, and soon enough after a change."""


class PipeLost(Exception):
    """The connection ended. It says nothing of what became of the calls on it."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class Pipe(asyncio.Protocol):
    """``timeout``: a connection whose oldest call waits longer is given up. An idle one is asked
    for a sign of life now and then, so that no request finds out that it is dead."""

    def __init__(self, transport: asyncio.Transport, keep: Any, timeout: float) -> None:
        self._transport = transport
        self._keep = keep  # the stream writer closes the transport when it is collected
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[Receiver[Any] | None, float, bool]] = deque()
        self._held: deque[tuple[bytes, Receiver[Any], float]] = deque()
        self._is_timed = False  # by its oldest call, and not for the next sign of life
        self._last = 0.0
        self.large = Busy(self._loop.time(), _WINDOW)
        self.patience = 0.005
        """Seconds after which one that gives way goes with the next reply, whatever is under way:
        what is done has to be recorded as well."""
        self._timer = self._loop.call_later(IDLE_CHECK, self._watch)
        self.closed = False
        transport.set_protocol(self)

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """The reply, an error reply included, as a value. PipeLost where there is none."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.send_for(command, future)
        return future

    def send_for(
        self,
        command: bytes,
        to: Receiver[Any],
        *,
        is_large: bool = False,
        gives_way: bool = False,
    ) -> None:
        """The same, told to ``to`` as the reply comes. ``is_large``: the server takes a while for
        it. One that ``gives_way`` is."""
        if gives_way and not self.closed and self._is_taken():
            self._held.append((command, to, self._loop.time()))
        else:
            self._write(command, to, is_large=is_large)

    def _is_taken(self) -> bool:
        if self.large.share > _MOST_BUSY:
            return False
        return self.large.calls >= _AT_ONCE or bool(self._held)

    def is_asleep(self) -> bool:
        """Whether there was no call for a while, so that the server has gone to sleep."""
        idle = not self._waiting and self._loop.time() - self._last > _ASLEEP
        return idle and not self.closed

    def post(self, command: bytes) -> None:
        """Send, and drop the reply."""
        self._write(command, None)

    def _write(self, command: bytes, to: Receiver[Any] | None, *, is_large: bool = False) -> None:
        if self.closed:
            raise PipeLost("the connection is closed")
        self._last = now = self._loop.time()
        self._waiting.append((to, now, is_large))
        if is_large:
            self.large.begin(now)
        self._transport.write(command)
        if not self._is_timed:
            self._is_timed = True
            self._timer.cancel()
            self._timer = self._loop.call_later(self._timeout, self._watch)

    def _watch(self) -> None:
        """While there is traffic, look at the oldest call every ``timeout``; else ping at times."""
        if self._waiting:
            left = self._waiting[0][1] + self._timeout - self._loop.time()
            if left <= 0:
                self._end("no reply in time", timed_out=True)
                self._transport.abort()
                return
            self._timer = self._loop.call_later(left, self._watch)
        elif self._is_timed:
            self._is_timed = False
            self._timer = self._loop.call_later(IDLE_CHECK, self._watch)
        else:
            self.post(_PING)

    def data_received(self, data: bytes) -> None:
        self._read(data)
        if self._held:
            self._let_go()

    def _let_go(self) -> None:
        """Write what has given way, for long enough or to all that there was."""
        held, since = self._held, self._loop.time() - self.patience
        while held and not self.closed and (self.large.calls < _AT_ONCE or held[0][2] < since):
            command, to, _ = held.popleft()
            self._write(command, to, is_large=True)

    def _answered(self) -> None:
        _, _, is_large = self._waiting.popleft()
        if is_large:
            self.large.end(self._loop.time())

    def _read(self, data: bytes) -> None:
        try:
            data = self._skip_usual(data)
            if not data:
                return
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                to = self._waiting[0][0]
                if isinstance(to, Burst) and not to.add(reply):
                    continue
                self._answered()
                if to is not None and not to.done():
                    self._tell(to, reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.abort(f"not a reply: {error}")

    def _skip_usual(self, data: bytes) -> bytes:
        """What is left to be parsed."""
        while data and self._waiting and not self._reader.has_data():
            burst = self._waiting[0][0]
            if not isinstance(burst, Burst):
                break
            data = burst.skip(data)
            if not burst.is_whole:
                break
            self._answered()
            if not burst.done():
                self._tell(burst, None)
        return data

    def _tell(self, to: Receiver[Any], reply: object) -> None:
        """What goes wrong with one reply is no matter of the others."""
        try:
            if isinstance(to, Burst):
                to.finish()
            else:
                to.set_result(reply)
        except Exception as error:  # noqa: BLE001
            self._loop.call_exception_handler({"message": "a reply's taker", "exception": error})

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was closed: {exc}" if exc else "the server closed it")

    def abort(self, reason: str) -> None:
        self._end(reason)
        self._transport.abort()

    def _end(self, reason: str, *, timed_out: bool = False) -> None:
        if self.closed:
            return
        self.closed = True
        self._timer.cancel()
        waiting = [to for to, _, _ in self._waiting] + [to for _, to, _ in self._held]
        self._waiting.clear()
        self._held.clear()
        for to in waiting:
            if to is not None and not to.done():
                to.set_exception(PipeLost(reason, timed_out=timed_out))
