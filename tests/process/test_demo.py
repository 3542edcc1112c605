"""``idemproxy demo`` as a person runs it: a process, its output, its exit code."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes import processes
from tests.fakes.processes import Heard, Process, ask

pytestmark = pytest.mark.process

DEMO = [sys.executable, "-m", "proxy", "demo"]


@contextmanager
def demo(folder: Path, *options: str, columns: int = 80) -> Iterator[Process]:
    env = {"COLUMNS": str(columns), "TMPDIR": str(folder)}
    process = processes.start([*DEMO, *options], folder / "output", env)
    try:
        yield process
    finally:
        process.stop()


def run_line(line: str) -> Heard:
    """What a printed curl line does, as a shell reads it."""
    program, *words = shlex.split(line.replace("\\\n", " "))
    assert program == "curl"
    url, body, headers = "", None, {}
    while words:
        word = words.pop(0)
        if word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = words.pop(0).encode()
        elif word.startswith("http"):
            url = word
        else:
            assert word in {"-s", "-si"}
    return ask("POST" if body else "GET", url, body, headers)


def curl_lines(output: str) -> list[str]:
    """The commands, each with its continuation lines, up to a pipe."""
    found = re.findall(r"^  curl .*\n(?:    .*\n)*", output, re.MULTILINE)
    return [line.partition(" | ")[0] for line in found]


@pytest.mark.parametrize("columns", [80, 120])
def test_it_ends_by_itself_and_says_what_was_saved(tmp_path: Path, columns: int) -> None:
    with demo(tmp_path, "--port", "0", columns=columns) as process:
        code = process.popen.wait(60)
    output = process.output
    assert code == 0, output
    assert "12 client retries saved" in output
    assert "idemproxy" in output
    assert "demo --keep" in output
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) <= columns
    assert output.count("done before") == 4
    assert output.count("UPSTREAM_REJECTED") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_keep_leaves_it_running_and_its_lines_can_be_copied(tmp_path: Path) -> None:
    with demo(tmp_path, "--port", "0", "--keep") as process:
        process.wait_until(lambda: "items_total" in process.output, "performed")
        through, straight, metrics = curl_lines(process.output)
        first = run_line(through)
        assert first.status == 201
        assert [r["isIdempotent"] for r in first.json["results"]] == [True, False]
        assert run_line(through).headers["idempotent-replayed"] == "true"
        refused = run_line(straight)
        assert (refused.status, refused.json["error"]) == (409, "DUPLICATE_KEY")
        assert (
            b'idemproxy_items_total{outcome="replayed",rule="payments"}' in run_line(metrics).body
        )
        process.popen.send_signal(signal.SIGINT)
        assert process.popen.wait(30) == 0
        with pytest.raises(OSError):  # noqa: PT011  # refused, whatever the system calls it
            run_line(through)
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_a_port_that_is_taken_is_an_error_that_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with demo(tmp_path, "--port", str(taken.getsockname()[1])) as process:
            assert process.popen.wait(60) == 1
    assert "the proxy did not start" in process.output
    assert "Traceback" not in process.output.partition("the proxy did not start")[0]
