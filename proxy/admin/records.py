"""Records for people: looked up, listed, released, resolved. Law: knows no HTTP.

What changes a record is a step of the transition table, so that a claim which comes between the
look and the change is seen by the store and not by luck. Everything that changes one is audited:
who, why, which digests, what they were. Keys and scopes are not logged: they can be personal.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from msgspec import Raw

from proxy.admin import model
from proxy.core.keys import KeyMaker, digest_of
from proxy.core.record import (
    TOKEN_BYTES,
    Applied,
    Commit,
    Conflict,
    Done,
    Doubt,
    Foreign,
    Forget,
    Held,
    Lost,
    Record,
    SettleReply,
    Stands,
)
from proxy.errors import Problem, StoreUnavailable
from proxy.preparing import terms_of
from proxy.store.base import ScannableStore
from rules.match import RuleSet
from rules.model import Key, Rule

_AUDIT: Final = logging.getLogger("proxy.audit")
_SCAN: Final = 1000
_SCANS_A_PAGE: Final = 20
_INT64: Final = 1 << 63


def _clock() -> int:
    return time.time_ns() // 1_000_000


def moment(ms: int) -> str:
    """RFC 3339 UTC with milliseconds."""
    text = datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ms % 1000:03d}Z"


def milliseconds(text: str) -> int:
    """The opposite of ``moment``, for any RFC 3339 time. Raises ValueError."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError("a time needs its offset, for example Z")
    return round(when.timestamp() * 1000)


def read_key(rule: Rule, form: model.KeyForm) -> Key:
    """A key as the rule's items have it. Raises ValueError."""
    parts = tuple(form) if isinstance(form, list) else (form,)
    wanted = len(rule.request.key)
    if len(parts) != wanted:
        raise ValueError(f"a key of {rule.name} has {wanted} value(s), not {len(parts)}")
    for part in parts:
        if isinstance(part, str) and len(part.encode("utf-8", "surrogatepass")) > 255:
            raise ValueError("a key's string has 255 bytes at most")
        if isinstance(part, int) and not -_INT64 <= part < _INT64:
            raise ValueError("a key's number has 64 bits at most")
    return parts


def read_scope(rule: Rule, scope: Sequence[str]) -> tuple[str, ...]:
    """A scope with as many values as the rule's. Raises ValueError."""
    wanted = len(rule.scope or ())
    if len(scope) != wanted:
        raise ValueError(f"the scope of {rule.name} has {wanted} value(s), not {len(scope)}")
    return tuple(scope)


@dataclass(frozen=True, slots=True)
class _Chosen:
    rule: Rule
    generation: int
    forms: Sequence[model.KeyForm | None]
    keys: list[bytes]

    @property
    def digests(self) -> list[str]:
        return [digest_of(key) for key in self.keys]


class Desk:
    """The operations. ``rules`` answers the rules in force, ``now_ms`` is for what is shown."""

    def __init__(
        self,
        store: ScannableStore,
        keys: KeyMaker,
        rules: Callable[[], RuleSet],
        now_ms: Callable[[], int] = _clock,
    ) -> None:
        self._store, self._keys, self._rules, self._now_ms = store, keys, rules, now_ms

    async def lookup(self, asked: model.LookupRequest) -> model.Records:
        chosen = self._choose(asked)
        found = await self._read(chosen.keys)
        rows = zip(chosen.digests, chosen.forms, found, strict=True)
        return model.Records(records=[self._view(d, f, record) for d, f, record in rows])

    async def page(self, asked: model.ListRequest) -> model.Records:
        """At most so many scans a page that a large store never holds a request for long."""
        views: list[model.RecordView] = []
        cursor = asked.cursor
        for _ in range(_SCANS_A_PAGE):
            cursor, keys = await self._scan(cursor)
            found = await self._read(keys)
            shown = (self._view(digest_of(k), None, r) for k, r in zip(keys, found, strict=True))
            views += [view for view in shown if view.state in asked.states]
            if not cursor or len(views) >= asked.limit:
                break
        return model.Records(records=views, cursor=cursor)

    async def release(self, asked: model.ReleaseRequest, peer: str) -> model.Changes:
        chosen = self._choose(asked)
        return await self._change(chosen, Forget(force=asked.force), "released", asked, peer)

    async def resolve(self, asked: model.ResolveRequest, peer: str) -> model.Changes:
        chosen = self._choose(asked)
        if asked.outcome == "not_done":
            if isinstance(asked.result, Raw) or asked.processedAt:
                raise _bad("result and processedAt are for the outcome done")
            step: Commit | Forget = Forget(force=asked.force)
        else:
            result = bytes(asked.result) if isinstance(asked.result, Raw) else None
            if result is not None and len(result) > chosen.rule.max_result_bytes:
                raise _bad(f"the result has more than {chosen.rule.max_result_bytes} bytes")
            when = self._now_ms()
            if asked.processedAt:
                try:
                    when = milliseconds(asked.processedAt)
                except ValueError as error:
                    raise _bad(f"processedAt: {error}") from error
            step = Commit(None, when, result, template=result is None)
        said = f"resolved as {asked.outcome.replace('_', ' ')}"
        return await self._change(chosen, step, said, asked, peer)

    # ---- how ----------------------------------------------------------------------------------

    def _choose(self, asked: model.Asked) -> _Chosen:
        rule = next((r for r in self._rules().rules if r.name == asked.rule), None)
        if rule is None:
            raise Problem(404, "unknown-rule", f"no rule in force is named {asked.rule!r}")
        generation = rule.generation if asked.generation is None else asked.generation
        if bool(asked.keys) == bool(asked.digests):
            raise _bad("give keys or digests, one of them")
        try:
            if asked.digests:
                if asked.scope or asked.generation is not None:
                    raise _bad("digests stand for scope and generation too")
                made = [self._keys.of_digest(digest) for digest in asked.digests]
                return _Chosen(rule, generation, [None] * len(made), made)
            scope = read_scope(rule, asked.scope)
            parts = [read_key(rule, form) for form in asked.keys]
        except ValueError as error:
            raise _bad(str(error)) from error
        made = self._keys.store_keys(rule.name, generation, scope, parts)
        return _Chosen(rule, generation, asked.keys, made)

    async def _read(self, keys: Sequence[bytes]) -> list[Record | StoreUnavailable | None]:
        try:
            return await self._store.read(keys) if keys else []
        except StoreUnavailable as error:
            raise _down(error) from error

    async def _scan(self, cursor: str) -> tuple[str, list[bytes]]:
        try:
            return await self._store.scan(cursor, _SCAN)
        except StoreUnavailable as error:
            raise _down(error) from error
        except ValueError as error:
            raise _bad("the cursor is not one of this store's") from error

    async def _change(
        self,
        chosen: _Chosen,
        step: Commit | Forget,
        said: str,
        asked: model.ReleaseRequest | model.ResolveRequest,
        peer: str,
    ) -> model.Changes:
        before = await self._read(chosen.keys)
        views = [
            self._view(digest, form, record)
            for digest, form, record in zip(chosen.digests, chosen.forms, before, strict=True)
        ]
        # A commit is taken whoever holds the record; that it takes a live claim is our question.
        due = [i for i, view in enumerate(views) if asked.force or not view.live]
        replies: dict[int, SettleReply | StoreUnavailable] = {}
        if due:
            token = secrets.token_bytes(TOKEN_BYTES)
            keys = [chosen.keys[i] for i in due]
            try:
                answers = await self._store.settle(
                    keys, [step] * len(due), token, terms_of(chosen.rule)
                )
            except StoreUnavailable as error:
                raise _down(error) from error
            replies = dict(zip(due, answers, strict=True))
        results = [_change(view, replies.get(i)) for i, view in enumerate(views)]
        _AUDIT.info(
            "records %s",
            said,
            extra={
                "by": asked.by,
                "why": asked.why,
                "peer": peer,
                "rule": chosen.rule.name,
                "generation": chosen.generation,
                "force": asked.force,
                "changed": {r.digest: r.was for r in results if r.changed},
                "refused": {r.digest: r.reason for r in results if not r.changed},
                "always": True,
            },
        )
        return model.Changes(results=results)

    def _view(
        self, digest: str, form: model.KeyForm | None, record: Record | StoreUnavailable | None
    ) -> model.RecordView:
        view = model.RecordView(digest=digest, key=form, state="absent")
        if isinstance(record, Held):
            view.state = "held"
            view.attempts, view.leaseUntil = record.attempt, moment(record.deadline)
            view.live = self._now_ms() < record.deadline
            view.suspect, view.sent = record.suspect, record.sent
            view.doubtSince = moment(record.doubt_since) if record.suspect else None
        elif isinstance(record, Doubt):
            view.state = "doubt"
            view.attempts, view.doubtSince = record.attempt, moment(record.since)
        elif isinstance(record, Done):
            view.state = "done"
            view.processedAt, view.template = moment(record.processed_at), record.template
            if record.result is not None:
                view.result = Raw(record.result)
        elif isinstance(record, Foreign):
            view.state = "foreign"
        elif isinstance(record, StoreUnavailable):
            view.state = "unreadable"
        return view


_REASONS: Final[dict[type, str]] = {
    Lost: "needs force: the record is done or its claim is live, or another version wrote it",
    Stands: "done already: its first result stands; release it with force first",
    Conflict: "done already, with other content; release it with force first",
    StoreUnavailable: "the store did not answer for this key",
    type(None): "needs force: the claim is live",
}


def _change(view: model.RecordView, reply: SettleReply | StoreUnavailable | None) -> model.Change:
    return model.Change(
        digest=view.digest,
        key=view.key,
        was=view.state,
        changed=isinstance(reply, Applied),
        reason="" if isinstance(reply, Applied) else _REASONS[type(reply)],
    )


def _bad(detail: str) -> Problem:
    return Problem(400, "bad-request", detail)


def _down(error: StoreUnavailable) -> Problem:
    return Problem(503, "store-unavailable", str(error) or "the store does not answer")
