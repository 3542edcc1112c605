"""``idemproxy records``: look records up, list, release and resolve them, over the admin port.

Exit code 0 where everything was found or changed, 1 where not, 2 for what cannot be asked.
"""

from __future__ import annotations

import argparse
import getpass
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec
import orjson
from rich.table import Table

from proxy.admin import model
from proxy.cli.client import (
    AdminClient,
    AdminError,
    add_token,
    add_url,
    make_console,
    visible,
    warn,
)
from proxy.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    get = actions.add_parser("get", help="what the store holds for these keys")
    _add_chosen(get)
    listing = actions.add_parser("list", help="walk through the store's records")
    listing.add_argument(
        "--state",
        action="append",
        choices=["held", "doubt", "done", "foreign"],
        help="only these; may be given several times (default: doubt)",
    )
    listing.add_argument("--limit", type=int, default=100, help="about how many (default: 100)")
    release = actions.add_parser("release", help="forget records: their items can be done again")
    _add_chosen(release)
    _add_said(release)
    resolve = actions.add_parser("resolve", help="write down what became of doubtful items")
    _add_chosen(resolve)
    _add_said(resolve)
    resolve.add_argument("--outcome", choices=["done", "not-done"], required=True)
    resolve.add_argument("--result", help="the item's result: JSON, @FILE, or @- for stdin")
    resolve.add_argument("--processed-at", help="when it was done, RFC 3339 (default: now)")
    for action in (get, listing, release, resolve):
        add_url(action)
        add_token(action)
        action.add_argument("--json", action="store_true", help="print the answer as JSON")


def _add_chosen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keys", nargs="*", metavar="KEY", help="the items' keys")
    parser.add_argument("--rule", required=True)
    parser.add_argument(
        "--scope", action="append", default=[], help="a value of the rule's scope, in its order"
    )
    parser.add_argument("--generation", type=int, help="of the rule (default: the current one)")
    parser.add_argument(
        "--digest", action="append", default=[], help="in place of scope and keys, from a log line"
    )
    parser.add_argument(
        "--json-keys",
        action="store_true",
        help='keys are JSON: 7 is a number, ["NL91",7] a key of two values',
    )


def _add_said(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--why", required=True, help="for the audit log")
    parser.add_argument("--by", default=_me(), help="for the audit log (default: %(default)s)")
    parser.add_argument(
        "--force", action="store_true", help="also records that are done, and live claims"
    )


def _me() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return socket.gethostname()


def run(arguments: argparse.Namespace) -> int:
    try:
        client = AdminClient.with_token(arguments.url, arguments.token_file)
        return _ACTIONS[arguments.action](client, arguments)
    except AdminError as error:
        warn(str(error))
        return 2 if error.status == 400 else 1


def _chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    asked: dict[str, Any] = {"rule": arguments.rule}
    keys = arguments.keys
    if arguments.json_keys:
        try:
            keys = [orjson.loads(key) for key in keys]
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"--json-keys: {error}") from error
    optional = {
        "generation": arguments.generation,
        "scope": arguments.scope,
        "keys": keys,
        "digests": arguments.digest,
    }
    return asked | {name: value for name, value in optional.items() if value not in (None, [])}


def _get(client: AdminClient, arguments: argparse.Namespace) -> int:
    body = client.post("/v1/records:lookup", _chosen(arguments))
    answer = msgspec.json.decode(body, type=model.Records)
    _show(arguments, answer)
    missing = any(record.state in ("absent", "unreadable") for record in answer.records)
    return 1 if missing else 0


def _list(client: AdminClient, arguments: argparse.Namespace) -> int:
    """Page after page until there are enough or no more."""
    asked = {"states": arguments.state or ["doubt"], "limit": max(1, min(arguments.limit, 1000))}
    found = model.Records(records=[])
    while True:
        body = client.post("/v1/records:list", {**asked, "cursor": found.cursor})
        page = msgspec.json.decode(body, type=model.Records)
        found.records += page.records
        found.cursor = page.cursor
        if not found.cursor or len(found.records) >= arguments.limit:
            break
    _show(arguments, found)
    return 0


def _release(client: AdminClient, arguments: argparse.Namespace) -> int:
    said = {"by": arguments.by, "why": arguments.why, "force": arguments.force}
    return _changed(arguments, client.post("/v1/records:release", _chosen(arguments) | said))


def _resolve(client: AdminClient, arguments: argparse.Namespace) -> int:
    asked = _chosen(arguments) | {
        "by": arguments.by,
        "why": arguments.why,
        "force": arguments.force,
        "outcome": arguments.outcome.replace("-", "_"),
    }
    if arguments.processed_at:
        asked["processedAt"] = arguments.processed_at
    if arguments.result is not None:
        asked["result"] = orjson.Fragment(_result(arguments.result))
    return _changed(arguments, client.post("/v1/records:resolve", asked))


def _result(given: str) -> bytes:
    """The bytes as given: a repeat is answered with them."""
    if not given.startswith("@"):
        raw = given.encode()
    elif given == "@-":
        raw = sys.stdin.buffer.read().strip()
    else:
        try:
            raw = Path(given[1:]).read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"--result {given}: {error.strerror}") from error
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"--result is not JSON: {error}") from error
    return raw


def _changed(arguments: argparse.Namespace, body: bytes) -> int:
    answer = msgspec.json.decode(body, type=model.Changes)
    if arguments.json:
        _print_json(answer)
    else:
        table = Table("key or digest", "was", "changed", "reason", box=None)
        for one in answer.results:
            changed = "yes" if one.changed else "[bold red]no[/]"
            table.add_row(_name(one), one.was, changed, visible(one.reason))
        make_console().print(table)
    return 0 if all(one.changed for one in answer.results) else 1


def _show(arguments: argparse.Namespace, answer: model.Records) -> None:
    if arguments.json:
        _print_json(answer)
        return
    table = Table(box=None)
    for name in ("key or digest", "state", "since or until", "attempts", "result"):
        table.add_column(name, overflow="fold", no_wrap=name == "since or until")
    for record in answer.records:
        since = record.processedAt or record.doubtSince or record.leaseUntil or ""
        raw = bytes(record.result) if isinstance(record.result, msgspec.Raw) else b""
        result = raw.decode(errors="replace")
        shown = result if len(result) <= 60 else result[:57] + "..."
        attempts = "" if record.attempts is None else str(record.attempts)
        table.add_row(_name(record), _state(record), since, attempts, visible(shown))
    console = make_console()
    console.print(table if answer.records else "no such record")
    if answer.cursor:
        console.print("[dim]there are more: raise --limit[/]")


def _state(record: model.RecordView) -> str:
    marks = [mark for mark in ("live", "suspect", "template") if getattr(record, mark)]
    return record.state + (f" ({', '.join(marks)})" if marks else "")


def _name(one: model.RecordView | model.Change) -> str:
    if one.key is None:
        return one.digest
    return visible(one.key if isinstance(one.key, str) else orjson.dumps(one.key).decode())


def _print_json(answer: model.Records | model.Changes) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(answer)).decode() + "\n")


_ACTIONS = {"get": _get, "list": _list, "release": _release, "resolve": _resolve}
