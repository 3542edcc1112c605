"""A record as bytes, and back. Law: pure; the only place that knows the layout in Python.

All numbers are big-endian. The first byte is the version, the second the state and its flags::

    HELD   version, flags, token 12, attempt 2, deadline 6, [fingerprint 16], [doubt since 6]
    DOUBT  version, flags, since 6, attempt 2, [fingerprint 16]
    DONE   version, flags, token 12, processed at 6, [fingerprint 16], result

A record of 36 bytes plus its result, once done. Whatever is not exactly one of these, of this
version, is ``Foreign``: another release of this program may have written it, so that it is busy
for everybody and never overwritten. ``proxy/store/record.lua`` reads the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from proxy.core.native import records_each, unlike
from proxy.core.record import (
    FINGERPRINT_BYTES,
    TOKEN_BYTES,
    Commit,
    Done,
    Doubt,
    Foreign,
    Held,
    Record,
)

VERSION: Final = 1

HELD: Final = 0
DOUBT: Final = 1
DONE: Final = 2
STATE: Final = 0b11

FINGERPRINT: Final = 4
BARRIER: Final = 8
SENT: Final = 16
SUSPECT: Final = 32

NO_RESULT: Final = 8
TEMPLATE: Final = 16
SEALED: Final = 32

_FLAGS: Final = {
    HELD: FINGERPRINT | BARRIER | SENT | SUSPECT,
    DOUBT: FINGERPRINT,
    DONE: FINGERPRINT | NO_RESULT | TEMPLATE | SEALED,
}
_HEAD: Final = 2 + TOKEN_BYTES + 2 + 6
_PROCESSED: Final = 2 + TOKEN_BYTES
_DONE_HEAD: Final = _PROCESSED + 6
_DONE_FIELDS: Final = struct.Struct(">2x12sHI")
USUAL: Final = bytes((VERSION, DONE | FINGERPRINT))
"""What nearly every ``Done`` begins with: it has a fingerprint and a result of its own."""
USUAL_BYTES: Final = _DONE_HEAD + FINGERPRINT_BYTES
"""Of such a one in front of its result."""
_FOREIGN: Final = Foreign()


class _Nothing(dict[int, bytes]):
    def __missing__(self, size: int) -> bytes:
        return b""


_NOTHING: Final = _Nothing()

_Other = TypeVar("_Other")
_Read = TypeVar("_Read")


def encode(record: Held | Doubt | Done) -> bytes:
    fingerprint = record.fingerprint or b""
    if isinstance(record, Done):
        return b"".join(encode_commits((record,), record.token, _NOTHING))
    attempt = record.attempt.to_bytes(2, "big")
    if isinstance(record, Doubt):
        flags = DOUBT | (FINGERPRINT if fingerprint else 0)
        return bytes((VERSION, flags)) + record.since.to_bytes(6, "big") + attempt + fingerprint
    flags = HELD | BARRIER * record.barrier | SENT * record.sent | SUSPECT * record.suspect
    flags |= FINGERPRINT if fingerprint else 0
    since = record.doubt_since.to_bytes(6, "big") if record.suspect else b""
    deadline = record.deadline.to_bytes(6, "big")
    return bytes((VERSION, flags)) + record.token + attempt + deadline + fingerprint + since


def usual_head(token: bytes, processed_at: int) -> bytes:
    """What a ``Done`` with a fingerprint and its own result begins with."""
    return USUAL + token + processed_at.to_bytes(6, "big")


def claim_head(token: bytes, deadline: int, *, barrier: bool) -> bytes:
    """What a first claim begins with, before its fingerprint."""
    flags = HELD | FINGERPRINT | BARRIER * barrier
    return bytes((VERSION, flags)) + token + b"\0\1" + deadline.to_bytes(6, "big")


def other_than(fingerprints: Sequence[bytes | None], values: Sequence[object]) -> list[int]:
    """The indexes of all stored values that are not the usual ``Done`` of the same content."""
    if unlike is not None:
        return unlike(fingerprints, values, USUAL)
    return [
        i
        for i, (value, fingerprint) in enumerate(zip(values, fingerprints, strict=True))
        if type(value) is not bytes
        or len(value) < USUAL_BYTES
        or value[:2] != USUAL
        or value[_DONE_HEAD:USUAL_BYTES] != fingerprint
    ]


def encode_commits(
    steps: Sequence[Commit | Done], token: bytes, before: Mapping[int, bytes]
) -> list[bytes]:
    """The ``Done`` records that these commits make, in pieces to be joined, and in front of each
    what ``before`` has for its size. A delivery's commits mostly share their first 20 bytes, which
    are then made once."""
    pieces: list[bytes] = []
    head, head_flags, head_at = b"", -1, -1
    for step in steps:
        fingerprint, result, processed_at = step.fingerprint, step.result, step.processed_at
        flags = DONE | FINGERPRINT
        if step.template or step.sealed:
            flags |= TEMPLATE * step.template | SEALED * step.sealed
        if fingerprint is None:
            flags ^= FINGERPRINT
            fingerprint = b""
        if result is None:
            flags |= NO_RESULT
            result = b""
        if flags != head_flags or processed_at != head_at:
            head_flags, head_at = flags, processed_at
            head = bytes((VERSION, flags)) + token + processed_at.to_bytes(6, "big")
        size = _DONE_HEAD + len(fingerprint) + len(result)
        pieces += (before[size], head, fingerprint, result)
    return pieces


def decode_each(
    values: Sequence[bytes | _Other], otherwise: Callable[[bytes | _Other], _Read]
) -> list[Done | _Read]:
    """The records of a list; ``otherwise`` reads what is not the usual ``Done``.

    One loop without a call an item, half of what ``decode`` takes for each: this is the most of
    what a replay costs here. A delivery's records share their first 20 bytes, read once."""
    if records_each is not None:
        return records_each(values, USUAL, Done, otherwise)
    records: list[Done | _Read] = []
    known, usual, token, processed_at = b"", False, b"", 0
    for value in values:
        if type(value) is bytes and len(value) >= USUAL_BYTES:
            head = value[:_DONE_HEAD]
            if head != known:
                known, usual, token = head, head[:2] == USUAL, head[2:_PROCESSED]
                processed_at = int.from_bytes(head[_PROCESSED:], "big")
            if usual:
                fingerprint = value[_DONE_HEAD:USUAL_BYTES]
                records.append(Done(token, processed_at, fingerprint, value[USUAL_BYTES:]))
                continue
        records.append(otherwise(value))
    return records


def decode(value: bytes) -> Record:
    if len(value) < 2 or value[0] != VERSION:
        return _FOREIGN
    flags = value[1]
    state = flags & STATE
    if flags & ~STATE & ~_FLAGS.get(state, 0):
        return _FOREIGN
    if state == DONE:
        return _done(value, flags)
    if state == HELD:
        return _held(value, flags)
    return _doubt(value, flags) if state == DOUBT else _FOREIGN


def _done(value: bytes, flags: int) -> Done | Foreign:
    end = _DONE_HEAD + (FINGERPRINT_BYTES if flags & FINGERPRINT else 0)
    if len(value) < end or (flags & NO_RESULT and len(value) > end):
        return _FOREIGN
    token, high, low = _DONE_FIELDS.unpack_from(value)
    return Done(
        token,
        high << 32 | low,
        value[_DONE_HEAD:end] or None,
        None if flags & NO_RESULT else value[end:],
        flags & TEMPLATE != 0,
        flags & SEALED != 0,
    )


def _held(value: bytes, flags: int) -> Held | Foreign:
    end = _HEAD + (FINGERPRINT_BYTES if flags & FINGERPRINT else 0)
    if len(value) != end + (6 if flags & SUSPECT else 0):
        return _FOREIGN
    return Held(
        token=value[2 : 2 + TOKEN_BYTES],
        attempt=int.from_bytes(value[14:16], "big"),
        deadline=int.from_bytes(value[16:22], "big"),
        fingerprint=value[_HEAD:end] or None,
        barrier=bool(flags & BARRIER),
        sent=bool(flags & SENT),
        suspect=bool(flags & SUSPECT),
        doubt_since=int.from_bytes(value[end:], "big"),
    )


def _doubt(value: bytes, flags: int) -> Doubt | Foreign:
    if len(value) != 10 + (FINGERPRINT_BYTES if flags & FINGERPRINT else 0):
        return _FOREIGN
    return Doubt(
        since=int.from_bytes(value[2:8], "big"),
        attempt=int.from_bytes(value[8:10], "big"),
        fingerprint=value[10:] or None,
    )
