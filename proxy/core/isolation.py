"""Find which items made the service reject a batch, so that the others can go through.

Law: pure and sans-I/O. It says what to do next (``next``), is told what came of it (``told`` and
``looked_up``), and ends. It is entered only with definite rejections, which had no effect; after
an unknown it goes on with the other parts, whose rejection stands.

In order: the offenders that the response names; one lookup for a whole sub-batch that was
rejected as duplicate; bisection. For k offenders among n items, bisection alone makes at most
2k*log2(N/k) + 2k + 1 calls, N the next power of two: each of the k leaf paths rejects at most
log2(N/k) + 1 times below the levels that they share, and each rejection costs two calls.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rules.model import Verdict

NAMED_ONE_LIMIT: Final = 4
"""Rounds that named one offender each, after which bisection is cheaper."""


@dataclass(frozen=True, slots=True)
class Send:
    """Forward these items as one sub-batch. ``again``: part of a batch that was rejected."""

    items: tuple[int, ...]
    again: bool


@dataclass(frozen=True, slots=True)
class AskAll:
    """Ask the service in one call which of these it has."""

    items: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ruling:
    """Offenders found: those that the service has already, and those that it will not take."""

    duplicates: tuple[int, ...] = ()
    rejected: Mapping[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Part:
    items: tuple[int, ...]
    again: bool = True
    bad: bool = False
    """Known to contain an offender, without having been sent by itself."""
    named_one: int = 0
    asked: bool = False
    twin: _Part | None = None
    """The other half, which must hold the offender when this one is accepted."""


class Isolation:
    """One sub-batch from its first forward to its last item's ruling."""

    def __init__(self, items: Sequence[int], *, can_ask_all: bool = False) -> None:
        self._todo: list[_Part] = [_Part(tuple(items), again=False)]
        self._can_ask_all = can_ask_all
        self._current: _Part | None = None
        self._to_ask: _Part | None = None

    def next(self) -> Send | AskAll | None:
        """The next step; None when nothing is left."""
        if self._to_ask is not None:
            return AskAll(self._to_ask.items)
        while self._todo:
            part = self._todo.pop()
            if not part.items:
                continue
            if part.bad and len(part.items) > 1:
                self._split(part)
                continue
            self._current = part
            return Send(part.items, part.again)
        return None

    def narrow(self, kept: Collection[int]) -> tuple[int, ...]:
        """Only ``kept`` of the step's items are sent after all (the others' claims were lost)."""
        part = self._sent()
        items = tuple(i for i in part.items if i in kept)
        if len(items) < len(part.items):
            part.twin = None  # the offender may be among those that are not sent
        part.items = items
        return items

    def rejected(
        self, verdict: Verdict, message: str, offenders: Mapping[int, str] | None
    ) -> Ruling:
        """The sent part was rejected; ``offenders`` maps items to messages, where it named any."""
        part, self._current = self._sent(), None
        if len(part.items) == 1:
            (item,) = part.items
            return _ruling(verdict, {item: (offenders or {}).get(item, message)})
        named = {i: m for i, m in (offenders or {}).items() if i in part.items}
        if named and (len(named) > 1 or part.named_one < NAMED_ONE_LIMIT):
            rest = tuple(i for i in part.items if i not in named)
            count = part.named_one + (len(named) == 1)
            self._todo.append(_Part(rest, named_one=count, asked=part.asked))
            return _ruling(verdict, named)
        if verdict is Verdict.DUPLICATE and self._can_ask_all and not part.asked:
            self._to_ask = part
            return Ruling()
        self._split(part)
        return Ruling()

    def accepted(self) -> None:
        """The sent part went through."""
        part, self._current = self._sent(), None
        if part.twin is not None:
            part.twin.bad = True

    def undecided(self) -> None:
        """Nobody knows what became of the sent part, or none of it was sent."""
        self._current = None

    def looked_up(self, found: Collection[int]) -> Ruling:
        """What the service said that it has of the items asked for; empty where it said nothing."""
        part, self._to_ask = self._to_ask, None
        if part is None:
            raise AssertionError("looked_up without AskAll")
        duplicates = tuple(i for i in part.items if i in found)
        rest = tuple(i for i in part.items if i not in found)
        # Where nothing was found the rejected part is still whole: sending it again is no use.
        self._todo.append(_Part(rest, bad=not duplicates, asked=True, named_one=part.named_one))
        return Ruling(duplicates)

    def abandon(self) -> tuple[int, ...]:
        """Give up: every item without a ruling, in order. Nothing follows."""
        parts = [p for p in (self._current, self._to_ask, *self._todo) if p is not None]
        self._current, self._to_ask, self._todo = None, None, []
        return tuple(sorted(i for p in parts for i in p.items))

    def _sent(self) -> _Part:
        if self._current is None:
            raise AssertionError("nothing is under way")
        return self._current

    def _split(self, part: _Part) -> None:
        half = (len(part.items) + 1) // 2
        right = _Part(part.items[half:], asked=part.asked, named_one=part.named_one)
        left = _Part(part.items[:half], asked=part.asked, named_one=part.named_one, twin=right)
        self._todo += [right, left]


def _ruling(verdict: Verdict, named: Mapping[int, str]) -> Ruling:
    if verdict is Verdict.DUPLICATE:
        return Ruling(duplicates=tuple(named))
    return Ruling(rejected=dict(named))
