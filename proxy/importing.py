"""Keys that were processed before the proxy came, line by line into the store.

Law: it only commits, and the first commit of a key stands, so that every line can be imported
again. Several parts of the file are on their way at once; the bookmark moves when all before it
are in the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from proxy.admin.model import KeyForm
from proxy.admin.records import milliseconds, read_key, read_scope
from proxy.core.keys import KeyMaker
from proxy.core.record import TOKEN_BYTES, Applied, Commit, Stands, Terms
from proxy.errors import StoreUnavailable
from proxy.preparing import terms_of
from proxy.store.base import Store
from rules.match import RuleSet
from rules.model import Key, Rule

_PART: Final = 512
_AT_ONCE: Final = 4
_TRIES: Final = 6
_SHOWN: Final = 20
_HEAD: Final = 65_536


class Line(Struct, forbid_unknown_fields=True):
    """One line. ``result`` left out: repeats are answered with the rule's duplicate_result."""

    rule: str
    key: KeyForm
    processedAt: str  # noqa: N815 -- the name in the file
    scope: list[str] = []
    result: Raw | UnsetType = UNSET


@dataclass(slots=True)
class Part:
    """Some lines of the file, in order, up to ``offset`` behind the last of them."""

    steps: dict[Terms, tuple[list[bytes], list[Commit]]] = field(default_factory=dict)
    lines: int = 0
    offset: int = 0


@dataclass(slots=True)
class Tally:
    """What became of the lines, those of an earlier run included where it is gone on with."""

    lines: int = 0
    bad: int = 0
    written: int = 0
    there_before: int = 0
    complaints: list[str] = field(default_factory=list)

    def refuse(self, number: int, why: str) -> None:
        self.bad += 1
        if len(self.complaints) < _SHOWN:
            self.complaints.append(f"line {number}: {why}")


class Reader:
    """Lines to parts. Keys of one rule, generation and scope are hashed together."""

    def __init__(self, rules: RuleSet, keys: KeyMaker, tally: Tally) -> None:
        self._rules = {rule.name: (rule, terms_of(rule)) for rule in rules.rules}
        self._keys, self._tally = keys, tally
        self._decode = msgspec.json.Decoder(Line).decode

    def parts(self, lines: BinaryIO, offset: int) -> Iterator[Part]:
        """The tally's lines, ``offset`` bytes, were read before."""
        number = self._tally.lines
        part, pending = Part(offset=offset), _Pending()
        for raw in lines:
            number += 1
            part.lines += 1
            part.offset += len(raw)
            if raw.strip():
                try:
                    pending.add(*self._read(raw))
                except (ValueError, msgspec.DecodeError) as error:
                    self._tally.refuse(number, str(error))
            if part.lines >= _PART:
                yield pending.into(part, self._keys)
                part, pending = Part(offset=part.offset), _Pending()
        if part.lines:
            yield pending.into(part, self._keys)

    def _read(self, raw: bytes) -> tuple[Rule, Terms, tuple[str, ...], Key, Commit]:
        line = self._decode(raw)
        known = self._rules.get(line.rule)
        if known is None:
            raise ValueError(f"no rule is named {line.rule!r}")
        rule, terms = known
        result = bytes(line.result) if isinstance(line.result, Raw) else None
        if result is not None and len(result) > rule.max_result_bytes:
            result = None
        commit = Commit(None, milliseconds(line.processedAt), result, template=result is None)
        return rule, terms, read_scope(rule, line.scope), read_key(rule, line.key), commit


class _Pending:
    def __init__(self) -> None:
        self._rows: dict[tuple[str, int, tuple[str, ...]], tuple[Terms, list[Key], list[Commit]]]
        self._rows = {}

    def add(
        self, rule: Rule, terms: Terms, scope: tuple[str, ...], key: Key, commit: Commit
    ) -> None:
        row = self._rows.setdefault((rule.name, rule.generation, scope), (terms, [], []))
        row[1].append(key)
        row[2].append(commit)

    def into(self, part: Part, keys: KeyMaker) -> Part:
        for (name, generation, scope), (terms, values, commits) in self._rows.items():
            store_keys, steps = part.steps.setdefault(terms, ([], []))
            store_keys += keys.store_keys(name, generation, scope, values)
            steps += commits
        return part


class Bookmark:
    """Where an earlier run of the same file came to. It is taken only where the file still begins
    with the same bytes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._path = file.with_name(file.name + ".progress")

    def read(self, tally: Tally) -> int:
        """The bytes that are done, 0 where there is no earlier run to go on with."""
        try:
            *numbers, head = self._path.read_text().split()
            lines, bad, offset = map(int, numbers)
        except (OSError, ValueError):
            return 0
        if head != self._head(offset):
            return 0
        tally.lines, tally.bad = lines, bad
        return offset

    def write(self, tally: Tally, offset: int) -> None:
        new = self._path.with_name(self._path.name + ".new")
        new.write_text(f"{tally.lines} {tally.bad} {offset} {self._head(offset)}\n")
        new.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def _head(self, offset: int) -> str:
        with self._file.open("rb") as lines:
            return hashlib.sha256(lines.read(min(offset, _HEAD))).hexdigest()


class Importer:
    """``store`` None: read every line and write nothing."""

    def __init__(self, store: Store | None, tally: Tally, bookmark: Bookmark | None) -> None:
        self._store, self._tally, self._bookmark = store, tally, bookmark

    async def run(self, parts: Iterator[Part], told: Callable[[int], None]) -> None:
        """``told`` gets the place in the file up to which all is done. Raises StoreUnavailable
        where the store does not come back."""
        under_way: list[Part] = []
        for part in parts:
            under_way.append(part)
            if len(under_way) >= _AT_ONCE:
                await self._write(under_way)
                told(part.offset)
                under_way = []
        if under_way:
            await self._write(under_way)
            told(under_way[-1].offset)

    async def _write(self, parts: Sequence[Part]) -> None:
        if self._store is not None:
            await asyncio.gather(
                *(
                    self._settle(self._store, keys, steps, terms)
                    for part in parts
                    for terms, (keys, steps) in part.steps.items()
                )
            )
        self._tally.lines += sum(part.lines for part in parts)
        if self._bookmark is not None:
            self._bookmark.write(self._tally, parts[-1].offset)

    async def _settle(
        self, store: Store, keys: list[bytes], steps: list[Commit], terms: Terms
    ) -> None:
        """The store's blips are waited for; repeating a commit with its token changes nothing."""
        token = secrets.token_bytes(TOKEN_BYTES)
        wait = 0.1
        for left in reversed(range(_TRIES)):
            try:
                replies = await store.settle(keys, steps, token, terms)
            except StoreUnavailable:
                if not left:
                    raise
                replies = []
            failed = [i for i, one in enumerate(replies) if isinstance(one, StoreUnavailable)]
            if replies and not failed:
                break
            if not left:
                raise StoreUnavailable("the store does not answer for some keys")
            await asyncio.sleep(wait)
            wait *= 2
        self._tally.written += sum(isinstance(one, Applied) for one in replies)
        self._tally.there_before += sum(isinstance(one, Stands) for one in replies)
