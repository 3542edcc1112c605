"""Requests: bodies to items and keys, parts of batches back to bodies, fingerprints."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.request import TooMany, fingerprints, read_batch, sub_body
from tests.rules.corpus import ACCEPTED, REJECTED
from tests.rules.making import (
    batch_text,
    json_text,
    object_text,
    pointers,
    quoted,
    read,
    request,
    rule,
    unreadable,
)

# ---- bodies ------------------------------------------------------------------------------------


def test_items_are_their_exact_bytes() -> None:
    body = b'{"n":1.0, "items" : [ {"key":"a" , "x":1.00} ,{"key":2,"big":18446744073709551617}]\n}'
    batch = read(body)
    assert batch.raws == [b'{"key":"a" , "x":1.00}', b'{"key":2,"big":18446744073709551617}']
    assert batch.keys == [("a",), (2,)]
    assert batch.problems == {}
    assert body[slice(*batch.span)].startswith(b"[ {")
    assert body[slice(*batch.span)].endswith(b"}]")
    assert batch.whole is body
    assert len(batch) == 2


@pytest.mark.parametrize(
    ("items", "body"),
    [
        ("", '[{"key":1}]'),
        ("", ' \n[{"key":1}] '),
        ("/a/b", '{"a":{"b":[{"key":1}]}}'),
        ("/0/items", '[{"items":[{"key":1}]}]'),
        ("/1", '["insert", [{"key":1}]]'),
        ("/a~1b", '{"a/b":[{"key":1}]}'),
        ("/a~1b", '{"a\\/b":[{"key":1}]}'),
        ("/中", '{"\\u4e2d":[{"key":1}]}'),
        ("/", '{"":[{"key":1}]}'),
    ],
)
def test_where_items_stand(items: str, body: str) -> None:
    assert read(body, items).keys == [(1,)]


def test_an_empty_batch_is_a_batch() -> None:
    assert read('{"items":[ ]}').raws == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "not_json"),
        ("hello", "not_json"),
        ('{"items":[]', "not_json"),
        ('{"items":[]}{}', "not_json"),
        ('{"items":[1,]}', "not_json"),
        ('{"items":[NaN]}', "not_json"),
        ('{"items":[], "x":"\\ud800"}', "not_json"),
        ('{"items":["\\ud800"]}', "not_json"),
        (b'\xef\xbb\xbf{"items":[]}', "not_json"),
        ('{"items":[]}'.encode("utf-16"), "not_utf8"),
        (b'{"items":["\xff"]}', "not_utf8"),
        (b'{"items":[], "\xc0\xaf":1}', "not_utf8"),
        (b'{"items":[]}\xff', "not_utf8"),
        ("{}", "no_items"),
        ("[]", "no_items"),
        ("null", "no_items"),
        ('"items"', "no_items"),
        ('{"items":{}}', "no_items"),
        ('{"items":null}', "no_items"),
        ('{"items":"[]"}', "no_items"),
        ('{"Items":[]}', "no_items"),
        ('{"items":[], "items":[]}', "duplicate_member"),
        ('{"items":[], "\\u0069tems":[]}', "duplicate_member"),
        ('{"items":[{"key":1,"key":1}]}', "duplicate_member"),
        ('{"items":[{"key":1,"\\u006bey":2}]}', "duplicate_member"),
        ('{"items":[{"key":1},{"key":1,"x":"","key":2}]}', "duplicate_member"),
        ("[" * 100_000, "too_deep"),
        ('{"items":' + "[" * 64 + "]" * 64 + "}", "too_deep"),
        ('{"x":' + "[" * 64 + "]" * 64 + ',"items":[]}', "too_deep"),
        ('{"x":' + "[" * 64 + "]" * 64 + "}", "too_deep"),
    ],
)
def test_what_cannot_be_read(body: bytes | str, reason: str) -> None:
    assert unreadable(body) == reason


@pytest.mark.parametrize(
    "body",
    [
        '{"items":' + "[" * 63 + "]" * 63 + "}",
        '{"items":[], "x":1, "x":2}',
        '{"items":[{"key":1,"x":1,"x":2}]}',
        '{"items":[{"key":1,"sub":{"key":1,"key":2}}]}',
        '{"items":[{"key":"a","text":"\\"key\\""}], "key":1}',
    ],
)
def test_what_can_be_read_beside_it(body: str) -> None:
    read(body)


@pytest.mark.parametrize(("what", "text"), REJECTED, ids=[what for what, _ in REJECTED])
def test_no_bad_json_is_read(what: str, text: bytes) -> None:
    assert what
    assert unreadable(text, "") in ("not_json", "not_utf8", "too_deep")
    assert unreadable(b'{"x":' + text + b',"items":[]}') in ("not_json", "not_utf8", "too_deep")
    inside = b'{"items":[{"key":1,"x":' + text + b"}]}"
    assert unreadable(inside) in ("not_json", "not_utf8", "too_deep")


SHALLOW = [(what, text) for what, text in ACCEPTED if not what.startswith("depth 64")]


@pytest.mark.parametrize(("what", "text"), SHALLOW, ids=[what for what, _ in SHALLOW])
def test_good_json_in_an_unknown_field_goes_on_byte_for_byte(what: str, text: bytes) -> None:
    body = b'{"items":[{"key":1,"x":' + text + b'},{"key":2}]}'
    batch = read(body)
    assert batch.raws[0] == b'{"key":1,"x":' + text + b"}", what
    assert sub_body(rule(), batch, [0]) == b'{"items":[' + batch.raws[0] + b"]}"
    assert len(fingerprints(rule(), batch.raws)) == 2


def test_too_many_items_and_just_enough() -> None:
    body = json.dumps({"items": [{"key": i} for i in range(11)]}).encode()
    assert read_batch(rule(request(max_items=10)), body) == TooMany(11)
    assert len(read(body, max_items=11)) == 11


def test_a_very_long_array_is_counted_before_it_is_read() -> None:
    body = b'{"items":[' + b"{}, " * 250_001 + b'"a,b"]}'
    assert read_batch(rule(), body) == TooMany(250_002)
    long = json.dumps({"items": [{"key": i, "x": "," * 400} for i in range(1000)]}).encode()
    assert long.count(b",") > 250_000
    assert len(read(long)) == 1000
    assert unreadable(body[:-20] + b"}") == "not_json"


_DRAWN_KEYS = st.one_of(st.text("ab1é", max_size=3), st.integers(-2, 2**64 - 1), st.none())


@given(st.data())
def test_every_item_comes_out_as_it_went_in(data: st.DataObject) -> None:
    wanted = data.draw(st.lists(_DRAWN_KEYS, max_size=5))
    items = []
    for key in wanted:
        named = [("x", data.draw(json_text(depth=2))), ("Key", "1")]
        if key is not None:
            text = data.draw(quoted(key)) if isinstance(key, str) else str(key)
            named.insert(data.draw(st.integers(0, 2)), ("key", text))
        items.append(object_text(data.draw, named))
    around = [("tenant", '"t"'), ("é", "[1.0]")]
    before, array, behind = batch_text(data.draw, items, around)
    batch = read(before + array + behind)
    assert [raw.decode() for raw in batch.raws] == items
    assert batch.keys == [None if key is None else (key,) for key in wanted]
    assert set(batch.problems) == {i for i, key in enumerate(wanted) if key is None}
    assert batch.whole[slice(*batch.span)].decode() == array
    assert sub_body(rule(), batch, range(len(items))) is batch.whole
    some = data.draw(st.lists(st.sampled_from(range(len(items))), unique=True)) if items else []
    part = sub_body(rule(), batch, some).decode()
    if some != list(range(len(items))):
        assert part == before + "[" + ",".join(items[i] for i in some) + "]" + behind
    assert read(part).raws == [items[i].encode() for i in some]


# ---- parts of a batch --------------------------------------------------------------------------


def test_the_whole_batch_is_the_very_body_and_any_other_order_is_not() -> None:
    batch = read('{"items": [ {"key":1} , {"key":2} ]}')
    assert sub_body(rule(), batch, [0, 1]) is batch.whole
    assert sub_body(rule(), batch, (1, 0)) == b'{"items": [{"key":2},{"key":1}]}'
    assert sub_body(rule(), batch, []) == b'{"items": []}'


@pytest.mark.parametrize(
    ("counts", "body", "part"),
    [
        (("/n",), '{"n": 2, "items":[1,2]}', '{"n": 1, "items":[1]}'),
        (("/n",), '{"items":[1,2] ,"n":2 }', '{"items":[1] ,"n":1 }'),
        (("/a/n", "/n"), '{"a":{"n":2},"items":[1,2],"n":2}', '{"a":{"n":1},"items":[1],"n":1}'),
        (("/n", "/n"), '{"n":2,"items":[1,2]}', '{"n":1,"items":[1]}'),
        (("/n",), '{"items":[1,2]}', '{"items":[1]}'),
        (("/n",), '{"n":"2","items":[1,2]}', '{"n":"2","items":[1]}'),
        (("/n",), '{"n":null,"items":[1,2]}', '{"n":null,"items":[1]}'),
        (("/items/0",), '{"items":[1,2]}', '{"items":[1]}'),
    ],
)
def test_counts_are_rewritten(counts: tuple[str, ...], body: str, part: str) -> None:
    with_counts = request(counts=pointers(*counts))
    batch = read(body, counts=pointers(*counts))
    assert sub_body(rule(with_counts), batch, [0]).decode() == part


def test_a_count_that_stands_twice_is_unreadable() -> None:
    body = '{"n":2,"n":3,"items":[1,2]}'
    assert unreadable(body, counts=pointers("/n")) == "duplicate_member"
    read(body)
