"""The three batches, and what two clients make of them. Law: no output here, only what happened.

One client talks straight to the legacy service and does what clients do when a batch fails and
nobody says why: it tries the same batch again, and then sends every item by itself. The other
sends each batch once, through the proxy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from examples.legacy.payments import Payment
from proxy.demo.stage import TENANT, Service, Stage

PATH: Final = "/api/payments/batch"
TRIES: Final = 3
BEFORE: Final = (Payment("p-0", "zoe", 800),)
"""Booked before there was a proxy: the service knows it, the store does not."""


@dataclass(frozen=True, slots=True)
class Batch:
    title: str
    payments: tuple[Payment, ...]
    expected: tuple[str, ...]
    """Per item, through the proxy: done, again, or the code of its error."""


_P1, _P2, _P3 = Payment("p-1", "ada", 1250), Payment("p-2", "bob", 300), Payment("p-3", "eve", 4999)
BATCHES: Final = (
    Batch("Three new payments", (_P1, _P2, _P3), ("done",) * 3),
    Batch(
        "The answer got lost: the same three again, with a new one among them",
        (_P1, _P2, Payment("p-4", "dan", 75), _P3),
        ("again", "again", "done", "again"),
    ),
    Batch(
        "Two new ones, a bad one (p-6), and one booked before the proxy came (p-0)",
        (Payment("p-5", "ada", 60), Payment("p-6", "bob", -5), *BEFORE, Payment("p-7", "eve", 410)),
        ("done", "UPSTREAM_REJECTED", "again", "done"),
    ),
)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Direct:
    """``whole``: the answers to the batch, one for each try. ``alone``: the answers to its items
    sent one by one, none where the batch went in."""

    whole: tuple[Reply, ...]
    alone: tuple[Reply, ...]

    @property
    def requests(self) -> int:
        return len(self.whole) + len(self.alone)


@dataclass(frozen=True, slots=True)
class Proxied:
    """The one answer, and what the service behind the proxy was asked for it."""

    reply: Reply
    calls: int
    lookups: int

    @property
    def results(self) -> Sequence[Mapping[str, Any]]:
        return list(self.reply.body.get("results", ()))


@dataclass(frozen=True, slots=True)
class Scene:
    number: int
    batch: Batch
    direct: Direct
    proxied: Proxied

    @property
    def as_promised(self) -> bool:
        return tuple(map(outcome, self.proxied.results)) == self.batch.expected


def outcome(result: Mapping[str, Any]) -> str:
    """done, again, or the code of the item's error."""
    error = result.get("error")
    if error:
        return str(error["code"])
    return "again" if result.get("isIdempotent") else "done"


def body(payments: Sequence[Payment]) -> dict[str, Any]:
    return {"payments": [{"key": p.key, "to": p.payee, "amount": p.amount} for p in payments]}


async def play(stage: Stage, session: aiohttp.ClientSession, number: int) -> Scene:
    """Send one batch both ways; ``number`` starts at 1."""
    batch = BATCHES[number - 1]
    direct = await _straight(session, stage.alone, batch)
    before = await _calls(session, stage.behind)
    reply = await _post(session, stage.proxy, batch.payments)
    after = await _calls(session, stage.behind)
    calls, lookups = (after[name] - before[name] for name in ("batches", "lookups"))
    return Scene(number, batch, direct, Proxied(reply, calls, lookups))


def each_booked_once(stage: Stage) -> bool:
    """Whether both tables hold every payment that can be booked, and no more."""
    good = {p.key for batch in BATCHES for p in batch.payments if p.amount > 0}
    return all(
        service.table.count() == len(good)
        and all(service.table.find(TENANT, key) is not None for key in good)
        for service in (stage.alone, stage.behind)
    )


async def _straight(session: aiohttp.ClientSession, service: Service, batch: Batch) -> Direct:
    whole: list[Reply] = []
    while len(whole) < TRIES:
        whole.append(await _post(session, service.url, batch.payments))
        if whole[-1].status < 300:
            return Direct(tuple(whole), ())
    alone = [await _post(session, service.url, [payment]) for payment in batch.payments]
    return Direct(tuple(whole), tuple(alone))


async def _post(session: aiohttp.ClientSession, url: str, payments: Sequence[Payment]) -> Reply:
    headers = {"X-Tenant-Id": TENANT}
    async with session.post(url + PATH, json=body(payments), headers=headers) as answer:
        return Reply(answer.status, await answer.json(content_type=None))


async def _calls(session: aiohttp.ClientSession, service: Service) -> dict[str, int]:
    async with session.get(f"{service.url}/api/calls") as answer:
        return dict(await answer.json())
