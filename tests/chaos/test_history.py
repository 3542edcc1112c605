"""What Redis lost is told exactly: from its files, real ones too."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from proxy.core import codec
from proxy.core.record import Done
from proxy.store.pipe import pack
from tests.chaos.history import History, first_times, lost, string_of_dump
from tests.chaos.ledger import DuplicateError, Ledger, Name
from tests.chaos.sentinel import Sentinel
from tests.fakes.redis_server import eventually, standalone


def life(folder: Path, number: int, kind: str, *commands: tuple[bytes, ...]) -> None:
    data = b"".join(pack(*command) for command in commands)
    (folder / f"appendonly.aof.{number}.{kind}.aof").write_bytes(data)


def history(folder: Path, *lives: list[tuple[bytes, ...]]) -> History:
    folder.mkdir()
    for number, commands in enumerate(lives, 1):
        life(folder, number, "base", *commands[:1])
        life(folder, number, "incr", *commands[1:])
    made = History()
    made.take(folder)
    assert list(folder.iterdir()) == []
    return made


SELECT = (b"SELECT", b"0")


def put(key: bytes, value: bytes) -> tuple[bytes, ...]:
    return (b"SET", key, value, b"PXAT", b"1795459933439")


def test_what_the_successor_never_saw_is_lost(tmp_path: Path) -> None:
    seen, gone = put(b"a", b"1"), put(b"a", b"2")
    old = history(tmp_path / "old", [SELECT, seen, gone], [put(b"a", b"3")])
    new = history(tmp_path / "new", [SELECT, seen, put(b"a", b"3")])

    assert lost([(new, old)]) == {b"a"}


def test_what_the_successor_saw_and_went_on_from_is_not(tmp_path: Path) -> None:
    old = history(tmp_path / "old", [SELECT, put(b"a", b"1"), put(b"a", b"2")], [put(b"a", b"3")])
    new = history(
        tmp_path / "new",
        [SELECT, put(b"a", b"1"), put(b"a", b"2"), put(b"a", b"3"), put(b"a", b"4")],
    )

    assert lost([(new, old)]) == set(), "nor is 4, which nobody had to take over"


def test_what_was_deleted_last_cannot_be_lost(tmp_path: Path) -> None:
    old = history(tmp_path / "old", [SELECT, put(b"a", b"1"), (b"DEL", b"a")])
    new = history(tmp_path / "new", [SELECT])

    assert lost([(new, old)]) == set()


def test_the_times_of_every_record_are_kept(tmp_path: Path) -> None:
    first, second = (codec.encode(Done(b"t" * 12, at, None, b"{}")) for at in (5, 6))
    made = history(
        tmp_path / "one", [SELECT, put(b"a", first), put(b"a", second), put(b"b", first)]
    )

    assert first_times([made]) == {b"a": {5, 6}, b"b": {5}}


def test_a_script_is_one_step_and_half_of_it_is_none(tmp_path: Path) -> None:
    begin, end = (b"MULTI",), (b"EXEC",)
    other = [begin, put(b"a", b"2"), put(b"a", b"1"), put(b"b", b"1"), (b"DEL", b"b"), end]
    whole = history(tmp_path / "whole", [SELECT, put(b"a", b"1"), *other])
    torn = history(tmp_path / "torn", [SELECT, put(b"a", b"1"), *other[:-1]])

    assert whole.had == {b"a": [b"1", b"1"]}
    assert list(whole.ends()) == [(b"a", b"1")]
    assert torn.had == {b"a": [b"1"]}


@pytest.mark.store
@pytest.mark.parametrize("size", [1, 63, 64, 5000, 20_000])
def test_a_dumped_value_is_read(size: int) -> None:
    value = b"x" * size if size > 1 else b"x"
    with standalone() as server:
        server.command("CONFIG", "SET", "rdbcompression", "no")
        server.command("SET", "a", value)
        assert string_of_dump(server.command("DUMP", "a")) == value


@pytest.mark.store
@pytest.mark.slow
async def test_a_real_failover_loses_exactly_what_its_replica_had_not_seen() -> None:
    stand = Sentinel(random.Random(1))
    stand.start()
    try:
        master = stand._group.master
        (replica,) = (server for server in stand.servers if server is not master)
        for number in range(100):
            master.command("SET", f"kept{number}", "v")
        eventually(lambda: replica.command("EXISTS", "kept99") == 1, "in step")
        replica.pause()
        master.command("CLIENT", "KILL", "TYPE", "REPLICA")  # else it reads on when it goes on
        for number in range(3):
            master.command("SET", f"gone{number}", "v")
        master.kill()
        replica.resume()
        stand._group.wait_for_failover(master)
        stand.revive(master, replica)
        stand._settled()

        found = lost(stand.histories())
    finally:
        stand.close()
    assert found == {b"gone0", b"gone1", b"gone2"}


def test_the_ledger_is_all_or_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", detects=True)
    ledger.execute("plain", "red", 1, [("a", "1"), ("b", "2")])

    with pytest.raises(DuplicateError):
        ledger.execute("plain", "red", 2, [("c", "3"), ("a", "1")])
    ledger.execute("plain", "blue", 3, [("a", "1")])
    ledger.close()

    effects = Ledger(tmp_path / "ledger.db", detects=True).effects()
    assert {(n.tenant, n.key): [e.attempt for e in es] for n, es in effects.items()} == {
        ("red", "a"): [1],
        ("red", "b"): [1],
        ("blue", "a"): [3],
    }


def test_without_detection_every_execution_is_an_effect(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", detects=False)
    (first,) = ledger.execute("plain", "red", 1, [("a", "1")])
    ledger.execute("plain", "red", 2, [("a", "1")])

    assert [e.attempt for e in ledger.effects()[Name("plain", "red", "a")]] == [1, 2]
    assert ledger.find(Name("plain", "red", "a")) == first
