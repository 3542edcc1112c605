"""The readers of the compiled build. Law: they are asked first, and what they do not give the
exact way gives; the pure build has none of them and goes the exact way alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from rules.derived import once_each
from rules.model import Rule
from rules.pointer import Pointer

try:
    from rules import _scan
except ImportError:
    IS_HERE = False
else:
    IS_HERE = True

Items = tuple[bytes, Sequence[bytes | None], tuple[int, int], Sequence[bytes]]
Found = tuple[int, int, Sequence[bytes]]
EndedEach = Callable[[list[bytes], list[bytes | None], list[bytes]], bytes | None]
Spans = list[tuple[int, int] | None]


@once_each
def item_reader(rule: Rule) -> Callable[[bytes, int], Items | None] | None:
    """The packed keys and the fingerprints of the items in a body that is UTF-8, which are so many
    at most; where their array stands; and their bytes."""
    request = rule.request
    keys = tuple([pointer.tokens for pointer in request.key])
    excluded = tuple([pointer.tokens for pointer in request.fingerprint_exclude])
    if not IS_HERE or not all(keys) or not all(excluded):
        return None
    try:
        reader = _scan.ItemReader(request.items.tokens, keys, excluded, not request.ignore_mismatch)
    except ValueError:  # more pointers than it takes
        return None
    return reader.items


@once_each
def array_reader(pointer: Pointer) -> Callable[[bytes], Found | None] | None:
    """The array at ``pointer`` in a text that is UTF-8: where it stands, and its elements."""
    if not IS_HERE:
        return None
    try:
        return _scan.ArrayReader(pointer.tokens).read
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def member_finder(names: tuple[str, ...]) -> Callable[[bytes, int, int], Spans | None] | None:
    """Where the values of these members of an object stand, each the last of its name."""
    if not IS_HERE:
        return None
    try:
        return _scan.MemberFinder(names).find
    except ValueError:
        return None


def longest(texts: Sequence[bytes]) -> int:
    """Bytes of the longest of them, of which there is one."""
    if IS_HERE and isinstance(texts, _scan.Slices):
        return texts.longest
    return max(map(len, texts))


tails: Final = _scan.Tails if IS_HERE else None
"""What stands behind so many bytes of each of these texts."""

ended: Final[Callable[[Sequence[bytes], bytes, list[bytes]], bytes | None] | None] = (
    _scan.ended if IS_HERE else None
)
"""The array of results, each with another ending in place of its brace, where none of the names, in
quotes, may stand in any."""

ended_each: Final[EndedEach | None] = _scan.ended_each if IS_HERE else None
"""The same, each with its own ending; without one it stands as it is."""
