"""Encrypted results: what the store holds cannot be read, and what clients get is the same."""

from __future__ import annotations

import base64
import logging
import os

import pytest

from proxy.core.record import Applied, Commit, Done, Stands, Won
from proxy.errors import ConfigError
from proxy.store.memory import MemoryStore
from proxy.store.sealed import SealedStore, Sealer
from tests.store.stands import PRINT, TERMS, keys, token

RESULT = b'{"card":"4111"}'
OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def sealer(text: str) -> Sealer:
    return Sealer.from_text(text)


async def committed(store: SealedStore, key: bytes, result: bytes | None = RESULT) -> Done:
    me = token()
    await store.settle([key], [Commit(PRINT, 1, result)], me, TERMS)
    return Done(me, 1, PRINT, result)


async def replayed(store: SealedStore, key: bytes) -> Done:
    (reply,) = await store.claim([key], [PRINT], token(), TERMS)
    assert isinstance(reply, Done)
    return reply


async def stored(inner: MemoryStore, key: bytes) -> Done:
    (record,) = await inner.read([key])
    assert isinstance(record, Done)
    return record


@pytest.mark.parametrize("result", [RESULT, b"", os.urandom(70_000)])
async def test_what_is_stored_cannot_be_read_and_what_is_replayed_is_the_same(
    result: bytes,
) -> None:
    inner = MemoryStore()
    store = SealedStore(inner, sealer(f"a:{OLD}"))
    (key,) = keys(1)

    done = await committed(store, key, result)

    held = await stored(inner, key)
    assert held.sealed
    assert held.result is not None
    assert not result or result not in held.result
    assert await replayed(store, key) == done
    assert await store.read([key]) == [done]
    (reply,) = await store.settle([key], [Commit(PRINT, 2, b"x")], token(), TERMS)
    assert reply == Stands(done)


async def test_a_record_without_a_body_has_nothing_to_seal() -> None:
    inner = MemoryStore()
    store = SealedStore(inner, sealer(f"a:{OLD}"))
    (key,) = keys(1)

    done = await committed(store, key, None)

    assert not (await stored(inner, key)).sealed
    assert await replayed(store, key) == done


async def test_records_from_before_the_encryption_stay_readable() -> None:
    inner = MemoryStore()
    (key,) = keys(1)
    done = await committed(SealedStore(inner, Sealer({})), key)

    assert await replayed(SealedStore(inner, sealer(f"a:{OLD}")), key) == done


async def test_a_list_of_sealed_and_clear_and_new_is_opened_place_by_place() -> None:
    inner = MemoryStore()
    clear, sealed, fresh, other = keys(4)
    store = SealedStore(inner, sealer(f"a:{OLD}"))
    before = await committed(SealedStore(inner, Sealer({})), clear)
    after = [await committed(store, key, key) for key in (sealed, other)]
    names = [sealed, clear, fresh, other]

    assert await store.read(names) == [after[0], before, None, after[1]]
    replies = await store.claim(names, [PRINT] * 4, token(), TERMS)
    assert replies == [after[0], before, Won(1), after[1]]
    settled = await store.settle(names, [Commit(PRINT, 2, b"x")] * 4, token(), TERMS)
    assert settled == [Stands(after[0]), Stands(before), Applied(), Stands(after[1])]


async def test_keys_can_be_rotated() -> None:
    inner = MemoryStore()
    first, second = keys(2)
    old = await committed(SealedStore(inner, sealer(f"old:{OLD}")), first)
    both = SealedStore(inner, sealer(f"new:{NEW}\nold:{OLD}\n"))
    new = await committed(both, second)

    assert await replayed(both, first) == old
    assert await replayed(both, second) == new
    assert await replayed(SealedStore(inner, sealer(f"new:{NEW}")), second) == new


@pytest.mark.parametrize("now", [f"new:{NEW}", f"old:{NEW}", ""], ids=["gone", "other", "none"])
async def test_what_cannot_be_opened_is_a_record_without_a_body(
    now: str, caplog: pytest.LogCaptureFixture
) -> None:
    inner = MemoryStore()
    names = keys(3)
    for name in names:
        await committed(SealedStore(inner, sealer(f"old:{OLD}")), name)
    store = SealedStore(inner, sealer(now) if now else Sealer({}))

    with caplog.at_level(logging.WARNING):
        records = [await replayed(store, name) for name in names]

    assert {record.result for record in records} == {None}
    assert len(caplog.records) == 1  # once an id, not once a record


async def test_a_result_cannot_be_moved_to_another_record() -> None:
    inner = MemoryStore()
    store = SealedStore(inner, sealer(f"a:{OLD}"))
    one, other = keys(2)
    await committed(store, one)
    held = await stored(inner, one)
    moved = Commit(PRINT, 1, held.result, sealed=True)
    await inner.settle([other], [moved], token(), TERMS)

    assert (await replayed(store, one)).result == RESULT
    assert (await replayed(store, other)).result is None


@pytest.mark.parametrize("change", [b"", b"\x01", b"\x01a", b"\xffa", b"\x01a" + bytes(28)])
async def test_a_damaged_result_is_no_error(change: bytes) -> None:
    inner = MemoryStore()
    store = SealedStore(inner, sealer(f"a:{OLD}"))
    (key,) = keys(1)
    await inner.settle([key], [Commit(PRINT, 1, change, sealed=True)], token(), TERMS)

    assert (await replayed(store, key)).result is None


async def test_the_probe_says_whether_results_are_encrypted() -> None:
    inner = MemoryStore()

    assert (await SealedStore(inner, Sealer({})).probe()).facts["results"] == "in the clear"
    sealed = SealedStore(inner, sealer(f"# ours\n\na:{OLD}"))
    assert (await sealed.probe()).facts["results"] == "encrypted"
    assert await sealed.scan() == ("", [])
    await sealed.close()


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "no key"),
        ("# only words\n", "no key"),
        (OLD, "line 1"),
        (f":{OLD}", "line 1"),
        (f"a:{OLD}\nb:short", "line 2"),
        (f"a:{base64.b64encode(bytes(16)).decode()}", "line 1"),
        (f"a:{OLD}\na:{NEW}", "'a' is repeated"),
        (f"{'a' * 256}:{OLD}", "line 1"),
    ],
)
def test_a_key_file_that_cannot_be_used(text: str, mistake: str) -> None:
    with pytest.raises(ConfigError, match=mistake) as caught:
        Sealer.from_text(text)

    assert OLD not in str(caught.value)
