"""The compiled build's readers give what the exact way gives, or nothing; and they do give it for
the bodies that clients send. The pure build has none of them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.guard import request_of, response_of
from rules.jsonshape import TooDeep
from rules.jsontext import DuplicateMember, members, parse_array, span_of
from rules.model import Batch, Fields
from rules.native import (
    IS_HERE,
    array_reader,
    ended,
    ended_each,
    item_reader,
    longest,
    member_finder,
    tails,
)
from rules.packed import PackedKeys
from rules.pointer import Pointer
from rules.render import render
from rules.request import _read_exactly
from rules.row import Row
from tests.rules.corpus import ACCEPTED, REJECTED
from tests.rules.making import damaged, json_text, pointers, quoted, request, response, rule

pytestmark = pytest.mark.skipif(not IS_HERE, reason="the pure build has no native reader")

SHAPES = [
    rule(request("/items")),
    rule(request("/items", "/key", "/x")),
    rule(request("/items", "/sub/key", "/key")),
    rule(request("/items", fingerprint_exclude=pointers("/x", "/sub/key", "/sub/at"))),
    rule(request("/items", "/sub/key", fingerprint_exclude=pointers("/sub"))),
    rule(request("/a/items", ignore_mismatch=True)),
    rule(request("")),
]


def natively(ruled: object, body: bytes, most: int = 1000) -> tuple[object, ...] | None:
    reader = item_reader(ruled)  # type: ignore[arg-type]
    assert reader is not None
    read = reader(body, most)
    if read is None:
        return None
    packed, prints, span, items = read
    keys = PackedKeys(packed, len(prints), len(ruled.request.key))  # type: ignore[attr-defined]
    return list(keys), prints, span, items


def agrees(ruled: object, body: bytes) -> bool:
    """Whether it was read natively, and then as the exact way reads it."""
    said = natively(ruled, body)
    if said is None:
        return False
    exact = _read_exactly(ruled, body, None)  # type: ignore[arg-type]
    assert isinstance(exact, Batch)
    assert not exact.problems
    assert said == (list(exact.keys), list(exact.fingerprints), exact.span, exact.raws)
    return True


# ---- bodies that clients send are read natively -------------------------------------------------

ITEM = {"key": "k-1", "x": 1.50, "note": 'line\n"quoted" \\ \u00e9\u4e2d\U0001f600', "n": [1, -2]}


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_what_client_libraries_write_is_taken(
    separators: tuple[str, str], ascii_only: bool, indent: int | None
) -> None:
    document = {"tenant": "t", "items": [dict(ITEM, key=f"k-{n}") for n in range(9)], "n": 2**70}
    body = json.dumps(document, separators=separators, ensure_ascii=ascii_only, indent=indent)
    assert agrees(SHAPES[0], body.encode())


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
def test_the_benchmarks_bodies_are_taken(size: int) -> None:
    assert agrees(rule(request("/notifications")), request_of(size))


@pytest.mark.parametrize("key", [0, -1, 2**63 - 1, -(2**63), 2**64 - 1, "", "é" * 127, "x" * 255])
def test_every_good_key_is_taken(key: str | int) -> None:
    text = json.dumps({"items": [{"key": key}]}, ensure_ascii=False, separators=(",", ":"))
    assert natively(SHAPES[0], text.encode()) is not None
    assert agrees(SHAPES[0], text.encode())


@pytest.mark.parametrize(
    "item",
    [
        *('{"key":null}', '{"key":1.0}', '{"key":true}', '{"key":[1]}', '{"key":{}}', "{}", "1"),
        *('{"key":18446744073709551616}', '{"key":-9223372036854775809}', '{"key":-0}'),
        *('{"key":"' + "x" * 256 + '"}', '{"key":"\\u0061"}', '{"key":1,"key":2}'),
        *('{"key":1,"x":{"a":1,"a":2}}', '{"key":1,"a\\tb":2}', '{"key":1,"x":"\\ud83d"}'),
        *('{"key":1,"x":01}', '{"key":1,}', '{"key":1]', '{"key":1,"x":' + "9" * 301 + "}"),
    ],
)
def test_what_the_exact_way_is_for_is_not_taken(item: str) -> None:
    assert natively(SHAPES[0], f'{{"items":[{{"key":"a"}},{item}]}}'.encode()) is None


def test_more_items_than_the_rule_takes_are_not_taken() -> None:
    body = b'{"items":[{"key":1},{"key":2},{"key":3}]}'
    assert natively(SHAPES[0], body, 3) is not None
    assert natively(SHAPES[0], body, 2) is None


def test_a_text_that_fills_the_buffer_is_not_taken_and_one_that_nearly_does_is() -> None:
    """More of them than the buffer holds at once."""
    for size, taken in ((120_000, True), (262_144, False)):
        items = [{"key": n, "x": "y" * size} for n in range(5)]
        assert agrees(SHAPES[0], json.dumps({"items": items}).encode()) is taken


@pytest.mark.parametrize("depth", [62, 63])
def test_nesting_counts_what_is_around(depth: int) -> None:
    inner = "[" * (depth - 1) + "]" * (depth - 1)
    taken = natively(SHAPES[0], f'{{"items":[{{"key":1,"x":{inner}}}]}}'.encode()) is not None
    assert taken == (depth + 2 <= 64)


@pytest.mark.parametrize("count", [2, 16, 17, 200])
def test_members_are_sorted_however_many(count: int) -> None:
    rng = random.Random(count)
    names = [f"m{rng.randrange(10 ** rng.randrange(1, 9))}" for _ in range(count)]
    item = {"key": "k", **dict.fromkeys(names, 1), "é": 2, "\U0001f600": 3, "\uffee": 4}
    members_ = list(item.items())
    rng.shuffle(members_)
    body = json.dumps({"items": [dict(members_)]}, ensure_ascii=False).encode()
    assert agrees(SHAPES[0], body)


# ---- whatever comes, both agree -----------------------------------------------------------------


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies whose names are mostly the interesting ones, with all freedoms of spelling."""
    space = st.sampled_from(["", "", " ", "\n\t"])
    name = st.sampled_from(['"key"', '"x"', '"sub"', '"a"', '"at"']) | quoted()
    scalar = st.sampled_from(['"k"', "1", "-7", "0.5", "-0", "[1]", "null"]) | json_text(depth=1)

    def members_of(value: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pair = st.tuples(space, name, space, space, value, space).map(
            lambda p: f"{p[0]}{p[1]}{p[2]}:{p[3]}{p[4]}{p[5]}"
        )
        return st.lists(pair, max_size=5).map(lambda pairs: "{" + ",".join(pairs) + "}")

    inner = members_of(scalar)
    item = members_of(st.one_of(scalar, inner, scalar)) | json_text(depth=2)
    array = draw(st.lists(item, max_size=5).map(lambda items: "[" + ",".join(items) + "]"))
    lead, tail = draw(space), draw(space)
    shape = draw(
        st.sampled_from(
            ["%s", '{"items":%s}', '{"a":{"items":%s},"n":1}', '{"n":[{}],"items" : %s}']
        )
    )
    return (lead + shape.replace("%s", array) + tail).encode()


@settings(max_examples=3000, deadline=None)
@given(bodies(), st.sampled_from(SHAPES))
def test_both_ways_agree(body: bytes, ruled: object) -> None:
    agrees(ruled, body)


SEEDS = [
    b'{"items":[{"key":"a","x":{"x":[1,2.50,"\\u00e9"]}},{"key":12, "sub":{"key":"s"}}]}',
    *(b'{"items":[{"key":"a","x":' + text + b"}]}" for _, text in (*ACCEPTED, *REJECTED)),
]


@settings(max_examples=3000, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.sampled_from(SHAPES))
def test_texts_that_were_nearly_right(body: bytes, seed: int, ruled: object) -> None:
    text = damaged(body, seed)
    try:
        text.decode()
    except UnicodeDecodeError:
        return  # seen before anything is read
    agrees(ruled, text)
    array_agrees(text, Pointer("/items"))
    finder_agrees(text, ("items", "x"))


@pytest.mark.parametrize(("_", "text"), [*ACCEPTED, *REJECTED])
def test_the_corpus(_: str, text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        return
    for body in (text, b'{"items":' + text + b"}", b'{"items":[{"key":1,"x":' + text + b"}]}"):
        agrees(SHAPES[0], body)
        array_agrees(body, Pointer("/items"))
        array_agrees(body, Pointer(""))
        finder_agrees(body, ("items", "a", ""))


# ---- arrays and members -------------------------------------------------------------------------


def array_agrees(body: bytes, at: Pointer) -> bool:
    reader = array_reader(at)
    assert reader is not None
    found = reader(body)
    if found is None:
        return False
    start, end, elements = found
    assert span_of(body, at) == (start, end)
    assert list(map(bytes, parse_array(body[start:end]))) == elements
    return True


def finder_agrees(body: bytes, names: tuple[str, ...]) -> bool:
    finder = member_finder(names)
    assert finder is not None
    found = finder(body, -1, -1)
    if found is None:
        return False
    by_name = {member.name: (member.start, member.end) for member in members(body)}
    assert found == [by_name.get(name) for name in names]
    return True


@settings(max_examples=1000, deadline=None)
@given(json_text(depth=3), st.sampled_from(["", "/a", "/a/b", "/items"]))
def test_arrays_are_found_as_the_exact_way_finds_them(text: str, at: str) -> None:
    body = text.encode()
    array_agrees(body, Pointer(at))
    array_agrees(b'{"a":{"b":' + body + b'},"items":[' + body + b" , 1 ]}", Pointer(at))


@pytest.mark.parametrize("size", [1, 100])
def test_the_benchmarks_responses_are_taken(size: int) -> None:
    assert array_agrees(response_of(size), Pointer("/results"))
    assert finder_agrees(response_of(size), ("results", "totalCount"))


def test_a_known_array_is_passed_over() -> None:
    body = b'{"results":[1,2,3],"totalCount":3}'
    finder = member_finder(("results", "totalCount"))
    assert finder is not None
    assert finder(body, 11, 18) == finder(body, -1, -1) == [(11, 18), (32, 33)]


@given(json_text(depth=2))
def test_what_is_around_may_not_hide_what_is_wrong(text: str) -> None:
    """A repeated name on the way is the exact way's to judge."""
    body = b'{"items":[1],"items":' + text.encode() + b"}"
    reader = array_reader(Pointer("/items"))
    assert reader is not None
    assert reader(body) is None
    with pytest.raises((DuplicateMember, TooDeep)):
        span_of(body, Pointer("/items"))


def test_tails_read_as_their_list() -> None:
    assert tails is not None
    texts = [b"head" + b"%d" % (n * n) for n in range(20)] + [b"head"]
    read: Sequence[bytes] = tails(texts, 4)
    wanted = [text[4:] for text in texts]
    assert read == wanted
    assert list(read) == wanted
    assert len(read) == len(wanted)
    assert read[-1] == b""
    assert read[7] == wanted[7]
    assert read[3:9] == wanted[3:9]
    assert read != wanted[1:]
    with pytest.raises(IndexError):
        read[len(wanted)]
    texts.clear()
    assert read == wanted
    for bad in ([b"hea"], ["heads"], [b"heads", None], [bytearray(b"heads")]):
        with pytest.raises(ValueError, match="bytes"):
            tails(bad, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bytes"):
        tails([b"heads"], -1)


# ---- results with an ending ---------------------------------------------------------------------


def elements(results: list[bytes]) -> Sequence[bytes]:
    """As a service's answer gives them; as they are where one of them is not read natively."""
    reader = array_reader(Pointer(""))
    assert reader is not None
    found = reader(b"[" + b", ".join(results) + b"]")
    return results if found is None or found[2] != results else found[2]


@settings(max_examples=1000)
@given(
    st.lists(json_text(depth=2).map(str.encode) | st.sampled_from([b'{"id":1}', b'{"a":"x"}'])),
    st.sampled_from(
        [Fields(), Fields(None, None, "e"), Fields("ok", "at", None), Fields("é", "a")]
    ),
    st.booleans(),
)
def test_an_answer_is_the_same_from_columns_and_from_rows(
    results: list[bytes], fields: Fields, flag: bool
) -> None:
    from rules.rows import AlikeRows

    ruled = rule(None, response(fields=fields))
    base = b'{"results":[],"n":1}'
    wanted = render(ruled, base, [Row(result, flag, 1_700_000_000_123) for result in results])
    assert tails is not None
    behind = tails([b"some head" + result for result in results], 9)
    for columns in (results, elements(results), behind):
        assert render(ruled, base, AlikeRows(columns, flag, 1_700_000_000_123)) == wanted


def test_a_name_that_may_stand_in_a_result_is_looked_at_closely() -> None:
    assert ended is not None
    names = [b'"error"', b'"isIdempotent"']
    assert (
        ended([b'{"id":1}', b'{"id":2}'], b',"x":1}', names) == b'[{"id":1,"x":1},{"id":2,"x":1}]'
    )
    for other in (
        b'{"error":1}',
        b'{"a":{"error":1}}',
        b'{"\\u0065rror":1}',
        b"{}",
        b"7",
        b' {"a":1}',
    ):
        for results in ([b'{"id":1}', other], [other, b'{"id":1}']):
            assert ended(results, b"}", names) is None
            assert ended(elements(results), b"}", names) is None
    assert ended([], b"}", names) == b"[]"
    assert ended(elements([]), b"}", names) == b"[]"


def test_each_result_may_have_its_own_ending_or_none() -> None:
    assert ended_each is not None
    names = [b'"error"']
    results = [b'{"id":1}', b'{"error":7}', b"[]", b'{"id":2}']
    endings = [b',"a":1}', None, None, b"}"]
    assert ended_each(results, endings, names) == b'[{"id":1,"a":1},{"error":7},[],{"id":2}]'
    assert ended_each(results, [b"}", b"}", None, b"}"], names) is None
    assert ended_each([b"7"], [None], names) == b"[7]"
    assert ended_each([], [], names) == b"[]"
    with pytest.raises(ValueError, match="each"):
        ended_each([b"{}"], [], names)


@pytest.mark.parametrize("count", [0, 1, 2, 127, 128, 129, 700])
def test_an_arrays_elements_read_as_their_list(count: int) -> None:
    """Its own memory grows as it is filled."""
    wanted = [b"%d" % (n * n) for n in range(count)]
    reader = array_reader(Pointer(""))
    assert reader is not None
    found = reader(b"[ " + b" , ".join(wanted) + b"]")
    assert found is not None
    read = found[2]
    assert read == wanted
    assert wanted == list(read)
    assert len(read) == count
    assert read[: count // 2] == wanted[: count // 2]
    assert read[::-1] == wanted[::-1]
    assert read != [*wanted, b""]
    other: object = b"".join(wanted)
    assert read != other
    assert max([longest(read)] if count else [0]) == max(map(len, wanted), default=0)
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            read[index]
    for index in range(-count, count):
        assert read[index] == wanted[index]


# ---- hashing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5])
def test_fingerprints_are_blake2b_at_every_length(lanes: int) -> None:
    """Around each block's end, and in lanes of different lengths."""
    for size in [*range(300), *range(380, 390), 1000, 5000]:
        items = [{"key": n, "x": "y" * (size + 61 * n % 200)} for n in range(lanes)]
        body = json.dumps({"items": items}, separators=(",", ":")).encode()
        said = natively(SHAPES[0], body)
        assert said is not None
        texts = [json.dumps(i, sort_keys=True, separators=(",", ":")).encode() for i in items]
        assert said[1] == [blake2b(text, digest_size=16).digest() for text in texts]
