"""The whole answer from every item's fate: status and headers. Law: pure; the body is rendered
by ``rules.render``.

``Course`` collects what the request's upstream calls came to, as they come: the answer starts
from the first accepted call, and is the service's own where all calls came to the same refusal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from proxy.core.delivery import Delivery
from proxy.core.fate import SUCCESSES, Code, Fate, Outcome
from proxy.core.fates import AlikeFates
from proxy.core.upstream import Headers, Reply

_OWN_ANSWER: Final = frozenset({Delivery.REJECTED, Delivery.REFUSED, Delivery.UNAVAILABLE})
"""Deliveries after which nothing was done, and the service itself said so."""

_NOT_ITS_WORD: Final = {Outcome.UNKNOWN, Outcome.MISMATCH}
"""An unknown is never shown as the service's answer; a mismatch is this product's finding."""

_STATUS: Final[dict[Code, int]] = {
    Code.MISSING_KEY: 400,
    Code.INVALID_KEY: 400,
    Code.PAYLOAD_MISMATCH: 422,
    Code.IN_PROGRESS: 409,
    Code.UPSTREAM_UNAVAILABLE: 502,
    Code.OUTCOME_UNKNOWN: 504,
    Code.STORE_UNAVAILABLE: 503,
}
"""The status where no item succeeded and all have this error in common."""

_OF_THE_OLD_BODY: Final = frozenset(
    {
        "content-length",
        "content-encoding",
        "content-md5",
        "content-digest",
        "content-range",
        "accept-ranges",
        "digest",
        "repr-digest",
        "etag",
        "last-modified",
        "transfer-encoding",
        "trailer",
        "connection",
        "keep-alive",
        "upgrade",
        # A stitched answer is one client's: it must not be stored (RFC 9111 section 5.2.2.5).
        "cache-control",
        "expires",
        "age",
        "idempotent-replayed",
        "idempotency-items",
    }
)


class Tally:
    """How many items came to what; counted once, for it is asked often."""

    __slots__ = ("failures", "items", "outcomes")

    def __init__(self, items: int, failures: int, outcomes: Mapping[Outcome, int]) -> None:
        self.items = items
        self.failures = failures
        self.outcomes = outcomes

    @property
    def new(self) -> int:
        return self.outcomes.get(Outcome.NEW, 0)

    @property
    def replays(self) -> int:
        """Successes that were not done just now."""
        return self.items - self.failures - self.new


def tally(fates: Sequence[Fate]) -> Tally:
    if isinstance(fates, AlikeFates):
        return Tally(len(fates), 0, {fates.outcome: len(fates)})
    kinds = [fate.outcome for fate in fates]
    outcomes: dict[Outcome, int] = {}
    left = kinds
    while left:  # mostly all are the same or one of two; an enum is hashed slowly
        first = left[0]
        others = [kind for kind in left if kind is not first]
        outcomes[first] = len(left) - len(others)
        left = others
    succeeded = sum([outcomes[o] for o in SUCCESSES if o in outcomes])
    return Tally(len(fates), len(fates) - succeeded, outcomes)


class Course:
    """What the upstream calls of one request came to, in the order in which they ended."""

    __slots__ = ("accepted", "array", "deliveries", "first_failing", "first_reply")

    def __init__(self) -> None:
        self.first_reply: Reply | None = None
        """The answer to the first call, where that was the whole batch."""
        self.accepted: Reply | None = None
        self.array: tuple[int, int] | None = None
        """Where in its body the results stand, where that is known."""
        self.first_failing: Reply | None = None
        self.deliveries: list[Delivery] = []

    def note(
        self, delivery: Delivery, reply: Reply | None, array: tuple[int, int] | None = None
    ) -> None:
        """One batch call ended. ``reply`` None: no complete response came."""
        if not self.deliveries:
            self.first_reply = reply
        self.deliveries.append(delivery)
        if delivery is Delivery.ACCEPTED:
            if self.accepted is None:
                self.accepted, self.array = reply, array
        else:
            self.first_failing = self.first_failing or reply


def own_answer(counted: Tally, course: Course, decided_upstream: int) -> Reply | None:
    """The service's own answer to the whole batch, where that is what the client should get.

    ``decided_upstream``: number of items (echoes with their firsts) whose fate an upstream call
    decided; every one must be, for the service to have spoken of the whole batch.
    """
    kinds = set(course.deliveries)
    if len(kinds) != 1 or not kinds <= _OWN_ANSWER or decided_upstream != counted.items:
        return None
    if counted.failures != counted.items or counted.outcomes.keys() & _NOT_ITS_WORD:
        return None
    return course.first_reply


def status_of(fates: Sequence[Fate], course: Course, partial_status: int | None) -> int:
    """The status of a stitched answer. ``partial_status`` None: the first failing call's."""
    accepted = course.accepted.status if course.accepted else 200
    if isinstance(fates, AlikeFates):
        return accepted
    errors = [f.error for f in fates]
    failures = len(errors) - errors.count(None)
    if not failures:
        return accepted
    if failures == len(errors):
        codes = {f.code for f in fates}
        if codes <= {Code.MISSING_KEY, Code.INVALID_KEY}:
            return 400
        if codes == {Code.UPSTREAM_FAILED}:
            return accepted
        if len(codes) == 1 and (status := _STATUS.get(next(iter(codes)) or Code.INVALID_KEY)):
            return status
    if partial_status is not None:
        return partial_status
    return course.first_failing.status if course.first_failing else accepted


def headers_of(fates: Sequence[Fate], counted: Tally, course: Course, status: int) -> Headers:
    """The headers of a stitched answer: the first accepted call's, then the proxy's own."""
    base = course.accepted.headers if course.accepted else (("Content-Type", "application/json"),)
    retry = () if counted.failures < counted.items else _retry_after(fates, status)
    return carried(base) + proxy_headers(counted) + retry


def carried(headers: Headers) -> Headers:
    """``headers`` without those that describe the old body or would let this one be cached."""
    return tuple((n, v) for n, v in headers if n.lower() not in _OF_THE_OLD_BODY)


def proxy_headers(counted: Tally) -> Headers:
    """What every answer that a rule handled bears."""
    new, replays, failures = counted.new, counted.replays, counted.failures
    own: Headers = (
        ("Idempotency-Items", f"new={new}, replayed={replays}, failed={failures}"),
        ("Cache-Control", "no-store"),
    )
    return (("Idempotent-Replayed", "true"), *own) if replays == counted.items else own


def _retry_after(fates: Sequence[Fate], status: int) -> Headers:
    """Whole seconds (RFC 9110 section 10.2.3), for the answers that ask to be tried again."""
    waits = [f.retry_after_ms for f in fates if f.retry_after_ms is not None]
    if status not in {409, 503} or not waits:
        return ()
    return (("Retry-After", str(max(1, -(-min(waits) // 1000)))),)
