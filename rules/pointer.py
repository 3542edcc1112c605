"""JSON Pointer (RFC 6901), compiled once. Law: a pointer reads values and changes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")


class _Missing:
    """What ``get`` answers where nothing stands; None is JSON's null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


def index_in(token: str, length: int) -> int | None:
    """The index that ``token`` names in an array of ``length`` elements, or None."""
    if _INDEX.fullmatch(token) is None:
        return None
    index = int(token)
    return index if index < length else None


@dataclass(frozen=True, slots=True)
class Pointer:
    """``text`` is the pointer as written: ``""`` is the whole document (RFC 6901 section 5).

    Raises ValueError for a text that is no pointer.
    """

    text: str
    tokens: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.text and not self.text.startswith("/"):
            raise ValueError(f'a JSON Pointer is "" or starts with "/": {self.text!r}')
        if _BAD_ESCAPE.search(self.text):
            raise ValueError(
                f'"~" in a JSON Pointer is written "~0" and "/" is "~1": {self.text!r}'
            )
        parts = self.text.split("/")[1:]
        tokens = tuple(p.replace("~1", "/").replace("~0", "~") for p in parts)
        object.__setattr__(self, "tokens", tokens)

    def get(self, document: Any) -> Any:
        """The value in ``document`` (as ``rules.jsontext.parse`` makes it), or MISSING."""
        for token in self.tokens:
            if isinstance(document, dict):
                if token not in document:
                    return MISSING
                document = document[token]
            elif isinstance(document, list):
                index = index_in(token, len(document))
                if index is None:
                    return MISSING
                document = document[index]
            else:
                return MISSING
        return document
