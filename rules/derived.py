"""What follows from a rule alone, made once for each. Law: a rule never changes.

Rules are found by identity: to hash one, or to compare two, is to walk through all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from rules.model import Rule

_T = TypeVar("_T")
_MOST: Final = 1024
"""Rules that are remembered; every reload makes new ones."""


def once_a_rule(make: Callable[[Rule], _T]) -> Callable[[Rule], _T]:
    """``make``, called once for a rule."""
    made: dict[int, tuple[Rule, _T]] = {}

    def known(rule: Rule) -> _T:
        found = made.get(id(rule))
        if found is None:  # the entry holds the rule, so that no other can have its id
            if len(made) >= _MOST:
                made.clear()
            found = made[id(rule)] = (rule, make(rule))
        return found[1]

    known.__doc__ = make.__doc__
    return known
