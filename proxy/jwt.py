"""The claims of a request's bearer token, for ``jwt:`` scopes. Law: verified, or none.

One key source: an HMAC secret, a JWKS file or a JWKS URL. A URL's keys are cached; a token with
an unknown key id has them fetched again, at most once in ``_REFETCH`` seconds, so that a rotation
is followed and a stranger's tokens cannot make us hammer the issuer. A token that does not verify
has no claims: its request is not deduplicated, and the service refuses it as it always did.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jwt
from aiohttp import ClientError, ClientSession, ClientTimeout, StreamReader

from proxy.core.upstream import Headers
from proxy.errors import ConfigError
from proxy.headers import values
from proxy.settings import Settings, read_secret

_LOG: Final = logging.getLogger(__name__)
_FRESH: Final = 600.0
_REFETCH: Final = 10.0
_FETCH_TIMEOUT: Final = 5.0
_MAX_JWKS: Final = 512 * 1024
_LEEWAY: Final = 30
_ASYMMETRIC: Final = ("RS256", "ES256")


class _Keys:
    """The verification keys by key id; the id of a key that has none is empty."""

    def __init__(self, document: Any) -> None:
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list) or not all(isinstance(key, dict) for key in listed):
            raise ValueError("not a JWK Set")
        found = jwt.PyJWKSet(listed).keys
        self._by_id = {key.key_id or "": key for key in found}

    def of(self, token: str) -> jwt.PyJWK | None:
        identity = jwt.get_unverified_header(token).get("kid")
        if identity is None and len(self._by_id) == 1:
            return next(iter(self._by_id.values()))
        return self._by_id.get(identity or "")


class Claims:
    """Verifies tokens as the settings say. ``close`` when done."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._audience = settings.jwt_audience or None
        self._url = settings.jwt_jwks_url
        self._secret = b""
        self._keys: _Keys | None = None
        self._fetched = self._asked = -math.inf
        self._fetching = asyncio.Lock()
        if settings.jwt_secret_file:
            self._secret = read_secret(settings.jwt_secret_file)
        elif settings.jwt_jwks_file:
            self._keys = _keys_of_file(settings.jwt_jwks_file)
        default = ("HS256",) if self._secret else _ASYMMETRIC
        self._algorithms: Sequence[str] = settings.jwt_algorithms or default

    @property
    def verifies(self) -> bool:
        """Whether there is a key source at all."""
        return bool(self._secret or self._keys or self._url)

    async def verified(self, headers: Headers) -> Mapping[str, Any] | None:
        """The claims of the request's one bearer token, or None."""
        token = bearer(headers)
        if token is None or not self.verifies:
            return None
        try:
            key = self._secret or await self._key(token)
            if key is None:
                return None
            decoded: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(self._algorithms),
                audience=self._audience,
                leeway=_LEEWAY,
                options={"verify_aud": self._audience is not None},
            )
        except jwt.PyJWTError:
            return None
        return decoded

    async def _key(self, token: str) -> jwt.PyJWK | None:
        if not self._url:
            return self._keys.of(token) if self._keys else None
        key = self._keys.of(token) if self._keys else None
        stale = self._clock() - self._fetched > _FRESH
        if (key is None or stale) and self._clock() - self._asked > _REFETCH:
            async with self._fetching:
                # Whoever waited for the lock finds the work done.
                if self._clock() - self._asked > _REFETCH:
                    self._asked = self._clock()
                    await self._fetch()
            key = self._keys.of(token) if self._keys else None
        return key

    async def _fetch(self) -> None:
        """Fetch the keys; the old ones stay where that fails."""
        try:
            timeout = ClientTimeout(total=_FETCH_TIMEOUT)
            async with ClientSession(timeout=timeout) as session, session.get(self._url) as reply:
                reply.raise_for_status()
                text = await _bounded(reply.content)
            self._keys = _Keys(json.loads(text))
            self._fetched = self._clock()
        except (ClientError, TimeoutError, OSError, ValueError, jwt.PyJWTError) as error:
            _LOG.warning("the JWKS could not be fetched", extra={"reason": type(error).__name__})


def bearer(headers: Headers) -> str | None:
    """The token of the request's one Authorization field, or None."""
    given = values(headers, "authorization")
    if len(given) != 1:
        return None
    scheme, _, token = given[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def unverified(headers: Headers) -> Mapping[str, Any] | None:
    """The token's claims as they stand, for scopes whose rule says ``unverified: true``."""
    token = bearer(headers)
    if token is None:
        return None
    try:
        decoded: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    return decoded


async def _bounded(content: StreamReader) -> bytes:
    text = b""
    async for piece in content.iter_any():
        text += piece
        if len(text) > _MAX_JWKS:
            raise ValueError("the JWKS is too large")
    return text


def _keys_of_file(file: str) -> _Keys:
    try:
        return _Keys(json.loads(Path(file).read_text("utf-8")))
    except (OSError, ValueError, jwt.PyJWTError) as error:
        raise ConfigError(f"{file}: no usable JWKS ({type(error).__name__})") from error
