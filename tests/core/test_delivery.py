"""The delivery table has a row for everything that a call can come to."""

from __future__ import annotations

from proxy.core.delivery import AFTERMATH, OF_FAULT, OF_VERDICT, Delivery
from proxy.core.fate import Code
from proxy.core.upstream import Fault
from rules.model import Verdict

BY_ITEM = {Delivery.ACCEPTED, Delivery.REJECTED}
"""Decided item by item, and not by the table."""


def test_no_row_is_missing_and_none_is_idle() -> None:
    assert set(OF_VERDICT) == set(Verdict)
    assert set(OF_FAULT) == set(Fault)
    assert set(OF_VERDICT.values()) | set(OF_FAULT.values()) == set(Delivery)
    assert set(AFTERMATH) == set(Delivery) - BY_ITEM


def test_only_an_unknown_is_never_released_and_only_it_goes_on() -> None:
    kept = {delivery for delivery, after in AFTERMATH.items() if not after.release}
    assert kept == {Delivery.UNKNOWN}
    assert {d for d, after in AFTERMATH.items() if not after.ends} == kept
    assert AFTERMATH[Delivery.UNKNOWN].code is Code.OUTCOME_UNKNOWN
