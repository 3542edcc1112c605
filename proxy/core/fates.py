"""Many fates as columns. Law: it reads as the list of ``Fate`` that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.core.fate import Fate, Outcome
from rules.rows import AlikeRows


class AlikeFates(AlikeRows[Fate]):
    """Every item of a batch came to the same success."""

    __slots__ = ("outcome",)

    def __init__(self, results: Sequence[bytes], outcome: Outcome, processed_at: int) -> None:
        super().__init__(results, outcome is not Outcome.NEW, processed_at)
        self.outcome = outcome

    def _row(self, result: bytes) -> Any:
        return Fate(result, self.is_idempotent, self.processed_at, None, self.outcome)
