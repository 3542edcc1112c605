"""Answers: fields added around the service's own bytes, lists replaced, counts rewritten."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rules.jsontext import parse, same_value
from rules.model import Fields
from rules.pointer import Pointer
from rules.render import processed_at_text, render, with_fields
from rules.row import ErrorBody, Row
from tests.rules.making import batch_text, json_text, object_text, response, rule

TIME = 1_795_428_000_123
TIME_TEXT = processed_at_text(TIME)
OLD = Row(b"{}", True, TIME)
ERROR = ErrorBody("UPSTREAM_REJECTED", 'no "é"', False)
ERROR_TEXT = '{"code":"UPSTREAM_REJECTED","message":"no \\"é\\"","retryable":false}'


def item(row: Row, **others: Any) -> str:
    return with_fields(rule(None, response(**others)), row).decode()


def success(result: str, **others: Any) -> str:
    return item(Row(result.encode(), False, TIME), **others)


def failure(result: str | None, **others: Any) -> str:
    return item(Row(None if result is None else result.encode(), False, None, ERROR), **others)


# ---- one item ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (1_795_428_000_000, "2026-11-23T10:00:00.000Z"),
        (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_processed_at(ms: int, text: str) -> None:
    assert processed_at_text(ms) == text


NEW_FIELDS = f'"isIdempotent":false,"processedAt":"{TIME_TEXT}"'
ERROR_FIELDS = f'"isIdempotent":false,"error":{ERROR_TEXT}'


@pytest.mark.parametrize(
    ("result", "start"),
    [
        ("{}", "{"),
        ("{ \n}", "{ \n"),
        ('{"a":1.0}', '{"a":1.0,'),
        ('{"a" : "}" }', '{"a" : "}" ,'),
        (' {"a":1}\n', '{"a":1,'),
        ('{"a":{"isIdempotent":true,"error":1}}', '{"a":{"isIdempotent":true,"error":1},'),
        ('{"a":"\\"error\\"","b":"\\u00e9"}', '{"a":"\\"error\\"","b":"\\u00e9",'),
        ('{"Error":1,"isidempotent":2}', '{"Error":1,"isidempotent":2,'),
        ('{"a":1,"a":2}', '{"a":1,"a":2,'),
    ],
)
def test_fields_go_before_the_closing_brace(result: str, start: str) -> None:
    assert success(result) == start + NEW_FIELDS + "}"
    assert failure(result) == start + ERROR_FIELDS + "}"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            '{"isIdempotent" : 7 ,"x":1}',
            f'{{"isIdempotent" : false ,"x":1,"processedAt":"{TIME_TEXT}"}}',
        ),
        (
            '{"x":1, "processedAt":null }',
            f'{{"x":1, "processedAt":"{TIME_TEXT}" ,"isIdempotent":false}}',
        ),
        ('{"error":null,"x":1}', '{"x":1,' + NEW_FIELDS + "}"),
        ('{"x":1 , "error":null\n}', '{"x":1\n,' + NEW_FIELDS + "}"),
        ('{"x":1, "error":{"error":2} ,"y":2}', '{"x":1 ,"y":2,' + NEW_FIELDS + "}"),
        ('{ "error":null }', "{  " + NEW_FIELDS + "}"),
        ('{"error":1,"error":2}', "{" + NEW_FIELDS + "}"),
        ('{"\\u0065rror":1,"x":1}', '{"x":1,' + NEW_FIELDS + "}"),
        (
            '{"isIdempotent":1,"isIdempotent":2}',
            f'{{"isIdempotent":false,"processedAt":"{TIME_TEXT}"}}',
        ),
        (
            '{"processedAt":1,"is\\u0049dempotent":2}',
            f'{{"processedAt":"{TIME_TEXT}","is\\u0049dempotent":false}}',
        ),
    ],
)
def test_a_member_of_that_name_gives_way_and_the_others_stay(result: str, expected: str) -> None:
    assert success(result) == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ('{"x":1,"processedAt":5}', '{"x":1,' + ERROR_FIELDS + "}"),
        ('{"error":"no","x":1}', f'{{"error":{ERROR_TEXT},"x":1,"isIdempotent":false}}'),
        ('{"isIdempotent":true}', f'{{"isIdempotent":false,"error":{ERROR_TEXT}}}'),
    ],
)
def test_a_failure_keeps_its_own_bytes_too(result: str, expected: str) -> None:
    assert failure(result) == expected


def test_an_error_says_when_to_come_back() -> None:
    error = ErrorBody("IN_PROGRESS", "held", True, 250)
    text = item(Row(b"{}", True, TIME, error))
    assert json.loads(text) == {
        "isIdempotent": False,
        "error": {"code": "IN_PROGRESS", "message": "held", "retryable": True, "retryAfterMs": 250},
    }


def test_a_success_without_a_time_leaves_the_services_own() -> None:
    assert item(Row(b'{"processedAt":1}', False)) == '{"processedAt":1,"isIdempotent":false}'
    assert item(Row(b'{"a":1}', False)) == '{"a":1,"isIdempotent":false}'
    assert (
        item(Row(b'{"error":1,"processedAt":1}', True)) == '{"processedAt":1,"isIdempotent":true}'
    )


@pytest.mark.parametrize(
    ("fields", "good", "bad"),
    [
        (Fields(None, None, None), '{"a":1}', '{"a":1}'),
        (Fields(None, "at", None), f'{{"a":1,"at":"{TIME_TEXT}"}}', '{"a":1}'),
        (
            Fields("old", None, "err"),
            '{"a":1,"old":false}',
            f'{{"a":1,"old":false,"err":{ERROR_TEXT}}}',
        ),
        (Fields("é", None, None), '{"a":1,"é":false}', '{"a":1,"é":false}'),
        (Fields('q"', None, None), '{"a":1,"q\\"":false}', '{"a":1,"q\\"":false}'),
    ],
)
def test_field_names_are_the_rules(fields: Fields, good: str, bad: str) -> None:
    ruled = rule(None, response(fields=fields))
    assert success('{"a":1}', fields=fields) == good
    assert failure('{"a":1}', fields=fields) == bad
    row = Row(b'{"a":1}', False, TIME)
    assert render(ruled, b'{"results":[]}', [row]).decode() == f'{{"results":[{good}]}}'


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("a/b", '"a\\/b"'),
        ("é", '"\\u00E9"'),
        ("中", '"\\u4e2d"'),
        ('q"', '"q\\u0022"'),
        ("a", '"\\u0061"'),
    ],
)
def test_a_name_is_found_however_it_is_spelled(name: str, spelled: str) -> None:
    fields = Fields(name, None, None)
    assert (
        success(f'{{{spelled}:"x","z":"\\n"}}', fields=fields) == f'{{{spelled}:false,"z":"\\n"}}'
    )


@pytest.mark.parametrize("scalar", ["5", '"x"', "null", "[1]", "1.50", "[]"])
def test_a_result_that_is_no_object(scalar: str) -> None:
    assert success(scalar) == scalar
    assert item(Row(scalar.encode(), True, TIME)) == scalar
    assert failure(scalar) == "{" + ERROR_FIELDS + "}"
    assert failure(scalar, failed_item=b'{"id":null}') == '{"id":null,' + ERROR_FIELDS + "}"
    assert failure(scalar, failed_item=b"0") == "{" + ERROR_FIELDS + "}"
    assert success(scalar, wrap="id") == f'{{"id":{scalar},{NEW_FIELDS}}}'
    assert failure(scalar, wrap="id") == f'{{"id":{scalar},{ERROR_FIELDS}}}'
    assert success(scalar, wrap='i"d') == f'{{"i\\"d":{scalar},{NEW_FIELDS}}}'


def test_an_object_is_never_wrapped() -> None:
    assert success('{"a":1}', wrap="id") == '{"a":1,' + NEW_FIELDS + "}"


@pytest.mark.parametrize(
    ("others", "start"),
    [
        ({}, "{"),
        ({"failed_item": b'{"id": 0}'}, '{"id": 0,'),
        ({"failed_item": b"null"}, "{"),
        ({"failed_item": b"null", "wrap": "id"}, '{"id":null,'),
        ({"failed_item": b'{"error":0}'}, "{"),
    ],
)
def test_an_item_without_a_result_starts_from_the_template(
    others: dict[str, Any], start: str
) -> None:
    if b"error" in others.get("failed_item", b""):
        assert failure(None, **others) == f'{{"error":{ERROR_TEXT},"isIdempotent":false}}'
    else:
        assert failure(None, **others) == start + ERROR_FIELDS + "}"


@pytest.mark.parametrize(
    ("is_idempotent", "name"), [(False, "accepted_item"), (True, "duplicate_result")]
)
def test_a_success_without_a_result_starts_from_its_template(
    is_idempotent: bool, name: str
) -> None:
    row = Row(None, is_idempotent, TIME)
    flag = "true" if is_idempotent else "false"
    fields = f'"isIdempotent":{flag},"processedAt":"{TIME_TEXT}"'
    assert item(row) == "{" + fields + "}"
    assert item(row, **{name: b'{"error":1,"a":2}'}) == '{"a":2,' + fields + "}"
    assert item(row, **{name: b"7"}) == "7"
    assert item(row, **{name: b"7", "wrap": "id"}) == '{"id":7,' + fields + "}"
    template: dict[str, Any] = {name: b'{"a":2}'}
    ruled = rule(None, response(**template))
    expected = b'{"results":[{"a":2,%b}]}' % fields.encode()
    assert render(ruled, b'{"results":[]}', [row]) == expected


def test_every_row_of_a_list_has_its_own_flag_and_time() -> None:
    times = [None, TIME, TIME, TIME + 1, None]
    rows = [Row(b'{"a":1}', flag, time) for flag in (False, True, False) for time in times]
    for some in (rows, rows[::-1], rows[1:], rows[:1]):
        each = b",".join(with_fields(rule(), row) for row in some)
        assert render(rule(), b'{"results":[]}', some) == b'{"results":[' + each + b"]}"


NAMES = st.sampled_from(["isIdempotent", "processedAt", "error", "a", "b", "é"])


@given(st.data())
def test_rendered_is_parsed_plus_the_fields(data: st.DataObject) -> None:
    """Whatever the result: what comes out reads as what went in with the fields put over it."""
    values = data.draw(st.lists(json_text(depth=2), max_size=4))
    names = data.draw(st.lists(NAMES, unique=True, min_size=len(values), max_size=6))
    named = list(zip(names, values, strict=False))
    result = object_text(data.draw, named)
    own = {
        n: v for n, v in parse(result).items() if n not in ("isIdempotent", "processedAt", "error")
    }
    row = Row(result.encode(), data.draw(st.booleans()), TIME)
    shown = json.loads(json.dumps({"isIdempotent": row.is_idempotent, "processedAt": TIME_TEXT}))
    assert same_value(parse(item(row)), own | shown)
    failed = parse(item(replace(row, error=ERROR)))
    assert same_value(failed, own | {"isIdempotent": False, "error": json.loads(ERROR_TEXT)})
    once = item(row)
    assert item(Row(once.encode(), row.is_idempotent, TIME)) == once


@given(st.data())
def test_every_other_byte_stays(data: st.DataObject) -> None:
    values = data.draw(st.lists(json_text(depth=2), min_size=1, max_size=4))
    named = [(f"m{i}", value) for i, value in enumerate(values)]
    result = object_text(data.draw, named)
    assert success(result) == f"{result[:-1]},{NEW_FIELDS}}}"


# ---- the whole body ----------------------------------------------------------------------------

ROWS = [Row(b'{"n":1.0}', False, TIME), OLD, Row(None, False, None, ERROR)]
PAINTED = (
    f'[{{"n":1.0,{NEW_FIELDS}}},{{"isIdempotent":true,"processedAt":"{TIME_TEXT}"}},'
    f"{{{ERROR_FIELDS}}}]"
)
ALL = {
    "total": Pointer("/total"),
    "succeeded": Pointer("/sum/ok"),
    "idempotent": Pointer("/sum/old"),
    "failed": Pointer("/bad"),
}


def body(base: str, results: str | None = "/results", **others: Any) -> str:
    return render(rule(None, response(results, **others)), base.encode(), ROWS).decode()


@pytest.mark.parametrize(
    ("base", "results", "expected"),
    [
        ('{"results":[]}', "/results", '{"results":@}'),
        ('{ "results" : [1,{"a":2}] , "x":1.0 }\n', "/results", '{ "results" : @ , "x":1.0 }\n'),
        ('{"a":{"b":[]},"results":[]}', "/a/b", '{"a":{"b":@},"results":[]}'),
        ("[1,2]", "", "@"),
        (' {"ok":1}', "", " @"),
        ('["ok", [1] ]', "/1", '["ok", @ ]'),
        ('["ok"]', "/1", '["ok",@]'),
        ("[]", "/0", "[@]"),
        ("{}", "/results", '{"results":@}'),
        ("{ }", "/results", '{ "results":@}'),
        ('{"x":1}', "/results", '{"x":1,"results":@}'),
        ('{"x":1}', "/a/b/c", '{"x":1,"a":{"b":{"c":@}}}'),
        ('{"a":{"z":1}}', "/a/b", '{"a":{"z":1,"b":@}}'),
        ('{"a":null}', "/a/b", '{"a":{"b":@}}'),
        ('{"results":null}', "/results", '{"results":@}'),
        ('{"results":[1],"results":[2]}', "/results", '{"results":[1],"results":@}'),
        ('{"x":1}', "/a~1b", '{"x":1,"a/b":@}'),
        ('{"x":1}', '/a~0"', '{"x":1,"a~\\"":@}'),
        ("{}", "/1", '{"1":@}'),
        ('{"x":1}', None, '{"x":1,"results":@}'),
        ('{"results":"mine"}', None, '{"results":@}'),
        ("[1]", None, '{"results":@}'),
        ("5", None, '{"results":@}'),
        ("", None, '{"results":@}'),
        ("OK", None, '{"results":@}'),
        ('{"broken":', None, '{"results":@}'),
        ("OK", "/results", '{"results":@}'),
        ("OK", "", "@"),
    ],
)
def test_where_the_list_goes(base: str, results: str | None, expected: str) -> None:
    assert body(base, results) == expected.replace("@", PAINTED)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (
            '{"total": 9 ,"sum":{"ok":9,"x":1,"old":9},"bad":9,"results":[1]}',
            '{"total": 3 ,"sum":{"ok":2,"x":1,"old":1},"bad":1,"results":@}',
        ),
        (
            '{"results":[1],"total":9}',
            '{"results":@,"total":3,"sum":{"ok":2,"old":1},"bad":1}',
        ),
        ("{}", '{"results":@,"total":3,"sum":{"ok":2,"old":1},"bad":1}'),
        (
            '{"results":[{"total":9}],"sum":null,"bad":"x"}',
            '{"results":@,"sum":{"ok":2,"old":1},"bad":1,"total":3}',
        ),
        (
            '{"total":8,"total":9,"results":[]}',
            '{"total":8,"total":3,"results":@,"sum":{"ok":2,"old":1},"bad":1}',
        ),
    ],
)
def test_counts(base: str, expected: str) -> None:
    assert body(base, counts=ALL) == expected.replace("@", PAINTED)


@pytest.mark.parametrize(
    ("envelope", "counts"),
    [
        ("{}", {}),
        ("{}", ALL),
        ('{"v": 1, "results": null, "total": 0}', ALL),
        ('{"sum":{"old":5}}', ALL),
        ("{}", {"total": Pointer("/results/total")}),  # stands in the list: no place of its own
    ],
)
def test_the_rules_own_envelope_is_as_good_as_a_body_like_it(
    envelope: str, counts: dict[str, Pointer]
) -> None:
    own = envelope.encode()
    ruled = rule(None, response(envelope=own, counts=counts))
    like_it = bytes(bytearray(own))
    assert like_it is not own
    from_own = render(ruled, own, [OLD, OLD])
    assert parse(from_own) == parse(render(ruled, like_it, [OLD, OLD]))
    assert from_own == render(ruled, own, [OLD, OLD])


def test_some_counts_and_no_rows() -> None:
    ruled = rule(None, response(counts={"failed": Pointer("/failed")}))
    assert render(ruled, b'{"results":[]}', []) == b'{"results":[],"failed":0}'
    assert body('["ok",[]]', "/1", counts={"total": Pointer("/2")}) == f'["ok",{PAINTED},3]'


def test_a_row_of_every_kind_beside_plain_ones() -> None:
    """A member of a field's name in one row makes no other row come out differently."""
    results = ["{}", "{ }", '{"a":1 }', '{"error":1}', "7", '{"a":"\\n"}', ' {"a":1} ']
    rows = [Row(r.encode(), False, TIME) for r in results]
    for ruled in (rule(), rule(None, response(wrap="id"))):
        for some in (rows, rows[:3], rows[4:], rows[:3] + rows[4:]):
            each = b",".join(with_fields(ruled, row) for row in some)
            assert render(ruled, b'{"results":[0]}', some) == b'{"results":[' + each + b"]}"


@given(st.data())
def test_a_body_keeps_every_byte_around_the_list(data: st.DataObject) -> None:
    own = data.draw(st.lists(json_text(depth=2), max_size=3))
    around = [("total", data.draw(json_text(depth=1))), ("é", '"x"')]
    before, array, behind = batch_text(data.draw, own, around)
    base = before + array + behind
    ruled = rule(None, response("/items"))
    text = render(ruled, base.encode(), ROWS).decode()
    assert text == before + PAINTED + behind
    counted = rule(None, response("/items", counts={"total": Pointer("/total")}))
    document = parse(render(counted, base.encode(), ROWS))
    assert same_value(document, parse(base) | {"items": parse(PAINTED), "total": 3})
