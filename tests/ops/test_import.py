"""import: every line is in the store or named; fast; gone on with where it stopped."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import main
from proxy.core.keys import KeyMaker
from proxy.core.record import Commit, Done, Settlement, SettleReply, Terms
from proxy.errors import StoreUnavailable
from proxy.importing import Bookmark, Importer, Reader, Tally
from proxy.store import open_store
from proxy.store.memory import MemoryStore
from rules.load import load_rules
from tests.fakes.redis_server import RedisServer, standalone
from tests.ops.desk import RULES

Capture = pytest.CaptureFixture[str]
Write = Callable[[str, str], str]


def line(number: int, **more: Any) -> str:
    row = {
        "rule": "orders",
        "scope": [f"t{number % 7}"],
        "key": f"k{number}",
        "processedAt": "2026-11-01T10:00:00.250Z",
        "result": {"id": number},
    }
    row |= more
    return json.dumps({name: value for name, value in row.items() if value is not None}) + "\n"


@pytest.fixture
def rules(write: Write) -> str:
    return write("rules.yaml", RULES)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with standalone() as server:
        yield server


async def records(redis: RedisServer, keys: list[bytes]) -> list[Any]:
    store = open_store(redis.url, timeout=5)
    try:
        return await store.read(keys)
    finally:
        await store.close()


def key(number: int, prefix: str) -> bytes:
    return KeyMaker(prefix).store_key("orders", 1, (f"t{number % 7}",), (f"k{number}",))


@pytest.mark.store
def test_100_000_keys_in_less_than_ten_seconds(
    redis: RedisServer, rules: str, write: Write, capsys: Capture
) -> None:
    file = write("many", "".join(line(n) for n in range(100_000)))
    words = ["import", file, "--rules", rules, "--store", redis.url, "--store-prefix", "many"]
    begun = time.monotonic()
    assert main(words) == 0
    assert time.monotonic() - begun < 10
    assert "100000 lines: 100000 written, 0 there before" in capsys.readouterr().out
    first, last = asyncio.run(records(redis, [key(0, "many"), key(99_999, "many")]))
    assert isinstance(first, Done)
    assert first.result == b'{"id": 0}'
    assert first.fingerprint is None
    assert first.processed_at == 1_793_527_200_250
    assert isinstance(last, Done)
    ttl = redis.command("PTTL", key(0, "many"))
    assert 86_000_000 < ttl <= 86_400_000
    assert main(words) == 0
    assert "0 written, 100000 there before" in capsys.readouterr().out


@pytest.mark.store
def test_the_first_commit_stands(
    redis: RedisServer, rules: str, write: Write, capsys: Capture
) -> None:
    words = ["--rules", rules, "--store", redis.url, "--store-prefix", "first"]
    assert main(["import", write("a", line(1)), *words]) == 0
    assert main(["import", write("b", line(1, result={"id": "other"})), *words]) == 0
    assert "1 there before" in capsys.readouterr().out
    (record,) = asyncio.run(records(redis, [key(1, "first")]))
    assert record.result == b'{"id": 1}'


BAD = [
    ("nonsense\n", "malformed"),
    (line(1, rule="nothing"), "nothing"),
    (line(1, scope=[]), "scope"),
    (line(1, key=None), "key"),
    (line(1, key=["a", "b"]), "value"),
    (line(1, key="x" * 256), "255"),
    (line(1, processedAt="yesterday"), "isoformat"),
    (line(1, processedAt="2026-11-01T10:00:00"), "offset"),
    (line(1, processedAt=None), "processedAt"),
    (line(1, extra=1), "extra"),
]


@pytest.mark.parametrize(("bad", "hint"), BAD)
def test_a_bad_line_is_named_and_the_others_go_on(
    rules: str, write: Write, capsys: Capture, bad: str, hint: str
) -> None:
    file = write("lines", line(0) + "\n" + bad + line(2))
    assert main(["import", file, "--rules", rules, "--dry-run"]) == 1
    out, err = capsys.readouterr()
    assert "4 lines: 0 written, 0 there before, 1 that cannot be used" in out
    assert "line 3:" in err
    assert hint in err


@pytest.mark.parametrize(
    "good", [line(1, result=None), line(1, key=7), line(1, processedAt="2026-11-01T12:00:00+02:00")]
)
def test_a_good_line_is_not(rules: str, write: Write, capsys: Capture, good: str) -> None:
    assert main(["import", write("lines", good), "--rules", rules, "--dry-run"]) == 0
    assert "0 that cannot be used" in capsys.readouterr().out


def test_lines_come_from_stdin_too(
    rules: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line(1).encode())))
    assert main(["import", "-", "--rules", rules, "--dry-run"]) == 0
    assert "1 lines" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--store", "redis://127.0.0.1:1"], "--rules"),
        (["--rules", "RULES"], "--store"),
        (["--rules", "/no/such", "--dry-run"], "/no/such"),
        (["--rules", "RULES", "--dry-run", "--store", "ftp://x"], "x"),
    ],
)
def test_what_cannot_begin_is_exit_code_2(
    rules: str, write: Write, capsys: Capture, words: list[str], hint: str
) -> None:
    file = write("lines", line(1)) if "ftp" not in hint else "/no/such"
    given = [rules if word == "RULES" else word for word in words]
    if "ftp://x" in words:
        file = "/no/such/file"
        given, hint = ["--rules", rules, "--dry-run"], "/no/such/file"
    assert main(["import", file, *given]) == 2
    assert hint in capsys.readouterr().err


# ---- going on ---------------------------------------------------------------------------------


class Failing(MemoryStore):
    """Fails ``failures`` settles, each after ``after`` that work."""

    def __init__(self, after: int, failures: int) -> None:
        super().__init__()
        self.after, self.failures = after, failures
        self.settled = 0

    async def settle(
        self, keys: Any, steps: Any, token: bytes, terms: Terms
    ) -> list[SettleReply | StoreUnavailable]:
        self.after -= 1
        if self.after < 0 and self.failures:
            self.failures -= 1
            raise StoreUnavailable("blip")
        given: list[Settlement] = list(steps)
        self.settled += sum(isinstance(step, Commit) for step in given)
        return await super().settle(keys, given, token, terms)


async def run(file: Path, rules: str, store: MemoryStore) -> tuple[Tally, list[int]]:
    tally, bookmark, places = Tally(), Bookmark(file), list[int]()
    reader = Reader(load_rules(rules), KeyMaker(), tally)
    with file.open("rb") as lines:
        lines.seek(bookmark.read(tally))
        importer = Importer(store, tally, bookmark)
        await importer.run(reader.parts(lines, lines.tell()), places.append)
    return tally, places


async def test_a_blip_of_the_store_is_waited_for(rules: str, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("".join(line(n) for n in range(3000)))
    store = Failing(after=2, failures=2)
    tally, places = await run(file, rules, store)
    assert (tally.lines, tally.written) == (3000, 3000)
    assert len(store) == 3000
    assert places == sorted(places)
    assert places[-1] == file.stat().st_size


async def test_the_next_run_goes_on_where_this_one_stopped(rules: str, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("nonsense\n" + "".join(line(n) for n in range(5000)))
    stopping = Failing(after=5, failures=10_000)
    reader_error: type[Exception] = StoreUnavailable
    task = asyncio.create_task(run(file, rules, stopping))
    with pytest.raises(reader_error):
        await asyncio.wait_for(task, 30)
    done = Tally()
    offset = Bookmark(file).read(done)
    assert (done.lines, done.bad) == (2048, 1)
    assert offset > 0
    second = MemoryStore()
    tally, _ = await run(file, rules, second)
    assert (tally.lines, tally.bad, tally.written) == (5001, 1, 5001 - 2048)
    assert len(second) == 5001 - 2048


def test_a_bookmark_of_another_file_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text(line(1) * 10)
    Bookmark(file).write(Tally(lines=5, bad=2), 50)
    found = Tally()
    assert Bookmark(file).read(found) == 50
    assert (found.lines, found.bad) == (5, 2)
    file.write_text(line(2) * 10)
    found = Tally()
    assert Bookmark(file).read(found) == 0
    assert found.lines == 0


@pytest.mark.store
def test_a_finished_import_leaves_no_bookmark(
    redis: RedisServer, rules: str, write: Write, tmp_path: Path
) -> None:
    file = write("lines", line(1))
    assert main(["import", file, "--rules", rules, "--store", redis.url]) == 0
    assert not list(tmp_path.glob("lines.progress*"))
