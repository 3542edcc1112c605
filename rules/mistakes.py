"""What is wrong with a rules file, and where. Law: values only; ``file:line: field: message``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to correct. ``line`` counts from 1, 0 where there is none (a missing file);
    ``field`` is a path such as ``rules[0].upstream.timeout``, empty for the file as a whole."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (where, self.field, self.message) if part)


class RulesError(ValueError):
    """Rules that cannot be used; ``mistakes`` holds every mistake of every file."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(str(m) for m in mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule stands: ``path`` is ``rules[0]``; ``lines`` has the line of each of its
    fields by dotted name, the rule's own under the empty name."""

    file: str
    path: str
    lines: Mapping[str, int] = field(default_factory=dict)

    def mistake(self, name: str, message: str) -> Mistake:
        """A mistake in the field ``name``; a field that is left out has its parent's line."""
        outer = name
        while outer and outer not in self.lines:
            outer = outer.rpartition(".")[0]
        full = f"{self.path}.{name}" if self.path and name else self.path or name
        return Mistake(self.file, self.lines.get(outer, 0), full, message)
