"""The upstream calls that a request makes, built from what its client sent. Law: pure.

A forwarded body that differs from the client's gets new digests (RFC 9530, RFC 3230, RFC 1864)
and a suffix on the client's Idempotency-Key: the same key with another body would be a conflict
for a service that honours that header. The suffix is a digest of the body, so that the same
sub-batch sent again has the same key.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Final

from proxy.core.upstream import Call, Headers, Purpose
from proxy.exchange import Exchange

_OF_THE_BODY: Final = frozenset(
    {
        "content-type",
        "content-length",
        "content-encoding",
        "content-language",
        "content-location",
        "content-md5",
        "content-digest",
        "digest",
        "repr-digest",
        "idempotency-key",
        "signature",
        "signature-input",
        "range",
        "if-range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
    }
)


def batch_call(exchange: Exchange, body: bytes, purpose: Purpose) -> Call:
    """Forward ``body``, all or a part of the exchange's batch, with the client's own headers."""
    headers = exchange.headers
    if exchange.kept is None and follow_from_body(headers):
        whole = body == exchange.batch.whole
        headers = tuple((n, _rewritten(n.lower(), v, body, whole)) for n, v in headers)
    return Call(exchange.method, exchange.target, headers, body, purpose, exchange.kept)


def follow_from_body(headers: Headers) -> bool:
    """Whether one of the lines is another with another body."""
    return any(name.lower() in _REWRITTEN for name, _ in headers)


def lookup_call(exchange: Exchange, method: str, target: str, body: bytes | None) -> Call:
    """Ask the service for what it has, with the client's credentials and scope headers."""
    headers = tuple((n, v) for n, v in exchange.headers if n.lower() not in _OF_THE_BODY)
    if body is not None:
        headers += (("Content-Type", "application/json"),)
    return Call(method, target, headers, body or b"", Purpose.LOOKUP)


def _content_digest(value: str, body: bytes) -> str:
    """RFC 9530: the algorithms that the client used, of those that are not deprecated."""
    names = [n for n in ("sha-512", "sha-256") if f"{n}=" in value.lower()] or ["sha-256"]
    return ", ".join(f"{n}=:{_hash(n, body)}:" for n in names)


def _digest(value: str, body: bytes) -> str:
    """RFC 3230, as ``Content-Digest`` but for the colons."""
    names = [n for n in ("sha-512", "sha-256") if f"{n}=" in value.lower()] or ["sha-256"]
    return ",".join(f"{n}={_hash(n, body)}" for n in names)


def _content_md5(_value: str, body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _hash(name: str, body: bytes) -> str:
    return base64.b64encode(hashlib.new(name.replace("-", ""), body).digest()).decode()


_DIGESTS: Final[dict[str, Callable[[str, bytes], str]]] = {
    "content-digest": _content_digest,
    "digest": _digest,
    "content-md5": _content_md5,
}
_REWRITTEN: Final = frozenset({*_DIGESTS, "idempotency-key"})


def _rewritten(name: str, value: str, body: bytes, whole: bool) -> str:
    if name in _DIGESTS:
        # Also for a whole body: the client's digest may be of a content coding that is gone.
        return _DIGESTS[name](value, body)
    if name != "idempotency-key" or whole:
        return value
    suffix = hashlib.blake2b(body, digest_size=6).hexdigest()
    # The draft's header is a quoted string; many clients send it bare.
    return f'{value[:-1]}-{suffix}"' if value.endswith('"') else f"{value}-{suffix}"
