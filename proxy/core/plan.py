"""Fold the repeats inside a batch: which items are to be claimed. Law: pure, one pass.

The first item of a key is claimed as usual; a later one with the same key and content is its
echo; one with the same key and other content is a mismatch and claims nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from rules.model import Key, Problem


class Plan(NamedTuple):
    """Item indexes, each in request order; every item is in exactly one of the five."""

    firsts: tuple[int, ...]
    echoes: Mapping[int, int]
    """Echo index -> the first's index."""
    mismatches: tuple[int, ...]
    unkeyed: tuple[int, ...]
    """No key, and the rule forwards such items: never deduplicated."""
    invalid: Mapping[int, Problem]


_NONE: Final[Mapping[int, Any]] = MappingProxyType({})
_USUAL_SIZE: Final = 256
_PLAIN: Final[dict[int, Plan]] = {}  # by size, which is all that such a plan says


def plain_plan(count: int) -> Plan:
    """Every item has a key of its own."""
    plan = _PLAIN.get(count)
    if plan is None:
        plan = Plan(tuple(range(count)), _NONE, (), (), _NONE)
        if count <= _USUAL_SIZE:
            _PLAIN[count] = plan
    return plan


def make_plan(
    keys: Sequence[Key | None],
    problems: Mapping[int, Problem],
    fingerprints: Sequence[bytes | None],
    *,
    forward_missing_key: bool,
) -> Plan:
    """``fingerprints[i]`` None: content is not compared, so every repeat is an echo."""
    if not problems and len(set(keys)) == len(keys):  # nearly every batch: nothing to fold
        return plain_plan(len(keys))
    seen: dict[Key, int] = {}
    firsts: list[int] = []
    echoes: dict[int, int] = {}
    mismatches: list[int] = []
    unkeyed: list[int] = []
    invalid: dict[int, Problem] = {}
    for index, key in enumerate(keys):
        if key is None:
            problem = problems[index]
            if forward_missing_key and problem is Problem.MISSING_KEY:
                unkeyed.append(index)
            else:
                invalid[index] = problem
            continue
        first = seen.setdefault(key, index)
        if first == index:
            firsts.append(index)
        elif fingerprints[first] == fingerprints[index]:
            echoes[index] = first
        else:
            mismatches.append(index)
    return Plan(tuple(firsts), echoes, tuple(mismatches), tuple(unkeyed), invalid)
