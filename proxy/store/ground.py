"""What is known of one connection: whether plain commands work there, and the server's clock.

Law: nothing is taken for granted from a connection before. It may lead to another server, of
another kind, or to a user with other rights.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, Final, NamedTuple

from proxy.core import codec
from proxy.core.record import LEEWAY, Done, Terms
from proxy.store import commands
from proxy.store.burst import Burst
from proxy.store.pipe import Pipe, pack

_TIME: Final = pack(b"TIME")
_PING: Final = pack(b"PING")
_PONG: Final = b"+PONG\r\n"
_FRESH: Final = 1.0
"""Seconds after which the clock is asked for again, beside what is asked anyway."""
_STALE: Final = 5.0
"""Seconds after which it is not gone by: a server's clock may be set."""
_SLOW: Final = 0.1
"""Seconds that an answer may take to be gone by."""
_CLAIMS: Final = 1024
"""So many of the last ones are known."""
_KEPT: Final = 10_000
"""Of what a trial writes, in ms."""

_log: Final = logging.getLogger(__name__)


class Claim(NamedTuple):
    """``head``: what its values begin with, before the fingerprint; ``expires`` by the server's
    clock, in ms."""

    head: bytes
    expires: int


class Ground:
    def __init__(self, pipe: Pipe, prefix: bytes) -> None:
        self.pipe = pipe
        self.is_proven = False
        self._claims: dict[bytes, Claim] = {}
        self._loop = asyncio.get_running_loop()
        self._clock = 0  # of the server, in ms, at some moment between these two
        self._asked = 0.0
        self._heard = 0.0
        self._asking = False
        self._try(prefix + b":{00}:v1:trial-" + os.urandom(12).hex().encode())

    def is_good(self) -> bool:
        """Whether plain commands work here, and what time it is there is known."""
        now = self._loop.time()
        if now - self._asked > _FRESH:
            self.ask_time()
        return self.is_proven and now - self._asked < _STALE and self._heard - self._asked < _SLOW

    def latest(self) -> int:
        """The server's time now in ms, at the latest."""
        return self._clock + int((self._loop.time() - self._asked) * 1000) + 2

    def earliest(self) -> int:
        """The same at the earliest."""
        return self._clock + int((self._loop.time() - self._heard) * 1000)

    def wake(self) -> None:
        """Where there was no call for a while, one that does nothing goes first: the server gets
        going while the call is being made, and not when it is there."""
        if self.pipe.is_asleep():
            # Its answer is known, which leaves that of the next call, with which it mostly comes
            # in, unparsed, too.
            self.pipe.send_for(_PING, Burst(1, _PONG, _Nobody()))

    def ask_time(self) -> None:
        if not self._asking and not self.pipe.closed:
            self._asking = True
            self.pipe.send_for(_TIME, _Clock(self, self._loop.time()))

    def told_time(self, asked: float, reply: Any) -> None:
        self._asking = False
        if isinstance(reply, list):
            self._clock = int(reply[0]) * 1000 + int(reply[1]) // 1000
            self._asked, self._heard = asked, self._loop.time()

    def claim(self, token: bytes, terms: Terms) -> Claim:
        """A claim that begins now: its deadline is no earlier than one of the server's would be,
        and it expires no later."""
        barrier = not terms.detects_duplicates
        claim = Claim(
            codec.claim_head(token, self.latest() + terms.lease, barrier=barrier),
            self.earliest() + terms.doubt_retention,
        )
        claims = self._claims
        if len(claims) >= _CLAIMS:
            del claims[next(iter(claims))]
        claims[token] = claim
        return claim

    def claimed(self, token: bytes) -> Claim | None:
        """What the claims of ``token`` look like, if it is known and was not changed since."""
        return self._claims.get(token)

    def changes(self, token: bytes) -> None:
        """Its claims do not all look like that any more."""
        self._claims.pop(token, None)

    def expiry(self, claim: Claim, retention: int) -> int | None:
        """When a record that is committed over it now expires; None: when the claim does."""
        soonest = self.latest() + retention
        is_near = soonest <= claim.expires <= self.earliest() + retention + LEEWAY
        return None if is_near else soonest

    def _try(self, key: bytes) -> None:
        """All that plain calls do, with a record that stays and a claim that is committed."""
        done = codec.encode(Done(b"d" * 12, 1, b"f" * 16, b"{}"))
        late = codec.encode(Done(b"e" * 12, 2, b"f" * 16, b"{}"))
        head = codec.claim_head(b"e" * 12, 1, barrier=False)
        keys = [key + b"-done", key + b"-held"]
        commits = [pack(b"SET", one, late, b"XX", b"PXAT", 2**43) for one in keys]
        beside = [keys[0] + end for end in (b"|", b"~")]
        trial = (
            pack(b"SET", keys[0], done, b"PX", _KEPT),
            pack(b"SET", keys[1], head + b"f" * 16, b"NX", b"GET", b"PX", _KEPT),
            commands.transaction(keys, b"".join(commits), head) or b"",
            pack(b"PTTL", keys[0]),
            pack(b"MGET", *keys, *beside),
            pack(b"DEL", *keys, *beside),
        )
        replies = 5 + commands.replies_of(len(commits))
        found = _Trial(self, [done, late, None, None])
        self.pipe.send_for(b"".join(trial), Burst(replies, b"", found))
        self.ask_time()

    def tried(self, replies: list[Any] | None, wanted: list[bytes | None]) -> None:
        if replies is not None:
            left, values = replies[-3:-1]
            self.is_proven = values == wanted and left in range(1, _KEPT + 1)
        if not self.is_proven:
            _log.info(
                "the store's user or server does not allow plain commands: large batches go by "
                "scripts, which cost Redis more"
            )


class _Nobody:
    """Who is told, and does not want to know."""

    def done(self) -> bool:
        return True

    def set_result(self, result: object, /) -> None:
        """Never, as it is done."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Neither."""


class _Clock:
    __slots__ = ("_asked", "_ground")

    def __init__(self, ground: Ground, asked: float) -> None:
        self._ground = ground
        self._asked = asked

    def done(self) -> bool:
        return False

    def set_result(self, result: object, /) -> None:
        self._ground.told_time(self._asked, result)

    def set_exception(self, exception: BaseException, /) -> None:
        """The connection is lost, and this ground with it."""


class _Trial:
    __slots__ = ("_ground", "_wanted")

    def __init__(self, ground: Ground, wanted: list[bytes | None]) -> None:
        self._ground = ground
        self._wanted = wanted

    def done(self) -> bool:
        return False

    def set_result(self, result: list[Any] | None, /) -> None:
        self._ground.tried(result, self._wanted)

    def set_exception(self, exception: BaseException, /) -> None:
        """As for the clock."""
