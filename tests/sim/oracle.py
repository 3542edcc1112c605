"""Judges a run against the ledger: the promises, as far as one can see them from outside.

Law: it knows the truth (the ledger, each record as it changes, every answer) and takes no part.
The invariants bear the names that they have in ``tests/model/protocol.tla``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.fate import Code
from proxy.core.keys import KeyMaker
from proxy.core.record import Done, Held, Record
from tests.sim.scenario import Scenario
from tests.sim.store import SimStore, is_held_by
from tests.sim.upstream import Name, SimService

NOT_SAID: Final = frozenset({Code.OUTCOME_UNKNOWN})
"""Codes that do not say that the item had no effect in this request."""


class ViolationError(AssertionError):
    """A promise is broken: the first word says which."""

    @property
    def promise(self) -> str:
        return str(self).partition(":")[0]


@dataclass(frozen=True, slots=True)
class Told:
    """What one answer told of one item."""

    attempt: int
    name: Name
    value: str
    code: str | None
    retryable: bool
    result: bytes
    """As it stands in the answer, with the rule's fields."""
    bare: bytes
    """Without the rule's fields."""
    is_idempotent: bool
    processed_at: str | None


class Oracle:
    """``trouble``: attempts of which the store did not answer every call in whole."""

    def __init__(self, scenario: Scenario, store: SimStore, service: SimService) -> None:
        self.scenario = scenario
        self.store = store
        self.service = service
        self.told: list[Told] = []
        self.names: dict[bytes, Name] = {}
        self.tokens: defaultdict[int, set[bytes]] = defaultdict(set)
        self.trouble: set[int] = set()
        self.stalled: set[int] = set()
        """Attempts whose process stood still: a lease may have ended unseen."""
        self.asked: dict[int, set[Name]] = {}
        """What each attempt asks for."""
        self.holders: defaultdict[Name, set[bytes]] = defaultdict(set)
        self.unrecorded: set[Name] = set()
        """Forwarded while the store did not answer: it cannot know of them."""
        self.first: dict[bytes, Done] = {}
        self.broken: ViolationError | None = None
        """The first violation, wherever it was raised."""
        self._keys = KeyMaker("idem", None)
        self._key_of: dict[Name, bytes] = {}

    def key_of(self, name: Name) -> bytes:
        """The store key of a tenant's key."""
        key = self._key_of.get(name)
        if key is None:
            rule = self.scenario.rule
            key = self._keys.store_key(rule.name, rule.generation, (name[0],), (name[1],))
            self._key_of[name] = key
            self.names[key] = name
        return key

    def kept(self, name: Name) -> bool:
        """The store kept all that it was told of this key, and was told all."""
        return self.key_of(name) not in self.store.lost and name not in self.unrecorded

    # ---- while it runs -------------------------------------------------------------------------

    def forwards(self, attempt: int, tenant: str, items: Sequence[Any]) -> None:
        """A call is about to leave: its items are held by its own request, or the store failed."""
        now = self.store.now_ms()
        for item in items:
            name = (tenant, item["key"])
            record = self.store.peek(self.key_of(name))
            blind = attempt in self.trouble and self.scenario.rule.fail_open
            if blind and not self.scenario.detects:
                self.unrecorded.add(name)  # what the rule's owner asked for
                continue
            if is_held_by(record, self.tokens[attempt], now):
                if self.service.on_its_way[name] and not self.scenario.detects:
                    self._must(not self.kept(name), "AtMostOneEffect", f"{name} is on its way")
                if isinstance(record, Held) and record.barrier and self.kept(name):
                    self._must(record.sent, "Barrier", f"{name} was forwarded and not announced")
                continue
            if attempt in self.stalled and attempt not in self.trouble:
                continue
            if isinstance(record, Done) and self.tokens[attempt] & self.holders[name]:
                # committed by an earlier owner while this one's rejected call is taken apart
                known = self.scenario.detects or not self.kept(name)
                self._must(known, "OneLiveOwner", f"{attempt} forwards {name}")
                continue
            known = attempt in self.trouble or not self.kept(name)
            self._must(known, "OneLiveOwner", f"attempt {attempt} forwards {name} over {record}")
            self.unrecorded.add(name)

    def changes(
        self, key: bytes, before: Record | None, after: Record | None, token: bytes
    ) -> None:
        """A record changed in the store."""
        del token
        name = self.names.get(key)
        if name is None:
            return
        if isinstance(after, Held):
            self.holders[name].add(after.token)
        if isinstance(after, Done):
            self._must(
                bool(self.service.ledger.get(name)), "SuccessMeansEffect", f"{name}: {after}"
            )
        if not self.kept(name):
            return
        if after is None:
            self._must(
                not self.service.ledger.get(name) and not self.service.on_its_way[name],
                "AbsentMeansNothing",
                f"{name} from {before}",
            )
        first = self.first.get(key)
        if first is not None:
            self._must(isinstance(after, Done), "DoneIsFinal", f"{name} became {after}")
        if isinstance(after, Done):
            self._stays(name, first, after)
            self.first[key] = after

    def _stays(self, name: Name, first: Done | None, after: Done) -> None:
        if first is None:
            return
        same = first.processed_at == after.processed_at
        if not first.template:
            same = same and first.result == after.result and not after.template
        self._must(same, "FirstAnswerStays", f"{name}: {first} became {after}")

    def hears(self, told: Sequence[Told]) -> None:
        """A client got an answer."""
        self.told += told
        for one in told:
            if one.code is None:
                self._success(one)
            else:
                self._must(b'"id":' not in one.bare, "NoLeak", f"an error with a result: {one}")

    def _success(self, one: Told) -> None:
        truth = self.service.ledger.get(one.name)
        self._must(bool(truth), "SuccessMeansEffect", f"{one}")
        if one.attempt not in self.trouble and self.kept(one.name):
            record = self.store.peek(self.key_of(one.name))
            self._must(isinstance(record, Done), "SuccessIsRecorded", f"{one} over {record}")
        if truth and one.bare != b"{}":
            ours = any(one.bare.startswith(e.raw[:-1]) for e in truth)
            self._must(ours, "Exactness", f"{one} but the service said {truth}")
        elif one.bare == b"{}":
            # A template: where no lookup could tell more, or it failed.
            rule = self.scenario.rule
            blank = rule.upstream.lookup is None or not self.scenario.calm
            self._must(blank, "Exactness", f"a template though nothing failed: {one}")
        if not one.is_idempotent:
            own = any(e.attempt == one.attempt and e.value == one.value for e in truth or ())
            self._must(own, "NewMeansOwn", f"{one} but the service did {truth}")

    # ---- afterwards ----------------------------------------------------------------------------

    def final(self) -> None:
        """All is quiet, and every process that lives has written what it had to."""
        for name, effects in self.service.ledger.items():
            if self.scenario.detects or self.kept(name):
                self._must(len(effects) <= 1, "AtMostOneEffect", f"{name}: {effects}")
            record = self.store.peek(self.key_of(name))
            if self.kept(name):
                self._must(record is not None, "AbsentMeansNothing", f"{name} is forgotten")
        answers: defaultdict[Name, list[Told]] = defaultdict(list)
        for one in self.told:
            answers[one.name].append(one)
            if one.code is not None and one.code not in NOT_SAID:
                effects = self.service.ledger.get(one.name, [])
                did = [e for e in effects if (e.attempt, e.value) == (one.attempt, one.value)]
                self._must(not did, "FailureIsTrue", f"{one} but {did}")
        blind = set().union(*(self.asked.get(attempt, set()) for attempt in self.trouble))
        for name, told in answers.items():
            self._one_answer(name, told)
            if self.kept(name) and name not in blind:
                self._one_content(name, told)

    def _one_answer(self, name: Name, told: Sequence[Told]) -> None:
        good = [t for t in told if t.code is None]
        if not good or not self.kept(name):
            return
        record = self.store.peek(self.key_of(name))
        recorded = [t for t in good if t.attempt not in self.trouble]
        if recorded:
            self._must(isinstance(record, Done), "SuccessIsRecorded", f"{name} is {record}")
        else:
            self._must(record is not None, "SuccessIsRecorded", f"{name} is forgotten")
        times = {t.processed_at for t in recorded}
        self._must(len(times) <= 1, "FirstAnswerStays", f"{name}: {recorded}")
        if isinstance(record, Done) and record.result is None:
            return  # too large to be kept: each answer shows what the service said last
        real = {t.bare for t in recorded if t.bare != b"{}"}
        self._must(len(real) <= 1, "FirstAnswerStays", f"{name}: {recorded}")

    def _one_content(self, name: Name, told: Sequence[Told]) -> None:
        """Whoever asks for other content than was done is told so. What was adopted blindly,
        while the store did not answer, bears no fingerprint."""
        if self.scenario.rule.request.ignore_mismatch:
            return
        done = {e.value for e in self.service.ledger.get(name, [])}
        other = [t for t in told if t.code is None and t.value not in done]
        self._must(not other, "NoOtherContent", f"{other}, but the service did {done}")

    def _must(self, holds: bool, promise: str, what: str) -> None:
        if not holds:
            error = ViolationError(f"{promise}: {what}")
            self.broken = self.broken or error
            raise error
