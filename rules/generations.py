"""Whether new rules may take the place of old ones. Law: a stored result never changes its meaning.

A record is found by rule name, generation, scope and key. Where the new rules would find the old
records and read something else in them, the generation must rise, and then nothing old is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rules.match import RuleSet
from rules.mistakes import Mistake, Place
from rules.model import Rule

MEANING: Final = (
    "scope",
    "request.items",
    "request.key",
    "request.fingerprint.exclude",
    "response.results",
    "response.align",
    "response.key",
    "response.failed",
    *(
        f"upstream.lookup.{name}"
        for name in ("method", "path", "found", "not_found", "result", "keys", "results", "key")
    ),
)
"""The fields by which a record is found, its content compared, its result chosen. A lookup that
is added or taken away changes no result that is stored."""

_NO_DETECTION: Final = (
    "the service does not detect duplicates, so drain first: what the old generation recorded or"
    " has under way is unknown to the new one, and a retry of it is done again"
)


def compare(old: RuleSet, new: RuleSet) -> list[Mistake]:
    """What forbids ``new`` to take the place of ``old``; empty where nothing does."""
    made: list[Mistake] = []
    for before, rule, place in _both(old, new):
        if rule.generation < before.generation:
            message = f"was {before.generation}; a lower one brings old results back into use"
            made.append(place.mistake("generation", message))
        elif rule.generation == before.generation:
            message = "changed, which gives stored results another meaning:"
            message += f" raise generation to {before.generation + 1}"
            if not rule.upstream.detects_duplicates:
                message += f"; {_NO_DETECTION}"
            made += [place.mistake(name, message) for name in _changed(before, rule)]
    return made


def cautions(old: RuleSet, new: RuleSet) -> list[Mistake]:
    """What is allowed, and forgets what the old rules recorded."""
    made = [
        place.mistake("generation", f"was {before.generation}: {_NO_DETECTION}")
        for before, rule, place in _both(old, new)
        if rule.generation > before.generation and not rule.upstream.detects_duplicates
    ]
    gone = {_target(rule): rule.name for rule in old.rules if new.named(rule.name) is None}
    for rule in new.rules:
        name = gone.get(_target(rule))
        if name is not None and old.named(rule.name) is None:
            message = f"was {name!r}: nothing that is recorded under that name is found"
            made.append(_place(new, rule).mistake("name", message))
    return made


def _both(old: RuleSet, new: RuleSet) -> Iterator[tuple[Rule, Rule, Place]]:
    for rule in new.rules:
        before = old.named(rule.name)
        if before is not None:
            yield before, rule, _place(new, rule)


def _place(ruleset: RuleSet, rule: Rule) -> Place:
    return ruleset.places.get(rule.name, Place("", f"rule {rule.name}"))


def _target(rule: Rule) -> tuple[str, str, str]:
    return rule.match.method, rule.match.path, repr(rule.source.get("match"))


def _changed(before: Rule, rule: Rule) -> list[str]:
    has_lookups = before.upstream.lookup is not None and rule.upstream.lookup is not None
    names = [name for name in MEANING if has_lookups or not name.startswith("upstream.lookup.")]
    return [name for name in names if _at(before.source, name) != _at(rule.source, name)]


def _at(source: Any, name: str) -> Any:
    for part in name.split("."):
        source = source.get(part) if isinstance(source, dict) else None
    return source
