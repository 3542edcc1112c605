"""Whether a store answered for every key. In a module of its own, for it is compiled and
``proxy.store.base`` is not: a protocol that can be asked for at run time is an interpreted class.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.errors import StoreUnavailable


def has_outage(answer: Sequence[object]) -> bool:
    """Whether some key has no answer. Mostly all have the same one, which is seen at once."""
    if not answer:
        return False
    if answer[0] is answer[-1] and answer.count(answer[0]) == len(answer):
        return isinstance(answer[0], StoreUnavailable)
    return any(issubclass(kind, StoreUnavailable) for kind in set(map(type, answer)))
