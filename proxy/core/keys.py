"""The one function that makes a store key. Law: pure; no personal data stands in a key.

A key is ``PREFIX:{BB}:v1:DIGEST``. The digest is a BLAKE2b over rule name, rule generation, scope
values and key values, each with its type and length, so that ``1`` is not ``"1"`` and no choice
of values can meet another's key. ``BB`` is one of 64 buckets; its braces are literal, so that on
Redis Cluster a bucket's keys share a slot and one script call takes them all.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from operator import add
from struct import Struct
from typing import Final, Protocol

from proxy.core.native import KeyDigester
from rules.model import Key
from rules.packed import PackedKeys

DIGEST_BYTES: Final = 24
_BLOCK: Final = 128
BUCKETS: Final = 64
_CHARS: Final = DIGEST_BYTES * 4 // 3
_TEXT: Final = Struct(f"{_CHARS}s")
_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_CACHED_SCOPES: Final = 4096
_DIGEST: Final = re.compile(rf"[A-Za-z0-9_-]{{{_CHARS}}}")


class _Digester(Protocol):
    def store_keys(self, keys: Sequence[Key]) -> list[bytes] | None: ...
    def of_packed(self, packed: bytes, values: int) -> list[bytes] | None: ...


def _string(text: str) -> bytes:
    value = text.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(value), value)


def _integer(number: int) -> bytes:
    value = b"%d" % number
    return b"i%d:%b" % (len(value), value)


def _part(value: str | int) -> bytes:
    return _string(value) if isinstance(value, str) else _integer(value)


def digest_of(store_key: bytes) -> str:
    """The last part of a store key: all that logs and lists show of it."""
    return store_key.rpartition(b":")[2].decode()


class KeyMaker:
    """Makes store keys under one prefix; keyed with ``secret`` where there is one, so that who
    reads the store cannot try out key values."""

    def __init__(self, prefix: str = "idem", secret: bytes | None = None) -> None:
        if "{" in prefix or "}" in prefix:
            raise ValueError("the store prefix cannot have braces: they choose the cluster slot")
        heads = [f"{prefix}:{{{n:02x}}}:v1:".encode() for n in range(BUCKETS)]
        # By a digest's first byte, whose lower bits are the bucket.
        self._heads: Final = heads * (256 // BUCKETS)
        # BLAKE2b takes 64 bytes of key at most; any length may stand in the file.
        self._secret = blake2b(secret, digest_size=64).digest() if secret else b""
        self._hashers: dict[tuple[str, int, tuple[str, ...]], blake2b] = {}
        self._digesters: dict[tuple[str, int, tuple[str, ...]], _Digester] = {}

    @property
    def keyed(self) -> bool:
        return bool(self._secret)

    def store_key(self, rule_name: str, generation: int, scope: tuple[str, ...], key: Key) -> bytes:
        return self.store_keys(rule_name, generation, scope, (key,))[0]

    def store_keys(
        self, rule_name: str, generation: int, scope: tuple[str, ...], keys: Sequence[Key]
    ) -> list[bytes]:
        """One store key for each, in order. Half a microsecond a key: what keys have in common is
        hashed once, and all digests become text in one go."""
        digester = self._digester(rule_name, generation, scope)
        if digester is not None:
            if isinstance(keys, PackedKeys):
                made = digester.of_packed(keys.packed, keys.values)
            else:
                made = digester.store_keys(keys)
            if made is not None:
                return made
        shared = self._hasher(rule_name, generation, scope)
        headed: dict[int, blake2b] = {}  # by the length of a text: most keys have the same
        digests = []
        for key in keys:
            if len(key) == 1 and isinstance(value := key[0], str):
                text = value.encode("utf-8", "surrogatepass")
                size = len(text)
                hasher = headed.get(size)
                if hasher is None:
                    headed[size] = hasher = shared.copy()
                    hasher.update(b"s%d:" % size)
                hasher = hasher.copy()
                hasher.update(text)
            else:
                hasher = shared.copy()
                hasher.update(b"".join(map(_part, key)))
            digests.append(hasher.digest())
        # 24 bytes are 32 characters without padding, so that digests can be encoded side by side.
        joined = b"".join(digests)
        texts = b2a_base64(joined, newline=False).translate(_URLSAFE)
        each = chain.from_iterable(_TEXT.iter_unpack(texts))
        heads = map(self._heads.__getitem__, joined[::DIGEST_BYTES])
        return list(map(add, heads, each))

    def of_digest(self, digest: str) -> bytes:
        """The store key that ends in ``digest``, as logs and lists show it. Raises ValueError."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"a digest is {_CHARS} characters of A-Z a-z 0-9 - _")
        return self._heads[urlsafe_b64decode(digest[:4])[0]] + digest.encode()

    def _hasher(self, rule_name: str, generation: int, scope: tuple[str, ...]) -> blake2b:
        kept = self._hashers.get((rule_name, generation, scope))
        if kept is None:
            kept = blake2b(digest_size=DIGEST_BYTES, key=self._secret)
            kept.update(_shared_text(rule_name, generation, scope))
            if len(self._hashers) >= _CACHED_SCOPES:
                self._hashers.clear()
            self._hashers[rule_name, generation, scope] = kept
        return kept

    def _digester(
        self, rule_name: str, generation: int, scope: tuple[str, ...]
    ) -> _Digester | None:
        """The same for the compiled build, where a key is a block in front of the text."""
        if KeyDigester is None:
            return None
        kept = self._digesters.get((rule_name, generation, scope))
        if kept is None:
            block = self._secret.ljust(_BLOCK, b"\0") if self._secret else b""
            lead = block + _shared_text(rule_name, generation, scope)
            try:
                kept = KeyDigester(lead, len(self._secret), self._heads)
            except ValueError:  # a scope of kilobytes
                return None
            if len(self._digesters) >= _CACHED_SCOPES:
                self._digesters.clear()
            self._digesters[rule_name, generation, scope] = kept
        return kept


def _shared_text(rule_name: str, generation: int, scope: tuple[str, ...]) -> bytes:
    """What is hashed for every key of these, in front of it."""
    parts = (_string(rule_name), _integer(generation), _integer(len(scope)))
    return b"".join((*parts, *map(_string, scope)))
