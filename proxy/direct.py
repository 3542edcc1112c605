"""Batches answered at once: whole in memory, plain to judge, with no task and no request object
of the library's around the driver's work. Law: whatever is not plain is handed back untouched.

The library's machinery is for requests whose body is still to come: 23 of the 33 microseconds that
it takes to read and answer a small one. What is taken here is what needs none of it: HTTP/1.1, a
body with a length that has arrived, no Expect, no coding, a rule without ``where`` and without JWT
that enforces. The rest, and all that is refused by its head or body, goes the long way
(``DataApp``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from aiohttp.http import HttpVersion11

from proxy.arrival import Head
from proxy.batching import enforced, exchange_of, is_plain, plain_batch, scope_headers
from proxy.budget import Budget
from proxy.edge.head import head_bytes
from proxy.edge.line import READ_BUFFER, ClientLine, Turn, target_of
from proxy.edge.parsed import RequestHead
from proxy.errors import Problem
from proxy.exchange import Answer, Exchange
from proxy.headers import VIA, identified
from proxy.inbound import arrived
from proxy.lifecycle import Lifecycle
from proxy.observe import Observer
from proxy.problems import internal
from proxy.refusal import refusal
from proxy.remembered import RememberedHead, is_small
from proxy.settings import Settings
from proxy.underway import Asker
from rules.match import RuleSet
from rules.model import Rule


class Work(Protocol):
    """What the driver has begun: ``proxy.flow.Underway``."""

    def abandon(self) -> None: ...


class Beginner(Protocol):
    """``proxy.flow.Flow``, as it is used here."""

    def expect(self) -> None: ...

    def begin(self, exchange: Exchange, asker: Asker) -> Work: ...


class Direct:
    """Judges and answers plain batches for one data listener."""

    def __init__(
        self,
        settings: Settings,
        rules: Callable[[], RuleSet],
        *,
        flow: Beginner,
        budget: Budget,
        lifecycle: Lifecycle,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._flow = flow
        self._budget = budget
        self._lifecycle = lifecycle
        self._observer = observer
        self._fitting: RequestHead | None = None
        self._known: tuple[RuleSet | None, frozenset[str], frozenset[str]]
        self._known = (None, frozenset(), frozenset())

    def wants(self, line: ClientLine, message: RequestHead, *, ended: bool) -> bool:
        """Whether a request with this head may be one. ``ended``: its body is all there."""
        if message.version != HttpVersion11 or message.should_close or message.upgrade:
            return False
        if not self._is_known(line, message):
            if message.chunked or message.method == "HEAD":
                return False
            if self._plain(message.method, message.path.partition("?")[0]) is None:
                return False
        return ended or _length(message) <= READ_BUFFER

    def _is_known(self, line: ClientLine, message: RequestHead) -> bool:
        """Whether the connection's last head was this one, and the rules are what they were; found
        out once for each message."""
        known, rules = line.remembered, self._rules()
        if not isinstance(known, RememberedHead):
            return False
        if self._fitting is not message or known.rules is not rules:
            self._fitting = message if known.fits(message, rules) else None
        return self._fitting is message

    def begin(self, line: ClientLine, message: RequestHead, body: bytes) -> Turn | None:
        """Begin to answer; None: nothing was done, and the long way is to be taken."""
        self._flow.expect()
        exchange = self._exchange(line, message, body)
        return None if exchange is None else self._turn(line, exchange, len(body))

    def begin_again(self, line: ClientLine, body: bytes) -> Turn | None:
        """The same for another body behind the head that the line remembers."""
        known = line.remembered
        if not isinstance(known, RememberedHead) or known.rules is not self._rules():
            return None
        self._flow.expect()
        batch = plain_batch(known.exchange.rule, body)
        return None if batch is None else self._turn(line, known.with_batch(batch), len(body))

    def _turn(self, line: ClientLine, exchange: Exchange, size: int) -> Turn | None:
        if not self._budget.take(size):
            self._budget.give(size)
            return None
        self._lifecycle.enter()
        return _Turn(self, line, exchange, size, self._flow)

    def _exchange(self, line: ClientLine, message: RequestHead, body: bytes) -> Exchange | None:
        """What the driver is to do. None: the long way finds out why not."""
        rules, known = self._rules(), line.remembered
        if self._is_known(line, message) and isinstance(known, RememberedHead):
            batch = plain_batch(known.exchange.rule, body)
            return None if batch is None else known.with_batch(batch)
        line.remembered = None
        peer = line.peername
        address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        target = target_of(message)
        head = Head(message.method, target, (1, 1), message.raw_headers, address)
        try:
            arrival = arrived(head, self._settings, self._looked_up()[2])
        except Problem:
            return None
        found = self._plain(arrival.method, arrival.raw_path)  # the rules may be new since
        applied = None if found is None else enforced(arrival, *found)
        batch = None if applied is None else plain_batch(applied.rule, body)
        if applied is None or batch is None:
            return None
        exchange = exchange_of(arrival, applied, batch)
        if is_small(message):
            line.remembered = RememberedHead(message, rules, arrival, exchange)
        return exchange

    def slow_reader(self) -> None:
        self._observer.limit("slow_reader")

    @property
    def closes(self) -> bool:
        """Whether connections end with their next answer."""
        return self._lifecycle.draining

    def answered(self, request_id: str, answer: Answer | BaseException) -> tuple[bytes, bool]:
        """The bytes that the client gets, and whether its connection ends with them."""
        close = self.closes
        if isinstance(answer, BaseException):
            problem = answer if isinstance(answer, Problem) else internal()
            status, headers, body = refusal(problem, request_id)
            close = close or problem is not answer
        else:
            status, body = answer.status, answer.body
            headers = identified((*answer.headers, VIA), request_id)
        return head_bytes(status, headers, length=len(body), close=close) + body, close

    def left(self, size: int) -> None:
        """A batch of ``size`` bytes is under way no more, as far as its client is concerned."""
        self._budget.give(size)
        self._lifecycle.leave()

    def _plain(self, method: str, raw_path: str) -> tuple[Rule, Mapping[str, str]] | None:
        """The rule that handles this, with what its path names, where it is a plain one."""
        candidates = self._rules().candidates(method, raw_path)
        if not candidates or candidates[0][0].name not in self._looked_up()[1]:
            return None
        return candidates[0]

    def _looked_up(self) -> tuple[RuleSet | None, frozenset[str], frozenset[str]]:
        """The rules' names that are plain, and their scope headers, once for each set of rules."""
        rules = self._rules()
        if self._known[0] is not rules:
            plain = frozenset(rule.name for rule in rules.rules if is_plain(rule))
            self._known = (rules, plain, scope_headers(rules))
        return self._known


class _Turn:
    """One batch on one connection."""

    __slots__ = ("_direct", "_foreseen", "_line", "_request_id", "_size", "_work")

    def __init__(
        self, direct: Direct, line: ClientLine, exchange: Exchange, size: int, flow: Beginner
    ) -> None:
        self._direct = direct
        self._line = line
        self._size = size
        self._request_id = exchange.request_id
        self._foreseen: tuple[Answer, bytes, bool] | None = None
        self._work = flow.begin(exchange, self)

    def abandon(self) -> None:
        """The client is gone; the driver sees its work through."""
        self._work.abandon()
        self._direct.left(self._size)

    def foresee(self, answer: Answer) -> None:
        self._foreseen = (answer, *self._direct.answered(self._request_id, answer))

    def told(self, answer: Answer | BaseException) -> None:
        direct, foreseen = self._direct, self._foreseen
        direct.left(self._size)
        if foreseen is not None and foreseen[0] is answer and foreseen[2] == direct.closes:
            _, data, close = foreseen
        else:
            data, close = direct.answered(self._request_id, answer)
        self._line.answer(data, close=close)


def _length(message: RequestHead) -> int:
    """Bytes of the body, which the parser has checked to be digits."""
    return int(message.headers.get("Content-Length", "0"))
