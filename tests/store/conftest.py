"""The stores that the contract suite runs over. A server that cannot be started is a failure."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fakes.redis_server import RedisCluster, RedisServer, cluster, standalone
from tests.store.stands import MemoryStand, RedisStand, Stand


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with standalone() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    with cluster() as made:
        yield made


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RedisServer]:
    if shutil.which("valkey-server") is None:
        pytest.skip("valkey-server is not on PATH")
    with standalone(binary="valkey-server") as server:
        yield server


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis_server", marks=pytest.mark.store),
        pytest.param("plain", marks=pytest.mark.store),
        pytest.param("redis_cluster", marks=[pytest.mark.store, pytest.mark.slow]),
        pytest.param("valkey_server", marks=[pytest.mark.store, pytest.mark.slow]),
    ]
)
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    made: Stand
    if request.param == "memory":
        made = MemoryStand()
    elif request.param == "plain":
        made = await RedisStand.plain(request.getfixturevalue("redis_server"))
    else:
        made = RedisStand(request.getfixturevalue(request.param))
    yield made
    await made.store.close()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[RedisStand]:
    """On the standalone server, whatever the contract suite runs over."""
    made = RedisStand(redis_server)
    yield made
    await made.store.close()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may mistreat."""
    with standalone(persist=True) as server:
        yield server
