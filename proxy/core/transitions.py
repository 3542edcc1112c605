"""What each call does to a record, as a table. Law: pure; ``now`` is passed in.

``claim`` and ``settle`` are one compare-and-set each on one key::

    (record or None, call, token, terms, now) -> (record or None, reply, ttl_ms)

A ``ttl_ms`` of 0 means that nothing is written; else the store writes the record so that it
expires after ``ttl_ms``, or deletes the key where the record is None and was not before.

The expiry is retention and never the lease: the deadline stands inside the record, so that a
crashed owner leaves a suspect and not a blank. The Redis scripts (``proxy/store/*.lua``) are this
table once more; a state machine in the tests drives both and compares every answer.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from msgspec.structs import replace

from proxy.core.record import (
    Applied,
    Busy,
    ClaimReply,
    Commit,
    Conflict,
    Done,
    Doubt,
    Extend,
    Foreign,
    Forget,
    Held,
    InDoubt,
    Lost,
    MarkDoubt,
    Mismatch,
    Record,
    Release,
    Sent,
    Settlement,
    SettleReply,
    Stands,
    Terms,
    Won,
)

MAX_ATTEMPT = 0xFFFF

APPLIED = Applied()
LOST = Lost()
CONFLICT = Conflict()
MISMATCH = Mismatch()


_Content = bytes | None
"""A claim's fingerprint; None: content is not compared."""
_Claimed = tuple[Record | None, ClaimReply]
_Settled = tuple[Record | None, SettleReply]


class Situation(StrEnum):
    """What a call finds. Exactly one holds, by ``situation``."""

    ABSENT = "absent"
    FOREIGN = "a version that this process does not know"
    OTHER_CONTENT = "held or in doubt, with another fingerprint"
    OTHER_DONE = "done, with another fingerprint"
    DONE = "done"
    DOUBT = "in doubt"
    MINE = "held by me"
    MINE_SUSPECT = "held by me, suspect"
    LIVE = "held by another, within its deadline"
    UNSENT = "held by another, past its deadline, and certainly never forwarded"
    LAPSED = "held by another, past its deadline"


def situation(
    record: Record | None, fingerprint: bytes | None, token: bytes, now: int
) -> Situation:
    """``fingerprint`` is the call's content, None where the call does not compare it."""
    if record is None:
        return Situation.ABSENT
    if isinstance(record, Foreign):
        return Situation.FOREIGN
    if fingerprint is not None and record.fingerprint not in (None, fingerprint):
        return Situation.OTHER_DONE if isinstance(record, Done) else Situation.OTHER_CONTENT
    if isinstance(record, Done):
        return Situation.DONE
    if isinstance(record, Doubt):
        return Situation.DOUBT
    if record.token == token:
        return Situation.MINE_SUSPECT if record.suspect else Situation.MINE
    if now < record.deadline:
        return Situation.LIVE
    if record.barrier and not record.sent:
        return Situation.UNSENT
    return Situation.LAPSED


def claim(
    record: Record | None, fingerprint: _Content, token: bytes, terms: Terms, now: int
) -> tuple[Record | None, ClaimReply, int]:
    """Become the owner of the record, or learn why not."""
    found = situation(record, fingerprint, token, now)
    after, reply = _CLAIM[found](record, fingerprint, token, terms, now)
    return after, reply, _expiry(record, after, terms)


def settle(
    record: Record | None, step: Settlement, token: bytes, terms: Terms, now: int
) -> tuple[Record | None, SettleReply, int]:
    """Sent, extend, commit, release, doubt or forget."""
    fingerprint = step.fingerprint if isinstance(step, Commit) else None
    found = situation(record, fingerprint, token, now)
    after, reply = _SETTLE[type(step), found](record, step, token, terms, now)
    return after, reply, _expiry(record, after, terms)


def _expiry(before: Record | None, after: Record | None, terms: Terms) -> int:
    """A held record lives as long as the doubt that a crash makes of it."""
    if after is before:
        return 0
    return terms.retention if isinstance(after, Done) else terms.doubt_retention


# The rows. ``record`` is of the kind that the row's situation says.


def _won(held: Held, terms: Terms, now: int) -> tuple[Held, Won]:
    """A suspect is forwarded only where a second effect is impossible: the upstream detects
    duplicates, or the doubt is older than an abandoned call can live (and a lookup comes first)."""
    if not held.suspect:
        return held, Won(held.attempt)
    age = max(0, now - held.doubt_since)
    settled = terms.settles_within is not None and age >= terms.settles_within
    forwardable = terms.detects_duplicates or (terms.has_lookup and settled)
    return held, Won(held.attempt, suspect=True, forwardable=forwardable, doubt_age=age)


def _begin(
    fingerprint: _Content,
    token: bytes,
    terms: Terms,
    now: int,
    *,
    before: Held | Doubt | None,
    since: int | None,
) -> tuple[Held, Won]:
    """A fresh claim; suspect where ``since`` says when a doubt began."""
    held = Held(
        token=token,
        attempt=min(before.attempt + 1, MAX_ATTEMPT) if before else 1,
        deadline=now + terms.lease,
        fingerprint=fingerprint or (before.fingerprint if before else None),
        barrier=not terms.detects_duplicates,
        suspect=since is not None,
        doubt_since=since or 0,
    )
    return _won(held, terms, now)


def _claim_absent(_: None, fingerprint: _Content, token: bytes, terms: Terms, now: int) -> _Claimed:
    return _begin(fingerprint, token, terms, now, before=None, since=None)


def _claim_foreign(record: Foreign, _f: _Content, _t: bytes, terms: Terms, _now: int) -> _Claimed:
    return record, Busy(terms.lease)


def _mismatch(record: Record, _f: _Content, _t: bytes, _terms: Terms, _now: int) -> _Claimed:
    return record, MISMATCH


def _replay(record: Done, _f: _Content, _t: bytes, _terms: Terms, _now: int) -> _Claimed:
    return record, record


def _claim_again(record: Held, _f: _Content, _t: bytes, terms: Terms, now: int) -> _Claimed:
    """The client library may have repeated the call: the same win, with a whole lease."""
    return _won(replace(record, deadline=now + terms.lease), terms, now)


def _busy(record: Held, _f: _Content, _t: bytes, _terms: Terms, now: int) -> _Claimed:
    return record, Busy(record.deadline - now)


def _claim_unsent(
    record: Held, fingerprint: _Content, token: bytes, terms: Terms, now: int
) -> _Claimed:
    """Its owner never forwarded it; what it took over itself stays suspect."""
    since = record.doubt_since if record.suspect else None
    return _begin(fingerprint, token, terms, now, before=record, since=since)


def _claim_lapsed(
    record: Held, fingerprint: _Content, token: bytes, terms: Terms, now: int
) -> _Claimed:
    return _take_over(record, fingerprint, token, terms, now, since=_since(record, now))


def _claim_doubt(
    record: Doubt, fingerprint: _Content, token: bytes, terms: Terms, now: int
) -> _Claimed:
    return _take_over(record, fingerprint, token, terms, now, since=record.since)


def _take_over(
    record: Held | Doubt, fingerprint: _Content, token: bytes, terms: Terms, now: int, *, since: int
) -> _Claimed:
    if terms.detects_duplicates or terms.has_lookup:
        return _begin(fingerprint, token, terms, now, before=record, since=since)
    doubt = record if isinstance(record, Doubt) else _doubted(record, since)
    return doubt, InDoubt(max(0, now - since))


def _since(held: Held, now: int) -> int:
    """When the doubt about a claim that ends now began. A suspect that was not forwarded again
    keeps its doubt; a forward of its own (announced with ``sent``) begins a new one, since that
    call too may take effect until ``settles_within`` is over."""
    return held.doubt_since if held.suspect and not held.sent else now


def _doubted(held: Held, since: int, fingerprint: bytes | None = None) -> Doubt:
    return Doubt(since, held.attempt, held.fingerprint or fingerprint)


def _lost(record: Record | None, _s: Settlement, _t: bytes, _terms: Terms, _now: int) -> _Settled:
    return record, LOST


def _sent(record: Held, _s: Sent, _t: bytes, terms: Terms, now: int) -> _Settled:
    return replace(record, sent=True, deadline=now + terms.lease), APPLIED


def _extend(record: Held, _s: Extend, _t: bytes, terms: Terms, now: int) -> _Settled:
    return replace(record, deadline=now + terms.lease), APPLIED


def _commit(_: Record | None, step: Commit, token: bytes, _terms: Terms, _now: int) -> _Settled:
    """Whoever holds it: the effect is a fact."""
    return _done(step, token), APPLIED


def _done(step: Commit, token: bytes) -> Done:
    return Done(token, step.processed_at, step.fingerprint, step.result, step.template, step.sealed)


def _commit_done(record: Done, step: Commit, token: bytes, _terms: Terms, _now: int) -> _Settled:
    """The first stays. One made from a template takes the first real result, and keeps its time.
    A repeat of the commit that stands gets the answer that it got: it is known by its token."""
    after = record
    if record.template and not step.template and step.result is not None:
        after = replace(
            _done(step, token),
            processed_at=record.processed_at,
            fingerprint=record.fingerprint or step.fingerprint,
        )
    own = after.token == token and after.processed_at == step.processed_at
    return after, APPLIED if own and after.template == step.template else Stands(after)


def _conflict(record: Done, _s: Commit, _t: bytes, _terms: Terms, _now: int) -> _Settled:
    return record, CONFLICT


def _release(_: Held, _s: Release, _t: bytes, _terms: Terms, _now: int) -> _Settled:
    return None, APPLIED


def _release_suspect(record: Held, _s: Release, _t: bytes, _terms: Terms, _now: int) -> _Settled:
    """The first owner's request may still be on its way; mine had no effect, so the doubt is
    as old as it was."""
    return _doubted(record, record.doubt_since), APPLIED


def _doubt(record: Held, step: MarkDoubt, _t: bytes, _terms: Terms, now: int) -> _Settled:
    return _doubted(record, _since(record, now), step.fingerprint), APPLIED


def _doubt_absent(_: None, step: MarkDoubt, _t: bytes, _terms: Terms, now: int) -> _Settled:
    return Doubt(now, 1, step.fingerprint), APPLIED


def _doubt_anothers(record: Held, _s: MarkDoubt, _t: bytes, _terms: Terms, now: int) -> _Settled:
    if record.suspect:
        return record, LOST
    return replace(record, suspect=True, doubt_since=now), LOST


def _doubt_stays(record: Doubt, _s: MarkDoubt, _t: bytes, _terms: Terms, _now: int) -> _Settled:
    return record, APPLIED


def _forget(_: Record | None, _s: Forget, _t: bytes, _terms: Terms, _now: int) -> _Settled:
    return None, APPLIED


def _forget_forced(
    record: Record | None, step: Forget, _t: bytes, _terms: Terms, _now: int
) -> _Settled:
    """A result that clients were given, or a claim whose owner may be forwarding right now."""
    return (None, APPLIED) if step.force else (record, LOST)


# The first arguments are Any: which kind of record and call a row takes is what its place says.
_CLAIM: dict[Situation, Callable[[Any, _Content, bytes, Terms, int], _Claimed]] = {
    Situation.ABSENT: _claim_absent,
    Situation.FOREIGN: _claim_foreign,
    Situation.OTHER_CONTENT: _mismatch,
    Situation.OTHER_DONE: _mismatch,
    Situation.DONE: _replay,
    Situation.DOUBT: _claim_doubt,
    Situation.MINE: _claim_again,
    Situation.MINE_SUSPECT: _claim_again,
    Situation.LIVE: _busy,
    Situation.UNSENT: _claim_unsent,
    Situation.LAPSED: _claim_lapsed,
}

_SETTLE: dict[
    tuple[type[Settlement], Situation], Callable[[Any, Any, bytes, Terms, int], _Settled]
] = {
    (Sent, Situation.ABSENT): _lost,
    (Sent, Situation.FOREIGN): _lost,
    (Sent, Situation.DONE): _lost,
    (Sent, Situation.DOUBT): _lost,
    (Sent, Situation.MINE): _sent,
    (Sent, Situation.MINE_SUSPECT): _sent,
    (Sent, Situation.LIVE): _lost,
    (Sent, Situation.UNSENT): _lost,
    (Sent, Situation.LAPSED): _lost,
    (Extend, Situation.ABSENT): _lost,
    (Extend, Situation.FOREIGN): _lost,
    (Extend, Situation.DONE): _lost,
    (Extend, Situation.DOUBT): _lost,
    (Extend, Situation.MINE): _extend,
    (Extend, Situation.MINE_SUSPECT): _extend,
    (Extend, Situation.LIVE): _lost,
    (Extend, Situation.UNSENT): _lost,
    (Extend, Situation.LAPSED): _lost,
    (Commit, Situation.ABSENT): _commit,
    (Commit, Situation.FOREIGN): _lost,
    (Commit, Situation.OTHER_CONTENT): _commit,
    (Commit, Situation.OTHER_DONE): _conflict,
    (Commit, Situation.DONE): _commit_done,
    (Commit, Situation.DOUBT): _commit,
    (Commit, Situation.MINE): _commit,
    (Commit, Situation.MINE_SUSPECT): _commit,
    (Commit, Situation.LIVE): _commit,
    (Commit, Situation.UNSENT): _commit,
    (Commit, Situation.LAPSED): _commit,
    (Release, Situation.ABSENT): _lost,
    (Release, Situation.FOREIGN): _lost,
    (Release, Situation.DONE): _lost,
    (Release, Situation.DOUBT): _lost,
    (Release, Situation.MINE): _release,
    (Release, Situation.MINE_SUSPECT): _release_suspect,
    (Release, Situation.LIVE): _lost,
    (Release, Situation.UNSENT): _lost,
    (Release, Situation.LAPSED): _lost,
    (MarkDoubt, Situation.ABSENT): _doubt_absent,
    (MarkDoubt, Situation.FOREIGN): _lost,
    (MarkDoubt, Situation.DONE): _lost,
    (MarkDoubt, Situation.DOUBT): _doubt_stays,
    (MarkDoubt, Situation.MINE): _doubt,
    (MarkDoubt, Situation.MINE_SUSPECT): _doubt,
    (MarkDoubt, Situation.LIVE): _doubt_anothers,
    (MarkDoubt, Situation.UNSENT): _doubt_anothers,
    (MarkDoubt, Situation.LAPSED): _doubt_anothers,
    (Forget, Situation.ABSENT): _forget,
    (Forget, Situation.FOREIGN): _lost,
    (Forget, Situation.DONE): _forget_forced,
    (Forget, Situation.DOUBT): _forget,
    (Forget, Situation.MINE): _forget_forced,
    (Forget, Situation.MINE_SUSPECT): _forget_forced,
    (Forget, Situation.LIVE): _forget_forced,
    (Forget, Situation.UNSENT): _forget,
    (Forget, Situation.LAPSED): _forget,
}
