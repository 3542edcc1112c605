"""What a run says of itself. Law: excused is printed beside violated, and never hidden."""

from __future__ import annotations

from collections import Counter

from tests.chaos.stage import Outcome

_SHOWN = 20


def render(outcome: Outcome) -> str:
    detects = "detects duplicates" if outcome.detects else "does not detect duplicates"
    what = f"{outcome.topology}; the service {detects}; seed {outcome.seed}"
    lines = [
        f"== {what}; {outcome.seconds:.0f} s of faults",
        f"faults injected: {outcome.injected.total()}",
        *_table(outcome.injected),
        f"requests: {outcome.requests}, of which {outcome.unanswered} had no answer",
        f"items sent: {outcome.items_sent}, for {outcome.operations} operations",
        f"effects in the ledger: {outcome.effects}",
        f"answers under fire, by item: {outcome.answers.total()}",
        *_table(outcome.answers),
        f"answers in the quiet afterwards: {outcome.replays.total()}",
        *_table(outcome.replays),
        f"keys of which Redis lost acknowledged data: {outcome.lost_keys}",
        f"successes that nothing could excuse: {outcome.verdict.strict}",
        f"excused: {outcome.verdict.excused.total()}",
        *_table(outcome.verdict.excused),
        f"VIOLATIONS: {len(outcome.verdict.violations)}",
        *(f"  {violation}" for violation in outcome.verdict.violations[:_SHOWN]),
    ]
    if len(outcome.verdict.violations) > _SHOWN:
        lines.append(f"  and {len(outcome.verdict.violations) - _SHOWN} more")
    if outcome.folder is not None:
        lines.append(f"ledger and logs: {outcome.folder}")
    return "\n".join(lines)


def _table(counts: Counter[str]) -> list[str]:
    width = max(map(len, counts), default=0)
    return [f"  {name:{width}}  {count}" for name, count in sorted(counts.items())]
