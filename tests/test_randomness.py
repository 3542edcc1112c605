"""Random bytes that are drawn many at a time: none is given twice, here or in a forked process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from proxy.randomness import Randomness, random_bytes


def test_no_byte_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []
    kernel = os.urandom

    def seen(count: int) -> bytes:
        drawn.append(kernel(count))
        return drawn[-1]

    monkeypatch.setattr(os, "urandom", seen)
    source = Randomness()
    taken = [source.take(count) for count in (16, 8, 4000, 72, 1, 4096, 100)]
    assert [len(part) for part in taken] == [16, 8, 4000, 72, 1, 4096, 100]
    first, second, third, fourth = drawn
    assert b"".join(taken[:4]) == first  # to the last byte
    assert taken[4] == second[:1]  # what is left is too little for the next
    assert taken[5] == third
    assert taken[6] == fourth[:100]


def test_tokens_differ() -> None:
    assert len({random_bytes(16) for _ in range(1000)}) == 1000


FORKED = """
import os
from proxy.randomness import random_bytes

random_bytes(16)
if (child := os.fork()) == 0:
    os.write(1, random_bytes(16))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
os.write(1, random_bytes(16))
"""


def test_a_forked_process_draws_its_own() -> None:
    """In an interpreter without threads: this one has some."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, check=True)
    assert len(done.stdout) == 32
    assert done.stdout[:16] != done.stdout[16:]
