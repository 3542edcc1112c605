"""The key inside an item: exact bytes to a Key, or why there is none.

Law: the fast way and the exact way give the same answer. The fast way (one typed decode of the
whole array) is taken only where it is proven that no key member's name stands twice in an item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Final, cast

import msgspec

from rules.jsontext import parse, span_of
from rules.model import Key, Problem
from rules.pointer import Pointer

MAX_KEY_BYTES: Final = 255
MIN_KEY_INT: Final = -(2**63)
MAX_KEY_INT: Final = 2**64 - 1
_INT_TEXT_MAX: Final = 20  # what a 64-bit integer needs

# The upper bound of msgspec's constraint is 2**63-1; larger keys take the exact way.
_KeyText = Annotated[str, msgspec.Meta(max_length=MAX_KEY_BYTES)]
_KeyInt = Annotated[int, msgspec.Meta(ge=MIN_KEY_INT, le=2**63 - 1)]


class KeyReader:
    """Reads the keys of items by the rule's key pointers."""

    def __init__(self, pointers: tuple[Pointer, ...]) -> None:
        self._pointers = pointers
        self._names = sorted({token for p in pointers for token in p.tokens})
        self._quoted = [b'"' + name.encode() + b'"' for name in self._names]
        # Written with an escape, an ASCII name has at least one \u00XX.
        self._hidden = rb"\u00" if all(map(str.isascii, self._names)) else rb"\u"
        self._decoder, self._values = _compile(pointers, self._names)

    def read(
        self, raws: Sequence[bytes], array: bytes
    ) -> tuple[list[Key | None], dict[int, Problem]]:
        """The keys of ``raws``, whose elements are those of the JSON array ``array``.

        Raises DuplicateMember where a name on the way to a key stands twice in an item.
        """
        keys = self._read_fast(len(raws), array)
        if keys is not None:
            return keys, {}
        exact = [self.read_one(raw) for raw in raws]
        problems = {i: k for i, k in enumerate(exact) if isinstance(k, Problem)}
        return [None if isinstance(k, Problem) else k for k in exact], problems

    def _read_fast(self, count: int, array: bytes) -> list[Key | None] | None:
        if self._decoder is None or any(array.count(q) != count for q in self._quoted):
            return None
        if b"\\" in array and self._hidden in array:
            return None
        try:
            items = self._decoder.decode(array)
        except msgspec.DecodeError:
            return None
        keys = cast(list[Key | None], list(map(self._values, items)))
        # The constraint counts characters, which are bytes only in ASCII.
        return keys if array.isascii() or all(map(_fits, cast(list[Key], keys))) else None

    def read_one(self, raw: bytes) -> Key | Problem:
        """The key of one item, exactly. An item that is no object has no key: what is asked for
        does not stand there."""
        values: list[str | int] = []
        for pointer in self._pointers:
            span = span_of(raw, pointer)
            if span is None:
                return Problem.MISSING_KEY
            value = _key_value(raw[slice(*span)])
            if value is None:
                return Problem.INVALID_KEY
            values.append(value)
        return tuple(values)


def _key_value(raw: bytes) -> str | int | None:
    if raw.startswith(b'"'):
        text = cast(str, parse(raw))
        return text if len(text.encode()) <= MAX_KEY_BYTES else None
    if len(raw) <= _INT_TEXT_MAX and raw.removeprefix(b"-").isdigit():
        number = int(raw)
        return number if MIN_KEY_INT <= number <= MAX_KEY_INT else None
    return None


def _fits(key: Key) -> bool:
    return all(isinstance(v, int) or len(v.encode()) <= MAX_KEY_BYTES for v in key)


def _compile(
    pointers: tuple[Pointer, ...], names: list[str]
) -> tuple[msgspec.json.Decoder[list[Any]] | None, Callable[[Any], Key]]:
    """A decoder of items that keeps only what leads to the key, and what reads a key from it.

    None where the proof by counting would not hold: a pointer that is "" or the beginning of
    another one, a name that stands in two places, or one that JSON can write in other ways
    than with backslash-u.
    """
    tree: dict[str, Any] = {}
    for pointer in pointers:
        node = tree
        for token in pointer.tokens:
            node = node.setdefault(token, {})
    plain = all(n.isprintable() and not set(n) & set('"\\/') for n in names)
    if not plain or _size(tree) != len(names) or _leaves(tree) != len(pointers):
        return None, tuple
    fields = {name: f"f{i}" for i, name in enumerate(names)}
    paths = [".".join(fields[t] for t in p.tokens) for p in pointers]
    getter: Callable[[Any], Any] = attrgetter(*paths)

    def single(item: Any) -> Key:
        return (getter(item),)

    item = _struct(tree, fields)
    return msgspec.json.Decoder(list[item]), getter if len(paths) > 1 else single  # type: ignore[valid-type]


def _size(tree: dict[str, Any]) -> int:
    return sum(1 + _size(node) for node in tree.values())


def _leaves(tree: dict[str, Any]) -> int:
    return sum(_leaves(node) if node else 1 for node in tree.values())


def _struct(tree: dict[str, Any], fields: dict[str, str]) -> type[msgspec.Struct]:
    described = [
        (fields[name], _struct(node, fields) if node else _KeyText | _KeyInt)
        for name, node in tree.items()
    ]
    rename = {fields[name]: name for name in tree}
    return msgspec.defstruct("Item", described, rename=rename, gc=False)


@lru_cache(maxsize=1024)
def key_reader(pointers: tuple[Pointer, ...]) -> KeyReader:
    """The reader for these pointers, compiled once."""
    return KeyReader(pointers)
