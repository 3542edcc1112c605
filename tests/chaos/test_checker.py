"""The checker can fail: an honest story passes, and each lie in it is found by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.answers import Asked, Item, Nonsense, Told, read_answer
from tests.chaos.checker import TEMPLATE, Evidence, check
from tests.chaos.ledger import Effect, Name
from tests.chaos.rules import ASKED, PLAIN

DONE, BAD, REFUSED, UNKNOWN = (
    Item(Name(endpoint, "red", key), f"{value} {key}")
    for endpoint, key, value in (
        (ASKED, "k1", "value"),
        (ASKED, "k2", "bad"),
        (PLAIN, "k3", "value"),
        (PLAIN, "k4", "value"),
    )
)
RAW = b'{"id": 9223372036854775809,"key":"k1"}'


def effect(item: Item, attempt: int, raw: bytes = RAW) -> Effect:
    return Effect(item.name, item.value, attempt, 1.0, raw)


def success(attempt: int, *, new: bool = False, at: int = 1000, bare: bytes = RAW) -> Told:
    return Told(
        *(attempt, 0, DONE, attempt, attempt + 0.5),
        bare=bare,
        is_idempotent=not new,
        processed_at=at,
    )


def failure(item: Item, attempt: int, code: str, *, retryable: bool = True) -> Told:
    return Told(attempt, 0, item, attempt, attempt + 0.5, code, retryable)


def honest(*, detects: bool) -> Evidence:
    """Done and replayed, rejected, refused and done later, unknown."""
    after = replace(success(20), item=REFUSED, bare=b'{"id": 3}', processed_at=5)
    return Evidence(
        detects=detects,
        ledger={
            DONE.name: [effect(DONE, 1)],
            REFUSED.name: [effect(REFUSED, 12, b'{"id": 3}')],
            UNKNOWN.name: [effect(UNKNOWN, 14, b'{"id": 4}')],
        },
        told=[
            success(1, new=True),
            success(2),
            failure(BAD, 3, "UPSTREAM_REJECTED", retryable=False),
            failure(REFUSED, 11, "UPSTREAM_UNAVAILABLE"),
            replace(after, attempt=12, is_idempotent=False),
            failure(UNKNOWN, 14, "OUTCOME_UNKNOWN", retryable=detects),
        ],
        final=[
            success(30),
            success(31),
            after,
            replace(after, attempt=21),
            replace(success(32, bare=TEMPLATE), item=UNKNOWN)
            if detects
            else failure(UNKNOWN, 32, "OUTCOME_UNKNOWN", retryable=False),
        ],
        values={item.name: [item.value] for item in (DONE, BAD, REFUSED, UNKNOWN)},
        trouble=[[], []],
        recorded_times={DONE.name: frozenset({1000})},
    )


@pytest.mark.parametrize("detects", [True, False])
def test_an_honest_story_passes(detects: bool) -> None:
    verdict = check(honest(detects=detects))

    assert verdict.violations == []
    assert verdict.excused == {}
    assert verdict.strict == 3


def told(evidence: Evidence, *more: Told) -> Evidence:
    return replace(evidence, told=[*evidence.told, *more])


def finally_(evidence: Evidence, *last: Told) -> Evidence:
    rest = [one for one in evidence.final if one.item != DONE]
    return replace(evidence, final=[*rest, *last])


def ledger(evidence: Evidence, *effects: Effect) -> Evidence:
    """Other effects under the name of the first."""
    return replace(evidence, ledger={**evidence.ledger, DONE.name: list(effects)})


LIES: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "done twice": (
        "AtMostOneEffect",
        lambda e: ledger(e, effect(DONE, 1), effect(DONE, 2)),
    ),
    "success of nothing": ("SuccessMeansEffect", ledger),
    "other bytes": (
        "Exactness",
        lambda e: told(e, success(7, bare=RAW.replace(b'"id": ', b'"id":'))),
    ),
    "another's result": (
        "Exactness",
        lambda e: told(e, success(7, bare=b'{"id": 3}')),
    ),
    "a template where the service can be asked": (
        "Exactness",
        lambda e: told(e, success(7, bare=TEMPLATE)),
    ),
    "new, and another's doing": ("NewMeansOwn", lambda e: told(e, success(7, new=True))),
    "failed, and done by it": (
        "FailureIsTrue",
        lambda e: told(e, failure(DONE, 1, "UPSTREAM_UNAVAILABLE")),
    ),
    "not forwarded, and done by it": (
        "FailureIsTrue",
        lambda e: told(e, failure(DONE, 1, "ISOLATION_LIMIT")),
    ),
    "a good item rejected": (
        "RejectionIsTrue",
        lambda e: told(e, failure(DONE, 7, "UPSTREAM_REJECTED", retryable=False)),
    ),
    "a mismatch of one content": (
        "MismatchIsTrue",
        lambda e: told(e, failure(DONE, 7, "PAYLOAD_MISMATCH", retryable=False)),
    ),
    "a code that nobody knows": ("KnownCode", lambda e: told(e, failure(DONE, 7, "OOPS"))),
    "unknown, and not to be retried": (
        "UnknownIsRetryable",
        lambda e: told(e, failure(DONE, 7, "OUTCOME_UNKNOWN", retryable=False)),
    ),
    "another time": ("FirstAnswerStays", lambda e: told(e, success(7, at=1001))),
    "another time in the quiet": (
        "FirstAnswerStays",
        lambda e: finally_(e, success(30), success(31, at=1001)),
    ),
    "recorded with two times": (
        "FirstCommitStays",
        lambda e: replace(e, recorded_times={DONE.name: frozenset({1000, 1001})}),
    ),
    "forgotten": (
        "NothingForgotten",
        lambda e: finally_(e, failure(DONE, 30, "UPSTREAM_UNAVAILABLE")),
    ),
    "told and unknown in the end": (
        "NothingForgotten",
        lambda e: finally_(e, failure(DONE, 30, "OUTCOME_UNKNOWN")),
    ),
}


@pytest.mark.parametrize("detects", [True, False])
@pytest.mark.parametrize("lie", LIES)
def test_each_lie_is_found(lie: str, detects: bool) -> None:
    promise, tell = LIES[lie]

    violations = check(tell(honest(detects=detects))).violations

    assert any(violation.startswith(f"{promise}:") for violation in violations), violations


def test_a_success_that_is_unknown_afterwards_was_not_recorded() -> None:
    """Where nobody can tell, unknown is allowed in the end, but not of what was a success."""
    evidence = honest(detects=False)
    item = replace(success(9), item=UNKNOWN, bare=b'{"id": 4}')

    violations = check(told(evidence, item)).violations

    assert [v.partition(":")[0] for v in violations] == ["SuccessIsRecorded"]


def test_what_redis_lost_excuses_a_second_effect_only_without_detection() -> None:
    for detects in (True, False):
        twice = ledger(honest(detects=detects), effect(DONE, 1), effect(DONE, 2))
        verdict = check(replace(twice, lost=frozenset({DONE.name})))

        if detects:
            assert [v.partition(":")[0] for v in verdict.violations] == ["AtMostOneEffect"]
        else:
            assert verdict.violations == []
            assert verdict.excused == {"AtMostOneEffect: Redis lost acknowledged data": 1}


def test_what_another_key_lost_excuses_nothing() -> None:
    twice = ledger(honest(detects=False), effect(DONE, 1), effect(DONE, 2))

    assert check(replace(twice, lost=frozenset({REFUSED.name}))).violations


def test_another_time_is_excused_only_while_the_store_was_away() -> None:
    other = told(honest(detects=True), success(7, at=1001))  # from 7.0 to 7.5
    for span, excused in (((7.4, 8.0), 1), ((7.6, 8.0), 0), ((6.0, 6.9), 0)):
        verdict = check(replace(other, trouble=[[span], []]))
        assert verdict.excused.total() == excused
        assert len(verdict.violations) == 1 - excused
    assert check(replace(other, trouble=[[], [(0.0, 99.0)]])).violations, "the other proxy's"


def test_a_mismatch_in_the_end_is_excused_only_where_every_success_was_told_blind() -> None:
    story = honest(detects=True)
    story = replace(story, values={**story.values, DONE.name: [DONE.value, "other k1"]})
    refused = finally_(story, failure(DONE, 40, "PAYLOAD_MISMATCH", retryable=False))
    assert check(refused).violations
    assert check(replace(refused, trouble=[[(1.0, 1.6)], []])).violations, "not the second"
    assert check(replace(refused, trouble=[[(0.0, 9.0)], []])).violations == []
    unknown = finally_(honest(detects=True), failure(DONE, 40, "OUTCOME_UNKNOWN"))
    assert check(replace(unknown, trouble=[[(0.0, 9.0)], []])).violations


# ---- what a client reads -----------------------------------------------------------------------

ASK = Asked(5, 1, [DONE, BAD], 1.0)
FINE = RAW[:-1] + b',"isIdempotent":true,"processedAt":"2026-11-23T10:00:00.123Z"}'
WRONG = (
    b'{"isIdempotent":false,"error":{"code":"UPSTREAM_REJECTED","message":"m","retryable":false}}'
)


def test_an_answer_is_read_item_by_item() -> None:
    first, second = read_answer(ASK, 200, b'{"results":[' + FINE + b"," + WRONG + b"]}", 2.0)

    assert (first.item, first.code, first.bare, first.is_idempotent) == (DONE, None, RAW, True)
    assert first.processed_at % 1000 == 123
    assert (second.item, second.code, second.retryable) == (BAD, "UPSTREAM_REJECTED", False)


def test_the_services_own_answer_is_everybodys() -> None:
    both = read_answer(ASK, 422, b'{"message":"item k2 is bad"}', 2.0)

    assert [one.code for one in both] == ["UPSTREAM_REJECTED"] * 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"results":[' + FINE + b"]}"),
        (200, b'{"results":[' + FINE + b"," + FINE + b"," + FINE + b"]}"),
        (200, b'{"results":[' + FINE + b"," + RAW + b"]}"),
        (200, b'{"results":[' + FINE + b"," + WRONG.replace(b"{", b'{"id":1,', 1) + b"]}"),
        (200, b'{"results":[' + FINE + b"," + WRONG.replace(b"false", b"true", 1) + b"]}"),
        (200, b"{}"),
        (500, b'{"message":"broken"}'),
    ],
    ids=["too few", "too many", "no fields", "error and result", "error replayed", "none", "500"],
)
def test_what_a_proxy_must_never_say_is_said_so(status: int, body: bytes) -> None:
    with pytest.raises(Nonsense):
        read_answer(ASK, status, body, 2.0)
