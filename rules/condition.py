"""Conditions on a status and a document. Law: pure; a condition that does not apply is false."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rules.jsontext import same_value, text_of
from rules.pointer import MISSING, Pointer


@dataclass(frozen=True, slots=True)
class Condition:
    """A map of the rules file whose parts must all hold; a part that is None is not there.

    ``statuses`` are whole numbers or classes written ``5xx``. ``pointer`` is judged by the tests
    beside it: ``equals``, ``within`` (``in`` in the file), ``matches`` (searched in strings, in
    numbers by their text) and ``exists``; alone it asks that something stands there. ``any_in``
    with ``any_where``: some element of the list there satisfies the condition. A document that
    could not be parsed is MISSING: every part but the status is then false, negated ones too.
    """

    statuses: tuple[int | str, ...] = ()
    pointer: Pointer | None = None
    equals: Any = MISSING
    within: Sequence[Any] | None = None
    matches: re.Pattern[str] | None = None
    exists: bool | None = None
    any_in: Pointer | None = None
    any_where: Condition | None = None
    negated: Condition | None = None

    def holds(self, status: int | None, document: Any) -> bool:
        """Whether every part holds. ``status`` None: there is none (a result, a request body)."""
        if self.statuses and not self._status_holds(status):
            return False
        if self.needs_document and document is MISSING:
            return False
        return (
            (self.pointer is None or self._value_holds(self.pointer.get(document)))
            and (self.any_in is None or self._any_holds(self.any_in.get(document)))
            and (self.negated is None or not self.negated.holds(status, document))
        )

    @property
    def needs_document(self) -> bool:
        """Whether anything but the status is asked."""
        return (
            self.pointer is not None
            or self.any_in is not None
            or (self.negated is not None and self.negated.needs_document)
        )

    def _status_holds(self, status: int | None) -> bool:
        return status is not None and (
            status in self.statuses or f"{status // 100}xx" in self.statuses
        )

    def _any_holds(self, elements: Any) -> bool:
        where = self.any_where or Condition()
        return isinstance(elements, list) and any(where.holds(None, e) for e in elements)

    def _value_holds(self, value: Any) -> bool:
        if self.exists is not None and (value is not MISSING) != self.exists:
            return False
        if value is MISSING:
            return self.exists is False
        if self.equals is not MISSING and not same_value(value, self.equals):
            return False
        if self.within is not None and not any(same_value(value, w) for w in self.within):
            return False
        if self.matches is None:
            return True
        text = text_of(value)
        return text is not None and self.matches.search(text) is not None
