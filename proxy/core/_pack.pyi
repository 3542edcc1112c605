"""Of the compiled build; ``proxy.core.native`` says where it is to be had."""

from collections.abc import Callable, Iterable, Sequence

from proxy.core.record import Done
from rules.model import Key

class KeyDigester:
    def __init__(self, lead: bytes, key_size: int, heads: list[bytes]) -> None: ...
    def store_keys(self, keys: Iterable[Key]) -> list[bytes] | None: ...

def commit_words(
    fingerprints: Sequence[bytes | None], results: Sequence[bytes | None], head: bytes
) -> bytes | None: ...
def usual_records(
    values: Sequence[object], usual: bytes, make: Callable[[bytes, int, bytes, bytes], Done]
) -> list[Done] | None: ...
