"""Decide items that the service did: its own results, and what it says that it did before.

Law: a success is committed before it is answered; what the service did before (adopted) bears no
fingerprint unless this product's own earlier attempt, or a comparison, vouches for its content.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec.structs import replace

from proxy.core.commits import Commits
from proxy.core.fate import Code, Fate, Outcome, failed, from_record, new, replayed
from proxy.core.fates import AlikeFates
from proxy.core.record import (
    Applied,
    Commit,
    Conflict,
    MarkDoubt,
    Release,
    Settlement,
    SettleReply,
    Stands,
)
from proxy.lookups import Lookups
from proxy.observe import Observer
from proxy.run import Round, Run, are_all
from proxy.settling import Settler
from proxy.stitch import draft
from proxy.store.replies import sole
from rules.lookup import same_content
from rules.model import Align, Found, Looked, NotFound, Rule, Unsure
from rules.native import longest
from rules.response import is_duplicate, is_failed

_OTHERS_FIRST = frozenset({Stands, Conflict})
"""What a commit is answered with where an earlier one stands; no other step is."""
WORTH_A_DRAFT = 10
"""Items: the answer to fewer is rendered faster than a turn of the loop is scheduled."""
_NOT_THERE = "the service calls this item a duplicate, and does not have it"
_CANNOT_TELL = "the service's lookup gave no answer"
_FAILED = "the service reports that this item failed"


class Adopting:
    """From what the service said of items to their fates and their records."""

    def __init__(
        self, settler: Settler, lookups: Lookups, observer: Observer, now_ms: Callable[[], int]
    ) -> None:
        self._settler = settler
        self._lookups = lookups
        self._observer = observer
        self._now_ms = now_ms

    async def accept(
        self, run: Run, rnd: Round, items: Sequence[int], results: Sequence[bytes]
    ) -> None:
        """The service took all of ``items``; ``results`` are its own, one for each.

        While the store commits them, the answer that they mostly lead to is rendered.
        """
        if run.rule.response.align is Align.LOOKUP:
            await self._accept_by_lookup(run, rnd, items)
            return
        work = self.settle_each(run, rnd, items, self.accepted(run, rnd, items, results))
        if len(items) < WORTH_A_DRAFT:
            await work
            return
        drafting = run.loop.call_soon(draft, run)
        await work
        drafting.cancel()  # a store in this process commits in no time

    def accepted(
        self, run: Run, rnd: Round, items: Sequence[int], results: Sequence[bytes]
    ) -> Sequence[Settlement]:
        """Decide the items by their own results, which say which is which; what the store is to be
        told of each."""
        now, response = self._now_ms(), run.rule.response
        if response.duplicate is None and response.failed is None:
            return self._succeeded(run, items, results, now)
        return [self._judge(run, rnd, i, r, now) for i, r in zip(items, results, strict=True)]

    def _judge(self, run: Run, rnd: Round, item: int, raw: bytes, now: int) -> Settlement:
        """Decide an item of an accepted batch by what its own result says."""
        if is_duplicate(run.rule, raw):
            self._observer.upstream_duplicate(run.rule.name, "adopted")
            return self._adopted(run, rnd, item, raw, now)
        if is_failed(run.rule, raw):
            run.fates[item] = failed(Code.UPSTREAM_FAILED, _FAILED, result=raw)
            return Release()
        run.fates[item] = new(raw, now)
        return _commit(run.rule, run.fingerprints[item], now, raw)

    def _succeeded(
        self, run: Run, items: Sequence[int], results: Sequence[bytes], now: int
    ) -> Commits:
        """Done just now. A result that is too large is committed without its body."""
        most = run.rule.max_result_bytes
        kept: Sequence[bytes | None] = results
        if longest(results) > most:
            kept = [raw if len(raw) <= most else None for raw in results]
        if are_all(items, run.items):
            run.alike = AlikeFates(results, Outcome.NEW, now)
            return Commits(run.fingerprints, now, kept)
        for item, result in zip(items, results, strict=True):
            run.fates[item] = new(result, now)
        return Commits([run.fingerprints[i] for i in items], now, kept)

    async def screen(self, run: Run, rnd: Round, indexes: Sequence[int]) -> list[int]:
        """Ask the service first where the rule says so; what is left is to be forwarded."""
        lookup = run.rule.upstream.lookup
        barred = {i for i in indexes if i in rnd.won and not rnd.won[i].forwardable}
        looked: dict[int, Looked]
        if lookup is None:
            # Nobody can be asked: such a suspect is as good as not found, and stays in doubt.
            looked = {i: NotFound() for i in barred}
        else:
            keyed = [i for i in indexes if run.store_keys[i] is not None]
            asked = keyed if lookup.always else [i for i in keyed if _is_suspect(rnd, i)]
            looked = await self._lookups.of(run, asked)
        decided = {i: s for i, s in looked.items() if not isinstance(s, NotFound) or i in barred}
        await self._settle(run, rnd, self._ruled(run, rnd, decided))
        return [i for i in indexes if i not in decided]

    async def adopt(self, run: Run, rnd: Round, items: Sequence[int], message: str) -> None:
        """The service called each of ``items`` a duplicate, and said ``message``."""
        steps: dict[int, Settlement] = {}
        keyed: list[int] = []
        for item in items:
            if run.store_keys[item] is None:
                run.fates[item] = failed(Code.UPSTREAM_REJECTED, message)
            else:
                keyed.append(item)
        if run.rule.upstream.lookup is None:
            now = self._now_ms()
            for item in keyed:
                self._observer.upstream_duplicate(run.rule.name, "template")
                template = run.rule.response.duplicate_result
                steps[item] = self._adopted(run, rnd, item, template, now, template=True)
        else:
            looked = await self._lookups.of(run, keyed)
            self._count_duplicates(run.rule, looked)
            steps |= self._ruled(run, rnd, looked)
        await self._settle(run, rnd, steps)

    async def adopt_known(self, run: Run, rnd: Round, items: Sequence[int]) -> Collection[int]:
        """Ask for all of a rejected sub-batch in one call; adopt and return what is there."""
        keyed = [i for i in items if run.store_keys[i] is not None]
        looked = await self._lookups.of(run, keyed)
        found = {i: s for i, s in looked.items() if isinstance(s, Found)}
        self._count_duplicates(run.rule, found)
        await self._settle(run, rnd, self._ruled(run, rnd, found))
        return found.keys()

    async def complete(self, run: Run, rnd: Round, items: Sequence[int]) -> None:
        """Replay records that have no body: ask the service, else the template stands in."""
        if not items or run.rule.upstream.lookup is None:
            return
        looked = await self._lookups.of(run, items)
        steps: dict[int, Settlement] = {}
        for item, said in looked.items():
            fate = run.fates[item]
            if isinstance(said, Found) and fate is not None:
                run.fates[item] = replace(fate, result=said.raw)
                if len(said.raw) <= run.rule.max_result_bytes:
                    steps[item] = Commit(None, fate.processed_at or 0, said.raw)
        await self._settler.settle(run, rnd, steps)

    def report_doubts(self, run: Run, steps: Mapping[int, Settlement]) -> None:
        """Tell of every item that ends in doubt."""
        if MarkDoubt not in map(type, steps.values()):
            return
        for item, step in steps.items():
            if type(step) is not MarkDoubt:
                continue
            key = run.store_keys[item]
            if key is not None:
                digest = key.rpartition(b":")[2].decode()
                self._observer.doubt(run.rule.name, digest, run.exchange.request_id, item)

    # ---- one item ------------------------------------------------------------------------------

    async def _accept_by_lookup(self, run: Run, rnd: Round, items: Sequence[int]) -> None:
        """The service took the items and its results say nothing of which is which.

        Found: the result. No answer: committed without a body, for it was accepted. Not found
        contradicts the acceptance, so the item is in doubt: the next attempt looks again.
        """
        rule, now = run.rule, self._now_ms()
        keyed = [i for i in items if run.store_keys[i] is not None]
        looked = await self._lookups.of(run, keyed)
        steps: dict[int, Settlement] = {}
        for item in items:
            said = looked.get(item, Unsure())
            if isinstance(said, Found) and is_failed(rule, said.raw):
                run.fates[item] = failed(Code.UPSTREAM_FAILED, _FAILED, result=said.raw)
                steps[item] = Release()
            elif isinstance(said, Found):
                run.fates[item] = new(said.raw, now)
                steps[item] = _commit(rule, run.fingerprints[item], now, said.raw)
            elif isinstance(said, NotFound):
                run.fates[item] = run.unknown("the service took the batch and does not have it")
                steps[item] = MarkDoubt(run.fingerprints[item])
            else:
                run.fates[item] = new(rule.response.accepted_item, now)
                steps[item] = Commit(run.fingerprints[item], now, None, template=True)
        await self._settle(run, rnd, steps)

    def _ruled(self, run: Run, rnd: Round, looked: Mapping[int, Looked]) -> dict[int, Settlement]:
        now = self._now_ms()
        return {item: self._rule_on(run, rnd, item, said, now) for item, said in looked.items()}

    def _rule_on(self, run: Run, rnd: Round, item: int, said: Looked, now: int) -> Settlement:
        """Decide one item by its lookup's answer."""
        if isinstance(said, Found):
            if is_failed(run.rule, said.raw):
                run.fates[item] = failed(Code.UPSTREAM_FAILED, _FAILED, result=said.raw)
                return Release()
            return self._adopted(run, rnd, item, said.raw, now)
        if isinstance(said, NotFound):
            won = rnd.won.get(item)
            if won is None or won.forwardable:
                run.fates[item] = failed(Code.UPSTREAM_DUPLICATE_NOT_FOUND, _NOT_THERE)
                return Release()
            settles, age = run.terms.settles_within, won.doubt_age
            run.fates[item] = run.unknown(
                "an earlier attempt may still take effect",
                None if settles is None else max(1, settles - age),
            )
        else:
            run.fates[item] = run.unknown(_CANNOT_TELL)
        return MarkDoubt(run.fingerprints[item])

    def _adopted(
        self, run: Run, rnd: Round, item: int, raw: bytes, now: int, *, template: bool = False
    ) -> Settlement:
        """The service did this item before: commit it, unless it did other content."""
        fingerprint = run.fingerprints[item] if _is_suspect(rnd, item) else None
        if not template:
            same = same_content(run.rule, run.exchange.batch.raws[item], raw)
            if same is False:
                run.fates[item] = mismatch()
                return Release()
            if same is True:
                fingerprint = run.fingerprints[item]
        run.fates[item] = replayed(raw, now)
        return _commit(run.rule, fingerprint, now, raw, template=template)

    def _count_duplicates(self, rule: Rule, looked: Mapping[int, Looked]) -> None:
        for said in looked.values():
            result = {Found: "adopted", NotFound: "not_found"}.get(type(said), "unknown")
            self._observer.upstream_duplicate(rule.name, result)

    async def _settle(self, run: Run, rnd: Round, steps: Mapping[int, Settlement]) -> None:
        """The same for steps of which some may be doubts, which are told of."""
        if steps:
            self.report_doubts(run, steps)
            await self.settle_each(run, rnd, list(steps), list(steps.values()))

    async def settle_each(
        self, run: Run, rnd: Round, items: Sequence[int], steps: Sequence[Settlement]
    ) -> None:
        """Write a step for each item; where an earlier commit stands, its result is the answer."""
        replies = await self._settler.settle_each(run, rnd, items, steps)
        self.reconcile(run, rnd, items, replies)

    def reconcile(
        self, run: Run, rnd: Round, items: Sequence[int], replies: Sequence[SettleReply | None]
    ) -> None:
        """Take over what the store answered with an earlier commit that stands."""
        if type(sole(replies)) is Applied or _OTHERS_FIRST.isdisjoint(map(type, replies)):
            return
        for item, reply in zip(items, replies, strict=True):
            if type(reply) in _OTHERS_FIRST:
                self._reconcile(run, rnd, item, reply)

    def _reconcile(self, run: Run, rnd: Round, item: int, reply: SettleReply | None) -> None:
        fate = run.fates[item]
        if fate is None:
            raise AssertionError("settled an item before it was decided")
        if isinstance(reply, Stands):
            first = from_record(reply.record)
            if reply.record.token == rnd.token:  # it took a template's place, whose time stays
                run.fates[item] = replace(fate, processed_at=first.processed_at)
            else:
                run.fates[item] = (
                    first if first.result is not None else replace(first, result=fate.result)
                )
        elif isinstance(reply, Conflict):
            self._observer.commit_conflict(run.rule.name)
            if fate.is_idempotent:
                run.fates[item] = mismatch()


def mismatch() -> Fate:
    return failed(Code.PAYLOAD_MISMATCH, "this key was used before with other content")


def _is_suspect(rnd: Round, item: int) -> bool:
    won = rnd.won.get(item)
    return won is not None and won.suspect


def _commit(
    rule: Rule, fingerprint: bytes | None, now: int, raw: bytes, *, template: bool = False
) -> Commit:
    """A result that is too large is committed without its body, and never released."""
    fits = len(raw) <= rule.max_result_bytes
    return Commit(fingerprint, now, raw if fits else None, template)
