"""One request's state while it is worked on. Law: state and small questions to it; no I/O.

``Run`` belongs to one request; ``Round`` is what one claim round of it won under one token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from proxy.core.answer import Course, Tally
from proxy.core.fate import Code, Fate, echo_of, failed
from proxy.core.fates import AlikeFates
from proxy.core.record import Terms, Won
from proxy.exchange import Answer, Exchange


class Round:
    """What one claim round won. ``recorded`` False: the store did not answer and the rule fails
    open, so nothing is known to be held. ``held_until``: monotonic seconds, the lease's end as
    seen from before the claim was sent, which is never later than the store's."""

    __slots__ = (
        "bodyless",
        "held_until",
        "open",
        "recorded",
        "suspects",
        "token",
        "unanswered",
        "won",
    )

    def __init__(self, token: bytes, held_until: float, *, recorded: bool = True) -> None:
        self.token = token
        self.held_until = held_until
        self.recorded = recorded
        self.won: dict[int, Won] = {}
        self.suspects = 0
        """How many of them are taken over from an owner whose call may have had an effect."""
        self.open: set[int] = set()
        """Item indexes that are won and not settled yet."""
        self.unanswered: list[int] = []
        """What the store said nothing of."""
        self.bodyless: list[int] = []
        """Replays whose record has no body."""


class Stopwatch:
    """Seconds during which at least one of several things was under way."""

    __slots__ = ("_since", "_under_way", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._under_way = 0
        self._since = 0.0

    def start(self, now: float) -> None:
        if self._under_way == 0:
            self._since = now
        self._under_way += 1

    def stop(self, now: float) -> None:
        self._under_way -= 1
        if self._under_way == 0:
            self.seconds += now - self._since


class Draft:
    """The answer as ``fates`` and the first ``calls`` upstream calls make it, before it was sure
    that they stay."""

    __slots__ = ("answer", "calls", "counted", "fates")

    def __init__(self, calls: int, fates: Sequence[Fate], counted: Tally, answer: Answer) -> None:
        self.calls = calls
        self.fates = fates
        self.counted = counted
        self.answer = answer

    def is_of(self, calls: int, fates: Sequence[Fate]) -> bool:
        """Whether nothing has changed since."""
        if calls != self.calls:
            return False
        known = self.fates
        return fates is known or (isinstance(known, tuple) and known == tuple(fates))


class Run:
    """``in_flight`` and ``waiting`` say what an undecided item is at, for an answer that cannot
    wait any longer. ``loop``: asked for it, Python 3.11 asks the kernel each time which process
    this is. ``clock``: monotonic seconds, finely: what durations are measured with; deadlines are
    reckoned in loop time, which some loops tell in whole milliseconds.

    No dataclass: one's ``__init__`` is interpreted, in the compiled build too.
    """

    __slots__ = (
        "_fates",
        "alike",
        "began",
        "clock",
        "course",
        "draft",
        "echoes",
        "exchange",
        "fingerprints",
        "in_flight",
        "isolation_calls",
        "items",
        "loop",
        "outages",
        "rule",
        "started",
        "store_keys",
        "terms",
        "upstream_calls",
        "upstream_decided",
        "upstream_watch",
        "waiting",
        "waiting_watch",
    )

    def __init__(
        self,
        exchange: Exchange,
        terms: Terms,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self.exchange = exchange
        self.rule = exchange.rule
        self.terms = terms
        self.loop = loop
        self.clock = clock
        self.started = loop.time()
        self.began = clock()
        self.items = items = len(exchange.batch)
        self.store_keys: Sequence[bytes | None] = ()
        self.fingerprints: Sequence[bytes | None] = ()
        self.course = Course()
        self.upstream_decided: set[int] = set()
        self.echoes: Mapping[int, int] = {}
        """Echo index -> its first's index; an echo is whatever its first is."""
        self.in_flight: set[int] = set()
        self.waiting: set[int] = set()
        self.upstream_watch = Stopwatch()
        self.waiting_watch = Stopwatch()
        self.upstream_calls = 0
        self.isolation_calls = 0
        self.outages = 0
        """Store calls of this request that nothing answered."""
        self.draft: Draft | None = None
        self.alike: AlikeFates | None = None
        """All fates at once, as long as nobody looks at one of them."""
        self._fates: list[Fate | None] = [None] * items

    @property
    def fates(self) -> list[Fate | None]:
        """``fates[i]`` is None until item i is decided."""
        if self.alike is not None:
            self._fates[:] = self.alike
            self.alike = None
        return self._fates

    @property
    def is_decided(self) -> bool:
        """Whether every item is."""
        return self.alike is not None or all(self._fates)  # a fate is true

    @property
    def deadline(self) -> float:
        """Monotonic seconds at which the client gets its answer whatever is undecided."""
        return self.started + self.rule.deadline

    @property
    def unknown_is_retryable(self) -> bool:
        upstream = self.rule.upstream
        return upstream.detects_duplicates or upstream.lookup is not None

    def unknown(self, message: str, retry_after_ms: int | None = None) -> Fate:
        return failed(
            Code.OUTCOME_UNKNOWN,
            message,
            retryable=self.unknown_is_retryable,
            retry_after_ms=retry_after_ms if self.unknown_is_retryable else None,
        )

    def decide(self, indexes: Iterable[int], fate: Fate) -> None:
        for index in indexes:
            self.fates[index] = fate

    def decided(self) -> Sequence[Fate]:
        """Every item's fate as of now; what is undecided is told as what it is at."""
        if self.alike is not None:
            return self.alike
        if self.is_decided:
            return self._fates  # type: ignore[return-value]
        return [f if f is not None else self._undecided(i) for i, f in enumerate(self.fates)]

    def _undecided(self, index: int) -> Fate:
        first = self.echoes.get(index)
        if first is not None:
            fate = self.fates[first]
            return echo_of(fate) if fate is not None else self._undecided(first)
        if index in self.in_flight:
            return self.unknown("the request's deadline passed while the service was working on it")
        if index in self.waiting:
            return in_progress(None)
        return failed(
            Code.ISOLATION_LIMIT, "the request's deadline passed before the item was forwarded"
        )


def are_all(indexes: Sequence[int], count: int) -> bool:
    """Whether these are the indexes of all ``count`` items, in order."""
    if isinstance(indexes, range):  # of nearly every batch
        return indexes == range(count)
    return len(indexes) == count and list(indexes) == list(range(count))


def in_progress(left_ms: int | None) -> Fate:
    """Held by another request. Its lease may run for long, but it is mostly done soon."""
    return failed(
        Code.IN_PROGRESS,
        "another request is working on this item",
        retry_after_ms=1000 if left_ms is None else max(1, min(left_ms, 1000)),
    )
