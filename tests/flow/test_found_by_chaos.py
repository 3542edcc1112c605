"""What real processes under fire found in the driver, each as a small case of its own."""

from __future__ import annotations

from proxy.core.upstream import Call
from proxy.store.memory import MemoryStore
from tests.fakes.rig import Rig, items, make_rule
from tests.fakes.service import Service
from tests.fakes.stores import FaultyStore
from tests.fakes.virtual import virtual


def goes_down(store: FaultyStore) -> object:
    def step(_: Call) -> None:
        store.down_for = {"settle"}

    return step


@virtual
async def test_what_the_store_held_up_is_not_told_as_rejected() -> None:
    """The service rejected the batch, and the store went away before its parts could be sent: its
    422 would say of the good items that they can never be done."""
    store = FaultyStore(MemoryStore())
    service = Service(detects=False)
    rig = Rig(make_rule(upstream__detects_duplicates=False), store=store, service=service)
    service.script.append(goes_down(store))

    sent = await rig.send(items("a", "b", "c", "d", c="bad"))
    store.down_for.clear()
    assert await rig.flow.drain(10)

    assert sent.codes == ["STORE_UNAVAILABLE"] * 4
    assert len(service.batch_calls) == 1
    assert all(row["error"]["retryable"] for row in sent.results)


@virtual
async def test_what_is_all_bad_is_still_told_in_the_services_own_words() -> None:
    rig = Rig(make_rule(upstream__detects_duplicates=False), service=Service(detects=False))

    sent = await rig.send(items("a", "b", a="bad", b="bad"))

    assert (sent.status, sent.body) == (422, {"message": "bad value"})
