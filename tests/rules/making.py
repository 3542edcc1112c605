"""Rules made in one line, and JSON texts made by Hypothesis with all their freedoms of spelling."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from rules.condition import Condition
from rules.model import (
    Align,
    Batch,
    Lookup,
    Match,
    Offenders,
    RequestRule,
    ResponseRule,
    Rule,
    Unreadable,
    UpstreamRule,
    Verdict,
)
from rules.pointer import Pointer
from rules.request import read_batch

VERDICTS = (
    (Verdict.DUPLICATE, (Condition(statuses=(409,)),)),
    (Verdict.REJECTED, (Condition(statuses=(400, 413, 422)),)),
    (Verdict.UNAVAILABLE, (Condition(statuses=(429, 503)),)),
    (Verdict.REFUSED, (Condition(statuses=(301, 401, 403)),)),
    (Verdict.ACCEPTED, (Condition(statuses=("2xx",)),)),
)


def pointers(*texts: str) -> tuple[Pointer, ...]:
    return tuple(map(Pointer, texts))


def request(items: str = "/items", *key: str, **others: Any) -> RequestRule:
    return RequestRule(Pointer(items), pointers(*(key or ("/key",))), **others)


def response(results: str | None = "/results", **others: Any) -> ResponseRule:
    others.setdefault("key", pointers("/key"))
    return ResponseRule(None if results is None else Pointer(results), **others)


def rule(
    request_rule: RequestRule | None = None,
    response_rule: ResponseRule | None = None,
    **upstream: Any,
) -> Rule:
    upstream.setdefault("verdicts", VERDICTS)
    return Rule(
        name="orders",
        match=Match("POST", "/orders"),
        scope=None,
        request=request_rule or request(),
        upstream=UpstreamRule(detects_duplicates=True, **upstream),
        response=response_rule or response(),
    )


def by_key(results: str = "/results", *key: str) -> ResponseRule:
    return response(results, align=Align.KEY, key=pointers(*(key or ("/key",))))


def offenders(list_at: str | None = None, **others: Any) -> Offenders:
    return Offenders(list_at=None if list_at is None else Pointer(list_at), **others)


def lookup(path: str = "/orders?key={key}", **others: Any) -> Lookup:
    return Lookup(others.pop("method", "GET"), path, **others)


def matching(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def read(body: bytes | str, items: str = "/items", *key: str, **others: Any) -> Batch:
    text = body.encode() if isinstance(body, str) else body
    batch = read_batch(rule(request(items, *key, **others)), text)
    assert isinstance(batch, Batch), batch
    return batch


def unreadable(body: bytes | str, items: str = "/items", *key: str, **others: Any) -> str:
    text = body.encode() if isinstance(body, str) else body
    said = read_batch(rule(request(items, *key, **others)), text)
    assert isinstance(said, Unreadable), said
    assert said.detail
    return said.reason


# ---- JSON texts --------------------------------------------------------------------------------

Draw = Callable[..., Any]
_SPACES = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n"])
_CHARACTERS = st.characters(codec="utf-8")
_INTEGERS = st.integers(-(10**25), 10**25).map(str)
NUMBERS = st.one_of(
    _INTEGERS,
    st.tuples(_INTEGERS, st.integers(0, 10**6)).map(lambda p: f"{p[0]}.{p[1]}"),
    st.tuples(_INTEGERS, st.sampled_from("eE"), st.integers(-400, 400)).map(
        lambda p: f"{p[0]}{p[1]}{p[2]}"
    ),
)


@st.composite
def quoted(draw: st.DrawFn, text: str | None = None) -> str:
    """A JSON string, each character as itself or as an escape."""
    text = draw(st.text(_CHARACTERS, max_size=8)) if text is None else text
    escape = draw(st.sampled_from(["none", "all", "some"]))
    out = []
    for place, character in enumerate(text):
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        units = character.encode("utf-16-be")
        escaped = "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
        as_escape = escape == "all" or (escape == "some" and place % 2 == 0)
        out.append(escaped if as_escape else plain)
    return '"' + "".join(out) + '"'


@st.composite
def json_text(draw: st.DrawFn, depth: int = 3) -> str:
    """Any JSON value as text, with space where it may stand."""
    kind = draw(st.sampled_from(["string", "number", "word", "array", "object"]))
    if depth == 0 or kind == "word":
        return draw(st.sampled_from(["true", "false", "null", "[]", "{}", "[ ]", "{ }"]))
    if kind == "string":
        return draw(quoted())
    if kind == "number":
        return draw(NUMBERS)
    inner = draw(st.lists(json_text(depth=depth - 1), max_size=3))
    if kind == "array":
        return spaced(draw, "[", inner, "]")
    names = draw(st.lists(st.text(_CHARACTERS, max_size=4), unique=True, min_size=len(inner)))
    return object_text(draw, list(zip(names, inner, strict=False)))


def spaced(draw: Draw, opening: str, parts: list[str], closing: str) -> str:
    """The parts between brackets, with commas, and space drawn for every gap."""
    gaps: list[str] = [draw(_SPACES) for _ in range(2 * len(parts) + 1)]
    body = ",".join(f"{gaps[2 * i]}{part}{gaps[2 * i + 1]}" for i, part in enumerate(parts))
    return opening + body + gaps[-1] + closing


def object_text(draw: Draw, named: list[tuple[str, str]]) -> str:
    """An object of these members, their names spelled in any way."""
    parts = [f"{draw(quoted(name))}{draw(_SPACES)}:{draw(_SPACES)}{value}" for name, value in named]
    return spaced(draw, "{", parts, "}")


def batch_text(draw: Draw, items: list[str], around: list[tuple[str, str]]) -> tuple[str, str, str]:
    """A body with these items at /items among other members: what stands before the array, the
    array, and what stands behind it."""
    place = draw(st.integers(0, len(around)))
    named = [*around[:place], ("items", "\0"), *around[place:]]
    before, _, behind = object_text(draw, named).partition("\0")
    return before, spaced(draw, "[", items, "]"), behind


def damaged(text: bytes, seed: int) -> bytes:
    """A good text with some bytes changed, cut out, doubled or put in, or its end cut off."""
    rng, made = random.Random(seed), bytearray(text)
    for _ in range(rng.randint(1, 4)):
        at, to = sorted(rng.randrange(len(made) + 1) for _ in range(2))
        match rng.randrange(9):
            case 0 | 1:
                made[at : at + 1] = bytes([rng.choice(b'{}[]",:\\0e-\xff\x00 n')])
            case 2 | 3:
                del made[at : min(to, at + 8)]
            case 4 | 5:
                made[at:at] = made[at : min(to, at + 16)]
            case 6 | 7:
                made[at:at] = rng.choice([b'"key":1,', b"\\u006bey", b"[[", b"1e999", b"\xef"])
            case _:
                del made[at:]
    return bytes(made)
