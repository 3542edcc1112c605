"""What the replies of a store have in common. In a module of its own, for it is compiled and
``proxy.store.base`` is not: a protocol that can be asked for at run time is an interpreted class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from proxy.errors import StoreUnavailable

_T = TypeVar("_T")


def sole(replies: Sequence[_T]) -> _T | None:
    """The one object that all of them are: so it is of nearly every batch of new items, and seen
    without a look at each. None: they differ, or there is none."""
    if not replies:
        return None
    one = replies[0]
    return one if one is replies[-1] and replies.count(one) == len(replies) else None


def has_outage(answer: Sequence[object]) -> bool:
    """Whether some key has no answer."""
    one = sole(answer)
    if one is not None:
        return isinstance(one, StoreUnavailable)
    return any(issubclass(kind, StoreUnavailable) for kind in set(map(type, answer)))
