"""The promises, held against the ledger and every answer. Law: pure; it knows the truth.

The names are those of ``tests/sim/oracle.py`` and of the model, where they have the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.answers import Told
from tests.chaos.ledger import Effect, Name
from tests.chaos.rules import PLAIN

TEMPLATE = b'{"adopted":true}'
NOT_SAID = frozenset({"OUTCOME_UNKNOWN"})
"""Codes that do not say that the item had no effect in this request."""
KNOWN_CODES = frozenset(
    {
        "PAYLOAD_MISMATCH",
        "IN_PROGRESS",
        "OUTCOME_UNKNOWN",
        "UPSTREAM_REJECTED",
        "UPSTREAM_REFUSED",
        "UPSTREAM_UNAVAILABLE",
        "ISOLATION_LIMIT",
        "STORE_UNAVAILABLE",
    }
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """``told``: under fire; ``final``: the two quiet passes afterwards. ``trouble``: by proxy, the
    times during which its store did not answer it. ``lost``: what Redis itself lost."""

    detects: bool
    ledger: Mapping[Name, Sequence[Effect]]
    told: Sequence[Told]
    final: Sequence[Told]
    values: Mapping[Name, Sequence[str]]
    trouble: Sequence[Sequence[tuple[float, float]]] = ()
    lost: frozenset[Name] = frozenset()
    recorded_times: Mapping[Name, frozenset[int]] = field(default_factory=dict)
    """The times of every DONE record that Redis ever had of a key."""

    def in_trouble(self, told: Told) -> bool:
        """The store may have been away while this answer was made."""
        spans = self.trouble[told.proxy] if told.proxy < len(self.trouble) else ()
        return any(start <= told.heard and told.sent <= end for start, end in spans)


@dataclass(slots=True)
class Verdict:
    violations: list[str] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)
    """What would be a violation, had Redis not lost data or been away: counted, not hidden."""
    strict: int = 0
    """Successes that nothing could have excused."""


def check(evidence: Evidence) -> Verdict:
    verdict = Verdict()
    by_name: defaultdict[Name, list[Told]] = defaultdict(list)
    last: defaultdict[Name, list[Told]] = defaultdict(list)
    for one in evidence.told:
        by_name[one.item.name].append(one)
    for one in evidence.final:
        last[one.item.name].append(one)
    for name in evidence.ledger.keys() | by_name.keys() | last.keys():
        _Case(evidence, verdict, name, by_name[name], last[name]).judge()
    return verdict


@dataclass(slots=True)
class _Case:
    """One operation."""

    evidence: Evidence
    verdict: Verdict
    name: Name
    told: list[Told]
    last: list[Told]

    @property
    def effects(self) -> Sequence[Effect]:
        return self.evidence.ledger.get(self.name, ())

    @property
    def is_lost(self) -> bool:
        return self.name in self.evidence.lost

    def judge(self) -> None:
        self._effects()
        for one in (*self.told, *self.last):
            if one.code is None:
                self._success(one)
            else:
                self._failure(one)
        self._same_answers()
        self._final()

    def _must(self, holds: bool, promise: str, what: object, excuse: str = "") -> None:
        if holds:
            return
        if excuse:
            self.verdict.excused[f"{promise}: {excuse}"] += 1
        else:
            self.verdict.violations.append(f"{promise}: {self.name}: {what}")

    @property
    def _excuse(self) -> str:
        return "Redis lost acknowledged data" if self.is_lost else ""

    def _effects(self) -> None:
        excuse = "" if self.evidence.detects else self._excuse
        self._must(len(self.effects) <= 1, "AtMostOneEffect", self._story(), excuse)

    def _success(self, one: Told) -> None:
        self._must(bool(self.effects), "SuccessMeansEffect", one)
        if one.bare == TEMPLATE:
            allowed = self.evidence.detects and self.name.endpoint == PLAIN and one.is_idempotent
            self._must(allowed, "Exactness", f"a template: {one}")
        elif self.effects:
            ours = any(one.bare == effect.raw for effect in self.effects)
            self._must(ours, "Exactness", f"{one} but the service said {self.effects}")
        if not one.is_idempotent:
            own = any((e.attempt, e.value) == (one.attempt, one.item.value) for e in self.effects)
            self._must(own, "NewMeansOwn", f"{one} but the service did {self.effects}")

    def _failure(self, one: Told) -> None:
        self._must(one.code in KNOWN_CODES, "KnownCode", one)
        if one.code not in NOT_SAID:
            did = [e for e in self.effects if (e.attempt, e.value) == (one.attempt, one.item.value)]
            self._must(not did, "FailureIsTrue", f"{one} but {did}")
        if one.code == "UPSTREAM_REJECTED":
            self._must(one.item.is_bad, "RejectionIsTrue", one)
        if one.code == "PAYLOAD_MISMATCH":
            several = len(self.evidence.values.get(self.name, ())) > 1
            self._must(several, "MismatchIsTrue", one)
        if one.code == "OUTCOME_UNKNOWN":
            can_tell = self.evidence.detects or self.name.endpoint != PLAIN
            self._must(one.retryable == can_tell, "UnknownIsRetryable", one)

    def _same_answers(self) -> None:
        """All successes that were recorded, and all in the quiet, are one and the same."""
        good = [one for one in self.told if one.code is None]
        quiet = [one for one in self.last if one.code is None]
        if not quiet:
            return
        first = quiet[0]
        story = [(o.attempt, o.bare, o.processed_at) for o in (*good, *quiet)]
        for one in quiet[1:]:
            same = (one.bare, one.processed_at) == (first.bare, first.processed_at)
            self._must(same, "FirstAnswerStays", f"in the quiet: {story}")
        for one in good:
            same_bytes = one.bare == first.bare or TEMPLATE in (one.bare, first.bare)
            self._must(same_bytes, "FirstAnswerStays", f"results: {story}", self._excuse)
            away = "the store was away" if self.evidence.in_trouble(one) else ""
            same_time = one.processed_at == first.processed_at
            self._must(same_time, "FirstAnswerStays", f"times: {story}", self._excuse or away)
            self.verdict.strict += not (self._excuse or away)
        times = self.evidence.recorded_times.get(self.name, frozenset())
        self._must(len(times) <= 1, "FirstCommitStays", f"records of {times}", self._excuse)

    def _final(self) -> None:
        """What happened is known in the end, and what was told is recorded."""
        if not self.last:
            return
        good = [one for one in self.told if one.code is None]
        done = all(one.code is None for one in self.last)
        can_tell = self.evidence.detects or self.name.endpoint != PLAIN
        if self.effects and can_tell:
            excuse = self._excuse or self._other_content(good)
            self._must(done, "NothingForgotten", f"{self._story()} but {self.last}", excuse)
        elif good:
            away = all(self.evidence.in_trouble(one) for one in good)
            excuse = self._excuse or ("the store was away" if away else "")
            self._must(done, "SuccessIsRecorded", f"{good} but {self.last}", excuse)
        elif self.effects:
            known = all(one.code in {None, "OUTCOME_UNKNOWN"} for one in self.last)
            self._must(known, "NothingForgotten", f"{self._story()} but {self.last}", self._excuse)

    def _other_content(self, good: list[Told]) -> str:
        """While the store was away a rule that is open let two contents of one key compete, and
        the record is of the other one: its retry had a doubt of its own to settle."""
        codes = {one.code for one in self.last if one.code is not None}
        blind = bool(good) and all(self.evidence.in_trouble(one) for one in good)
        if codes == {"PAYLOAD_MISMATCH"} and blind:
            return "two contents of a key while the store was away"
        return ""

    def _story(self) -> str:
        effects = [(e.attempt, e.value, round(e.at, 3)) for e in self.effects]
        told = [
            (
                o.attempt,
                o.proxy,
                round(o.sent, 3),
                round(o.heard, 3),
                o.code or "OK",
                o.is_idempotent,
            )
            for o in self.told
        ]
        return f"effects {effects}, told {told}"
