"""Of the compiled build; ``proxy.core.native`` says where it is to be had."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from proxy.core.record import Done
from rules.model import Key

_T = TypeVar("_T")
_R = TypeVar("_R")

class KeyDigester:
    def __init__(self, lead: bytes, key_size: int, heads: list[bytes]) -> None: ...
    def store_keys(self, keys: Iterable[Key]) -> list[bytes] | None: ...
    def of_packed(self, packed: bytes, values: int) -> list[bytes] | None: ...

def all_differ(keys: list[bytes]) -> bool | None: ...
def claim_fields(head: bytes, fingerprints: Sequence[bytes | None]) -> bytes | None: ...
def command(
    call: bytes, keys: Sequence[bytes], fields: bytes, more: int, values: bytes
) -> bytes: ...
def commit_words(
    fingerprints: Sequence[bytes | None], results: Sequence[bytes | None], head: bytes
) -> bytes | None: ...
def usual_time(values: Sequence[Any], usual: bytes) -> int | None: ...
def records_each(
    values: Sequence[_T],
    usual: bytes,
    make: Callable[[bytes, int, bytes, bytes], Done],
    otherwise: Callable[[_T], _R],
) -> list[Done | _R]: ...
def sets(
    start: bytes,
    keys: Sequence[bytes],
    head: bytes,
    fingerprints: Sequence[bytes | None],
    tail: bytes,
) -> bytes | None: ...
def unlike(
    fingerprints: Sequence[bytes | None], values: Sequence[object], usual: bytes
) -> list[int]: ...
