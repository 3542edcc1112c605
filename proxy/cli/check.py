"""``idemproxy check``: validate rules, alone or against those that they are to replace.

Mistakes and warnings go to stderr, one a line; exit code 2 where there is a mistake. A warning
never fails.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

from proxy.errors import ConfigError
from rules.generations import cautions, compare
from rules.load import check_against_settings, load_rules, parse_duration
from rules.match import RuleSet, part_text
from rules.mistakes import RulesError
from rules.model import Rule

_HEAD: Final = ("NAME", "MODE", "GEN", "MATCH", "SCOPE", "DUPLICATES", "RESULTS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rules", metavar="RULES", help="a rules file, or a folder of them")
    parser.add_argument("--against", metavar="OLD", help="the rules that these are to replace")
    parser.add_argument(
        "--store-timeout",
        default=os.environ.get("IDEMPROXY_STORE_TIMEOUT", "250ms"),
        help="what serve will be given; every lease must outlast a call and three of these"
        " (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    try:
        store_timeout = parse_duration(arguments.store_timeout)
    except ValueError as error:
        raise ConfigError(f"--store-timeout: {error}") from error
    ruleset = load_rules(arguments.rules)
    mistakes = check_against_settings(ruleset, store_timeout)
    warnings = list(ruleset.warnings)
    if arguments.against is not None:
        old = load_rules(arguments.against)
        mistakes += compare(old, ruleset)
        warnings += cautions(old, ruleset)
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if mistakes:
        raise RulesError(mistakes)
    sys.stdout.write(_table(ruleset))
    return 0


def _table(ruleset: RuleSet) -> str:
    rows = [_HEAD, *(_row(rule) for rule in ruleset.rules)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    count = len(ruleset.rules)
    lines.append(f"{count} {'rule' if count == 1 else 'rules'}, digest {ruleset.digest}")
    return "\n".join(lines) + "\n"


def _row(rule: Rule) -> tuple[str, ...]:
    rollout, results = rule.rollout, rule.response.results
    share = "" if rollout.percent >= 100 else f" {rollout.percent:g}%, else {rollout.rest}"
    scope = ["global"] if rule.scope is None else [part_text(part) for part in rule.scope]
    return (
        rule.name,
        f"{rule.mode}{share}",
        str(rule.generation),
        f"{rule.match.method} {rule.match.path}",
        " ".join(scope),
        "detected" if rule.upstream.detects_duplicates else "not detected",
        f"by {rule.response.align}" if results is not None else "none",
    )
