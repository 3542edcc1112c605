"""Responses: verdicts, results matched to what was sent, offenders, messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.condition import Condition
from rules.model import Align, Batch, Key, Offenders, Rule, Verdict
from rules.pointer import MISSING, Pointer
from rules.request import read_batch
from rules.response import (
    Response,
    is_duplicate,
    is_failed,
    offenders,
    rejection_message,
    results,
    verdict,
)
from tests.rules import making
from tests.rules.making import by_key, pointers, response, rule


def answer(body: str | bytes, status: int = 200) -> Response:
    return Response(status, body.encode() if isinstance(body, str) else body)


# ---- verdicts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, Verdict.ACCEPTED),
        (299, Verdict.ACCEPTED),
        (409, Verdict.DUPLICATE),
        (400, Verdict.REJECTED),
        (422, Verdict.REJECTED),
        (429, Verdict.UNAVAILABLE),
        (503, Verdict.UNAVAILABLE),
        (301, Verdict.REFUSED),
        (401, Verdict.REFUSED),
        (402, Verdict.REFUSED),
        (418, Verdict.REFUSED),
        (498, Verdict.REFUSED),
        (408, Verdict.UNKNOWN),
        (499, Verdict.UNKNOWN),
        (500, Verdict.UNKNOWN),
        (502, Verdict.UNKNOWN),
        (504, Verdict.UNKNOWN),
        (302, Verdict.UNKNOWN),
        (100, Verdict.UNKNOWN),
        (600, Verdict.UNKNOWN),
    ],
)
def test_verdict_by_status(status: int, said: Verdict) -> None:
    assert verdict(rule(), answer("{}", status)) is said


def test_the_first_condition_that_holds_decides() -> None:
    code = Condition(statuses=(200,), pointer=Pointer("/code"), equals=10)
    ruled = rule(
        verdicts=(
            (Verdict.DUPLICATE, (Condition(statuses=(500,)), code)),
            (Verdict.UNKNOWN, (Condition(statuses=(418,)),)),
            (Verdict.ACCEPTED, (Condition(statuses=("2xx",)),)),
        )
    )
    for _ in range(2):  # what was said once of a status holds for no other document and rule
        assert verdict(ruled, answer('{"code": 10}')) is Verdict.DUPLICATE
        assert verdict(ruled, answer('{"code": 10.0}')) is Verdict.DUPLICATE
        assert verdict(ruled, answer('{"code": 0}')) is Verdict.ACCEPTED
        assert verdict(ruled, answer("code 10")) is Verdict.ACCEPTED
        assert verdict(ruled, answer("", 201)) is Verdict.ACCEPTED
        assert verdict(ruled, answer("", 418)) is Verdict.UNKNOWN
        assert verdict(rule(), answer("", 418)) is Verdict.REFUSED
        assert verdict(ruled, answer("", 500)) is Verdict.DUPLICATE
        assert verdict(rule(), answer("", 500)) is Verdict.UNKNOWN


def test_a_document_is_parsed_once_and_missing_where_it_cannot_be() -> None:
    good = answer('{"a": [1]}')
    assert good.document is good.document == {"a": [1]}
    for bad in (b"", b"no", b'{"a":1', b'["\xff"]', b"[" * 65 + b"]" * 65):
        assert answer(bad).document is MISSING


# ---- results -----------------------------------------------------------------------------------

A, B, ONE, NONE = ("a",), ("b",), (1,), None


def matched(ruled: Rule, body: str | bytes, *keys: Key | None) -> list[str] | None:
    raws = results(ruled, answer(body), keys)
    return None if raws is None else [raw.decode() for raw in raws]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"results":[ {"n":1.0} ,2]}', ['{"n":1.0}', "2"]),
        ('{"x":1,"x":2,"results":[1,2]}', ["1", "2"]),
        ('{"results":[1]}', None),
        ('{"results":[1,2,3]}', None),
        ('{"results":[]}', None),
        ('{"results":{}}', None),
        ('{"results":null}', None),
        ('{"results":[1,2],"results":[1,2]}', None),
        ("{}", None),
        ("[1,2]", None),
        ("", None),
        ("ok", None),
        ('{"results":[1,2]', None),
        ('{"results":[1,2]}x', None),
        (b'{"results":["\xff",2]}', None),
        (b'\xef\xbb\xbf{"results":[1,2]}', None),
        ("[" * 100_000, None),
    ],
)
def test_by_position(body: str | bytes, expected: list[str] | None) -> None:
    assert matched(rule(), body, A, B) == expected


def test_by_position_anywhere() -> None:
    assert matched(rule(None, response("")), " [1, 2]\n", A, B) == ["1", "2"]
    assert matched(rule(None, response("/1")), '["ok",[1,2]]', A, B) == ["1", "2"]
    assert matched(rule(None, response("/a/b")), '{"a":{"b":[1,2]}}', A, NONE) == ["1", "2"]


def test_without_results_every_item_gets_the_template() -> None:
    ruled = rule(None, response(None, accepted_item=b'{"ok":true}'))
    for body in ("", "OK", "{}"):
        assert matched(ruled, body, A, B) == ['{"ok":true}'] * 2


def test_deep_results_are_unreadable_where_the_rule_must_look_into_them() -> None:
    deep = '{"results":[' + "[" * 70 + "]" * 70 + "]}"
    looking = rule(None, response(failed=Condition(pointer=Pointer("/x"))))
    assert matched(rule(), deep, A) == ["[" * 70 + "]" * 70]
    assert matched(looking, deep, A) is None
    assert matched(rule(None, response(duplicate=Condition())), deep, A) is None
    assert matched(looking, '{"results":[1]}', A) == ["1"]


@pytest.mark.parametrize(
    ("body", "keys", "expected"),
    [
        ('[{"key":"b"},{"key":"a"}]', (A, B), ['{"key":"a"}', '{"key":"b"}']),
        ('[{"key":1},{"key":"1"}]', (("1",), ONE), ['{"key":"1"}', '{"key":1}']),
        ('[{"key":"1"}]', (ONE,), None),
        ('[{"key":1.0}]', (ONE,), None),
        ('[{"key":"a"},{"key":"a"}]', (A, B), None),
        ('[{"key":"a"},{"key":"a"}]', (A, A), None),
        ('[{"key":"a"},{"key":"c"}]', (A, B), None),
        ('[{"key":"a"}]', (A, B), None),
        ('[{"key":"a"},{"key":"b"},{"key":"c"}]', (A, B), None),
        ('[{"key":"a"},{}]', (A, B), None),
        ('[{"key":"a"},{"key":null}]', (NONE, A), ['{"key":null}', '{"key":"a"}']),
        ('[{"n":1},{"key":"a"},{"n":2}]', (NONE, A, NONE), ['{"n":1}', '{"key":"a"}', '{"n":2}']),
        ('[{"key":"a"},{"key":"b"}]', (NONE, A), None),
        ('[{"key":"a","key":"b"}]', (A,), None),
        ('[{"key":"a","\\u006bey":"b"}]', (A,), None),
        ("[1]", (A,), None),
        ("{}", (A,), None),
        ("[]", (), []),
    ],
)
def test_by_key(body: str, keys: tuple[Key | None, ...], expected: list[str] | None) -> None:
    assert matched(rule(None, by_key("")), body, *keys) == expected


def test_by_key_of_several_values() -> None:
    ruled = rule(None, by_key("/r", "/id/a", "/b"))
    body = '{"r":[{"b":2,"id":{"a":1}},{"id":{"a":1},"b":"2"}]}'
    assert matched(ruled, body, (1, "2"), (1, 2)) == [
        '{"id":{"a":1},"b":"2"}',
        '{"b":2,"id":{"a":1}}',
    ]
    assert matched(ruled, body, (1, "2"), (2, 1)) is None


@pytest.mark.parametrize(
    ("results_at", "body", "expected"),
    [
        ("", '{"id": 1.0}', ['{"id": 1.0}']),
        ("", ' [{"id":1}] ', ['{"id":1}']),
        ("", "[]", None),
        ("", "[1,2]", None),
        ("", "5", ["5"]),
        ("/result", '{"result": "x" }', ['"x"']),
        ("/result", '{"result":[ [1] ]}', ["[1]"]),
        ("/result", "{}", None),
        ("/result", '{"result":1,"result":2}', None),
        ("", "", None),
        ("", "{", None),
        ("", '{"a":1}}', None),
    ],
)
def test_single(results_at: str, body: str, expected: list[str] | None) -> None:
    ruled = rule(None, response(results_at, align=Align.SINGLE))
    assert matched(ruled, body, A) == expected
    assert matched(ruled, body, A, B) is None


def test_a_lookup_rule_has_no_results_of_its_own() -> None:
    assert matched(rule(None, response(align=Align.LOOKUP)), '{"results":[1]}', A) is None


@given(st.data())
def test_by_key_any_order_comes_back_in_the_order_sent(data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.integers(0, 9) | st.text("0189", max_size=1), unique=True))
    sent: list[Key] = [(key,) for key in keys]
    raws = {key: json.dumps({"n": 1.5, "key": key[0]}) for key in sent}
    shuffled = data.draw(st.permutations(sent))
    body = '{"results":[' + " , ".join(raws[key] for key in shuffled) + "]}"
    assert matched(rule(None, by_key()), body, *sent) == [raws[key] for key in sent]


def test_what_one_result_says() -> None:
    said = Condition(pointer=Pointer("/status"), within=["FAILED"])
    ruled = rule(None, response(failed=said))
    assert is_failed(ruled, b'{"status":"FAILED"}')
    assert not is_failed(ruled, b'{"status":"SENT"}')
    assert not is_duplicate(ruled, b'{"status":"FAILED"}')
    ruled = rule(None, response(duplicate=said))
    assert is_duplicate(ruled, b'{"status":"FAILED"}')
    assert not is_duplicate(ruled, b"5")
    assert not is_failed(ruled, b'{"status":"FAILED"}')


# ---- offenders ---------------------------------------------------------------------------------


def batch_of(*keys: Any) -> Batch:
    body = json.dumps({"items": [{} if key is None else {"key": key} for key in keys]})
    batch = read_batch(rule(), body.encode())
    assert isinstance(batch, Batch)
    return batch


BATCH = batch_of("a", "b", 3, "d", None)
SENT = [1, 2, 3, 4]  # b, 3, d and one without a key


def named(form: Offenders | None, body: str, batch: Batch = BATCH) -> dict[int, str] | None:
    return offenders(rule(offenders=form), answer(body, 400), batch, SENT)


LIST_INDEX = making.offenders("/errors", index=Pointer("/at"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"errors":[{"at":0,"message":"bad b"},{"at":2}]}', {0: "bad b", 2: "whole"}),
        ('{"errors":[{"at":"1","detail":"bad"}]}', {1: "bad"}),
        ('{"errors":[{"at":1,"message":"first"},{"at":1,"message":"second"}]}', {1: "first"}),
        ('{"errors":[{"at":4},{"at":3}]}', {3: "whole"}),
        ('{"errors":[{"at":4},{"at":-1},{"at":"x"},{"at":true},{"at":1.0},{"at":null},{}]}', None),
        ('{"errors":[{"at":"99999999999999999999"},{"at":"\\u00b2"}]}', None),
        ('{"errors":[]}', None),
        ('{"errors":{"at":0}}', None),
        ('{"errors":"at 0"}', None),
        ('{"error":[{"at":0}]}', None),
    ],
)
def test_a_list_of_indexes(body: str, expected: dict[int, str] | None) -> None:
    assert named(LIST_INDEX, body[:-1] + ',"message":"whole"}') == expected


@pytest.mark.parametrize("body", ["", "no", "[]", "5", '{"errors":[{"at":0}]'])
def test_nothing_is_named_where_nothing_can_be_read(body: str) -> None:
    assert named(LIST_INDEX, body) is None
    assert named(None, body) is None


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ('{"id":"b"}', {0: "whole"}),
        ('{"id":3,"message":"three"}', {1: "three"}),
        ('{"id":"3"}', None),
        ('{"id":3.0}', None),
        ('{"id":"a"}', None),
        ('{"id":"z"}', None),
        ('{"id":null}', None),
        ("{}", None),
        ('{"id":[]}', None),
        ("5", None),
    ],
)
def test_a_list_of_keys(element: str, expected: dict[int, str] | None) -> None:
    form = making.offenders("/errors", key=pointers("/id"))
    assert named(form, '{"errors":[' + element + '],"message":"whole"}') == expected


def test_where_selects() -> None:
    bad = Condition(pointer=Pointer("/ok"), equals=False)
    body = '{"errors":[{"at":0,"ok":true},{"at":1,"ok":false}],"message":"m"}'
    assert named(making.offenders("/errors", index=Pointer("/at"), where=bad), body) == {1: "m"}


def test_element_i_speaks_of_item_i() -> None:
    bad = Condition(pointer=Pointer("/ok"), equals=False)
    form = making.offenders("/r", where=bad, by_position=True)
    ok, no = '{"ok":true}', '{"ok":false,"message":"m"}'
    assert named(form, '{"r":[' + ",".join([ok, no, ok, no]) + "]}") == {1: "m", 3: "m"}
    assert named(form, '{"r":[' + ",".join([ok] * 4) + "]}") is None
    assert named(form, '{"r":[' + ",".join([ok, no, ok]) + "]}") is None
    assert named(form, '{"r":[' + ",".join([no] * 5) + "]}") is None


POSTGRES = making.offenders(text=Pointer("/detail"), pattern=r"Key \(id\)=\((?P<key>[^)]+)\)")


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("Key (id)=(b) exists", [0]),
        ("Key (id)=(3) exists", [1]),
        ("Key (id)=(b), Key (id)=(d), Key (id)=(b)", [0, 3 - 1]),
        ("Key (id)=(a) exists", None),
        ("Key (id)=(B) exists", None),
        ("Key (id)=() exists", None),
        ("nothing", None),
    ],
)
def test_keys_in_a_text(detail: str, expected: list[int] | None) -> None:
    body = json.dumps({"detail": detail})
    wanted = None if expected is None else dict.fromkeys(expected, detail)
    assert named(POSTGRES, body) == wanted


@pytest.mark.parametrize("body", ['{"detail":["Key (id)=(b)"]}', "{}", "Key (id)=(b)"])
def test_no_text_at_the_pointer(body: str) -> None:
    assert named(POSTGRES, body) is None


def test_the_whole_body_as_a_text() -> None:
    form = making.offenders(text=Pointer(""), pattern=r"\((?P<key>\w+)\)")
    assert named(form, "ERROR: duplicate (b)") == {0: "ERROR: duplicate (b)"}
    assert named(form, '{"message":"duplicate (3)"}') == {1: "duplicate (3)"}


def test_a_text_that_two_items_share_names_neither() -> None:
    batch = batch_of("a", "3", 3, "d", None)
    assert named(POSTGRES, '{"detail":"Key (id)=(3)"}', batch) is None
    assert named(POSTGRES, '{"detail":"Key (id)=(d)"}', batch) == {2: "Key (id)=(d)"}


def test_several_values_stand_with_commas_as_postgresql_prints_them() -> None:
    ruled = rule(making.request("/items", "/t", "/n"), offenders=POSTGRES)
    batch = read_batch(ruled, b'{"items":[{"t":"x","n":1},{"t":"x","n":2}]}')
    assert isinstance(batch, Batch)
    said = answer('{"detail":"Key (id)=(x, 2) exists"}', 409)
    assert offenders(ruled, said, batch, [0, 1]) == {1: "Key (id)=(x, 2) exists"}


# ---- messages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"message":"m","detail":"d"}', "m"),
        ('{"message":"","detail":"d"}', "d"),
        ('{"message":null,"errorMessage":"e"}', "e"),
        ('{"error":"e","title":"t"}', "e"),
        ('{"error":{"code":1,"message":"deep"}}', "deep"),
        ('{"errors":["one","two"]}', "one"),
        ('{"errors":[{"detail":"one"}]}', "one"),
        ('{"errors":[],"title":"t"}', "t"),
        ('{"error":{"error":{"error":{"error":"too deep"}}},"title":"t"}', "t"),
        ('{"code":5}', '{"code":5}'),
        ('{"message":5}', '{"message":5}'),
        ('"plain"', "plain"),
        ('["first"]', "first"),
        ("  Bad Request\n", "Bad Request"),
        (b"caf\xe9", "caf\ufffd"),
        ("", "HTTP 400"),
        (" \n", "HTTP 400"),
        ('""', '""'),
        ("x" * 1000, "x" * 300),
        ('{"message":"' + "é" * 1000 + '"}', "é" * 300),
    ],
)
def test_the_message_for_people(body: str | bytes, message: str) -> None:
    assert rejection_message(answer(body, 400)) == message
