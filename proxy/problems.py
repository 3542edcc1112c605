"""Errors of the proxy's own as RFC 9457 problem documents. Law: pure; a fixed text for each code.

``type`` is ``urn:idemproxy:problem:CODE``. Codes are stable: clients may branch on them.
``PROBLEMS`` is the table of all of them; a code that is not in it cannot be raised onto the wire.
"""

from __future__ import annotations

from typing import Final

import orjson

from proxy.core.upstream import Headers
from proxy.errors import Problem

TYPE: Final = "urn:idemproxy:problem:"
MEDIA_TYPE: Final = "application/problem+json"

PROBLEMS: Final[dict[str, str]] = {
    "bad-request": "The request is not valid HTTP/1.1",
    "bad-target": "The request target cannot be used",
    "bad-connection-header": "Connection may not list this field",
    "bad-version": "Only HTTP/1.0 and HTTP/1.1 are spoken here",
    "header-too-large": "The request's header section is too large",
    "header-timeout": "The request's header section came too slowly",
    "body-timeout": "The request's body came too slowly",
    "bad-body": "The request's body is cut short or badly framed",
    "body-too-large": "The request's body is too large",
    "too-many-items": "The batch has too many items",
    "unreadable": "The batch cannot be read",
    "unsupported-coding": "The request's content coding is not supported",
    "duplicate-member": "The batch names a member twice",
    "repeated-scope": "A scope value is given twice",
    "expectation-failed": "The expectation is not supported",
    "upgrade-on-batch": "A batch route cannot be upgraded",
    "method-not-supported": "The method is not supported by this gateway",
    "overloaded": "The proxy has too much to do",
    "store-unavailable": "The idempotency store does not answer",
    "upstream-unreachable": "The service cannot be reached",
    "upstream-failed": "The service closed the connection or gave no valid answer",
    "upstream-timeout": "The service did not answer in time",
    "internal": "The proxy failed",
}


def render(problem: Problem, request_id: str = "") -> tuple[int, Headers, bytes]:
    """Status, headers and body. The detail says what this time was wrong, never what was sent."""
    document: dict[str, str | int] = {
        "type": TYPE + problem.code,
        "title": PROBLEMS[problem.code],
        "status": problem.status,
        "detail": problem.detail,
    }
    if request_id:
        document["requestId"] = request_id
    headers = (("Content-Type", MEDIA_TYPE), ("Cache-Control", "no-store"), *problem.headers)
    return problem.status, headers, orjson.dumps(document)


def internal() -> Problem:
    """A bug of ours: nothing of it is shown."""
    return Problem(500, "internal", "see the log for the request id")


def overloaded(detail: str, retry_after: int = 1) -> Problem:
    """Shedding load: the request was not looked at, so it may be sent again."""
    return Problem(503, "overloaded", detail, (("Retry-After", str(retry_after)),))
