"""Large claims and commits as plain commands: two thirds of what a script costs Redis for them.

Law: a key's plain command does only what the script would do. Whatever is found that is neither
new nor done with the same content goes to the scripts, which decide; so does everything where the
plain commands have not been seen to work on this very connection.

A claim is one SET a key, which writes where nothing stands and else gives what does. Commits are
one transaction: what may not be overwritten is put aside in front of them and put back behind them
(``put_aside.lua``), so that each key is compared and set, and nobody sees anything in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from proxy.core import codec
from proxy.core.record import Settlement, Terms
from proxy.errors import StoreUnavailable
from proxy.store import commands, wire
from proxy.store.base import Claims, Settles
from proxy.store.burst import Burst
from proxy.store.ground import Ground
from proxy.store.pipe import PipeLost
from proxy.store.receive import Receiver
from proxy.store.scripts import Script, ScriptCalls
from proxy.store.topology import Topology

_Item = TypeVar("_Item")
_Told = TypeVar("_Told")
_log: Final = logging.getLogger(__name__)


class _Kind(NamedTuple):
    """Of calls. ``usual``: what so many keys are told where all was as usual; ``judge``: of the
    items and the plain commands' replies, the script's replies, and None where it has to decide."""

    script: Script
    pack: Callable[[Sequence[Any], bytes, Terms], wire.Arguments]
    read: Callable[[list[Any]], Any]
    usual: Callable[[int], Any]
    judge: Callable[[Sequence[Any], list[Any]], list[Any]]


class PlainCalls:
    """``scripts`` have the last word, with the scripts ``claim`` and ``settle``; ``prefix`` is the
    keys'. Not on a sharded store, whose keys are asked by the bucket."""

    def __init__(
        self,
        topology: Topology,
        scripts: ScriptCalls,
        claim: Script,
        settle: Script,
        prefix: str,
        fewest: int,
    ) -> None:
        self._topology = topology
        self._prefix = prefix.encode()
        self._ground: Ground | None = None
        self._fewest = fewest
        self._expects_new = True
        self._claims = _Kind(
            claim, wire.pack_claims, wire.read_claims, wire.all_won, self._judge_claims
        )
        self._commits = _Kind(
            settle, wire.pack_settles, wire.read_settles, wire.all_applied, self._judge_commits
        )
        self.scripts = scripts

    def wake(self) -> None:
        """A call is about to follow."""
        ground = self._here()
        if ground is not None:
            ground.wake()

    def ask_claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
        to: Receiver[Claims],
    ) -> bool:
        """False: not here, not now, or not these; nothing was done."""
        ground = self._good(len(keys)) if self._expects_new else None
        if ground is None:
            return False
        claim = ground.claim(token, terms)
        command = commands.claims(keys, fingerprints, claim.head, claim.expires)
        if command is None:
            return False
        asked = _Asked(self, self._claims, keys, fingerprints, token, terms, to)
        ground.pipe.send_for(command, Burst(len(keys), commands.all_won(len(keys)), asked))
        return True

    def ask_settle(
        self,
        keys: Sequence[bytes],
        steps: Sequence[Settlement],
        token: bytes,
        terms: Terms,
        to: Receiver[Settles],
    ) -> bool:
        """The same of commits, of what was claimed by plain commands."""
        ground = self._good(len(keys))
        claim = ground.claimed(token) if ground is not None else None
        command = None
        if ground is not None and claim is not None:
            expires = ground.expiry(claim, terms.retention)
            command = commands.commits(keys, steps, token, claim.head, expires)
        if ground is None or command is None:
            self.changes(token)
            return False
        asked = _Asked(self, self._commits, keys, steps, token, terms, to)
        replies = commands.replies_of(len(keys))
        ground.pipe.send_for(command, Burst(replies, commands.all_applied(len(keys)), asked))
        return True

    def changes(self, token: bytes) -> None:
        """Its claims may be changed by a script."""
        if self._ground is not None:
            self._ground.changes(token)

    def _good(self, count: int) -> Ground | None:
        ground = self._here() if count >= self._fewest else None
        return ground if ground is not None and ground.is_good() else None

    def _here(self) -> Ground | None:
        """What is known of the connection that is up."""
        only = self._topology.only
        pipe = only.pipe if only is not None else None
        if pipe is None:
            return None
        ground = self._ground
        if ground is None or ground.pipe is not pipe:
            ground = self._ground = Ground(pipe, self._prefix)
        return ground

    def learn(self, first: object, count: int) -> None:
        """What the first of so many keys' claims was answered by the script. A script reads what
        is done at half of what plain commands cost; what comes now is mostly like what came last.
        """
        if count >= self._fewest:
            self._expects_new = first == b"W"

    def _judge_claims(self, fingerprints: Sequence[Any], replies: list[Any]) -> list[Any]:
        self._expects_new = replies[0] is None
        others = codec.other_than(fingerprints, replies)
        for i in others:
            replies[i] = b"W" if replies[i] is None else None
        return replies

    def _judge_commits(self, _: Sequence[Any], replies: list[Any]) -> list[Any]:
        end = replies[-1]
        if not isinstance(end, list):
            return [None] * commands.commits_of(len(replies))  # refused as a whole
        undecided, put_back = end[1], end[-1]
        if not isinstance(undecided, list) or not isinstance(put_back, int):
            # It did not when it was tried here.
            _log.error("a transaction's guard failed: %s", undecided, extra={"put_back": put_back})
            if self._ground is not None:
                self._ground.is_proven = False
            return [None] * (len(end) - 3)
        return [
            b"A" if reply == b"OK" and number not in undecided else None
            for number, reply in enumerate(end[2:-1], 1)
        ]


class _Asked(Generic[_Item, _Told]):
    """Who waits for the answers to ``items``, one for each key."""

    __slots__ = ("_calls", "_items", "_keys", "_kind", "_terms", "_to", "_token")

    def __init__(
        self,
        calls: PlainCalls,
        kind: _Kind,
        keys: Sequence[bytes],
        items: Sequence[_Item],
        token: bytes,
        terms: Terms,
        to: Receiver[_Told],
    ) -> None:
        self._calls = calls
        self._kind = kind
        self._keys = keys
        self._items = items
        self._token = token
        self._terms = terms
        self._to = to

    def done(self) -> bool:
        return self._to.done()

    def set_result(self, result: list[Any] | None, /) -> None:
        if result is None:
            self._to.set_result(self._kind.usual(len(self._keys)))
        else:
            self._go_on(self._kind.judge(self._items, result))

    def set_exception(self, exception: BaseException, /) -> None:
        """A lost connection says nothing; what was done is done again, by its token."""
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
            self._to.set_result(self._kind.read(replies))
            return
        self._calls.changes(self._token)
        keys, items = [self._keys[i] for i in left], [self._items[i] for i in left]
        arguments = self._kind.pack(items, self._token, self._terms)
        rest = _Rest(replies, left, self._kind.read, self._to)
        self._calls.scripts.ask(self._kind.script, keys, arguments, rest)


class _Rest(Generic[_Told]):
    """Puts the script's replies where there is none yet."""

    __slots__ = ("_left", "_read", "_replies", "_to")

    def __init__(
        self,
        replies: list[Any],
        left: Sequence[int],
        read: Callable[[list[Any]], _Told],
        to: Receiver[_Told],
    ) -> None:
        self._replies = replies
        self._left = left
        self._read = read
        self._to = to

    def done(self) -> bool:
        return self._to.done()

    def set_result(self, result: list[Any], /) -> None:
        for i, reply in zip(self._left, result, strict=True):
            self._replies[i] = reply
        self._to.set_result(self._read(self._replies))

    def set_exception(self, exception: BaseException, /) -> None:
        """What the plain commands did is told all the same."""
        if isinstance(exception, StoreUnavailable) and len(self._left) < len(self._replies):
            self.set_result([exception] * len(self._left))
        else:
            self._to.set_exception(exception)
