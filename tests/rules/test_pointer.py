"""JSON Pointer: RFC 6901's own examples, and what is no pointer."""

from __future__ import annotations

from typing import Any

import pytest

from rules.pointer import MISSING, Pointer, index_in

RFC_DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", RFC_DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_the_examples_of_rfc_6901(text: str, value: object) -> None:
    assert Pointer(text).get(RFC_DOCUMENT) == value


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("/a", {}),
        ("/a", {"A": 1}),
        ("/a/b", {"a": 1}),
        ("/a", None),
        ("/0", "text"),
        ("/2", [1, 2]),
        ("/-", [1, 2]),
        ("/-1", [1, 2]),
        ("/00", [1, 2]),
        ("/01", [1, 2]),
        ("/1e0", [1, 2]),
        ("/\u0660", [1, 2]),
        ("/" + "9" * 5000, [1, 2]),
        ("/a", [1, 2]),
    ],
)
def test_where_nothing_stands(text: str, document: Any) -> None:
    assert Pointer(text).get(document) is MISSING


def test_null_stands_and_an_index_is_a_name_in_an_object() -> None:
    assert Pointer("/a").get({"a": None}) is None
    assert Pointer("/0/1").get({"0": ["x", "y"]}) == "y"
    assert repr(MISSING) == "MISSING"


@pytest.mark.parametrize("text", ["a", "#/a", "/~", "/~2", "/a~", " /a"])
def test_what_is_no_pointer(text: str) -> None:
    with pytest.raises(ValueError, match="JSON Pointer"):
        Pointer(text)


def test_a_pointer_is_a_value() -> None:
    assert Pointer("/a~1b") == Pointer("/a~1b")
    assert len({Pointer("/a"), Pointer("/a"), Pointer("/b")}) == 2
    assert Pointer("/~01").tokens == ("~1",)


@pytest.mark.parametrize(("token", "index"), [("0", 0), ("2", 2), ("3", None), ("x", None)])
def test_an_index_into_three_elements(token: str, index: int | None) -> None:
    assert index_in(token, 3) == index
