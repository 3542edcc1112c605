"""Keys: good ones, bad ones, and names that stand twice on the way to them."""

from __future__ import annotations

import json

import pytest

from rules.model import Problem
from tests.rules.making import read, unreadable

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
