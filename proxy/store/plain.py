"""Large claims as plain commands: seven tenths of what a script costs Redis for them.

Law: a plain command does only what the script would do. Whatever is found that is neither new nor
done with the same content goes to the script, which decides.

A claim is then one SET a key, with NX and GET: it writes where nothing stands, and else gives what
does. All are written together, and need no atomicity across keys, as no call does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.core import codec
from proxy.core.record import Terms
from proxy.errors import StoreUnavailable
from proxy.store import wire
from proxy.store.base import Claims
from proxy.store.burst import Burst
from proxy.store.clock import StoreClock
from proxy.store.evalsha import Script
from proxy.store.pipe import PipeLost
from proxy.store.plain_wire import claims, usual_reply
from proxy.store.receive import Receiver
from proxy.store.scripts import ScriptCalls
from proxy.store.topology import Topology


class PlainClaims:
    """Of ``fewest`` keys or more; ``script`` has the last word. Not on a sharded store, whose keys
    are asked by the bucket."""

    def __init__(
        self, topology: Topology, scripts: ScriptCalls, script: Script, fewest: int
    ) -> None:
        self._topology = topology
        self._clock: StoreClock | None = None
        self._fewest = fewest
        self._expects_new = True
        self.scripts = scripts
        self.script = script

    def wake(self) -> None:
        """A call is about to follow. Where there was none for a while, one that does nothing goes
        first: the server gets going while the call is being made, and not when it is there."""
        clock = self._here()
        if clock is not None and clock.pipe.is_asleep():
            # As its reply is known, that of the claim behind it, with which it mostly comes in,
            # needs no parsing either.
            clock.pipe.send_for(self.script.empty, Burst(1, self.script.usual_reply, None))

    def ask(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
        to: Receiver[Claims],
    ) -> bool:
        """False: not here, not now, or not these; nothing was done. The lease counts from no
        earlier than now by the server's clock, and the expiry from no later."""
        if len(keys) < self._fewest or not self._expects_new:
            return False
        clock = self._here()
        if clock is None or not clock.is_known():
            return False
        barrier = not terms.detects_duplicates
        head = codec.claim_head(token, clock.latest() + terms.lease, barrier=barrier)
        command = claims(keys, fingerprints, head, clock.earliest() + terms.doubt_retention)
        if command is None:
            return False
        asked = _Asked(self, keys, fingerprints, token, terms, to)
        burst = Burst(len(keys), usual_reply(len(keys)), asked)
        clock.pipe.send_for(command, burst, is_large=True)
        return True

    def learn(self, is_new: bool, count: int) -> None:
        """Whether the first of so many keys was new. A script reads what is done at half of what
        plain commands cost, and what comes next is mostly like what came last."""
        if count >= self._fewest:
            self._expects_new = is_new

    def _here(self) -> StoreClock | None:
        """Of the connection that is up."""
        only = self._topology.only
        pipe = only.pipe if only is not None else None
        if pipe is None:
            return None
        clock = self._clock
        if clock is None or clock.pipe is not pipe:
            clock = self._clock = StoreClock(pipe)
        return clock


class _Asked:
    """Who waits for claims."""

    __slots__ = ("_claims", "_fingerprints", "_keys", "_terms", "_to", "_token")

    def __init__(
        self,
        claims: PlainClaims,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
        to: Receiver[Claims],
    ) -> None:
        self._claims = claims
        self._keys = keys
        self._fingerprints = fingerprints
        self._token = token
        self._terms = terms
        self._to = to

    def done(self) -> bool:
        return self._to.done()

    def set_result(self, result: list[Any] | None, /) -> None:
        if result is None:
            self._to.set_result(wire.all_won(len(self._keys)))
            return
        self._claims.learn(result[0] is None, len(result))
        others = codec.other_than(self._fingerprints, result)
        for i in others:
            result[i] = b"W" if result[i] is None else None
        self._go_on(result)

    def set_exception(self, exception: BaseException, /) -> None:
        """A lost connection says nothing; what was won is won again, by its token."""
        if not isinstance(exception, PipeLost):
            self._to.set_exception(exception)
        elif exception.timed_out:
            self._to.set_exception(StoreUnavailable(str(exception)))
        else:
            self._go_on([None] * len(self._keys))

    def _go_on(self, replies: list[Any]) -> None:
        """Where there is none, by the script."""
        left = [i for i, reply in enumerate(replies) if reply is None]
        if not left:
            self._to.set_result(wire.read_claims(replies))
            return
        keys, prints = [self._keys[i] for i in left], [self._fingerprints[i] for i in left]
        arguments = wire.pack_claims(prints, self._token, self._terms)
        self._claims.scripts.ask(
            self._claims.script, keys, arguments, _Rest(replies, left, self._to)
        )


class _Rest:
    """Puts the script's replies where there is none yet."""

    __slots__ = ("_left", "_replies", "_to")

    def __init__(self, replies: list[Any], left: Sequence[int], to: Receiver[Claims]) -> None:
        self._replies = replies
        self._left = left
        self._to = to

    def done(self) -> bool:
        return self._to.done()

    def set_result(self, result: list[Any], /) -> None:
        for i, reply in zip(self._left, result, strict=True):
            self._replies[i] = reply
        self._to.set_result(wire.read_claims(self._replies))

    def set_exception(self, exception: BaseException, /) -> None:
        """What was won is told all the same."""
        if isinstance(exception, StoreUnavailable) and len(self._left) < len(self._replies):
            self.set_result([exception] * len(self._left))
        else:
            self._to.set_exception(exception)
