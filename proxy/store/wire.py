"""Claims and settlements as the scripts' arguments, and their replies as values. Law: pure.

Few large arguments are several times cheaper than many small ones, so that a request's terms and
its items' fields travel as one packed group. Groups of several requests can stand side by side in
one call; ``claim.lua`` and ``settle.lua`` describe them.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from proxy.core import codec
from proxy.core.commits import Commits
from proxy.core.native import claim_fields, commit_words
from proxy.core.record import (
    Applied,
    Busy,
    ClaimReply,
    Commit,
    Conflict,
    Done,
    Extend,
    Forget,
    InDoubt,
    Lost,
    MarkDoubt,
    Mismatch,
    Release,
    Sent,
    Settlement,
    SettleReply,
    Stands,
    Terms,
    Won,
)
from proxy.core.replays import replays_of
from proxy.errors import StoreUnavailable
from rules.derived import once_each

_HERE: Final = Path(__file__).parent
_RECORD: Final = (_HERE / "record.lua").read_text()
CLAIM_SCRIPT: Final = _RECORD + (_HERE / "claim.lua").read_text()
SETTLE_SCRIPT: Final = "#!lua flags=allow-oom\n" + _RECORD + (_HERE / "settle.lua").read_text()

_DETECTS: Final = 1
_LOOKUP: Final = 2
_SETTLES: Final = 4
_WITH_FINGERPRINT: Final = 8

_CLAIM_GROUP: Final = struct.Struct(">HB12s")
_SETTLE_GROUP: Final = struct.Struct(">HBB12s")
_WON: Final = struct.Struct(">xHB6s")
_KINDS: Final = {Sent: 1, Extend: 2, Commit: 3, Release: 4, MarkDoubt: 5, Forget: 6}


@once_each
def _claim_terms(terms: Terms) -> tuple[int, bytes]:
    settles = terms.settles_within
    flags = _DETECTS * terms.detects_duplicates | _LOOKUP * terms.has_lookup
    flags |= 0 if settles is None else _SETTLES
    return flags, _six(terms.lease) + _six(terms.doubt_retention) + _six(settles or 0)


@once_each
def _settle_terms(terms: Terms) -> bytes:
    return _six(terms.lease) + _six(terms.retention) + _six(terms.doubt_retention)


def _six(number: int) -> bytes:
    return number.to_bytes(6, "big")


class Arguments:
    """``fields``: the first argument; ``more`` of them stand in ``values``, packed as the
    words of a command, each behind the line end of the word before it."""

    __slots__ = ("fields", "more", "values")

    def __init__(self, fields: bytes, more: int = 0, values: bytes = b"") -> None:
        self.fields = fields
        self.more = more
        self.values = values


class _Sizes(dict[int, bytes]):
    """What stands before a word of so many bytes, with the end of the word before it."""

    def __missing__(self, size: int) -> bytes:
        text = b"\r\n$%d\r\n" % size
        if size < _USUAL_SIZE:
            self[size] = text
        return text


_USUAL_SIZE: Final = 4096
_SIZES: Final = _Sizes()


def pack_claims(fingerprints: Sequence[bytes | None], token: bytes, terms: Terms) -> Arguments:
    flags, tail = _claim_terms(terms)
    if claim_fields is not None:
        head = _CLAIM_GROUP.pack(len(fingerprints), flags | _WITH_FINGERPRINT, token) + tail
        if (fields := claim_fields(head, fingerprints)) is not None:
            return Arguments(fields)
    if None not in fingerprints:
        head = _CLAIM_GROUP.pack(len(fingerprints), flags | _WITH_FINGERPRINT, token)
        return Arguments(b"".join((head, tail, *fingerprints)))  # type: ignore[arg-type]
    groups = []
    for compared, run in itertools.groupby(fingerprints, lambda one: one is not None):
        members = list(run)
        head_flags = flags | (_WITH_FINGERPRINT if compared else 0)
        groups.append(_CLAIM_GROUP.pack(len(members), head_flags, token) + tail)
        groups.extend(one for one in members if one is not None)
    return Arguments(b"".join(groups))


def pack_settles(steps: Sequence[Settlement], token: bytes, terms: Terms) -> Arguments:
    """The groups, and the values of the commits in order."""
    tail = _settle_terms(terms)
    if isinstance(steps, Commits) and (words := _words_of(steps, token)) is not None:
        head = _SETTLE_GROUP.pack(len(steps), _KINDS[Commit], False, token)
        return Arguments(head + tail, len(steps), words)
    groups: list[bytes] = []
    pieces: list[bytes] = []
    count = 0
    same = set(map(type, steps)) == {Commit}  # the usual delivery needs no look at each step
    runs = [((_KINDS[Commit], False), steps)] if same else itertools.groupby(steps, _run)
    for (kind, flag), run in runs:
        members = list(run)
        groups += (_SETTLE_GROUP.pack(len(members), kind, flag, token), tail)
        if kind == _KINDS[Commit]:
            count += len(members)
            pieces += codec.encode_commits(members, token, _SIZES)  # type: ignore[arg-type]
        elif flag and kind == _KINDS[MarkDoubt]:
            groups.extend(step.fingerprint for step in members)  # type: ignore[union-attr,misc]
    return Arguments(b"".join(groups), count, b"".join(pieces))


def _words_of(commits: Commits, token: bytes) -> bytes | None:
    """By the compiled build, where it is that and each has what a commit usually has."""
    if commit_words is None:
        return None
    head = codec.usual_head(token, commits.processed_at)
    return commit_words(commits.fingerprints, commits.results, head)


def _run(step: Settlement) -> tuple[int, bool]:
    kind = _KINDS[type(step)]
    if isinstance(step, MarkDoubt):
        return kind, step.fingerprint is not None
    return kind, isinstance(step, Forget) and step.force


Replies = Sequence[bytes | StoreUnavailable]
"""A script's replies, or why there is none; such an element is handed through."""


def read_claims(replies: Replies) -> Sequence[ClaimReply | StoreUnavailable]:
    if replies and replies[0] == b"W" and replies.count(b"W") == len(replies):
        return all_won(len(replies))
    if (replays := replays_of(replies)) is not None:
        return replays
    return codec.decode_each(replies, _read_claim)


def all_won(count: int) -> list[ClaimReply | StoreUnavailable]:
    return [_WON_FIRST] * count


_WON_FIRST: Final = Won(1)
_CLAIM_REPLIES: Final[dict[bytes, ClaimReply | StoreUnavailable]] = {
    b"W": _WON_FIRST,
    b"M": Mismatch(),
    b"O": StoreUnavailable("the store is out of memory and takes no new claim"),
}


def _read_claim(reply: bytes | StoreUnavailable) -> ClaimReply | StoreUnavailable:
    if isinstance(reply, StoreUnavailable):
        return reply
    if len(reply) == 1:
        return _CLAIM_REPLIES[reply]
    kind = reply[0]
    if kind == codec.VERSION:
        return _done(reply)
    if kind == ord("w"):
        attempt, flags, age = _WON.unpack(reply)
        suspect, forwardable = bool(flags & 1), bool(flags & 2) or not flags & 1
        return Won(attempt, suspect, forwardable, int.from_bytes(age, "big"))
    number = int.from_bytes(reply[1:], "big")
    return Busy(number) if kind == ord("B") else InDoubt(number)


_APPLIED: Final = Applied()
_SETTLE_REPLIES: Final[dict[bytes, SettleReply]] = {
    b"A": _APPLIED,
    b"L": Lost(),
    b"C": Conflict(),
}


def read_settles(replies: Replies) -> list[SettleReply | StoreUnavailable]:
    if replies and replies[0] == b"A" and replies.count(b"A") == len(replies):
        return [_APPLIED] * len(replies)
    return [_read_settle(reply) for reply in replies]


def _read_settle(reply: bytes | StoreUnavailable) -> SettleReply | StoreUnavailable:
    if isinstance(reply, StoreUnavailable):
        return reply
    return _SETTLE_REPLIES[reply] if len(reply) == 1 else Stands(_done(reply))


def _done(value: bytes) -> Done:
    record = codec.decode(value)
    if not isinstance(record, Done):
        raise TypeError("the script answered with a record that is not done")
    return record
