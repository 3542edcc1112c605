"""Lookups: the question for one key or many; found and not found only where it is definite."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.condition import Condition
from rules.lookup import (
    batch_lookup,
    lookup_target,
    read_batch_lookup,
    read_lookup,
    same_content,
)
from rules.model import Found, Key, NotFound, Unsure
from rules.pointer import Pointer
from tests.rules import making
from tests.rules.making import pointers, rule

# ---- questions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "key", "target"),
    [
        ("/o?key={key}", ("a",), "/o?key=a"),
        ("/o/{key}", (18446744073709551615,), "/o/18446744073709551615"),
        ("/o/{key}", ("a/b?c=d&e#f %é",), "/o/a%2Fb%3Fc%3Dd%26e%23f%20%25%C3%A9"),
        ("/o/{key}", ("../admin",), "/o/..%2Fadmin"),
        ("/o/{key}", ("",), "/o/"),
        ("/o/{key[1]}?t={key[0]}&again={key}", ("t", 5), "/o/5?t=t&again=t"),
        ("/o/{key}", ("{key}",), "/o/%7Bkey%7D"),
        ("/o/{other}", ("a",), "/o/{other}"),
        ("/o", ("a",), "/o"),
    ],
)
def test_the_question_for_one_key(path: str, key: Key, target: str) -> None:
    assert lookup_target(rule(lookup=making.lookup(path)), key) == ("GET", target, None)


@pytest.mark.parametrize(
    ("at", "keys", "body"),
    [
        ("/keys", [("a",), (1,)], '{"keys":["a",1]}'),
        ("", [("é",)], '["é"]'),
        ("/a/b~1c", [("x", 2**64 - 1)], '{"a":{"b/c":[["x",18446744073709551615]]}}'),
        ("/keys", [], '{"keys":[]}'),
    ],
)
def test_the_question_for_many(at: str, keys: list[Key], body: str) -> None:
    asking = making.lookup("/find", method="POST", keys=Pointer(at), results=Pointer("/items"))
    assert batch_lookup(rule(lookup=asking), keys) == ("POST", "/find", body.encode())


def test_a_rule_without_a_lookup_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="'orders' has no lookup"):
        lookup_target(rule(), ("a",))


# ---- one answer --------------------------------------------------------------------------------

HAS_ID = Condition(negated=Condition(pointer=Pointer("/id"), equals=0))
GONE = Condition(statuses=(410,))


def kind(said: object) -> str:
    return said.raw.decode() if isinstance(said, Found) else type(said).__name__


def one(status: int, body: str | bytes, result: str = "/order", **others: Any) -> str:
    ruled = rule(lookup=making.lookup(result=Pointer(result), **others))
    return kind(read_lookup(ruled, status, body.encode() if isinstance(body, str) else body))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, '{"order": {"n":1.0} }', '{"n":1.0}'),
        (201, '{"order":0}', "0"),
        (200, '{"order":null}', "NotFound"),
        (200, "{}", "NotFound"),
        (200, "[]", "NotFound"),
        (404, '{"error":"no such order"}', "NotFound"),
        (404, "", "NotFound"),
        (404, '{"order":{}}', "NotFound"),
        (200, "", "Unsure"),
        (204, "", "Unsure"),
        (200, "<html>", "Unsure"),
        (200, '{"order":', "Unsure"),
        (200, b'{"order":"\xff"}', "Unsure"),
        (200, '{"order":1,"order":2}', "Unsure"),
        (200, '{"order":' + "[" * 64 + "]" * 64 + "}", "Unsure"),
        (400, '{"order":{}}', "Unsure"),
        (401, "", "Unsure"),
        (410, "", "Unsure"),
        (500, '{"order":{}}', "Unsure"),
        (503, "", "Unsure"),
        (302, "", "Unsure"),
    ],
)
def test_one_answer_without_conditions(status: int, body: str | bytes, said: str) -> None:
    assert one(status, body) == said


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, '{"id":7}', '{"id":7}'),
        (200, '{"id":0}', "NotFound"),
        (200, '{"id":0.0}', "NotFound"),
        (404, '{"id":0}', "NotFound"),
        (404, '{"id":7}', "NotFound"),
        (500, '{"id":7}', "Unsure"),
        (200, "", "Unsure"),
    ],
)
def test_one_answer_with_found(status: int, body: str, said: str) -> None:
    assert one(status, body, "", found=(HAS_ID,)) == said


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (410, "", "NotFound"),
        (200, '{"order":{}}', "{}"),
        (404, "", "Unsure"),
        (200, "{}", "Unsure"),
    ],
)
def test_one_answer_with_not_found(status: int, body: str, said: str) -> None:
    assert one(status, body, not_found=(GONE,)) == said


def test_a_contradiction_says_nothing() -> None:
    both = {"found": (HAS_ID,), "not_found": (Condition(pointer=Pointer("/gone")),)}
    assert one(200, '{"id":7,"gone":1}', "", **both) == "Unsure"
    assert one(200, '{"id":7}', "", **both) == '{"id":7}'
    assert one(200, '{"id":0,"gone":1}', "", **both) == "NotFound"
    assert one(200, '{"id":0}', "", **both) == "Unsure"


def test_found_without_a_result_says_nothing() -> None:
    assert one(200, '{"id":7}', "/order", found=(HAS_ID,)) == "Unsure"


def test_found_by_a_status_of_its_own() -> None:
    exists = Condition(statuses=(409,))
    assert one(409, '{"order":1}', found=(exists,)) == "1"
    assert one(200, '{"order":1}', found=(exists,)) == "NotFound"


# ---- one answer for many -----------------------------------------------------------------------

A, B, ONE = ("a",), ("b",), (1,)


def many(status: int, body: str | bytes, *keys: Key, **others: Any) -> list[str]:
    others = {"keys": Pointer("/keys"), "results": Pointer("/items"), **others}
    ruled = rule(lookup=making.lookup("/find", key=pointers("/key"), **others))
    raw = body.encode() if isinstance(body, str) else body
    return [kind(said) for said in read_batch_lookup(ruled, status, raw, keys)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"items":[{"key":"b"}, {"key":"a","n":1.0}]}', ['{"key":"a","n":1.0}', '{"key":"b"}']),
        ('{"items":[{"key":"b"}]}', ["NotFound", '{"key":"b"}']),
        ('{"items":[{"key":"z"}]}', ["NotFound", "NotFound"]),
        ('{"items":[]}', ["NotFound", "NotFound"]),
        ('{"items":[{"key":"a"},{"key":"a"}]}', ["Unsure", "NotFound"]),
        ('{"items":[{"key":"a"},{}]}', ['{"key":"a"}', "Unsure"]),
        ('{"items":[{"key":"a"},null]}', ['{"key":"a"}', "Unsure"]),
        ('{"items":[{"key":"a"},{"key":1.5},{}]}', ['{"key":"a"}', "Unsure"]),
        ('{"items":[{"key":"a","key":"b"}]}', ["Unsure", "Unsure"]),
        ('{"items":{}}', ["Unsure", "Unsure"]),
        ('{"items":null}', ["Unsure", "Unsure"]),
        ("{}", ["Unsure", "Unsure"]),
        ("", ["Unsure", "Unsure"]),
        ("no", ["Unsure", "Unsure"]),
        (b'{"items":[{"key":"a","x":"\xff"}]}', ["Unsure", "Unsure"]),
        ('{"items":[{"key":"a","x":' + "[" * 70 + "]" * 70 + "}]}", ["Unsure", "NotFound"]),
    ],
)
def test_many(body: str | bytes, said: list[str]) -> None:
    assert many(200, body, A, B) == said


def test_many_compares_keys_with_their_types() -> None:
    body = '{"items":[{"key":1}]}'
    assert many(200, body, ONE, ("1",)) == ['{"key":1}', "NotFound"]


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
def test_many_needs_a_success(status: int) -> None:
    assert many(status, '{"items":[{"key":"a"}]}', A, B) == ["Unsure", "Unsure"]


def test_many_not_found_by_the_rules_own_condition() -> None:
    assert many(410, "", A, B, not_found=(GONE,)) == ["NotFound", "NotFound"]
    assert many(404, "", A, B, not_found=(GONE,)) == ["Unsure", "Unsure"]


def test_many_with_conditions_on_each_element() -> None:
    body = '{"items":[{"key":"a","id":7},{"key":"b","id":0}]}'
    assert many(200, body, A, B, found=(HAS_ID,)) == ['{"key":"a","id":7}', "NotFound"]
    zero = Condition(pointer=Pointer("/id"), equals=0)
    both = {"found": (HAS_ID,), "not_found": (zero,)}
    assert many(200, body, A, B, **both) == ['{"key":"a","id":7}', "NotFound"]
    assert many(200, body, A, B, not_found=(zero,)) == ['{"key":"a","id":7}', "Unsure"]


def test_many_with_the_result_inside_each_element() -> None:
    body = '{"items":[{"key":"a","order":{"n":1}},{"key":"b","order":null},{"key":1}]}'
    inside = {"result": Pointer("/order")}
    assert many(200, body, A, B, ONE, **inside) == ['{"n":1}', "NotFound", "NotFound"]
    assert many(200, body, ONE, **inside, found=(Condition(statuses=(200,)),)) == ["Unsure"]


def test_many_without_a_pointer_to_the_list() -> None:
    assert many(200, '[{"key":"a"}]', A, results=Pointer("")) == ['{"key":"a"}']


@given(st.lists(st.integers(0, 20), unique=True), st.lists(st.integers(0, 20), unique=True))
def test_many_answers_every_key(asked: list[int], had: list[int]) -> None:
    body = json.dumps({"items": [{"key": n} for n in had]}, separators=(",", ":"))
    said = many(200, body, *[(n,) for n in asked])
    assert said == [f'{{"key":{n}}}' if n in had else "NotFound" for n in asked]


def test_unsure_says_why() -> None:
    ruled = rule(lookup=making.lookup())
    said = read_lookup(ruled, 500, b"")
    assert isinstance(said, Unsure)
    assert "500" in said.detail
    assert isinstance(read_lookup(ruled, 404, b""), NotFound)


# ---- comparing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "result", "same"),
    [
        ('{"sku":"x"}', '{"s":"x","other":1}', True),
        ('{"sku":1}', '{"s":1.0}', True),
        ('{"sku":{"a":1,"b":[2]}}', '{"s":{"b":[2],"a":1}}', True),
        ('{"sku":"x"}', '{"s":"y"}', False),
        ('{"sku":1}', '{"s":"1"}', False),
        ('{"sku":null}', '{"s":null}', True),
        ('{"sku":null}', "{}", False),
        ("{}", '{"s":null}', False),
        ("{}", "{}", True),
        ("{}", "5", True),
        ('{"sku":1}', "5", False),
        ("{}", "", False),
    ],
)
def test_same_content(item: str, result: str, same: bool) -> None:
    ruled = rule(lookup=making.lookup(compare=(Pointer("/sku"), Pointer("/s"))))
    assert same_content(ruled, item.encode(), result.encode()) is same


def test_nothing_to_compare() -> None:
    assert same_content(rule(), b"{}", b"{}") is None
    assert same_content(rule(lookup=making.lookup()), b"{}", b"{}") is None
