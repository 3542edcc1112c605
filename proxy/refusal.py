"""A request that was turned away: its log line, and the problem document that its client gets."""

from __future__ import annotations

import logging
from typing import Final

from proxy.core.upstream import Headers
from proxy.errors import Problem
from proxy.headers import VIA, identified
from proxy.problems import render

_LOG: Final = logging.getLogger(__name__)


def refusal(problem: Problem, request_id: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body; ``request_id`` is empty where the request has none yet."""
    _LOG.log(
        logging.WARNING if problem.status >= 500 else logging.INFO,
        "answered with a problem",
        extra={"code": problem.code, "status": problem.status, "request_id": request_id},
    )
    status, headers, document = render(problem, request_id)
    return status, identified((*headers, VIA), request_id) if request_id else headers, document
