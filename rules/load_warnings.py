"""What is allowed in a rules file and yet worth a second look. Law: a warning never fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rules.mistakes import Mistake, Place
from rules.model import Rule, Verdict

_CREDENTIALS: Final = frozenset(
    {"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key", "x-auth-token"}
)
"""Headers that the service itself verifies, when the first request of a scope reaches it."""

Warned = Iterator[tuple[str, str]]


def warnings_of(rules: Sequence[Rule], places: Mapping[str, Place]) -> Iterator[Mistake]:
    for rule in rules:
        for warn in (_scope, _duplicates, _store, _times, _shown):
            for name, message in warn(rule):
                yield places[rule.name].mistake(name, message)
    yield from _unreached(rules, places)


_GLOBAL: Final = "global: every client can be given every other client's results"
_UNVERIFIED: Final = "unverified: a client can write any claim it likes into a token"
_REFRESHED: Final = (
    "header:authorization: a bearer token that is refreshed begins a new scope, in which nothing"
    " is known of the old one's keys; prefer a jwt: claim"
)
_BARE: Final = (
    "nothing here is verified or carries a credential: a replay is served without asking the"
    " service, so a client that names another's scope is shown its results"
)
_NO_SIGN: Final = "the service detects duplicates, and nothing says how its answer shows them"
_NO_WAY: Final = (
    "without detection and without a lookup, an item whose call was lost stays OUTCOME_UNKNOWN"
    " until somebody resolves its record"
)


def _scope(rule: Rule) -> Warned:
    if rule.scope is None:
        yield "scope", _GLOBAL
        return
    headers = {part.name for part in rule.scope if part.kind == "header"}
    verified = any(part.kind == "jwt" and not part.unverified for part in rule.scope)
    if any(part.unverified for part in rule.scope):
        yield "scope", _UNVERIFIED
    if "authorization" in headers:
        yield "scope", _REFRESHED
    if not verified and not headers & _CREDENTIALS:
        yield "scope", _BARE


def _duplicates(rule: Rule) -> Warned:
    upstream = rule.upstream
    named = any(c for verdict, c in upstream.verdicts if verdict is Verdict.DUPLICATE)
    if upstream.detects_duplicates and not named and rule.response.duplicate is None:
        yield "upstream.duplicate", _NO_SIGN
    if not upstream.detects_duplicates and upstream.lookup is None:
        yield "upstream.lookup", _NO_WAY


def _store(rule: Rule) -> Warned:
    if rule.fail_open and not rule.upstream.detects_duplicates:
        yield (
            "on_store_failure",
            "open without detection: while the store is away, a retry is done twice",
        )
    if rule.request.forward_missing_key and not rule.upstream.detects_duplicates:
        yield "request.missing_key", "forward: an item without a key is done again on every retry"


def _times(rule: Rule) -> Warned:
    if rule.deadline < rule.upstream.timeout:
        yield "deadline", "shorter than upstream.timeout: calls are cut off, and are then in doubt"
    if rule.wait >= rule.deadline:
        yield "wait", "not shorter than the deadline"


def _shown(rule: Rule) -> Warned:
    if rule.response.fields.error is None:
        yield "response.fields.error", "null: a client cannot tell which items failed, and why"


def _unreached(rules: Sequence[Rule], places: Mapping[str, Place]) -> Iterator[Mistake]:
    """A rule behind one that takes every request of the same method and path."""
    taken: dict[tuple[str, str], str] = {}
    for rule in rules:
        target = (rule.match.method, rule.match.path)
        if target in taken:
            message = f"never reached: {taken[target]!r} handles all of {' '.join(target)}"
            yield places[rule.name].mistake("match", message)
        elif rule.match.where is None:
            taken[target] = rule.name
