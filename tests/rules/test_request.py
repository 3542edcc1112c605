"""Requests: bodies to items and keys, parts of batches back to bodies, fingerprints."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.model import Batch, Problem, Unreadable
from rules.request import TooMany, fingerprints, read_batch, sub_body
from tests.rules.corpus import ACCEPTED, REJECTED
from tests.rules.making import batch_text, json_text, object_text, pointers, quoted, request, rule


def read(body: bytes | str, items: str = "/items", *key: str, **others: Any) -> Batch:
    text = body.encode() if isinstance(body, str) else body
    batch = read_batch(rule(request(items, *key, **others)), text)
    assert isinstance(batch, Batch), batch
    return batch


def unreadable(body: bytes | str, items: str = "/items", *key: str, **others: Any) -> str:
    text = body.encode() if isinstance(body, str) else body
    read = read_batch(rule(request(items, *key, **others)), text)
    assert isinstance(read, Unreadable), read
    assert read.detail
    return read.reason


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


# ---- keys --------------------------------------------------------------------------------------

GOOD_KEYS: list[tuple[str, str | int]] = [
    ('"a"', "a"),
    ('""', ""),
    ('"\\u0061\\n\\ud83d\\ude00"', "a\n😀"),
    ('"1"', "1"),
    ('"' + "k" * 255 + '"', "k" * 255),
    ('"' + "é" * 127 + 'k"', "é" * 127 + "k"),
    ("1", 1),
    ("-0", 0),
    ("9223372036854775807", 2**63 - 1),
    ("9223372036854775808", 2**63),
    ("18446744073709551615", 2**64 - 1),
    ("-9223372036854775808", -(2**63)),
]
BAD_KEYS = [
    '"' + "k" * 256 + '"',
    '"' + "é" * 128 + '"',
    "18446744073709551616",
    "-9223372036854775809",
    "1" + "0" * 5000,
    "1.0",
    "1e2",
    "1E0",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[1]",
]


@pytest.mark.parametrize(("text", "key"), GOOD_KEYS, ids=[t[:24] for t, _ in GOOD_KEYS])
@pytest.mark.parametrize("beside", ["", ',{"nokey":0}'], ids=["fast", "exact"])
def test_a_good_key(text: str, key: str | int, beside: str) -> None:
    batch = read('{"items":[{"key":' + text + "}" + beside + "]}")
    assert batch.keys[0] == (key,)
    assert type(batch.keys[0][0]) is type(key)
    assert 0 not in batch.problems


@pytest.mark.parametrize("text", BAD_KEYS, ids=[t[:24] for t in BAD_KEYS])
@pytest.mark.parametrize("key", ["/key", "/a~1b"])
def test_a_bad_key_is_its_items_alone(text: str, key: str) -> None:
    name = json.dumps(key[1:].replace("~1", "/"))
    batch = read(f'{{"items":[{{{name}:"x"}},{{{name}:{text}}}]}}', "/items", key)
    assert batch.keys == [("x",), None]
    assert batch.problems == {1: Problem.INVALID_KEY}


@pytest.mark.parametrize("item", ["{}", '{"Key":1}', "5", '"key"', "null", "[]", '["key"]'])
def test_no_key_where_none_stands_whatever_the_item_is(item: str) -> None:
    batch = read('{"items":[' + item + ',{"key":1}]}')
    assert batch.keys == [None, (1,)]
    assert batch.problems == {0: Problem.MISSING_KEY}


@pytest.mark.parametrize(
    ("key", "item", "values"),
    [
        (("",), '"k"', ("k",)),
        (("/0",), '["k",1]', ("k",)),
        (("/0",), '{"0":"k"}', ("k",)),
        (("/a/b/key",), '{"a":{"x":0,"b":{"key":"k"}}}', ("k",)),
        (("/a/1",), '{"a":[0,"k"]}', ("k",)),
        (("/a~1b",), '{"a\\/b":"k"}', ("k",)),
        (('/q"',), '{"q\\"":"k"}', ("k",)),
        (("/t\t",), '{"t\\t":"k"}', ("k",)),
        (("/é",), '{"\\u00e9":"k"}', ("k",)),
        (("/中",), '{"\\u4E2D":"k"}', ("k",)),
        (("/key",), '{"\\u006bey":"k"}', ("k",)),
        (("/b", "/a"), '{"a":1,"b":"x"}', ("x", 1)),
        (("/a/x", "/a/y", "/z"), '{"z":3,"a":{"y":2,"x":1}}', (1, 2, 3)),
        (("/a", "/a"), '{"a":1}', (1, 1)),
        (("/x/id", "/y/id"), '{"x":{"id":1},"y":{"id":2}}', (1, 2)),
        (("/id",), '{"id":1,"of":{"id":2},"to":[{"id":3}]}', (1,)),
        (("/of/id",), '{"id":1,"of":{"id":2,"to":{"id":3}}}', (2,)),
        (("/id",), '{"id":"id","x":"\\"id\\"","id2":"a\\nb\\u003c"}', ("id",)),
        (("/",), '{"":1}', (1,)),
        (("/\0",), '{"\\u0000":1}', (1,)),
    ],
)
def test_keys_of_every_shape(key: tuple[str, ...], item: str, values: tuple[str | int]) -> None:
    assert read(f'{{"items":[{item},{item}]}}', "/items", *key).keys == [values, values]


@pytest.mark.parametrize(
    ("key", "item"),
    [
        (("/a/b",), '{"a":{"b":1,"b":1}}'),
        (("/a/b",), '{"a":{"b":1},"a":{"b":1}}'),
        (("/x/id", "/y/id"), '{"x":{"id":1},"y":{"id":2,"id":3}}'),
        (("/中",), '{"中":1,"\\u4e2d":1}'),
        (("/a~1b",), '{"a/b":1,"a\\/b":2}'),
        (("/é",), '{"é":1,"\\u00E9":1}'),
        (("/id",), '{"id":1,"of":{"id":2},"id":3}'),
        (("/id",), '{"id":1,"of":{"id":2},"to":{"id":2},"of":{}, "id":3}'),
        (("/of/id",), '{"of":{"id":2,"id":3}, "id":1}'),
        (("/of/id",), '{"of":{"id":2}, "id":1, "of":{"id":2}}'),
        (("/of/id",), '{"of":{"id":2}, "id":1, "\\u006Ff":{"id":2}}'),
        (('/q"',), '{"q\\"":1,"q\\u0022":2}'),
    ],
)
def test_a_repeated_name_on_the_way_to_a_key(key: tuple[str, ...], item: str) -> None:
    assert unreadable(f'{{"items":[{item}]}}', "/items", *key) == "duplicate_member"


@pytest.mark.parametrize("key", [("/a", "/b"), ("/b", "/a")])
def test_the_first_pointer_that_fails_says_why(key: tuple[str, ...]) -> None:
    batch = read('{"items":[{"a":1},{"b":null,"a":1},{"a":1.5}]}', "/items", *key)
    assert batch.keys == [None, None, None]
    second = Problem.INVALID_KEY if key == ("/a", "/b") else Problem.MISSING_KEY
    assert batch.problems == {0: Problem.MISSING_KEY, 1: Problem.INVALID_KEY, 2: second}


def test_bad_keys_between_good_ones_of_every_kind() -> None:
    keys = ['"a"', "1", "null", '"' + "é" * 128 + '"', '"é"', "1.5", str(2**64 - 1), '"b"']
    items = [f'{{"key":{key},"n":0}}' for key in keys]
    items += ["{}", '{"key":"c","of":{"key":1}}', '{"x":"key","key":7}']
    batch = read('{"items":[' + ",".join(items) + "]}")
    good = [("a",), (1,), None, None, ("é",), None, (2**64 - 1,), ("b",), None, ("c",), (7,)]
    assert batch.keys == good
    assert set(batch.problems) == {i for i, key in enumerate(good) if key is None}
    two = '{"items":[{"a":"x","b":1},{"a":1},{"b":"y","a":"x"}]}'
    assert read(two, "/items", "/a", "/b").keys == [("x", 1), None, ("x", "y")]


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


# ---- fingerprints ------------------------------------------------------------------------------

SAME = [
    ('{"a":1,"b":2}', '{ "b" : 2,\n"a" : 1 }'),
    ('{"a":"\\u00e9\\/"}', '{"\\u0061":"é/"}'),
    ('{"a":[{"y":1,"x":2}]}', '{"a":[{"x":2,"y":1}]}'),
    ("18446744073709551616", " 18446744073709551616"),
    ("9" * 5000, " " + "9" * 5000),
    ('{"a":' + "9" * 5000 + ',"b":1.0}', '{"b":1.0,"a":' + "9" * 5000 + "}"),
    ('{"a":0,"a":1}', '{"a":1}'),
    ('"x"', '"\\u0078"'),
    ("0", "-0"),
]
DIFFERENT = [
    ("1", "1.0"),
    ("1.0", "1.00"),
    ("1e2", "100"),
    ("1e2", "1E2"),
    ("1", '"1"'),
    ("1.5", '"1.5"'),
    ("0", "false"),
    ("0.0", "-0.0"),
    ("null", "{}"),
    ("[]", "{}"),
    ("[1,2]", "[2,1]"),
    ("9007199254740993", "9007199254740992"),
    ("18446744073709551616", "18446744073709551617"),
    ("9" * 5000, "9" * 4999 + "8"),
    ('{"a":1}', '{"a":1,"b":null}'),
    ('{"a":1}', '{"A":1}'),
    ('"é"', '"e\u0301"'),
    ("0.1000000000000000000001", "0.1"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_the_same_content(a: str, b: str) -> None:
    one, other = fingerprints(rule(), [a.encode(), b.encode()])
    assert one == other
    assert len(one) == 16
    assert [one] == fingerprints(rule(), [b.encode()])


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_other_content(a: str, b: str) -> None:
    one, other = fingerprints(rule(), [a.encode(), b.encode()])
    assert one != other


@pytest.mark.parametrize(
    ("exclude", "a", "b"),
    [
        (("/t",), '{"k":1,"t":2}', '{"k":1}'),
        (("/t",), '{"k":1,"t":2}', '{"t":[],"k":1}'),
        (("/a/t",), '{"a":{"t":1}}', '{"a":{}}'),
        (("/a/0",), '{"a":[1,2]}', '{"a":[3,2]}'),
        (("/a/0", "/a/1"), '{"a":[1,2,3]}', '{"a":[5,6,3]}'),
        (("/a/2", "/a/10"), '{"a":[0,0,1,0,0,0,0,0,0,0,1]}', '{"a":[0,0,2,0,0,0,0,0,0,0,2]}'),
        (("/0/t",), '[{"t":1}]', '[{"t":2}]'),
        (("/a/t",), '{"a":5}', ' {"a":5}'),
        (("/9", "/9/t", "/a/9", "/x/y/z"), "[1]", " [1]"),
        (("",), "1", "2"),
        (("/t",), '{"t":' + "1" * 5000 + "}", "{}"),
    ],
)
def test_excluded(exclude: tuple[str, ...], a: str, b: str) -> None:
    excluding = rule(request(fingerprint_exclude=pointers(*exclude)))
    one, other = fingerprints(excluding, [a.encode(), b.encode()])
    assert one == other


def test_what_is_not_excluded_counts() -> None:
    excluding = rule(request(fingerprint_exclude=pointers("/a/0", "/t")))
    one, other = fingerprints(excluding, [b'{"a":[1,2],"t":1}', b'{"a":[1,3],"t":1}'])
    assert one != other
    assert fingerprints(rule(), [b'{"t":1}']) != fingerprints(rule(), [b'{"t":2}'])
    assert fingerprints(rule(), []) == []


@given(st.data())
def test_spelling_does_not_count_and_content_does(data: st.DataObject) -> None:
    members = [("b", data.draw(json_text(depth=2))), ("a", "1"), ("é", '"x"')]
    one = object_text(data.draw, members)
    other = object_text(data.draw, members[::-1])
    changed = object_text(data.draw, [*members[:2], ("é", '"y"')])
    a, b, c = fingerprints(rule(), [one.encode(), other.encode(), changed.encode()])
    assert a == b != c
