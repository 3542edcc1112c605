"""Plain claims as bytes: what a server would read of them, in either build."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.guard import request_of, response_of
from proxy.core import codec
from proxy.core.record import Done
from proxy.store import plain_wire
from rules.native import array_reader, item_reader
from rules.pointer import Pointer
from tests.rules.making import request, rule
from tests.store.stands import keys

TOKEN = bytes(range(12))
HEAD = codec.claim_head(TOKEN, 2**41, barrier=True)
PRINTS = st.binary(min_size=16, max_size=16)


def read(data: bytes | None) -> list[Any]:
    """The commands in it, or the replies."""
    assert data is not None
    reader = hiredis.Reader()
    reader.feed(data)
    found = []
    while (one := reader.gets()) is not False:
        found.append(one)
    assert not reader.has_data()
    return found


@given(st.lists(PRINTS, min_size=1, max_size=12), st.integers(1, 2**47))
def test_a_claim_is_set_where_nothing_stands(prints: list[bytes], expires: int) -> None:
    names = keys(len(prints))
    text = b"%d" % expires
    assert read(plain_wire.claims(names, prints, HEAD, expires)) == [
        [b"SET", name, HEAD + one, b"NX", b"GET", b"PXAT", text]
        for name, one in zip(names, prints, strict=True)
    ]


def test_a_claim_without_content_is_no_plain_one() -> None:
    assert plain_wire.claims(keys(2), [b"f" * 16, None], HEAD, 1) is None


@pytest.mark.parametrize("size", [1, 3, 200])
def test_what_was_read_of_the_bodies_is_packed_as_its_lists(size: int) -> None:
    """In the compiled build they are places in a text, and no lists."""
    reader = item_reader(rule(request("/notifications")))
    found = array_reader(Pointer("/results"))
    if reader is None or found is None:
        return
    items, answered = reader(request_of(size), 1000), found(response_of(size))
    assert items is not None
    assert answered is not None
    prints, names = items[1], keys(size)
    claims = plain_wire.claims(names, list(prints), HEAD, 7)
    assert plain_wire.claims(names, prints, HEAD, 7) == claims is not None
    assert plain_wire.claims(names, answered[2], HEAD, 7) is None  # they are no fingerprints
    assert plain_wire.claims(names[1:], prints, HEAD, 7) is None


@given(st.lists(st.tuples(PRINTS | st.none(), st.integers(0, 4)), max_size=12))
def test_what_is_done_with_the_same_content_needs_no_second_look(
    cases: list[tuple[bytes | None, int]],
) -> None:
    values: list[object] = []
    for own, kind in cases:
        content = own or b"f" * 16
        values.append(
            [
                codec.encode(Done(TOKEN, 1, content, b"{}")),
                codec.encode(Done(TOKEN, 1, content[:15] + b"?", b"{}")),
                codec.encode(Done(TOKEN, 1, content, b"{}", template=True)),
                None,
                b"\1",
            ][kind]
        )
    same = [own and codec.encode(Done(TOKEN, 1, own, b"{}")) for own, _ in cases]
    others = [i for i, value in enumerate(values) if value is None or value != same[i]]
    assert codec.other_than([own for own, _ in cases], values) == others


@pytest.mark.parametrize("count", [1, 100, 512])
def test_the_usual_answer(count: int) -> None:
    assert read(plain_wire.usual_reply(count)) == [None] * count
