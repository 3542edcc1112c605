"""Whatever the bytes: the body is read, or gets exactly one of the named answers."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from rules.model import Batch, Unreadable
from rules.request import TooMany, fingerprints, read_batch, sub_body
from tests.fakes.rig import make_rule
from tests.rules.corpus import ACCEPTED, REJECTED
from tests.rules.making import damaged

RULE = make_rule(request__max_items=50)
REASONS = {"not_utf8", "not_json", "too_deep", "no_items", "duplicate_member"}
SEEDS = [
    b'{"items":[{"key":"a","value":{"x":[1,2.50,"\\u00e9"]}},{"key":12}]}',
    *(b'{"items":[{"key":"a","value":' + text + b"}]}" for _, text in (*ACCEPTED, *REJECTED)),
]


def check(body: bytes) -> None:
    read = read_batch(RULE, body)
    if isinstance(read, Unreadable):
        assert read.reason in REASONS
        return
    if isinstance(read, TooMany):
        assert read.count > 50
        return
    assert isinstance(read, Batch)
    # Read means: it is JSON for another parser too, with the same items in the same places.
    parsed = json.loads(body, parse_int=str, parse_float=str)["items"]
    assert len(parsed) == len(read) == len(read.keys)
    assert [json.loads(r, parse_int=str, parse_float=str) for r in read.raws] == parsed
    assert {i for i, k in enumerate(read.keys) if k is None} == set(read.problems)
    assert len(fingerprints(RULE, read.raws)) == len(read)
    assert sub_body(RULE, read, range(len(read))) == body


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    check(body)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_for_the_items(inside: bytes) -> None:
    check(b'{"items":[' + inside + b"]}")


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32))
def test_bodies_that_were_nearly_right(body: bytes, seed: int) -> None:
    check(damaged(body, seed))
