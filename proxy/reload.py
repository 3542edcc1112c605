"""The rules in force, and how they change while the process runs.

Law: there is always one good set of rules. A new one takes its place whole, or not at all and with
every mistake in the log; whoever began a request keeps the set that it began with.

The content is polled, because neither a Kubernetes ConfigMap's symlink swap nor an editor's rename
tells a watcher of the old file anything. A poll takes a change only when it reads the same bytes
twice, one interval apart: the first half of a file that is being written can be good YAML with
half the rules. SIGHUP is the word of someone who has finished writing, and takes it at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rules.generations import cautions, compare
from rules.load import parse_rules, read_sources
from rules.match import InForce, RuleSet
from rules.mistakes import Mistake, RulesError

_LOG: Final = logging.getLogger(__name__)

ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"


@dataclass(frozen=True, slots=True)
class LastReload:
    """The latest attempt, for the admin port. The first load counts as one."""

    result: str
    at: datetime
    mistakes: tuple[str, ...] = field(default=())


class Reloader:
    """``load`` once, then ``run`` as a task; ``current`` is the set for a request that begins.

    ``check`` says what else is wrong with a set that reads well (the process's settings, say).
    ``on_change`` gets each new set before it is current; ``on_result`` gets ``accepted`` or
    ``refused`` for each attempt after the first load.
    """

    def __init__(
        self,
        path: str,
        *,
        on_change: Callable[[RuleSet], None],
        on_result: Callable[[str], None],
        check: Callable[[RuleSet], Sequence[Mistake]] = lambda _: (),
        interval: float = 1.0,
    ) -> None:
        self.path = path
        self._on_change, self._on_result, self._check = on_change, on_result, check
        self._interval = interval
        self.in_force = InForce()
        self._judged = b""
        self._pending = b""
        self._told = asyncio.Event()
        self.last = LastReload(ACCEPTED, datetime.now(UTC))

    @property
    def current(self) -> RuleSet:
        """The rules in force. ``load`` comes first."""
        return self.in_force.now()

    def load(self) -> RuleSet:
        """Read the rules for the first time. Raises RulesError."""
        sources = read_sources(self.path)
        rules = parse_rules(sources)
        self._demand(self._check(rules))
        self._judged = self._pending = _digest(sources)
        self._take(rules)
        return rules

    def trigger(self) -> None:
        """Look now: the handler of SIGHUP."""
        self._told.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            told = await self._wait()
            try:
                await self.check(at_once=told)
            except Exception:  # noqa: BLE001 -- whatever broke, the old rules stay in force
                _LOG.exception("rules not looked at", extra={"path": self.path})

    async def _wait(self) -> bool:
        try:
            async with asyncio.timeout(self._interval):
                await self._told.wait()
        except TimeoutError:
            return False
        self._told.clear()
        return True

    async def check(self, *, at_once: bool = False) -> str | None:
        """Look once. ``accepted`` or ``refused`` where there was something new to judge."""
        try:
            sources = await asyncio.to_thread(read_sources, self.path)
        except RulesError as error:
            return self._judge(str(error).encode(), error, at_once=at_once)
        digest = _digest(sources)
        if not self._is_due(digest, at_once=at_once):
            return None
        try:
            rules = await asyncio.to_thread(parse_rules, sources)
            self._demand(self._check(rules))
            self._demand(compare(self.current, rules))
        except RulesError as error:
            return self._judge(digest, error, at_once=True)
        for caution in cautions(self.current, rules):
            _LOG.warning("rules: %s", caution, extra={"path": self.path, "always": True})
        self._judged = digest
        self._take(rules)
        names = [rule.name for rule in rules.rules]
        _LOG.info("rules reloaded", extra={"digest": rules.digest, "rules": names})
        return self._tell(LastReload(ACCEPTED, datetime.now(UTC)))

    def _is_due(self, digest: bytes, *, at_once: bool) -> bool:
        stood_still, self._pending = digest == self._pending, digest
        return (digest != self._judged and stood_still) or at_once

    def _judge(self, digest: bytes, error: RulesError, *, at_once: bool) -> str | None:
        """Refuse, once for the same mistakes in the same files."""
        if not self._is_due(digest, at_once=at_once):
            return None
        self._judged = digest
        for mistake in error.mistakes:
            _LOG.error("rules refused: %s", mistake, extra={"path": self.path, "always": True})
        mistakes = tuple(str(mistake) for mistake in error.mistakes)
        return self._tell(LastReload(REFUSED, datetime.now(UTC), mistakes))

    @staticmethod
    def _demand(mistakes: Sequence[Mistake]) -> None:
        if mistakes:
            raise RulesError(mistakes)

    def _take(self, rules: RuleSet) -> None:
        for warning in rules.warnings:
            _LOG.warning("rules: %s", warning, extra={"path": self.path, "always": True})
        self._on_change(rules)
        self.in_force.change(rules)

    def _tell(self, last: LastReload) -> str:
        self.last = last
        self._on_result(last.result)
        return last.result


def _digest(sources: Sequence[tuple[str, str]]) -> bytes:
    whole = hashlib.blake2b(digest_size=16)
    for name, text in sources:
        for part in (name.encode(), text.encode()):
            whole.update(len(part).to_bytes(8, "big"))
            whole.update(part)
    return whole.digest()
