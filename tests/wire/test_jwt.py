"""jwt: scopes: claims are verified, or there are none."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from proxy.core.upstream import Headers
from proxy.errors import ConfigError
from proxy.jwt import Claims, bearer, unverified
from proxy.settings import defaults
from tests.fakes.upstream_raw import RawUpstream, ok
from tests.wire.gateway import RULE, gateway, post

SECRET = "a secret of at least thirty-two bytes"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, identity: str) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else None
    maker = kind or jwt.algorithms.ECAlgorithm
    made: dict[str, Any] = json.loads(maker.to_jwk(key.public_key()))  # type: ignore[arg-type]
    return {**made, "kid": identity, "use": "sig"}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def signed_by_hand(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """What the library, rightly, does not do."""

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    text = b".".join(part(json.dumps(member).encode()) for member in (header, claims))
    return (text + b"." + part(hmac.digest(secret, text, "sha256"))).decode()


def sent(token: str, scheme: str = "Bearer") -> Headers:
    return (("Authorization", f"{scheme} {token}"),)


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return str(path)


async def test_a_secret(secret_file: str) -> None:
    claims = Claims(defaults(jwt_secret_file=secret_file))
    good = jwt.encode({"tenant": "t", "n": 1}, SECRET, "HS256")
    assert await claims.verified(sent(good)) == {"tenant": "t", "n": 1}
    assert await claims.verified(sent(good, "bearer")) == {"tenant": "t", "n": 1}
    bad = {
        "another secret": jwt.encode({"tenant": "t"}, SECRET + "x", "HS256"),
        "another algorithm": jwt.encode({"tenant": "t"}, SECRET * 2, "HS512"),
        "no signature": jwt.encode({"tenant": "t"}, "", "none"),
        "expired": jwt.encode({"exp": time.time() - 100}, SECRET, "HS256"),
        "not yet": jwt.encode({"nbf": time.time() + 100}, SECRET, "HS256"),
        "nonsense": "a.b.c",
        "cut": good[:-5],
    }
    for name, token in bad.items():
        assert await claims.verified(sent(token)) is None, name
    assert await claims.verified(()) is None
    assert await claims.verified(sent(good) * 2) is None
    assert await claims.verified(sent(good, "Basic")) is None


async def test_the_audience_is_checked_where_it_is_set(secret_file: str) -> None:
    token = jwt.encode({"aud": "other"}, SECRET, "HS256")
    mine = jwt.encode({"aud": ["mine", "other"]}, SECRET, "HS256")
    strict = Claims(defaults(jwt_secret_file=secret_file, jwt_audience="mine"))
    assert await strict.verified(sent(token)) is None
    assert await strict.verified(sent(jwt.encode({}, SECRET, "HS256"))) is None
    assert await strict.verified(sent(mine)) is not None
    lenient = Claims(defaults(jwt_secret_file=secret_file))
    assert await lenient.verified(sent(token)) == {"aud": "other"}


async def test_a_jwks_file(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(jwk(RSA, "r"), jwk(EC, "e")))
    claims = Claims(defaults(jwt_jwks_file=str(path)))
    for key, algorithm, identity in ((RSA, "RS256", "r"), (EC, "ES256", "e")):
        token = jwt.encode({"t": 1}, key, algorithm, headers={"kid": identity})
        assert await claims.verified(sent(token)) == {"t": 1}
    wrong_id = jwt.encode({"t": 1}, RSA, "RS256", headers={"kid": "e"})
    assert await claims.verified(sent(wrong_id)) is None
    stranger = jwt.encode({"t": 1}, OTHER_RSA, "RS256", headers={"kid": "r"})
    assert await claims.verified(sent(stranger)) is None
    no_id = jwt.encode({"t": 1}, RSA, "RS256")
    assert await claims.verified(sent(no_id)) is None


async def test_a_public_key_is_not_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(jwk(RSA, "r")))
    claims = Claims(defaults(jwt_jwks_file=str(path)))
    public = RSA.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    forged = signed_by_hand({"alg": "HS256", "kid": "r"}, {"t": 1}, public)
    assert await claims.verified(sent(forged)) is None
    with pytest.raises(ConfigError, match="public key for a secret"):
        defaults(jwt_jwks_file=str(path), jwt_algorithms="HS256")


async def test_one_key_without_an_id_serves_tokens_without_one(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(jwk(RSA, "r")))
    claims = Claims(defaults(jwt_jwks_file=str(path)))
    assert await claims.verified(sent(jwt.encode({"t": 1}, RSA, "RS256"))) == {"t": 1}


@pytest.mark.parametrize("text", ["", "{}", '{"keys":[]}', '{"keys":[1]}', "[]", "nonsense"])
def test_a_jwks_file_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="no usable JWKS"):
        Claims(defaults(jwt_jwks_file=str(path)))


async def test_a_jwks_url_is_cached_and_follows_a_rotation() -> None:
    now = 0.0

    def clock() -> float:
        return now

    async with RawUpstream(ok(jwks(jwk(RSA, "1")))) as issuer:
        claims = Claims(defaults(jwt_jwks_url=f"{issuer.url}/jwks"), clock=clock)
        first = sent(jwt.encode({"t": 1}, RSA, "RS256", headers={"kid": "1"}))
        second = sent(jwt.encode({"t": 2}, OTHER_RSA, "RS256", headers={"kid": "2"}))
        for _ in range(3):
            assert await claims.verified(first) == {"t": 1}
        assert len(issuer.received) == 1
        issuer.answer = ok(jwks(jwk(OTHER_RSA, "2")))
        assert await claims.verified(second) is None
        assert len(issuer.received) == 1
        now = 11.0
        assert await claims.verified(second) == {"t": 2}
        assert await claims.verified(first) is None
        assert len(issuer.received) == 2
        now = 22.0
        issuer.answer = ok(b"", "500 Oops")
        assert await claims.verified(first) is None
        assert await claims.verified(second) == {"t": 2}
        assert len(issuer.received) == 3


async def test_strangers_tokens_do_not_hammer_the_issuer() -> None:
    async with RawUpstream(ok(jwks(jwk(RSA, "1")))) as issuer:
        claims = Claims(defaults(jwt_jwks_url=f"{issuer.url}/jwks"), clock=lambda: 100.0)
        for identity in range(20):
            token = jwt.encode({}, OTHER_RSA, "RS256", headers={"kid": f"x{identity}"})
            assert await claims.verified(sent(token)) is None
        assert len(issuer.received) == 1


@pytest.mark.parametrize("body", [b"", b"nonsense", b'{"keys":[]}', b"x" * 600_000])
async def test_an_issuer_that_says_nonsense(body: bytes) -> None:
    async with RawUpstream(ok(body)) as issuer:
        claims = Claims(defaults(jwt_jwks_url=issuer.url))
        token = jwt.encode({}, RSA, "RS256", headers={"kid": "1"})
        assert await claims.verified(sent(token)) is None


def test_unverified_and_bearer() -> None:
    token = jwt.encode({"t": 1}, SECRET, "HS256")
    assert unverified(sent(token)) == {"t": 1}
    assert unverified(sent("nonsense")) is None
    assert unverified(()) is None
    assert bearer((("authorization", "BEARER   x "),)) == "x"
    assert bearer((("authorization", "Bearer "),)) is None


VERIFIED = RULE.replace('"header:X-Tenant"', '"jwt:/tenant"')
UNVERIFIED = RULE.replace('["header:X-Tenant"]', "[{jwt: /tenant, unverified: true}]")
BODY = b'{"orders":[{"id":1}]}'


async def test_a_verified_scope_end_to_end(secret_file: str) -> None:
    flags = {"jwt_secret_file": secret_file}
    async with (
        RawUpstream(ok(b'{"results":[{}]}')) as upstream,
        gateway(upstream.url, VERIFIED, flags=flags) as proxy,
    ):
        for tenant in ("a", "b", "a"):
            token = jwt.encode({"tenant": tenant}, SECRET, "HS256")
            got = await proxy.ask(post(BODY, f"Authorization: Bearer {token}"))
        assert got.header("idempotent-replayed") == "true"
        assert len(upstream.received) == 2
        forged = jwt.encode({"tenant": "a"}, SECRET + "x", "HS256")
        got = await proxy.ask(post(BODY, f"Authorization: Bearer {forged}"))
        assert got.values("idempotent-replayed") == []
        assert len(upstream.received) == 3
        assert proxy.seen.passed["orders", "no_scope"] == 1


async def test_an_unverified_scope_is_taken_as_it_stands() -> None:
    async with RawUpstream(ok(b'{"results":[{}]}')) as upstream:
        async with gateway(upstream.url, UNVERIFIED) as proxy:
            for secret in (SECRET, SECRET + "x"):
                token = jwt.encode({"tenant": "a"}, secret, "HS256")
                got = await proxy.ask(post(BODY, f"Authorization: Bearer {token}"))
        assert got.header("idempotent-replayed") == "true"
        assert len(upstream.received) == 1
