"""What a claim round came to, noted in its run and round. Law: no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.adopting import mismatch
from proxy.core.fate import Outcome, from_record, from_records
from proxy.core.fates import AlikeFates
from proxy.core.record import Busy, ClaimReply, Done, InDoubt, Mismatch, Won
from proxy.core.replays import Replays
from proxy.errors import StoreUnavailable
from proxy.run import Round, Run
from proxy.store.replies import sole


def note_claims(
    run: Run,
    rnd: Round,
    indexes: Sequence[int],
    replies: Sequence[ClaimReply | StoreUnavailable],
) -> dict[int, int]:
    """Decide what was done before, and note what was won and what nobody answered for. The busy
    items, and for how many more milliseconds each is held."""
    busy: dict[int, int] = {}
    if isinstance(replies, Replays) and len(replies) == run.items:
        run.alike = AlikeFates(replies.results, Outcome.REPLAYED, replies.processed_at)
        return busy
    first = sole(replies)
    if isinstance(first, Won):  # all are mine, and for the first time
        rnd.won = dict.fromkeys(indexes, first)
        rnd.suspects = len(indexes) if first.suspect else 0
        return busy
    if set(map(type, replies)) == {Done}:
        _replay(run, rnd, indexes, replies)  # type: ignore[arg-type]
    else:
        _sort_out_each(run, rnd, indexes, replies, busy)
    if rnd.won:
        rnd.suspects = sum([won.suspect for won in rnd.won.values()])
    return busy


def _replay(run: Run, rnd: Round, indexes: Sequence[int], records: Sequence[Done]) -> None:
    """All of them were done before."""
    results = [record.result for record in records]
    times = [record.processed_at for record in records]
    if len(records) == run.items and times.count(times[0]) == len(times) and None not in results:
        run.alike = AlikeFates(results, Outcome.REPLAYED, times[0])  # type: ignore[arg-type]
        return
    fates = from_records(records)
    if len(fates) == run.items:
        run.fates[:] = fates
    else:
        for index, fate in zip(indexes, fates, strict=True):
            run.fates[index] = fate
    rnd.bodyless += [i for i, fate in zip(indexes, fates, strict=True) if fate.result is None]


def _sort_out_each(
    run: Run,
    rnd: Round,
    indexes: Sequence[int],
    replies: Sequence[ClaimReply | StoreUnavailable],
    busy: dict[int, int],
) -> None:
    """Not all came to the same; mostly each was won, or has a result."""
    fates, won = run.fates, rnd.won
    for index, reply in zip(indexes, replies, strict=True):
        kind = type(reply)
        if kind is Won:
            won[index] = reply  # type: ignore[assignment]
        elif kind is Done and reply.result is not None:  # type: ignore[union-attr]
            fates[index] = from_record(reply)  # type: ignore[arg-type]
        else:
            _sort_out(run, rnd, index, reply, busy)


def _sort_out(
    run: Run, rnd: Round, index: int, reply: ClaimReply | StoreUnavailable, busy: dict[int, int]
) -> None:
    """Note what one item's claim came to, where that is neither won nor a result."""
    match reply:
        case Done():  # without a body
            run.fates[index] = from_record(reply)
            rnd.bodyless.append(index)
        case StoreUnavailable():
            rnd.unanswered.append(index)
        case Busy(left):
            busy[index] = left
        case Mismatch():
            run.fates[index] = mismatch()
        case InDoubt(age):
            run.fates[index] = run.unknown(
                f"an attempt {age / 1000:.0f} s ago has no known outcome"
            )
        case _:
            raise AssertionError(f"no answer of a claim that was not won: {reply}")
