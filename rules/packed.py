"""A batch's keys as one text. Law: it reads as the list of ``Key`` that it stands for.

For each value of each key: a byte that is ``s`` for a string or ``i`` for an integer, a byte for
its length, and its text. Of most batches no key is ever looked at but by what makes store keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rules.model import Key

_INTEGER: Final = ord("i")


class PackedKeys(Sequence[Key]):
    """``values``: how many make one key."""

    __slots__ = ("_count", "_each", "packed", "values")

    def __init__(self, packed: bytes, count: int, values: int) -> None:
        self.packed = packed
        self.values = values
        self._count = count
        self._each: list[Key] | None = None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if self._each is None:
            self._each = self._read()
        return self._each[index]

    def __iter__(self) -> Iterator[Key]:
        if self._each is None:
            self._each = self._read()
        return iter(self._each)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self.packed)

    def _read(self) -> list[Key]:
        found: list[str | int] = []
        at, packed = 0, self.packed
        while at < len(packed):
            end = at + 2 + packed[at + 1]
            text = packed[at + 2 : end]
            found.append(int(text) if packed[at] == _INTEGER else text.decode())
            at = end
        return [tuple(found[i : i + self.values]) for i in range(0, len(found), self.values)]
