"""Records as bytes: exact layout, round trips, and that nothing unknown is taken for known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.codec import decode, decode_each, encode, encode_commits
from proxy.core.record import Commit, Done, Doubt, Foreign, Held

TOKEN = bytes(range(12))
PRINT = bytes(range(100, 116))
TIMES = st.integers(0, 2**48 - 1)
PRINTS = st.one_of(st.none(), st.binary(min_size=16, max_size=16))
TOKENS = st.binary(min_size=12, max_size=12)


@st.composite
def _held(draw: st.DrawFn) -> Held:
    suspect = draw(st.booleans())
    return Held(
        token=draw(TOKENS),
        attempt=draw(st.integers(0, 65535)),
        deadline=draw(TIMES),
        fingerprint=draw(PRINTS),
        barrier=draw(st.booleans()),
        sent=draw(st.booleans()),
        suspect=suspect,
        doubt_since=draw(TIMES) if suspect else 0,
    )


DOUBTS = st.builds(Doubt, since=TIMES, attempt=st.integers(0, 65535), fingerprint=PRINTS)
DONES = st.builds(
    Done,
    token=TOKENS,
    processed_at=TIMES,
    fingerprint=PRINTS,
    result=st.one_of(st.none(), st.binary(max_size=64)),
    template=st.booleans(),
    sealed=st.booleans(),
)
RECORDS = st.one_of(_held(), DOUBTS, DONES)


@given(RECORDS)
def test_every_record_comes_back_as_it_was(record: Held | Doubt | Done) -> None:
    assert decode(encode(record)) == record


# Heads that differ in one field each, as a list of them could mix them up.
NEAR = [
    encode(Done(token, at, fingerprint, b"{}", template))
    for token in (TOKEN, TOKEN[::-1])
    for at in (7, 2**40)
    for fingerprint in (PRINT, PRINT[::-1], None)
    for template in (False, True)
]
VALUES = st.one_of(
    st.sampled_from(NEAR),
    RECORDS.map(encode),
    st.binary(max_size=40),
    st.binary(min_size=34, max_size=40).map(lambda rest: b"\x01\x06" + rest),
)


@given(st.lists(st.one_of(VALUES, st.none()), max_size=20))
def test_a_list_is_read_as_its_values_are_one_by_one(values: list[bytes | None]) -> None:
    def otherwise(value: bytes | None) -> object:
        return None if value is None else decode(value)

    assert decode_each(values, otherwise) == [otherwise(value) for value in values]


def test_the_layout_is_the_documented_one() -> None:
    assert encode(Held(TOKEN, 3, 5, PRINT, barrier=True, sent=True)) == (
        b"\x01\x1c" + TOKEN + b"\0\3" + b"\0\0\0\0\0\5" + PRINT
    )
    assert encode(Held(TOKEN, 3, 5, None, suspect=True, doubt_since=7)) == (
        b"\x01\x20" + TOKEN + b"\0\3" + b"\0\0\0\0\0\5" + b"\0\0\0\0\0\7"
    )
    assert encode(Doubt(7, 2, PRINT)) == b"\x01\x05" + b"\0\0\0\0\0\7" + b"\0\2" + PRINT
    assert encode(Done(TOKEN, 7, PRINT, b"{}")) == (
        b"\x01\x06" + TOKEN + b"\0\0\0\0\0\7" + PRINT + b"{}"
    )
    assert encode(Done(TOKEN, 7, None, None, template=True)) == (
        b"\x01\x1a" + TOKEN + b"\0\0\0\0\0\7"
    )


def test_a_done_record_takes_36_bytes_beside_its_result() -> None:
    assert len(encode(Done(TOKEN, 2**48 - 1, PRINT, b"x" * 100))) == 136


@given(RECORDS, st.integers(0, 5), st.binary(max_size=3))
def test_another_version_is_foreign_whatever_follows(
    record: Held | Doubt | Done, version: int, tail: bytes
) -> None:
    value = encode(record)
    other = bytes((version if version != 1 else 255,)) + value[1:] + tail

    assert decode(other) == Foreign()


@given(st.one_of(_held(), DOUBTS), st.data())
def test_a_value_cut_short_or_too_long_is_foreign(
    record: Held | Doubt, data: st.DataObject
) -> None:
    value = encode(record)
    cut = data.draw(st.integers(0, len(value) - 1))

    assert decode(value[:cut]) == Foreign()
    assert decode(value + b"x") == Foreign()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x01",
        b"\x01\x03" + bytes(30),  # no such state
        b"\x01\x82" + bytes(40),  # done, with a flag of the future
        b"\x01\x09" + bytes(8),  # doubt, with a flag of the others
        b"\x01\x40" + bytes(20),  # held, with a flag of the future
        b"\x01\x06" + bytes(33),  # done, too short for its fingerprint
        b"\x01\x02" + bytes(17),  # done, too short
        b"\x01\x0a" + bytes(19),  # done without a result, and yet with one
    ],
)
def test_what_is_malformed_is_foreign(value: bytes) -> None:
    assert decode(value) == Foreign()


@pytest.mark.parametrize(
    "value",
    [
        b"\x01\x02" + bytes(18),
        b"\x01\x06" + bytes(34),
        b"\x01\x0a" + bytes(18),
        b"\x01\x01" + bytes(8),
        b"\x01\x00" + bytes(20),
    ],
)
def test_its_nearest_neighbours_are_records(value: bytes) -> None:
    assert decode(value) != Foreign()


@given(st.binary(max_size=60))
def test_any_bytes_decode_to_something_that_encodes_back(value: bytes) -> None:
    record = decode(value)

    assert isinstance(record, Foreign) or encode(record) == value


@given(st.lists(DONES, max_size=5))
def test_commits_become_the_records_they_make(records: list[Done]) -> None:
    steps = [Commit(r.fingerprint, r.processed_at, r.result, r.template, r.sealed) for r in records]

    sizes = {size: b"%3d " % size for size in range(200)}
    joined = b"".join(encode_commits(steps, TOKEN, sizes))

    values = []
    while joined:
        end = 4 + int(joined[:4])
        values.append(joined[4:end])
        joined = joined[end:]
    assert [decode(value) for value in values] == [
        Done(TOKEN, r.processed_at, r.fingerprint, r.result, r.template, r.sealed) for r in records
    ]
