"""What became of one upstream call, and what follows from it. Law: tables; a missing row is an
error, and a test looks for one.

An upstream call ends as a ``Delivery``: the service's verdict where a complete response came, or
the fault where none did. ``AFTERMATH`` says how the claims of its items settle and what the
items answer; an accepted or rejected delivery is decided item by item instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proxy.core.fate import Code
from proxy.core.upstream import Fault
from rules.model import Verdict


class Delivery(StrEnum):
    """The label of ``idemproxy_upstream_duration_seconds``."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    NEVER_SENT = "never_sent"
    UNKNOWN = "unknown"


OF_VERDICT: Final[dict[Verdict, Delivery]] = {
    Verdict.ACCEPTED: Delivery.ACCEPTED,
    Verdict.DUPLICATE: Delivery.REJECTED,
    Verdict.REJECTED: Delivery.REJECTED,
    Verdict.UNAVAILABLE: Delivery.UNAVAILABLE,
    Verdict.REFUSED: Delivery.REFUSED,
    Verdict.UNKNOWN: Delivery.UNKNOWN,
}

OF_FAULT: Final[dict[Fault, Delivery]] = {
    Fault.NEVER_SENT: Delivery.NEVER_SENT,
    Fault.UNKNOWN: Delivery.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Aftermath:
    """``release`` False: the claims are marked in doubt, for the call may have had an effect.
    ``ends``: the service is not to be asked again for this request's isolation."""

    release: bool
    code: Code
    message: str
    ends: bool


AFTERMATH: Final[dict[Delivery, Aftermath]] = {
    Delivery.UNAVAILABLE: Aftermath(
        release=True,
        code=Code.UPSTREAM_UNAVAILABLE,
        message="the service is unavailable and did nothing",
        ends=True,
    ),
    Delivery.REFUSED: Aftermath(
        release=True,
        code=Code.UPSTREAM_REFUSED,
        message="the service refused the request as a whole",
        ends=True,
    ),
    Delivery.NEVER_SENT: Aftermath(
        release=True,
        code=Code.UPSTREAM_UNAVAILABLE,
        message="the service could not be reached; nothing was sent",
        ends=True,
    ),
    Delivery.UNKNOWN: Aftermath(
        release=False,
        code=Code.OUTCOME_UNKNOWN,
        message="the service was called and its answer is not known",
        ends=False,
    ),
}
