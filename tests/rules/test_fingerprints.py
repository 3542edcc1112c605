"""Fingerprints: spelling does not count, content does, what the rule excludes does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.request import fingerprints
from tests.rules.making import json_text, object_text, pointers, request, rule

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
