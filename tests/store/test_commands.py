"""Plain claims and commits as bytes: what a server would read of them, in either build."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.guard import request_of, response_of
from proxy.core import codec
from proxy.core.commits import Commits
from proxy.core.record import Commit, Done, Release, Settlement
from proxy.store import commands
from rules.native import array_reader, item_reader
from rules.pointer import Pointer
from tests.rules.making import request, rule
from tests.store.stands import keys

TOKEN = bytes(range(12))
HEAD = codec.claim_head(TOKEN, 2**41, barrier=True)
PRINTS = st.binary(min_size=16, max_size=16)
PARTS = st.lists(st.tuples(PRINTS, st.binary(max_size=300)), min_size=1, max_size=12)


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
    assert read(commands.claims(names, prints, HEAD, expires)) == [
        [b"SET", name, HEAD + one, b"NX", b"GET", b"PXAT", text]
        for name, one in zip(names, prints, strict=True)
    ]


def test_a_claim_without_content_is_no_plain_one() -> None:
    assert commands.claims(keys(2), [b"f" * 16, None], HEAD, 1) is None


@pytest.mark.parametrize("expires", [None, 1_700_000_000_000])
@given(parts=PARTS, at=st.integers(0, 2**47), columns=st.booleans())
def test_commits_are_one_transaction(
    parts: list[tuple[bytes, bytes]], at: int, columns: bool, expires: int | None
) -> None:
    names = keys(len(parts))
    prints, results = [one for one, _ in parts], [one for _, one in parts]
    steps: Any = Commits(prints, at, results)
    found = read(commands.commits(names, steps if columns else list(steps), TOKEN, HEAD, expires))
    ored, aside = names[0] + b"|", names[0] + b"~"
    tail = [b"XX", b"KEEPTTL"] if expires is None else [b"XX", b"PXAT", b"%d" % expires]
    assert found[0] == [b"MULTI"]
    assert found[1] == [b"BITOP", b"OR", ored, *names]
    assert found[2][0] == b"EVAL"
    assert found[2][2:] == [b"2", ored, aside, HEAD, b"%d" % len(names[0]), b"".join(names)]
    assert found[3:-2] == [
        [b"SET", name, codec.encode(Done(TOKEN, at, one, result)), *tail]
        for name, (one, result) in zip(names, parts, strict=True)
    ]
    assert found[-2][0] == b"EVAL"
    assert found[-2][2:] == [b"1", aside]
    assert found[-1] == [b"EXEC"]


@pytest.mark.parametrize(
    "odd",
    [
        Commit(None, 1, b"{}"),
        Commit(b"f" * 16, 1, None),
        Commit(b"f" * 16, 2, b"{}", template=True),
        Commit(b"f" * 16, 2, b"{}", sealed=True),
    ],
)
def test_commits_of_any_kind_are_whole_records(odd: Commit) -> None:
    usual = Commit(b"f" * 16, 1, b"{}")
    steps = [usual, odd, usual]
    found = read(commands.commits(keys(3), steps, TOKEN, HEAD, None))
    assert [command[2] for command in found[3:-2]] == [
        codec.encode(
            Done(TOKEN, one.processed_at, one.fingerprint, one.result, one.template, one.sealed)
        )
        for one in steps
    ]
    if not odd.template and not odd.sealed:
        prints, results = [b"f" * 16, odd.fingerprint], [b"{}", odd.result]
        columns = Commits(prints, 1, results)
        assert commands.commits(keys(2), columns, TOKEN, HEAD, None) is not None


def test_what_cannot_be_committed_so() -> None:
    steps: list[Settlement] = [Commit(b"f" * 16, 1, b"{}"), Release()]
    assert commands.commits(keys(2), steps, TOKEN, HEAD, None) is None
    assert commands.commits([*keys(1), b"short"], steps[:1] * 2, TOKEN, HEAD, None) is None
    twice = keys(1) * 2
    assert commands.commits(twice, steps[:1] * 2, TOKEN, HEAD, None) is None


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
    prints, results, names = items[1], answered[2], keys(size)
    claims = commands.claims(names, list(prints), HEAD, 7)
    assert commands.claims(names, prints, HEAD, 7) == claims is not None
    wanted = commands.commits(names, Commits(list(prints), 1, list(results)), TOKEN, HEAD, None)
    assert wanted is not None
    assert commands.commits(names, Commits(prints, 1, results), TOKEN, HEAD, None) == wanted


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
def test_the_usual_answers(count: int) -> None:
    assert read(commands.all_won(count)) == [None] * count
    begun, *queued, end = read(commands.all_applied(count))
    assert begun == b"OK"
    assert queued == [b"QUEUED"] * (count + 3)
    assert end == [38, [], *[b"OK"] * count, 0]
    assert commands.replies_of(count) == 2 + len(queued)
    assert commands.commits_of(commands.replies_of(count)) == count
