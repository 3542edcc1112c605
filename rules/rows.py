"""Many rows as columns. Law: it reads as the list of ``Row`` that it stands for.

The items of nearly every batch come to the same: all done just now, or all done before and in one
go. What renders them takes the columns, without a value for each item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from rules.row import Row

_Row_co = TypeVar("_Row_co", bound=Row, covariant=True)


class AlikeRows(Sequence[_Row_co], Generic[_Row_co]):
    """Successes that differ in their results alone."""

    __slots__ = ("is_idempotent", "processed_at", "results")

    def __init__(
        self, results: Sequence[bytes], is_idempotent: bool, processed_at: int | None
    ) -> None:
        self.results = results
        self.is_idempotent = is_idempotent
        self.processed_at = processed_at

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._row(self.results[index])

    def _row(self, result: bytes) -> Any:
        """The value that one result stands for."""
        return Row(result, self.is_idempotent, self.processed_at)
