"""One run, from an empty folder to a verdict. Law: everything that it started is gone afterwards.

Under fire for the chosen time; then the faults end, and what is undecided must be decided; then
two quiet passes over everything, one by each proxy; then both proxies are told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from proxy.core.keys import KeyMaker
from tests.chaos.answers import Item, Told
from tests.chaos.cast import Service, Slot
from tests.chaos.checker import Evidence, Verdict, check
from tests.chaos.clients import Crowd
from tests.chaos.cluster import Cluster
from tests.chaos.director import Director
from tests.chaos.history import first_times, lost
from tests.chaos.ledger import Effect, Ledger, Name
from tests.chaos.rules import PLAIN, rules_file
from tests.chaos.sentinel import Sentinel
from tests.chaos.stand import Stand, Standalone
from tests.chaos.threads import in_thread

STANDS: Final[dict[str, type[Stand]]] = {
    "standalone": Standalone,
    "sentinel": Sentinel,
    "cluster": Cluster,
}
CALM_SECONDS: Final = 60.0
"""For the last undecided items: leases, doubts and backlogs must have run out by then."""
_PASS_BATCH: Final = 100


@dataclass(slots=True)
class Outcome:
    topology: str
    detects: bool
    seed: int
    seconds: float
    injected: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """Under fire: items, by code."""
    replays: Counter[str] = field(default_factory=Counter)
    """In the quiet afterwards."""
    requests: int = 0
    unanswered: int = 0
    items_sent: int = 0
    operations: int = 0
    effects: int = 0
    lost_keys: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    folder: Path | None = None
    """Where ledger and logs are, if they were to be kept."""


class Stage:
    """``keeps_word`` False: the rules say that the service detects duplicates, and it does not."""

    def __init__(
        self,
        folder: Path,
        topology: str,
        *,
        detects: bool,
        seed: int,
        faults: float,
        keeps_word: bool = True,
    ) -> None:
        self.rng = random.Random(seed)
        self.detects = detects
        self.seed = seed
        self.folder = folder
        self.stand: Stand = STANDS[topology](random.Random(seed + 1))
        self.service = Service(folder, detects=detects and keeps_word, faults=faults, seed=seed)
        self.slots: list[Slot] = []

    @contextlib.asynccontextmanager
    async def up(self, retention: str = "1h") -> AsyncIterator[None]:
        rules = rules_file(detects=self.detects, retention=retention)
        await in_thread((self.folder / "rules.yaml").write_text, rules)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.stand.close)
            await in_thread(self.stand.start)
            stack.callback(self.service.kill)
            await in_thread(self.service.start)
            for number in range(2):
                slot = Slot(number, self.folder, self.stand, self.service, self.seed + number)
                self.slots.append(slot)
                stack.push_async_callback(slot.close_links)
                stack.callback(slot.end)
                await slot.start_links()
                await in_thread(slot.start)
            yield

    # ---- the run -------------------------------------------------------------------------------

    async def run(self, seconds: float) -> tuple[Evidence, Director, Crowd, list[str]]:
        loop = asyncio.get_running_loop()
        director = Director(self.slots, self.service, self.stand, self.rng, detects=self.detects)
        findings: list[str] = []
        async with aiohttp.ClientSession() as session:
            crowd = Crowd(session, [slot.url for slot in self.slots], self.seed)
            watches = [loop.create_task(slot.watch()) for slot in self.slots]
            watches += [loop.create_task(slot.attend()) for slot in self.slots]
            crowded = loop.create_task(crowd.run(loop.time() + seconds + CALM_SECONDS))
            await director.run(loop.time() + seconds)
            await in_thread(self.service.calm_down)
            crowd.no_more()
            await crowded
            findings += [f"NoKeyStuck: {item} has no answer" for item in crowd.undecided]
            fired = list(crowd.heard.told)
            findings += await self._wait_for_calm(crowd)
            questions = await in_thread(self._questions, crowd)
            final = await self._quiet(crowd, questions)
            unheard = {question.name for question in questions} - {o.item.name for o in final}
            findings += [f"NoKeyStuck: {name} has no answer in the quiet" for name in unheard]
            for watch in watches:
                watch.cancel()
        findings += crowd.heard.nonsense
        findings += await in_thread(self.end_proxies)
        evidence = await in_thread(self._evidence, crowd, fired, final)
        return evidence, director, crowd, findings

    async def _wait_for_calm(self, crowd: Crowd) -> list[str]:
        """Until each proxy has its store again, and has told it everything."""
        clock = asyncio.get_running_loop().time
        end = clock() + CALM_SECONDS
        calm = [False for _ in self.slots]
        while not all(calm) and clock() < end:
            for slot in self.slots:
                # Its breaker closes on a call, and not on its own.
                name = Name(PLAIN, "calm", f"calm{clock()}")
                await crowd.ask_once([Item(name, "value")], slot.number)
                up = await in_thread(slot.metric, "idemproxy_store_up")
                backlog = await in_thread(slot.metric, "idemproxy_settle_backlog")
                calm[slot.number] = up == 1 and backlog == 0
            await asyncio.sleep(0.1)
        return [
            f"NothingLeft: proxy {n} has no store yet"
            for n, is_calm in enumerate(calm)
            if not is_calm
        ]

    async def _quiet(self, crowd: Crowd, questions: list[Item]) -> list[Told]:
        told: list[Told] = []
        batches = list(_batches(questions))
        for proxy in range(len(self.slots)):
            until = asyncio.get_running_loop().time() + CALM_SECONDS
            for batch in batches:
                told += await crowd.ask_again(batch, proxy, until)
        return told

    def _questions(self, crowd: Crowd) -> list[Item]:
        """Each operation with the content that was done, else with what was asked for first."""
        effects = self._read_ledger()
        questions = []
        for name, values in crowd.values.items():
            good = [value for value in values if not value.startswith("bad")]
            if name in effects:
                questions.append(Item(name, effects[name][0].value))
            elif good:
                questions.append(Item(name, good[0]))
        return questions

    def _read_ledger(self) -> dict[Name, list[Effect]]:
        with contextlib.closing(Ledger(self.service.ledger, detects=self.detects)) as ledger:
            return ledger.effects()

    def end_proxies(self) -> list[str]:
        """Nothing may be left in them, and they end when they are told to."""
        findings = []
        for slot in self.slots:
            findings += slot.deaths
            for metric in ("idemproxy_settle_backlog", "idemproxy_in_flight_items"):
                if (left := slot.metric(metric)) != 0:
                    findings.append(f"NothingLeft: proxy {slot.number} has {metric} {left}")
            if (code := slot.process.stop()) != 0:
                findings.append(
                    f"proxy {slot.number} ended with {code}: {slot.process.output[-2000:]}"
                )
            findings += slot.complaints()
        return findings

    def _evidence(self, crowd: Crowd, fired: list[Told], final: list[Told]) -> Evidence:
        keys = KeyMaker("idem", None)
        names = {
            keys.store_key(name.endpoint, 1, (name.tenant,), (name.key,)): name
            for name in crowd.values
        }
        pairs = self.stand.histories()
        times = first_times({id(h): h for pair in pairs for h in pair}.values())
        return Evidence(
            detects=self.detects,
            ledger=self._read_ledger(),
            told=fired,
            final=final,
            values=crowd.values,
            trouble=[slot.trouble for slot in self.slots],
            lost=frozenset(names[key] for key in lost(pairs) if key in names),
            recorded_times={names[k]: frozenset(t) for k, t in times.items() if k in names},
        )


def _batches(items: Iterable[Item]) -> Iterable[list[Item]]:
    groups: defaultdict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        groups[item.name.endpoint, item.name.tenant].append(item)
    for group in groups.values():
        yield from (group[at : at + _PASS_BATCH] for at in range(0, len(group), _PASS_BATCH))


async def run_once(
    topology: str,
    *,
    detects: bool,
    seed: int,
    seconds: float,
    faults: float,
    keep: bool = False,
    keeps_word: bool = True,
) -> Outcome:
    """``keep``: the folder with ledger and logs stays where there is a violation."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    outcome = Outcome(topology, detects, seed, seconds)
    stage = Stage(
        folder, topology, detects=detects, seed=seed, faults=faults, keeps_word=keeps_word
    )
    try:
        async with stage.up():
            evidence, director, crowd, findings = await stage.run(seconds)
        outcome.verdict = await in_thread(check, evidence)
        outcome.verdict.violations[:0] = findings
        _count(outcome, stage, evidence, director, crowd)
    finally:
        if keep and outcome.verdict.violations:
            outcome.folder = folder
        else:
            shutil.rmtree(folder)
    return outcome


def _count(
    outcome: Outcome, stage: Stage, evidence: Evidence, director: Director, crowd: Crowd
) -> None:
    with contextlib.closing(Ledger(stage.service.ledger, detects=stage.detects)) as ledger:
        made = ledger.faults()
    outcome.injected = director.injected
    outcome.injected.update({f"service: {kind}": count for kind, count in made.items()})
    outcome.answers = Counter(one.code or "success" for one in evidence.told)
    outcome.replays = Counter(one.code or "success" for one in evidence.final)
    outcome.requests, outcome.unanswered = crowd.heard.requests, crowd.heard.unanswered
    outcome.items_sent, outcome.operations = crowd.heard.items_sent, len(crowd.values)
    outcome.effects = sum(map(len, evidence.ledger.values()))
    outcome.lost_keys = len(evidence.lost)
