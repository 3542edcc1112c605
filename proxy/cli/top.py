"""``idemproxy top``: one proxy, live in the terminal, from its admin port.

Rates and quantiles are of the last interval; with ``--once`` of the time since the process began.
Exit code 0 when it is left with Ctrl-C, 1 where the proxy does not answer at the start.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from dataclasses import dataclass
from typing import Any, Final

import orjson
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from proxy.cli.client import AdminClient, AdminError, add_url, make_console, visible, warn
from proxy.cli.scrape import Scrape
from proxy.errors import ConfigError
from proxy.metrics import OUTCOMES

_BAR: Final = 24
_STYLES: Final = {
    "new": "green",
    "replayed": "cyan",
    "echoed": "blue",
    "mismatch": "magenta",
    "in_progress": "yellow",
    "unknown": "bold red",
    "rejected": "bright_black",
    "unavailable": "red",
    "invalid": "bright_magenta",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_url(parser)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds (default: 2)")
    parser.add_argument("--once", action="store_true", help="print one view and end")


@dataclass(frozen=True, slots=True)
class View:
    """One look at a proxy. ``error`` is there where it did not answer."""

    at: float
    scrape: Scrape
    rules: dict[str, Any]
    ready: dict[str, Any]
    error: str = ""


def run(arguments: argparse.Namespace) -> int:
    if arguments.interval <= 0:
        raise ConfigError("--interval: must be more than 0")
    client = AdminClient(arguments.url)
    console = make_console()
    try:
        first = _look(client)
    except AdminError as error:
        warn(str(error))
        return 1
    if arguments.once:
        console.print(_drawn(arguments.url, first, None))
        return 0
    with contextlib.suppress(KeyboardInterrupt):
        _live(client, console, first, arguments)
    return 0


def _live(
    client: AdminClient, console: Console, before: View, arguments: argparse.Namespace
) -> None:
    with Live(_drawn(arguments.url, before, None), console=console, screen=True) as live:
        while True:
            time.sleep(arguments.interval)
            try:
                now = _look(client)
            except AdminError as error:
                now = View(time.monotonic(), before.scrape, before.rules, before.ready, str(error))
            live.update(_drawn(arguments.url, now, before), refresh=True)
            if not now.error:
                before = now


def _look(client: AdminClient) -> View:
    scrape = Scrape.of([client.get("/metrics").decode()])
    return View(time.monotonic(), scrape, orjson.loads(client.get("/v1/rules")), client.readiness())


def _drawn(url: str, now: View, before: View | None) -> RenderableType:
    table = Table(box=None, expand=True, padding=(0, 1))
    for name in ("rule", "mode", "items/s" if before else "items"):
        table.add_column(name, justify="left" if name != "items/s" else "right")
    table.add_column("outcomes", min_width=_BAR)
    for name in ("repeats", "failed", "p50", "p99", "overhead p99", "doubts"):
        table.add_column(name, justify="right")
    gained = now.scrape.since(before.scrape) if before else now.scrape
    seconds = max(now.at - before.at, 0.001) if before else 1.0
    for rule in now.rules["rules"]:
        table.add_row(*_row(rule, now.scrape, gained, seconds))
    legend = Text("  ").join(Text(f"■ {name}", _STYLES[name]) for name in OUTCOMES)
    parts: list[RenderableType] = [_head(url, now), "", table, "", legend]
    parts += [Text(line, "bold red") for line in _troubles(now)]
    return Group(*parts)


def _head(url: str, now: View) -> Text:
    store = now.ready["store"]
    up = {"up": "green", "down": "bold red"}.get(store["state"], "yellow")
    ready = now.ready["ready"]
    state = "draining" if now.ready["draining"] else "ready" if ready else "not ready"
    return Text.assemble(
        ("idemproxy ", "bold"),
        (f"{url}  ", "dim"),
        (state, "green" if ready else "bold red"),
        "  store ",
        (f"{store['kind']} {store['state']}", up),
        f"  in flight {now.scrape.total('in_flight_items'):.0f}",
        f"  to be recorded {now.scrape.total('settle_backlog'):.0f}",
    )


def _row(
    rule: dict[str, Any], whole: Scrape, gained: Scrape, seconds: float
) -> list[RenderableType]:
    name = rule["name"]
    outcomes = gained.by("items_total", "outcome", rule=name)
    items = sum(outcomes.values())
    repeats = outcomes.get("replayed", 0) + outcomes.get("echoed", 0)
    failed = items - repeats - outcomes.get("new", 0)
    rate = f"{items / seconds:,.0f}"
    rollout = rule["rollout"]
    mode = rule["mode"] + (f" {rollout['percent']:g}%" if rollout["percent"] < 100 else "")
    doubts = whole.total("doubts_total", rule=name)
    return [
        visible(name),
        mode,
        rate,
        _bar(outcomes, items),
        f"{repeats / items:.1%}" if items else "-",
        f"{failed / items:.1%}" if items else "-",
        _time(gained.quantile("request_duration_seconds", 0.5, rule=name)),
        _time(gained.quantile("request_duration_seconds", 0.99, rule=name)),
        _time(gained.quantile("overhead_seconds", 0.99, rule=name)),
        Text(f"{doubts:.0f}", "bold red" if doubts else ""),
    ]


def _bar(outcomes: dict[str, float], items: float) -> Text:
    """The outcomes as one bar; what there is at all gets at least one cell."""
    bar = Text()
    if not items:
        return Text("·" * _BAR, "dim")
    cells = {
        name: max(1, round(_BAR * outcomes[name] / items))
        for name in OUTCOMES
        if outcomes.get(name)
    }
    most = max(cells, key=lambda name: cells[name])
    cells[most] += _BAR - sum(cells.values())
    for name, count in cells.items():
        bar.append("█" * count, _STYLES[name])
    return bar


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _troubles(now: View) -> list[str]:
    said = []
    if now.error:
        said.append(f"no answer: {now.error}")
    if now.ready["store"]["state"] == "down":
        said.append("the store does not answer")
    last = now.rules["lastReload"]
    if last["result"] == "refused":
        said += [f"rules refused at {last['at']}", *(f"  {line}" for line in last["mistakes"])]
    return said
