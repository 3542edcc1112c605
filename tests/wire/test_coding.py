"""Content codings, undone within limits: the input is hostile."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from proxy.edge.coding import MAX_RATIO, TooLarge, Undecodable, decode

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
SAMPLES = {
    "short": b"x",
    "text": b'{"orders":[{"id":1}]}' * 3000,
    "noise": random.Random(1).randbytes(300_000),
    "noise as text": random.Random(2).randbytes(300_000).hex().encode(),
}
LIMIT = 2**20


@pytest.mark.parametrize("coding", ENCODERS)
@pytest.mark.parametrize("name", SAMPLES)
def test_round_trip_and_its_edges(coding: str, name: str) -> None:
    data = SAMPLES[name]
    packed = ENCODERS[coding](data)
    assert decode(coding, packed, LIMIT) == data
    assert decode(coding, packed, len(data)) == data
    with pytest.raises(TooLarge):
        decode(coding, packed, len(data) - 1)
    for cut in {1, len(packed) // 2, len(packed) - 1}:
        with pytest.raises(Undecodable):
            decode(coding, packed[:cut], LIMIT)
    with pytest.raises(Undecodable):
        decode(coding, b"junk" + packed, LIMIT)
    with pytest.raises(Undecodable):
        decode(coding, packed + b"junk", LIMIT)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_one_behind_the_other(coding: str) -> None:
    pack = ENCODERS[coding]
    assert decode(coding, pack(b"a" * 999) + pack(b"b"), LIMIT) == b"a" * 999 + b"b"


def test_bare_deflate_is_read_too() -> None:
    bare = zlib.compressobj(wbits=-15)
    assert decode("deflate", bare.compress(b"hello") + bare.flush(), LIMIT) == b"hello"


@pytest.mark.parametrize("coding", ["", "compress", "gzip, br", "identity;q=1", "zstd2"])
def test_unknown_codings(coding: str) -> None:
    with pytest.raises(Undecodable):
        decode(coding, b"x", LIMIT)


@pytest.mark.parametrize("coding", ENCODERS)
def test_a_bomb_is_refused_by_size_or_ratio(coding: str) -> None:
    bomb = ENCODERS[coding](bytes(32 * 2**20))
    with pytest.raises(TooLarge):
        decode(coding, bomb, 8 * 2**20)
    if len(bomb) < 32 * 2**20 // MAX_RATIO:
        with pytest.raises(TooLarge, match="ratio"):
            decode(coding, bomb, 64 * 2**20)


def test_the_ratio_is_not_asked_of_short_bodies_or_of_trusted_senders() -> None:
    packed = zstandard.compress(bytes(200_000))
    assert len(packed) * MAX_RATIO < 200_000
    assert decode("zstd", packed, LIMIT) == bytes(200_000)
    packed = zstandard.compress(bytes(900_000))
    with pytest.raises(TooLarge, match="ratio"):
        decode("zstd", packed, LIMIT)
    assert decode("zstd", packed, LIMIT, max_ratio=None) == bytes(900_000)
