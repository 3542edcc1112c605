"""From a run's fates to its one answer, and its report. Law: no I/O but what the observer does."""

from __future__ import annotations

from collections import Counter
from typing import Final

from proxy.core.answer import headers_of, own_answer, proxy_headers, status_of
from proxy.core.fate import Fate, Outcome
from proxy.core.upstream import Headers, Reply
from proxy.exchange import Answer
from proxy.observe import BatchReport, Observer
from proxy.run import Run
from rules.model import Rule
from rules.render import ErrorBody, Row, render


def stitch(run: Run, observer: Observer) -> Answer:
    """One ordered answer: the service's own where it refused everything, else item by item."""
    fates = run.decided()
    own = own_answer(fates, run.course, len(run.upstream_decided))
    answer = _handed_on(own, fates) if own is not None else _stitched(run, fates)
    observer.batch(_report(run, fates, answer, passed=own is not None))
    return answer


def _handed_on(own: Reply, fates: list[Fate]) -> Answer:
    return Answer(own.status, _with_proxy_headers(own.headers, fates), own.body)


_REPLACED: Final = frozenset(
    {"cache-control", "idempotent-replayed", "idempotency-items", "content-length"}
)


def _with_proxy_headers(headers: Headers, fates: list[Fate]) -> Headers:
    kept = tuple((n, v) for n, v in headers if n.lower() not in _REPLACED)
    return kept + proxy_headers(fates)


def _stitched(run: Run, fates: list[Fate]) -> Answer:
    rule, course = run.rule, run.course
    status = status_of(fates, course, rule.response.partial_status)
    base = course.accepted.body if course.accepted else rule.response.envelope
    body = render(rule, base, [_row(rule, f) for f in fates])
    return Answer(status, headers_of(fates, course, status), body)


def _row(rule: Rule, fate: Fate) -> Row:
    if fate.code is None:
        result = fate.result
        if result is None:
            new = fate.outcome is Outcome.NEW
            result = rule.response.accepted_item if new else rule.response.duplicate_result
        return Row(result, fate.is_idempotent, fate.processed_at, None)
    error = ErrorBody(fate.code, fate.message, fate.retryable, fate.retry_after_ms)
    return Row(fate.result, False, None, error)


def report_refusal(run: Run, observer: Observer, status: int) -> None:
    """Report a request that was answered with a problem document of the proxy's own."""
    answer = Answer(status, (), b"")
    observer.batch(_report(run, run.decided(), answer, passed=False))


def _report(run: Run, fates: list[Fate], answer: Answer, *, passed: bool) -> BatchReport:
    failures = sum(not f.succeeded for f in fates)
    if passed:
        result = "passed"
    elif not failures:
        result = "success"
    else:
        result = "failed" if failures == len(fates) else "partial"
    return BatchReport(
        rule=run.rule.name,
        mode="enforce",
        request_id=run.exchange.request_id,
        trace_id=run.exchange.trace_id,
        result=result,
        status=answer.status,
        outcomes=Counter(str(f.outcome) for f in fates),
        seconds=run.clock() - run.began,
        upstream_seconds=run.upstream_watch.seconds,
        waiting_seconds=run.waiting_watch.seconds,
        upstream_calls=run.upstream_calls,
        deliveries=tuple(str(d) for d in run.course.deliveries),
    )
