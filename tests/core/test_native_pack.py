"""What the compiled build packs for a whole batch is what is packed one by one."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.guard import request_of, response_of
from proxy.core import codec
from proxy.core.keys import KeyMaker
from proxy.core.native import (
    IS_HERE,
    KeyDigester,
    all_differ,
    claim_fields,
    command,
    commit_words,
    records_each,
)
from proxy.core.record import Commit, Done
from proxy.core.replays import replays_of
from proxy.errors import StoreUnavailable
from proxy.store.pipe import words
from rules.native import array_reader, item_reader
from rules.packed import PackedKeys
from rules.pointer import Pointer
from tests.rules.making import request, rule

pytestmark = pytest.mark.skipif(not IS_HERE, reason="the pure build has nothing native")

TOKEN = bytes(range(12))
TEXTS = st.text(max_size=12) | st.sampled_from(["x" * 115, "x" * 300, "é" * 127, "\ud800"])
KEYS = st.lists(
    st.lists(TEXTS | st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=3).map(tuple),
    max_size=11,
)
RESULTS = st.binary(max_size=300)
PRINTS = st.binary(min_size=16, max_size=16)


def by_hashlib(
    keys: list[tuple[str | int, ...]], scope: tuple[str, ...], secret: bytes
) -> list[bytes]:
    """Digests as the contract has them: each value with its type and length."""

    def part(value: str | int) -> bytes:
        kind = b"s" if isinstance(value, str) else b"i"
        text = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b"%d" % value
        return kind + b"%d:" % len(text) + text

    shared = [part("rule"), part(3), part(len(scope)), *map(part, scope)]
    key = blake2b(secret, digest_size=64).digest() if secret else b""
    return [
        blake2b(b"".join([*shared, *map(part, one)]), digest_size=24, key=key).digest()
        for one in keys
    ]


@settings(max_examples=500)
@given(KEYS, st.lists(TEXTS, max_size=2).map(tuple), st.sampled_from([b"", b"secret"]))
def test_store_keys_are_those_of_hashlib(
    keys: list[tuple[str | int, ...]], scope: tuple[str, ...], secret: bytes
) -> None:
    maker = KeyMaker("p", secret or None)
    wanted = [maker.of_digest(urlsafe(digest)) for digest in by_hashlib(keys, scope, secret)]
    assert maker.store_keys("rule", 3, scope, keys) == wanted


def urlsafe(digest: bytes) -> str:
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(digest).decode()


@settings(max_examples=500)
@given(st.lists(st.integers(0, 700).map(lambda n: b"idem:{00}:v1:" + b"%024d" % n), max_size=600))
def test_whether_a_key_stands_twice(keys: list[bytes]) -> None:
    assert all_differ is not None
    known = all_differ(keys)
    assert known == (len(set(keys)) == len(keys) if len(keys) <= 512 else None)


@pytest.mark.parametrize("size", [1, 2, 100, 511])
def test_keys_of_which_none_or_the_last_stands_twice(size: int) -> None:
    assert all_differ is not None
    keys = [b"idem:{00}:v1:" + b"%032d" % n for n in range(size)]
    assert all_differ(keys) is True
    for place in {0, size // 2, size - 1}:
        assert all_differ([*keys, bytes(bytearray(keys[place]))]) is False
    assert all_differ([*keys, b"another:" + b"%032d" % 0]) is True
    assert all_differ([*keys, b"short"]) is None


@pytest.mark.parametrize("size", [1, 4, 9])
def test_packed_keys_make_the_same_store_keys(size: int) -> None:
    maker, keys = KeyMaker("p"), [(f"k-{n}", n - 5) for n in range(size)]
    packed = b"".join(
        b"s%c%bi%c%b" % (len(a), a.encode(), len(b"%d" % b), b"%d" % b) for a, b in keys
    )
    read = PackedKeys(packed, size, 2)
    assert list(read) == keys
    assert maker.store_keys("r", 1, ("t",), read) == maker.store_keys("r", 1, ("t",), keys)


def test_packed_keys_that_are_cut_short_are_not_read_on() -> None:
    assert KeyDigester is not None
    digester = KeyDigester(b"lead", 0, [b""] * 256)
    assert digester.of_packed(b"s\x03ab", 1) is None


def test_a_scope_of_kilobytes_is_hashed_elsewhere() -> None:
    maker = KeyMaker("p")
    scope = ("t" * 5000,)
    (key,) = maker.store_keys("rule", 3, scope, [("a",)])
    assert key == maker.of_digest(urlsafe(by_hashlib([("a",)], scope, b"")[0]))


@given(st.lists(st.binary(max_size=60)), st.binary(max_size=400), st.lists(st.binary(max_size=20)))
def test_a_command_is_what_the_client_library_packs(
    keys: list[bytes], fields: bytes, values: list[bytes]
) -> None:
    assert command is not None
    call = words((b"EVALSHA", b"digest"))
    packed = b"".join(b"\r\n$%d\r\n%b" % (len(value), value) for value in values)
    wanted = hiredis.pack_command(
        ("EVALSHA", "digest", len(keys), *keys, fields, *values)  # type: ignore[arg-type]
    )
    assert command(call, keys, fields, len(values), packed) == wanted


@given(st.lists(st.tuples(PRINTS, RESULTS)), st.integers(0, 2**48 - 1))
def test_commits_and_claims_are_packed_as_one_by_one(
    pairs: list[tuple[bytes, bytes]], at: int
) -> None:
    assert commit_words is not None
    assert claim_fields is not None
    prints, results = [p for p, _ in pairs], [r for _, r in pairs]

    class Before(dict[int, bytes]):
        def __missing__(self, size: int) -> bytes:
            return b"\r\n$%d\r\n" % size

    steps = [Commit(p, at, r) for p, r in pairs]
    wanted = b"".join(codec.encode_commits(steps, TOKEN, Before()))
    assert commit_words(prints, results, codec.usual_head(TOKEN, at)) == wanted
    assert claim_fields(b"head", prints) == b"head" + b"".join(prints)


@pytest.mark.parametrize("size", [1, 3, 200])
def test_what_was_read_natively_is_packed_as_its_lists(size: int) -> None:
    assert commit_words is not None
    assert claim_fields is not None
    read = item_reader(rule(request("/notifications")))
    found = array_reader(Pointer("/results"))
    assert read is not None
    assert found is not None
    items, answered = read(request_of(size), 1000), found(response_of(size))
    assert items is not None
    assert answered is not None
    prints, results = items[1], answered[2]
    assert type(prints) is type(results) is not list
    assert len(prints) == len(results) == size
    head = codec.usual_head(TOKEN, 7)
    wanted = commit_words(list(prints), list(results), head)
    assert wanted is not None
    for one in (prints, list(prints), tuple(prints)):
        for other in (results, list(results), tuple(results)):
            assert commit_words(one, other, head) == wanted
    assert claim_fields(b"head", prints) == claim_fields(b"head", list(prints))
    assert claim_fields(b"head", results) is None  # they are no fingerprints
    assert commit_words(results, results, head) is None
    assert commit_words(prints[1:], results, head) is None


@given(
    st.lists(st.tuples(st.binary(min_size=12, max_size=12), PRINTS, RESULTS)),
    st.integers(0, 2**48 - 1),
)
def test_records_of_one_time_read_as_their_list(
    parts: list[tuple[bytes, bytes, bytes]], at: int
) -> None:
    records = [Done(token, at, print_, result) for token, print_, result in parts]
    replays = replays_of([codec.encode(record) for record in records])
    if not records or not all(result for _, _, result in parts):
        assert replays is None
        return
    assert replays is not None
    assert replays.processed_at == at
    assert list(replays.results) == [result for _, _, result in parts]
    assert list(replays) == records
    assert len(replays) == len(records)
    assert replays[-1] == records[-1]
    assert replays[1:] == records[1:]


ONE = Done(TOKEN, 7, b"f" * 16, b"{}")


@pytest.mark.parametrize(
    "other",
    [
        codec.encode(Done(TOKEN, 8, b"f" * 16, b"{}")),
        codec.encode(Done(TOKEN, 7, None, b"{}" * 20)),
        codec.encode(Done(TOKEN, 7, b"f" * 16, None)),
        codec.encode(Done(TOKEN, 7, b"f" * 16, b"")),
        codec.encode(Done(TOKEN, 7, b"f" * 16, b"{}", template=True)),
        codec.encode(Done(TOKEN, 7, b"f" * 16, b"sealed", sealed=True)),
        b"W",
        b"M",
        b"",
        b"B......",
        StoreUnavailable("away"),
        None,
    ],
)
def test_records_that_are_not_alike_are_read_one_by_one(other: object) -> None:
    usual = codec.encode(ONE)
    assert replays_of([usual, usual]) is not None
    assert replays_of([usual, other]) is None
    assert replays_of([other, usual]) is None
    assert replays_of((usual,)) is None


def test_what_is_not_usual_is_left_to_others() -> None:
    assert commit_words is not None
    assert claim_fields is not None
    head = codec.usual_head(TOKEN, 7)
    assert commit_words([None], [b"{}"], head) is None
    assert commit_words([b"f" * 16], [None], head) is None
    assert claim_fields(b"", [b"f" * 16, None]) is None


OTHERS = [b"", b"W", b"M", b"B......", codec.encode(Done(TOKEN, 7, None, b"x" * 40))]


@given(
    st.lists(
        st.tuples(st.binary(min_size=12, max_size=12), st.integers(0, 9), PRINTS, RESULTS)
        | st.sampled_from(OTHERS)
    )
)
def test_records_are_read_as_one_by_one(rows: list[Any]) -> None:
    assert records_each is not None
    wanted = [Done(r[0], r[1] * 2**44, *r[2:]) if isinstance(r, tuple) else r for r in rows]
    values = [codec.encode(r) if isinstance(r, Done) else r for r in wanted]
    usual = codec.usual_head(b"", 0)[:2]
    assert records_each(values, usual, Done, lambda value: value) == wanted
