"""What follows from a rule alone, or from its terms, made once for each. Law: they never change.

They are found by identity: to hash a rule, or to compare two, is to walk through all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

_K = TypeVar("_K")
_T = TypeVar("_T")
_MOST: Final = 1024
"""Of which something is remembered; every reload makes new rules."""


def once_each(make: Callable[[_K], _T]) -> Callable[[_K], _T]:
    """``make``, called once for each of what is given to it."""
    made: dict[int, tuple[_K, _T]] = {}

    def known(one: _K) -> _T:
        found = made.get(id(one))
        if found is None:  # the entry holds it, so that no other can have its id
            if len(made) >= _MOST:
                made.clear()
            found = made[id(one)] = (one, make(one))
        return found[1]

    known.__doc__ = make.__doc__
    return known
