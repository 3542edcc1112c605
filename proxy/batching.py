"""What a rule makes of a request: which rule, whose keys, which mode, and its batch.

Law: decisions in one order, cheapest first; nothing is forwarded here. The order is the
contract's: method and path, ``where``, scope, mode, size, coding, reading. What the rule cannot
use is passed through as the bytes that came, or refused where the rule says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.arrival import Arrival, Inbound
from proxy.edge.coding import TooLarge, Undecodable, decode
from proxy.errors import Problem
from proxy.exchange import Exchange
from proxy.headers import first, values, without
from proxy.jwt import Claims, unverified
from proxy.observe import Observer
from proxy.problems import overloaded
from rules.jsontext import parse
from rules.match import Absent, Repeated, RuleSet, mode_for, scope_values
from rules.model import Batch, Mode, Rule, Unreadable
from rules.pointer import MISSING
from rules.request import read_batch

_OF_THE_OLD_BODY: Final = frozenset(
    {"content-length", "content-encoding", "accept-encoding", "expect"}
)


_LOOKED_AT_CLOSELY: Final = frozenset({"expect", "content-encoding"})


@dataclass(frozen=True, slots=True)
class Applies:
    """The rule that handles a request, with its mode and scope."""

    rule: Rule
    mode: Mode
    scope: tuple[str, ...]


class Batching:
    """Judges requests for one process."""

    def __init__(self, claims: Claims, observer: Observer) -> None:
        self._claims = claims
        self._observer = observer

    async def applies(self, inbound: Inbound, rules: RuleSet) -> Applies | None:
        """The rule that handles this request in shadow or enforce mode; None: pass through."""
        found = await self._first_that_holds(inbound, rules)
        if found is None:
            return None
        rule, params = found
        override = _override(rule, inbound)
        if is_surely_off(rule, override):
            self._observer.passed_through(rule.name, "off")
            return None
        claims = await self._claims_for(rule, inbound)
        scope = scope_values(rule, inbound.headers, inbound.raw_query, params, claims)
        if isinstance(scope, Repeated):
            if rule.mode is Mode.ENFORCE:
                raise Problem(400, "repeated-scope", f"{scope.part} is given more than once")
            scope = Absent(scope.part)
        if isinstance(scope, Absent):
            self._observer.passed_through(rule.name, "no_scope")
            return None
        mode = mode_for(rule, scope, override)
        if mode is Mode.OFF:
            self._observer.passed_through(rule.name, "off")
            return None
        return Applies(rule, mode, scope)

    async def read(self, inbound: Inbound, rule: Rule) -> Batch | None:
        """The request's batch; None: pass through. Raises Problem where the rule refuses."""
        limit = rule.request.max_bytes
        raw = await inbound.body.hold(limit)
        if raw is None and inbound.body.over_budget:
            raise overloaded("too many batch bodies are held at once")
        if raw is None:
            self._observer.limit("body_size")
            raise Problem(413, "body-too-large", f"{rule.name} takes {limit} bytes at most")
        try:
            body = self._decoded(inbound, rule, raw)
        except Undecodable as error:
            self._refuse_or_pass(rule, 415, "unsupported-coding", str(error))
            return None
        batch = read_batch(rule, body)
        if isinstance(batch, Unreadable):
            if batch.reason == "duplicate_member" and not rule.upstream.detects_duplicates:
                # Parsers differ on which of the two wins: a way round the key we looked at.
                raise Problem(400, "duplicate-member", batch.detail)
            self._refuse_or_pass(rule, 400, "unreadable", batch.detail)
            return None
        if not isinstance(batch, Batch):
            self._observer.limit("items")
            most = rule.request.max_items
            raise Problem(413, "too-many-items", f"{rule.name} takes {most} items at most")
        if not len(batch):
            self._observer.passed_through(rule.name, "empty")
            return None
        return batch

    def _decoded(self, inbound: Inbound, rule: Rule, raw: bytes) -> bytes:
        if "content-encoding" not in inbound.names:
            return raw
        codings = values(inbound.headers, "content-encoding")
        if codings == ["identity"]:
            return raw
        if is_signed(rule, inbound):
            raise Undecodable("a signed body must be forwarded in its coding")
        if len(codings) > 1 or "," in codings[0]:
            raise Undecodable("more than one content coding")
        try:
            return decode(codings[0], raw, rule.request.max_bytes)
        except TooLarge as error:
            self._observer.limit(f"decoded_{error.limit}")
            raise Problem(413, "body-too-large", "the body is too large when decoded") from error

    def _refuse_or_pass(self, rule: Rule, status: int, code: str, detail: str) -> None:
        if rule.request.reject_unreadable:
            raise Problem(status, code, detail)
        self._observer.passed_through(rule.name, "unreadable")

    async def _first_that_holds(
        self, inbound: Inbound, rules: RuleSet
    ) -> tuple[Rule, Mapping[str, str]] | None:
        """``where`` needs the body; it is read, once, only where such a rule comes first."""
        candidates = rules.candidates(inbound.method, inbound.raw_path)
        document: Any = None
        read = False
        for rule, params in candidates:
            if rule.match.where is None:
                return rule, params
            if not read:
                document = await self._document(inbound, [rule for rule, _ in candidates])
                read = True
            if rule.match.where.holds(None, document):
                return rule, params
        return None

    async def _document(self, inbound: Inbound, rules: list[Rule]) -> Any:
        """The parsed body, or MISSING: a body that cannot be read satisfies no ``where``. One that
        is too large to be looked at is refused where that could be a way round a rule."""
        limit = max(rule.request.max_bytes for rule in rules)
        raw = await inbound.body.hold(limit)
        if raw is None:
            enforced = [rule for rule in rules if rule.mode is Mode.ENFORCE]
            if enforced and inbound.body.over_budget:
                raise overloaded("too many batch bodies are held at once")
            if any(rule.request.reject_unreadable for rule in enforced):
                self._observer.limit("body_size")
                raise Problem(413, "body-too-large", f"{limit} bytes at most are read here")
            return MISSING
        coding = first(inbound.headers, "content-encoding")
        try:
            return parse(decode(coding, raw, limit) if coding else raw)
        except (ValueError, Undecodable, TooLarge):
            return MISSING

    async def _claims_for(self, rule: Rule, inbound: Inbound) -> Mapping[str, Any] | None:
        parts = [part for part in rule.scope or () if part.kind == "jwt"]
        if not parts:
            return None
        if all(part.unverified for part in parts):
            return unverified(inbound.headers)
        return await self._claims.verified(inbound.headers)


def enforced(arrival: Arrival, rule: Rule, params: Mapping[str, str]) -> Applies | None:
    """How ``rule`` applies to a request that needs nothing more looked at: it has no ``where`` and
    no JWT, and enforces this scope. None: decide by ``Batching``."""
    if arrival.upgrade or not arrival.names.isdisjoint(_LOOKED_AT_CLOSELY):
        return None
    scope = scope_values(rule, arrival.headers, arrival.raw_query, params, None)
    if not isinstance(scope, tuple):
        return None
    if mode_for(rule, scope, _override(rule, arrival)) is not Mode.ENFORCE:
        return None
    return Applies(rule, Mode.ENFORCE, scope)


def plain_batch(rule: Rule, body: bytes) -> Batch | None:
    """The batch in a body that the rule can use as it is. None: decide by ``Batching``."""
    if len(body) > rule.request.max_bytes:
        return None
    batch = read_batch(rule, body)
    return batch if isinstance(batch, Batch) and len(batch) else None


def is_plain(rule: Rule) -> bool:
    """Whether ``enforced`` can be asked about this rule's requests."""
    needs_jwt = any(part.kind == "jwt" for part in rule.scope or ())
    return rule.match.where is None and not needs_jwt and not is_surely_off(rule, None)


def _override(rule: Rule, arrival: Arrival) -> str | None:
    name = rule.rollout.override_header
    if name is None or not arrival.trusted:
        return None
    return first(arrival.headers, name.lower())


def is_surely_off(rule: Rule, override: str | None) -> bool:
    """Whether no scope can make it anything else."""
    rest_is_off = rule.rollout.percent >= 100 or rule.rollout.rest is Mode.OFF
    return rule.mode is Mode.OFF and rest_is_off and override is None


def is_signed(rule: Rule, inbound: Arrival) -> bool:
    """Whether the client signed what it sent, so that no part of it may be sent alone."""
    signed = {"signature", *(name.lower() for name in rule.upstream.signed_headers)}
    return not signed.isdisjoint(inbound.names)


def exchange_of(inbound: Arrival, applied: Applies, batch: Batch) -> Exchange:
    """The request as the driver takes it."""
    return Exchange(
        rule=applied.rule,
        batch=batch,
        method=inbound.method,
        target=inbound.target,
        headers=without(inbound.onward, _OF_THE_OLD_BODY),
        scope=applied.scope,
        request_id=inbound.request_id,
        may_split=not is_signed(applied.rule, inbound),
        trace_id=inbound.trace_id,
    )


def scope_headers(rules: RuleSet) -> frozenset[str]:
    """Every header name, in lower case, that some rule's scope relies on."""
    parts = (part for rule in rules.rules for part in rule.scope or ())
    names = {part.name.lower() for part in parts if part.kind == "header"}
    overrides = {rule.rollout.override_header for rule in rules.rules}
    return frozenset(names | {name.lower() for name in overrides if name})
