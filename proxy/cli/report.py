"""``idemproxy report``: what enforcing would have done, by what shadow mode counted.

Read from the admin port of one proxy or of several, or from saved scrapes of /metrics. Counters
are of the time since each process began.

Exit code 0: told. 1: a proxy does not answer, or nothing was seen in shadow mode.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from proxy.cli.client import AdminClient, AdminError, default_url, make_console, visible, warn
from proxy.cli.scrape import Scrape
from proxy.errors import ConfigError
from proxy.metrics import OUTCOMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        action="append",
        help=f"an admin port; may be given several times (default: {default_url()})",
    )
    parser.add_argument(
        "--metrics",
        action="append",
        default=[],
        metavar="FILE",
        help="a saved scrape of /metrics in place of --url",
    )
    parser.add_argument("--rule", help="only this rule")
    parser.add_argument("--json", action="store_true", help="print numbers for programs")


def run(arguments: argparse.Namespace) -> int:
    try:
        scrape = Scrape.of(_texts(arguments))
    except (AdminError, ValueError) as error:
        warn(str(error))
        return 1
    reports = [
        report
        for rule in sorted(scrape.by("shadow_items_total", "rule"))
        if arguments.rule in (None, rule) and (report := report_of(scrape, rule)).seen
    ]
    if arguments.json:
        rows = [asdict(report) for report in reports]
        sys.stdout.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _print(reports, arguments.rule)
    return 0 if reports else 1


def _texts(arguments: argparse.Namespace) -> list[str]:
    if arguments.metrics and arguments.url:
        raise ConfigError("give --url or --metrics, one of them")
    if arguments.metrics:
        try:
            return [Path(file).read_text() for file in arguments.metrics]
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from error
    urls = arguments.url or [default_url()]
    return [AdminClient(url).get("/metrics").decode() for url in urls]


@dataclass(frozen=True, slots=True)
class Report:
    """What shadow mode saw of one rule. ``would`` counts items by what they would have become."""

    rule: str
    items: int
    would: Mapping[str, int]
    replayed_share: float
    unreadable_batches: int
    isolated_batches: int
    upstream_calls_saved: int
    client_retries_saved: int

    @property
    def seen(self) -> bool:
        return bool(self.items or self.unreadable_batches)


def report_of(scrape: Scrape, rule: str) -> Report:
    """The report of one rule."""
    counted = scrape.by("shadow_items_total", "would", rule=rule)
    would = {name: int(counted[name]) for name in OUTCOMES if counted.get(name)}
    items = sum(would.values())
    repeats = would.get("replayed", 0) + would.get("echoed", 0)
    return Report(
        rule=rule,
        items=items,
        would=would,
        replayed_share=repeats / items if items else 0.0,
        unreadable_batches=int(counted.get("unreadable", 0)),
        isolated_batches=int(counted.get("isolated", 0)),
        upstream_calls_saved=int(counted.get("call_saved", 0)),
        client_retries_saved=int(counted.get("retry_saved", 0)),
    )


_SAID = {
    "new": "forwarded, as new",
    "replayed": "answered from the store",
    "echoed": "answered as a repeat inside their batch",
    "mismatch": "refused: their key was used with other content",
    "in_progress": "waited for: another request held them",
    "unknown": "doubtful: their outcome is not known",
    "rejected": "rejected by the service",
    "unavailable": "not taken: the service was not available",
    "invalid": "refused: no usable key",
}


def _print(reports: list[Report], rule: str | None) -> None:
    console = make_console()
    if not reports:
        of = f" of {visible(rule)}" if rule else ""
        console.print(f"Nothing{of} was seen in shadow mode. Is a rule's mode shadow?")
    for report in reports:
        console.print(f"[bold]{visible(report.rule)}[/]: what enforcing would have done")
        table = Table.grid("", "", "", padding=(0, 2))
        table.columns[0].justify = table.columns[1].justify = "right"
        for row in _rows(report):
            table.add_row(*row)
        console.print(table)
        console.print(f"[dim]{_advice(report)}[/]\n")


def _rows(report: Report) -> list[tuple[str, str, str]]:
    def share(count: int) -> str:
        return f"{count / report.items:.1%}" if report.items else ""

    rows = [(str(report.items), "", "items seen")]
    rows += [
        (str(n), share(n), f"would have been {_SAID[name]}") for name, n in report.would.items()
    ]
    numbers: dict[str, Any] = {
        "batches that the rule could not read": report.unreadable_batches,
        "rejected batches whose other items would have gone through": report.isolated_batches,
        "calls to the service that would not have been made": report.upstream_calls_saved,
        "retries of clients that would have succeeded": report.client_retries_saved,
    }
    return rows + [(str(number), "", said) for said, number in numbers.items()]


def _advice(report: Report) -> str:
    """What to look at before enforcing."""
    if report.unreadable_batches:
        return "Look at what cannot be read first: `idemproxy explain` shows why."
    if report.would.get("mismatch"):
        return "Mismatches are keys used twice with other content, or a field to exclude."
    if report.would.get("invalid"):
        return "Items without a usable key are refused; request.missing_key: forward lets them by."
    return "Nothing here speaks against enforcing."
