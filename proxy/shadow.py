"""Shadow mode: watch what goes by, record what succeeded, count what enforcing would have done.

Law: nothing here touches the client. It is given copies after the fact, claims nothing, calls
nothing upstream, and an error or an outage ends in a log line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from proxy.core.delivery import OF_VERDICT, Delivery
from proxy.core.fate import Outcome
from proxy.core.keys import KeyMaker
from proxy.core.plan import Plan
from proxy.core.record import TOKEN_BYTES, Commit, Done, Doubt, Record
from proxy.errors import StoreUnavailable
from proxy.observe import Observer
from proxy.preparing import prepare, terms_of
from proxy.randomness import random_bytes
from proxy.store.base import Store
from rules.model import Align, Batch, Rule, Verdict
from rules.request import read_batch
from rules.response import Response, is_duplicate, is_failed, results, verdict

log = logging.getLogger("proxy.shadow")


class Shadow:
    """Observes exchanges of rules in shadow mode."""

    def __init__(
        self, store: Store, keys: KeyMaker, observer: Observer, *, now_ms: Callable[[], int]
    ) -> None:
        self._store = store
        self._keys = keys
        self._observer = observer
        self._now_ms = now_ms

    async def observe(
        self,
        rule: Rule,
        scope: tuple[str, ...],
        request_id: str,
        body: bytes,
        status: int,
        response_body: bytes,
    ) -> None:
        """One exchange that went by. ``body`` and ``response_body`` are decoded, and whole."""
        batch = read_batch(rule, body)
        if not isinstance(batch, Batch):
            self._observer.shadow(rule.name, "unreadable")
            return
        try:
            await self._observe(rule, scope, batch, Response(status, response_body))
        except StoreUnavailable:
            log.warning(
                "request %s: shadow could not read or record, store unavailable", request_id
            )

    async def _observe(
        self, rule: Rule, scope: tuple[str, ...], batch: Batch, response: Response
    ) -> None:
        prepared = prepare(rule, batch, scope, self._keys)
        plan, prints = prepared.plan, prepared.fingerprints
        store_keys = {i: prepared.store_keys[i] or b"" for i in plan.firsts}
        read = await self._store.read(list(store_keys.values()))
        records = dict(zip(plan.firsts, read, strict=True))
        fresh = self._count(rule, plan, records, prints)
        said = verdict(rule, response)
        self._count_calls(rule, plan, fresh, said)
        if OF_VERDICT[said] is Delivery.ACCEPTED:
            await self._record(rule, batch, response, store_keys, prints)

    def _count(
        self,
        rule: Rule,
        plan: Plan,
        records: dict[int, Record | StoreUnavailable | None],
        prints: Sequence[bytes | None],
    ) -> int:
        """Count what each item would have been; how many would have been forwarded."""
        would = {i: _would(records[i], prints[i]) for i in plan.firsts}
        for outcome in would.values():
            self._observer.shadow(rule.name, outcome)
        counts = (
            (Outcome.ECHOED, len(plan.echoes)),
            (Outcome.MISMATCH, len(plan.mismatches)),
            (Outcome.INVALID, len(plan.invalid)),
            (Outcome.NEW, len(plan.unkeyed)),
        )
        for outcome, items in counts:
            if items:
                self._observer.shadow(rule.name, outcome, items)
        return sum(o is Outcome.NEW for o in would.values()) + len(plan.unkeyed)

    def _count_calls(self, rule: Rule, plan: Plan, fresh: int, said: Verdict) -> None:
        """Calls to the service, and retries of its clients, that would not have been needed."""
        if fresh == 0 and plan.firsts:
            self._observer.shadow(rule.name, "call_saved")
        if OF_VERDICT[said] is Delivery.REJECTED:
            self._observer.shadow(rule.name, "isolated")
            if fresh < len(plan.firsts):
                self._observer.shadow(rule.name, "retry_saved")

    async def _record(
        self,
        rule: Rule,
        batch: Batch,
        response: Response,
        store_keys: dict[int, bytes],
        prints: Sequence[bytes | None],
    ) -> None:
        """Commit what the service took, so that enforcing finds the store warm."""
        now = self._now_ms()
        raws: Sequence[bytes | None] | None
        if rule.response.align is Align.LOOKUP:
            raws = [None] * len(batch)  # recorded without a body: a replay asks for it
        else:
            raws = results(rule, response, batch.keys)
        if raws is None:
            self._observer.shadow(rule.name, Outcome.UNKNOWN, len(batch))
            return
        steps: dict[bytes, Commit] = {}
        for index, key in store_keys.items():
            raw = raws[index]
            if raw is None:
                steps[key] = Commit(prints[index], now, None, template=True)
            elif is_duplicate(rule, raw):
                steps[key] = Commit(None, now, _fitting(rule, raw))
            elif not is_failed(rule, raw):
                steps[key] = Commit(prints[index], now, _fitting(rule, raw))
        if steps:
            token = random_bytes(TOKEN_BYTES)
            await self._store.settle(list(steps), list(steps.values()), token, terms_of(rule))


def _fitting(rule: Rule, raw: bytes) -> bytes | None:
    return raw if len(raw) <= rule.max_result_bytes else None


def _would(record: Record | StoreUnavailable | None, fingerprint: bytes | None) -> Outcome:
    """What enforcing would have answered for an item with this record."""
    if isinstance(record, StoreUnavailable):
        raise record
    if record is None:
        return Outcome.NEW
    stored = getattr(record, "fingerprint", None)
    if stored is not None and fingerprint is not None and stored != fingerprint:
        return Outcome.MISMATCH
    if isinstance(record, Done):
        return Outcome.REPLAYED
    return Outcome.UNKNOWN if isinstance(record, Doubt) else Outcome.IN_PROGRESS
