"""Status and headers of the whole answer, case by case (the contract's section 7)."""

from __future__ import annotations

import pytest

from proxy.core.answer import Course, headers_of, own_answer, proxy_headers, status_of, tally
from proxy.core.delivery import Delivery
from proxy.core.fate import (
    OUTCOME_OF,
    RETRYABLE,
    Code,
    Fate,
    Outcome,
    echo_of,
    failed,
    from_record,
    new,
    replayed,
)
from proxy.core.record import Done
from proxy.core.upstream import Reply

NEW = new(b"{}", 1)
OLD = replayed(b"{}", 1)
CREATED = Reply(201, (("Content-Type", "application/json"), ("ETag", '"1"'), ("X-A", "1")), b"[]")
BAD = Reply(400, (("X-B", "2"),), b"no")
BUSY = Reply(503, (("Retry-After", "7"),), b"later")


def course(*notes: tuple[Delivery, Reply | None]) -> Course:
    made = Course()
    for delivery, reply in notes:
        made.note(delivery, reply)
    return made


def fail(code: Code, **more: int) -> Fate:
    return failed(code, "why", retry_after_ms=more.get("after"))


@pytest.mark.parametrize(
    ("fates", "notes", "partial", "status"),
    [
        ([NEW, OLD], [(Delivery.ACCEPTED, CREATED)], 207, 201),
        ([OLD, OLD], [], 207, 200),
        ([NEW, fail(Code.UPSTREAM_REJECTED)], [(Delivery.ACCEPTED, CREATED)], 207, 207),
        ([NEW, fail(Code.UPSTREAM_REJECTED)], [(Delivery.ACCEPTED, CREATED)], 200, 200),
        (
            [NEW, fail(Code.UPSTREAM_REJECTED)],
            [(Delivery.REJECTED, BAD), (Delivery.ACCEPTED, CREATED), (Delivery.UNAVAILABLE, BUSY)],
            None,
            400,
        ),
        ([OLD, fail(Code.INVALID_KEY)], [], None, 200),
        ([fail(Code.INVALID_KEY)], [], 200, 400),
        ([fail(Code.MISSING_KEY)], [], 200, 400),
        ([fail(Code.MISSING_KEY), fail(Code.INVALID_KEY)], [], 200, 400),
        ([fail(Code.PAYLOAD_MISMATCH)] * 2, [], 200, 422),
        ([fail(Code.IN_PROGRESS)], [], 200, 409),
        ([fail(Code.UPSTREAM_UNAVAILABLE)], [(Delivery.NEVER_SENT, None)], 200, 502),
        ([fail(Code.OUTCOME_UNKNOWN)], [(Delivery.UNKNOWN, Reply(500, (), b"x"))], 200, 504),
        ([fail(Code.STORE_UNAVAILABLE)], [], 200, 503),
        ([fail(Code.UPSTREAM_FAILED)] * 2, [(Delivery.ACCEPTED, CREATED)], 207, 201),
        ([fail(Code.ISOLATION_LIMIT)], [], 207, 207),
        ([fail(Code.IN_PROGRESS), fail(Code.PAYLOAD_MISMATCH)], [], 200, 200),
        ([fail(Code.IN_PROGRESS), fail(Code.PAYLOAD_MISMATCH)], [], 207, 207),
        ([fail(Code.UPSTREAM_FAILED), fail(Code.IN_PROGRESS)], [], None, 200),
    ],
)
def test_status(
    fates: list[Fate],
    notes: list[tuple[Delivery, Reply | None]],
    partial: int | None,
    status: int,
) -> None:
    assert status_of(fates, course(*notes), partial) == status


@pytest.mark.parametrize(
    ("delivery", "reply"),
    [
        (Delivery.REJECTED, BAD),
        (Delivery.REFUSED, Reply(401, (), b"who")),
        (Delivery.UNAVAILABLE, BUSY),
    ],
)
def test_the_same_refusal_of_every_item_is_the_services_own_answer(
    delivery: Delivery, reply: Reply
) -> None:
    fates = [fail(Code.UPSTREAM_REJECTED)] * 2
    assert own_answer(tally(fates), course((delivery, reply), (delivery, CREATED)), 2) is reply


@pytest.mark.parametrize(
    ("fates", "notes", "decided"),
    [
        ([fail(Code.OUTCOME_UNKNOWN)], [(Delivery.UNKNOWN, Reply(500, (), b""))], 1),
        ([fail(Code.UPSTREAM_UNAVAILABLE)], [(Delivery.NEVER_SENT, None)], 1),
        ([NEW, fail(Code.UPSTREAM_REJECTED)], [(Delivery.REJECTED, BAD)], 2),
        (
            [fail(Code.UPSTREAM_REJECTED), fail(Code.OUTCOME_UNKNOWN)],
            [(Delivery.REJECTED, BAD), (Delivery.UNKNOWN, None)],
            2,
        ),
        ([fail(Code.UPSTREAM_REJECTED), fail(Code.IN_PROGRESS)], [(Delivery.REJECTED, BAD)], 1),
        ([fail(Code.PAYLOAD_MISMATCH)], [], 0),
    ],
)
def test_nothing_else_is(
    fates: list[Fate], notes: list[tuple[Delivery, Reply | None]], decided: int
) -> None:
    assert own_answer(tally(fates), course(*notes), decided) is None


def test_headers_start_from_the_first_accepted_call_without_those_of_its_body() -> None:
    made = headers_of([NEW], tally([NEW]), course((Delivery.ACCEPTED, CREATED)), 201)
    assert made == (
        ("Content-Type", "application/json"),
        ("X-A", "1"),
        ("Idempotency-Items", "new=1, replayed=0, failed=0"),
        ("Cache-Control", "no-store"),
    )


def test_replayed_is_said_only_when_every_item_was() -> None:
    assert proxy_headers(tally([OLD, echo_of(NEW)]))[0] == ("Idempotent-Replayed", "true")
    assert proxy_headers(tally([OLD, NEW]))[0] == (
        "Idempotency-Items",
        "new=1, replayed=1, failed=0",
    )
    assert (
        proxy_headers(tally([OLD, fail(Code.IN_PROGRESS)]))[0][1] == "new=0, replayed=1, failed=1"
    )


@pytest.mark.parametrize(
    ("fates", "status", "after"),
    [
        ([fail(Code.IN_PROGRESS, after=1001), fail(Code.IN_PROGRESS, after=4000)], 409, "2"),
        ([fail(Code.STORE_UNAVAILABLE, after=1)], 503, "1"),
        ([fail(Code.IN_PROGRESS)], 409, None),
        ([fail(Code.OUTCOME_UNKNOWN, after=5000)], 504, None),
        ([OLD, fail(Code.IN_PROGRESS, after=5000)], 409, None),
    ],
)
def test_retry_after_is_in_whole_seconds_and_only_where_a_retry_is_asked_for(
    fates: list[Fate], status: int, after: str | None
) -> None:
    assert dict(headers_of(fates, tally(fates), Course(), status)).get("Retry-After") == after


def test_every_code_has_an_outcome_and_retries_are_the_contracts() -> None:
    assert set(OUTCOME_OF) == set(Code)
    assert {c.value for c in RETRYABLE} == {
        "IN_PROGRESS",
        "UPSTREAM_UNAVAILABLE",
        "UPSTREAM_REFUSED",
        "UPSTREAM_DUPLICATE_NOT_FOUND",
        "ISOLATION_LIMIT",
        "STORE_UNAVAILABLE",
    }
    assert failed(Code.OUTCOME_UNKNOWN, "", retryable=True).retryable
    assert not failed(Code.OUTCOME_UNKNOWN, "").retryable


def test_an_echo_is_idempotent_where_its_first_succeeded_and_carries_its_error_elsewhere() -> None:
    assert echo_of(NEW).outcome is Outcome.ECHOED
    assert echo_of(NEW).is_idempotent
    assert not NEW.is_idempotent
    error = fail(Code.UPSTREAM_REJECTED)
    assert echo_of(error) is error
    assert not error.is_idempotent


def test_a_record_is_replayed_with_its_first_time() -> None:
    fate = from_record(Done(b"t" * 12, 17, None, b'{"a":1}'))
    assert (fate.result, fate.processed_at, fate.is_idempotent) == (b'{"a":1}', 17, True)
