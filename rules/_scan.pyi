"""The reader of the compiled build; ``rules.native`` says where it is to be had."""

from collections.abc import Sequence

from rules.model import Key

class ArrayReader:
    def __init__(self, tokens: tuple[str, ...]) -> None: ...
    def read(self, body: bytes) -> tuple[int, int, list[bytes]] | None: ...

class ItemReader(ArrayReader):
    def __init__(
        self,
        items: tuple[str, ...],
        keys: tuple[tuple[str, ...], ...],
        excluded: tuple[tuple[str, ...], ...],
        compares: bool,
    ) -> None: ...
    def items(
        self, body: bytes, most: int
    ) -> tuple[list[Key | None], list[bytes | None]] | None: ...

class MemberFinder:
    def __init__(self, names: tuple[str, ...]) -> None: ...
    def find(self, body: bytes) -> list[tuple[int, int] | None] | None: ...

def ended(results: Sequence[bytes], ending: bytes, names: list[bytes]) -> bytes | None: ...
