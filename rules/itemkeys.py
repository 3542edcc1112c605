"""The key inside an item: exact bytes to a Key, or why there is none.

Law: the fast way and the exact way give the same answer. The fast way (one typed decode of the
whole array) is taken only where it is proven that no key member's name stands twice in an item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any, Final, cast

import msgspec

from rules.jsontext import escaped_spelling, json_string, parse, span_of
from rules.model import Key, Problem
from rules.pointer import Pointer

MAX_KEY_BYTES: Final = 255
MIN_KEY_INT: Final = -(2**63)
MAX_KEY_INT: Final = 2**64 - 1
SURE_TO_FIT: Final = MAX_KEY_BYTES // 4  # characters, of four bytes at most
_INT_TEXT_MAX: Final = 20  # what a 64-bit integer needs

# The upper bound of msgspec's constraint is 2**63-1; larger keys take the exact way.
_KeyText = Annotated[str, msgspec.Meta(max_length=MAX_KEY_BYTES)]
_KeyInt = Annotated[int, msgspec.Meta(ge=MIN_KEY_INT, le=2**63 - 1)]
_Tree = dict[str, Any]
_OBJECTS: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


class KeyReader:
    """Reads the keys of items by the rule's key pointers."""

    def __init__(self, pointers: tuple[Pointer, ...]) -> None:
        self._pointers = pointers
        self._tree = _tree(pointers)
        names = sorted({token for p in pointers for token in p.tokens})
        self._quoted = {name: json_string(name) for name in names}
        self._escaped = escaped_spelling(frozenset(names))
        fields = {name: f"f{i}" for i, name in enumerate(names)}
        # A pointer that is "", or the beginning of another one, has no leaf of its own; and
        # msgspec takes no member name that needs an escape.
        plain = all(quoted == f'"{n}"'.encode() for n, quoted in self._quoted.items())
        self._typed = plain and _leaves(self._tree) == len(pointers)
        item = _struct(self._tree if self._typed else {}, fields)
        self._distinct = _size(self._tree) == len(names)
        self._items = msgspec.json.Decoder(list[item])  # type: ignore[valid-type]
        self._item = msgspec.json.Decoder(item)
        paths = [".".join(fields[t] for t in p.tokens) for p in pointers]
        self._values: Callable[[Any], Any] = attrgetter(*paths)

    def read(
        self, raws: Sequence[bytes], array: bytes
    ) -> tuple[list[Key | None], dict[int, Problem]]:
        """The keys of ``raws``, whose elements are those of the JSON array ``array``.

        Raises DuplicateMember where a name on the way to a key stands twice in an item.
        """
        read = self.read_one
        if self._typed and not (b"\\" in array and self._escaped.search(array)):
            keys = self._read_all(len(raws), array)
            if keys is not None:
                return keys, {}
            read = self._read_one_fast
        each = list(map(read, raws))
        problems = {i: k for i, k in enumerate(each) if isinstance(k, Problem)}
        return [None if isinstance(k, Problem) else k for k in each], problems

    def _read_all(self, count: int, array: bytes) -> list[Key | None] | None:
        try:
            items = self._items.decode(array)
        except msgspec.DecodeError:
            return None
        if not (self._is_plain(array, count) or self._is_single(array, count, self._tree)):
            return None
        values = map(self._values, items)
        keys: list[Any] = list(values if len(self._pointers) > 1 else zip(values, strict=True))
        # The constraint counts characters, which are bytes only in ASCII.
        return keys if array.isascii() or _fit(keys) else None

    def _is_plain(self, array: bytes, count: int) -> bool:
        """Whether each name stands in one place only, and there once in each element."""
        return self._distinct and all(array.count(q) == count for q in self._quoted.values())

    def _is_single(self, array: bytes, count: int, tree: _Tree) -> bool:
        """Whether every name of ``tree`` stands once in each of the ``count`` elements, all of
        which are objects that have it at least once.

        It does where it stands ``count`` times in the text. If not, it may stand in the values
        too (an item's ``id`` and its customer's): then those are counted, which come apart from
        the repeated ones, of which msgspec keeps the last.
        """
        wanting = [name for name in tree if array.count(self._quoted[name]) != count]
        nested = {name: inner for name, inner in tree.items() if inner}
        if not wanting and not nested:
            return True
        objects = _OBJECTS.decode(array)
        values = b"\n".join(chain.from_iterable(map(dict.values, objects)))
        for name in wanting:
            quoted = self._quoted[name]
            if array.count(quoted) != count + values.count(quoted):
                return False
        return all(
            self._is_single(b"[" + b",".join([o[name] for o in objects]) + b"]", count, inner)
            for name, inner in nested.items()
        )

    def _read_one_fast(self, raw: bytes) -> Key | Problem:
        """One item beside others that have no good key."""
        if all(raw.count(quoted) == 1 for quoted in self._quoted.values()):
            with suppress(msgspec.DecodeError):
                value = self._values(self._item.decode(raw))
                key: Key = value if len(self._pointers) > 1 else (value,)
                if _fit([key]):
                    return key
        return self.read_one(raw)

    def read_one(self, raw: bytes) -> Key | Problem:
        """The key of one item, exactly. An item that is no object has no key: what is asked for
        does not stand there."""
        values: list[str | int] = []
        for pointer in self._pointers:
            span = span_of(raw, pointer)
            if span is None:
                return Problem.MISSING_KEY
            value = _key_value(raw[span[0] : span[1]])
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


def _fit(keys: Iterable[Key]) -> bool:
    texts = [v for v in chain.from_iterable(keys) if isinstance(v, str) and len(v) > SURE_TO_FIT]
    return all(len(text.encode()) <= MAX_KEY_BYTES for text in texts)


def _tree(pointers: tuple[Pointer, ...]) -> _Tree:
    """The pointers' tokens as a tree; a leaf is an empty one."""
    tree: _Tree = {}
    for pointer in pointers:
        node = tree
        for token in pointer.tokens:
            node = node.setdefault(token, {})
    return tree


def _size(tree: _Tree) -> int:
    return sum(1 + _size(node) for node in tree.values())


def _leaves(tree: _Tree) -> int:
    return sum(_leaves(node) if node else 1 for node in tree.values())


def _struct(tree: _Tree, fields: dict[str, str]) -> type[msgspec.Struct]:
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
