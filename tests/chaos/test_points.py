"""What a link reads off Redis's wire, and the moments at which it kills."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest

from proxy.core.record import Commit, Extend, MarkDoubt, Release, Sent, Settlement, Terms
from proxy.store import wire
from proxy.store.evalsha import Script, command_of
from proxy.store.pipe import pack
from tests.chaos.points import Point, ServiceTap, StoreTap, Trap
from tests.chaos.resp import COMMIT, DOUBT, SENT, Conversation, Cutter, read_command

TERMS = Terms(3000, 60_000, detects_duplicates=False)
TOKEN = b"t" * 12
KEYS = [b"idem:{00}:v1:a", b"idem:{00}:v1:b"]
FIELDS = wire.pack_claims([b"f" * 16] * 2, TOKEN, TERMS)
CLAIMING = command_of(Script.of(wire.CLAIM_SCRIPT, b"W"), KEYS, FIELDS)
WON, BUSY = b"$1\r\nW\r\n", b"*2\r\n$3\r\nB\x00\x01\r\n$1\r\nM\r\n"
ONE_WON = b"*2\r\n$3\r\nB\x00\x01\r\n$1\r\nW\r\n"


def settling(*steps: Settlement) -> bytes:
    arguments = wire.pack_settles(steps, TOKEN, TERMS)
    return command_of(Script.of(wire.SETTLE_SCRIPT, b"A"), KEYS, arguments)


def test_messages_are_cut_wherever_the_network_cuts_them() -> None:
    messages = [CLAIMING, b"+OK\r\n", b":12\r\n", b"$-1\r\n", b"*0\r\n", WON, b"-MOVED 1 a:1\r\n"]
    stream = b"".join(messages)
    for size in (1, 2, 7, len(stream)):
        cutter = Cutter()
        found = [
            m for at in range(0, len(stream), size) for m in cutter.feed(stream[at : at + size])
        ]
        assert found == messages


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [
        ((Sent(), Sent()), {SENT}),
        ((Commit(b"f" * 16, 1, b"{}"), Release()), {COMMIT, 4}),
        ((MarkDoubt(b"f" * 16), Commit(None, 1, None)), {DOUBT, COMMIT}),
        ((MarkDoubt(None), Extend()), {DOUBT, 2}),
    ],
)
def test_the_steps_of_a_settle_are_read(steps: Sequence[Settlement], kinds: set[int]) -> None:
    assert read_command(settling(*steps)).steps == kinds


def test_nodes_are_shown_as_their_links() -> None:
    talk = Conversation({41001: 51001})
    talk.onward(pack(b"CLUSTER", b"SLOTS") + pack(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"m"))
    talk.onward(pack(b"GET", b"k") * 3)
    replies = (
        (
            b"*1\r\n*2\r\n$9\r\n127.0.0.1\r\n:41001\r\n",
            b"*1\r\n*2\r\n$9\r\n127.0.0.1\r\n:51001\r\n",
        ),
        (b"*2\r\n$1\r\nh\r\n$5\r\n41001\r\n", b"*2\r\n$1\r\nh\r\n$5\r\n51001\r\n"),
        (b"-MOVED 12 127.0.0.1:41001\r\n", b"-MOVED 12 127.0.0.1:51001\r\n"),
        (b"-ASK 12 127.0.0.1:41001\r\n", b"-ASK 12 127.0.0.1:51001\r\n"),
        (b"$7\r\n\r\n41001\r\n", b"$7\r\n\r\n41001\r\n"),  # a value, and not a node
    )
    for reply, shown in replies:
        assert [message for _, message in talk.back(reply)] == [shown]


class Victim:
    def __init__(self) -> None:
        self.deaths = 0
        self.trap = Trap(self.kill, random.Random(1))

    def kill(self) -> None:
        self.deaths += 1


StoreStep = tuple[Point, Callable[[StoreTap], bytes]]


def claimed(tap: StoreTap) -> bytes:
    tap.onward(CLAIMING)
    return tap.back(WON)


def announced(tap: StoreTap) -> bytes:
    tap.onward(settling(Sent(), Sent()))
    return tap.back(b"$1\r\nA\r\n")


STEPS: list[StoreStep] = [
    (Point.AFTER_CLAIM, claimed),
    (Point.AFTER_SENT, announced),
    (Point.MID_SETTLE, lambda tap: tap.onward(settling(Commit(None, 1, b"{}"), Release()))),
]


@pytest.mark.parametrize("point", Point)
async def test_a_proxy_is_killed_at_the_point_that_is_armed_and_at_no_other(point: Point) -> None:
    victim = Victim()
    waiting = asyncio.create_task(victim.trap.catch(point, 1.0))
    await asyncio.sleep(0)

    for own, step in STEPS:
        tap = StoreTap(victim.trap, {})
        step(tap)
        assert tap.ended == (own is point)
    service = ServiceTap(victim.trap)
    service.onward(b"POST /plain/items HTTP/1.1\r\n\r\n{}")
    assert service.ended == (point is Point.MID_FORWARD)
    service = ServiceTap(victim.trap)
    service._is_batch = True
    service.back(b"HTTP/1.1 200 OK\r\n\r\n")
    assert service.ended == (point is Point.AFTER_ANSWER)

    assert await waiting
    assert victim.deaths == 1


async def test_one_item_that_is_won_among_others_is_a_claim() -> None:
    victim = Victim()
    waiting = asyncio.create_task(victim.trap.catch(Point.AFTER_CLAIM, 1.0))
    await asyncio.sleep(0)
    tap = StoreTap(victim.trap, {})

    tap.onward(CLAIMING)
    tap.back(ONE_WON)

    assert tap.ended
    assert await waiting


async def test_nobody_is_killed_where_nothing_is_won_or_only_asked() -> None:
    victim = Victim()
    for point in (Point.AFTER_CLAIM, Point.MID_FORWARD, Point.AFTER_ANSWER):
        waiting = asyncio.create_task(victim.trap.catch(point, 0.02))
        await asyncio.sleep(0)
        store, service = StoreTap(victim.trap, {}), ServiceTap(victim.trap)
        store.onward(CLAIMING)
        assert store.back(BUSY) == BUSY
        lookup = b"GET /asked/items?key=k HTTP/1.1\r\n\r\n"
        assert service.onward(lookup) == lookup
        assert service.back(b"HTTP/1.1 404 Not Found\r\n\r\n").startswith(b"HTTP")
        assert not await waiting
    assert victim.deaths == 0
