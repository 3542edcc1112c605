"""The Redis store beside the transition table: same answers, same records, same expiries, always;
by scripts alone, and with claims as plain commands.

The scripts take the time from the server, so that the table is asked with every millisecond
between two readings of the server's clock: at one of them it must say exactly what came back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from msgspec.structs import replace

from proxy.core import transitions
from proxy.core.codec import decode
from proxy.core.record import (
    LEEWAY,
    Busy,
    Commit,
    Done,
    Extend,
    Forget,
    Held,
    MarkDoubt,
    Record,
    Release,
    Sent,
    Settlement,
    Terms,
)
from tests.fakes.redis_server import RedisServer
from tests.store.stands import RedisStand, keys

pytestmark = pytest.mark.store

LEASE = 20_000
TERMS = [
    # No two leases are the same, as one token has one request's terms: the keys of one token and
    # one deadline then expire together here as well.
    Terms(LEASE, 50_000_000, detects_duplicates=True),
    Terms(LEASE + 1, 50_000_000, detects_duplicates=False),
    Terms(LEASE + 2, 50_000_000, detects_duplicates=False, has_lookup=True),
    Terms(LEASE + 3, 50_000_000, detects_duplicates=False, has_lookup=True, settles_within=7_000),
    Terms(LEASE * 2, 900_000_000, detects_duplicates=True, has_lookup=True, settles_within=0),
    Terms(LEASE + 4, 50_000_000, detects_duplicates=False, settles_within=7_000),
]
TOKENS = [bytes([n]) * 12 for n in range(3)]
PRINTS = st.sampled_from([None, b"f" * 16, b"g" * 16])
STEPS = st.one_of(
    st.sampled_from([Sent(), Extend(), Release(), Forget(), Forget(force=True)]),
    st.builds(MarkDoubt, PRINTS),
    st.builds(
        Commit,
        fingerprint=PRINTS,
        processed_at=st.sampled_from([5, 6]),
        result=st.sampled_from([None, b"", b"{}", b'{"id":1}']),
        template=st.booleans(),
        sealed=st.booleans(),
    ),
)
PLACES = st.integers(0, 4)
ODD = st.one_of(
    st.binary(max_size=50),
    st.tuples(st.sampled_from([1, 1, 1, 2]), st.integers(0, 255), st.binary(max_size=48)).map(
        lambda parts: bytes(parts[:2]) + parts[2]
    ),
)
_Outcome = tuple[list[Any], list[Record | None]]
Transition = Callable[[Record | None, Any, int], tuple[Record | None, Any, int]]


class Scripts(RuleBasedStateMachine):
    server: RedisServer
    latest = 0  # ms
    stood: Callable[[RedisServer], Awaitable[RedisStand]]

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.stand = self.runner.run(self._stand())
        self.keys = keys(5)

    async def _stand(self) -> RedisStand:
        return await self.stood(self.server)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.stand.store.close())
            self.runner.close()

    @rule(
        items=st.lists(st.tuples(PLACES, PRINTS), min_size=1, max_size=6),
        token=st.sampled_from(TOKENS),
        terms=st.sampled_from(TERMS),
    )
    def claim(self, items: list[tuple[int, bytes | None]], token: bytes, terms: Terms) -> None:
        names = [self.keys[place] for place, _ in items]
        fingerprints = [fingerprint for _, fingerprint in items]
        self._compare(
            items,
            lambda: self.runner.run(self.stand.store.claim(names, fingerprints, token, terms)),
            lambda record, own, now: transitions.claim(record, own, token, terms, now),
        )

    @rule(
        items=st.lists(st.tuples(PLACES, STEPS), min_size=1, max_size=6),
        token=st.sampled_from(TOKENS),
        terms=st.sampled_from(TERMS),
    )
    def settle(self, items: list[tuple[int, Settlement]], token: bytes, terms: Terms) -> None:
        names = [self.keys[place] for place, _ in items]
        steps = [step for _, step in items]
        self._compare(
            items,
            lambda: self.runner.run(self.stand.store.settle(names, steps, token, terms)),
            lambda record, step, now: transitions.settle(record, step, token, terms, now),
        )

    @rule(
        places=st.lists(PLACES, min_size=1, unique=True),
        token=st.sampled_from(TOKENS),
        terms=st.sampled_from(TERMS),
    )
    def do_together_and_ask_again(self, places: list[int], token: bytes, terms: Terms) -> None:
        done = Commit(b"f" * 16, 5, b"{}")
        self.settle([(place, done) for place in places], token, terms)
        self.claim([(place, done.fingerprint) for place in places], token, terms)

    @rule(milliseconds=st.sampled_from([1, 3_000, 7_000, LEASE, 3 * LEASE]))
    def pass_time(self, milliseconds: int) -> None:
        self.runner.run(self.stand.pass_time(self.keys, milliseconds))

    @rule(place=PLACES, value=ODD)
    def another_release_writes(self, place: int, value: bytes) -> None:
        self.server.command("SET", self.keys[place], value, "PX", 40_000_000)

    def _compare(
        self, items: list[tuple[int, Any]], call: Callable[[], Any], table: Transition
    ) -> None:
        before, lived = self._records(), self._expiries()
        start = self._clock()
        replies = list(call())  # the compiled build answers with other sequences than a list too
        end = self._clock()
        after, live = self._records(), self._expiries()
        got = (replies, after)
        said = [self._expect(items, before, table, now) for now in range(start, end + 1)]
        expiries = next((ttls for *one, ttls in said if self._is_one(got, *one)), None)
        assert expiries is not None, (said, got)
        for place, (was, now_left) in enumerate(zip(lived, live, strict=True)):
            expected = expiries.get(place, was)
            most = expected + LEEWAY if isinstance(after[place], Done) else expected
            assert expected - 5_000 <= now_left <= most, (place, expiries, lived, live)

    def _is_one(self, got: _Outcome, replies: list[Any], records: list[Record | None]) -> bool:
        """Whether this is it. By plain commands a claim takes the server's time to be the latest
        that it can be."""
        pairs = list(zip(got[1], records, strict=True))
        for place, (here, there) in enumerate(pairs):
            if isinstance(here, Held) and isinstance(there, Held) and here != there:
                late = here.deadline - there.deadline
                if 0 <= late <= self.latest:
                    pairs[place] = here, replace(there, deadline=here.deadline)
        return got[0] == replies and all(here == there for here, there in pairs)

    @staticmethod
    def _expect(
        items: list[tuple[int, Any]], before: list[Record | None], table: Transition, now: int
    ) -> tuple[list[Any], list[Record | None], dict[int, int]]:
        """What the table answers and leaves, and the new expiries of what it wrote."""
        records, replies, expiries = list(before), [], {}
        for place, call in items:
            records[place], reply, ttl = table(records[place], call, now)
            replies.append(reply)
            if ttl:
                expiries[place] = ttl if records[place] is not None else -2
        return replies, records, expiries

    def _records(self) -> list[Record | None]:
        values = self.server.command("MGET", *self.keys)
        return [None if value is None else decode(value) for value in values]

    def _expiries(self) -> list[int]:
        return [int(self.server.command("PTTL", key)) for key in self.keys]

    def _clock(self) -> int:
        seconds, micros = self.server.command("TIME")
        return int(seconds) * 1000 + int(micros) // 1000


async def by_scripts(server: RedisServer) -> RedisStand:
    return RedisStand(server)


@pytest.mark.parametrize(("stood", "latest"), [(by_scripts, 0), (RedisStand.plain, 200)])
def test_the_store_answers_as_the_table_does(
    redis_server: RedisServer,
    stood: Callable[[RedisServer], Awaitable[RedisStand]],
    latest: int,
) -> None:
    members = {"server": redis_server, "stood": staticmethod(stood), "latest": latest}
    machine = type("Machine", (Scripts,), members)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_difference_would_be_found(redis_server: RedisServer) -> None:
    """The same machine beside a table that tells a busy claim to wait longer."""

    class Careless(Scripts):
        def _compare(self, items: Any, call: Any, table: Transition) -> None:
            def careless(record: Any, step: Any, now: int) -> Any:
                after, reply, ttl = table(record, step, now)
                return after, Busy(reply.left + 5_000) if isinstance(reply, Busy) else reply, ttl

            super()._compare(items, call, careless)

    members = {"server": redis_server, "stood": staticmethod(by_scripts)}
    machine = type("Machine", (Careless,), members)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=400,
                stateful_step_count=40,
                deadline=None,
                database=None,
                print_blob=False,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
