"""The one reading of a compact body gives what the exact way gives, or gives nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.guard import request_of
from rules.contents import CANONICAL, DOCUMENT, contents_of, is_surely_shallow, plain_keys
from rules.jsonshape import TooDeep
from rules.jsontext import DuplicateMember
from rules.model import Batch, Problem
from rules.pointer import Pointer
from rules.request import TooMany, _read_exactly, fingerprints, read_batch
from tests.rules.making import json_text, pointers, quoted, read, request, rule, unreadable

ITEMS = Pointer("/items")
COMPACT = (
    b'{"tenant":"t","items":[{"key":"a","x":1.50},{"key":"b","x":[{}]}],"n":18446744073709551617}'
)


def outcome(said: object) -> object:
    """Everything that can be asked of what was read."""
    if isinstance(said, Batch):
        return said.whole, said.span, said.raws, said.keys, said.problems, said.fingerprints
    return said


def exactly(body: bytes, *key: str, **others: object) -> object:
    try:
        return outcome(_read_exactly(rule(request("/items", *key, **others)), body, None))
    except (TooDeep, DuplicateMember) as error:
        return type(error)


def quickly(body: bytes, *key: str, **others: object) -> object:
    said = outcome(read_batch(rule(request("/items", *key, **others)), body))
    reason = getattr(said, "reason", None)
    return {"too_deep": TooDeep, "duplicate_member": DuplicateMember}.get(reason or "", said)


# ---- what is taken quickly ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 20, 100])
def test_the_usual_body_is_taken_whole_and_seen_to_be_shallow(size: int) -> None:
    contents = contents_of(request_of(size), Pointer("/notifications"))
    assert contents is not None
    assert contents.is_whole
    assert is_surely_shallow(contents)
    keys = plain_keys(contents.items, pointers("/key"))
    assert keys == [(f"order-{n:05d}",) for n in range(1, size + 1)]


def test_a_compact_body_is_whole_wherever_its_array_stands() -> None:
    for body, at in [
        (COMPACT, "/items"),
        (b'[{"key":1}]', ""),
        (b'{"a":{"b":[{"key":1}],"c":0}}', "/a/b"),
    ]:
        contents = contents_of(body, Pointer(at))
        assert contents is not None
        assert contents.is_whole, body


@pytest.mark.parametrize(
    "body",
    [
        COMPACT + b"\n",
        COMPACT.replace(b":1.50", b": 1.50"),
        COMPACT.replace(b'"t"', b'"\\u0074"'),
        COMPACT.replace(b'"t"', b'"\\/"'),
        COMPACT.replace(b"{}", b'{"":0,"":0}'),
        COMPACT.replace(b'"n"', b'"tenant":1,"n"'),
        COMPACT.replace(b'"n"', b'"items":[],"n"'),
        COMPACT.replace(b"1.50", b"-0"),
        b'{"items":[]}',
    ],
)
def test_a_body_that_loses_something_is_not_whole(body: bytes) -> None:
    contents = contents_of(body, ITEMS)
    assert contents is not None
    assert not contents.is_whole


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (b"[[1]]", "/0"),
        (b'{"items":"x"}', "/items"),
        (b'{"items":"x"}', "/items/x"),
        (b'{"other":[]}', "/items"),
        (b"7", ""),
        (b"[1,]", ""),
        (b"[" + b"1" * 5000 + b"]", ""),
        (b"[" * 100_000 + b"]" * 100_000, ""),
    ],
)
def test_what_is_not_read_at_once(body: bytes, at: str) -> None:
    assert contents_of(body, Pointer(at)) is None


@settings(max_examples=500)
@given(json_text())
def test_canonical_text_is_never_longer(text: str) -> None:
    assert len(CANONICAL.encode(DOCUMENT.decode(text.encode()))) <= len(text.encode())


def test_no_character_is_written_longer_than_it_can_be_read() -> None:
    for code in (*range(0xD800), *range(0xE000, 0x11000), 0x1F600, 0x10FFFF):
        shortest = min(
            (
                json.dumps(chr(code), ensure_ascii=ascii_only).encode()
                for ascii_only in (True, False)
            ),
            key=len,
        )
        assert len(CANONICAL.encode(chr(code))) <= len(shortest), hex(code)


# ---- the same as the exact way -----------------------------------------------------------------


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Mostly compact bodies, with now and then a name twice, a bad key, an odd spelling."""
    spell = quoted if draw(st.integers(0, 5)) == 0 else json.dumps
    names = st.sampled_from(["key", "sub", "x", "y"])

    def member(name: str, value: str) -> str:
        return f"{draw(quoted(name)) if spell is quoted else json.dumps(name)}:{value}"

    keys = st.one_of(
        st.text("ab\n1é", max_size=3).map(lambda text: json.dumps(text, ensure_ascii=False)),
        st.sampled_from(["1", "-7", "18446744073709551615", "18446744073709551616", "1.0", "null"]),
        st.sampled_from(['"%s"' % ("k" * 255), '"%s"' % ("é" * 128), '"k\\u000a"', '{"key":1}']),
    )
    compact = json_text(depth=1).map(
        lambda text: CANONICAL.encode(DOCUMENT.decode(text.encode())).decode()
    )
    items = []
    for _ in range(draw(st.integers(0, 4))):
        members = [member("key", draw(keys))] if draw(st.integers(0, 9)) else []
        members += [member(draw(names), draw(compact)) for _ in range(draw(st.integers(0, 2)))]
        items.append("{" + ",".join(members) + "}")
    around = [member("items", "[" + ",".join(items) + "]")]
    around += [member(draw(st.sampled_from(["items", "t", "n"])), draw(compact)) for _ in "ab"][
        : draw(st.integers(0, 2))
    ]
    return ("{" + ",".join(around) + "}").encode()


@settings(max_examples=1500, deadline=None)
@given(bodies(), st.sampled_from([("/key",), ("/key", "/x"), ("/sub/key",)]))
def test_both_ways_agree(body: bytes, key: tuple[str, ...]) -> None:
    assert quickly(body, *key) == exactly(body, *key)


@pytest.mark.parametrize("around", [b"", b',"meta":' + b'{"a":[' * 9 + b"]}" * 9])
@pytest.mark.parametrize("items", [1, 40])
@pytest.mark.parametrize("depth", [20, 46, 61, 62])
@pytest.mark.parametrize("text", [b"[]", b'{"":[]}'])
def test_depth_is_found_wherever_it_is(text: bytes, depth: int, items: int, around: bytes) -> None:
    """The key's object, its array and the body's object are the first three levels."""
    levels = depth - 1 if text == b"[]" else depth - 2
    deep = b"[" * levels + text + b"]" * levels
    some = [b'{"key":%d,"x":"[{"}' % n for n in range(items)]
    some[-1] = b'{"key":"deep","x":' + deep + b"}"
    body = b'{"items":[' + b",".join(some) + b"]" + around + b"}"
    said = quickly(body)
    assert said == exactly(body)
    assert (said is TooDeep) == (depth + 3 > 64)


def test_a_deep_value_that_a_repeated_name_hides_is_found() -> None:
    deep = b"[" * 62 + b"]" * 62
    assert unreadable(b'{"items":[{"key":1,"x":' + deep + b',"x":1}]}') == "too_deep"


def test_many_brackets_around_the_items_are_looked_at_one_by_one() -> None:
    contents = contents_of(b'{"items":[{"key":1}],"x":[' + b"[]," * 20 + b"1]}", ITEMS)
    assert contents is not None
    assert not is_surely_shallow(contents)


def test_items_of_many_brackets_are_looked_at_one_by_one() -> None:
    body = b'{"items":[{"key":1,"x":[]},{"key":2,"x":[' + b"[]," * 60 + b"1]}]}"
    contents = contents_of(body, ITEMS)
    assert contents is not None
    assert not is_surely_shallow(contents)
    assert quickly(body) == exactly(body)
    assert len(read(body)) == 2


def test_too_many_items_are_counted_in_a_compact_body_too() -> None:
    assert quickly(COMPACT, max_items=1) == TooMany(2) == exactly(COMPACT, max_items=1)
    assert len(read(COMPACT, max_items=2)) == 2


@pytest.mark.parametrize("sort", [b",", b"[", b"{"])
def test_a_body_of_very_many_values_is_not_read_at_once(sort: bytes) -> None:
    body = COMPACT.replace(b'"t"', b'"%s"' % (sort * 250_001))
    assert quickly(body) == exactly(body)
    assert len(read(body)) == 2


# ---- keys and fingerprints ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "key", "wanted"),
    [
        ('[{"a":"x","b":1},{"a":"y","b":2}]', ("/a", "/b"), [("x", 1), ("y", 2)]),
        ('[{"a":{"b":"x"}},{"a":{"b":"y"}}]', ("/a/b",), [("x",), ("y",)]),
        ('["x","y"]', ("",), [("x",), ("y",)]),
        (f'["{"é" * 127}"]', ("",), [("é" * 127,)]),
        (f'["{"é" * 128}"]', ("",), None),
        (f'["x","{"k" * 256}"]', ("",), None),
        ("[18446744073709551615,-9223372036854775808]", ("",), [(2**64 - 1,), (-(2**63),)]),
        ("[18446744073709551616]", ("",), None),
        ("[-9223372036854775809]", ("",), None),
        ('["x",1]', ("",), None),
        ("[true]", ("",), None),
        ("[1.0]", ("",), None),
        ('[{"a":1},{"b":1}]', ("/a",), None),
        ('[{"a":1},"a"]', ("/a",), None),
        ('[{"a":[1]}]', ("/a/0",), None),
    ],
)
def test_plain_keys(items: str, key: tuple[str, ...], wanted: object) -> None:
    assert plain_keys(DOCUMENT.decode(items.encode()), pointers(*key)) == wanted


def test_fingerprints_of_a_batch_are_those_of_its_items() -> None:
    for exclude in ((), pointers("/x/0", "/tenant")):
        excluding = rule(request(fingerprint_exclude=exclude))
        for body in (COMPACT, COMPACT + b" ", COMPACT.replace(b'"a"', b"null")):
            batch = read(body, fingerprint_exclude=exclude)
            assert batch.fingerprints == fingerprints(excluding, batch.raws)
    batch = read(b'{"items":[{"key":"a","t":1},{"key":"b","t":2}]}')
    assert len(set(batch.fingerprints)) == 2


def test_an_exclusion_takes_nothing_from_what_is_forwarded_or_keyed() -> None:
    batch = read(COMPACT, fingerprint_exclude=pointers("/key", "/x"))
    assert batch.keys == [("a",), ("b",)]
    assert list(batch.raws) == [b'{"key":"a","x":1.50}', b'{"key":"b","x":[{}]}']
    assert len(set(batch.fingerprints)) == 1


def test_content_that_is_not_compared_has_no_fingerprint() -> None:
    batch = read(COMPACT.replace(b'"b"', b"null"), ignore_mismatch=True)
    assert batch.fingerprints == [None, None]
    assert batch.problems == {1: Problem.INVALID_KEY}
