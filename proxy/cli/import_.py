"""``idemproxy import``: write down keys that were processed before the proxy came.

One JSON object a line: ``rule``, ``scope``, ``key``, ``processedAt``, ``result``. After each part
that the store has, the place in the file is written beside it (FILE.progress), and the next run
goes on from there.

Exit code 0: every line is in the store. 1: some lines cannot be used, or the store gave up.
2: it could not begin.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from proxy.cli.client import visible, warn
from proxy.errors import ConfigError, StoreUnavailable
from proxy.importing import Bookmark, Importer, Reader, Tally
from proxy.logs import Telling, configure
from proxy.serve import make_keys, make_store
from proxy.settings import BY_FIELD, Settings, from_env_and_flags
from proxy.store.base import Store
from rules.load import load_rules
from rules.match import RuleSet

_FIELDS: Final = (
    *("rules", "store", "store_username", "store_password_file", "store_ca_file"),
    *("store_prefix", "store_timeout", "key_secret_file", "encryption_key_file"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="the lines; - for stdin, which cannot be gone on with")
    parser.add_argument("--restart", action="store_true", help="from the first line again")
    parser.add_argument("--dry-run", action="store_true", help="read every line, write nothing")
    for name in _FIELDS:
        setting = BY_FIELD[name]
        parser.add_argument(setting.flag, dest=name, metavar=setting.kind, help=setting.help)


def run(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    rules = load_rules(settings.rules)
    configure("warning", "text")
    try:
        return asyncio.run(_import(arguments, settings, rules))
    except StoreUnavailable as error:
        warn(f"the store gave up: {error}; the same command goes on from here")
    except KeyboardInterrupt:
        warn("stopped; the same command goes on from here")
    return 1


def _settings(arguments: argparse.Namespace) -> Settings:
    flags = {n: v for n in _FIELDS if (v := getattr(arguments, n)) is not None}
    settings = from_env_and_flags(os.environ, flags)
    if not settings.rules:
        raise ConfigError("import needs --rules: they say what a key is")
    if settings.store.startswith("memory:") and not arguments.dry_run:
        raise ConfigError("import needs --store: memory:// ends with this command")
    return settings


async def _import(arguments: argparse.Namespace, settings: Settings, rules: RuleSet) -> int:
    tally = Tally()
    reader = Reader(rules, make_keys(settings), tally)
    bookmark, offset = None, 0
    if arguments.file != "-" and not arguments.dry_run:
        bookmark = Bookmark(Path(arguments.file))
        offset = 0 if arguments.restart else bookmark.read(tally)
    before = tally.lines
    columns = (TextColumn("importing"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with _opened(arguments.file, offset) as (lines, size):
        async with _store(settings, dry=arguments.dry_run) as store:
            with Progress(*columns, console=Console(stderr=True)) as progress:
                bar = progress.add_task("", total=size, completed=offset)
                importer = Importer(store, tally, bookmark)
                await importer.run(
                    reader.parts(lines, offset), lambda place: progress.update(bar, completed=place)
                )
    if bookmark is not None:
        bookmark.remove()
    return _told(tally, before)


@contextmanager
def _opened(file: str, offset: int) -> Iterator[tuple[BinaryIO, int | None]]:
    """The lines from ``offset`` on, and the file's size where it is known."""
    if file == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(file)
    try:
        lines = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    with lines:
        lines.seek(offset)
        yield lines, path.stat().st_size


@asynccontextmanager
async def _store(settings: Settings, *, dry: bool) -> AsyncIterator[Store | None]:
    if dry:
        yield None
        return
    # Large parts are on their way side by side: what is slow then is not down.
    patient = replace(settings, store_timeout=max(5.0, settings.store_timeout))
    store = make_store(patient, Telling())
    try:
        await store.probe()
        yield store
    finally:
        await store.close()


def _told(tally: Tally, before: int) -> int:
    for line in tally.complaints:
        warn(visible(line))
    if tally.bad > len(tally.complaints):
        warn(f"and {tally.bad - len(tally.complaints)} more lines that cannot be used")
    earlier = f", {before} of them by an earlier run" if before else ""
    sys.stdout.write(
        f"{tally.lines} lines{earlier}: {tally.written} written, {tally.there_before} there "
        f"before, {tally.bad} that cannot be used\n"
    )
    return 1 if tally.bad else 0
