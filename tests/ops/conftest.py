"""A served admin port over the embedded store, and its token in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from tests.ops.desk import TOKEN, Office


@dataclass
class Served:
    office: Office
    url: str
    token_file: str


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    office = Office(tmp_path)
    await office.furnish()
    server = TestServer(office.admin.app())
    await server.start_server()
    token = tmp_path / "token"
    token.write_bytes(TOKEN + b"\n")
    yield Served(office, str(server.make_url("")).rstrip("/"), str(token))
    await server.close()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a file; its path."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write
