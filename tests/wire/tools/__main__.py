"""Other people's tools against the running proxy: ``python -m tests.wire.tools [NAME ...]``.

Law: each tool is judged by what it says itself, and what it needs is installed or asked for by
name. One line a check; exit code 1 where one failed, with all that it said.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.processes import ROOT, Proxy, ask, free_port, proxy
from tests.wire.gateway import RULE
from tests.wire.tools.proxy import stop
from tests.wire.tools.site import serve

HERE = Path(__file__).parent
OWN = ROOT / ".venv-wire"
TOKEN = "a token for the records API"


class CheckError(Exception):
    """A check that failed; the message is what the tool said."""


def need(command: str, package: str) -> None:
    subprocess.run(["sh", str(ROOT / ".ci" / "need"), command, package], check=True)


def own_tool(name: str) -> str:
    """A tool from PyPI, in an environment of its own: its dependencies are not ours."""
    if not (OWN / "bin" / name).exists():
        subprocess.run([sys.executable, "-m", "venv", str(OWN)], check=True)
        pip = [str(OWN / "bin" / "pip"), "install", "-qqq", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(HERE / "requirements.txt")], check=True)
    return str(OWN / "bin" / name)


def say(command: list[str], timeout: float = 300) -> tuple[int, str]:
    """Run a tool: its exit code and all that it said."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False
    )
    return done.returncode, done.stdout.decode(errors="replace")


def expect(good: object, said: str) -> None:
    if not good:
        raise CheckError(said)


@contextmanager
def site() -> Iterator[int]:
    """The site of ``site.py``, in a thread of its own."""
    port, loop = free_port(), asyncio.new_event_loop()
    runner = loop.run_until_complete(serve(port))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield port
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def running(**settings: str) -> Iterator[tuple[Proxy, int]]:
    """A proxy in front of the site; the site's own port."""
    with tempfile.TemporaryDirectory() as folder, site() as port:
        rules = Path(folder, "rules.yaml")
        rules.write_text(RULE)
        log = Path(folder, "log")
        with proxy(rules, f"http://127.0.0.1:{port}", log, **settings) as up:
            yield up, port


def count(up: Proxy, limit: str) -> float:
    """How often a limit bit."""
    text = ask("GET", f"{up.admin}/metrics").body.decode()
    found = re.search(rf'idemproxy_limits_total{{[^}}]*"{limit}"[^}}]*}} (\S+)', text)
    return float(found[1]) if found else 0.0


def resident(up: Proxy) -> int:
    """Megabytes."""
    text = Path(f"/proc/{up.process.popen.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) // 1000 if found else 0


# ---- the tools --------------------------------------------------------------------------------


def varnishtest() -> str:
    """Framing, smuggling, a gateway's headers and a batch, with another's client and server."""
    need("varnishtest", "varnish")
    scripts = sorted(HERE.glob("*.vtc"))
    helper = f"cd {ROOT} && {sys.executable} -m tests.wire.tools.proxy"
    for script in scripts:
        port = str(free_port())
        with tempfile.TemporaryDirectory() as folder:
            macros = [f"-Dport={port}", f"-Dfolder={folder}", f"-Dstart={helper}"]
            try:
                code, said = say(["varnishtest", "-t", "60", *macros, str(script)])
            finally:
                stop(Path(folder))
        expect(code == 0, said[-4000:])
    return f"{len(scripts)} scripts"


def slow_clients(mode: str, limit: str, *options: str) -> str:
    """Hold more connections than a person would notice; a probe must be answered all the while."""
    need("slowhttptest", "slowhttptest")
    settings = {
        "HEADER_TIMEOUT": "2s",
        "BODY_TIMEOUT": "2s",
        "SEND_TIMEOUT": "3s",
        "MAX_CONNECTIONS": "400",
    }
    with running(**settings) as (up, _):
        before = resident(up)
        command = ["slowhttptest", mode, "-c", "200", "-r", "100", "-i", "1", "-l", "8", "-p", "5"]
        code, said = say([*command, "-v", "1", *options, "-u", f"{up.url}/large"])
        plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", said)
        expect(code == 0, plain[-2000:])
        expect("service available:   NO" not in plain, plain[-2000:])
        bitten, grown = count(up, limit), resident(up) - before
        expect(bitten >= 50, f"{limit} bit only {bitten} times\n{plain[-2000:]}")
        expect(grown < 200, f"grew by {grown} MB")
        expect(ask("GET", f"{up.url}/page").status == 200, "not served afterwards")
    return f"{limit} bit {bitten:.0f} times, +{grown} MB"


def slow_headers() -> str:
    """slowhttptest -H: slowloris."""
    return slow_clients("-H", "header_timeout")


def slow_body() -> str:
    """slowhttptest -B: R-U-Dead-Yet."""
    return slow_clients("-B", "body_timeout", "-i", "4")


def slow_read() -> str:
    """slowhttptest -X: clients that hardly read a response of 10 MB."""
    return slow_clients("-X", "slow_reader", "-w", "10", "-y", "20", "-n", "5", "-z", "32")


def load_within_the_cap() -> str:
    """wrk: as many connections as may be; every answer a success."""
    need("wrk", "wrk")
    with running(MAX_CONNECTIONS="64") as (up, _):
        code, said = say(["wrk", "-t2", "-c50", "-d3s", f"{up.url}/page"])
        expect(code == 0 and "Non-2xx" not in said and "Socket errors" not in said, said)
        found = re.search(r"Requests/sec:\s+(\S+)", said)
        expect(found, said)
        return f"{found[1]} requests a second" if found else ""


def load_beyond_the_cap() -> str:
    """h2load: three times more connections than may be; who is in is served, the rest shed."""
    need("h2load", "nghttp2-client")
    with running(MAX_CONNECTIONS="100") as (up, _):
        before = resident(up)
        command = ["h2load", "--h1", "-c", "300", "-n", "6000", "-t", "1", "-N", "20"]
        _, said = say([*command, f"{up.url}/page"])
        found = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
        expect(found, said)
        good = int(found[1]) if found else 0
        shed, grown = count(up, "connections"), resident(up) - before
        expect(good >= 1500, f"only {good} served\n{said}")
        expect(shed >= 150, f"only {shed} shed\n{said}")
        expect(grown < 200, f"grew by {grown} MB")
        expect(ask("GET", f"{up.url}/page").status == 200, "not served afterwards")
    return f"{good} served, {shed:.0f} connections shed, +{grown} MB"


def schemathesis() -> str:
    """The admin API does what its OpenAPI document says, and nothing makes it fail."""
    tool = own_tool("schemathesis")
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder, "token")
        token.write_text(TOKEN)
        with running(ADMIN_TOKEN_FILE=str(token)) as (up, _):
            code, said = say(
                [
                    *(tool, "run", f"{up.admin}/openapi.json", "--checks", "all"),
                    *("-H", f"Authorization: Bearer {TOKEN}", "--max-examples", "25"),
                    *("--exclude-path", "/drain", "--seed", "1", "--no-color"),
                    # To JSON Schema 899.0 is an integer; the API takes 899 and says so.
                    *("--exclude-checks", "positive_data_acceptance"),
                ],
                600,
            )
            expect(code == 0, said[-6000:])
    found = re.search(r"(\d+) generated, (\d+) passed", said)
    return f"{found[0]}" if found else "no findings"


def redbot() -> str:
    """REDbot says of the site through the proxy what it says of the site itself."""
    tool = own_tool("redbot")
    with running() as (up, port):
        for path in ("/page", "/large"):
            straight, through = (
                findings(tool, f"{base}{path}") for base in (f"http://127.0.0.1:{port}", up.url)
            )
            worse = [line for line in through if line not in straight]
            expect(not worse, f"{path}: only through the proxy:\n" + "\n".join(worse))
            expect(straight, f"{path}: it said nothing at all")
    return "no other finding than straight"


def findings(tool: str, url: str) -> list[str]:
    """The notes of one report, without numbers, and without the one that a gateway is there."""
    code, said = say([tool, "-o", "text", url], 120)
    expect(code == 0, said)
    notes = [line.strip() for line in said.split("\n") if line.strip().startswith("*")]
    return [re.sub(r"\d+", "N", note) for note in notes if "intermediaries" not in note]


TOOLS: tuple[Callable[[], str], ...] = (
    varnishtest,
    slow_headers,
    slow_body,
    slow_read,
    load_within_the_cap,
    load_beyond_the_cap,
    schemathesis,
    redbot,
)


@dataclass(frozen=True)
class Done:
    name: str
    good: bool
    said: str
    seconds: float


def judge(tool: Callable[[], str]) -> Done:
    start = time.monotonic()
    try:
        said, good = tool(), True
    except (CheckError, subprocess.SubprocessError) as error:
        said, good = str(error), False
    return Done(tool.__name__, good, said, time.monotonic() - start)


def main(names: list[str]) -> int:
    chosen = [tool for tool in TOOLS if not names or tool.__name__ in names]
    failed = 0
    for tool in chosen:
        done = judge(tool)
        word = "ok" if done.good else "FAILED"
        sys.stdout.write(f"{done.name:<22}{word:<8}{done.seconds:>6.1f} s  {done.said}\n")
        sys.stdout.flush()
        failed += not done.good
    return int(failed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="*", choices=[[], *(tool.__name__ for tool in TOOLS)])
    sys.exit(main(parser.parse_args().name))
