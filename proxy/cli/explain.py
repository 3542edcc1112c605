"""``idemproxy explain``: how a rule reads a request, and what would be answered to it.

Nothing is sent and no store is asked: every item is taken to be new.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from proxy.cli.messages import Message, header, read_request, read_response
from proxy.cli.rehearsal import answer_to, plan_of, reading
from proxy.core.keys import KeyMaker, digest_of
from proxy.core.plan import Plan
from proxy.core.upstream import Reply
from proxy.errors import ConfigError
from proxy.exchange import Answer, Exchange
from proxy.jwt import unverified
from proxy.settings import read_secret
from rules.jsontext import parse
from rules.load import load_rules
from rules.match import Absent, Params, Repeated, RuleSet, mode_for, part_text, scope_values
from rules.model import Batch, Key, Mode, Rule, Unreadable
from rules.pointer import MISSING
from rules.request import TooMany, read_batch

Scope = tuple[str, ...] | Absent | Repeated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rules", metavar="RULES", help="a rules file, or a folder of them")
    parser.add_argument("--rule", required=True, metavar="NAME")
    parser.add_argument(
        "--request", required=True, metavar="FILE", help="a body, or a whole HTTP request"
    )
    parser.add_argument(
        "--response", metavar="FILE", help="the service's: a body, or a whole HTTP response"
    )
    parser.add_argument(
        "--status", type=int, help="of a response that is only a body (default: 200)"
    )
    parser.add_argument(
        "--header", action="append", default=[], metavar="K:V", help="a header of the request"
    )
    parser.add_argument("--target", help="path and query of a request that is only a body")
    parser.add_argument("--key-secret-file", help="as serve has it, for the same digests")


def run(arguments: argparse.Namespace) -> int:
    ruleset = load_rules(arguments.rules)
    rule = _named(ruleset, arguments.rule)
    request = _request(arguments, rule)
    secret = read_secret(arguments.key_secret_file) if arguments.key_secret_file else None
    lines, exchange = _explained(ruleset, rule, request, KeyMaker(secret=secret))
    if exchange is not None and arguments.response is not None:
        lines += _answered(exchange, _reply(arguments))
    text = "\n".join(lines) + "\n"
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    return 0


def _named(ruleset: RuleSet, name: str) -> Rule:
    rule = ruleset.named(name)
    if rule is not None:
        return rule
    names = [rule.name for rule in ruleset.rules]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
    raise ConfigError(f"--rule: there is no rule {name!r}; {hint}")


def _request(arguments: argparse.Namespace, rule: Rule) -> Message:
    message = _message(read_request, arguments.request)
    try:
        headers = message.headers + tuple(header(text) for text in arguments.header)
    except ValueError as error:
        raise ConfigError(f"--header: {error}") from error
    target = arguments.target or message.target or rule.match.path
    return Message(message.body, headers, message.method or rule.match.method, target)


def _reply(arguments: argparse.Namespace) -> Reply:
    message = _message(read_response, arguments.response)
    status = arguments.status or message.status or 200
    return Reply(status, message.headers or (("Content-Type", "application/json"),), message.body)


def _message(read: Callable[[bytes], Message], file: str) -> Message:
    try:
        return read(Path(file).read_bytes())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error


# ---- the request ------------------------------------------------------------------------------


def _explained(
    ruleset: RuleSet, rule: Rule, request: Message, keys: KeyMaker
) -> tuple[list[str], Exchange | None]:
    """What is to be said of the request; the exchange, where the rule can handle it."""
    path, _, query = request.target.partition("?")
    params = next((p for r, p in ruleset.candidates(request.method, path) if r is rule), None)
    scope = scope_values(rule, request.headers, query, params or {}, unverified(request.headers))
    read = read_batch(rule, request.body)
    lines = [
        f"rule     {rule.name}, generation {rule.generation}",
        f"match    {_matched(ruleset, rule, request, params)}",
        f"scope    {_scope_words(rule, scope)}",
        f"mode     {_mode_words(rule, scope)}",
        f"batch    {_batch_words(rule, request.body, read)}",
    ]
    if not isinstance(read, Batch):
        return lines, None
    values = scope if isinstance(scope, tuple) else None
    plan, prints = plan_of(rule, read)
    lines += _items(rule, read, plan, prints, keys, values)
    if values is None or not len(read) or len(request.body) > rule.request.max_bytes:
        return lines, None
    signed = {"signature", *rule.upstream.signed_headers}
    may_split = not any(name.lower() in signed for name, _ in request.headers)
    exchange = Exchange(
        rule, read, request.method, request.target, request.headers, values, "explain", may_split
    )
    return lines, exchange


def _matched(ruleset: RuleSet, rule: Rule, request: Message, params: Params | None) -> str:
    """Whether this request reaches the rule, or why it does not."""
    path = request.target.partition("?")[0]
    shown = f"{request.method} {path}"
    if params is None:
        return f"no: {shown} is not {rule.match.method} {rule.match.path}"
    try:
        document = parse(request.body)
    except ValueError:
        document = MISSING
    for candidate, _ in ruleset.candidates(request.method, path):
        where = candidate.match.where
        if where is None or where.holds(None, document):
            if candidate is rule:
                return f"{shown}{', and where holds' if where else ''}"
            return f"no: {shown} is handled by {candidate.name!r}, which comes first"
        if candidate is rule:
            return f"no: {shown}, but where does not hold"
    return f"no: {shown}"


def _scope_words(rule: Rule, scope: Scope) -> str:
    if isinstance(scope, Absent):
        return f"the request has no {scope.part}: it is passed through, not deduplicated"
    if isinstance(scope, Repeated):
        return f"{scope.part} is given more than once: refused with 400"
    if rule.scope is None:
        return "global"
    pairs = zip(rule.scope, scope, strict=True)
    words = ", ".join(f"{part_text(part)} = {_shortened(value)}" for part, value in pairs)
    is_claim = any(part.kind == "jwt" for part in rule.scope)
    return words + " (the token's signature is not checked here)" * is_claim


def _mode_words(rule: Rule, scope: Scope) -> str:
    if not isinstance(scope, tuple) or rule.rollout.percent >= 100:
        return str(rule.mode)
    chosen = mode_for(rule, scope, None)
    return (
        f"{chosen}, of a rollout of {rule.rollout.percent:g}% {rule.mode}, else {rule.rollout.rest}"
    )


def _batch_words(rule: Rule, body: bytes, read: Batch | Unreadable | TooMany) -> str:
    if len(body) > rule.request.max_bytes:
        return f"refused with 413: {len(body)} bytes, {rule.request.max_bytes} at most"
    if isinstance(read, Unreadable):
        then = "refused with 400" if rule.request.reject_unreadable else "passed through"
        return f"cannot be read ({read.reason}): {read.detail}; it is {then}"
    if isinstance(read, TooMany):
        return f"refused with 413: {read.count} items, {rule.request.max_items} at most"
    place = rule.request.items.text or "the body itself"
    return f"{len(read)} items at {place}, {len(body)} bytes"


def _items(
    rule: Rule,
    batch: Batch,
    plan: Plan,
    prints: list[bytes],
    keys: KeyMaker,
    scope: tuple[str, ...] | None,
) -> Iterator[str]:
    for index, key in enumerate(batch.keys):
        yield ""
        yield f"item {index}   {_fate(index, batch, plan)}"
        if key is None:
            continue
        yield f"  key          {_key_words(key)}"
        yield f"  fingerprint  {prints[index].hex()}"
        if scope is not None:
            digest = digest_of(keys.store_key(rule.name, rule.generation, scope, key))
            yield f"  store key    {digest}"


def _fate(index: int, batch: Batch, plan: Plan) -> str:
    if index in plan.invalid:
        return f"fails: {batch.problems[index]}"
    if index in plan.unkeyed:
        return "has no key: forwarded, never deduplicated"
    if index in plan.echoes:
        return f"echo of item {plan.echoes[index]}: the same key and content"
    if index in plan.mismatches:
        first = next(i for i in plan.firsts if batch.keys[i] == batch.keys[index])
        return f"fails: PAYLOAD_MISMATCH with item {first}, the same key and other content"
    return "forwarded, where it is new"


def _key_words(key: Key) -> str:
    return ", ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in key)


def _shortened(value: str) -> str:
    """Part of it: a scope may be a credential, and this may end in a ticket."""
    return value if len(value) <= 12 else f"{value[:8]}... ({len(value)} characters)"


# ---- the answer -------------------------------------------------------------------------------


def _answered(exchange: Exchange, reply: Reply) -> list[str]:
    plan, _ = plan_of(exchange.rule, exchange.batch)
    sent = sorted((*plan.firsts, *plan.unkeyed))
    lines = ["", f"response {reply.status}, to the {len(sent)} items forwarded"]
    if sent:
        lines += reading(exchange.rule, exchange.batch, sent, reply)
    answer = asyncio.run(answer_to(exchange, reply))
    return [*lines, "", *_http(exchange.rule, answer)]


def _http(rule: Rule, answer: Answer) -> Iterator[str]:
    yield f"answer   {answer.status}" + ", were the mode enforce" * (rule.mode is not Mode.ENFORCE)
    if b'"ISOLATION_LIMIT"' in answer.body:
        yield "         ISOLATION_LIMIT stands for items that would be sent again"
    if b'"OUTCOME_UNKNOWN"' in answer.body and rule.upstream.lookup is not None:
        yield "         OUTCOME_UNKNOWN stands for items that would be looked up"
    yield from (f"{name}: {value}" for name, value in answer.headers)
    yield ""
    yield answer.body.decode("utf-8", "replace")
