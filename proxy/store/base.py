"""The Store interface: one of the product's two seams (the other is ``Upstream``).

Law: what is expected is a value; the only exception is ``StoreUnavailable``, for an outage.

Each method is one compare-and-set per key and nothing is atomic across keys. A list given is a
list answered, position by position. On a store of several shards some keys may fail while others
succeed, so an answer's element is ``StoreUnavailable`` (the instance) where that key's shard did
not answer; a call that nothing answered raises it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from proxy.core.record import ClaimReply, Record, Settlement, SettleReply, Terms
from proxy.errors import StoreUnavailable
from proxy.store.receive import Receiver

Claims = Sequence[ClaimReply | StoreUnavailable]
Settles = list[SettleReply | StoreUnavailable]


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What was found at start-up: ``facts`` for the log, ``warnings`` in plain words."""

    kind: str
    facts: dict[str, str]
    warnings: tuple[str, ...]


class Store(Protocol):
    """Keys are whole store keys as ``proxy.core.keys.store_key`` makes them (bytes)."""

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Sequence[ClaimReply | StoreUnavailable]:
        """Claim every key for ``token``; where the fingerprint is None, content is not
        compared. Safe to repeat with the same token."""

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        """Sent, extend, commit, release and doubt, mixed freely. Safe to repeat."""

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        """The records as they stand, without claiming (shadow mode, the admin API)."""

    async def probe(self) -> StoreInfo:
        """Connect and say what is there. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Close every connection. Idempotent."""


@runtime_checkable
class PromptStore(Protocol):
    """A store that can also be asked without a task: the same calls, whose replies ``to`` is told
    of in a later turn of the loop. False: not now, and nothing was done; the call that is awaited
    has more ways."""

    def ask_claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
        to: Receiver[Claims],
    ) -> bool: ...

    def ask_settle(
        self,
        keys: Sequence[bytes],
        steps: Sequence[Settlement],
        token: bytes,
        terms: Terms,
        to: Receiver[Settles],
    ) -> bool: ...

    def wake(self) -> None:
        """A call is about to follow: what has gone to sleep may get up meanwhile. A hint."""


class ScannableStore(Store, Protocol):
    """A store whose keys can be walked through: what the admin API lists from."""

    async def scan(self, cursor: str = "", count: int = 1000) -> tuple[str, list[bytes]]:
        """About ``count`` of this prefix's keys, and the cursor of the next page: "" at the end.
        A key that is there all the while comes at least once."""
