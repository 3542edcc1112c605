"""From a run's fates to its one answer, and its report. Law: no I/O but what the observer does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from proxy.core.answer import Tally, headers_of, own_answer, proxy_headers, status_of, tally
from proxy.core.fate import Fate
from proxy.core.upstream import Headers, Reply
from proxy.exchange import Answer
from proxy.observe import BatchReport, Observer
from proxy.run import Draft, Run
from rules.render import render


def stitch(run: Run) -> tuple[Answer, Callable[[], BatchReport]]:
    """One ordered answer: the service's own where it refused everything, else item by item. Its
    report is made when it is asked for: the answer is waited for."""
    fates = run.decided()
    known, own = run.draft, None
    if known is not None and known.is_of(len(run.course.deliveries), fates):
        counted, answer = known.counted, known.answer
    else:
        counted = tally(fates)
        if counted.failures == counted.items:
            spoken_of = sum(run.fates[index] is not None for index in run.upstream_decided)
            own = own_answer(counted, run.course, spoken_of)
        answer = _stitched(run, fates, counted) if own is None else _handed_on(own, counted)
    ended = run.clock()
    return answer, partial(_report, run, counted, answer.status, ended, passed=own is not None)


def draft(run: Run) -> Answer | None:
    """Make what the answer will be where nothing changes any more; None: that cannot be said yet,
    or was. The service has accepted something, so that the answer is no refusal of its own."""
    course = run.course
    if run.draft is not None or not run.is_decided or course.accepted is None:
        return None
    fates = run.alike or tuple(run.decided())
    counted = tally(fates)
    answer = _stitched(run, fates, counted)
    run.draft = Draft(len(course.deliveries), fates, counted, answer)
    return answer


def _handed_on(own: Reply, counted: Tally) -> Answer:
    return Answer(own.status, _with_proxy_headers(own.headers, counted), own.body)


_REPLACED: Final = frozenset(
    {"cache-control", "idempotent-replayed", "idempotency-items", "content-length"}
)


def _with_proxy_headers(headers: Headers, counted: Tally) -> Headers:
    kept = tuple((n, v) for n, v in headers if n.lower() not in _REPLACED)
    return kept + proxy_headers(counted)


def _stitched(run: Run, fates: Sequence[Fate], counted: Tally) -> Answer:
    rule, course = run.rule, run.course
    status = status_of(fates, course, rule.response.partial_status)
    base, array = rule.response.envelope, None
    if course.accepted is not None:
        base, array = course.accepted.body, course.array
    body = render(rule, base, fates, array)
    return Answer(status, headers_of(fates, counted, course, status), body)


def report_refusal(run: Run, observer: Observer, status: int) -> None:
    """Report a request that was answered with a problem document of the proxy's own."""
    observer.batch(_report(run, tally(run.decided()), status, run.clock(), passed=False))


def _report(run: Run, counted: Tally, status: int, ended: float, *, passed: bool) -> BatchReport:
    if passed:
        result = "passed"
    elif not counted.failures:
        result = "success"
    else:
        result = "failed" if counted.failures == counted.items else "partial"
    return BatchReport(
        rule=run.rule.name,
        mode="enforce",
        request_id=run.exchange.request_id,
        trace_id=run.exchange.trace_id,
        result=result,
        status=status,
        outcomes={str(o): n for o, n in counted.outcomes.items()},
        seconds=ended - run.began,
        upstream_seconds=run.upstream_watch.seconds,
        waiting_seconds=run.waiting_watch.seconds,
        upstream_calls=run.upstream_calls,
        deliveries=tuple(str(d) for d in run.course.deliveries),
    )
