"""Stored results encrypted, so that who reads the store cannot read what clients were answered.

AES-256-GCM with a fresh nonce a result; the record's key is the associated data, so that a result
cannot be moved to another record. Keys have ids, for rotation: the first in the file encrypts, all
of them decrypt. A sealed result is ``id length 1, id, nonce 12, ciphertext and tag``; the record
says by a flag that it is sealed, so that records from before the encryption stay readable.

Law: what cannot be opened is a record without a body, which the rule knows how to answer. It is
never an error, and never shown.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from proxy.core.record import (
    Applied,
    Commit,
    Done,
    Record,
    Settlement,
    Stands,
    Terms,
    Won,
)
from proxy.core.replays import Replays
from proxy.errors import ConfigError, StoreUnavailable
from proxy.store.base import Claims, PromptStore, ScannableStore, Settles, StoreInfo
from proxy.store.receive import Mapped, Receiver
from proxy.store.replies import sole

_NONCE: Final = 12
_log: Final = logging.getLogger(__name__)


class Sealer:
    """``keys``: id -> 32 bytes; the first seals. Without keys nothing is sealed or opened."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._ciphers = {name.encode(): AESGCM(key) for name, key in keys.items()}
        self._first = next(iter(self._ciphers), b"")
        self._unknown: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self._ciphers)

    @classmethod
    def from_text(cls, text: str) -> Sealer:
        """Lines of ``id:base64 of 32 bytes``; empty lines and ``#`` comments are skipped."""
        keys: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, colon, encoded = line.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                key = b""
            if not colon or not name or len(name.encode()) > 255 or len(key) != 32:
                raise ConfigError(f"ENCRYPTION_KEY_FILE, line {number}: not id:base64 of 32 bytes")
            if name in keys:
                raise ConfigError(
                    f"ENCRYPTION_KEY_FILE, line {number}: the id {name!r} is repeated"
                )
            keys[name] = key
        if not keys:
            raise ConfigError("ENCRYPTION_KEY_FILE: no key in it")
        return cls(keys)

    def seal(self, record_key: bytes, result: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self._first].encrypt(nonce, result, record_key)
        return bytes((len(self._first),)) + self._first + nonce + sealed

    def open(self, record_key: bytes, sealed: bytes) -> bytes | None:
        """None: sealed with a key that is not here, or not by us at all."""
        end = 1 + sealed[0] if sealed else 0
        cipher = self._ciphers.get(sealed[1:end])
        if cipher is None or len(sealed) < end + _NONCE + 16:
            self._tell(sealed[1:end])
            return None
        try:
            return cipher.decrypt(sealed[end : end + _NONCE], sealed[end + _NONCE :], record_key)
        except InvalidTag:
            self._tell(sealed[1:end])
            return None

    def _tell(self, name: bytes) -> None:
        """Once for each id: there can be millions of such records."""
        if name not in self._unknown and len(self._unknown) < 100:
            self._unknown.add(name)
            _log.warning(
                "stored results cannot be decrypted; they are replayed without their body",
                extra={"key_id": name.decode("utf-8", "replace")},
            )


class SealedStore:
    """Seals what is committed, and opens what is replayed. It stands before a shared store even
    without keys: another process may seal what this one reads."""

    def __init__(self, store: ScannableStore, sealer: Sealer) -> None:
        self._store = store
        self._prompt = store if isinstance(store, PromptStore) else None
        self._sealer = sealer

    async def claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
    ) -> Claims:
        return self._open_claims(keys, await self._store.claim(keys, fingerprints, token, terms))

    def ask_claim(
        self,
        keys: Sequence[bytes],
        fingerprints: Sequence[bytes | None],
        token: bytes,
        terms: Terms,
        to: Receiver[Claims],
    ) -> bool:
        if self._prompt is None:
            return False
        opened = Mapped(to, partial(self._open_claims, keys))
        return self._prompt.ask_claim(keys, fingerprints, token, terms, opened)

    def wake(self) -> None:
        if self._prompt is not None:
            self._prompt.wake()

    async def settle(
        self, keys: Sequence[bytes], steps: Sequence[Settlement], token: bytes, terms: Terms
    ) -> Settles:
        steps = self._seal_all(keys, steps)
        return self._open_settles(keys, await self._store.settle(keys, steps, token, terms))

    def ask_settle(
        self,
        keys: Sequence[bytes],
        steps: Sequence[Settlement],
        token: bytes,
        terms: Terms,
        to: Receiver[Settles],
    ) -> bool:
        if self._prompt is None:
            return False
        opened = Mapped(to, partial(self._open_settles, keys))
        return self._prompt.ask_settle(keys, self._seal_all(keys, steps), token, terms, opened)

    async def read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        records = await self._store.read(keys)
        for at, record in enumerate(records):
            if type(record) is Done and record.sealed:
                records[at] = self._opened(keys[at], record)
        return records

    async def scan(self, cursor: str = "", count: int = 1000) -> tuple[str, list[bytes]]:
        return await self._store.scan(cursor, count)

    async def probe(self) -> StoreInfo:
        info = await self._store.probe()
        results = "encrypted" if self._sealer else "in the clear"
        return dataclasses.replace(info, facts={**info.facts, "results": results})

    async def close(self) -> None:
        await self._store.close()

    def _seal_all(self, keys: Sequence[bytes], steps: Sequence[Settlement]) -> Sequence[Settlement]:
        if not self._sealer:
            return steps
        return [self._sealed(key, step) for key, step in zip(keys, steps, strict=True)]

    def _open_claims(self, keys: Sequence[bytes], replies: Claims) -> Claims:
        if isinstance(replies, Replays) or type(sole(replies)) is Won:
            return replies
        return [
            self._opened(key, reply) if type(reply) is Done and reply.sealed else reply
            for key, reply in zip(keys, replies, strict=True)
        ]

    def _open_settles(self, keys: Sequence[bytes], replies: Settles) -> Settles:
        if type(sole(replies)) is Applied:
            return replies
        for at, reply in enumerate(replies):
            if type(reply) is Stands and reply.record.sealed:
                replies[at] = Stands(self._opened(keys[at], reply.record))
        return replies

    def _sealed(self, key: bytes, step: Settlement) -> Settlement:
        if not isinstance(step, Commit) or step.result is None:
            return step
        return replace(step, result=self._sealer.seal(key, step.result), sealed=True)

    def _opened(self, key: bytes, record: Done) -> Done:
        result = self._sealer.open(key, record.result) if record.result else None
        return replace(record, result=result, sealed=False)
