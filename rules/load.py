"""The rules file: YAML text to a RuleSet. Law: every mistake of every file at once, or the rules.

Nothing half read is ever used: a folder with one bad file is refused whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rules.fields import FILE, RULE
from rules.load_build import build_rule
from rules.load_checks import relations
from rules.load_kinds import UNUSABLE, At
from rules.load_scalars import duration_text, parse_duration, parse_size
from rules.load_warnings import warnings_of
from rules.load_yaml import Node, parse_yaml
from rules.match import RuleSet
from rules.mistakes import Mistake, Place, RulesError
from rules.model import Rule

__all__ = [
    "Mistake",
    "RulesError",
    "check_against_settings",
    "load_rules",
    "parse_duration",
    "parse_rules",
    "parse_size",
    "read_sources",
]

STORE_TIMEOUT: Final = 0.25
"""Seconds; the default of the process setting that a lease must leave room for."""


def load_rules(path: str) -> RuleSet:
    """The rules of a file, or of a folder's ``*.yaml`` and ``*.yml`` in name order.

    Raises RulesError with every mistake.
    """
    return parse_rules(read_sources(path))


def read_sources(path: str) -> list[tuple[str, str]]:
    """The files as (name, text). Names that begin with a dot are left out: a ConfigMap's folder
    keeps its real data under such names, beside the links that are read."""
    top = Path(path)
    if not top.is_dir():
        return [(path, _text(top))]
    files = sorted(
        file
        for file in top.iterdir()
        if file.suffix in (".yaml", ".yml") and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise RulesError([Mistake(path, 0, "", "the folder holds no *.yaml or *.yml file")])
    return [(str(file), _text(file)) for file in files]


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise RulesError([Mistake(str(file), 0, "", error.strerror or str(error))]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RulesError([Mistake(str(file), line, "", "not UTF-8")]) from None


def parse_rules(sources: Sequence[tuple[str, str]]) -> RuleSet:
    """The rules in these (file name, text) pairs, in order. Raises RulesError."""
    mistakes: list[Mistake] = []
    places: dict[str, Place] = {}
    rules: list[Rule] = []
    for file, text in sources:
        found: list[Mistake] = []
        root = parse_yaml(file, text, found)
        if root is not None:
            rules += _read_file(file, root, places, found)
        mistakes += _in_order(found)
    if mistakes:
        raise RulesError(mistakes)
    return RuleSet(tuple(rules), places, tuple(warnings_of(rules, places)))


def _in_order(found: Sequence[Mistake]) -> list[Mistake]:
    """By line, and the first of several about one field: the others follow from it."""
    first: dict[tuple[int, str], Mistake] = {}
    for mistake in found:
        first.setdefault((mistake.line, mistake.field), mistake)
    return sorted(first.values(), key=lambda mistake: mistake.line)


def _read_file(
    file: str, root: Node, places: dict[str, Place], mistakes: list[Mistake]
) -> list[Rule]:
    got = FILE.read(At(file, root, "", mistakes))
    if got.value is UNUSABLE or got.value["rules"] is UNUSABLE:
        return []
    read = [_read_rule(at, places) for at in got.value["rules"]]
    return [rule for rule in read if rule is not None]


def _read_rule(at: At, places: dict[str, Place]) -> Rule | None:
    before = len(at.mistakes)
    place = Place(at.file, at.path, dict(at.node.lines()))
    got = RULE.read(At(at.file, at.node, at.path, at.mistakes, _detects(at.node)))
    if got.value is UNUSABLE:
        return None
    at.mistakes.extend(place.mistake(name, message) for name, message in relations(got.value))
    name = got.value["name"]
    if name is not UNUSABLE and name in places:
        first = places[name]
        where = f"{first.file}:{first.lines['name']}"
        at.mistakes.append(place.mistake("name", f"{name!r} is taken by the rule in {where}"))
    elif name is not UNUSABLE:
        places[name] = place
    return build_rule(got.value, got.plain) if len(at.mistakes) == before else None


def _detects(rule: Node) -> bool:
    """What the rule says of detection; it is needed before the defaults that depend on it."""
    upstream = rule.value.get("upstream") if isinstance(rule.value, dict) else None
    values = upstream.value if upstream is not None else None
    said = values.get("detects_duplicates") if isinstance(values, dict) else None
    return said is None or said.value is not False


def check_against_settings(ruleset: RuleSet, store_timeout: float = STORE_TIMEOUT) -> list[Mistake]:
    """What the process's settings make a mistake: a lease must outlast one call to the service
    and the three store calls around it, or the claim is lost while its request is under way."""
    made: list[Mistake] = []
    for rule in ruleset.rules:
        least = rule.upstream.timeout + 3 * store_timeout
        if rule.lease < least:
            place = ruleset.places.get(rule.name, Place("", f"rule {rule.name}"))
            words = f"upstream.timeout and three store timeouts, {duration_text(least)}"
            made.append(place.mistake("lease", f"must be at least {words}"))
    return made
