"""Many records of one time as columns. Law: it reads as the list of ``Done`` that it stands for.

What was done in one go is mostly asked for in one go again, and of its records nothing is looked at
but their results, by what makes the answer's list of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.core import codec
from proxy.core.native import usual_time
from proxy.core.record import Done
from rules.native import tails


class Replays(Sequence[Done]):
    """``results``: each a real one, and not sealed."""

    __slots__ = ("_values", "processed_at", "results")

    def __init__(
        self, values: Sequence[bytes], processed_at: int, results: Sequence[bytes]
    ) -> None:
        self._values = values
        self.processed_at = processed_at
        self.results = results

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return codec.decode(self._values[index])


def replays_of(values: Sequence[Any]) -> Replays | None:
    """Where all are usual records of one time, each with fingerprint and result, and this is the
    compiled build."""
    if usual_time is None or tails is None:
        return None
    processed_at = usual_time(values, codec.USUAL)
    if processed_at is None:
        return None
    return Replays(values, processed_at, tails(values, codec.USUAL_BYTES))
