"""Many commits as columns. Law: it reads as the list of ``Commit`` that it stands for.

A batch that was accepted makes one for each item, all of them alike but for content and result;
what packs them for a store takes the columns, without a value for each item.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from proxy.core.record import Commit


class Commits(Sequence[Commit]):
    """Commits of one time, none of them from a template. ``results[i]`` None: without a body."""

    __slots__ = ("fingerprints", "processed_at", "results")

    def __init__(
        self,
        fingerprints: Sequence[bytes | None],
        processed_at: int,
        results: Sequence[bytes | None],
    ) -> None:
        self.fingerprints = fingerprints
        self.processed_at = processed_at
        self.results = results

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Commit]:
        at = self.processed_at
        return iter(
            [Commit(p, at, r) for p, r in zip(self.fingerprints, self.results, strict=True)]
        )

    def __getitem__(self, index: Any) -> Any:
        prints, results = self.fingerprints[index], self.results[index]
        kind = Commits if isinstance(index, slice) else Commit
        return kind(prints, self.processed_at, results)
