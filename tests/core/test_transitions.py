"""The transition table, row by row, and what must hold of all of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.core.record import (
    LEEWAY,
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
from proxy.core.transitions import Situation, claim, settle, situation

NOW = 1_000_000
LEASE = 30_000
DAY = 86_400_000
WEEK = 7 * DAY
ME, OTHER = b"m" * 12, b"o" * 12
MINE, THEIRS = b"f" * 16, b"g" * 16
DETECTS = Terms(LEASE, DAY, detects_duplicates=True)
LOOKUP = Terms(LEASE, DAY, detects_duplicates=False, has_lookup=True)
SETTLES = replace(LOOKUP, settles_within=5_000)
BLIND = Terms(LEASE, DAY, detects_duplicates=False)

LIVE = Held(OTHER, 4, NOW + 1, MINE)
LAPSED = Held(OTHER, 4, NOW, MINE)
UNSENT = replace(LAPSED, barrier=True)
SENT = replace(UNSENT, sent=True)
DOUBT = Doubt(NOW - 5_000, 4, MINE)
DONE = Done(OTHER, 77, MINE, b'{"id":1}')
TEMPLATE = Done(OTHER, 77, None, b"{}", template=True)
OWN = Held(ME, 4, NOW + 1, MINE)
OWN_SUSPECT = replace(OWN, suspect=True, doubt_since=NOW - 5_000)


SAME = Foreign()  # in a row: nothing is written


def mine(attempt: int, since: int | None = None, *, barrier: bool = False) -> Held:
    return Held(
        token=ME,
        attempt=attempt,
        deadline=NOW + LEASE,
        fingerprint=MINE,
        barrier=barrier,
        suspect=since is not None,
        doubt_since=since or 0,
    )


def suspect(attempt: int, age: int, *, forwardable: bool = True) -> Won:
    return Won(attempt, suspect=True, forwardable=forwardable, doubt_age=age)


@pytest.mark.parametrize(
    ("before", "terms", "after", "reply"),
    [
        # absent
        (None, DETECTS, mine(1), Won(1)),
        (None, BLIND, mine(1, barrier=True), Won(1)),
        # done
        (DONE, DETECTS, DONE, DONE),
        (replace(DONE, fingerprint=None), DETECTS, SAME, replace(DONE, fingerprint=None)),
        (replace(DONE, result=None), DETECTS, SAME, replace(DONE, result=None)),
        # another content
        (replace(DONE, fingerprint=THEIRS), DETECTS, SAME, Mismatch()),
        (replace(LIVE, fingerprint=THEIRS), DETECTS, SAME, Mismatch()),
        (replace(LAPSED, fingerprint=THEIRS), DETECTS, SAME, Mismatch()),
        (replace(DOUBT, fingerprint=THEIRS), DETECTS, SAME, Mismatch()),
        # a version from elsewhere
        (Foreign(), DETECTS, SAME, Busy(LEASE)),
        # held by another, within its deadline
        (LIVE, DETECTS, LIVE, Busy(1)),
        (replace(LIVE, fingerprint=None), DETECTS, SAME, Busy(1)),
        (replace(LIVE, barrier=True), BLIND, SAME, Busy(1)),
        # mine already
        (OWN, DETECTS, replace(OWN, deadline=NOW + LEASE), Won(4)),
        (
            replace(OWN, barrier=True, sent=True),
            BLIND,
            replace(OWN, barrier=True, sent=True, deadline=NOW + LEASE),
            Won(4),
        ),
        (
            OWN_SUSPECT,
            LOOKUP,
            replace(OWN_SUSPECT, deadline=NOW + LEASE),
            suspect(4, 5_000, forwardable=False),
        ),
        # past its deadline, and certainly never forwarded
        (UNSENT, BLIND, mine(5, barrier=True), Won(5)),
        (UNSENT, LOOKUP, mine(5, barrier=True), Won(5)),
        (
            replace(UNSENT, suspect=True, doubt_since=NOW - 9_000),
            SETTLES,
            mine(5, NOW - 9_000, barrier=True),
            suspect(5, 9_000),
        ),
        (
            replace(UNSENT, suspect=True, doubt_since=NOW - 4_999),
            SETTLES,
            mine(5, NOW - 4_999, barrier=True),
            suspect(5, 4_999, forwardable=False),
        ),
        # past its deadline otherwise: a doubt begins now
        (LAPSED, DETECTS, mine(5, NOW), suspect(5, 0)),
        (SENT, DETECTS, mine(5, NOW), suspect(5, 0)),
        (SENT, SETTLES, mine(5, NOW, barrier=True), suspect(5, 0, forwardable=False)),
        (SENT, LOOKUP, mine(5, NOW, barrier=True), suspect(5, 0, forwardable=False)),
        (SENT, BLIND, Doubt(NOW, 4, MINE), InDoubt(0)),
        (LAPSED, BLIND, Doubt(NOW, 4, MINE), InDoubt(0)),
        # a suspect that was not forwarded again keeps its doubt; one that was begins a new one
        (
            replace(LAPSED, suspect=True, doubt_since=NOW - 5_000),
            DETECTS,
            mine(5, NOW - 5_000),
            suspect(5, 5_000),
        ),
        (
            replace(SENT, suspect=True, doubt_since=NOW - 5_000),
            SETTLES,
            mine(5, NOW, barrier=True),
            suspect(5, 0, forwardable=False),
        ),
        # in doubt
        (DOUBT, DETECTS, mine(5, NOW - 5_000), suspect(5, 5_000)),
        (DOUBT, SETTLES, mine(5, NOW - 5_000, barrier=True), suspect(5, 5_000)),
        (
            DOUBT,
            replace(SETTLES, settles_within=5_001),
            mine(5, NOW - 5_000, barrier=True),
            suspect(5, 5_000, forwardable=False),
        ),
        (
            DOUBT,
            LOOKUP,
            mine(5, NOW - 5_000, barrier=True),
            suspect(5, 5_000, forwardable=False),
        ),
        (DOUBT, BLIND, DOUBT, InDoubt(5_000)),
        # without a lookup no age of a doubt makes it safe
        (DOUBT, replace(BLIND, settles_within=1), DOUBT, InDoubt(5_000)),
        # attempts are counted as far as two bytes go
        (
            replace(DOUBT, attempt=65_535),
            DETECTS,
            mine(65_535, NOW - 5_000),
            suspect(65_535, 5_000),
        ),
        # a clock that went back makes no negative age
        (Doubt(NOW + 9, 1, MINE), DETECTS, mine(2, NOW + 9), suspect(2, 0)),
    ],
)
def test_claim(before: Record | None, terms: Terms, after: Record, reply: ClaimReply) -> None:
    expected = before if after is SAME else after

    got, answer, ttl = claim(before, MINE, ME, terms, NOW)

    assert (got, answer) == (expected, reply)
    assert ttl == (0 if expected is before else terms.doubt_retention)


@pytest.mark.parametrize("before", [replace(DONE, fingerprint=THEIRS), DONE])
def test_a_claim_without_a_fingerprint_compares_nothing(before: Done) -> None:
    assert claim(before, None, ME, DETECTS, NOW)[1] == before


def test_a_taken_over_fingerprint_is_kept_where_the_claim_has_none() -> None:
    assert claim(DOUBT, None, ME, DETECTS, NOW)[0] == mine(5, NOW - 5_000)
    unprinted = replace(DOUBT, fingerprint=None)
    assert claim(unprinted, MINE, ME, DETECTS, NOW)[0] == mine(5, NOW - 5_000)


RESULT = b'{"id":2}'
COMMIT = Commit(MINE, 99, RESULT)
MY_DONE = Done(ME, 99, MINE, RESULT)
NOT_HELD = (None, Foreign(), DONE, DOUBT)
ANOTHERS = (LIVE, LAPSED, UNSENT, SENT)


@pytest.mark.parametrize(
    ("before", "step", "after", "reply"),
    [
        # sent and extend
        (OWN, Sent(), replace(OWN, sent=True, deadline=NOW + LEASE), Applied()),
        (
            OWN_SUSPECT,
            Sent(),
            replace(OWN_SUSPECT, sent=True, deadline=NOW + LEASE),
            Applied(),
        ),
        (OWN, Extend(), replace(OWN, deadline=NOW + LEASE), Applied()),
        (OWN_SUSPECT, Extend(), replace(OWN_SUSPECT, deadline=NOW + LEASE), Applied()),
        (replace(OWN, deadline=0), Extend(), replace(OWN, deadline=NOW + LEASE), Applied()),
        *((record, step, SAME, Lost()) for record in NOT_HELD for step in (Sent(), Extend())),
        *((record, step, SAME, Lost()) for record in ANOTHERS for step in (Sent(), Extend())),
        # commit: whoever holds it, even absent
        *((record, COMMIT, MY_DONE, Applied()) for record in (None, DOUBT, OWN, OWN_SUSPECT)),
        *((record, COMMIT, MY_DONE, Applied()) for record in ANOTHERS),
        (replace(LIVE, fingerprint=THEIRS), COMMIT, MY_DONE, Applied()),
        (None, Commit(None, 9, None, template=True), Done(ME, 9, None, None, True), Applied()),
        (None, replace(COMMIT, sealed=True), replace(MY_DONE, sealed=True), Applied()),
        (Foreign(), COMMIT, SAME, Lost()),
        # commit: the first stays
        (DONE, COMMIT, DONE, Stands(DONE)),
        (DONE, replace(COMMIT, fingerprint=None), DONE, Stands(DONE)),
        (replace(DONE, fingerprint=None), COMMIT, SAME, Stands(replace(DONE, fingerprint=None))),
        (replace(DONE, fingerprint=THEIRS), COMMIT, SAME, Conflict()),
        (replace(DONE, result=None), COMMIT, SAME, Stands(replace(DONE, result=None))),
        # commit: its own repeat is answered as it was
        (MY_DONE, COMMIT, MY_DONE, Applied()),
        (MY_DONE, replace(COMMIT, processed_at=98), MY_DONE, Stands(MY_DONE)),
        (MY_DONE, replace(COMMIT, template=True), MY_DONE, Stands(MY_DONE)),
        # commit: a template takes one real result, and keeps its time
        (
            TEMPLATE,
            COMMIT,
            Done(ME, 77, MINE, RESULT),
            Stands(Done(ME, 77, MINE, RESULT)),
        ),
        (
            replace(TEMPLATE, fingerprint=MINE),
            replace(COMMIT, fingerprint=None),
            Done(ME, 77, MINE, RESULT),
            Stands(Done(ME, 77, MINE, RESULT)),
        ),
        (TEMPLATE, replace(COMMIT, processed_at=77), Done(ME, 77, MINE, RESULT), Applied()),
        (TEMPLATE, replace(COMMIT, result=None), TEMPLATE, Stands(TEMPLATE)),
        (TEMPLATE, replace(COMMIT, template=True), TEMPLATE, Stands(TEMPLATE)),
        (replace(TEMPLATE, fingerprint=THEIRS), COMMIT, SAME, Conflict()),
        # release
        (OWN, Release(), None, Applied()),
        (replace(OWN, barrier=True, sent=True), Release(), None, Applied()),
        (OWN_SUSPECT, Release(), Doubt(NOW - 5_000, 4, MINE), Applied()),
        (
            replace(OWN_SUSPECT, sent=True),
            Release(),
            Doubt(NOW - 5_000, 4, MINE),
            Applied(),
        ),
        *((record, Release(), SAME, Lost()) for record in (*NOT_HELD, *ANOTHERS)),
        # doubt
        (None, MarkDoubt(MINE), Doubt(NOW, 1, MINE), Applied()),
        (OWN, MarkDoubt(THEIRS), Doubt(NOW, 4, MINE), Applied()),
        (replace(OWN, fingerprint=None), MarkDoubt(MINE), Doubt(NOW, 4, MINE), Applied()),
        (OWN_SUSPECT, MarkDoubt(MINE), Doubt(NOW - 5_000, 4, MINE), Applied()),
        (replace(OWN_SUSPECT, sent=True), MarkDoubt(MINE), Doubt(NOW, 4, MINE), Applied()),
        (DOUBT, MarkDoubt(MINE), DOUBT, Applied()),
        (DONE, MarkDoubt(MINE), DONE, Lost()),
        (Foreign(), MarkDoubt(MINE), SAME, Lost()),
        *(
            (record, MarkDoubt(MINE), replace(record, suspect=True, doubt_since=NOW), Lost())
            for record in ANOTHERS
        ),
        (
            replace(LIVE, suspect=True, doubt_since=NOW - 7),
            MarkDoubt(MINE),
            SAME,
            Lost(),
        ),
        # forget: what is done or live goes only by force
        *((record, Forget(), None, Applied()) for record in (None, DOUBT, LAPSED, UNSENT, SENT)),
        *((record, Forget(), SAME, Lost()) for record in (DONE, LIVE, OWN, OWN_SUSPECT, Foreign())),
        *(
            (record, Forget(force=True), None, Applied())
            for record in (None, DOUBT, LAPSED, UNSENT, SENT, DONE, LIVE, OWN, OWN_SUSPECT)
        ),
        (Foreign(), Forget(force=True), SAME, Lost()),
    ],
)
@pytest.mark.parametrize("terms", [DETECTS, BLIND], ids=["detects", "blind"])
def test_settle(
    before: Record | None, step: Settlement, after: Record | None, reply: SettleReply, terms: Terms
) -> None:
    expected = before if after is SAME else after

    got, answer, ttl = settle(before, step, ME, terms, NOW)

    assert (got, answer) == (expected, reply)
    if expected is before or expected == before:
        assert ttl == 0
    elif isinstance(expected, Done):
        assert ttl == DAY
    else:
        assert ttl == (DAY if terms is DETECTS else WEEK) + LEEWAY


# ---- what holds of every row --------------------------------------------------------------------

TIMES = st.integers(NOW - 50_000, NOW + 50_000)
TOKENS = st.sampled_from([ME, OTHER])
PRINTS = st.sampled_from([None, MINE, THEIRS])
BOOLS = st.booleans()
HELDS = st.builds(
    lambda since, **rest: Held(suspect=since is not None, doubt_since=since or 0, **rest),
    since=st.one_of(st.none(), TIMES),
    token=TOKENS,
    attempt=st.integers(1, 3),
    deadline=TIMES,
    fingerprint=PRINTS,
    barrier=BOOLS,
    sent=BOOLS,
)
DOUBTS = st.builds(Doubt, TIMES, st.integers(1, 3), PRINTS)
DONES = st.builds(Done, TOKENS, TIMES, PRINTS, st.sampled_from([None, b"{}"]), BOOLS)
RECORDS = st.one_of(st.none(), HELDS, DOUBTS, DONES, st.just(Foreign()))
TERMS = st.sampled_from([DETECTS, LOOKUP, SETTLES, BLIND])
STEPS = st.one_of(
    st.sampled_from([Sent(), Extend(), Release(), Forget(), Forget(force=True)]),
    st.builds(MarkDoubt, PRINTS),
    st.builds(Commit, PRINTS, TIMES, st.sampled_from([None, b"{}", b"[]"]), BOOLS),
)


@given(RECORDS, PRINTS, TOKENS, TERMS)
def test_every_claim_has_a_row_and_keeps_the_law(
    before: Record | None, fingerprint: bytes | None, token: bytes, terms: Terms
) -> None:
    after, reply, ttl = claim(before, fingerprint, token, terms, NOW)

    assert (after == before) or ttl > 0
    assert (ttl == 0) or after is not None  # a claim deletes nothing
    if isinstance(before, Done | Foreign):
        assert after is before
    if isinstance(reply, Won):
        assert isinstance(after, Held)
        assert (after.token, after.deadline) == (token, NOW + LEASE)
        assert after.suspect == reply.suspect
        assert reply.forwardable or reply.suspect
        # Without detection a suspect is forwarded only where a lookup comes first.
        assert (
            not reply.suspect
            or terms.detects_duplicates
            or terms.has_lookup
            or (not reply.forwardable)
        )
    if isinstance(before, Doubt) or (isinstance(before, Held) and before.suspect):
        assert not isinstance(after, Held) or after.suspect  # only an outcome ends a suspicion


@given(RECORDS, STEPS, TOKENS, TERMS)
def test_every_settlement_has_a_row_and_keeps_the_law(
    before: Record | None, step: Settlement, token: bytes, terms: Terms
) -> None:
    after, reply, ttl = settle(before, step, token, terms, NOW)

    assert (after == before) or ttl > 0
    if isinstance(before, Foreign):
        assert after is before
    if isinstance(step, Forget):
        assert after in (None, before)
        return
    if isinstance(before, Done):
        assert isinstance(after, Done)
        assert after.processed_at == before.processed_at
        assert after is before or (before.template and not after.template)
    if isinstance(before, Doubt) or (isinstance(before, Held) and before.suspect):
        assert after is not None  # never to a blank
    if isinstance(before, Held) and before.token != token:
        assert isinstance(step, Commit | MarkDoubt) or after is before
    if isinstance(reply, Stands):
        assert reply.record == after


@given(RECORDS, STEPS, TOKENS, TERMS)
def test_every_settlement_is_safe_to_repeat(
    before: Record | None, step: Settlement, token: bytes, terms: Terms
) -> None:
    once, reply, _ = settle(before, step, token, terms, NOW)
    twice, again, ttl = settle(once, step, token, terms, NOW)

    assert twice == once
    if not isinstance(step, Release):  # what is released is not mine any more
        assert again == reply
    assert not isinstance(step, Commit | Release | MarkDoubt | Forget) or ttl == 0


@given(RECORDS, PRINTS, TOKENS, TERMS)
def test_every_claim_is_safe_to_repeat(
    before: Record | None, fingerprint: bytes | None, token: bytes, terms: Terms
) -> None:
    once, reply, _ = claim(before, fingerprint, token, terms, NOW)

    assert claim(once, fingerprint, token, terms, NOW)[:2] == (once, reply)


def test_a_pair_that_is_not_in_the_table_is_an_error() -> None:
    class Unknown:
        fingerprint = None

    with pytest.raises(KeyError):
        settle(OWN, Unknown(), ME, DETECTS, NOW)  # type: ignore[arg-type]


def test_the_deadline_itself_is_past_and_the_millisecond_before_is_not() -> None:
    assert situation(LAPSED, None, ME, LAPSED.deadline - 1) is Situation.LIVE
    assert situation(LAPSED, None, ME, LAPSED.deadline) is Situation.LAPSED
