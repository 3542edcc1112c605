"""JSON as text: the corpus, equality, depth, lengths, and where values stand."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.jsonshape import TooDeep, array_length, check_depth
from rules.jsontext import (
    DuplicateMember,
    Number,
    members,
    parse,
    parse_array,
    same_value,
    span_of,
    text_of,
    validate,
)
from rules.pointer import MISSING, Pointer
from tests.rules.corpus import ACCEPTED, REJECTED
from tests.rules.making import json_text, object_text


def reference(text: bytes | str) -> Any:
    """What Python's own parser reads, numbers as Decimal."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def plain(value: Any) -> Any:
    """A parsed value with its numbers as Decimal."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return list(map(plain, value))
    if isinstance(value, Number):
        return Decimal(value.text)
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize(("what", "text"), ACCEPTED, ids=[what for what, _ in ACCEPTED])
def test_accepted(what: str, text: bytes) -> None:
    validate(text)
    assert plain(parse(text)) == reference(text), what


@pytest.mark.parametrize(("what", "text"), REJECTED, ids=[what for what, _ in REJECTED])
def test_rejected(what: str, text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the kinds differ, the root is the interface
        parse(text)
    assert what


@given(st.data())
def test_parse_reads_what_python_reads(data: st.DataObject) -> None:
    text = data.draw(json_text())
    assert plain(parse(text)) == reference(text)
    assert same_value(parse(text), parse(text.encode()))


def test_numbers_keep_their_text() -> None:
    text = "[1.0, 1.00, 1e2, 18446744073709551616, " + "9" * 5000 + "]"
    parsed = parse(text)
    assert [text_of(n) for n in parsed] == text[1:-1].split(", ")
    assert parsed[0] == parsed[1]
    assert hash(parsed[0]) == hash(parsed[1]) == hash(1)
    assert parsed[0] == 1
    assert parsed[0] != 2
    assert parsed[0] != "1.0"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0),
        (Number("1.0"), 1),
        (Number("0.1"), 0.1),
        (Number("1e2"), 100),
        (Number("1e999999999999999999999"), Number("1e999999999999999999999")),
        (10**30, Number("1e30")),
        (True, True),
        (None, None),
        ("a", "a"),
        ([1, {"a": 2}], [Number("1.0"), {"a": Number("2.0")}]),
        ([1], (1,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
)
def test_same(a: Any, b: Any) -> None:
    assert same_value(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, True),
        (0, False),
        (False, None),
        (1, "1"),
        (Number("1.5"), "1.5"),
        (Number("1.5"), 1),
        (Number("1e999999999999999999999"), Number("2e999999999999999999999")),
        (9007199254740993, 9007199254740992),
        (0, None),
        ("", None),
        ([], {}),
        ([1], [1, 1]),
        ([1], [2]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {}),
        (MISSING, None),
    ],
)
def test_different(a: Any, b: Any) -> None:
    assert not same_value(a, b)
    assert not same_value(b, a)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (True, "true"),
        (False, "false"),
        (-3, "-3"),
        (1.5, "1.5"),
        (Number("1.50"), "1.50"),
        (None, None),
        ([], None),
        ({}, None),
        (MISSING, None),
    ],
)
def test_text_of(value: Any, text: str | None) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("depth", [2, 40, 63, 64, 65, 66, 130, 600])
@pytest.mark.parametrize("beside", ["", r'"]]\"[[{', r'"\\', "[],"], ids=repr)
def test_depth(depth: int, beside: str) -> None:
    beside = beside + '",' if beside.startswith('"') else beside
    levels = ["[" + beside, '{"a":'] * depth
    text = "".join(levels[:depth]) + "0" + "".join("}]"[x[0] == "["] for x in levels[:depth][::-1])
    validate(text.encode())
    if depth <= 64:
        check_depth(text.encode())
    else:
        with pytest.raises(TooDeep):
            check_depth(text.encode())


def test_a_bomb_is_too_deep_and_not_a_crash() -> None:
    for read, text in (
        (parse, b"[" * 100_000),
        (parse, b'[{"a":' * 100_000),
        (parse, b"[" * 900 + b"]" * 900),
        (validate, b"[" * 100_000),
        (parse_array, b"[" * 100_000),
        (members, b'{"a":' * 100_000),
    ):
        with pytest.raises(TooDeep):
            read(text)


@given(st.data())
def test_array_length_counts_what_a_parse_counts(data: st.DataObject) -> None:
    inner = data.draw(st.lists(json_text(depth=2), max_size=5))
    text = "[" + data.draw(st.sampled_from([",", " , ", ",\n"])).join(inner) + "]"
    assert array_length(text.encode()) == len(inner)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"[]", 0),
        (b" [ \n] ", 0),
        (b"[[]]", 1),
        (b'[""]', 1),
        (b'["a,b", "\\",\\\\", {"x": [1, 2]}, [[],[]]]', 4),
        (b"[" + b"1," * 99_999 + b"1]", 100_000),
        (b'["' + rb"\\\"," * 100_000 + b'",[1,2]]', 2),
    ],
)
def test_array_length(text: bytes, count: int) -> None:
    assert array_length(text) == count


def test_members_of_an_object_with_every_freedom() -> None:
    text = b' { "a" : 1 ,"\\u0062":[1, "]}" ],\n"a":12,"c\\"}":{"d":"}"},"e":-1.50e3 , "a":{}} '
    found = [(m.name, text[m.start : m.end], text[m.at : m.at + 1]) for m in members(text)]
    assert found == [
        ("a", b"1", b'"'),
        ("b", b'[1, "]}" ]', b'"'),
        ("a", b"12", b'"'),
        ('c"}', b'{"d":"}"}', b'"'),
        ("e", b"-1.50e3", b'"'),
        ("a", b"{}", b'"'),
    ]
    assert members(b"{ }") == []


@pytest.mark.parametrize("value", [b'"x, }\\""', b"12.5e1", b"[{},[]]", b'{"z": "]"}', b"true"])
def test_a_repeated_name_is_walked_over_exactly(value: bytes) -> None:
    text = b'{"a":' + value + b' ,"b":1,"a":"other"}'
    assert [text[m.start : m.end] for m in members(text)] == [value, b"1", b'"other"']


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"b":[2],"é":"x"}',
        '{"a":1,"b":[2] ,"c":3}',
        '{"a":1,"a":22}',
        '{"a":22,"b":0,"a":1}',
        '{"\\u0061":1,"b":2}',
        '{"a":1}\n',
        "{}",
    ],
)
def test_members_stand_where_they_stand_with_space_and_without(text: str) -> None:
    data = text.encode()
    pairs = json.loads(text, object_pairs_hook=list)
    found = members(data)
    assert [(m.name, json.loads(data[m.start : m.end])) for m in found] == [tuple(p) for p in pairs]
    assert all(data[m.at : m.at + 1] == b'"' for m in found)


@given(st.data())
def test_members_are_the_objects_own(data: st.DataObject) -> None:
    values = data.draw(st.lists(json_text(depth=2), max_size=4))
    names = [data.draw(st.sampled_from(["a", "b", "é", 'q"', ""])) for _ in values]
    text = object_text(data.draw, list(zip(names, values, strict=True))).encode()
    found = members(text)
    assert [m.name for m in found] == names
    assert [text[m.start : m.end].decode() for m in found] == values


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", b'{"a": [0, {"b": "x"} , 2], "c/d": {"0": true}}'),
        ("/a", b'[0, {"b": "x"} , 2]'),
        ("/a/0", b"0"),
        ("/a/1", b'{"b": "x"}'),
        ("/a/1/b", b'"x"'),
        ("/a/2", b"2"),
        ("/c~1d/0", b"true"),
        ("/a/3", None),
        ("/a/x", None),
        ("/z", None),
        ("/a/0/z", None),
    ],
)
def test_span(pointer: str, value: bytes | None) -> None:
    text = b'\n {"a": [0, {"b": "x"} , 2], "c/d": {"0": true}}\t'
    span = span_of(text, Pointer(pointer))
    assert (None if span is None else text[slice(*span)]) == value


def test_a_name_twice_on_the_way_is_refused_and_elsewhere_is_not() -> None:
    text = b'{"x":1,"x":2,"a":{"y":1,"y":2,"b":3}}'
    span = span_of(text, Pointer("/a/b"))
    assert span is not None
    assert text[slice(*span)] == b"3"
    for pointer in ("/x", "/a/y"):
        with pytest.raises(DuplicateMember, match="2 times"):
            span_of(text, Pointer(pointer))
    last = span_of(text, Pointer("/a/y"), strict=False)
    assert last is not None
    assert text[slice(*last)] == b"2"
    with pytest.raises(DuplicateMember):
        span_of(b'{"a":1,"\\u0061":2}', Pointer("/a"))


@pytest.mark.parametrize("text", [b'{"a":1', b"[1", b'{"a":tru}'])
def test_no_span_in_what_is_not_json(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's words differ by version
        span_of(text, Pointer("/a"))
    assert span_of(b" ", Pointer("")) is None


@given(st.data())
def test_a_span_holds_what_the_pointer_reads(data: st.DataObject) -> None:
    inner = data.draw(json_text(depth=2))
    text = object_text(data.draw, [("n", "0"), ("a", f"[1 , {inner} ]"), ("b", "{}")]).encode()
    span = span_of(text, Pointer("/a/1"))
    assert span is not None
    assert text[slice(*span)].decode() == inner
